//! The model that `--model` means, from wherever it is.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use indicatif::ProgressBar;
use postil::base::{Base, BaseFiles, OpenedBase, TextFiles, read_config, read_model, read_text};
use postil::config::ModelConfig;
use postil::gpu::Gpu;
use postil::hub::{Hub, HubModel, Outline, Part, Progress};
use postil::{Context, Error, ErrorKind, Result, checkpoint, demo};

use super::{bar, warn};

/// The progress bar of bytes on their way.
pub const BYTES: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

/// A model by what `--model` says: built in, on the disk, or on the Hub under this name.
enum ModelSource {
    BuiltIn,
    Disk(PathBuf),
    Hub(HubModel),
}

impl ModelSource {
    fn of(model: &str) -> Result<Self> {
        let path = Path::new(model);
        if model == demo::NAME || model == demo::BASE_NAME && !path.exists() {
            Ok(Self::BuiltIn)
        } else if path.exists() {
            Ok(Self::Disk(path.to_owned()))
        } else {
            HubModel::parse(model).map(Self::Hub).ok_or_else(|| {
                Error::new(
                    ErrorKind::Io,
                    format!(
                        "{model}: not a folder, not a file and not a name as models on the Hub have. Name a folder \
                         with config.json, model.safetensors and tokenizer.json, a GGUF file, a model as owner/name, \
                         or \"demo\" for the built-in model"
                    ),
                )
            })
        }
    }
}

/// A model's files, downloaded if need be.
pub async fn base_files(model: &str, json: bool) -> Result<BaseFiles> {
    Ok(located_files(model, json).await?.0)
}

/// A model's files and where they are on the disk, if they are.
pub async fn located_files(model: &str, json: bool) -> Result<(BaseFiles, Option<PathBuf>)> {
    match ModelSource::of(model)? {
        ModelSource::BuiltIn => Ok((demo::base_files().await?, None)),
        ModelSource::Disk(path) => Ok((read_model(&path).await?, Some(path))),
        ModelSource::Hub(name) => {
            let path = fetch(&name, Part::All, json)?;
            let files = read_model(&path).await?;
            let revision = adapters_revision(name.revision);
            Ok((BaseFiles { name: name.repo, revision, ..files }, Some(path)))
        }
    }
}

/// A model's files for a plan, and what to download before its weights are loaded: those on the Hub that the cache
/// lacks are read there, as far as a plan needs them.
pub async fn outlined_files(model: &str, json: bool) -> Result<(BaseFiles, Option<HubModel>)> {
    let ModelSource::Hub(name) = ModelSource::of(model)? else {
        return Ok((base_files(model, json).await?, None));
    };
    let bar = downloading(&name, json);
    let outline = Hub::from_env()?.outline(&name, Arc::new(shown_on(bar.clone())));
    bar.finish_and_clear();
    let Outline { folder, weights, index, missing } = outline?;
    let files = match (&name.file, weights.as_slice()) {
        (Some(_), [(_, file)]) => BaseFiles::from_gguf(name.repo.clone(), Rc::clone(file)).await?,
        _ => BaseFiles {
            name: name.repo.clone(),
            revision: None,
            text: read_text(&folder).await?,
            weights: checkpoint::open_weights(&weights, index.as_deref()).await?,
        },
    };
    Ok((BaseFiles { revision: adapters_revision(name.revision), ..files }, missing))
}

/// The model with the weights that [`outlined_files`] left on the Hub.
pub async fn download(opened: OpenedBase, missing: Option<&HubModel>, json: bool) -> Result<OpenedBase> {
    let Some(missing) = missing else { return Ok(opened) };
    let path = fetch(missing, Part::All, json)?;
    Ok(opened.with_weights(read_model(&path).await?.weights))
}

/// PEFT means `main` where an adapter names none.
fn adapters_revision(revision: String) -> Option<String> {
    Some(revision).filter(|revision| revision != "main")
}

/// A model's files beside its weights; of a model on the Hub nothing else is downloaded.
pub async fn text_files(model: &str, json: bool) -> Result<TextFiles> {
    match ModelSource::of(model)? {
        ModelSource::BuiltIn => Ok(demo::text_files()),
        ModelSource::Disk(path) => read_text(&path).await,
        ModelSource::Hub(name) => read_text(&fetch(&name, Part::Text, json)?).await,
    }
}

/// A model's `config.json`: nothing else is read, or downloaded.
pub async fn model_config(model: &str, json: bool) -> Result<ModelConfig> {
    let folder = match ModelSource::of(model)? {
        ModelSource::Hub(name) if name.file.is_none() => Some(fetch(&name, Part::Config, json)?),
        ModelSource::Disk(path) if path.is_dir() => Some(path),
        _ => None,
    };
    let config = match folder {
        Some(folder) => read_config(&folder)?,
        None => base_files(model, json).await?.text.config,
    };
    ModelConfig::from_json(&config).context(|| model.to_owned())
}

/// Downloads what the cache lacks, with a progress bar for the bytes.
fn fetch(name: &HubModel, part: Part, json: bool) -> Result<PathBuf> {
    let bar = downloading(name, json);
    let fetched = Hub::from_env()?.fetch(name, part, &shown_on(bar.clone()));
    bar.finish_and_clear();
    fetched
}

fn downloading(name: &HubModel, json: bool) -> ProgressBar {
    let bar = bar(json, BYTES);
    bar.set_message(format!("downloading {name}"));
    bar
}

fn shown_on(bar: ProgressBar) -> impl Fn(Progress) + Send + Sync {
    move |progress| match progress {
        Progress::Bytes { done, total } => {
            if bar.length() != Some(total) {
                // What was there before is not part of the speed.
                bar.set_length(total);
                bar.reset();
                bar.set_position(done);
                bar.reset_eta();
            }
            bar.set_position(done);
        }
        Progress::Note(text) => bar.suspend(|| warn(&text)),
    }
}

/// Loads the model with a progress bar for its bytes.
pub async fn load_opened(gpu: &Arc<Gpu>, base: OpenedBase, json: bool) -> Result<Base> {
    let bar = bar(json, BYTES);
    bar.set_message("loading");
    let mut progress = |progress: checkpoint::Progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    };
    let base = base.load(gpu, &mut progress).await;
    bar.finish_and_clear();
    base
}
