//! Products with a frozen weight in whole tiles of cooperative matrices: f16 operands, f32 sums. [`matmul`](super::matmul)
//! chooses between these and the plain ones: shapes that do not fit go there. See `shaders/matmul_{nt,nn}_coop.wgsl`.

use super::matmul::{Nn, Nt};
use super::matmul_tiles::{WORKGROUPS, share_of};
use super::{WEIGHT_DTYPES, expect_shape, per_element, shader, wgsl, widen_part};
use crate::config::Arithmetic;
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor};
use crate::params;

params! {
    /// Parameter block of `matmul_nt_coop.wgsl`.
    pub struct MatmulNtCoopParams {
        k: u32, r: u32,
        ldx: u32, x_offset: u32, ldy: u32, y_offset: u32,
        has_bias: u32, has_residual: u32,
    }
}

params! {
    /// Parameter block of `matmul_nn_coop.wgsl`.
    pub struct MatmulNnCoopParams {
        m: u32, n: u32, k: u32, r: u32,
        ldx: u32, x_offset: u32,
        accumulate: u32, share: u32,
    }
}

params! {
    /// Parameter block of `sum_shares.wgsl`.
    pub struct SumSharesParams { count: u32, at: u32, stride: u32, shares: u32, accumulate: u32, }
}

/// Output tile of one workgroup in a product with a frozen weight, rows × columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoopTile {
    /// 128 × 128.
    Large,
    /// 64 × 64, where large ones do not fit, or would leave the device idle.
    Small,
}

/// Both.
pub const COOP_TILES: [CoopTile; 2] = [CoopTile::Large, CoopTile::Small];

/// Steps of K in one go; divides K.
const BK: usize = 32;

impl CoopTile {
    fn part(self) -> (&'static str, &'static str) {
        match self {
            Self::Large => ("128x128", wgsl!("shared/coop_tile_128x128")),
            Self::Small => ("64x64", wgsl!("shared/coop_tile_64x64")),
        }
    }

    fn size(self) -> usize {
        match self {
            Self::Large => 128,
            Self::Small => 64,
        }
    }

    fn grid(self, m: usize, n: usize, shares: usize) -> [u32; 3] {
        [(n / self.size()) as u32, (m / self.size()) as u32, shares as u32]
    }

    /// Whether an `m × n` product over `k` consists of whole tiles.
    pub fn fits(self, m: usize, n: usize, k: usize) -> bool {
        m > 0 && m.is_multiple_of(self.size()) && n.is_multiple_of(self.size()) && k.is_multiple_of(BK)
    }

    /// The tile for such a product, if there is one.
    pub fn for_shape(m: usize, n: usize, k: usize) -> Option<Self> {
        let large = (m / 128) * (n / 128) >= WORKGROUPS;
        COOP_TILES.into_iter().find(|tile| tile.fits(m, n, k) && (*tile == Self::Small || large))
    }
}

pub(super) const ENABLE: &str = wgsl!("shared/cooperative");
const TILED: &str = wgsl!("shared/coop_matmul");

/// Name and files of a weight storage.
fn weight_parts(dtype: Dtype) -> (&'static str, Vec<&'static str>) {
    match widen_part(dtype) {
        Some((name, widen)) => (name, vec![widen, wgsl!("shared/coop_weight_16")]),
        None => ("f32", vec![wgsl!("shared/coop_weight_32")]),
    }
}

fn nt_shader(dtype: Dtype, tile: CoopTile) -> Shader {
    let ((weight, weight_parts), (tile, tile_part)) = (weight_parts(dtype), tile.part());
    let rest = [tile_part, wgsl!("shared/coop_b_along_k"), TILED, wgsl!("matmul_nt_coop")];
    let parts = [&[ENABLE], &weight_parts[..], &rest].concat();
    shader::<MatmulNtCoopParams>("matmul_nt_coop", format!("{weight}-{tile}"), &parts)
}

fn nn_shader(dtype: Dtype, tile: CoopTile) -> Shader {
    let ((weight, weight_parts), (tile, tile_part)) = (weight_parts(dtype), tile.part());
    let rest = [tile_part, wgsl!("shared/coop_b_along_n"), TILED, wgsl!("matmul_nn_coop")];
    let parts = [&[ENABLE], &weight_parts[..], &rest].concat();
    shader::<MatmulNnCoopParams>("matmul_nn_coop", format!("{weight}-{tile}"), &parts)
}

fn sum_shares_shader() -> Shader {
    shader::<SumSharesParams>("sum_shares", "", &[wgsl!("sum_shares")])
}

/// The shaders that need cooperative matrices.
pub(super) fn shaders() -> Vec<Shader> {
    let mut all = Vec::new();
    for tile in COOP_TILES {
        for dtype in WEIGHT_DTYPES {
            all.extend([nt_shader(dtype, tile), nn_shader(dtype, tile)]);
        }
    }
    all
}

