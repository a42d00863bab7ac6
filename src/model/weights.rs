//! The frozen weights in GPU memory, as stored on disk.

use std::collections::BTreeMap;

use super::NormWeight;
use super::backward::Stage;
use super::loader::Loader;
use super::stack::{STACKED, fit, members};
use crate::checkpoint::{Progress, TensorSource};
use crate::config::{LM_HEAD, ModelConfig, ModuleId, NormKind, NormRole, Projection, TensorKind, TensorSpec};
use crate::error::Result;
use crate::gpu::{Allocator, Gpu, MemoryUse, Tally, Tensor};

/// A frozen linear layer.
pub struct LinearWeight {
    /// `[out_features, in_features]`, in the file's type.
    pub weight: Tensor,
    /// `[out_features]`, f32.
    pub bias: Option<Tensor>,
}

/// The frozen linear layers of a stage as one: the same memory as theirs.
pub struct LinearStack {
    /// All of them, one below the other.
    pub linear: LinearWeight,
    /// `out_features` of each.
    pub widths: Vec<usize>,
}

/// The weights of one decoder layer.
pub struct LayerWeights {
    norms: BTreeMap<NormRole, NormWeight>,
    linears: BTreeMap<Projection, LinearWeight>,
    stacks: BTreeMap<Stage, LinearStack>,
}

impl LayerWeights {
    /// A linear layer, one of the family's.
    pub fn linear(&self, projection: Projection) -> &LinearWeight {
        &self.linears[&projection]
    }

    /// The linear layers of a stage as one, if they are several and lie in memory so.
    pub fn stack(&self, stage: Stage) -> Option<&LinearStack> {
        self.stacks.get(&stage)
    }

    /// A norm, if the family has it.
    pub fn norm(&self, role: NormRole) -> Option<&NormWeight> {
        self.norms.get(&role)
    }
}

/// GPU memory of a base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeightBytes {
    /// Bytes of the weights.
    pub kept: u64,
    /// Bytes beside them while they are loaded.
    pub loading: u64,
}

impl WeightBytes {
    /// The most at any time, bytes.
    pub fn peak(self) -> u64 {
        self.kept.saturating_add(self.loading)
    }
}

/// All weights of a decoder.
pub struct Weights {
    /// `[vocab_size, hidden_size]`, in the file's type.
    pub embed_tokens: Tensor,
    /// `[max_position_embeddings, hidden_size]`, f32, where positions are learned.
    pub embed_positions: Option<Tensor>,
    /// Decoder layers, first to last.
    pub layers: Vec<LayerWeights>,
    /// The norm after the last layer.
    pub norm: NormWeight,
    /// `[vocab_size, hidden_size]`, in the file's type; `embed_tokens` itself if tied.
    pub lm_head: Tensor,
}

impl Weights {
    /// The GPU memory that they take.
    pub(super) fn bytes(
        gpu: &dyn Allocator,
        config: &ModelConfig,
        source: &dyn TensorSource,
    ) -> Result<WeightBytes> {
        let tally = Tally::new(gpu);
        let mut loader = Loader::new(&tally, source);
        Self::ask(&mut loader, config)?;
        Ok(WeightBytes { kept: tally.bytes(MemoryUse::Weights), loading: loader.passing_bytes() })
    }

    pub(super) async fn load(
        gpu: &Gpu,
        config: &ModelConfig,
        source: &dyn TensorSource,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, String)> {
        let mut loader = Loader::new(gpu, source);
        let weights = gpu.make_room("the model", || Self::ask(&mut loader, config)).await?;
        let fingerprint = loader.run(gpu, progress).await?;
        Ok((weights, fingerprint))
    }

    /// Checks all tensors and makes their memory, to be filled.
    fn ask(loader: &mut Loader<'_>, config: &ModelConfig) -> Result<Self> {
        let table = [config.vocab_size, config.hidden_size];
        // A tied table has either name.
        let mut embed_name = config.embed_tokens_name();
        if config.tie_word_embeddings && !loader.has(&embed_name) && loader.has(LM_HEAD) {
            LM_HEAD.clone_into(&mut embed_name);
        }
        let embed_tokens = loader.packed(&embed_name, &table)?;
        let lm_head = match config.tie_word_embeddings {
            true => embed_tokens.clone(),
            false => loader.packed(LM_HEAD, &table)?,
        };
        let embed_positions = match config.embed_positions_name() {
            Some(name) => {
                let shape = [config.max_position_embeddings, config.hidden_size];
                Some(loader.widened(&name, &shape, 0.0)?)
            }
            None => None,
        };
        let norm = norm(loader, config, &config.norm_name(), config.hidden_size)?;
        let layers = (0..config.num_hidden_layers).map(|layer| LayerWeights::new(loader, config, layer));
        let layers = layers.collect::<Result<_>>()?;
        Ok(Self { embed_tokens, embed_positions, layers, norm, lm_head })
    }
}

