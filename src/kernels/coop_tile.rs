//! Tiles of the products in cooperative matrices, and which product takes which.
//!
//! Measured on an H200 (`tests/bench/NOTES.md`). Sums run over K in rising order, 16 steps at a time, in every tile, so a
//! result does not depend on the choice.

use std::borrow::Cow;
use std::fmt::Write;

use super::matmul::Beside;

/// Output tile of one workgroup in a product with a frozen weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoopTile {
    /// Rows and columns of a workgroup.
    pub size: [usize; 2],
    /// Rows and columns of a subgroup.
    pub of_subgroup: [usize; 2],
    /// Steps of K in one go; divides K.
    pub bk: usize,
}

/// Edge of a cooperative matrix.
const EDGE: usize = 16;

const fn tile(size: [usize; 2], of_subgroup: [usize; 2], bk: usize) -> CoopTile {
    CoopTile { size, of_subgroup, bk }
}

/// For products that are large both ways.
const LARGE: CoopTile = tile([128, 128], [32, 64], 32);
/// The same for fewer workgroups, each with more to do between two barriers.
const LARGE_DEEP: CoopTile = tile([128, 128], [32, 64], 64);
/// For widths that are multiples of 96 and not many of 128.
const WIDE: CoopTile = tile([64, 96], [32, 48], 64);
/// For many small tiles: two subgroups.
const PAIR: CoopTile = tile([64, 64], [64, 32], 32);
/// For few small tiles: four.
const QUAD: CoopTile = tile([64, 64], [32, 32], 64);
/// The same where 64 does not divide K.
const QUAD_FLAT: CoopTile = tile([64, 64], [32, 32], 32);

/// All of them.
pub const COOP_TILES: [CoopTile; 6] = [LARGE, LARGE_DEEP, WIDE, PAIR, QUAD, QUAD_FLAT];

/// Which of the two operands' neighbours in memory are neighbours in K.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoopForm {
    /// `x·Wᵀ`.
    Nt,
    /// `x·W`.
    Nn,
}

impl CoopTile {
    /// Rows and columns, of a subgroup too, and steps of K.
    pub fn name(self) -> String {
        let Self { size: [bm, bn], of_subgroup: [sm, sn], bk } = self;
        format!("{bm}x{bn}-{sm}x{sn}x{bk}")
    }

    /// Workgroups of an `m × n` product.
    pub fn grid(self, m: usize, n: usize, shares: usize) -> [u32; 3] {
        [(n / self.size[1]) as u32, (m / self.size[0]) as u32, shares as u32]
    }

    fn count(self, m: usize, n: usize) -> usize {
        (m / self.size[0]) * (n / self.size[1])
    }

    /// Whether a kernel of this form is made of it: the rows of a tile of W are cut evenly among its threads.
    pub fn has(self, form: CoopForm) -> bool {
        form == CoopForm::Nt || self.size[1].is_power_of_two()
    }

    /// Whether an `m × n` product over `k` consists of whole tiles.
    pub fn fits(self, m: usize, n: usize, k: usize) -> bool {
        m > 0 && m.is_multiple_of(self.size[0]) && n.is_multiple_of(self.size[1]) && k.is_multiple_of(self.bk)
    }

    /// The tile for such a product, if there is one.
    pub fn for_shape(form: CoopForm, m: usize, n: usize, k: usize) -> Option<Self> {
        Self::choose(form, [m, n, k], Beside::NONE, 1)
    }

    /// The same of products beside each other, where no tile is of two of them, and of one whose sums may be split into so
    /// many.
    pub(super) fn choose(
        form: CoopForm,
        [m, n, k]: [usize; 3],
        beside: Beside<'_>,
        splits: usize,
    ) -> Option<Self> {
        let (large, small) = (splits * LARGE.count(m, n), splits * QUAD.count(m, n));
        let (large_is_best, deep) = match form {
            CoopForm::Nt => (
                large >= 100 && (large >= 300 || !n.is_multiple_of(96)),
                !(200..300).contains(&large) && large < 700,
            ),
            CoopForm::Nn => (large >= 100 && k >= 1024, large < 150),
        };
        let mut order = Vec::new();
        if large_is_best {
            order.extend(if deep { [LARGE_DEEP, LARGE] } else { [LARGE, LARGE_DEEP] });
        }
        if form == CoopForm::Nt && WIDE.count(m, n) >= 150 {
            order.push(WIDE);
        }
        order.extend(if small >= 200 { &[PAIR][..] } else { &[QUAD, QUAD_FLAT] });
        order.into_iter().find(|tile| tile.fits(m, n, k) && beside.all_in(tile.size[1]))
    }

    /// What `shared/coop_matmul.wgsl` needs of a tile: its sizes, and the matrices that a subgroup holds, written out,
    /// since an array of them would not be kept in registers.
    pub(super) fn text(self) -> Cow<'static, str> {
        let Self { size: [bm, bn], of_subgroup: [sm, sn], bk } = self;
        let (rows, columns) = (0..sm / EDGE, 0..sn / EDGE);
        let cells = || rows.clone().flat_map(|i| columns.clone().map(move |j| (i, j)));
        let mut text = String::new();
        for (name, value) in [("BM", bm), ("BN", bn), ("BK", bk), ("SM", sm), ("SN", sn)] {
            let _ = writeln!(text, "const {name}: u32 = {value}u;");
        }
        for (i, j) in cells() {
            let _ = writeln!(text, "var<private> c{i}{j}: coop_mat16x16<f32, C>;");
        }
        let at = |i: usize, j: usize| format!("row + {}u, column + {}u", EDGE * i, EDGE * j);
        text += "fn begin(row: u32, column: u32) {\n";
        for (i, j) in cells() {
            let _ = writeln!(text, "  c{i}{j} = first({});", at(i, j));
        }
        text += "}\nfn multiply(m: u32, n: u32, k: u32) {\n";
        for i in rows.clone() {
            let _ = writeln!(text, "  let a{i} = load_a(m + {}u, k);", EDGE * i);
        }
        for j in columns.clone() {
            let _ = writeln!(text, "  let b{j} = load_b(k, n + {}u);", EDGE * j);
            for i in rows.clone() {
                let _ = writeln!(text, "  c{i}{j} = coopMultiplyAdd(a{i}, b{j}, c{i}{j});");
            }
        }
        text += "}\nfn finish(row: u32, column: u32) {\n";
        for (i, j) in cells() {
            let _ = writeln!(text, "  store(c{i}{j}, {});", at(i, j));
        }
        text += "}\n";
        text.into()
    }
}
