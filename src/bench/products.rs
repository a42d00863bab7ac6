//! The matrix products of a training step, each by itself: how fast the kernels are at a shape with nothing beside.

use std::sync::Arc;

use serde::Serialize;

use super::ceilings::{best, warm_up};
use super::{Ceilings, Form, Product, Setup, WeightType};
use crate::config::Arithmetic;
use crate::error::Result;
use crate::gpu::{Dtype, Gpu, Plan, PlanBuilder, Stopwatch, Tensor};
use crate::kernels::matmul::{Nn, Nt, matmul_tn};
use crate::kernels::matmul_narrow::Shares;

/// A shape and its time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProductTime {
    /// What in a step has it: `q_proj forward, o_proj forward`.
    pub names: String,
    /// The shape.
    #[serde(flatten)]
    pub product: Product,
    /// How often a step computes it.
    pub count: u64,
    /// The kernels that compute it.
    pub kernels: Vec<String>,
    /// Milliseconds of one, the least of a few timings of many.
    pub ms: f64,
    /// 10¹² floating-point operations a second.
    pub tflops: f64,
    /// Of the matmul ceiling.
    pub share_of_matmul: f64,
    /// The least milliseconds: its arithmetic at the matmul ceiling, or its bytes at the bandwidth.
    pub floor_ms: f64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProductsReport {
    /// The model's name.
    pub model: String,
    /// The device, with its driver.
    pub device: String,
    /// How weights are stored.
    pub weights: WeightType,
    /// Arithmetic of the matrix products.
    pub arithmetic: Arithmetic,
    /// Sequences in a batch.
    pub batch_size: usize,
    /// Tokens of each.
    pub length: usize,
    /// The adapter's rank.
    pub r: usize,
    /// What the device does at best.
    pub ceilings: Ceilings,
    /// Milliseconds of all matrix products of a step, one after the other at these times.
    pub step_ms: f64,
    /// The sum of their floors.
    pub floor_ms: f64,
    /// Shape by shape, those first that take most of a step.
    pub products: Vec<ProductTime>,
}

/// Equal products under one name.
struct Shape {
    names: Vec<String>,
    product: Product,
    count: u64,
    bytes: u64,
}

impl ProductsReport {
    /// Measures.
    ///
    /// # Errors
    /// A device without timestamp queries, or without room for the operands of a product.
    pub async fn measure(gpu: &Arc<Gpu>, setup: &Setup, tell: &mut dyn FnMut(&str)) -> Result<Self> {
        let watch = Stopwatch::new(gpu)?;
        tell("the device's ceilings");
        let ceilings =
            Ceilings::measure(gpu, setup.weights, setup.operands(gpu)?, setup.arithmetic(gpu)?).await?;
        let mut products = Vec::new();
        for shape in shapes(setup, gpu)? {
            let names = shape.names.join(", ");
            tell(&names);
            let what = format!("the matrix product of {names}");
            let plan = gpu.make_room(&what, || plan(gpu, &shape.product, setup)).await?;
            if products.is_empty() {
                warm_up(gpu, &watch, &plan).await?;
            }
            let seconds = best(gpu, &watch, &plan).await?;
            let tflops = shape.product.flops() as f64 / seconds / 1e12;
            products.push(ProductTime {
                names,
                kernels: plan.shaders().map(|shader| shader.label()).collect(),
                product: shape.product,
                count: shape.count,
                ms: 1e3 * seconds,
                tflops,
                share_of_matmul: tflops / ceilings.matmul_tflops,
                floor_ms: 1e3 * ceilings.floor(shape.product.flops(), shape.bytes),
            });
        }
        let in_step = |product: &ProductTime, ms: f64| product.count as f64 * ms;
        products.sort_by(|a, b| in_step(b, b.ms).total_cmp(&in_step(a, a.ms)));
        Ok(Self {
            model: setup.name.clone(),
            device: gpu.caps().adapter.describe(),
            weights: setup.weights,
            arithmetic: setup.arithmetic(gpu)?,
            batch_size: setup.train.per_device_train_batch_size,
            length: setup.train.max_length,
            r: setup.lora.r,
            ceilings,
            step_ms: products.iter().map(|product| in_step(product, product.ms)).sum(),
            floor_ms: products.iter().map(|product| in_step(product, product.floor_ms)).sum(),
            products,
        })
    }
}

