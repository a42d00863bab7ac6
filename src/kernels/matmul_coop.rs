//! Matrix products with cooperative matrices: f16 operands, f32 sums. [`matmul`](super::matmul) chooses between these and
//! the plain ones: shapes that do not fit go there. See `shaders/matmul_{nt,nn}_coop.wgsl` for products with a frozen
//! weight, `matmul_{nt,nn,tn}_narrow.wgsl` for those with LoRA's matrices and their gradients.

use super::matmul::{Columns, Nn, Nt, dispatch};
use super::{STEP, WEIGHT_DTYPES, expect_shape, per_element, shader, wgsl};
use crate::config::Arithmetic;
use crate::error::Result;
use crate::gpu::{Allocator, Dtype, PlanBuilder, Shader, Tensor};
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
    /// Parameter block of `matmul_nt_narrow.wgsl`.
    pub struct MatmulNtNarrowParams {
        m: u32, n: u32, k: u32,
        ldx: u32, x_offset: u32, ldy: u32, y_offset: u32,
        scale: f32,
        dropout_module: u32, first_row: u32,
    }
}

params! {
    /// Parameter block of `matmul_nn_narrow.wgsl`.
    pub struct MatmulNnNarrowParams {
        m: u32, n: u32, k: u32,
        ldx: u32, x_offset: u32,
        scale: f32,
    }
}

