//! Matrix products: with a frozen weight (NT forward, NN backward), with the LoRA path as an extension of
//! K, and for the adapter's own gradients (TN). See `shaders/matmul_{nt,nn,tn}.wgsl`.
//!
//! Sums run over K in rising order whatever the tile, so a result depends neither on the tile nor on the
//! number of rows, unless K is shared out ([`Nn::shares`]). Narrow products ([`matmul_narrow`]) and those of a generated
//! token ([`matvec`](super::matvec)) have an order of their own.
//! An operand in several parts takes a dispatch for each: parts of M and N leave the result as it is, parts of K
//! (a frozen weight in NN, tokens in TN) are added up one after the other.

use std::ops::Range;

use super::matmul_coop::sum_shares;
pub use super::matmul_tiles::Tile;
use super::matmul_tiles::{Reads, nn_shader, nt_shader, share_of, tn_shader};
use super::{expect_shape, matmul_coop, matmul_narrow};
use crate::gpu::{PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `matmul_nt.wgsl`.
    pub struct MatmulNtParams {
        m: u32, n: u32, k: u32, r: u32,
        ldx: u32, x_offset: u32, ldy: u32, y_offset: u32,
        lde: u32, e_offset: u32, second: u32, third: u32,
        has_bias: u32, has_residual: u32,
        scale: f32,
        dropout_module: u32, first_row: u32,
    }
}

params! {
    /// Parameter block of `matmul_nn.wgsl`.
    pub struct MatmulNnParams {
        m: u32, n: u32, k: u32, r: u32,
        ldx: u32, x_offset: u32, lde: u32, e_offset: u32,
        accumulate: u32, share: u32,
        scale: f32,
        dropout_module: u32, first_row: u32,
    }
}

params! {
    /// Parameter block of `matmul_tn.wgsl`.
    pub struct MatmulTnParams {
        m: u32, n: u32, k: u32,
        lda: u32, a_offset: u32, ldb: u32, b_offset: u32,
        dropout_module: u32, first_row: u32,
    }
}

/// [`row_parts`] of those operands that there are.
fn parts_of(tensors: &[Option<&Tensor>]) -> Vec<Range<usize>> {
    let present: Vec<_> = tensors.iter().copied().flatten().collect();
    if present.is_empty() { Vec::new() } else { row_parts(&present) }
}

/// Adds a dispatch, with the step's values if it draws dropout masks.
pub(super) fn dispatch<P: crate::gpu::Params>(
    plan: &mut PlanBuilder,
    dropout: bool,
    shader: Shader,
    params: &P,
    bindings: &[&Tensor],
    grid: [u32; 3],
) {
    if dropout {
        plan.dispatch_with_step(shader, params, bindings, grid);
    } else {
        plan.dispatch(shader, params, bindings, grid);
    }
}

/// Some columns of a row-major matrix.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// The matrix.
    pub tensor: &'a Tensor,
    /// First column.
    pub first: usize,
    /// Number of columns.
    pub count: usize,
}

impl<'a> Columns<'a> {
    /// Columns `first..first + count`.
    pub fn of(tensor: &'a Tensor, first: usize, count: usize) -> Self {
        assert!(first + count <= tensor.columns(), "columns {first}+{count} of {:?}", tensor.shape());
        Self { tensor, first, count }
    }

    /// Whether four elements at a time can be read of each row.
    pub(super) fn is_aligned(&self) -> bool {
        self.tensor.columns().is_multiple_of(4) && self.first.is_multiple_of(4)
    }

    /// Whether 16 bytes at a time can be.
    pub(super) fn in_eights(&self) -> bool {
        let unit = 16 / self.tensor.dtype().size();
        self.tensor.columns().is_multiple_of(unit) && self.first.is_multiple_of(unit)
    }
}

impl<'a> From<&'a Tensor> for Columns<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self { tensor, first: 0, count: tensor.columns() }
    }
}

/// Products beside each other in one: their widths along N (of a gradient's product along K), two or three of them, each
/// with rows of `F` or `B` of its own and with columns of its own in `e`, which stand there in the same order. Multiples
/// of [`Beside::UNIT`].
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a>(pub &'a [usize]);

impl Beside<'_> {
    /// A width's divisor.
    pub const UNIT: usize = 16;
    /// One product, with nothing beside it.
    pub const NONE: Self = Beside(&[]);

    /// Where the second and the third begin, of `total`.
    pub(super) fn starts(self, total: usize) -> [u32; 2] {
        assert!(self.0.len() <= 3 && (self.0.is_empty() || self.0.iter().sum::<usize>() == total), "widths");
        assert!(self.0.iter().all(|width| width.is_multiple_of(Self::UNIT)), "{self:?}");
        let start = |i: usize| if self.0.len() > i { self.0[..i].iter().sum() } else { total };
        [start(1) as u32, start(2) as u32]
    }

    /// Whether no tile of this size is of two of them.
    pub(super) fn all_in(self, size: usize) -> bool {
        self.0.iter().all(|width| width.is_multiple_of(size))
    }
}

