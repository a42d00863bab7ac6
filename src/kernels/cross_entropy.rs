//! Cross-entropy and its gradient over one chunk of rows, in place. See `shaders/cross_entropy.wgsl`.

use super::{STEP, shader, spread, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `cross_entropy.wgsl`.
    pub struct CrossEntropyParams { rows: u32, vocab: u32, loss_offset: u32, backward: u32, }
}

fn cross_entropy_shader() -> Shader {
    shader::<CrossEntropyParams>(
        "cross_entropy",
        "",
        &[STEP, wgsl!("shared/row_wide"), wgsl!("cross_entropy")],
    )
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![cross_entropy_shader()]
}

/// Rows `first..first + logits.rows()` of `targets` and `loss` belong to `logits [rows, vocab]`, which
/// becomes its own gradient, times the step's `loss_scale`, with the state of the loss's scale (see
/// [`LossScale`](super::loss_scale::LossScale)), times that too.
pub fn cross_entropy(
    plan: &mut PlanBuilder,
    targets: &Tensor,
    logits: &Tensor,
    loss: &Tensor,
    first: usize,
    state: Option<&Tensor>,
) {
    let rows = logits.rows();
    assert!(first + rows <= targets.len() && first + rows <= loss.len(), "every row has a target and a loss");
    for part in row_parts(&[logits]) {
        let params = CrossEntropyParams {
            rows: part.len() as u32,
            vocab: logits.columns() as u32,
            loss_offset: (first + part.start) as u32,
            backward: state.is_some().into(),
        };
        let absent = plan.gpu().absent();
        let bindings = [targets, &logits.slice(&part), loss, state.unwrap_or(&absent)];
        plan.dispatch_with_step(cross_entropy_shader(), &params, &bindings, spread(part.len()));
    }
}
