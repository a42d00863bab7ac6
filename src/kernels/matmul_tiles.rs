//! Tiles and variants of the plain products ([`matmul`](super::matmul)), and into how many shares a long sum is cut.

use std::borrow::Cow;

use super::matmul::{MatmulNnParams, MatmulNtParams, MatmulTnParams};
use super::storage::{Access, ROUNDING, Width, name_of, storage};
use super::{PCG, STEP, WEIGHT_DTYPES, shader, weight_part, wgsl};
use crate::gpu::{Dtype, Shader};

/// Fewer workgroups than this do not fill a large GPU.
pub(super) const WORKGROUPS: usize = 150;

/// A sum over fewer steps of K than this is not shared out.
const LONG: usize = 1024;

/// Into how many shares a sum over `k` may be cut where there is room for so many.
pub(super) fn most_shares(k: usize, room: usize) -> usize {
    k.div_ceil(LONG).min(room).max(1)
}

/// How many steps of a sum over `k` a share takes, a multiple of every kernel's step, where there are so many tiles and
/// room for so many shares.
pub(super) fn share_of(tiles: usize, k: usize, room: usize) -> usize {
    let wanted = (4 * WORKGROUPS).div_ceil(tiles.max(1)).clamp(1, most_shares(k, room));
    k.div_ceil(wanted).next_multiple_of(64).max(64)
}

/// Output tile of one workgroup, rows × columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// For products that are large both ways.
    Square,
    /// 64 × 16, for few columns (the low-rank side).
    Tall,
    /// 16 × 64, for few rows (gradients of A).
    Wide,
}

impl Tile {
    fn part(self) -> (&'static str, &'static str) {
        match self {
            Self::Square => ("64x64", wgsl!("shared/tile_64x64")),
            Self::Tall => ("64x16", wgsl!("shared/tile_64x16")),
            Self::Wide => ("16x64", wgsl!("shared/tile_16x64")),
        }
    }

    fn size(self) -> (usize, usize) {
        match self {
            Self::Square => (64, 64),
            Self::Tall => (64, 16),
            Self::Wide => (16, 64),
        }
    }

    pub(super) fn columns(self) -> usize {
        self.size().1
    }

    pub(super) fn grid(self, m: usize, n: usize) -> [u32; 3] {
        let (rows, columns) = self.size();
        [n.div_ceil(columns) as u32, m.div_ceil(rows) as u32, 1]
    }

    /// The tile for an `m × n` result.
    pub fn for_shape(m: usize, n: usize) -> Self {
        match (m, n) {
            (_, ..=32) => Self::Tall,
            (..=32, _) => Self::Wide,
            _ => Self::Square,
        }
    }
}

const TILES: [Tile; 3] = [Tile::Square, Tile::Tall, Tile::Wide];
const TILED: &str = wgsl!("shared/matmul");
const DROPOUT_NONE: &str = wgsl!("shared/dropout_none");
const DROPOUT_HASH: &str = wgsl!("shared/dropout_hash");

/// How a kernel reads: the element types of x and of its weight, and whether four neighbours can be read at once wherever
/// it reads.
#[derive(Clone, Copy)]
pub(super) struct Reads {
    pub x: Dtype,
    pub weight: Dtype,
    pub in_fours: bool,
}

impl Reads {
    fn parts(self) -> (String, Vec<Cow<'static, str>>) {
        let Self { x, weight, in_fours } = self;
        if in_fours {
            let read = |binding, name, dtype| storage(binding, name, dtype, Width::Four, Access::Read);
            let name = format!("{}-{}x4", name_of(x), name_of(weight));
            let fours = wgsl!("shared/fours").into();
            return (name, vec![ROUNDING.into(), read(1, "x", x), read(2, "weights", weight), fours]);
        }
        assert_eq!(x, Dtype::F32, "what is no multiple of four is f32");
        let (name, one) = weight_part(weight);
        (name.to_owned(), vec![one.into(), wgsl!("shared/ones").into()])
    }
}

/// The storage, tile and dropout files of one variant, and its name.
fn variant(
    reads: Reads,
    tile: Tile,
    dropout: bool,
    kernel: &'static str,
) -> (String, Vec<Cow<'static, str>>) {
    let (tile_name, tile_part) = tile.part();
    let (reads_name, mut parts) = reads.parts();
    let mut name = vec![reads_name.as_str(), tile_name];
    if dropout {
        name.push("dropout");
        parts.extend([STEP, PCG, DROPOUT_HASH].map(Cow::from));
    } else {
        parts.push(DROPOUT_NONE.into());
    }
    parts.extend([tile_part, TILED, kernel].map(Cow::from));
    (name.join("-"), parts)
}

pub(super) fn nt_shader(reads: Reads, tile: Tile, dropout: bool) -> Shader {
    let (name, parts) = variant(reads, tile, dropout, wgsl!("matmul_nt"));
    shader::<MatmulNtParams>("matmul_nt", name, &parts)
}

pub(super) fn nn_shader(reads: Reads, tile: Tile, dropout: bool) -> Shader {
    let (name, parts) = variant(reads, tile, dropout, wgsl!("matmul_nn"));
    shader::<MatmulNnParams>("matmul_nn", name, &parts)
}

pub(super) fn tn_shader(in_fours: bool, tile: Tile, dropout: bool) -> Shader {
    let (name, parts) =
        variant(Reads { x: Dtype::F32, weight: Dtype::F32, in_fours }, tile, dropout, wgsl!("matmul_tn"));
    shader::<MatmulTnParams>("matmul_tn", name, &parts)
}

pub(super) fn shaders() -> Vec<Shader> {
    let mut all = Vec::new();
    let reads = [(Dtype::F32, false), (Dtype::F32, true), (Dtype::F16, true)];
    for (tile, (x, in_fours)) in TILES.into_iter().flat_map(|tile| reads.map(|reads| (tile, reads))) {
        for weight in WEIGHT_DTYPES {
            let reads = Reads { x, weight, in_fours };
            // Dropout in the forward pass acts on the input of A, which is f32.
            all.push(nt_shader(reads, tile, false));
            all.extend([false, true].map(|dropout| nn_shader(reads, tile, dropout)));
        }
        all.push(nt_shader(Reads { x, weight: Dtype::F32, in_fours }, tile, true));
        if x == Dtype::F32 {
            all.extend([false, true].map(|dropout| tn_shader(in_fours, tile, dropout)));
        }
    }
    all
}
