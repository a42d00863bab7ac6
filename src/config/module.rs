//! The linear modules of a decoder layer and their names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A linear module of a decoder layer. The order is the order of execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// `self_attn.q_proj`
    QProj,
    /// `self_attn.k_proj`
    KProj,
    /// `self_attn.v_proj`
    VProj,
    /// `self_attn.o_proj`
    OProj,
    /// `mlp.gate_proj`
    GateProj,
    /// `mlp.up_proj`
    UpProj,
    /// `mlp.down_proj`
    DownProj,
}

impl Projection {
    /// Every projection, in order.
    pub const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// The last part of the module's name: `q_proj`.
    pub fn name(self) -> &'static str {
        // The parent's name has no dot, so a path always has two parts.
        self.path().split_once('.').map_or("", |(_, name)| name)
    }

    /// The module's name inside its layer: `self_attn.q_proj`.
    pub fn path(self) -> &'static str {
        match self {
            Self::QProj => "self_attn.q_proj",
            Self::KProj => "self_attn.k_proj",
            Self::VProj => "self_attn.v_proj",
            Self::OProj => "self_attn.o_proj",
            Self::GateProj => "mlp.gate_proj",
            Self::UpProj => "mlp.up_proj",
            Self::DownProj => "mlp.down_proj",
        }
    }

    /// The projection called `name` (`q_proj`), if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|projection| projection.name() == name)
    }

    pub(super) fn is_attention(self) -> bool {
        matches!(self, Self::QProj | Self::KProj | Self::VProj | Self::OProj)
    }
}

/// One linear module of a model. Ordered by layer, then projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModuleId {
    /// The decoder layer, from 0.
    pub layer: usize,
    /// Which of the layer's linear modules.
    pub projection: Projection,
}

impl ModuleId {
    /// The module's name in the checkpoint: `model.layers.3.self_attn.q_proj`.
    pub fn name(&self) -> String {
        format!("model.layers.{}.{}", self.layer, self.projection.path())
    }

    /// The module that [`ModuleId::name`] calls `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        let (layer, path) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let projection = Projection::ALL.into_iter().find(|projection| projection.path() == path)?;
        let id = Self { layer: layer.parse().ok()?, projection };
        // One spelling per module: no `+3`, no `03`.
        (id.name() == name).then_some(id)
    }
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}
