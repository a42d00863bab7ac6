//! The scale of the loss in f16, which keeps small gradients within f16's range. See `shaders/loss_scale.wgsl`.

use super::{shader, wgsl};
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, Gpu, PlanBuilder, Shader, Tensor};
use crate::params;

params! {
    /// Parameter block of `loss_scale.wgsl`.
    pub struct LossScaleParams { interval: u32, }
}

/// Finite gradients in a row after which the scale is doubled: `torch.amp.GradScaler`'s `growth_interval`.
pub const GROWTH_INTERVAL: u32 = 2000;

/// The scale that a run in f16 begins with: `torch.amp.GradScaler`'s `init_scale`.
pub const INIT_SCALE: f32 = 65_536.0;

fn loss_scale_shader() -> Shader {
    shader::<LossScaleParams>("loss_scale", "", &[wgsl!("loss_scale")])
}

pub(super) fn shaders() -> Vec<Shader> {
    vec![loss_scale_shader()]
}

/// What [`loss_scale`] keeps, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LossScale {
    /// What the next step's loss is multiplied with.
    pub scale: f32,
    /// Finite gradients since it last changed.
    pub finite: u32,
    /// Steps that were skipped for a gradient that was not finite.
    pub skipped: u32,
}

impl Default for LossScale {
    /// No scale.
    fn default() -> Self {
        Self { scale: 1.0, finite: 0, skipped: 0 }
    }
}

impl LossScale {
    /// Memory for the state and the gradient's norm, `[8]`.
    ///
    /// # Errors
    /// When the device has no room for it.
    pub fn tensor(gpu: &dyn Allocator) -> Result<Tensor> {
        gpu.tensor("gradient norm and scale", &[8], Dtype::F32)
    }

    /// Sets the scale alone: what was counted so far stays.
    pub fn begin(gpu: &Gpu, state: &Tensor, scale: f32) {
        gpu.write_at(state, 4, bytemuck::cast_slice(&[scale, 1.0]));
    }

    /// Sets the whole state.
    pub fn write(&self, gpu: &Gpu, state: &Tensor) {
        gpu.write(state, &[0, self.scale.to_bits(), 1f32.to_bits(), self.finite, self.skipped]);
    }

    /// The gradient's norm and the state in what was read back.
    pub fn parse(words: &[u32]) -> (f32, Self) {
        let state = Self { scale: f32::from_bits(words[1]), finite: words[3], skipped: words[4] };
        (f32::from_bits(words[0]), state)
    }
}

/// Takes the scale out of the gradient's norm in `state[0]` and sets that of the next step.
pub fn loss_scale(plan: &mut PlanBuilder, state: &Tensor, interval: u32) {
    assert_eq!(state.len(), 8, "the state's words");
    plan.dispatch(loss_scale_shader(), &LossScaleParams { interval }, &[state], [1, 1, 1]);
}
