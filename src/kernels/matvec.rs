//! Products of one row with frozen weights and LoRA's matrices, for a token at a time. See `shaders/matvec.wgsl`.
//!
//! Here time is bytes: weights are read once, 16 bytes a lane, and whatever is small (the norm before, LoRA's part,
//! bias, activation, residual) is done on the way. Sums are added up in another order than in
//! [`matmul`](super::matmul): the same row may differ between them in the last bits.

use std::ops::Range;

use super::{WEIGHT_DTYPES, expect_shape, shader, spread, wgsl, widen_part};
use crate::gpu::{Dtype, PlanBuilder, Shader, Tensor, row_parts};
use crate::params;

params! {
    /// Parameter block of `matvec.wgsl`.
    pub struct MatvecParams {
        n: u32, k: u32, end_0: u32, end_1: u32,
        first_0: u32, first_1: u32, first_2: u32,
        bias_0: u32, bias_1: u32, bias_2: u32,
        r_0: u32, r_1: u32, r_2: u32,
        f_0: u32, f_1: u32, f_2: u32,
        scale_0: f32, scale_1: f32, scale_2: f32,
        e: u32, y_first: u32,
        norm: u32, has_bias: u32, accumulate: u32,
        eps: f32,
    }
}

/// What becomes of the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Columns of up to three weights, one after the other.
    Columns,
    /// The same through GELU in its tanh form.
    Gelu,
    /// silu(x·W_0ᵀ) ⊙ x·W_1ᵀ (SwiGLU: Shazeer, arXiv:2002.05202).
    SiluPairs,
    /// The same with GELU.
    GeluPairs,
}

/// Every form.
pub const FORMS: [Form; 4] = [Form::Columns, Form::Gelu, Form::SiluPairs, Form::GeluPairs];

const COLUMNS: &str = wgsl!("shared/matvec_columns");
const PAIRS: &str = wgsl!("shared/matvec_pairs");
const ONE: &str = wgsl!("shared/part_one");
const GELU: &str = wgsl!("shared/gelu");
const GELU_ACTIVATION: &str = wgsl!("shared/activation_gelu");

impl Form {
    fn parts(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Columns => ("", &[wgsl!("shared/activation_none"), COLUMNS]),
            Self::Gelu => ("-gelu", &[ONE, GELU, GELU_ACTIVATION, COLUMNS]),
            Self::SiluPairs => ("-silu-pairs", &[wgsl!("shared/activation_silu"), PAIRS]),
            Self::GeluPairs => ("-gelu-pairs", &[ONE, GELU, GELU_ACTIVATION, PAIRS]),
        }
    }

    fn is_pairs(self) -> bool {
        matches!(self, Self::SiluPairs | Self::GeluPairs)
    }
}

/// How K is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Element by element, where rows do not begin at multiples of 16 bytes.
    Ones,
    /// 16 bytes at a time.
    Chunks,
    /// The same by four times as many lanes, so that a long K does not take long.
    Long,
}

impl Access {
    /// The one for rows of `k` elements: by nothing else, so that an adapter does not change the order of sums.
    fn of(k: usize, dtype: Dtype) -> Self {
        let chunk = 16 / dtype.size();
        match k {
            _ if !k.is_multiple_of(chunk) => Self::Ones,
            // All lanes have two chunks at least.
            _ if k / chunk >= 512 => Self::Long,
            _ => Self::Chunks,
        }
    }
}

fn matvec_shader(dtype: Dtype, form: Form, access: Access) -> Shader {
    let (name, storage, chunks) = match widen_part(dtype) {
        Some((name, widen)) => {
            (name, vec![widen, wgsl!("shared/matvec_stored_16")], wgsl!("shared/matvec_16"))
        }
        None => ("f32", vec![wgsl!("shared/matvec_stored_32")], wgsl!("shared/matvec_32")),
    };
    let (lanes_64, lanes_256) = (wgsl!("shared/matvec_lanes_64"), wgsl!("shared/matvec_lanes_256"));
    let (access, lanes, loads) = match access {
        Access::Ones => ("-ones", lanes_64, wgsl!("shared/matvec_ones")),
        Access::Chunks => ("", lanes_64, chunks),
        Access::Long => ("-long", lanes_256, chunks),
    };
    let (form, parts) = form.parts();
    let parts = [&storage[..], &[loads, lanes], parts, &[wgsl!("matvec")]].concat();
    shader::<MatvecParams>("matvec", format!("{name}{form}{access}"), &parts)
}

pub(super) fn shaders() -> Vec<Shader> {
    let mut all = Vec::new();
    for dtype in WEIGHT_DTYPES {
        for form in FORMS {
            let accesses = [Access::Ones, Access::Chunks, Access::Long];
            all.extend(accesses.map(|access| matvec_shader(dtype, form, access)));
        }
    }
    all
}

/// The norm before the product, RMSNorm (Zhang & Sennrich, arXiv:1910.07467).
#[derive(Debug, Clone, Copy)]
pub struct RowNorm<'a> {
    /// `[K]`.
    pub weight: &'a Tensor,
    /// What is added to the mean square; `None` leaves the division by the root mean square to the product that takes
    /// up this one's result as its `e`.
    pub eps: Option<f32>,
}

