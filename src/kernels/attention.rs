//! Causal grouped-query attention without a rows × rows matrix, forward and backward, in the variants of
//! [`AttentionKernel`]. See `shaders/attention*.wgsl`.
//!
//! Which keys a row attends is data (`kv_range`), not code: documents laid end to end in a batch, a
//! cache during generation and a sliding window are all ranges. That holds for tensors in several parts too:
//! of a row's range a dispatch takes what lies in its part, and goes on from the parts before.

use std::borrow::Cow;
use std::ops::Range;

use super::storage::{Access, ROUNDING, Width, cells, name_of, storage, written_if};
use super::{coop_wgsl, expect_shape, per_element, shader, spread, wgsl};
use crate::config::Arithmetic;
use crate::gpu::{Dtype, Gpu, PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

/// Largest `head_dim` that the kernels hold in workgroup memory.
pub const MAX_HEAD_DIM: usize = 256;

params! {
    /// Parameter block of the three passes, in every variant.
    pub struct AttentionParams {
        rows: u32, heads: u32, kv_heads: u32, head_dim: u32, scale: f32,
        first: u32, count: u32, accumulate: u32,
    }
}

params! {
    /// Parameter block of `attention_dkv_sum.wgsl`.
    pub struct AttentionDkvSumParams { rows: u32, heads: u32, kv_heads: u32, head_dim: u32, }
}

params! {
    /// Parameter block of `attention_delta.wgsl`.
    pub struct AttentionDeltaParams { items: u32, head_dim: u32, }
}

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionKernel {
    /// A workgroup for each row and head. Any `head_dim`; for few rows.
    Rows,
    /// Tiles of rows and of the heads that share a key head, in registers; `head_dim` is a multiple of 4.
    Tiled,
    /// The same tiles with cooperative matrices: operands in f16, sums in f32; `head_dim` is a multiple of 16, at most
    /// 128.
    Cooperative,
}

/// Every variant.
pub const ATTENTION_KERNELS: [AttentionKernel; 3] =
    [AttentionKernel::Rows, AttentionKernel::Tiled, AttentionKernel::Cooperative];

/// Most workgroup memory, in bytes, of a shader with cooperative matrices; a device must have it.
pub const COOPERATIVE_WORKGROUP_STORAGE: u32 = 48 << 10;

/// Fewer rows than this leave most of a tile empty.
const MIN_TILED_ROWS: usize = 16;

impl AttentionKernel {
    /// Whether it can compute heads of this width.
    pub fn suits(self, head_dim: usize) -> bool {
        match self {
            Self::Rows => head_dim <= MAX_HEAD_DIM,
            Self::Tiled => head_dim <= MAX_HEAD_DIM && head_dim.is_multiple_of(4),
            Self::Cooperative => head_dim <= 128 && head_dim.is_multiple_of(16),
        }
    }

    /// Whether a device has what its shaders need.
    pub fn runs_on(self, gpu: &Gpu) -> bool {
        let caps = gpu.caps();
        self != Self::Cooperative
            || caps.cooperative_matrix
                && caps.limits.max_compute_workgroup_storage_size >= COOPERATIVE_WORKGROUP_STORAGE
    }

    /// The one for `rows` query rows.
    fn for_shape(plan: &PlanBuilder, rows: usize, heads: &Heads) -> Self {
        let cooperative =
            !cfg!(target_arch = "wasm32") && plan.arithmetic() == Arithmetic::F16 && rows >= MIN_TILED_ROWS;
        if cooperative && Self::Cooperative.suits(heads.head_dim) && Self::Cooperative.runs_on(plan.gpu()) {
            return Self::Cooperative;
        }
        if rows >= MIN_TILED_ROWS && Self::Tiled.suits(heads.head_dim) { Self::Tiled } else { Self::Rows }
    }
}

/// One of the passes over the keys or over the queries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Forward,
    Dq,
    Dkv,
}

const PASSES: [Pass; 3] = [Pass::Forward, Pass::Dq, Pass::Dkv];

/// A tile: its name, its file, and the rows of a workgroup.
type Tile = (&'static str, &'static str, usize);

