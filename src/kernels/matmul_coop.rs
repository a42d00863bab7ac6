//! Products with a frozen weight in whole tiles of cooperative matrices: f16 operands, f32 sums. [`matmul`](super::matmul)
//! chooses between these and the plain ones: shapes that do not fit go there. See `shaders/matmul_{nt,nn}_coop.wgsl`.

use std::borrow::Cow;

use super::coop_tile::{COOP_TILES, CoopForm, CoopTile};
use super::matmul::{Beside, Nn, Nt};
use super::matmul_tiles::{most_shares, share_of};
use super::storage::{ROUNDING, eights, name_of};
use super::{WEIGHT_DTYPES, coop_wgsl, expect_shape, per_element, shader, wgsl};
use crate::config::Arithmetic;
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor};
use crate::params;

params! {
    /// Parameter block of `matmul_nt_coop.wgsl`.
    pub struct MatmulNtCoopParams {
        k: u32, r: u32,
        ldx: u32, x_offset: u32, ldy: u32, y_offset: u32,
        lde: u32, e_offset: u32, second: u32, third: u32,
        has_bias: u32, has_residual: u32,
    }
}

params! {
    /// Parameter block of `matmul_nn_coop.wgsl`.
    pub struct MatmulNnCoopParams {
        m: u32, n: u32, k: u32, r: u32,
        ldx: u32, x_offset: u32, lde: u32, e_offset: u32,
        accumulate: u32, share: u32,
    }
}

params! {
    /// Parameter block of `sum_shares.wgsl`.
    pub struct SumSharesParams { count: u32, at: u32, stride: u32, shares: u32, accumulate: u32, }
}

pub(super) const ENABLE: &str = coop_wgsl!("shared/cooperative");
const TILED: &str = coop_wgsl!("shared/coop_matmul");

/// Types of a product's operands.
#[derive(Clone, Copy)]
struct Types {
    x: Dtype,
    weight: Dtype,
}

impl Types {
    fn of(x: &Tensor, weight: &Tensor) -> Self {
        Self { x: x.dtype(), weight: weight.dtype() }
    }

    fn name(self, tile: CoopTile) -> String {
        format!("{}-{}-{}", name_of(self.x), name_of(self.weight), tile.name())
    }

    fn parts(self, tile: CoopTile, b: &'static str, kernel: &'static str) -> Vec<Cow<'static, str>> {
        vec![
            ENABLE.into(),
            ROUNDING.into(),
            eights(1, "x", self.x),
            eights(2, "weights", self.weight),
            tile.text(),
            b.into(),
            TILED.into(),
            kernel.into(),
        ]
    }
}

fn nt_shader(types: Types, tile: CoopTile) -> Shader {
    let parts = types.parts(tile, coop_wgsl!("shared/coop_b_along_k"), coop_wgsl!("matmul_nt_coop"));
    shader::<MatmulNtCoopParams>("matmul_nt_coop", types.name(tile), &parts)
}

fn nn_shader(types: Types, tile: CoopTile) -> Shader {
    let parts = types.parts(tile, coop_wgsl!("shared/coop_b_along_n"), coop_wgsl!("matmul_nn_coop"));
    shader::<MatmulNnCoopParams>("matmul_nn_coop", types.name(tile), &parts)
}

fn sum_shares_shader() -> Shader {
    shader::<SumSharesParams>("sum_shares", "", &[wgsl!("sum_shares")])
}

