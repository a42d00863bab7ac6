use postil::gpu::{Gpu, Params, PlanBuilder, Shader, Tensor};
use postil::kernels::adamw::AdamwParams;
use postil::kernels::add_rows::AddRowsParams;
use postil::kernels::all_shaders;
use postil::kernels::attention::{AttentionDeltaParams, AttentionDkvSumParams, AttentionParams};
use postil::kernels::attention_token::AttentionTokenParams;
use postil::kernels::copy::CopyParams;
use postil::kernels::copy_columns::CopyColumnsParams;
use postil::kernels::cross_entropy::CrossEntropyParams;
use postil::kernels::gather::RowsParams;
use postil::kernels::gelu::GeluParams;
use postil::kernels::halves::HalvesParams;
use postil::kernels::head_norm::{HeadNormBackwardParams, HeadNormParams};
use postil::kernels::layer_norm::{LayerNormBackwardParams, LayerNormParams};
use postil::kernels::matmul_coop::SumSharesParams;
use postil::kernels::matvec::MatvecParams;
use postil::kernels::rms_norm::{RmsNormBackwardParams, RmsNormParams};
use postil::kernels::rope::RopeParams;
use postil::kernels::rope_heads::RopeHeadsParams;
use postil::kernels::step::{Optimizer, Step};
use postil::kernels::swiglu::SwigluParams;
use postil::kernels::transpose::TransposeParams;

use super::compare::assert_same_bits;
use super::inputs::{Random, f32s, read, run_step, u32s};

// Work that does not fit into the 65,535 workgroups of one dimension is spread over x and y. Rather than
// computing on so much, these tests fold small grids: three rows of workgroups must give what one gives.

const ROWS: usize = 37;
const WIDTH: usize = 66;

struct Folding<'g> {
    gpu: &'g Gpu,
    step: Step,
}

impl Folding<'_> {
    /// Runs `kernel` with `workgroups` in one row and in three, in between with all bindings back to what they were;
    /// `output` is the index of the one that is compared.
    async fn check<P: Params>(
        &self,
        kernel: &str,
        params: P,
        bindings: &[&Tensor],
        output: usize,
        workgroups: u32,
    ) {
        let shader = find(kernel);
        let mut before: Vec<Vec<u32>> = Vec::new();
        for tensor in bindings {
            before.push(self.gpu.read(tensor).await.expect("a read-back"));
        }
        let mut results = Vec::new();
        for grid in [[workgroups, 1, 1], [workgroups.div_ceil(3), 3, 1]] {
            for (tensor, before) in bindings.iter().zip(&before) {
                self.gpu.write(tensor, before);
            }
            let record = |plan: &mut PlanBuilder| {
                if shader.source().contains("struct Step") {
                    plan.dispatch_with_step(shader.clone(), &params, bindings, grid);
                } else {
                    plan.dispatch(shader.clone(), &params, bindings, grid);
                }
            };
            run_step(self.gpu, &self.step, record);
            results.push(read(self.gpu, bindings[output]).await);
        }
        assert_same_bits(kernel, &results[1], &results[0]);
        assert!(bytemuck::cast_slice::<f32, u32>(&results[0]) != before[output], "{kernel} changed nothing");
    }
}

fn find(label: &str) -> Shader {
    all_shaders().into_iter().find(|shader| shader.label() == label).expect("the crate has this shader")
}