/// `y = scale·(dropout(x)·Wᵀ + e·Fᵀ) + bias + residual`.
pub struct Nt<'a> {
    /// `[M, K]`.
    pub x: Columns<'a>,
    /// `[N, K]`, as stored.
    pub weight: &'a Tensor,
    /// LoRA's part: `e = s·x·Aᵀ`, R columns of `[M, any]` from `e_first` on, and `F = B [N, R]`.
    pub extension: Option<(&'a Tensor, &'a Tensor)>,
    /// See `extension`.
    pub e_first: usize,
    /// Projections beside each other, each with R columns of `e`.
    pub beside: Beside<'a>,
    /// `[N]`.
    pub bias: Option<&'a Tensor>,
    /// Of `y`'s whole shape; not the same memory as `y`.
    pub residual: Option<&'a Tensor>,
    /// `[M, N]`.
    pub y: Columns<'a>,
    /// Factor.
    pub scale: f32,
    /// The module whose dropout mask applies to `x`.
    pub dropout: Option<u32>,
}

impl<'a> Nt<'a> {
    /// `y = x·Wᵀ`, to be refined.
    pub fn new(x: impl Into<Columns<'a>>, weight: &'a Tensor, y: impl Into<Columns<'a>>) -> Self {
        let (x, y) = (x.into(), y.into());
        Self {
            x,
            weight,
            extension: None,
            e_first: 0,
            beside: Beside::NONE,
            bias: None,
            residual: None,
            y,
            scale: 1.0,
            dropout: None,
        }
    }

    /// Adds a product with LoRA's A to a plan. Not for a frozen weight: its result must not depend on whether there is
    /// an adapter beside it.
    pub fn add_low_rank_to(&self, plan: &mut PlanBuilder) {
        if !matmul_narrow::add_narrow_nt(plan, self) {
            self.add_to(plan);
        }
    }

    /// Adds the product to a plan.
    pub fn add_to(&self, plan: &mut PlanBuilder) {
        if matmul_coop::add_nt(plan, self) {
            return;
        }
        // A tile's low-rank columns are those of one projection.
        let tile = match Tile::for_shape(self.x.tensor.rows(), self.y.count) {
            tile if self.beside.all_in(tile.columns()) => tile,
            _ => Tile::Tall,
        };
        self.add_with(plan, tile);
    }

    /// As [`Self::add_to`], with a tile of the caller's choice.
    pub fn add_with(&self, plan: &mut PlanBuilder, tile: Tile) {
        let (m, n, k) = (self.x.tensor.rows(), self.y.count, self.x.count);
        expect_shape("weight", self.weight, n, k);
        assert_eq!(self.y.tensor.rows(), m, "y has x's rows");
        assert!(self.bias.is_none_or(|b| b.len() == n), "one bias per column");
        let absent = plan.gpu().absent();
        let (e, f) = self.extension.unwrap_or((&absent, &absent));
        let r = self.extension.map_or(0, |(_, f)| f.columns());
        if r > 0 {
            expect_shape("e", e, m, e.columns());
            expect_shape("F", f, n, r);
            assert!(self.e_first + r * self.beside.0.len().max(1) <= e.columns(), "e has R columns for each");
        }
        let [second, third] = self.beside.starts(n);
        let of_rows = [Some(self.x.tensor), self.extension.map(|_| e), self.residual, Some(self.y.tensor)];
        let of_columns = [Some(self.weight), self.extension.map(|_| f), self.bias];
        let slice = |tensor: Option<&Tensor>, part: &Range<usize>| tensor.map(|tensor| tensor.slice(part));
        let columns = parts_of(&of_columns);
        assert!(self.beside.0.is_empty() || columns.len() == 1, "products beside each other are in one part");
        for rows in parts_of(&of_rows) {
            let [x, e, residual, y] =
                of_rows.map(|tensor| slice(tensor, &rows).unwrap_or(plan.gpu().absent()));
            for columns in &columns {
                let [weight, f, bias] =
                    of_columns.map(|tensor| slice(tensor, columns).unwrap_or(plan.gpu().absent()));
                let params = MatmulNtParams {
                    m: rows.len() as u32,
                    n: columns.len() as u32,
                    k: k as u32,
                    r: r as u32,
                    ldx: x.columns() as u32,
                    x_offset: self.x.first as u32,
                    ldy: y.columns() as u32,
                    y_offset: (self.y.first + columns.start) as u32,
                    lde: e.columns() as u32,
                    e_offset: self.e_first as u32,
                    second,
                    third,
                    has_bias: self.bias.is_some().into(),
                    has_residual: self.residual.is_some().into(),
                    scale: self.scale,
                    dropout_module: self.dropout.unwrap_or(0),
                    first_row: rows.start as u32,
                };
                let bindings = [&x, &weight, &e, &f, &bias, &residual, &y];
                let dropout = self.dropout.is_some();
                let in_fours = self.x.is_aligned() && k.is_multiple_of(4);
                let reads = Reads { x: x.dtype(), weight: self.weight.dtype(), in_fours };
                let shader = nt_shader(reads, tile, dropout);
                let grid = tile.grid(rows.len(), columns.len());
                dispatch(plan, dropout, shader, &params, &bindings, grid);
            }
        }
    }
}