/// The shaders that need cooperative matrices.
pub(super) fn shaders() -> Vec<Shader> {
    let mut all = Vec::new();
    for tile in COOP_TILES {
        for types in
            [Dtype::F32, Dtype::F16].into_iter().flat_map(|x| WEIGHT_DTYPES.map(|weight| Types { x, weight }))
        {
            all.push(nt_shader(types, tile));
            if tile.has(CoopForm::Nn) {
                all.push(nn_shader(types, tile));
            }
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
    let fits = !cfg!(target_arch = "wasm32")
        && plan.arithmetic() == Arithmetic::F16
        && product.scale == 1.0
        && product.dropout.is_none()
        && x.in_eights()
        && one_part(&[x.tensor, weight, y.tensor]);
    let tile = CoopTile::choose(CoopForm::Nt, [x.tensor.rows(), y.count, x.count], product.beside, 1);
    let Some(tile) = tile.filter(|_| fits) else { return false };
    add_nt_with(plan, product, tile);
    true
}

/// Adds a product that fits them, as [`Nt::add_to`] does, in tiles of the caller's choice.
pub fn add_nt_with(plan: &mut PlanBuilder, product: &Nt<'_>, tile: CoopTile) {
    let Nt { x, weight, y, .. } = product;
    let (m, n, k) = (x.tensor.rows(), y.count, x.count);
    assert!(tile.fits(m, n, k), "{tile:?} for {m} × {n} over {k}");
    expect_shape("weight", weight, n, k);
    let absent = plan.gpu().absent();
    let (e, f) = product.extension.unwrap_or((&absent, &absent));
    let [second, third] = product.beside.starts(n);
    let params = MatmulNtCoopParams {
        k: k as u32,
        r: product.extension.map_or(0, |(_, f)| f.columns() as u32),
        ldx: x.tensor.columns() as u32,
        x_offset: x.first as u32,
        ldy: y.tensor.columns() as u32,
        y_offset: y.first as u32,
        lde: e.columns() as u32,
        e_offset: product.e_first as u32,
        second,
        third,
        has_bias: product.bias.is_some().into(),
        has_residual: product.residual.is_some().into(),
    };
    let (bias, residual) = (product.bias.unwrap_or(&absent), product.residual.unwrap_or(&absent));
    let bindings = [x.tensor, weight, e, f, bias, residual, y.tensor];
    plan.dispatch(nt_shader(Types::of(x.tensor, weight), tile), &params, &bindings, tile.grid(m, n, 1));
}

/// As [`add_nt`].
pub(super) fn add_nn(plan: &mut PlanBuilder, product: &Nn<'_>) -> bool {
    let Some(tile) = tile_nn(plan, product) else { return false };
    add_nn_with(plan, product, tile);
    true
}

/// Whether [`add_nn`] would add it.
pub(super) fn fits_nn(plan: &PlanBuilder, product: &Nn<'_>) -> bool {
    tile_nn(plan, product).is_some()
}

fn tile_nn(plan: &PlanBuilder, product: &Nn<'_>) -> Option<CoopTile> {
    let Nn { x, weight, y, .. } = product;
    let fits = !cfg!(target_arch = "wasm32")
        && plan.arithmetic() == Arithmetic::F16
        && product.scale == 1.0
        && product.dropout.is_none()
        && x.in_eights()
        && one_part(&[x.tensor, weight, y]);
    let splits = product.shares.map_or(1, |parts| most_shares(x.count, parts.rows()));
    CoopTile::choose(CoopForm::Nn, [y.rows(), y.columns(), x.count], Beside::NONE, splits).filter(|_| fits)
}

/// As [`add_nt_with`].
pub fn add_nn_with(plan: &mut PlanBuilder, product: &Nn<'_>, tile: CoopTile) {
    let Nn { x, weight, y, .. } = product;
    let (m, n, k) = (y.rows(), y.columns(), x.count);
    assert!(tile.has(CoopForm::Nn) && tile.fits(m, n, k), "{tile:?} for {m} × {n} over {k}");
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
        r: product.extension.map_or(0, |(_, f)| f.rows() as u32),
        ldx: x.tensor.columns() as u32,
        x_offset: x.first as u32,
        lde: e.columns() as u32,
        e_offset: product.e_first as u32,
        accumulate: (product.accumulate && shares == 1).into(),
        share: share as u32,
    };
    let bindings = [x.tensor, weight, e, f, to];
    plan.dispatch(nn_shader(Types::of(x.tensor, weight), tile), &params, &bindings, tile.grid(m, n, shares));
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
