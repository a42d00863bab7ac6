//! The element types of GGUF tensors and what their blocks hold.
//!
//! Layouts and formulas are those of llama.cpp (`ggml-common.h`, `dequantize_row_*` in `ggml-quants.c`); the tests
//! compare with its Python package `gguf`. Every product is rounded to f32 where it rounds there.

use std::fmt;

use ::safetensors::Dtype;
use half::f16;

use crate::error::{Error, Result};

/// A tensor's element type; the discriminants are the file's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "llama.cpp's names")]
pub enum GgmlType {
    /// IEEE single.
    F32 = 0,
    /// IEEE half.
    F16 = 1,
    /// 32 × 4 bits, one scale.
    Q4_0 = 2,
    /// 32 × 4 bits, scale and minimum.
    Q4_1 = 3,
    /// 32 × 5 bits, one scale.
    Q5_0 = 6,
    /// 32 × 5 bits, scale and minimum.
    Q5_1 = 7,
    /// 32 × 8 bits, one scale.
    Q8_0 = 8,
    /// 8 × 32 × 4 bits, scales and minima of 6 bits.
    Q4_K = 12,
    /// 8 × 32 × 5 bits, scales and minima of 6 bits.
    Q5_K = 13,
    /// 16 × 16 × 6 bits, scales of 8 bits.
    Q6_K = 14,
    /// bfloat16.
    BF16 = 30,
}

/// Elements of a block of the K types.
const SUPER: usize = 256;

impl GgmlType {
    /// Every type that is read.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
    ];

    /// The type with the file's number.
    ///
    /// # Errors
    ///
    /// `Unsupported`, with the type's name where it has one.
    pub fn new(number: u32) -> Result<Self> {
        Self::ALL.into_iter().find(|&known| known as u32 == number).ok_or_else(|| {
            let known: Vec<String> = Self::ALL.iter().map(ToString::to_string).collect();
            Error::unsupported(format!(
                "its type is {}; expected one of {}",
                other_name(number).map_or_else(|| number.to_string(), str::to_owned),
                known.join(", ")
            ))
        })
    }

    /// Elements of a block and its bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q4_K => (SUPER, 144),
            Self::Q5_K => (SUPER, 176),
            Self::Q6_K => (SUPER, 210),
        }
    }

    /// The type in which elements are handed on. Blocks become f16 rather than bf16: scales are f16 and the
    /// integers have at most 8 bits, so f16's 11 bits keep the error of narrowing (2⁻¹² of a value) far below a
    /// quantisation step, where bf16's 8 bits would be as coarse as Q8_0 itself. Where f16's range does not suffice,
    /// reading is an error.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::BF16 => Dtype::BF16,
            _ => Dtype::F16,
        }
    }

    /// Whether elements are not stored one by one.
    pub fn is_quantized(self) -> bool {
        self.block().0 > 1
    }

    /// Bytes of a tensor, slowest dimension first; rows are whole blocks.
    pub(super) fn bytes(self, shape: &[usize]) -> Result<u64> {
        let (elements, bytes) = self.block();
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(elements) {
            return Err(Error::format(format!(
                "rows of {row} elements; {self} has blocks of {elements}, so rows are a multiple of that"
            )));
        }
        // Eight bytes an element and bits of it must fit 64 bits too: `TensorInfo` promises that.
        let total = shape.iter().try_fold(64u64, |total, &size| total.checked_mul(size as u64));
        let total =
            total.ok_or_else(|| Error::format(format!("the size of {self} {shape:?} overflows")))? / 64;
        Ok(total / elements as u64 * bytes as u64)
    }

    /// The elements of whole blocks.
    ///
    /// # Panics
    ///
    /// If `blocks` is not a whole number of blocks.
    pub fn decode(self, blocks: &[u8]) -> Vec<f32> {
        let (elements, bytes) = self.block();
        assert!(blocks.len().is_multiple_of(bytes), "{} bytes are no whole blocks of {self}", blocks.len());
        let mut values = vec![0.0; blocks.len() / bytes * elements];
        for (block, out) in blocks.chunks_exact(bytes).zip(values.chunks_exact_mut(elements)) {
            match self {
                Self::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
                Self::F16 => out[0] = half_at(block, 0),
                Self::BF16 => out[0] = half::bf16::from_le_bytes([block[0], block[1]]).to_f32(),
                Self::Q8_0 => q8_0(block, out),
                Self::Q4_0 => q4(half_at(block, 0), -8.0, -0.0, &block[2..], None, out),
                Self::Q4_1 => q4(half_at(block, 0), 0.0, half_at(block, 2), &block[4..], None, out),
                Self::Q5_0 => q4(half_at(block, 0), -16.0, -0.0, &block[6..], Some(&block[2..6]), out),
                Self::Q5_1 => {
                    q4(half_at(block, 0), 0.0, half_at(block, 2), &block[8..], Some(&block[4..8]), out)
                }
                Self::Q4_K => q4_k(block, &block[16..], None, out),
                Self::Q5_K => q4_k(block, &block[48..], Some(&block[16..48]), out),
                Self::Q6_K => q6_k(block, out),
            }
        }
        values
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Names of types that are not read.
fn other_name(number: u32) -> Option<&'static str> {
    Some(match number {
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return None,
    })
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// d·q, q of 8 bits.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (out, &q) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(q as i8) * d;
    }
}

