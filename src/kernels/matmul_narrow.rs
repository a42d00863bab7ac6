//! Products with LoRA's A and B, and their gradients: one side is narrow. In f16 by cooperative matrices with f32 sums, in
//! f32 without. See `shaders/matmul_{nt,nn,tn}_narrow.wgsl`.

use std::borrow::Cow;

use super::matmul::{Beside, Columns, Nn, Nt, dispatch};
use super::matmul_coop::{ENABLE, one_part, sum_shares};
use super::storage::{Access, ROUNDING, Width, name_of, storage};
use super::{PCG, STEP, coop_wgsl, shader, wgsl};
use crate::config::Arithmetic;
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `matmul_nt_narrow.wgsl`.
    pub struct MatmulNtNarrowParams {
        m: u32, n: u32, k: u32,
        ldx: u32, x_offset: u32, ldy: u32, y_offset: u32,
        scale: f32,
        dropout_module: u32, first_row: u32,
    }
}

params! {
    /// Parameter block of `matmul_nn_narrow.wgsl`.
    pub struct MatmulNnNarrowParams {
        m: u32, n: u32, k: u32,
        ldx: u32, x_offset: u32, ldy: u32,
        second: u32, third: u32,
        scale: f32,
    }
}

params! {
    /// Parameter block of `matmul_tn_narrow.wgsl`.
    pub struct MatmulTnNarrowParams {
        m: u32, n: u32, k: u32,
        lda: u32, a_offset: u32, ldb: u32, b_offset: u32,
        share: u32, at: u32, stride: u32, transposed: u32,
        second: u32, third: u32,
        dropout_module: u32,
    }
}

/// Which variant of a kernel.
#[derive(Clone, Copy)]
struct Variant {
    arithmetic: Arithmetic,
    /// Type of the wide side.
    wide: Dtype,
    dropout: bool,
}

impl Variant {
    fn name(self) -> String {
        let arithmetic = if self.arithmetic == Arithmetic::F16 { "coop-" } else { "" };
        let dropout = if self.dropout { "-dropout" } else { "" };
        format!("{arithmetic}{}{dropout}", name_of(self.wide))
    }

