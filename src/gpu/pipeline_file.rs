//! Compiled pipelines on disk, where the backend has that (Vulkan).

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

/// No file of a driver comes near this; a larger one is not read.
const MOST_BYTES: u64 = 256 << 20;

/// A driver's compiled pipelines and the file that they are kept in.
pub(super) struct PipelineFile {
    cache: wgpu::PipelineCache,
    path: PathBuf,
}

impl PipelineFile {
    /// The file of an adapter and its driver in `folder`, which need not be there; `None` if the backend has no such
    /// thing. A file that is damaged, or of another driver, counts as empty.
    pub async fn open(device: &wgpu::Device, adapter: &wgpu::AdapterInfo, folder: &Path) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let path = folder.join(file_name(adapter)?);
        let make = async |data: Option<&[u8]>| {
            let errors = device.push_error_scope(wgpu::ErrorFilter::Validation);
            // SAFETY: the data is what `save` wrote, which its checksum shows, and wgpu checks that it is of this
            // driver. Whoever could forge that writes to the user's own folder, with the user's rights.
            let cache = unsafe {
                device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                    label: Some("pipelines"),
                    data,
                    fallback: true,
                })
            };
            errors.pop().await.is_none().then_some(cache)
        };
        let cache = match make(read(&path).as_deref()).await {
            Some(cache) => cache,
            None => make(None).await?,
        };
        Some(Self { cache, path })
    }

    pub fn cache(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what was compiled so far. Another process sees the old file or the new one.
    pub fn save(&self) -> std::io::Result<()> {
        let (Some(data), Some(folder)) = (self.cache.get_data(), self.path.parent()) else { return Ok(()) };
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&xxh3_64(&data).to_le_bytes())?;
        file.write_all(&data)?;
        file.persist(&self.path)?;
        Ok(())
    }
}

fn file_name(adapter: &wgpu::AdapterInfo) -> Option<String> {
    let key = wgpu::util::pipeline_cache_key(adapter)?;
    let driver = format!("{} {} {}", adapter.name, adapter.driver, adapter.driver_info);
    Some(format!("{key}_{:016x}", xxh3_64(driver.as_bytes())))
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let mut data = Vec::new();
    let read = file.take(MOST_BYTES + 1).read_to_end(&mut data).ok()?;
    let (checksum, content) = data.split_first_chunk()?;
    let is_whole = read as u64 <= MOST_BYTES && xxh3_64(content) == u64::from_le_bytes(*checksum);
    is_whole.then(|| content.to_vec())
}
