// y[c] = f(scale·rstd·(Σₖ x'[k]·W[c,k] + Σᵣ e[r]·F[c,r]) + bias[c]) for one row x: a token's pass through linear layers
// that read the same x, with x' = x·norm and rstd = 1/√(mean(x²) + eps) if the norm before them is to be taken here
// Shapes    x [K]; up to three weights [any, K] as stored, of each its rows from `first` on: those of W_0 make the
//           columns up to end_0, W_1's those up to end_1, W_2's the rest of y's n, or, in pairs, W_0 and W_1 n each;
//           norm [K]; bias with a start for each weight; F_i [rows of W_i, r_i] from f_i on in f; e_i in y, one after
//           the other from `e` on; y from column `y_first` on.
// Dispatch  a workgroup of LANES for 4 columns of one weight or for 2 pairs, over x and y.
// Numerics  f32; a lane adds up every LANES-th chunk of K, then halves of the lanes are added: an order that depends on
//           K alone. Each lane begins with F's part, so with F = 0 the result is the base's, bit for bit.
// Output    y =, or += with `accumulate`
struct Params {
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
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(5) var<storage, read> f: array<f32>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

// What `norm` says: x as it is, times the norm's weights, or that and over its root mean square.
const NORMED: u32 = 2u;
var<workgroup> lane_sums: array<vec4<f32>, LANES>;
var<workgroup> lane_squares: array<f32, LANES>;

// LoRA's share of a lane in the product of a column of a weight.
fn extension(part: u32, column: u32, t: u32) -> f32 {
  let ranks = vec3(params.r_0, params.r_1, params.r_2);
  let r = ranks[part];
  let e = params.e + select(0u, ranks.x, part > 0u) + select(0u, ranks.y, part > 1u);
  let at = vec3(params.f_0, params.f_1, params.f_2)[part] + column * r;
  var sum = 0.0;
  for (var i = t; i < r; i += LANES) { sum = fma(y[e + i], f[at + i], sum); }
  return sum;
}

// One product of the workgroup's, finished but for what becomes of it.
fn finished(place: Place, product: u32, rstd: f32) -> f32 {
  let part = part_of(place, product);
  var value = lane_sums[0][product] * rstd * vec3(params.scale_0, params.scale_1, params.scale_2)[part];
  if params.has_bias != 0u {
    value += bias[vec3(params.bias_0, params.bias_1, params.bias_2)[part] + column_of(place, product)];
  }
  return value;
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let place = place_of(wg.y * grid.x + wg.x);
  if place.columns == 0u { return; }
  var sums: vec4<f32>;
  var rows: vec4<u32>;
  let firsts = vec3(params.first_0, params.first_1, params.first_2);
  for (var i = 0u; i < 4u; i++) {
    let part = part_of(place, i);
    let column = min(column_of(place, i), place.columns - 1u);
    rows[i] = firsts[part] + column;
    sums[i] = extension(part, column, t);
  }
  let chunks = params.k / CHUNK;
  let at = rows * chunks;
  var squares = 0.0;
  for (var i = t; i < chunks; i += 2u * LANES) {
    // Two steps at once, so that many loads are under way; the second may be past the end, where x counts as 0.
    let j = min(i + LANES, chunks - 1u);
    let w = words(place, at + i, at + j);
    var a = x_chunk(i);
    var b = scaled(x_chunk(j), select(0.0, 1.0, i + LANES < chunks));
    squares += inner(a, a) + inner(b, b);
    if params.norm != 0u {
      a = times(a, norm_chunk(i));
      b = times(b, norm_chunk(j));
    }
    sums += vec4(inner(a, widened(w.a)), inner(a, widened(w.b)), inner(a, widened(w.c)), inner(a, widened(w.d)));
    sums += vec4(inner(b, widened(w.e)), inner(b, widened(w.f)), inner(b, widened(w.g)), inner(b, widened(w.h)));
  }
  lane_sums[t] = sums;
  lane_squares[t] = squares;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if t < half {
      lane_sums[t] += lane_sums[t + half];
      lane_squares[t] += lane_squares[t + half];
    }
    workgroupBarrier();
  }
  if t >= OUTPUTS || column_of(place, t) >= place.columns { return; }
  let rstd = select(1.0, 1.0 / sqrt(lane_squares[0] / f32(params.k) + params.eps), params.norm == NORMED);
  let to = params.y_first + place.start + column_of(place, t);
  let value = result(place, t, rstd);
  if params.accumulate != 0u { y[to] += value; } else { y[to] = value; }
}
