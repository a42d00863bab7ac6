//! One file per kernel family: parameter block, shape checks, variant choice, dispatch grid.
//!
//! The pattern, in four places with one stem: `shaders/rms_norm.wgsl` is the kernel,
//! `src/kernels/rms_norm.rs` its Rust side, `tests/reference/rms_norm.rs` the same in f64 and
//! `tests/kernels/rms_norm.rs` the comparison. A function here adds one dispatch to a
//! [`PlanBuilder`](crate::gpu::PlanBuilder). Shapes that do not fit are mistakes of the caller inside
//! this crate (everything that comes from outside was checked before), so they panic.
//!
//! A variant is made by putting whole WGSL files together: weight storage, tile, dropout. Those of [`all_shaders`]
//! keep to WebGPU's default limits and to f32 arithmetic; those of [`cooperative_shaders`] multiply in f16 on devices that
//! can, in plans that may ([`PlanBuilder::in_arithmetic`](crate::gpu::PlanBuilder::in_arithmetic)).

mod activation;
pub mod adamw;
pub mod add_rows;
pub mod attention;
pub mod attention_token;
pub mod coop_tile;
pub mod copy;
pub mod copy_columns;
pub mod cross_entropy;
pub mod gather;
pub mod gelu;
pub mod halves;
pub mod head_norm;
pub mod layer_norm;
pub mod loss_scale;
pub mod matmul;
pub mod matmul_coop;
pub mod matmul_narrow;
mod matmul_tiles;
pub mod matvec;
mod norms;
pub mod reduce;
pub mod rms_norm;
pub mod rope;
pub mod rope_heads;
pub mod sample;
pub mod step;
mod storage;
pub mod swiglu;
pub mod transpose;

use std::borrow::Cow;

pub(crate) use storage::fits_halves;

use crate::config::Arithmetic;
use crate::gpu::{Dtype, Params, Shader, Tensor};

/// "None" in an index list: no target, no row.
pub const NONE: u32 = u32::MAX;

/// Most workgroups in one dimension of a grid, in every implementation.
const MAX_GRID: usize = 65_535;

/// The text of a file in `shaders/`; a browser's module, which is small, goes without the files' headers.
macro_rules! wgsl {
    ($path:literal) => {{
        const FILE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $path, ".wgsl"));
        #[cfg(target_arch = "wasm32")]
        const TEXT: &str = {
            const FROM: usize = $crate::kernels::header_len(FILE);
            const BYTES: [u8; FILE.len() - FROM] = $crate::kernels::text_from(FILE, FROM);
            match str::from_utf8(&BYTES) {
                Ok(text) => text,
                Err(_) => panic!("a header ends between characters"),
            }
        };
        #[cfg(not(target_arch = "wasm32"))]
        const TEXT: &str = FILE;
        TEXT
    }};
}
use wgsl;

/// The text of a file that only devices with cooperative matrices run. No browser has them, and its module is small.
macro_rules! coop_wgsl {
    ($path:literal) => {
        if cfg!(target_arch = "wasm32") { "" } else { wgsl!($path) }
    };
}
use coop_wgsl;

/// Bytes of the comment that a file begins with.
#[cfg(target_arch = "wasm32")]
const fn header_len(file: &str) -> usize {
    let bytes = file.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() && bytes[at] == b'/' && bytes[at + 1] == b'/' {
        while at < bytes.len() && bytes[at] != b'\n' {
            at += 1;
        }
        at += 1;
    }
    if at > bytes.len() { bytes.len() } else { at }
}

/// What follows it.
#[cfg(target_arch = "wasm32")]
const fn text_from<const LEN: usize>(file: &str, from: usize) -> [u8; LEN] {
    let mut text = [0; LEN];
    let mut i = 0;
    while i < LEN {
        text[i] = file.as_bytes()[from + i];
        i += 1;
    }
    text
}

const STEP: &str = wgsl!("shared/step");
const PCG: &str = wgsl!("shared/pcg");
const ROW: &str = wgsl!("shared/row");
const WEIGHT_F32: &str = wgsl!("shared/weight_f32");
const WEIGHT_F16: &str = wgsl!("shared/weight_f16");
const WEIGHT_BF16: &str = wgsl!("shared/weight_bf16");

/// Element types in which frozen weights may lie in GPU memory.
pub const WEIGHT_DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];

/// Name and file of a weight storage.
fn weight_part(dtype: Dtype) -> (&'static str, &'static str) {
    match dtype {
        Dtype::F32 => ("f32", WEIGHT_F32),
        Dtype::F16 => ("f16", WEIGHT_F16),
        Dtype::BF16 => ("bf16", WEIGHT_BF16),
        Dtype::U32 => panic!("a weight has a floating-point type"),
    }
}

/// Name of a storage of 16 bits, and the file that widens it; `None` for f32.
fn widen_part(dtype: Dtype) -> Option<(&'static str, &'static str)> {
    match dtype {
        Dtype::F16 => Some(("f16", wgsl!("shared/widen_f16"))),
        Dtype::BF16 => Some(("bf16", wgsl!("shared/widen_bf16"))),
        Dtype::F32 => None,
        Dtype::U32 => panic!("a weight has a floating-point type"),
    }
}

fn shader<P: Params>(
    kernel: &'static str,
    variant: impl Into<String>,
    parts: &[impl Into<Cow<'static, str>> + Clone],
) -> Shader {
    let parts = parts.iter().cloned().map(Into::into).collect();
    Shader { kernel, variant: variant.into(), parts, params: P::FIELDS }
}

/// Every shader that the crate can run, for the tests that hold each against its Rust twin and
/// translate it for other platforms, and for `postil doctor`.
pub fn all_shaders() -> Vec<Shader> {
    [
        adamw::shaders(),
        add_rows::shaders(),
        attention::shaders(),
        attention_token::shaders(),
        copy::shaders(),
        copy_columns::shaders(),
        cross_entropy::shaders(),
        gather::shaders(),
        gelu::shaders(),
        halves::shaders(),
        head_norm::shaders(),
        layer_norm::shaders(),
        loss_scale::shaders(),
        matmul_tiles::shaders(),
        matmul_coop::plain_shaders(),
        matmul_narrow::shaders(Arithmetic::F32),
        matvec::shaders(),
        reduce::shaders(),
        rms_norm::shaders(),
        rope::shaders(),
        rope_heads::shaders(),
        sample::shaders(),
        swiglu::shaders(),
        transpose::shaders(),
    ]
    .concat()
}

/// Every shader that needs cooperative matrices ([`Caps::cooperative_matrix`](crate::gpu::Caps)).
pub fn cooperative_shaders() -> Vec<Shader> {
    [attention::cooperative_shaders(), matmul_coop::shaders(), matmul_narrow::shaders(Arithmetic::F16)]
        .concat()
}

/// A grid of at least `count` workgroups over x and y.
fn spread(count: usize) -> [u32; 3] {
    let x = count.min(MAX_GRID);
    [x as u32, if x == 0 { 0 } else { count.div_ceil(x) as u32 }, 1]
}

/// A grid with one invocation of a 256-wide workgroup per element.
fn per_element(count: usize) -> [u32; 3] {
    spread(count.div_ceil(256))
}

/// Panics unless `tensor` holds `rows` rows of `columns` elements.
#[track_caller]
fn expect_shape(name: &str, tensor: &Tensor, rows: usize, columns: usize) {
    assert!(
        tensor.rows() == rows && tensor.columns() == columns,
        "{name} is {:?}, expected [{rows}, {columns}]",
        tensor.shape()
    );
}