/// `y (+)= scale·(mask ⊙ (e·F) + x·W)`: the gradient of a linear layer's input.
pub struct Nn<'a> {
    /// `[M, K]`: the gradient of the layer's output.
    pub x: Columns<'a>,
    /// `[K, N]`, as stored.
    pub weight: &'a Tensor,
    /// LoRA's part: `e = s·dy·B`, R columns of `[M, any]` from `e_first` on, and `F = A [R, N]`.
    pub extension: Option<(&'a Tensor, &'a Tensor)>,
    /// See `extension`.
    pub e_first: usize,
    /// In a product with LoRA's B: projections beside each other, whose columns of `x` and rows of `weight` make N columns of
    /// `y` each.
    pub beside: Beside<'a>,
    /// `[M, N]`.
    pub y: &'a Tensor,
    /// `+=` instead of `=`.
    pub accumulate: bool,
    /// Factor.
    pub scale: f32,
    /// The module whose dropout mask applies to LoRA's part.
    pub dropout: Option<u32>,
    /// Where partial sums may be kept, `[shares, at least M·N]` in one part, if K is to be shared out.
    pub shares: Option<&'a Tensor>,
}

impl<'a> Nn<'a> {
    /// `y = x·W`, to be refined.
    pub fn new(x: impl Into<Columns<'a>>, weight: &'a Tensor, y: &'a Tensor) -> Self {
        Self {
            x: x.into(),
            weight,
            extension: None,
            e_first: 0,
            beside: Beside::NONE,
            y,
            accumulate: false,
            scale: 1.0,
            dropout: None,
            shares: None,
        }
    }

    /// Adds a product with LoRA's B to a plan.
    pub fn add_low_rank_to(&self, plan: &mut PlanBuilder) {
        if !matmul_narrow::add_narrow_nn(plan, self) {
            assert!(self.beside.0.is_empty(), "products with B beside each other are narrow");
            self.add_to(plan);
        }
    }

    /// Adds the product to a plan.
    pub fn add_to(&self, plan: &mut PlanBuilder) {
        let tile = Tile::for_shape(self.y.rows(), self.y.columns());
        if self.dropout.is_some() && self.extension.is_some() {
            // The adapter's part is masked before the frozen part is added to it: there by a product of its own.
            let frozen = Nn { extension: None, dropout: None, accumulate: true, ..*self };
            if matmul_coop::fits_nn(plan, &frozen) {
                self.add_parts(plan, tile, [false, true]);
                frozen.add_to(plan);
                return;
            }
        }
        if !matmul_coop::add_nn(plan, self) {
            self.add_with(plan, tile);
        }
    }

    /// As [`Self::add_to`], with a tile of the caller's choice.
    pub fn add_with(&self, plan: &mut PlanBuilder, tile: Tile) {
        self.add_parts(plan, tile, [true, true]);
    }

