//! The linear modules of a decoder layer and their names.

use std::fmt;

/// What a linear module computes in its layer, in the order of execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// Queries, keys and values, side by side.
    QueryKeyValue,
    /// The attention's output.
    Output,
    /// The MLP's gate.
    Gate,
    /// What the gate multiplies; in an MLP without a gate, what is activated.
    Up,
    /// Gate and up, side by side.
    GateUp,
    /// The MLP's output.
    Down,
}

/// A linear module of a decoder layer, by its name in the checkpoint. The order is the order of execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// `self_attn.q_proj`
    QProj,
    /// `self_attn.k_proj`
    KProj,
    /// `self_attn.v_proj`
    VProj,
    /// `self_attn.qkv_proj`
    QkvProj,
    /// `self_attn.o_proj`
    OProj,
    /// `mlp.gate_proj`
    GateProj,
    /// `mlp.up_proj`
    UpProj,
    /// `mlp.gate_up_proj`
    GateUpProj,
    /// `mlp.down_proj`
    DownProj,
    /// GPT-2's `attn.c_attn`
    CAttn,
    /// GPT-2's `attn.c_proj`
    AttnCProj,
    /// GPT-2's `mlp.c_fc`
    CFc,
    /// GPT-2's `mlp.c_proj`
    MlpCProj,
}

impl Projection {
    /// Every projection of every family.
    pub const ALL: [Self; 13] = [
        Self::QProj,
        Self::KProj,
        Self::VProj,
        Self::QkvProj,
        Self::OProj,
        Self::GateProj,
        Self::UpProj,
        Self::GateUpProj,
        Self::DownProj,
        Self::CAttn,
        Self::AttnCProj,
        Self::CFc,
        Self::MlpCProj,
    ];

    /// The last part of the module's name: `q_proj`. Two of GPT-2's modules share one, `c_proj`.
    pub fn name(self) -> &'static str {
        // The parent's name has no dot, so a path always has two parts.
        self.path().split_once('.').map_or("", |(_, name)| name)
    }

    /// The module's name inside its layer: `self_attn.q_proj`.
    pub fn path(self) -> &'static str {
        self.entry().0
    }

    /// What it computes.
    pub fn role(self) -> Role {
        self.entry().1
    }

    /// The name of the list of layers that it belongs to: `model.layers`.
    pub fn layers(self) -> &'static str {
        if self.is_conv1d() { "transformer.h" } else { "model.layers" }
    }

    /// Whether it is transformers' `Conv1D`, whose weight is stored `[in_features, out_features]`; PEFT
    /// calls that `fan_in_fan_out`.
    pub fn is_conv1d(self) -> bool {
        matches!(self, Self::CAttn | Self::AttnCProj | Self::CFc | Self::MlpCProj)
    }

    fn entry(self) -> (&'static str, Role) {
        match self {
            Self::QProj => ("self_attn.q_proj", Role::Query),
            Self::KProj => ("self_attn.k_proj", Role::Key),
            Self::VProj => ("self_attn.v_proj", Role::Value),
            Self::QkvProj => ("self_attn.qkv_proj", Role::QueryKeyValue),
            Self::OProj => ("self_attn.o_proj", Role::Output),
            Self::GateProj => ("mlp.gate_proj", Role::Gate),
            Self::UpProj => ("mlp.up_proj", Role::Up),
            Self::GateUpProj => ("mlp.gate_up_proj", Role::GateUp),
            Self::DownProj => ("mlp.down_proj", Role::Down),
            Self::CAttn => ("attn.c_attn", Role::QueryKeyValue),
            Self::AttnCProj => ("attn.c_proj", Role::Output),
            Self::CFc => ("mlp.c_fc", Role::Up),
            Self::MlpCProj => ("mlp.c_proj", Role::Down),
        }
    }
}

/// One linear module of a model. Ordered by layer, then projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId {
    /// The decoder layer, from 0.
    pub layer: usize,
    /// Which of the layer's linear modules.
    pub projection: Projection,
}

impl ModuleId {
    /// The module's name in the checkpoint: `model.layers.3.self_attn.q_proj`.
    pub fn name(&self) -> String {
        format!("{}.{}.{}", self.projection.layers(), self.layer, self.projection.path())
    }

    /// The module that [`ModuleId::name`] calls `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        let projection = Projection::ALL.into_iter().find(|projection| {
            name.strip_suffix(projection.path()).is_some_and(|rest| rest.ends_with('.'))
                && name.starts_with(projection.layers())
        })?;
        let layer = name.strip_prefix(projection.layers())?.strip_prefix('.')?.split_once('.')?.0;
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