/// The shapes of a step.
fn shapes(setup: &Setup, gpu: &Gpu) -> Result<Vec<Shape>> {
    let mut shapes: Vec<Shape> = Vec::new();
    for item in setup.work(gpu)?.items {
        let Some(product) = item.product else { continue };
        match shapes.iter_mut().find(|shape| shape.product == product) {
            Some(shape) => {
                shape.count += item.count;
                if !shape.names.contains(&item.name) {
                    shape.names.push(item.name);
                }
            }
            None => {
                let names = vec![item.name];
                shapes.push(Shape { names, product, count: item.count, bytes: item.bytes });
            }
        }
    }
    Ok(shapes)
}

/// One product, as the model's passes record it.
fn plan(gpu: &Gpu, product: &Product, setup: &Setup) -> Result<Plan> {
    let Product { form, m, n, k, r, frozen } = *product;
    // The head's are not rounded: its products are told by their width.
    let operands = setup.operands(gpu)?;
    let vocab = setup.model.vocab_size;
    let activations = if frozen && (n == vocab || k == vocab) { Dtype::F32 } else { operands };
    let tensor = |label: &str, shape: [usize; 2], dtype: Dtype| gpu.tensor(label, &shape, dtype);
    let side = if frozen { setup.weights.dtype() } else { Dtype::F32 };
    let result = Dtype::F32;
    let low_rank = |shape: [usize; 2]| -> Result<Option<(Tensor, Tensor)>> {
        if r == 0 {
            return Ok(None);
        }
        Ok(Some((tensor("e", [m, r], Dtype::F32)?, tensor("F", shape, Dtype::F32)?)))
    };
    let arithmetic = setup.arithmetic(gpu)?;
    let mut plan = PlanBuilder::new(gpu).in_arithmetic(arithmetic);
    match form {
        Form::Nt => {
            let (x, y) = (tensor("x", [m, k], activations)?, tensor("y", [m, n], result)?);
            let weight = tensor("weight", [n, k], side)?;
            let extension = low_rank([n, r])?;
            let extension = extension.as_ref().map(|(e, f)| (e, f));
            let product = Nt { extension, ..Nt::new(&x, &weight, &y) };
            if frozen { product.add_to(&mut plan) } else { product.add_low_rank_to(&mut plan) }
        }
        Form::Nn => {
            let (x, y) = (tensor("dy", [m, k], activations)?, tensor("dx", [m, n], result)?);
            let weight = tensor("weight", [k, n], side)?;
            let extension = low_rank([r, n])?;
            let extension = extension.as_ref().map(|(e, f)| (e, f));
            let product = Nn { extension, ..Nn::new(&x, &weight, &y) };
            if frozen { product.add_to(&mut plan) } else { product.add_low_rank_to(&mut plan) }
        }
        Form::Tn => {
            // The wider one is activations, the other the low-rank side.
            let dtype = |columns: usize| if columns == m.max(n) { activations } else { Dtype::F32 };
            let (a, b) = (tensor("a", [k, m], dtype(m))?, tensor("b", [k, n], dtype(n))?);
            let y = tensor("y", [m, n], Dtype::F32)?;
            let in_shares = m.max(n).is_multiple_of(4);
            match if in_shares { Shares::new(gpu, k, m * n)? } else { None } {
                Some(shares) => {
                    let (wide, narrow) = if m > n { (&a, &b) } else { (&b, &a) };
                    shares.add_product(&mut plan, wide.into(), narrow.into(), 0, m <= n, None);
                    // The model does this once for a whole layer.
                    shares.add_up(&mut plan, k, 0, &y);
                }
                None => matmul_tn(&mut plan, &a, &b, &y, None),
            }
        }
    }
    Ok(plan.finish())
}