    /// `product` as a kernel whose result is narrow has it, or, summing over tokens, as one of gradients has; the wide
    /// side's declaration; and what drops elements of it.
    fn parts(self, over_tokens: bool, wide: &str, kernel: &'static str) -> Vec<Cow<'static, str>> {
        let mut parts: Vec<Cow<'static, str>> = Vec::new();
        if self.arithmetic == Arithmetic::F16 {
            parts.push(ENABLE.into());
        }
        let product = match (self.arithmetic, over_tokens) {
            (Arithmetic::F16, false) => coop_wgsl!("shared/coop_narrow"),
            (Arithmetic::F16, true) => coop_wgsl!("shared/coop_tn_narrow"),
            (Arithmetic::F32, false) => wgsl!("shared/plain_narrow"),
            (Arithmetic::F32, true) => wgsl!("shared/plain_tn_narrow"),
        };
        parts.extend([ROUNDING, product].map(Cow::from));
        parts.push(storage(1, wide, self.wide, Width::Four, Access::Read));
        if self.dropout {
            parts.extend([STEP, PCG, wgsl!("shared/dropout_hash")].map(Cow::from));
        } else {
            parts.push(wgsl!("shared/dropout_none").into());
        }
        parts.push(kernel.into());
        parts
    }
}

fn nt_narrow_shader(variant: Variant) -> Shader {
    let parts = variant.parts(false, "x", wgsl!("matmul_nt_narrow"));
    shader::<MatmulNtNarrowParams>("matmul_nt_narrow", variant.name(), &parts)
}

fn nn_narrow_shader(variant: Variant) -> Shader {
    let parts = variant.parts(false, "x", wgsl!("matmul_nn_narrow"));
    shader::<MatmulNnNarrowParams>("matmul_nn_narrow", variant.name(), &parts)
}

fn tn_narrow_shader(variant: Variant) -> Shader {
    let parts = variant.parts(true, "a", wgsl!("matmul_tn_narrow"));
    shader::<MatmulTnNarrowParams>("matmul_tn_narrow", variant.name(), &parts)
}

/// The shaders; those in f16 need cooperative matrices.
pub(super) fn shaders(arithmetic: Arithmetic) -> Vec<Shader> {
    let mut all = Vec::new();
    for wide in [Dtype::F32, Dtype::F16] {
        for dropout in [false, true] {
            let variant = Variant { arithmetic, wide, dropout };
            all.extend([nt_narrow_shader(variant), tn_narrow_shader(variant)]);
        }
        all.push(nn_narrow_shader(Variant { arithmetic, wide, dropout: false }));
    }
    all
}

/// Columns of a narrow result, at most: x is read again for every 16 of them.
const NARROW_COLUMNS: usize = 64;

/// Whether narrow products can be made over a wide side of so many columns, of which they read eight at once.
pub(crate) fn fits_narrow(columns: usize) -> bool {
    columns.is_multiple_of(8)
}

/// Edge of the 16 × 16 sums of a workgroup.
const EDGE: usize = 16;

fn narrow_grid(m: usize, n: usize) -> [u32; 3] {
    [n.div_ceil(EDGE) as u32, m.div_ceil(EDGE) as u32, 1]
}

/// Adds a narrow product with an f32 weight, LoRA's A, to a plan, if it is one.
pub(super) fn add_narrow_nt(plan: &mut PlanBuilder, product: &Nt<'_>) -> bool {
    let Nt { x, weight, y, .. } = product;
    let plain = product.extension.is_none() && product.bias.is_none() && product.residual.is_none();
    let fits = plain
        && weight.dtype() == Dtype::F32
        && (y.count <= NARROW_COLUMNS || x.tensor.dtype() == Dtype::F16)
        && x.is_aligned()
        && fits_narrow(x.count)
        && one_part(&[weight]);
    if !fits {
        return false;
    }
    let dropout = product.dropout.is_some();
    let variant = Variant { arithmetic: plan.arithmetic(), wide: x.tensor.dtype(), dropout };
    for rows in row_parts(&[x.tensor, y.tensor]) {
        let params = MatmulNtNarrowParams {
            m: rows.len() as u32,
            n: y.count as u32,
            k: x.count as u32,
            ldx: x.tensor.columns() as u32,
            x_offset: x.first as u32,
            ldy: y.tensor.columns() as u32,
            y_offset: y.first as u32,
            scale: product.scale,
            dropout_module: product.dropout.unwrap_or(0),
            first_row: rows.start as u32,
        };
        let bindings = [&x.tensor.slice(&rows), weight, &y.tensor.slice(&rows)];
        let grid = narrow_grid(rows.len(), y.count);
        dispatch(plan, dropout, nt_narrow_shader(variant), &params, &bindings, grid);
    }
    true
}

/// As [`add_narrow_nt`], with LoRA's B, or with those of projections beside each other.
pub(super) fn add_narrow_nn(plan: &mut PlanBuilder, product: &Nn<'_>) -> bool {
    let Nn { x, weight, y, .. } = product;
    let (beside, n) = (product.beside, weight.columns());
    let fits = product.extension.is_none()
        && !product.accumulate
        && weight.dtype() == Dtype::F32
        && (n <= NARROW_COLUMNS || x.tensor.dtype() == Dtype::F16 || !beside.0.is_empty())
        && x.is_aligned()
        && fits_narrow(x.count)
        && one_part(&[weight]);
    if !fits {
        return false;
    }
    let [second, third] = beside.starts(x.count);
    let count = beside.0.len().max(1);
    assert!(weight.rows() == x.count && y.columns() == count * n, "B's rows and columns, {count} times");
    let variant = Variant { arithmetic: plan.arithmetic(), wide: x.tensor.dtype(), dropout: false };
    for rows in row_parts(&[x.tensor, y]) {
        let params = MatmulNnNarrowParams {
            m: rows.len() as u32,
            n: n as u32,
            k: x.count as u32,
            ldx: x.tensor.columns() as u32,
            x_offset: x.first as u32,
            ldy: y.columns() as u32,
            second,
            third,
            scale: product.scale,
        };
        let [columns, tiles, _] = narrow_grid(rows.len(), n);
        let bindings = [&x.tensor.slice(&rows), weight, &y.slice(&rows)];
        plan.dispatch(nn_narrow_shader(variant), &params, &bindings, [columns, tiles, count as u32]);
    }
    true
}

/// Partial sums of gradients: shares of the tokens × the gradient's elements.
#[derive(Clone)]
pub struct Shares {
    /// `[shares, elements]`.
    pub parts: Tensor,
}

/// Rows of the wide side in a workgroup.
const SHARE_ROWS: usize = 64;
/// Tokens of a share at least: fewer would be more sums than products.
const SHARE: usize = 128;
/// Shares at most.
const MAX_SHARES: usize = 16;

impl Shares {
    /// For gradients of up to `elements` over up to `rows` tokens; `None` where they pass a limit of the device.
    ///
    /// # Errors
    /// When the device has no room for them.
    pub fn new(gpu: &dyn Allocator, rows: usize, elements: usize) -> Result<Option<Self>> {
        // Fewer tokens may be in more shares than more of them.
        let shape = [rows.div_ceil(SHARE).clamp(1, MAX_SHARES), elements];
        match Tensor::byte_size(&shape, Dtype::F32) {
            Some(bytes) if bytes <= gpu.part_limits().bytes => {
                Ok(Some(Self { parts: gpu.tensor("gradient shares", &shape, Dtype::F32)? }))
            }
            _ => Ok(None),
        }
    }

