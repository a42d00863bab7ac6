//! Which kernels a table shows together.

use serde::Serialize;

/// Kernels that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Matrix products.
    Matmul,
    /// Attention, forward.
    Attention,
    /// Attention, backward.
    AttentionBackward,
    /// Norms, both ways.
    Norm,
    /// Rotary positions, both ways.
    Rope,
    /// The MLP's activation, both ways.
    Activation,
    /// What is kept in 16 bits, both ways.
    Halves,
    /// Cross-entropy.
    Loss,
    /// Clipping and AdamW.
    Optimizer,
    /// Embeddings, copies, additions.
    Other,
}

impl Group {
    /// All of them, in the order of a table.
    pub const ALL: [Self; 10] = [
        Self::Matmul,
        Self::Attention,
        Self::AttentionBackward,
        Self::Norm,
        Self::Rope,
        Self::Activation,
        Self::Halves,
        Self::Loss,
        Self::Optimizer,
        Self::Other,
    ];

    /// Where a kernel belongs, by its name or label (`kernel/variant`).
    pub fn of(kernel: &str) -> Self {
        let name = kernel.split('/').next().unwrap_or(kernel);
        let has = |part: &str| name.contains(part);
        match name {
            _ if has("matmul") || has("matvec") || has("sum_shares") => Self::Matmul,
            _ if has("attention") && ["_delta", "_dq", "_dkv", "_backward"].into_iter().any(has) => {
                Self::AttentionBackward
            }
            _ if has("attention") => Self::Attention,
            _ if has("norm") => Self::Norm,
            _ if has("rope") => Self::Rope,
            _ if has("swiglu") || has("gelu") => Self::Activation,
            _ if has("halves") => Self::Halves,
            _ if has("cross_entropy") => Self::Loss,
            _ if has("adamw") || has("reduce") || has("loss_scale") => Self::Optimizer,
            _ => Self::Other,
        }
    }

    /// Its name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matmul => "matrix products",
            Self::Attention => "attention",
            Self::AttentionBackward => "attention backward",
            Self::Norm => "norms",
            Self::Rope => "rotary positions",
            Self::Activation => "activation",
            Self::Halves => "16-bit copies",
            Self::Loss => "cross-entropy",
            Self::Optimizer => "optimizer",
            Self::Other => "other",
        }
    }
}
