//! `postil export` and `merge`: adapters for other tools, and whole models with an adapter in them.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use postil::base::other_tokenizer_files;
use postil::checkpoint::{
    ADAPTER_CONFIG_FILE, ADAPTER_MODEL_FILE, Adapter, INDEX_FILE, MLX_ADAPTERS_FILE, Merge, Outtype,
    Sharding, atomic,
};
use postil::config::ModelConfig;
use postil::gpu::human_bytes;
use postil::source::FileSource;
use postil::{Context, Error, ErrorKind, Result, counted};

use super::model::{BYTES, located_files, model_config};
use super::{bar, say};

/// An adapter with its base.
#[derive(Args)]
pub struct AdapterArgs {
    /// PEFT adapter
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Its base model, as for `postil train` [default: what the adapter's base_model_name_or_path says]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
}

/// What an adapter is written as.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A folder for PEFT, weights in f32
    Peft,
    /// A file for llama.cpp's --lora and Ollama's ADAPTER
    Gguf,
    /// A folder for mlx-lm's --adapter-path
    Mlx,
}

/// Element types of a GGUF adapter, as llama.cpp calls them.
#[derive(Clone, Copy, ValueEnum)]
pub enum OuttypeArg {
    F32,
    F16,
}

#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub adapter: AdapterArgs,
    /// Format to write
    #[arg(long)]
    pub format: ExportFormat,
    /// File (gguf) or folder (peft, mlx) to write; it must not be there yet
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// Element type of a GGUF adapter [default: f32]
    #[arg(long)]
    pub outtype: Option<OuttypeArg>,
}

#[derive(Args)]
pub struct MergeArgs {
    #[command(flatten)]
    pub adapter: AdapterArgs,
    /// Folder to write; it must not be there yet
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Cut the weights into files of at most this size, such as 5GB [default: as the base is]
    #[arg(long, value_name = "SIZE")]
    pub max_shard_size: Option<ByteSize>,
}

impl AdapterArgs {
    fn load(&self) -> Result<Adapter> {
        Adapter::load(&self.adapter)
    }

    /// The base model's name: of `--model`, or as the adapter has it.
    fn base(&self, adapter: &Adapter) -> Result<String> {
        if let Some(model) = &self.model {
            return Ok(model.clone());
        }
        let config = &adapter.config;
        let name = config.base_model_name_or_path.as_deref().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| {
            Error::config(format!(
                "{}: {ADAPTER_CONFIG_FILE} does not say what the base model is; name it with --model",
                self.adapter.display()
            ))
        })?;
        Ok(match &config.revision {
            Some(revision) if !Path::new(name).exists() && !name.contains('@') => {
                format!("{name}@{revision}")
            }
            _ => name.to_owned(),
        })
    }

    /// Puts before an error where the base's name came from.
    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        match self.model {
            Some(_) => result,
            None => result.context(|| {
                format!("{}: its base model (--model names another place)", self.adapter.display())
            }),
        }
    }
}

/// Refuses to overwrite: what is there may be a model that cannot be had again.
fn check_free(out: &Path) -> Result<()> {
    let is_empty = |out: &Path| std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if out.symlink_metadata().is_ok() && !is_empty(out) {
        return Err(Error::config(format!(
            "--out {} is there already; remove it or name another place",
            out.display()
        )));
    }
    Ok(())
}

/// Writes an adapter in another tool's format.
pub async fn export(args: &ExportArgs, json: bool) -> Result<()> {
    check_free(&args.out)?;
    if args.outtype.is_some() && args.format != ExportFormat::Gguf {
        return Err(Error::config("--outtype is for --format gguf; the other formats are written in f32"));
    }
    let adapter = args.adapter.load()?;
    let config = match (args.format, &args.adapter.model) {
        // PEFT's files say nothing of the base.
        (ExportFormat::Peft, None) => None,
        _ => {
            let base = args.adapter.base(&adapter)?;
            Some(args.adapter.explain(model_config(&base, json).await)?)
        }
    };
    if let Some(config) = &config {
        adapter.check(config).context(|| args.adapter.adapter.display())?;
    }
    let (bytes, hint) = match (args.format, &config) {
        (ExportFormat::Gguf, Some(config)) => gguf(args, &adapter, config).await?,
        (ExportFormat::Mlx, Some(config)) => {
            let files = adapter.to_mlx(config)?;
            Adapter::from_mlx(&files, config)?;
            folder(&args.out, [(MLX_ADAPTERS_FILE, files.model), (ADAPTER_CONFIG_FILE, files.config)])
                .map(|bytes| (bytes, "mlx_lm.generate --adapter-path"))?
        }
        _ => {
            let files = adapter.to_files()?;
            folder(&args.out, [(ADAPTER_MODEL_FILE, files.model), (ADAPTER_CONFIG_FILE, files.config)])
                .map(|bytes| (bytes, "PeftModel.from_pretrained"))?
        }
    };
    if json {
        let summary =
            serde_json::json!({ "out": args.out, "bytes": bytes, "modules": adapter.modules.len() });
        println!("{summary}");
        return Ok(());
    }
    println!(
        "{}: {} of {} modules, for {hint}",
        args.out.display(),
        human_bytes(bytes),
        adapter.modules.len()
    );
    Ok(())
}

