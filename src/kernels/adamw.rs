//! AdamW on flat buffers, with the global-norm clip. See `shaders/adamw.wgsl`.

use super::{STEP, per_element, shader, wgsl};
use crate::gpu::{PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `adamw.wgsl`.
    pub struct AdamwParams { count: u32, }
}

fn adamw_shader() -> Shader {
    shader::<AdamwParams>("adamw", "", &[STEP, wgsl!("adamw")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![adamw_shader()]
}

/// One step over `p`, `m`, `v` `[count]` by gradient `g`, whose norm and scale are in `state` (see
/// [`LossScale`](super::loss_scale::LossScale)); the step's values hold the rest.
pub fn adamw(plan: &mut PlanBuilder, p: &Tensor, g: &Tensor, m: &Tensor, v: &Tensor, state: &Tensor) {
    let count = p.len();
    assert!([g, m, v].iter().all(|t| t.len() == count), "parameters, gradient and moments are of one length");
    for part in row_parts(&[p, g, m, v]) {
        let [p, g, m, v] = [p, g, m, v].map(|tensor| tensor.slice(&part));
        let params = AdamwParams { count: part.len() as u32 };
        plan.dispatch_with_step(adamw_shader(), &params, &[&p, &g, &m, &v, state], per_element(part.len()));
    }
}