/// LoRA's B of a whole weight.
#[derive(Debug, Clone, Copy)]
pub struct LowRank {
    /// Where B `[rows of the weight, r]` begins in the flat adapter.
    pub at: usize,
    /// Its rank.
    pub r: usize,
}

/// A weight, or some rows of it.
#[derive(Debug, Clone, Copy)]
pub struct RowWeight<'a> {
    /// `[any, K]`, as stored.
    pub weight: &'a Tensor,
    /// First row.
    pub first: usize,
    /// Number of rows: columns of the result.
    pub count: usize,
    /// LoRA's part.
    pub low_rank: Option<LowRank>,
    /// Factor.
    pub scale: f32,
}

impl<'a> From<&'a Tensor> for RowWeight<'a> {
    fn from(weight: &'a Tensor) -> Self {
        Self { weight, first: 0, count: weight.rows(), low_rank: None, scale: 1.0 }
    }
}

/// `y = form(scale·(norm(x)·Wᵀ + e·Fᵀ) + bias)` of one row and up to three weights of one type.
pub struct Matvec<'a> {
    /// Its first elements are the row.
    pub x: &'a Tensor,
    /// `None`: x as it is.
    pub norm: Option<RowNorm<'a>>,
    /// One to three; in pairs two of the same size.
    pub weights: &'a [RowWeight<'a>],
    /// Of all of them, one after the other.
    pub bias: Option<&'a Tensor>,
    /// The adapter, flat, if a weight has a part in it.
    pub adapter: Option<&'a Tensor>,
    /// Where in `y` the vectors `e = s·x·Aᵀ` lie, one after the other, for each weight that has LoRA's part.
    pub e: usize,
    /// What becomes of the products.
    pub form: Form,
    /// One row; the result's columns are from `y_first` on.
    pub y: &'a Tensor,
    /// See `y`.
    pub y_first: usize,
    /// `+=` instead of `=`.
    pub accumulate: bool,
}

/// Some columns of one weight, whose rows and B lie in one part each.
struct Piece<'a> {
    weight: Tensor,
    first: usize,
    count: usize,
    /// Its first column in its weight, and its weight's in all of them.
    column: usize,
    start: usize,
    /// Where its `e` begins.
    e: usize,
    of: RowWeight<'a>,
}

impl Piece<'_> {
    /// Its first row in its whole weight.
    fn row(&self) -> usize {
        self.of.first + self.column
    }
}

impl<'a> Matvec<'a> {
    /// `y = x·Wᵀ`, to be refined.
    pub fn new(x: &'a Tensor, weights: &'a [RowWeight<'a>], y: &'a Tensor) -> Self {
        Self {
            x,
            norm: None,
            weights,
            bias: None,
            adapter: None,
            e: 0,
            form: Form::Columns,
            y,
            y_first: 0,
            accumulate: false,
        }
    }

    /// Adds the product to a plan: in one dispatch, or where operands lie in several parts in one for each. Pairs must
    /// be [`Self::is_one`].
    pub fn add_to(&self, plan: &mut PlanBuilder) {
        let pieces = self.pieces();
        if let (true, Some((f, start))) = (self.at_once(&pieces), self.f(plan)) {
            self.dispatch(plan, &pieces, &f, start);
            return;
        }
        assert!(!self.form.is_pairs(), "pairs are taken at once");
        for piece in &pieces {
            let (f, start) = match (self.adapter, piece.of.low_rank) {
                (Some(adapter), Some(LowRank { at, r })) => {
                    let b = adapter.view(at, &[piece.of.weight.rows(), r]);
                    let part = row_parts(&[&b]).into_iter().find(|part| part.contains(&piece.row()));
                    let part = part.expect("a row of B");
                    (b.slice(&part), at + part.start * r)
                }
                _ => (plan.gpu().absent(), 0),
            };
            self.dispatch(plan, std::slice::from_ref(piece), &f, start);
        }
    }

    /// Whether it is one dispatch: each operand lies in one part, and the weights are of one type.
    pub fn is_one(&self, plan: &PlanBuilder) -> bool {
        self.at_once(&self.pieces()) && self.f(plan).is_some()
    }

    fn at_once(&self, pieces: &[Piece<'_>]) -> bool {
        let is_first = |piece: &Piece<'_>| piece.weight.dtype() == pieces[0].weight.dtype();
        pieces.len() == self.weights.len() && pieces.iter().all(is_first)
    }

    /// The adapter from the first to the last of the weights' B, and where that begins; `None` if it is in several
    /// parts.
    fn f(&self, plan: &PlanBuilder) -> Option<(Tensor, usize)> {
        let of = |weight: &RowWeight<'_>| {
            let LowRank { at, r } = weight.low_rank?;
            Some(at..at + r * weight.weight.rows())
        };
        let join = |a: Range<usize>, b: Range<usize>| a.start.min(b.start)..a.end.max(b.end);
        match (self.adapter, self.weights.iter().filter_map(of).reduce(join)) {
            (Some(adapter), Some(range)) => {
                let f = adapter.view(range.start, &[range.len()]);
                (f.part_count() == 1).then_some((f, range.start))
            }
            _ => Some((plan.gpu().absent(), 0)),
        }
    }

    fn pieces(&self) -> Vec<Piece<'a>> {
        let (mut pieces, mut start, mut e) = (Vec::new(), 0, self.e);
        for &of in self.weights {
            let rows = of.first..of.first + of.count;
            expect_shape("weight", of.weight, of.weight.rows(), self.weights[0].weight.columns());
            assert!(rows.end <= of.weight.rows(), "{rows:?} are rows of {:?}", of.weight.shape());
            let parts = row_parts(&[of.weight]);
            let mut cuts: Vec<usize> = parts.iter().map(|part| part.start).collect();
            if let (Some(adapter), Some(LowRank { at, r })) = (self.adapter, of.low_rank) {
                let b = row_parts(&[&adapter.view(at, &[of.weight.rows(), r])]);
                cuts.extend(b.iter().map(|part| part.start));
            }
            cuts.push(rows.start);
            cuts.retain(|cut| rows.contains(cut));
            cuts.sort_unstable();
            cuts.dedup();
            for (i, &from) in cuts.iter().enumerate() {
                let to = cuts.get(i + 1).copied().unwrap_or(rows.end);
                let part = parts.iter().find(|part| part.contains(&from)).expect("a row of the weight");
                pieces.push(Piece {
                    weight: of.weight.slice(part),
                    first: from - part.start,
                    count: to - from,
                    column: from - rows.start,
                    start,
                    e,
                    of,
                });
            }
            start += of.count;
            e += of.low_rank.map_or(0, |b| b.r);
        }
        pieces
    }

