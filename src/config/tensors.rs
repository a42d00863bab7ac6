//! The tensors that a configuration asks of a checkpoint.

use super::{ModelConfig, ModuleId, NormKind, NormRole, Projection, Role};

/// One tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its whole name: `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Its shape as stored.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: TensorKind,
}

/// What a tensor of a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorKind {
    /// `[vocab_size, hidden_size]`: the embedding table, or the head of its own.
    Table,
    /// `[max_position_embeddings, hidden_size]`: learned positions.
    Positions,
    /// A linear module's weight, `[out_features, in_features]`.
    Linear,
    /// A linear module's weight, `[in_features, out_features]`.
    Conv1d,
    /// A bias, or a norm's weight: one number a column.
    Vector,
}

/// The head's name, in every family.
pub const LM_HEAD: &str = "lm_head.weight";

impl ModelConfig {
    /// Name of the embedding table.
    pub fn embed_tokens_name(&self) -> String {
        format!("{}{}.weight", self.family.prefix, self.family.embed_tokens)
    }

    /// Name of the table of learned positions, if there is one.
    pub fn embed_positions_name(&self) -> Option<String> {
        let name = self.family.learned_positions()?;
        Some(format!("{}{name}.weight", self.family.prefix))
    }

    /// Name of the norm after the last layer, without `.weight` or `.bias`.
    pub fn norm_name(&self) -> String {
        format!("{}{}", self.family.prefix, self.family.norm)
    }

    /// Name of a layer's norm, without `.weight` or `.bias`, if the family has it.
    pub fn layer_norm_name(&self, layer: usize, role: NormRole) -> Option<String> {
        let name = self.family.norm_name(role)?;
        Some(format!("{}.{layer}.{name}", self.family.layers()))
    }

    /// Columns of a norm.
    pub fn norm_width(&self, role: NormRole) -> usize {
        match role {
            NormRole::Query | NormRole::Key => self.head_dim,
            _ => self.hidden_size,
        }
    }

    /// A linear module's weight.
    pub fn linear_tensor(&self, id: ModuleId) -> TensorSpec {
        let (out_features, in_features) = self.projection_shape(id.projection);
        let name = format!("{id}.weight");
        if id.projection.is_conv1d() {
            TensorSpec { name, shape: vec![in_features, out_features], kind: TensorKind::Conv1d }
        } else {
            TensorSpec { name, shape: vec![out_features, in_features], kind: TensorKind::Linear }
        }
    }

    /// Every tensor of the model, a tied head under the embedding's name only.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let table = |name: String| TensorSpec {
            name,
            shape: vec![self.vocab_size, self.hidden_size],
            kind: TensorKind::Table,
        };
        let mut tensors = vec![table(self.embed_tokens_name())];
        if !self.tie_word_embeddings {
            tensors.push(table(LM_HEAD.to_owned()));
        }
        if let Some(name) = self.embed_positions_name() {
            let shape = vec![self.max_position_embeddings, self.hidden_size];
            tensors.push(TensorSpec { name, shape, kind: TensorKind::Positions });
        }
        self.push_norm(&mut tensors, &self.norm_name(), self.hidden_size);
        for layer in 0..self.num_hidden_layers {
            for &(role, name) in self.family.norms {
                let name = format!("{}.{layer}.{name}", self.family.layers());
                self.push_norm(&mut tensors, &name, self.norm_width(role));
            }
            for &projection in self.family.projections {
                let id = ModuleId { layer, projection };
                if self.has_bias(projection) {
                    tensors.push(vector(format!("{id}.bias"), self.projection_shape(projection).0));
                }
                tensors.push(self.linear_tensor(id));
            }
        }
        tensors
    }

    fn push_norm(&self, tensors: &mut Vec<TensorSpec>, name: &str, width: usize) {
        tensors.push(vector(format!("{name}.weight"), width));
        if self.family.norm_kind == NormKind::LayerNorm {
            tensors.push(vector(format!("{name}.bias"), width));
        }
    }

    /// Every linear module but the vocabulary projection, ordered by layer, then projection.
    pub fn linear_modules(&self) -> Vec<ModuleId> {
        let ids =
            |layer| self.family.projections.iter().map(move |&projection| ModuleId { layer, projection });
        (0..self.num_hidden_layers).flat_map(ids).collect()
    }

    /// Number of parameters as PyTorch counts them: biases and norms included, a tied vocabulary
    /// projection once.
    pub fn total_parameters(&self) -> u64 {
        let elements = |tensor: TensorSpec| tensor.shape.iter().map(|&n| n as u64).product::<u64>();
        self.tensors().into_iter().map(elements).sum()
    }

    /// Shape of a projection's weight, `(out_features, in_features)`: y = x·Wᵀ.
    pub fn projection_shape(&self, projection: Projection) -> (usize, usize) {
        let query = self.num_attention_heads * self.head_dim;
        let key_value = self.num_key_value_heads * self.head_dim;
        match projection.role() {
            Role::Query => (query, self.hidden_size),
            Role::Key | Role::Value => (key_value, self.hidden_size),
            Role::QueryKeyValue => (query + 2 * key_value, self.hidden_size),
            Role::Output => (self.hidden_size, query),
            Role::Gate | Role::Up => (self.intermediate_size, self.hidden_size),
            Role::GateUp => (2 * self.intermediate_size, self.hidden_size),
            Role::Down => (self.hidden_size, self.intermediate_size),
        }
    }

    /// Whether a projection has a bias of `[out_features]`.
    pub fn has_bias(&self, projection: Projection) -> bool {
        match projection.role() {
            Role::Query | Role::Key | Role::Value | Role::QueryKeyValue => self.attention_bias,
            Role::Output => self.output_bias,
            Role::Gate | Role::Up | Role::GateUp | Role::Down => self.mlp_bias,
        }
    }
}

fn vector(name: String, len: usize) -> TensorSpec {
    TensorSpec { name, shape: vec![len], kind: TensorKind::Vector }
}
