//! What tells one model family from another; the families themselves are in `families.rs`.

use super::families::{GEMMA3, GPT2, LLAMA, MISTRAL, PHI3, QWEN2, QWEN3, SMOLLM3};
use super::{Projection, Role};

/// A norm of a decoder layer by what it does, whatever a family calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NormRole {
    /// Before the attention.
    AttentionInput,
    /// On each query head.
    Query,
    /// On each key head.
    Key,
    /// On the attention's output, before it is added to the residual stream.
    AttentionOutput,
    /// Before the MLP.
    MlpInput,
    /// On the MLP's output, before it is added to the residual stream.
    MlpOutput,
}

/// How a norm computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// x/rms(x)·weight (Zhang & Sennrich, arXiv:1910.07467).
    Rms,
    /// x/rms(x)·(1 + weight), as Gemma stores it.
    RmsOnePlus,
    /// (x − mean)/deviation·weight + bias (Ba et al., arXiv:1607.06450).
    LayerNorm,
}

/// Which modules have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bias {
    Never,
    Always,
    /// As the file's field says.
    Field,
    /// Queries, keys and values.
    QueryKeyValue,
}

/// How positions get into the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Positions {
    /// A table of this name, added to the embeddings.
    Learned(&'static str),
    /// Rotary, with the default of `rope_theta`.
    Rotary { rope_theta: f64 },
    /// Rotary, with two sets of parameters.
    RotaryByLayerType { rope_theta: f64, rope_local_base_freq: f64 },
}

/// Which layers see only a window of `sliding_window` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    None,
    /// All layers, if there is a window; the default of one.
    All(Option<usize>),
    /// With `use_sliding_window`, those from `max_window_layers` on or as `layer_types` says.
    FromLayer,
    /// With `use_sliding_window`, those without rotary positions or as `layer_types` says.
    WithoutRope,
    /// As `layer_types` says, or all but every `sliding_window_pattern`-th.
    Pattern,
}

/// What scores are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScoreScale {
    /// 1/√head_dim.
    HeadDim,
    /// 1/√query_pre_attn_scalar.
    QueryPreAttnScalar,
    /// 1/√head_dim, or 1 without `scale_attn_weights`.
    ScaleAttnWeights,
}

/// What a missing field means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Defaults {
    pub vocab_size: usize,
    pub hidden_size: usize,
    /// `None`: four times `hidden_size`.
    pub intermediate_size: Option<usize>,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    /// `None`: as many as `num_attention_heads`.
    pub num_key_value_heads: Option<usize>,
    /// `None`: `hidden_size / num_attention_heads`.
    pub head_dim: Option<usize>,
    pub max_position_embeddings: usize,
    pub norm_eps: f64,
    pub tie_word_embeddings: bool,
    pub bos_token_id: Option<u32>,
    pub eos_token_id: Option<u32>,
    pub pad_token_id: Option<u32>,
}

/// One family: the names in its files and the parts of its decoder.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The class in its `architectures`.
    pub architecture: &'static str,
    /// What comes before every tensor's name but the head's; some files leave it out.
    pub prefix: &'static str,
    /// Name of the embedding table.
    pub embed_tokens: &'static str,
    /// Name of the norm after the last layer.
    pub norm: &'static str,
    /// The linear modules of a layer, in the order of execution.
    pub projections: &'static [Projection],
    /// The norms of a layer with their names.
    pub norms: &'static [(NormRole, &'static str)],
    /// How all of them compute.
    pub norm_kind: NormKind,
    /// Modules beside the linear ones and the norms: outside the layers (full names), and in a layer.
    pub(super) other_modules: (&'static [&'static str], &'static [&'static str]),
    pub(super) defaults: Defaults,
    /// Fields that the file calls differently: (written, read as).
    pub(super) aliases: &'static [(&'static str, &'static str)],
    pub(super) norm_eps: &'static str,
    pub(super) hidden_act: &'static str,
    /// What `hidden_act` is when it is missing.
    pub(super) default_act: &'static str,
    pub(super) attention_bias: Bias,
    pub(super) mlp_bias: Bias,
    pub(super) positions: Positions,
    pub(super) partial_rotary: bool,
    pub(super) windows: Windows,
    pub(super) score_scale: ScoreScale,
    /// Whether embeddings are multiplied by √hidden_size.
    pub(super) scaled_embeddings: bool,
    /// Whether `pretraining_tp` changes what is computed.
    pub(super) has_pretraining_tp: bool,
    /// The fields of dropout inside the frozen model that is left out, where nearly every file names one: refusing
    /// it would refuse the family. The user is told. Other families' files are refused for theirs.
    pub(super) ignored_dropout: &'static [&'static str],
}

impl Family {
    /// Every family.
    pub const ALL: [&'static Self; 8] = [&LLAMA, &QWEN2, &QWEN3, &MISTRAL, &SMOLLM3, &GEMMA3, &PHI3, &GPT2];

    /// The linear module that plays a role, if one does.
    pub fn projection(&self, role: Role) -> Option<Projection> {
        self.projections.iter().copied().find(|projection| projection.role() == role)
    }

    /// The name of the norm that plays a role, if one does.
    pub fn norm_name(&self, role: NormRole) -> Option<&'static str> {
        self.norms.iter().find(|(found, _)| *found == role).map(|&(_, name)| name)
    }

    /// The name of the table of learned positions, if there is one.
    pub fn learned_positions(&self) -> Option<&'static str> {
        match self.positions {
            Positions::Learned(name) => Some(name),
            Positions::Rotary { .. } | Positions::RotaryByLayerType { .. } => None,
        }
    }

    /// Whether the MLP multiplies what is activated.
    pub fn is_gated(&self) -> bool {
        self.projections.iter().any(|projection| matches!(projection.role(), Role::Gate | Role::GateUp))
    }

    /// The name of the list of layers: `model.layers`.
    pub fn layers(&self) -> &'static str {
        self.projections[0].layers()
    }

    /// The names of a layer's linear modules, each once, as `target_modules` lists them.
    pub fn module_names(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.projections.iter().map(|projection| projection.name()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// What a projection is called in a table: its name, or its path where another has the same name.
    pub fn label(&self, projection: Projection) -> &'static str {
        let same = self.projections.iter().filter(|other| other.name() == projection.name()).count();
        if same > 1 { projection.path() } else { projection.name() }
    }
}