const TILE_64X64: Tile = ("64x64", wgsl!("shared/attention_tile_64x64"), 64);
const TILE_32X64: Tile = ("32x64", wgsl!("shared/attention_tile_32x64"), 32);
const TILE_32X128: Tile = ("32x128", wgsl!("shared/attention_tile_32x128"), 32);
const TILE_32X256: Tile = ("32x256", wgsl!("shared/attention_tile_32x256"), 32);

const HEAD: &str = wgsl!("shared/head");
const ITEMS: &str = wgsl!("shared/attention_items");
const PRODUCTS: &str = wgsl!("shared/attention_products");

/// Rows of a cooperative workgroup.
const COOPERATIVE_ROWS: usize = 64;
const COOPERATIVE: &str = coop_wgsl!("shared/cooperative");
const COOPERATIVE_TILES: &str = coop_wgsl!("shared/coop_attention");
const COOPERATIVE_PRODUCTS: &str = coop_wgsl!("shared/coop_attention_products");

impl Pass {
    /// The tile for heads of this width. The backward passes hold two products over head_dim at once, and need more
    /// workgroups more than larger ones.
    fn tile(self, head_dim: usize) -> Tile {
        match (head_dim, self) {
            (..=64, Self::Forward) => TILE_64X64,
            (..=64, _) => TILE_32X64,
            (..=128, _) => TILE_32X128,
            _ => TILE_32X256,
        }
    }

    fn rows_shader(self) -> Shader {
        let (name, own) = match self {
            Self::Forward => ("attention", wgsl!("attention")),
            Self::Dq => ("attention_dq", wgsl!("attention_dq")),
            Self::Dkv => ("attention_dkv", wgsl!("attention_dkv")),
        };
        shader::<AttentionParams>(name, "", &[HEAD, own])
    }

    /// Binding and name of the tensors whose rows are operands: queries, keys and values and, in the backward passes, the
    /// output's gradient.
    fn operands(self) -> &'static [(u32, &'static str)] {
        let all = &[(2, "q"), (3, "kv"), (4, "dy")];
        if self == Self::Forward { &all[..2] } else { all }
    }

    /// The output, in the forward pass.
    fn output(self, dtype: Dtype) -> Option<Cow<'static, str>> {
        (self == Self::Forward).then(|| storage(4, "y", dtype, Width::Four, Access::ReadWrite))
    }

    fn tiled_shader(self, (tile_name, tile, _): Tile, dtype: Dtype) -> Shader {
        let (name, own) = match self {
            Self::Forward => ("attention_tiled", wgsl!("attention_tiled")),
            Self::Dq => ("attention_tiled_dq", wgsl!("attention_tiled_dq")),
            Self::Dkv => ("attention_tiled_dkv", wgsl!("attention_tiled_dkv")),
        };
        let read = |&(binding, name)| storage(binding, name, dtype, Width::Four, Access::Read);
        let mut parts = vec![tile.into(), ROUNDING.into()];
        parts.extend(self.operands().iter().map(read));
        parts.extend(self.output(dtype));
        parts.extend([ITEMS, PRODUCTS, own].map(Cow::from));
        shader::<AttentionParams>(name, format!("{}-{tile_name}", name_of(dtype)), &parts)
    }

    fn cooperative_shader(self, head_dim: usize, dtype: Dtype) -> Shader {
        let (name, own) = match self {
            Self::Forward => ("attention_coop", coop_wgsl!("attention_coop")),
            Self::Dq => ("attention_coop_dq", coop_wgsl!("attention_coop_dq")),
            Self::Dkv => ("attention_coop_dkv", coop_wgsl!("attention_coop_dkv")),
        };
        let (columns, chunks) = match head_dim {
            ..=64 => ("64", coop_wgsl!("shared/coop_attention_64")),
            _ => ("128", coop_wgsl!("shared/coop_attention_128")),
        };
        let cell =
            if dtype == Dtype::F16 { coop_wgsl!("shared/cell_16") } else { coop_wgsl!("shared/cell_32") };
        let mut parts = [COOPERATIVE, chunks, cell, ROUNDING].map(Cow::from).to_vec();
        parts.extend(self.operands().iter().map(|&(binding, name)| cells(binding, name)));
        parts.extend(self.output(dtype));
        parts.extend([ITEMS, COOPERATIVE_TILES, COOPERATIVE_PRODUCTS, own].map(Cow::from));
        shader::<AttentionParams>(name, format!("{}-{columns}", name_of(dtype)), &parts)
    }

    /// How many tiles of `size` there are: of a key head's queries, or of keys once for each query head, since there
    /// would be too few workgroups otherwise.
    fn tiles(self, rows: usize, size: usize, heads: &Heads) -> usize {
        match self {
            Self::Dkv => rows.div_ceil(size) * heads.heads,
            _ => (rows * (heads.heads / heads.kv_heads)).div_ceil(size) * heads.kv_heads,
        }
    }

    /// The shader for queries, keys and values of a type, and the grid for `rows` rows of queries or (in [`Self::Dkv`])
    /// of keys.
    fn plan(self, kernel: AttentionKernel, dtype: Dtype, rows: usize, heads: &Heads) -> (Shader, [u32; 3]) {
        assert!(kernel.suits(heads.head_dim), "{kernel:?} cannot compute {heads:?}");
        assert!(kernel != AttentionKernel::Rows || dtype == Dtype::F32, "{kernel:?} reads f32");
        match kernel {
            AttentionKernel::Rows if self == Self::Dkv => (self.rows_shader(), spread(rows * heads.kv_heads)),
            AttentionKernel::Rows => (self.rows_shader(), spread(rows * heads.heads)),
            AttentionKernel::Tiled => {
                let tile = self.tile(heads.head_dim);
                (self.tiled_shader(tile, dtype), spread(self.tiles(rows, tile.2, heads)))
            }
            AttentionKernel::Cooperative => {
                let tiles = self.tiles(rows, COOPERATIVE_ROWS, heads);
                (self.cooperative_shader(heads.head_dim, dtype), spread(tiles))
            }
        }
    }
}

