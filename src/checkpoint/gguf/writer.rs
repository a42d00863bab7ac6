//! Writes small GGUF files: version 3, little-endian
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).

use super::header::DEFAULT_ALIGNMENT;
use super::metadata::{STRING, Scalar};
use super::types::GgmlType;

/// A file to be.
#[derive(Default)]
pub(super) struct Writer {
    metadata: Vec<u8>,
    metadata_count: u64,
    list: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// Zeros up to the next tensor's place.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
}

impl Writer {
    fn key(&mut self, key: &str, kind: u32) {
        text(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
        self.metadata_count += 1;
    }

    pub(super) fn string(&mut self, key: &str, value: &str) {
        self.key(key, STRING);
        text(&mut self.metadata, value);
    }

    pub(super) fn u32(&mut self, key: &str, value: u32) {
        self.key(key, Scalar::U32 as u32);
        self.metadata.extend(value.to_le_bytes());
    }

    pub(super) fn f32(&mut self, key: &str, value: f32) {
        self.key(key, Scalar::F32 as u32);
        self.metadata.extend(value.to_le_bytes());
    }

    /// A tensor of this shape, slowest dimension first, with all its bytes.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize], ggml_type: GgmlType, bytes: &[u8]) {
        text(&mut self.list, name);
        self.list.extend((shape.len() as u32).to_le_bytes());
        for &size in shape.iter().rev() {
            self.list.extend((size as u64).to_le_bytes());
        }
        self.list.extend((ggml_type as u32).to_le_bytes());
        self.list.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(bytes);
        pad(&mut self.data);
        self.tensor_count += 1;
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend(self.tensor_count.to_le_bytes());
        file.extend(self.metadata_count.to_le_bytes());
        file.extend(self.metadata);
        file.extend(self.list);
        pad(&mut file);
        file.extend(self.data);
        file
    }
}