impl LayerWeights {
    fn new(loader: &mut Loader<'_>, config: &ModelConfig, layer: usize) -> Result<Self> {
        let family = config.family;
        // Memory first: the order in which tensors are read is the family's, whatever lies together.
        let (mut stacks, mut places) = (BTreeMap::new(), BTreeMap::new());
        for stage in STACKED {
            let members = members(family, stage);
            if let Some((whole, each)) = stack(loader, config, layer, &members)? {
                stacks.insert(stage, whole);
                places.extend(members.into_iter().zip(each));
            }
        }
        let mut linears = BTreeMap::new();
        for &projection in family.projections {
            let (id, place) = (ModuleId { layer, projection }, places.remove(&projection));
            linears.insert(projection, linear(loader, config, id, place)?);
        }
        let mut norms = BTreeMap::new();
        for &(role, _) in family.norms {
            if let Some(name) = config.layer_norm_name(layer, role) {
                norms.insert(role, norm(loader, config, &name, config.norm_width(role))?);
            }
        }
        Ok(Self { norms, linears, stacks })
    }
}

fn norm(loader: &mut Loader<'_>, config: &ModelConfig, name: &str, width: usize) -> Result<NormWeight> {
    let kind = config.family.norm_kind;
    let one = if kind == NormKind::RmsOnePlus { 1.0 } else { 0.0 };
    Ok(NormWeight {
        weight: loader.widened(&format!("{name}.weight"), &[width], one)?,
        bias: match kind {
            NormKind::LayerNorm => Some(loader.widened(&format!("{name}.bias"), &[width], 0.0)?),
            NormKind::Rms | NormKind::RmsOnePlus => None,
        },
        eps: config.norm_eps,
    })
}

/// A linear layer, in memory of its own or at this place.
fn linear(
    loader: &mut Loader<'_>,
    config: &ModelConfig,
    id: ModuleId,
    place: Option<LinearWeight>,
) -> Result<LinearWeight> {
    let TensorSpec { name, shape, kind } = config.linear_tensor(id);
    let bias_name = format!("{id}.bias");
    if let Some(LinearWeight { weight, bias }) = place {
        let weight = loader.packed_to(&name, weight);
        let bias = bias.map(|bias| loader.widened_to(&bias_name, bias)).transpose()?;
        return Ok(LinearWeight { weight, bias });
    }
    let weight = match (kind, shape.as_slice()) {
        (TensorKind::Conv1d, &[in_features, out_features]) => {
            loader.transposed(&name, in_features, out_features)?
        }
        _ => loader.packed(&name, &shape)?,
    };
    let (out_features, _) = config.projection_shape(id.projection);
    let bias = match config.has_bias(id.projection) {
        true => Some(loader.widened(&bias_name, &[out_features], 0.0)?),
        false => None,
    };
    Ok(LinearWeight { weight, bias })
}

/// Memory for some projections of a layer as one, and of each of them.
fn stack(
    loader: &Loader<'_>,
    config: &ModelConfig,
    layer: usize,
    members: &[Projection],
) -> Result<Option<(LinearStack, Vec<LinearWeight>)>> {
    let ids: Vec<_> = members.iter().map(|&projection| ModuleId { layer, projection }).collect();
    let widths: Vec<_> = members.iter().map(|&projection| config.projection_shape(projection).0).collect();
    let specs: Vec<_> = ids.iter().map(|&id| config.linear_tensor(id)).collect();
    let has_bias = |&projection: &Projection| config.has_bias(projection);
    let is_mixed = members.iter().any(has_bias) && !members.iter().all(has_bias);
    if !fit(&widths) || is_mixed || specs.iter().any(|spec| spec.kind == TensorKind::Conv1d) {
        return Ok(None);
    }
    let parts: Vec<_> = specs.into_iter().map(|spec| (spec.name, spec.shape)).collect();
    let named = |id: &ModuleId, width: &usize| (format!("{id}.bias"), vec![*width]);
    let of_biases: Vec<_> = ids.iter().zip(&widths).map(|(id, width)| named(id, width)).collect();
    let (mut bias, mut biases) = (None, vec![None; members.len()]);
    if members.iter().any(has_bias) {
        let Some((whole, each)) = loader.stack(&of_biases, true)? else { return Ok(None) };
        (bias, biases) = (Some(whole), each.into_iter().map(Some).collect());
    }
    let Some((weight, weights)) = loader.stack(&parts, false)? else { return Ok(None) };
    let each = weights.into_iter().zip(biases).map(|(weight, bias)| LinearWeight { weight, bias }).collect();
    Ok(Some((LinearStack { linear: LinearWeight { weight, bias }, widths }, each)))
}