    /// The frozen part, LoRA's part, or both.
    fn add_parts(&self, plan: &mut PlanBuilder, tile: Tile, [frozen, low_rank]: [bool; 2]) {
        let (m, n, k) = (self.y.rows(), self.y.columns(), self.x.count);
        expect_shape("weight", self.weight, k, n);
        assert_eq!(self.x.tensor.rows(), m, "y has x's rows");
        let absent = plan.gpu().absent();
        let (e, f) = self.extension.unwrap_or((&absent, &absent));
        let r = self.extension.map_or(0, |(_, f)| f.rows());
        if r > 0 {
            expect_shape("e", e, m, e.columns());
            expect_shape("F", f, r, n);
            assert!(self.e_first + r <= e.columns(), "e has R columns");
        }
        let of_rows = [Some(self.x.tensor), self.extension.map(|_| e), Some(self.y)];
        let of_weight = parts_of(&[frozen.then_some(self.weight)]);
        let of_f = parts_of(&[self.extension.filter(|_| low_rank).map(|_| f)]);
        for rows in parts_of(&of_rows) {
            let [x, e, y] =
                of_rows.map(|tensor| tensor.map_or(plan.gpu().absent(), |tensor| tensor.slice(&rows)));
            // The i-th dispatch takes the i-th part of the weight and of F, where there is one.
            for i in 0..of_weight.len().max(of_f.len()) {
                let (inner, rank) = (of_weight.get(i), of_f.get(i));
                let or_absent = |tensor: &Tensor, part: Option<&Range<usize>>| {
                    part.map_or(plan.gpu().absent(), |part| tensor.slice(part))
                };
                let (weight, f) = (or_absent(self.weight, inner), or_absent(f, rank));
                let k = inner.map_or(0, |part| part.len());
                let grid = tile.grid(rows.len(), n);
                let room = self.shares.map_or(1, Tensor::rows);
                let share = share_of((grid[0] * grid[1]) as usize, k, room);
                let shares = k.div_ceil(share).max(1);
                let accumulate = self.accumulate || i > 0;
                let params = MatmulNnParams {
                    m: rows.len() as u32,
                    n: n as u32,
                    k: k as u32,
                    r: rank.map_or(0, |part| part.len()) as u32,
                    ldx: x.columns() as u32,
                    x_offset: (self.x.first + inner.map_or(0, |part| part.start)) as u32,
                    lde: e.columns() as u32,
                    e_offset: (self.e_first + rank.map_or(0, |part| part.start)) as u32,
                    accumulate: (accumulate && shares == 1).into(),
                    share: share as u32,
                    scale: self.scale,
                    dropout_module: self.dropout.unwrap_or(0),
                    first_row: rows.start as u32,
                };
                let to = self.shares.filter(|_| shares > 1).unwrap_or(&y);
                let bindings = [&x, &weight, &e, &f, to];
                let dropout = self.dropout.is_some();
                let strides = [params.ldx, params.x_offset, params.k, params.n];
                let in_fours = strides.iter().all(|stride| stride.is_multiple_of(4));
                let reads = Reads { x: x.dtype(), weight: self.weight.dtype(), in_fours };
                let shader = nn_shader(reads, tile, dropout);
                let grid = [grid[0], grid[1], shares as u32];
                dispatch(plan, dropout, shader, &params, &bindings, grid);
                if shares > 1 {
                    sum_shares(plan, to, rows.len() * n, [0, shares], &y, accumulate);
                }
            }
        }
    }
}

/// `y += aᵀ·dropout(b)`: `a [K, M]`, `b [K, N]`, `y [M, N]`; `dropout` names the module whose mask
/// applies to `b`.
pub fn matmul_tn<'a>(
    plan: &mut PlanBuilder,
    a: impl Into<Columns<'a>>,
    b: impl Into<Columns<'a>>,
    y: &Tensor,
    dropout: Option<u32>,
) {
    let (a, b) = (a.into(), b.into());
    matmul_tn_with(plan, a, b, y, dropout, Tile::for_shape(a.count, b.count));
}

/// As [`matmul_tn`], with a tile of the caller's choice.
pub fn matmul_tn_with(
    plan: &mut PlanBuilder,
    a: Columns<'_>,
    b: Columns<'_>,
    y: &Tensor,
    dropout: Option<u32>,
    tile: Tile,
) {
    let (m, n, k) = (a.count, b.count, a.tensor.rows());
    assert_eq!(b.tensor.rows(), k, "a and b have the same rows");
    expect_shape("y", y, m, n);
    for out in row_parts(&[y]) {
        let y = y.slice(&out);
        for inner in row_parts(&[a.tensor, b.tensor]) {
            let params = MatmulTnParams {
                m: out.len() as u32,
                n: n as u32,
                k: inner.len() as u32,
                lda: a.tensor.columns() as u32,
                a_offset: (a.first + out.start) as u32,
                ldb: b.tensor.columns() as u32,
                b_offset: b.first as u32,
                dropout_module: dropout.unwrap_or(0),
                first_row: inner.start as u32,
            };
            let bindings = [&a.tensor.slice(&inner), &b.tensor.slice(&inner), &y];
            let strides = [params.m, params.n, params.lda, params.a_offset, params.ldb, params.b_offset];
            let in_fours = strides.iter().all(|stride| stride.is_multiple_of(4));
            let shader = tn_shader(in_fours, tile, dropout.is_some());
            dispatch(plan, dropout.is_some(), shader, &params, &bindings, tile.grid(out.len(), n));
        }
    }
}