    /// `f`: the adapter from `f_start` on.
    fn dispatch(&self, plan: &mut PlanBuilder, pieces: &[Piece<'_>], f: &Tensor, f_start: usize) {
        let absent = plan.gpu().absent();
        let (k, dtype) = (pieces[0].weight.columns(), pieces[0].weight.dtype());
        assert!(self.x.len() >= k && pieces.iter().all(|piece| piece.weight.dtype() == dtype));
        assert!(
            self.norm.is_none_or(|norm| norm.weight.len() == k),
            "one weight of the norm per column of x"
        );
        let counts: Vec<usize> = pieces.iter().map(|piece| piece.count).collect();
        let (n, groups) = match self.form.is_pairs() {
            true => {
                assert!(counts.len() == 2 && counts[0] == counts[1], "pairs of two weights");
                (counts[0], counts[0].div_ceil(2))
            }
            false => (counts.iter().sum(), counts.iter().map(|count| count.div_ceil(4)).sum()),
        };
        let ends = [1, 2].map(|whole| counts.iter().take(whole).sum::<usize>() as u32);
        fn each<T: Default>(pieces: &[Piece<'_>], of: impl Fn(&Piece<'_>) -> T) -> [T; 3] {
            [0, 1, 2].map(|i| pieces.get(i).map(&of).unwrap_or_default())
        }
        let first = each(pieces, |piece| piece.first as u32);
        let bias = each(pieces, |piece| (piece.start + piece.column) as u32);
        let r = each(pieces, |piece| piece.of.low_rank.map_or(0, |b| b.r as u32));
        let f_at = each(pieces, |piece| {
            piece.of.low_rank.map_or(0, |b| (b.at + piece.row() * b.r - f_start) as u32)
        });
        let scale = each(pieces, |piece| piece.of.scale);
        let params = MatvecParams {
            n: n as u32,
            k: k as u32,
            end_0: ends[0],
            end_1: ends[1],
            first_0: first[0],
            first_1: first[1],
            first_2: first[2],
            bias_0: bias[0],
            bias_1: bias[1],
            bias_2: bias[2],
            r_0: r[0],
            r_1: r[1],
            r_2: r[2],
            f_0: f_at[0],
            f_1: f_at[1],
            f_2: f_at[2],
            scale_0: scale[0],
            scale_1: scale[1],
            scale_2: scale[2],
            e: pieces[0].e as u32,
            y_first: (self.y_first + pieces[0].start + pieces[0].column) as u32,
            norm: self.norm.map_or(0, |norm| if norm.eps.is_some() { 2 } else { 1 }),
            has_bias: self.bias.is_some().into(),
            accumulate: self.accumulate.into(),
            eps: self.norm.and_then(|norm| norm.eps).unwrap_or(0.0),
        };
        let weights = [0, 1, 2].map(|i| &pieces.get(i).unwrap_or(&pieces[0]).weight);
        let norm = self.norm.map_or(self.x, |norm| norm.weight);
        let bias = self.bias.unwrap_or(&absent);
        let mut bindings = vec![self.x, weights[0], weights[1], norm, f, bias, self.y];
        if !self.form.is_pairs() {
            bindings.push(weights[2]);
        }
        let shader = matvec_shader(dtype, self.form, Access::of(k, dtype));
        plan.dispatch(shader, &params, &bindings, spread(groups));
    }
}