/// Writes the file and reads it again; its size, and who reads it.
async fn gguf(args: &ExportArgs, adapter: &Adapter, config: &ModelConfig) -> Result<(u64, &'static str)> {
    let outtype = match args.outtype {
        None | Some(OuttypeArg::F32) => Outtype::F32,
        Some(OuttypeArg::F16) => Outtype::F16,
    };
    let bytes = adapter.to_gguf(config, outtype)?;
    atomic::write_file(&args.out, &bytes)?;
    let written = Adapter::from_gguf(&FileSource::open(&args.out)?, config).await?;
    if written.modules.len() != adapter.modules.len() {
        let message = format!("{}: modules are missing in what was written", args.out.display());
        return Err(Error::new(ErrorKind::Io, message));
    }
    Ok((bytes.len() as u64, "llama-cli --lora and Ollama's ADAPTER"))
}

/// Writes a folder of small files; their bytes.
fn folder(out: &Path, files: [(&str, Vec<u8>); 2]) -> Result<u64> {
    atomic::write_dir(out, &files)?;
    Ok(files.iter().map(|(_, bytes)| bytes.len() as u64).sum())
}

/// Writes the base with the adapter added to its weights.
pub async fn merge(args: &MergeArgs, json: bool) -> Result<()> {
    check_free(&args.out)?;
    let sharding = match args.max_shard_size {
        None => Sharding::AsBase,
        Some(size) if size.as_u64() == 0 => return Err(Error::config("--max-shard-size is 0")),
        Some(size) => Sharding::AtMost(size.as_u64()),
    };
    let adapter = args.adapter.load()?;
    let name = args.adapter.base(&adapter)?;
    let (files, path) = args.adapter.explain(located_files(&name, json).await)?;
    let config = ModelConfig::from_json(&files.text.config).context(|| format!("{name}: config.json"))?;
    let merge = Merge::new(&*files.weights, &adapter, &config, sharding)?;

    let others = path.as_deref().filter(|path| path.is_dir()).map(other_tokenizer_files).transpose()?;
    let index = merge.index()?;
    let mut texts = files.text_files();
    texts.extend(others.iter().flatten().map(|(name, bytes)| (*name, &bytes[..])));
    texts.extend(index.as_ref().map(|bytes| (INDEX_FILE, &bytes[..])));
    let names: Vec<&str> =
        texts.iter().map(|(name, _)| *name).chain(merge.files().map(|(name, _)| name)).collect();
    let total: u64 = merge.files().map(|(_, bytes)| bytes).sum();

    // A merge that was killed left as much as a model; elsewhere locks do not tell whether another one is running.
    if cfg!(unix) {
        let parent = args.out.parent().filter(|parent| !parent.as_os_str().is_empty());
        atomic::clean_temporaries(parent.unwrap_or(Path::new(".")))?;
    }
    let dir = atomic::NewDir::begin(&args.out, &names)?;
    let bar = bar(json, BYTES);
    bar.set_message("merging");
    bar.set_length(total);
    for (i, (name, _)) in merge.files().enumerate() {
        let mut sink = dir.create(name)?;
        let written = merge.write(i, &mut sink, &mut |bytes| bar.inc(bytes)).await;
        written.and_then(|()| sink.finish()).inspect_err(|_| bar.finish_and_clear())?;
    }
    bar.finish_and_clear();
    for (name, bytes) in &texts {
        dir.write(name, bytes)?;
    }
    dir.commit()?;
    if json {
        let files: Vec<_> =
            merge.files().map(|(name, bytes)| serde_json::json!({ "name": name, "bytes": bytes })).collect();
        let summary = serde_json::json!({
            "out": args.out, "model": name, "modules": adapter.modules.len(), "bytes": total, "files": files,
        });
        println!("{summary}");
        return Ok(());
    }
    say(json, format!("merged {} modules of {}", adapter.modules.len(), args.adapter.adapter.display()));
    println!(
        "{}: {} in {} of weights",
        args.out.display(),
        human_bytes(total),
        counted(merge.files().count(), "file")
    );
    Ok(())
}