params! {
    /// Parameter block of `matmul_tn_narrow.wgsl`.
    pub struct MatmulTnNarrowParams {
        m: u32, n: u32, k: u32,
        lda: u32, a_offset: u32, ldb: u32, b_offset: u32,
        share: u32, at: u32, stride: u32, transposed: u32,
        dropout_module: u32,
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

/// Fewer workgroups than this do not fill a large GPU.
const WORKGROUPS: usize = 150;

const ENABLE: &str = wgsl!("shared/cooperative");
const TILED: &str = wgsl!("shared/coop_matmul");
const NARROW: &str = wgsl!("shared/coop_narrow");

fn weight_part(dtype: Dtype) -> (&'static str, &'static str) {
    match dtype {
        Dtype::F32 => ("f32", wgsl!("shared/coop_weight_f32")),
        Dtype::F16 => ("f16", wgsl!("shared/coop_weight_f16")),
        Dtype::BF16 => ("bf16", wgsl!("shared/coop_weight_bf16")),
        Dtype::U32 => panic!("a weight has a floating-point type"),
    }
}

fn nt_shader(dtype: Dtype, tile: CoopTile) -> Shader {
    let ((weight, weight_part), (tile, tile_part)) = (weight_part(dtype), tile.part());
    let parts =
        [ENABLE, weight_part, tile_part, wgsl!("shared/coop_b_along_k"), TILED, wgsl!("matmul_nt_coop")];
    shader::<MatmulNtCoopParams>("matmul_nt_coop", format!("{weight}-{tile}"), &parts)
}

fn nn_shader(dtype: Dtype, tile: CoopTile) -> Shader {
    let ((weight, weight_part), (tile, tile_part)) = (weight_part(dtype), tile.part());
    let parts =
        [ENABLE, weight_part, tile_part, wgsl!("shared/coop_b_along_n"), TILED, wgsl!("matmul_nn_coop")];
    shader::<MatmulNnCoopParams>("matmul_nn_coop", format!("{weight}-{tile}"), &parts)
}

/// The files that drop elements, or not, and the variant's name.
fn dropout_parts(dropout: bool) -> (&'static [&'static str], &'static str) {
    match dropout {
        true => (&[STEP, wgsl!("shared/dropout_hash")], "dropout"),
        false => (&[wgsl!("shared/dropout_none")], ""),
    }
}

fn nt_narrow_shader(dropout: bool) -> Shader {
    let (dropout, name) = dropout_parts(dropout);
    let parts = [&[ENABLE], dropout, &[NARROW, wgsl!("matmul_nt_narrow")]].concat();
    shader::<MatmulNtNarrowParams>("matmul_nt_narrow", name, &parts)
}

fn nn_narrow_shader() -> Shader {
    shader::<MatmulNnNarrowParams>("matmul_nn_narrow", "", &[ENABLE, NARROW, wgsl!("matmul_nn_narrow")])
}

fn tn_narrow_shader(dropout: bool) -> Shader {
    let (dropout, name) = dropout_parts(dropout);
    let parts = [&[ENABLE], dropout, &[wgsl!("matmul_tn_narrow")]].concat();
    shader::<MatmulTnNarrowParams>("matmul_tn_narrow", name, &parts)
}

fn sum_shares_shader() -> Shader {
    shader::<SumSharesParams>("sum_shares", "", &[wgsl!("sum_shares")])
}

/// The shaders that need cooperative matrices.
pub(super) fn shaders() -> Vec<Shader> {
    let mut all = vec![nn_narrow_shader()];
    all.extend([false, true].map(nt_narrow_shader));
    all.extend([false, true].map(tn_narrow_shader));
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

/// A sum over fewer steps of K than this is not shared out.
const LONG: usize = 1024;
/// Columns of a narrow result, at most: x is read again for every 16 of them.
const NARROW_COLUMNS: usize = 64;
/// Edge of the 16 × 16 sums of a workgroup.
const EDGE: usize = 16;

fn narrow_grid(m: usize, n: usize) -> [u32; 3] {
    [n.div_ceil(EDGE) as u32, m.div_ceil(EDGE) as u32, 1]
}

fn one_part(tensors: &[&Tensor]) -> bool {
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
    let wanted = (4 * WORKGROUPS).div_ceil((columns * rows) as usize).min(k.div_ceil(LONG));
    let room = product.shares.map_or(1, |parts| parts.rows());
    let share = k.div_ceil(wanted.clamp(1, room)).next_multiple_of(BK);
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

/// Adds a narrow product with an f32 weight, LoRA's A, to a plan whose arithmetic is f16, if it is one.
pub(super) fn add_narrow_nt(plan: &mut PlanBuilder, product: &Nt<'_>) -> bool {
    let Nt { x, weight, y, .. } = product;
    let plain = product.extension.is_none() && product.bias.is_none() && product.residual.is_none();
    let fits = plan.arithmetic() == Arithmetic::F16
        && plain
        && weight.dtype() == Dtype::F32
        && y.count <= NARROW_COLUMNS
        && x.is_aligned()
        && x.count.is_multiple_of(8)
        && one_part(&[x.tensor, weight, y.tensor]);
    if !fits {
        return false;
    }
    let params = MatmulNtNarrowParams {
        m: x.tensor.rows() as u32,
        n: y.count as u32,
        k: x.count as u32,
        ldx: x.tensor.columns() as u32,
        x_offset: x.first as u32,
        ldy: y.tensor.columns() as u32,
        y_offset: y.first as u32,
        scale: product.scale,
        dropout_module: product.dropout.unwrap_or(0),
        first_row: 0,
    };
    let dropout = product.dropout.is_some();
    let grid = narrow_grid(x.tensor.rows(), y.count);
    dispatch(plan, dropout, nt_narrow_shader(dropout), &params, &[x.tensor, weight, y.tensor], grid);
    true
}

/// As [`add_narrow_nt`], with LoRA's B.
pub(super) fn add_narrow_nn(plan: &mut PlanBuilder, product: &Nn<'_>) -> bool {
    let Nn { x, weight, y, .. } = product;
    let fits = plan.arithmetic() == Arithmetic::F16
        && product.extension.is_none()
        && !product.accumulate
        && weight.dtype() == Dtype::F32
        && y.columns() <= NARROW_COLUMNS
        && x.is_aligned()
        && x.count.is_multiple_of(8)
        && one_part(&[x.tensor, weight, y]);
    if !fits {
        return false;
    }
    let params = MatmulNnNarrowParams {
        m: y.rows() as u32,
        n: y.columns() as u32,
        k: x.count as u32,
        ldx: x.tensor.columns() as u32,
        x_offset: x.first as u32,
        scale: product.scale,
    };
    plan.dispatch(nn_narrow_shader(), &params, &[x.tensor, weight, y], narrow_grid(y.rows(), y.columns()));
    true
}

/// Partial sums of gradients: shares of the tokens × the gradient's elements.
#[derive(Clone)]
pub struct Shares {
    /// `[shares, elements]`.
    pub parts: Tensor,
}

/// Rows of the wide side in a workgroup.
const SHARE_ROWS: usize = 64;
/// Tokens of a share at least: fewer would be more sums than products.
const SHARE: usize = 128;
/// Shares at most.
const MAX_SHARES: usize = 16;

impl Shares {
    /// For gradients of up to `elements` over up to `rows` tokens; `None` where they pass a limit of the device.
    ///
    /// # Errors
    /// When the device has no room for them.
    pub fn new(gpu: &dyn Allocator, rows: usize, elements: usize) -> Result<Option<Self>> {
        let shape = [Self::count(rows), elements];
        match Tensor::byte_size(&shape, Dtype::F32) {
            Some(bytes) if bytes <= gpu.part_limits().bytes => {
                Ok(Some(Self { parts: gpu.tensor("gradient shares", &shape, Dtype::F32)? }))
            }
            _ => Ok(None),
        }
    }

    /// In how many shares so many tokens are added up.
    pub fn count(tokens: usize) -> usize {
        tokens.div_ceil(Self::tokens(tokens)).max(1)
    }

    /// Tokens of a share.
    fn tokens(tokens: usize) -> usize {
        tokens.div_ceil(MAX_SHARES).next_multiple_of(SHARE)
    }

    /// `parts[z, at..] = dropout(wide)ᵀ·narrow` over the z-th share of the tokens, `[wide, narrow]` or, `transposed`,
    /// `[narrow, wide]`; `dropout` names the module whose mask applies.
    pub fn add_product(
        &self,
        plan: &mut PlanBuilder,
        wide: Columns<'_>,
        narrow: Columns<'_>,
        at: usize,
        transposed: bool,
        dropout: Option<u32>,
    ) {
        let tokens = wide.tensor.rows();
        assert_eq!(narrow.tensor.rows(), tokens, "both sides have the same rows");
        assert!(
            wide.is_aligned() && wide.count.is_multiple_of(4),
            "{} columns from {}",
            wide.count,
            wide.first
        );
        let params = MatmulTnNarrowParams {
            m: wide.count as u32,
            n: narrow.count as u32,
            k: tokens as u32,
            lda: wide.tensor.columns() as u32,
            a_offset: wide.first as u32,
            ldb: narrow.tensor.columns() as u32,
            b_offset: narrow.first as u32,
            share: Self::tokens(tokens) as u32,
            at: at as u32,
            stride: self.parts.columns() as u32,
            transposed: transposed.into(),
            dropout_module: dropout.unwrap_or(0),
        };
        let columns = narrow.count.div_ceil(EDGE) as u32;
        let grid = [columns, wide.count.div_ceil(SHARE_ROWS) as u32, Self::count(tokens) as u32];
        let bindings = [wide.tensor, narrow.tensor, &self.parts];
        dispatch(plan, dropout.is_some(), tn_narrow_shader(dropout.is_some()), &params, &bindings, grid);
    }

    /// `y += Σ_z parts[z, at..at + y.len()]`, of products over so many tokens.
    pub fn add_up(&self, plan: &mut PlanBuilder, tokens: usize, at: usize, y: &Tensor) {
        sum_shares(plan, &self.parts, self.parts.columns(), [at, Self::count(tokens)], y, true);
    }
}

/// `y (+)= Σ_z parts[z·stride + at..]` over so many shares.
fn sum_shares(
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
