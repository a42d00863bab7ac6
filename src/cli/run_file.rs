//! What `postil train` is asked for: a run file with the other options over it; and the file that repeats the run.

use std::path::Path;

use postil::config::{DEMO, RunFile, TrainConfig};
use postil::hub::HubModel;
use postil::train::Trainer;
use postil::{Context, Error, Result};

use super::args::TrainArgs;
use super::{STDIN, data_name, warn};

/// Checkpoints are this many steps apart if nothing else is said.
const SAVE_STEPS: usize = 100;

/// Whether `data` names built-in data.
fn is_built_in(data: &str) -> bool {
    data == DEMO || data.split_once(':').is_some_and(|(name, _)| name == DEMO)
}

/// Replaces `value` if there is another.
fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

impl TrainArgs {
    /// The run that they describe; its paths are relative to the working directory.
    ///
    /// # Errors
    /// A run file that cannot be used; a value that cannot, by its name.
    pub fn run_file(&self) -> Result<RunFile> {
        let mut run = match &self.run {
            Some(path) => read(path)?,
            None => RunFile::default(),
        };
        set(&mut run.model, self.model.model.clone());
        set(&mut run.data.train, self.data.clone());
        if self.eval_data.is_some() || self.eval_split.is_some() {
            run.data.eval.clone_from(&self.eval_data);
            run.data.eval_split = self.eval_split;
        }
        if self.read.data_format.is_some() {
            run.data.format.clone_from(&self.read.data_format);
        }
        if let Some(columns) = &self.read.columns {
            run.data.columns =
                columns.pairs().map(|(field, column)| (field.to_owned(), column.to_owned())).collect();
        }
        if self.init_adapter.is_some() {
            run.init_adapter.clone_from(&self.init_adapter);
            run.lora = None;
        }
        if run.init_adapter.is_none() {
            run.lora = Some(self.lora.over(run.lora.unwrap_or_default())?);
        } else if self.lora.any() {
            return Err(Error::config(
                "--init-adapter brings its own rank, alpha, dropout and target modules; leave --rank, --alpha, \
                 --dropout, --target-modules, --rank-pattern and --alpha-pattern out",
            ));
        }
        self.train_over(&mut run.train);
        run.validate()?;
        Ok(run)
    }

    /// Puts the training's options over those of `train`.
    fn train_over(&self, train: &mut TrainConfig) {
        if let Some(epochs) = self.epochs {
            train.num_train_epochs = epochs;
            train.max_steps = None;
        }
        train.max_steps = self.max_steps.or(train.max_steps);
        set(&mut train.per_device_train_batch_size, self.batch_size);
        set(&mut train.gradient_accumulation_steps, self.grad_accum);
        set(&mut train.max_length, self.max_length);
        set(&mut train.learning_rate, self.lr);
        set(&mut train.lr_scheduler_type, self.schedule.map(Into::into));
        train.warmup_steps = self.warmup_steps.or(train.warmup_steps);
        set(&mut train.weight_decay, self.weight_decay);
        set(&mut train.max_grad_norm, self.max_grad_norm);
        set(&mut train.precision, self.precision.map(Into::into));
        set(&mut train.seed, self.seed);
        train.shuffle &= !self.no_shuffle;
        train.assistant_only_loss &= !self.train_on_all;
        train.gradient_checkpointing |= self.gradient_checkpointing;
        if self.packing || self.group_by_length {
            train.packing = self.packing;
            train.group_by_length = self.group_by_length;
        }
        train.eval_steps = self.eval_steps.or(train.eval_steps);
        train.save_steps = self.save_steps.or(train.save_steps).or(Some(SAVE_STEPS));
    }
}

/// Reads a run file; its paths are then relative to the working directory.
fn read(path: &Path) -> Result<RunFile> {
    let name = path.display().to_string();
    let json = std::fs::read(path).map_err(|error| Error::io(&name, &error))?;
    let mut run = RunFile::from_json(&json, &name)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let in_folder = |path: &mut String| -> Result<()> {
        *path = text(&folder.join(&*path))?;
        Ok(())
    };
    // What is no path but could be one is a name on the Hub if there is nothing of that name beside the file.
    if run.model != DEMO && (folder.join(&run.model).exists() || HubModel::parse(&run.model).is_none()) {
        in_folder(&mut run.model)?;
    }
    for data in [Some(&mut run.data.train), run.data.eval.as_mut()].into_iter().flatten() {
        if !is_built_in(data) && data != STDIN {
            in_folder(data)?;
        }
    }
    run.init_adapter.as_mut().map(in_folder).transpose()?;
    Ok(run)
}

/// The file that repeats a run, for the folder `out`: its paths are relative to that.
///
/// # Errors
/// A path that is gone, or is no UTF-8.
pub fn repeatable(run: &RunFile, trainer: &Trainer, out: &Path) -> Result<RunFile> {
    let mut run = run.clone();
    run.train.clone_from(trainer.config());
    if let Some(lora) = &mut run.lora {
        // As it was trained, whatever the default will be.
        lora.lora_alpha = Some(trainer.session().lora().config().lora_alpha);
    }
    let absolute = |path: &Path| {
        path.canonicalize()
            .map_err(|error| Error::io(path.display(), &error))
            .context(|| "writing the run file")
    };
    let folder = absolute(out)?;
    let from_folder = |path: &mut String| -> Result<()> {
        let target = absolute(Path::new(&*path))?;
        // There is no way from one drive of Windows to another.
        let way = pathdiff::diff_paths(&target, &folder).unwrap_or(target);
        *path = text(&way)?.replace(std::path::MAIN_SEPARATOR, "/");
        Ok(())
    };
    if run.model != DEMO && Path::new(&run.model).exists() {
        from_folder(&mut run.model)?;
    }
    for data in [Some(&mut run.data.train), run.data.eval.as_mut()].into_iter().flatten() {
        // What a pipe gave is gone.
        let is_gone = data == STDIN || Path::new(data).metadata().is_ok_and(|metadata| !metadata.is_file());
        if is_gone {
            warn(&format!(
                "{} is no file, so that the run file cannot repeat this run by itself: it needs the data again",
                data_name(data)
            ));
        } else if !is_built_in(data) {
            from_folder(data)?;
        }
    }
    run.init_adapter.as_mut().map(from_folder).transpose()?;
    Ok(run)
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::config(format!("{}: a run file's paths are UTF-8; name it otherwise", path.display()))
    })
}