/// d·(q + shift) + m (−0 adds nothing, not even to −0): q of 4 bits, low nibbles first, or of 5 with the bits of `high` on top.
fn q4(d: f32, shift: f32, m: f32, nibbles: &[u8], high: Option<&[u8]>, out: &mut [f32]) {
    let bits = high.map_or(0, |high| u32::from_le_bytes([high[0], high[1], high[2], high[3]]));
    for (i, out) in out.iter_mut().enumerate() {
        let nibble = if i < 16 { nibbles[i] & 15 } else { nibbles[i - 16] >> 4 };
        let q = f32::from(nibble | ((bits >> i & 1) as u8) << 4);
        *out = d * (q + shift) + m;
    }
}

/// d·scale·q − dmin·min for eight parts of 32 elements; q of 4 bits, or of 5 with bit j of `high` for part j.
fn q4_k(block: &[u8], nibbles: &[u8], high: Option<&[u8]>, out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let packed = &block[4..16];
    for (part, out) in out.chunks_exact_mut(32).enumerate() {
        // 6 bits each: the first four parts' in whole bytes, the others' split between nibbles and top bits.
        let (scale, min) = if part < 4 {
            (packed[part] & 63, packed[part + 4] & 63)
        } else {
            let low = packed[part + 4];
            (low & 15 | packed[part - 4] >> 6 << 4, low >> 4 | packed[part] >> 6 << 4)
        };
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for (i, out) in out.iter_mut().enumerate() {
            let nibble = nibbles[32 * (part / 2) + i] >> (4 * (part % 2)) & 15;
            let top = high.map_or(0, |high| high[i] >> part & 1);
            *out = scale * f32::from(nibble | top << 4) - min;
        }
    }
}

/// d·scale·(q − 32) for sixteen parts of 16 elements; q of 4 low and 2 high bits.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (i, out) in out.iter_mut().enumerate() {
        // Halves of 128 elements; inside, a quarter of 32 shares its bytes with another one.
        let (half, quarter, j) = (i / 128, i / 32 % 4, i % 32);
        let nibble = low[64 * half + 32 * (quarter % 2) + j] >> (4 * (quarter / 2)) & 15;
        let top = high[32 * half + j] >> (2 * quarter) & 3;
        let q = f32::from(nibble | top << 4) - 32.0;
        *out = d * f32::from(scales[i / 16] as i8) * q;
    }
}
