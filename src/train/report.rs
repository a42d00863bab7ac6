//! What a run tells of itself.

/// What one optimizer step did.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StepReport {
    /// Step, from 1.
    pub step: usize,
    /// Mean loss over the step's target tokens, in nats.
    pub loss: f64,
    /// Learning rate that the step used.
    pub lr: f64,
    /// Global L2 norm of the gradient, before clipping.
    pub grad_norm: f64,
    /// Tokens that went through the model in this step.
    pub tokens: usize,
    /// Over the last few steps, evaluation left out.
    pub tokens_per_second: f64,
    /// Mean loss over the held-out target tokens after this step, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
    /// Whether that is the lowest so far.
    #[serde(skip)]
    pub improved: bool,
    /// What a person should know of this step: in f16 it may have been skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps reported.
    pub step: usize,
    /// Steps of the whole run.
    pub total: usize,
}
