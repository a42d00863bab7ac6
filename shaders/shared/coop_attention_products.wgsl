// The products of the cooperative attention kernels, by 16 × 16 matrices that a subgroup holds together: of what lies in
// the tiles (coop_attention.wgsl).
// Numerics: f16 operands, f32 sums, in rising order.
alias Narrow = vec4<f16>;
alias Strip = array<coop_mat16x16<f32, C>, 2>;
var<workgroup> own_tile: array<Narrow, BM * LD>;
var<workgroup> other_tile: array<Narrow, BN * LD>;
var<workgroup> strips: array<vec4<f32>, BM * LD>;

fn narrow(values: vec4<f32>) -> Narrow { return vec4<f16>(values); }

// sums += own · otherᵀ, for the columns in the tiles
fn add_dots(sums: ptr<function, Strip>, t: u32) {
  let row = strip_row(t) * LD;
  let column = strip_column(t) * 4u * LD;
  for (var k = 0u; k < WIDTH; k += 4u) {
    let own = coopLoadT<coop_mat16x16<f16, A>>(&own_tile[row + k], LD);
    let other_0 = coopLoad<coop_mat16x16<f16, B>>(&other_tile[column + k], LD);
    let other_1 = coopLoad<coop_mat16x16<f16, B>>(&other_tile[column + 16u * LD + k], LD);
    (*sums)[0] = coopMultiplyAdd(own, other_0, (*sums)[0]);
    (*sums)[1] = coopMultiplyAdd(own, other_1, (*sums)[1]);
  }
}

// sums += weights · other, with the weights in the place of own
fn add_products(sums: ptr<function, Strip>, t: u32) {
  let row = strip_row(t) * LD;
  let column = strip_column(t);
  for (var k = 0u; k < 4u; k++) {
    let weights = coopLoadT<coop_mat16x16<f16, A>>(&own_tile[row + k * 4u], LD);
    let other_0 = coopLoadT<coop_mat16x16<f16, B>>(&other_tile[k * 16u * LD + column], LD);
    let other_1 = coopLoadT<coop_mat16x16<f16, B>>(&other_tile[k * 16u * LD + column + 4u], LD);
    (*sums)[0] = coopMultiplyAdd(weights, other_0, (*sums)[0]);
    (*sums)[1] = coopMultiplyAdd(weights, other_1, (*sums)[1]);
  }
}

// Puts sums where each invocation finds the vectors of its row.
fn show(sums: ptr<function, Strip>, t: u32) {
  let ld = LD;
  let at_0 = strip_row(t) * LD + strip_column(t);
  let at_1 = at_0 + 4u;
  let sums_0 = (*sums)[0];
  let sums_1 = (*sums)[1];
  coopStoreT(sums_0, &strips[at_0], ld);
  coopStoreT(sums_1, &strips[at_1], ld);
}

fn shown(i: u32, t: u32) -> vec4<f32> { return strips[cell(i, t)]; }