/// Types of queries, keys and values.
const TYPES: [Dtype; 2] = [Dtype::F32, Dtype::F16];

/// With f16 also the gradient as an operand.
fn delta_shader((dtype, width): (Dtype, Width)) -> Shader {
    let parts = [
        width.text().into(),
        ROUNDING.into(),
        storage(1, "y", dtype, width, Access::Read),
        storage(2, "dy", Dtype::F32, width, Access::Read),
        written_if(4, "operand", (dtype != Dtype::F32).then_some(dtype), width),
        wgsl!("attention_delta").into(),
    ];
    shader::<AttentionDeltaParams>("attention_delta", format!("{}{}", name_of(dtype), width.suffix()), &parts)
}

fn dkv_sum_shader() -> Shader {
    shader::<AttentionDkvSumParams>("attention_dkv_sum", "", &[wgsl!("attention_dkv_sum")])
}

pub(super) fn shaders() -> Vec<Shader> {
    let mut all = vec![dkv_sum_shader()];
    let deltas = [(Dtype::F32, Width::One), (Dtype::F32, Width::Four), (Dtype::F16, Width::Four)];
    all.extend(deltas.map(delta_shader));
    for pass in PASSES {
        all.push(pass.rows_shader());
        for dtype in TYPES {
            all.extend([64, 128, 256].map(|head_dim| pass.tiled_shader(pass.tile(head_dim), dtype)));
        }
    }
    all
}

pub(super) fn cooperative_shaders() -> Vec<Shader> {
    let types = || TYPES.into_iter().flat_map(|dtype| [64, 128].map(|head_dim| (head_dim, dtype)));
    let of = |pass: Pass| types().map(move |(head_dim, dtype)| pass.cooperative_shader(head_dim, dtype));
    PASSES.into_iter().flat_map(of).collect()
}

/// Number and width of the heads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Columns of one head, at most [`MAX_HEAD_DIM`].
    pub head_dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
}

