//! What a run is made of, before any byte of a model is read: the model's `config.json`
//! ([`ModelConfig`]), the adapter ([`LoraConfig`], PEFT's field names), the training run
//! ([`TrainConfig`], the Hugging Face trainer's field names), and the file that names them all ([`RunFile`]).
//!
//! Everything here comes from files and forms that others wrote: a value is checked when it is read,
//! and what the engine cannot do is refused by the name of its field.

mod families;
mod family;
mod fields;
mod layers;
mod lora;
mod matching;
mod model;
mod module;
mod report;
mod resolve;
mod rope;
mod run;
mod tensors;
mod train;

pub use family::{Family, NormKind, NormRole};
pub use layers::LayerConfig;
pub use lora::{InitLoraWeights, LoraConfig};
pub use matching::{ExcludeModules, TargetModules};
pub use model::{Activation, ModelConfig};
pub use module::{ModuleId, Projection, Role};
pub use report::{ModuleParameters, ParameterReport, parameter_report};
pub use resolve::AdaptedModule;
pub use rope::{RopeParameters, RopeScaling};
pub use run::{DEMO, LoraOptions, RUN_FILE, RunData, RunFile};
pub use tensors::{LM_HEAD, TensorKind, TensorSpec};
pub use train::{Arithmetic, Precision, Schedule, TrainConfig};