    /// In how many shares so many tokens are added up.
    pub fn count(tokens: usize) -> usize {
        tokens.div_ceil(Self::tokens(tokens)).max(1)
    }

    /// Tokens of a share.
    fn tokens(tokens: usize) -> usize {
        tokens.div_ceil(MAX_SHARES).next_multiple_of(SHARE).max(SHARE)
    }

    /// `parts[z, at..] = dropout(wide)ᵀ·narrow` over the z-th share of the tokens, `[wide, narrow]` or, `transposed`,
    /// `[narrow, wide]`; `dropout` names the module whose mask applies.
    pub fn add_product(
        &self,
        plan: &mut PlanBuilder,
        wide: Columns<'_>,
        narrow: Columns<'_>,
        at: usize,
        transposed: bool,
        dropout: Option<u32>,
    ) {
        self.add(plan, wide, narrow, Beside::NONE, at, transposed, dropout);
    }

    /// `parts[z, at..] = wideᵀ·narrow` of products beside each other, which have `r` of `narrow`'s columns each.
    pub fn add_products(
        &self,
        plan: &mut PlanBuilder,
        wide: Columns<'_>,
        narrow: &Tensor,
        [at, r]: [usize; 2],
        beside: Beside<'_>,
    ) {
        if beside.all_in(SHARE_ROWS) {
            self.add(plan, wide, Columns::of(narrow, 0, r), beside, at, false, None);
            return;
        }
        let mut first = 0;
        for (i, &width) in beside.0.iter().enumerate() {
            let wide = Columns::of(wide.tensor, wide.first + first, width);
            self.add_product(plan, wide, Columns::of(narrow, i * r, r), at + first * r, false, None);
            first += width;
        }
    }

    #[expect(clippy::too_many_arguments, reason = "of one kernel")]
    fn add(
        &self,
        plan: &mut PlanBuilder,
        wide: Columns<'_>,
        narrow: Columns<'_>,
        beside: Beside<'_>,
        at: usize,
        transposed: bool,
        dropout: Option<u32>,
    ) {
        let tokens = wide.tensor.rows();
        assert_eq!(narrow.tensor.rows(), tokens, "both sides have the same rows");
        assert!(Self::count(tokens) <= self.parts.rows(), "{tokens} tokens are more than there is room for");
        assert!(
            wide.is_aligned() && wide.count.is_multiple_of(4),
            "{} columns from {}",
            wide.count,
            wide.first
        );
        let [second, third] = beside.starts(wide.count);
        let params = MatmulTnNarrowParams {
            m: wide.count as u32,
            n: narrow.count as u32,
            k: tokens as u32,
            lda: wide.tensor.columns() as u32,
            a_offset: wide.first as u32,
            ldb: narrow.tensor.columns() as u32,
            b_offset: narrow.first as u32,
            share: Self::tokens(tokens) as u32,
            at: at as u32,
            stride: self.parts.columns() as u32,
            transposed: transposed.into(),
            second,
            third,
            dropout_module: dropout.unwrap_or(0),
        };
        let columns = narrow.count.div_ceil(EDGE) as u32;
        let grid = [columns, wide.count.div_ceil(SHARE_ROWS) as u32, Self::count(tokens) as u32];
        let bindings = [wide.tensor, narrow.tensor, &self.parts];
        let arithmetic = plan.arithmetic();
        let shader =
            tn_narrow_shader(Variant { arithmetic, wide: wide.tensor.dtype(), dropout: dropout.is_some() });
        dispatch(plan, dropout.is_some(), shader, &params, &bindings, grid);
    }

    /// `y += Σ_z parts[z, at..at + y.len()]`, of products over so many tokens.
    pub fn add_up(&self, plan: &mut PlanBuilder, tokens: usize, at: usize, y: &Tensor) {
        sum_shares(plan, &self.parts, self.parts.columns(), [at, Self::count(tokens)], y, true);
    }
}