impl Heads {
    /// For `rows` rows, and the rows `held` of the other side, of which those before were seen already.
    fn params(&self, rows: usize, held: &Range<usize>) -> AttentionParams {
        assert!(self.heads.is_multiple_of(self.kv_heads));
        AttentionParams {
            rows: rows as u32,
            heads: self.heads as u32,
            kv_heads: self.kv_heads as u32,
            head_dim: self.head_dim as u32,
            scale: self.scale,
            first: held.start as u32,
            count: held.len() as u32,
            accumulate: (held.start > 0).into(),
        }
    }

    /// Columns of `q` and of the output.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Columns of `kv`: the keys of all heads, then their values.
    pub fn kv_width(&self) -> usize {
        2 * self.kv_heads * self.head_dim
    }
}

/// What the forward pass reads and writes. Queries, keys, values and the output are all in f32 or all in f16.
pub struct AttentionForward<'a> {
    /// The rows of `kv` that each row attends (never none), `[rows, 2]`.
    pub kv_range: &'a Tensor,
    /// Queries, `[rows, heads·head_dim]`.
    pub q: &'a Tensor,
    /// Keys, then values, `[any, 2·kv_heads·head_dim]`.
    pub kv: &'a Tensor,
    /// Output, of the shape of `q`, written.
    pub y: &'a Tensor,
    /// Log-sum-exp of the scores, `[rows, heads]`, written.
    pub lse: &'a Tensor,
}

/// `y = softmax(scale·q·kᵀ)·v`.
pub fn attention(plan: &mut PlanBuilder, heads: &Heads, io: &AttentionForward<'_>) {
    attention_with(plan, AttentionKernel::for_shape(plan, io.q.rows(), heads), heads, io);
}

/// As [`attention`], in a variant of the caller's choice.
pub fn attention_with(
    plan: &mut PlanBuilder,
    kernel: AttentionKernel,
    heads: &Heads,
    io: &AttentionForward<'_>,
) {
    let rows = io.q.rows();
    assert!([io.kv, io.y].iter().all(|tensor| tensor.dtype() == io.q.dtype()), "one type");
    expect_shape("q", io.q, rows, heads.q_width());
    expect_shape("y", io.y, rows, heads.q_width());
    expect_shape("kv", io.kv, io.kv.rows(), heads.kv_width());
    expect_shape("lse", io.lse, rows, heads.heads);
    expect_shape("kv_range", io.kv_range, rows, 2);
    for part in row_parts(&[io.kv_range, io.q, io.y, io.lse]) {
        let [kv_range, q, y, lse] = [io.kv_range, io.q, io.y, io.lse].map(|tensor| tensor.slice(&part));
        let (shader, grid) = Pass::Forward.plan(kernel, io.q.dtype(), part.len(), heads);
        for held in row_parts(&[io.kv]) {
            let params = heads.params(part.len(), &held);
            let bindings = [&kv_range, &q, &io.kv.slice(&held), &y, &lse];
            plan.dispatch(shader.clone(), &params, &bindings, grid);
        }
    }
}

/// What the backward pass reads and writes; shapes and types as in [`attention`], gradients in f32.
pub struct AttentionBackward<'a> {
    /// Keys of each query row, `[rows, 2]`.
    pub kv_range: &'a Tensor,
    /// Queries of each key row, `[rows, 2]`.
    pub query_range: &'a Tensor,
    /// Queries.
    pub q: &'a Tensor,
    /// Keys and values.
    pub kv: &'a Tensor,
    /// The forward pass's output.
    pub y: &'a Tensor,
    /// The forward pass's log-sum-exp.
    pub lse: &'a Tensor,
    /// Gradient of `y`.
    pub dy: &'a Tensor,
    /// Workspace `[rows, heads]`.
    pub delta: &'a Tensor,
    /// Workspace of the shape of `q`, f32.
    pub by_head: &'a Tensor,
    /// Workspace of the shape and type of `q`, if that is not f32: `dy` as an operand.
    pub dy_operand: Option<&'a Tensor>,
    /// Gradient of `q`, written.
    pub dq: &'a Tensor,
    /// Gradient of `kv`, written.
    pub dkv: &'a Tensor,
}

/// The gradients of `q`, `k` and `v`.
pub fn attention_backward(plan: &mut PlanBuilder, heads: &Heads, io: &AttentionBackward<'_>) {
    attention_backward_with(plan, AttentionKernel::for_shape(plan, io.q.rows(), heads), heads, io);
}

