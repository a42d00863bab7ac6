//! AdamW after clipping by the global norm, as torch.optim.AdamW and clip_grad_norm_ compute them.

/// Hyperparameters under torch's names.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    pub max_grad_norm: f64,
}

/// Parameters and both moments.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub p: Vec<f64>,
    pub m: Vec<f64>,
    pub v: Vec<f64>,
}

impl AdamW {
    /// Step `t` (from 1) with gradient `g` whose global norm is `norm`; nothing changes if that is not
    /// finite.
    pub fn step(&self, state: &mut State, g: &[f64], norm: f64, t: i32) {
        if !norm.is_finite() {
            return;
        }
        let clip = (self.max_grad_norm / (norm + 1e-6)).min(1.0);
        for (i, g) in g.iter().enumerate() {
            let g = g * clip;
            let State { p, m, v } = state;
            p[i] *= 1.0 - self.lr * self.weight_decay;
            m[i] += (1.0 - self.beta1) * (g - m[i]);
            v[i] = self.beta2 * v[i] + (1.0 - self.beta2) * g * g;
            let denominator = v[i].sqrt() / (1.0 - self.beta2.powi(t)).sqrt() + self.eps;
            p[i] -= self.lr / (1.0 - self.beta1.powi(t)) * m[i] / denominator;
        }
    }
}