/// Those that every device runs.
pub(super) fn plain_shaders() -> Vec<Shader> {
    vec![sum_shares_shader()]
}

pub(super) fn one_part(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|tensor| tensor.part_count() == 1)
}

/// Adds a product to a plan whose arithmetic is f16, if whole tiles fit it.
pub(super) fn add_nt(plan: &mut PlanBuilder, product: &Nt<'_>) -> bool {
    let Nt { x, weight, y, .. } = product;
    let (m, n, k) = (x.tensor.rows(), y.count, x.count);
    let Some(tile) = CoopTile::for_shape(m, n, k) else { return false };
    let plain = product.scale == 1.0 && product.dropout.is_none();
    if plan.arithmetic() != Arithmetic::F16
        || !plain
        || !x.is_aligned()
        || !one_part(&[x.tensor, weight, y.tensor])
    {
        return false;
    }
    expect_shape("weight", weight, n, k);
    let absent = plan.gpu().absent();
    let (e, f) = product.extension.unwrap_or((&absent, &absent));
    let params = MatmulNtCoopParams {
        k: k as u32,
        r: product.extension.map_or(0, |(e, _)| e.columns() as u32),
        ldx: x.tensor.columns() as u32,
        x_offset: x.first as u32,
        ldy: y.tensor.columns() as u32,
        y_offset: y.first as u32,
        has_bias: product.bias.is_some().into(),
        has_residual: product.residual.is_some().into(),
    };
    let (bias, residual) = (product.bias.unwrap_or(&absent), product.residual.unwrap_or(&absent));
    let bindings = [x.tensor, weight, e, f, bias, residual, y.tensor];
    plan.dispatch(nt_shader(weight.dtype(), tile), &params, &bindings, tile.grid(m, n, 1));
    true
}

/// As [`add_nt`].
pub(super) fn add_nn(plan: &mut PlanBuilder, product: &Nn<'_>) -> bool {
    let Some(tile) = tile_nn(plan, product) else { return false };
    add_tiled_nn(plan, product, tile);
    true
}

/// Whether [`add_nn`] would add it.
pub(super) fn fits_nn(plan: &PlanBuilder, product: &Nn<'_>) -> bool {
    tile_nn(plan, product).is_some()
}

fn tile_nn(plan: &PlanBuilder, product: &Nn<'_>) -> Option<CoopTile> {
    let Nn { x, weight, y, .. } = product;
    let fits = plan.arithmetic() == Arithmetic::F16
        && product.scale == 1.0
        && product.dropout.is_none()
        && x.is_aligned()
        && one_part(&[x.tensor, weight, y]);
    CoopTile::for_shape(y.rows(), y.columns(), x.count).filter(|_| fits)
}

fn add_tiled_nn(plan: &mut PlanBuilder, product: &Nn<'_>, tile: CoopTile) {
    let Nn { x, weight, y, .. } = product;
    let (m, n, k) = (y.rows(), y.columns(), x.count);
    expect_shape("weight", weight, k, n);
    let absent = plan.gpu().absent();
    let (e, f) = product.extension.unwrap_or((&absent, &absent));
    // A long sum in few tiles is shared out among more workgroups.
    let [columns, rows, _] = tile.grid(m, n, 1);
    let room = product.shares.map_or(1, |parts| parts.rows());
    let share = share_of((columns * rows) as usize, k, room);
    let shares = k.div_ceil(share);
    let to = if shares > 1 { product.shares.expect("there is room for more than one") } else { y };
    let params = MatmulNnCoopParams {
        m: m as u32,
        n: n as u32,
        k: k as u32,
        r: product.extension.map_or(0, |(e, _)| e.columns() as u32),
        ldx: x.tensor.columns() as u32,
        x_offset: x.first as u32,
        accumulate: (product.accumulate && shares == 1).into(),
        share: share as u32,
    };
    let bindings = [x.tensor, weight, e, f, to];
    plan.dispatch(nn_shader(weight.dtype(), tile), &params, &bindings, tile.grid(m, n, shares));
    if shares > 1 {
        sum_shares(plan, to, m * n, [0, shares], y, product.accumulate);
    }
}

/// `y (+)= Σ_z parts[z·stride + at..]` over so many shares.
pub(super) fn sum_shares(
    plan: &mut PlanBuilder,
    parts: &Tensor,
    stride: usize,
    [at, shares]: [usize; 2],
    y: &Tensor,
    accumulate: bool,
) {
    let params = SumSharesParams {
        count: y.len() as u32,
        at: at as u32,
        stride: stride as u32,
        shares: shares as u32,
        accumulate: accumulate.into(),
    };
    plan.dispatch(sum_shares_shader(), &params, &[parts, y], per_element(y.len()));
}
