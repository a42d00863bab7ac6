//! Declarations of storage buffers for kernels whose tensors may have any type: WGSL has no types as parameters.
//!
//! A kernel computes in f32, in units of [`Width`]: with `x_at(i)` it reads the i-th unit of `x`, with `x_put(i, v)` it
//! writes it.

use std::borrow::Cow;

use super::{wgsl, widen_part};
use crate::gpu::{Dtype, Tensor};

/// How many neighbours a kernel reads or writes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// One; of 16 bits it can only be read.
    One,
    /// Four: every row begins at a multiple of four.
    Four,
}

impl Width {
    /// Four where lines of these lengths allow it.
    pub fn of_lines(lengths: &[usize]) -> Self {
        if lengths.iter().all(|length| length.is_multiple_of(4)) { Self::Four } else { Self::One }
    }

    /// For a variant's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Four => "x4",
        }
    }

    /// How many that is.
    pub fn elements(self) -> usize {
        match self {
            Self::One => 1,
            Self::Four => 4,
        }
    }

    /// `Part`, `WIDE` and `part_dot`.
    pub fn text(self) -> &'static str {
        match self {
            Self::One => wgsl!("shared/part_one"),
            Self::Four => wgsl!("shared/part_four"),
        }
    }

    fn part(self) -> &'static str {
        match self {
            Self::One => "f32",
            Self::Four => "vec4<f32>",
        }
    }
}

/// A type's name in a variant's.
pub(super) fn name_of(dtype: Dtype) -> &'static str {
    widen_part(dtype).map_or("f32", |(name, _)| name)
}

/// Whether a kernel may write to the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// `_at` alone.
    Read,
    /// `_at` and `_put`.
    ReadWrite,
}

/// The declaration of a buffer with its functions.
pub(super) fn storage(
    binding: u32,
    name: &str,
    dtype: Dtype,
    width: Width,
    access: Access,
) -> Cow<'static, str> {
    let part = width.part();
    let (element, read, write) = match (dtype, width) {
        (Dtype::F32, _) => (part, format!("{name}[i]"), "v"),
        (Dtype::F16, Width::Four) => (
            "vec2<u32>",
            "vec4(unpack2x16float(words.x), unpack2x16float(words.y))".to_owned(),
            "vec2(rounded_f16(v.xy), rounded_f16(v.zw))",
        ),
        (Dtype::BF16, Width::Four) => (
            "vec2<u32>",
            "vec4(widened_bf16(words.x), widened_bf16(words.y))".to_owned(),
            "vec2(rounded_bf16(v.xy), rounded_bf16(v.zw))",
        ),
        (Dtype::F16, Width::One) => ("u32", format!("unpack2x16float({name}[i >> 1u])[i & 1u]"), ""),
        (Dtype::BF16, Width::One) => ("u32", format!("widened_bf16({name}[i >> 1u])[i & 1u]"), ""),
        (Dtype::U32, _) => panic!("activations have a floating-point type"),
    };
    assert!(
        access == Access::Read || !write.is_empty(),
        "two of 16 bits share a word: they are not written alone"
    );
    // Both words in one load.
    let words = if element == "vec2<u32>" { format!("let words = {name}[i]; ") } else { String::new() };
    let mode = if access == Access::Read { "read" } else { "read_write" };
    let mut text = format!(
        "@group(0) @binding({binding}) var<storage, {mode}> {name}: array<{element}>;\n\
         fn {name}_at(i: u32) -> {part} {{ {words}return {read}; }}\n"
    );
    if access == Access::ReadWrite {
        text += &format!("fn {name}_put(i: u32, v: {part}) {{ {name}[i] = {write}; }}\n");
    }
    text.into()
}

/// The declaration of a buffer that is read eight at a time, as operands of cooperative matrices: `x_eight(i)` is the
/// elements from the i-th on, i a multiple of eight, in f16, whose range weights do not leave.
pub(super) fn eights(binding: u32, name: &str, dtype: Dtype) -> Cow<'static, str> {
    let (element, read) = match widen_part(dtype) {
        None => ("vec4<f32>", format!("vec4<f16>({name}[i >> 2u]), vec4<f16>({name}[(i >> 2u) + 1u])")),
        Some((_, _)) => {
            let widen = if dtype == Dtype::F16 { "unpack2x16float" } else { "widened_bf16" };
            let half = |a: char, b: char| format!("vec4<f16>(vec4({widen}(words.{a}), {widen}(words.{b})))");
            ("vec4<u32>", format!("{}, {}", half('x', 'y'), half('z', 'w')))
        }
    };
    let words = if element == "vec4<u32>" { format!("let words = {name}[i >> 3u]; ") } else { String::new() };
    format!(
        "@group(0) @binding({binding}) var<storage, read> {name}: array<{element}>;\n\
         fn {name}_eight(i: u32) -> mat2x4<f16> {{ {words}return mat2x4<f16>({read}); }}\n"
    )
    .into()
}

/// The declaration of a buffer that is read four at a time as it lies in memory, for kernels that have f16: `x_cell(i)`.
pub(super) fn cells(binding: u32, name: &str) -> Cow<'static, str> {
    format!(
        "@group(0) @binding({binding}) var<storage, read> {name}: array<Cell>;\n\
         fn {name}_cell(i: u32) -> Cell {{ return {name}[i]; }}\n"
    )
    .into()
}

/// As [`storage`], of a buffer that is written if there is one.
pub(super) fn written_if(binding: u32, name: &str, dtype: Option<Dtype>, width: Width) -> Cow<'static, str> {
    match dtype {
        Some(dtype) => storage(binding, name, dtype, width, Access::ReadWrite),
        None => format!("fn {name}_put(i: u32, v: {}) {{}}\n", width.part()).into(),
    }
}

/// What [`storage`] of 16 bits needs.
pub(super) const ROUNDING: &str = wgsl!("shared/rounding");

/// Whether kernels can have a tensor's rows in 16 bits.
pub(crate) fn fits_halves(columns: usize) -> bool {
    columns.is_multiple_of(4)
}

/// The type of a tensor that there may be.
pub(super) fn dtype_of(tensor: Option<&Tensor>) -> Option<Dtype> {
    tensor.map(Tensor::dtype)
}
