//! What a run must remember to go on exactly where it was.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{
    ADAPTER_CONFIG_FILE, ADAPTER_MODEL_FILE, Adapter, SafetensorsFile, TensorSource, write_safetensors,
};
use crate::config::{Arithmetic, TrainConfig};
use crate::data::Example;
use crate::error::{Context, Error, Result};
use crate::kernels::loss_scale::LossScale;
use crate::source::MemorySource;

/// `trainer_state.json`: the step counter, the data cursor, the seeds of every random number that is still
/// to be drawn, and what tells whether a checkpoint belongs to the run that wants it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// Optimizer steps done.
    pub global_step: usize,
    /// Steps of the whole run.
    pub max_steps: usize,
    /// Epoch of the next micro-batch, from 0.
    pub epoch: usize,
    /// Its place in the epoch.
    pub batch_in_epoch: usize,
    /// Micro-batches done; with the seed it gives the next dropout mask.
    pub micro_batches: u64,
    /// Held-out loss of the best adapter so far.
    pub best_metric: Option<f64>,
    /// The step after which it was measured.
    pub best_step: Option<usize>,
    /// Settings of the run, the seed among them.
    pub config: TrainConfig,
    /// Tells the training and held-out examples from any others.
    pub data_fingerprint: String,
    /// Tells the base model's weights from any others.
    pub model_fingerprint: String,
    /// The evaluation after the last step was called off: the run was stopped in it.
    pub evaluation_due: bool,
    /// Arithmetic of the next step. A run that left f16 stays in f32.
    #[serde(default)]
    pub arithmetic: Arithmetic,
    /// The scale of its loss.
    #[serde(default)]
    pub loss_scale: LossScale,
    /// GPU and driver: bit-exact continuation is promised on the same ones.
    pub device: String,
}

/// Settings that may differ when a run goes on: its results are the same bits.
const CHANGES_NO_BIT: [&str; 2] = ["gradient_checkpointing", "save_steps"];
/// Settings that say how many steps a run has.
const NUMBER_OF_STEPS: [&str; 2] = ["max_steps", "num_train_epochs"];

impl TrainerState {
    /// Refuses `run` unless it is the run that this state is of, or with `extend` that run with more steps.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config), naming the first difference.
    pub(super) fn check_same_run(&self, run: &Self, extend: bool) -> Result<()> {
        let differs = |what: String| {
            Err(Error::config(format!(
                "the checkpoint is of another run: {what}. Use the same options and data to resume, or start \
                 a new run from its adapter with --init-adapter and another --out"
            )))
        };
        let (mine, theirs) = (serde_json::to_value(&run.config), serde_json::to_value(&self.config));
        if let (Ok(serde_json::Value::Object(mine)), Ok(serde_json::Value::Object(theirs))) = (mine, theirs)
            && let Some((key, value)) = mine
                .iter()
                .filter(|(key, _)| !CHANGES_NO_BIT.contains(&key.as_str()))
                .filter(|(key, _)| !(extend && NUMBER_OF_STEPS.contains(&key.as_str())))
                .find(|(key, value)| theirs.get(*key) != Some(value))
        {
            let before = theirs.get(key).map_or("absent".to_owned(), ToString::to_string);
            return differs(format!("{key} is {value}, there it is {before}"));
        }
        if run.model_fingerprint != self.model_fingerprint {
            return differs("the base model's weights are not the same".to_owned());
        }
        if run.data_fingerprint != self.data_fingerprint {
            return differs("the data are not the same".to_owned());
        }
        if extend && run.max_steps < self.max_steps {
            return Err(Error::config(format!(
                "the checkpoint's run has {} steps, which cannot become {}: a run goes on with as many steps or \
                 with more (max_steps)",
                self.max_steps, run.max_steps
            )));
        }
        if !extend && run.max_steps != self.max_steps {
            return differs(format!("it has {} steps, this one {}", self.max_steps, run.max_steps));
        }
        Ok(())
    }
}

