//! Compiled pipelines are kept in a file, and what is in it decides nothing but how long compiling takes.

use std::fs;
use std::path::Path;

use postil::gpu::{Gpu, GpuOptions};
use postil::kernels::transpose as kernel;

use super::inputs::{f32s, read, run, unwritten};

cases!(file);

/// Transposes on a device that keeps its pipelines in `folder`.
async fn transposed(folder: &Path) -> Vec<f32> {
    let options = GpuOptions { pipeline_folder: Some(folder.to_owned()), ..Default::default() };
    let gpu = Gpu::open_with(None, options).await.expect("a Vulkan device");
    assert!(gpu.pipeline_file().is_some_and(|path| path.starts_with(folder)));
    let x = f32s(&gpu, &[2, 3], &[1., 2., 3., 4., 5., 6.]);
    let y = unwritten(&gpu, &[3, 2]);
    run(&gpu, |plan| kernel::transpose(plan, &x, &y));
    read(&gpu, &y).await
}

async fn file(_: &Gpu) {
    let folder = tempfile::tempdir().unwrap();
    // Not there yet.
    let folder = folder.path().join("postil");
    let right = [1., 4., 2., 5., 3., 6.];
    assert_eq!(transposed(&folder).await, right);
    let files = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let [path] = &files()[..] else { panic!("{:?}", files()) };
    let whole = fs::read(path).unwrap();
    assert!(whole.len() > 64);
    assert_eq!(transposed(&folder).await, right);

    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let foreign: Vec<u8> = [0x5a; 4096].to_vec();
    for bytes in [damaged, whole[..whole.len() / 2].to_vec(), foreign, vec![1, 2, 3], Vec::new()] {
        fs::write(path, &bytes).unwrap();
        assert_eq!(transposed(&folder).await, right);
        // It is made again, whole.
        assert!(fs::read(path).unwrap().len() > 64);
        assert_eq!(files().len(), 1);
    }
    // A folder that cannot be made costs nothing but the file.
    assert_eq!(transposed(&path.join("below a file")).await, right);
}