/// As [`attention_backward`], in a variant of the caller's choice.
pub fn attention_backward_with(
    plan: &mut PlanBuilder,
    kernel: AttentionKernel,
    heads: &Heads,
    io: &AttentionBackward<'_>,
) {
    let rows = io.q.rows();
    for (name, tensor) in [("q", io.q), ("y", io.y), ("dy", io.dy), ("dq", io.dq), ("by_head", io.by_head)] {
        expect_shape(name, tensor, rows, heads.q_width());
    }
    for (name, tensor) in [("kv", io.kv), ("dkv", io.dkv)] {
        expect_shape(name, tensor, rows, heads.kv_width());
    }
    for (name, tensor) in [("lse", io.lse), ("delta", io.delta)] {
        expect_shape(name, tensor, rows, heads.heads);
    }
    assert_eq!(io.dy_operand.map_or(Dtype::F32, Tensor::dtype), io.q.dtype(), "operands have one type");
    let of_queries = [io.kv_range, io.q, io.y, io.lse, io.dy, io.delta, io.dq];
    let queries = row_parts(&[&of_queries, io.dy_operand.as_slice()].concat());
    let keys = row_parts(&[io.query_range, io.kv, io.dkv, io.by_head, io.dq]);
    let width = Width::of_lines(&[heads.head_dim]);
    for rows in &queries {
        let [y, dy, delta] = [io.y, io.dy, io.delta].map(|tensor| tensor.slice(rows));
        let operand = io.dy_operand.map(|tensor| tensor.slice(rows));
        let items = rows.len() * heads.heads;
        let params = AttentionDeltaParams { items: items as u32, head_dim: heads.head_dim as u32 };
        let bindings = [&[&y, &dy, &delta], operand.as_ref().as_slice()].concat();
        let shader = delta_shader((io.y.dtype(), width));
        plan.dispatch(shader, &params, &bindings, spread(items.div_ceil(64)));
    }
    // What the passes read of it.
    let io_dy = io.dy_operand.unwrap_or(io.dy);
    for rows in &keys {
        // The gradients of keys and values by each head; dq's turn is later.
        let of_keys = |tensor: &Tensor| tensor.slice(rows);
        let (kv, dkv, by_head) = (of_keys(io.kv), of_keys(io.dkv), [io.dq, io.by_head].map(of_keys));
        let (shader, grid) = Pass::Dkv.plan(kernel, io.q.dtype(), rows.len(), heads);
        for held in &queries {
            let [q, dy, lse, delta] = [io.q, io_dy, io.lse, io.delta].map(|tensor| tensor.slice(held));
            let query_range = of_keys(io.query_range);
            let mut bindings = vec![&query_range, &q, &kv, &dy, &lse, &delta];
            match kernel {
                AttentionKernel::Rows => bindings.push(&dkv),
                _ => bindings.extend(&by_head),
            }
            plan.dispatch(shader.clone(), &heads.params(rows.len(), held), &bindings, grid);
        }
        if kernel != AttentionKernel::Rows {
            let params = AttentionDkvSumParams {
                rows: rows.len() as u32,
                heads: heads.heads as u32,
                kv_heads: heads.kv_heads as u32,
                head_dim: heads.head_dim as u32,
            };
            let [dk, dv] = &by_head;
            plan.dispatch(dkv_sum_shader(), &params, &[dk, dv, &dkv], per_element(dkv.len()));
        }
    }
    for rows in &queries {
        let of_q = |tensor: &Tensor| tensor.slice(rows);
        let [kv_range, q, dy] = [io.kv_range, io.q, io_dy].map(of_q);
        let [lse, delta, dq] = [io.lse, io.delta, io.dq].map(of_q);
        let (shader, grid) = Pass::Dq.plan(kernel, io.q.dtype(), rows.len(), heads);
        for held in &keys {
            let bindings = [&kv_range, &q, &io.kv.slice(held), &dy, &lse, &delta, &dq];
            plan.dispatch(shader.clone(), &heads.params(rows.len(), held), &bindings, grid);
        }
    }
}