/// A run's state between two steps.
pub struct Checkpoint {
    /// The adapter.
    pub adapter: Adapter,
    /// AdamW's first and second moments, flat like the adapter in GPU memory.
    pub moments: [Vec<f32>; 2],
    /// Everything else.
    pub state: TrainerState,
}

/// AdamW's moments in a checkpoint.
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// A checkpoint's [`TrainerState`].
const STATE_FILE: &str = "trainer_state.json";

impl Checkpoint {
    /// Its files by name: the adapter's two, `optimizer.safetensors` and `trainer_state.json`.
    ///
    /// # Errors
    /// Those of [`Adapter::to_files`].
    pub fn to_files(&self) -> Result<[(&'static str, Vec<u8>); 4]> {
        let adapter = self.adapter.to_files()?;
        let tensors: Vec<_> = ["exp_avg", "exp_avg_sq"]
            .into_iter()
            .zip(&self.moments)
            .map(|(name, m)| (name, safetensors::Dtype::F32, vec![m.len()], bytemuck::cast_slice(m).into()))
            .collect();
        let optimizer = write_safetensors(&tensors, &Default::default())?;
        let state = serde_json::to_vec_pretty(&self.state)
            .map_err(|error| Error::config(format!("the run's state cannot be written: {error}")))?;
        Ok([
            (ADAPTER_CONFIG_FILE, adapter.config),
            (ADAPTER_MODEL_FILE, adapter.model),
            (OPTIMIZER_FILE, optimizer),
            (STATE_FILE, state),
        ])
    }

    /// Puts a checkpoint together from its files, which `read` gives by name.
    ///
    /// # Errors
    /// Those of `read`, and [`ErrorKind::Format`](crate::error::ErrorKind::Format) for a file that is damaged.
    pub async fn from_files(mut read: impl FnMut(&str) -> Result<Vec<u8>>) -> Result<Self> {
        let adapter = Adapter::from_files(&read(ADAPTER_CONFIG_FILE)?, &read(ADAPTER_MODEL_FILE)?)?;
        let state: TrainerState = serde_json::from_slice(&read(STATE_FILE)?)
            .map_err(|error| Error::format(format!("{STATE_FILE}: not a run's state: {error}")))?;
        if state.global_step > state.max_steps {
            return Err(Error::format(format!(
                "{STATE_FILE}: global_step is {}, more than the {} of max_steps",
                state.global_step, state.max_steps
            )));
        }
        let source = std::rc::Rc::new(MemorySource::new(OPTIMIZER_FILE, read(OPTIMIZER_FILE)?));
        let file = SafetensorsFile::open(source).await?;
        let mut moments = [Vec::new(), Vec::new()];
        for (name, values) in ["exp_avg", "exp_avg_sq"].into_iter().zip(&mut moments) {
            let info = file.info(name).filter(|info| info.dtype == safetensors::Dtype::F32);
            let info =
                info.ok_or_else(|| Error::format(format!("{OPTIMIZER_FILE}: no F32 tensor \"{name}\"")))?;
            let bytes = file.read(name, 0..info.bytes()).await.context(|| OPTIMIZER_FILE)?;
            *values = bytemuck::pod_collect_to_vec(&bytes);
        }
        Ok(Self { adapter, moments, state })
    }
}

/// 64-bit FNV-1a (Fowler, Noll, Vo; RFC 9923) over ids and masks, as hexadecimal.
///
/// # Errors
/// As [`Examples::get`](crate::data::Examples::get).
pub fn fingerprint(examples: impl IntoIterator<Item = Result<Example>>) -> Result<String> {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |value: u64| {
        for byte in value.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for example in examples {
        let example = example?;
        add(example.input_ids.len() as u64);
        for (&id, &trained) in example.input_ids.iter().zip(&example.trained) {
            add(u64::from(id) << 1 | u64::from(trained));
        }
    }
    Ok(format!("{hash:016x}"))
}
