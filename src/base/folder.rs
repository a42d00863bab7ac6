//! Models on disk: a folder as transformers saves it, or a GGUF file.

use std::path::Path;
use std::rc::Rc;

use super::{BaseFiles, TextFiles};
use crate::checkpoint::{GgufFile, INDEX_FILE, MODEL_FILE, PICKLED, ShardIndex, open_weights, pickled};
use crate::error::{Error, ErrorKind, Result};
use crate::source::{ByteSource, FileSource};
use crate::tokenizer::TokenizerFiles;

/// Every file but the weights is small; a huge one is not what it claims to be.
const MAX_TEXT: u64 = 64 << 20;

/// Reads a folder as transformers saves it, or a GGUF file.
///
/// # Errors
/// `Io` for what is missing or cannot be read, and those of the files' own readers.
pub async fn read_model(path: &Path) -> Result<BaseFiles> {
    if path.is_dir() {
        return read_folder(path).await;
    }
    let source = FileSource::open(path)?;
    let is_named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    // Ollama's files have digests for names.
    if is_named || GgufFile::is_one(&source).await? {
        BaseFiles::from_gguf(path.display().to_string(), Rc::new(source)).await
    } else {
        Err(Error::new(
            ErrorKind::Io,
            format!(
                "{}: not a folder and not a GGUF file. Name a folder with config.json, {MODEL_FILE} and \
                 tokenizer.json, a GGUF file, or \"demo\" for the built-in model",
                path.display()
            ),
        ))
    }
}

/// Reads everything but the weights of a folder as transformers saves it, which need not be there, or of a GGUF
/// file.
///
/// # Errors
/// As [`read_model`].
pub async fn read_text(path: &Path) -> Result<TextFiles> {
    if path.is_dir() { folder_text(path) } else { Ok(read_model(path).await?.text) }
}

/// Reads a folder as transformers saves it.
///
/// # Errors
/// `Io` for what is missing or cannot be read, and those of the files' own readers.
pub async fn read_folder(dir: &Path) -> Result<BaseFiles> {
    let text = folder_text(dir)?;
    let open = |name: &str| -> Result<(String, Rc<dyn ByteSource>)> {
        Ok((name.to_owned(), Rc::new(FileSource::open(&dir.join(name))?)))
    };
    // transformers too takes the single file where both are there.
    let weights = if dir.join(MODEL_FILE).exists() {
        open_weights(&[open(MODEL_FILE)?], None).await?
    } else if let Some(json) = optional(dir, INDEX_FILE)? {
        let index = ShardIndex::parse(&json)?;
        let present = index.files().into_iter().filter(|name| dir.join(name).exists());
        let files = present.map(open).collect::<Result<Vec<_>>>()?;
        open_weights(&files, Some(&json)).await?
    } else if let Some(found) = PICKLED.into_iter().find(|name| dir.join(name).exists()) {
        return Err(Error::unsupported(format!("{}: {}", dir.display(), pickled(found))));
    } else {
        return Err(missing(dir, MODEL_FILE));
    };
    Ok(BaseFiles { name: dir.display().to_string(), revision: None, text, weights })
}

fn folder_text(dir: &Path) -> Result<TextFiles> {
    let chat_template = optional(dir, "chat_template.jinja")?
        .map(|bytes| {
            String::from_utf8(bytes)
                .map_err(|_| Error::format(format!("{}: chat_template.jinja is not UTF-8", dir.display())))
        })
        .transpose()?;
    Ok(TextFiles {
        config: required(dir, "config.json")?,
        tokenizer: TokenizerFiles {
            tokenizer: required(dir, "tokenizer.json")?,
            tokenizer_config: optional(dir, "tokenizer_config.json")?,
            special_tokens_map: optional(dir, "special_tokens_map.json")?,
            chat_template,
            is_complete: false,
        },
        generation_config: optional(dir, "generation_config.json")?,
    })
}

/// Reads the `config.json` of a folder and nothing else of it, or a file that is one under any name.
///
/// # Errors
/// `Io` when it is missing or cannot be read, `Format` when it is far too large.
pub fn read_config(path: &Path) -> Result<Vec<u8>> {
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(dir), Some(name)) if path.is_file() => required(dir, name),
        _ => required(path, "config.json"),
    }
}

/// The files of a folder that only slow tokenizers read, and older versions of the others: what a copy of the model
/// needs for every tool that its original works with.
///
/// # Errors
/// `Io` for a file that cannot be read, `Format` for one that is far too large.
pub fn other_tokenizer_files(dir: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
    const NAMES: [&str; 7] = [
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "vocab.txt",
        "tokenizer.model",
        "spiece.model",
        "chat_template.json",
    ];
    let read = |name| Some(optional(dir, name).transpose()?.map(|bytes| (name, bytes)));
    NAMES.into_iter().filter_map(read).collect()
}

fn optional(dir: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let path = dir.join(name);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path.display(), &error)),
        Ok(meta) if meta.len() > MAX_TEXT => {
            return Err(Error::format(format!("{}: {} bytes are too many", path.display(), meta.len())));
        }
        Ok(_) => {}
    }
    std::fs::read(&path).map(Some).map_err(|error| Error::io(path.display(), &error))
}

fn required(dir: &Path, name: &str) -> Result<Vec<u8>> {
    optional(dir, name)?.ok_or_else(|| missing(dir, name))
}

fn missing(dir: &Path, name: &str) -> Error {
    Error::new(
        ErrorKind::Io,
        format!(
            "{}: {name} is missing. A model folder has config.json, {MODEL_FILE} (or {INDEX_FILE} and its shards) \
             and tokenizer.json; of a folder with a GGUF file, name the file",
            dir.display()
        ),
    )
}
