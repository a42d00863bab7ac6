//! A checkpoint that is made while it is read: every tensor that a configuration asks for, with random values.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{TensorInfo, TensorSource};
use crate::config::{ModelConfig, NormKind, TensorKind};
use crate::error::{Error, Result};
use crate::gpu::Dtype;
use crate::source::BoxFuture;

/// Standard deviation of the values, transformers' usual `initializer_range`.
const DEVIATION: f32 = 0.02;

/// Random numbers that are made; what is longer repeats them. A prime, so that no two rows of a matrix are alike.
const PERIOD: usize = 1_048_573;

/// Element type of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// bfloat16.
    #[default]
    Bf16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
}

impl WeightType {
    /// What a `config.json` says that the weights are stored as, under the newer name or the older one; float32 if it
    /// says nothing, as transformers has it.
    ///
    /// # Errors
    /// `Format` for what is no JSON, `Unsupported` for another type.
    pub fn of_config(config_json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Types {
            #[serde(alias = "torch_dtype")]
            dtype: Option<String>,
        }
        let types: Types = serde_json::from_slice(config_json)
            .map_err(|error| Error::format(format!("config.json cannot be read: {error}")))?;
        match types.dtype.as_deref() {
            Some("bfloat16") => Ok(Self::Bf16),
            Some("float16") => Ok(Self::F16),
            Some("float32") | None => Ok(Self::F32),
            Some(other) => Err(Error::unsupported(format!(
                "config.json: dtype {other}; expected bfloat16, float16 or float32"
            ))),
        }
    }

    /// The same in GPU memory.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
            Self::F32 => Dtype::F32,
        }
    }

    fn stored(self) -> safetensors::Dtype {
        match self {
            Self::Bf16 => safetensors::Dtype::BF16,
            Self::F16 => safetensors::Dtype::F16,
            Self::F32 => safetensors::Dtype::F32,
        }
    }

    fn encode(self, values: impl Iterator<Item = f32>) -> Vec<u8> {
        match self {
            Self::Bf16 => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
            Self::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
            Self::F32 => values.flat_map(f32::to_le_bytes).collect(),
        }
    }
}

/// A tensor as a block of bytes that is repeated.
struct Tensor {
    info: TensorInfo,
    /// Where in the block it begins; `None`: it is a norm's weight, and all its elements are alike.
    start: Option<u64>,
}

/// Random weights: matrices, tables and biases have values of standard deviation 0.02, norms leave what they
/// scale as it is. The host holds 4 MiB of them at most, whatever the model's size.
pub struct RandomWeights {
    name: String,
    tensors: BTreeMap<String, Tensor>,
    stored: WeightType,
    /// Made when it is first read: a plan needs shapes only.
    random: OnceCell<Vec<u8>>,
    norm: Vec<u8>,
}

impl RandomWeights {
    /// Those of a configuration; `name` is what messages call it.
    pub fn new(name: &str, config: &ModelConfig, stored: WeightType) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let norm = if config.family.norm_kind == NormKind::RmsOnePlus { 0.0 } else { 1.0 };
        let norm = stored.encode(std::iter::repeat_n(norm, PERIOD.min(config.hidden_size)));
        let size = stored.dtype().size() as u64;
        let mut tensors = BTreeMap::new();
        for spec in config.tensors() {
            let is_norm = spec.kind == TensorKind::Vector && spec.name.ends_with(".weight");
            let start = (!is_norm).then(|| rng.random_range(0..PERIOD as u64) * size);
            let info = TensorInfo { dtype: stored.stored(), shape: spec.shape };
            tensors.insert(spec.name, Tensor { info, start });
        }
        Self { name: name.to_owned(), tensors, stored, random: OnceCell::new(), norm }
    }

    fn random(&self) -> &[u8] {
        self.random.get_or_init(|| {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            // A uniform number has the deviation bound/√3.
            let bound = DEVIATION * 3f32.sqrt();
            self.stored.encode((0..PERIOD).map(|_| rng.random_range(-bound..bound)))
        })
    }
}

impl TensorSource for RandomWeights {
    fn name(&self) -> &str {
        &self.name
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.keys().map(String::as_str))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|tensor| &tensor.info)
    }

    fn read<'a>(&'a self, name: &'a str, bytes: Range<u64>) -> BoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let tensor = self.tensors.get(name).filter(|tensor| bytes.end <= tensor.info.bytes());
            let Some(tensor) = tensor else {
                return Err(Error::format(format!("{}: {name} has no bytes {bytes:?}", self.name)));
            };
            let block = if tensor.start.is_some() { self.random() } else { &self.norm };
            let mut at = ((tensor.start.unwrap_or(0) + bytes.start) % block.len() as u64) as usize;
            // Whoever reads asks for a slice, which fits.
            let len = (bytes.end - bytes.start) as usize;
            let mut read = Vec::with_capacity(len);
            while read.len() < len {
                let end = block.len().min(at + len - read.len());
                read.extend_from_slice(&block[at..end]);
                at = 0;
            }
            Ok(read)
        })
    }
}