pub async fn folded_grids_give_the_same(gpu: &Gpu) {
    let settings =
        Optimizer { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, max_grad_norm: 1.0 };
    let folding = Folding { gpu, step: Step::default().optimizer(&settings, 1, 0.1).targets(3) };
    let mut random = Random::new(100);
    let count = ROWS * WIDTH;
    let mut matrix = |columns: usize| f32s(gpu, &[ROWS, columns], &random.normal(ROWS * columns));
    let [a, b, c, d] = [(); 4].map(|()| matrix(WIDTH));
    let [wide, wide_out] = [(); 2].map(|()| matrix(2 * WIDTH));
    let [side, other_side] = [(); 2].map(|()| matrix(3));
    let moment = f32s(gpu, &[count], &vec![0.5; count]);
    let [rstd, scale] = [ROWS, WIDTH].map(|n| f32s(gpu, &[n], &vec![0.5; n]));
    let state = f32s(gpu, &[8], &[2.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let index = u32s(gpu, &[ROWS], &Random::new(101).permutation(ROWS as u32));
    let (rows, width) = (ROWS as u32, WIDTH as u32);
    let elements = (count as u32).div_ceil(256);

    let params = RowsParams { rows, width, first: 0, count: rows };
    folding.check("gather/f32", params, &[&index, &a, &b], 2, elements).await;
    folding.check("scatter", params, &[&index, &a, &c], 2, elements).await;
    let params = SwigluParams { rows, width };
    folding.check("swiglu/f32", params, &[&wide, &b], 1, elements).await;
    folding.check("swiglu_backward/f32", params, &[&wide_out, &b, &c], 0, elements).await;
    let params = GeluParams { rows, width };
    folding.check("gelu/gated-f32", params, &[&wide, &b], 1, elements).await;
    folding.check("gelu_backward/gated-f32", params, &[&wide_out, &b, &c], 2, elements).await;
    let params = AddRowsParams { rows, width, mode: 2, first: 0, count: rows, scale: 2.0 };
    folding.check("add_rows", params, &[&index, &a, &b], 2, elements).await;
    let params =
        CopyColumnsParams { rows, columns: width, ldx: width, x_first: 0, ldy: 2 * width, y_first: 3 };
    folding.check("copy_columns", params, &[&a, &wide_out], 1, elements).await;
    let flat = f32s(gpu, &[count & !3], &vec![0.5; count & !3]);
    let quads = count as u32 / 4;
    let params = HalvesParams { quads };
    folding.check("halves/f32-f16", params, &[&flat, &c], 1, quads.div_ceil(256)).await;
    folding.check("copy", CopyParams { quads }, &[&flat, &wide_out], 1, quads.div_ceil(256)).await;
    let params = TransposeParams {
        rows,
        columns: width,
        words: rows * width,
        x_first: 0,
        x_count: rows,
        y_first: 0,
        y_count: width,
    };
    folding.check("transpose/32", params, &[&a, &c], 1, elements).await;
    // v, since it depends on nothing else that the step changes.
    let params = AdamwParams { count: count as u32 };
    folding.check("adamw", params, &[&d, &a, &b, &moment, &state], 3, elements).await;

    let params = SumSharesParams {
        count: count as u32 / 2,
        at: 0,
        stride: count as u32 / 2,
        shares: 2,
        accumulate: 0,
    };
    folding.check("sum_shares", params, &[&a, &b], 1, elements.div_ceil(2)).await;

    let params = RmsNormParams { rows, width, eps: 1e-5 };
    folding.check("rms_norm/f32-f32", params, &[&a, &scale, &b, &rstd], 2, rows).await;
    let params = RmsNormBackwardParams { rows, width, accumulate: 0 };
    folding.check("rms_norm_backward/f32", params, &[&a, &scale, &rstd, &c, &b], 4, rows).await;
    let params = LayerNormParams { rows, width, eps: 1e-5 };
    folding.check("layer_norm/f32-f32", params, &[&a, &scale, &b, &rstd, &scale], 2, rows).await;
    let params = LayerNormBackwardParams { rows, width, accumulate: 0 };
    folding.check("layer_norm_backward/f32", params, &[&a, &scale, &rstd, &c, &b], 4, rows).await;
    let params = HeadNormParams { rows, heads: 3, head_dim: 22, ldy: width, y_offset: 0, eps: 1e-5 };
    folding.check("head_norm", params, &[&a, &scale, &b, &side], 2, 3 * rows).await;
    let params = HeadNormBackwardParams { rows, heads: 3, head_dim: 22, ldd: width };
    folding.check("head_norm_backward", params, &[&a, &scale, &side, &b], 3, 3 * rows).await;
    let params = CrossEntropyParams { rows, vocab: width, loss_offset: 0, backward: 1 };
    folding.check("cross_entropy", params, &[&index, &c, &rstd, &state], 1, rows).await;

    // Three heads of 22 columns.
    let table = f32s(gpu, &[ROWS, 22], &postil::kernels::rope::table(ROWS, &[0.5; 11]));
    let params = RopeParams {
        rows,
        heads: 3,
        head_dim: 22,
        rotary: 22,
        ld: width,
        first: 0,
        count: rows,
        direction: 1.0,
    };
    folding.check("rope", params, &[&index, &table, &d], 2, (rows * 33).div_ceil(256)).await;
    // A query head, a key head and its values.
    let params = RopeHeadsParams {
        rows,
        q_width: 22,
        kv_width: 44,
        head_dim: 22,
        rotary: 22,
        first: 0,
        count: rows,
        direction: 1.0,
    };
    folding.check("rope_split/f32", params, &[&index, &table, &a, &b, &wide_out], 4, elements).await;
    folding.check("rope_merge/f32", params, &[&index, &table, &a, &wide, &b], 4, elements).await;
    let params = AttentionDeltaParams { items: 3 * rows, head_dim: 22 };
    folding.check("attention_delta/f32", params, &[&a, &b, &side], 2, (3 * rows).div_ceil(64)).await;
    let all: Vec<u32> = [0, rows].repeat(ROWS);
    let range = u32s(gpu, &[ROWS, 2], &all);
    let params = AttentionParams {
        rows,
        heads: 3,
        kv_heads: 3,
        head_dim: 22,
        scale: 0.2,
        first: 0,
        count: rows,
        accumulate: 0,
    };
    folding.check("attention", params, &[&range, &a, &wide, &b, &side], 3, 3 * rows).await;
    let operands = [&range, &a, &wide, &d, &side, &other_side];
    folding.check("attention_dq", params, &[&operands[..], &[&b]].concat(), 6, 3 * rows).await;
    folding.check("attention_dkv", params, &[&operands[..], &[&wide_out]].concat(), 6, 3 * rows).await;
    let params = AttentionParams { head_dim: 20, ..params };
    folding.check("attention_tiled/f32-64x64", params, &[&range, &a, &wide, &b, &side], 3, 3).await;
    folding.check("attention_tiled_dq/f32-32x64", params, &[&operands[..], &[&b]].concat(), 6, 6).await;
    folding.check("attention_tiled_dkv/f32-32x64", params, &[&operands[..], &[&b, &c]].concat(), 6, 6).await;
    let params = AttentionTokenParams {
        heads: 3,
        kv_heads: 3,
        head_dim: 11,
        scale: 0.2,
        count: 2 * rows,
        ..Default::default()
    };
    // The rows of `wide` are twice as many of 66 columns: the first share of three heads, of which `[0, 37]` is seen.
    let bindings = [&range, &a, &rstd, &rstd, &rstd, &wide, &b, &side];
    folding.check("attention_token/ones", params, &bindings, 6, 3).await;
    let params =
        MatvecParams { n: rows, k: width, end_0: rows, end_1: rows, scale_0: 1.0, ..Default::default() };
    let bindings = [&d, &a, &a, &rstd, &rstd, &rstd, &c, &a];
    folding.check("matvec/f32-ones", params, &bindings, 6, rows.div_ceil(4)).await;
    let params = AttentionDkvSumParams { rows, heads: 3, kv_heads: 3, head_dim: 22 };
    folding.check("attention_dkv_sum", params, &[&a, &d, &wide_out], 2, 2 * elements).await;
}

cases!(folded_grids_give_the_same);
