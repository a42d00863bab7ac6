// state = the sequence with one more token: the highest of the candidates, or a draw from the softmax of the highest
// top_k of them that together have a probability of at least top_p
// Shapes    values, ids [count], count ≤ 1024; state as in shared/token_state.wgsl.
// Dispatch  one workgroup of 256.
// Numerics  f32; probabilities are added up from the highest on.
// Output    state =: the token is the next pass's input, one position on; `window` is what its sliding layers see
struct Params {
  count: u32, top_k: u32, window: u32,
  top_p: f32, inverse_temperature: f32, seed_low: u32, seed_high: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> state: array<u32>;

var<workgroup> weights: array<f32, LANES>;
var<workgroup> noisy: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) t: u32) {
  for (var i = t; i < SLICE; i += LANES) {
    value[i] = LOWEST;
    id[i] = NONE;
    if i < params.count {
      value[i] = values[i];
      id[i] = ids[i];
    }
  }
  sort(t);
  let step = state[STEP];
  if t < params.top_k {
    weights[t] = exp((value[t] - value[0]) * params.inverse_temperature);
    noisy[t] = value[t] * params.inverse_temperature + noise(params.seed_low, params.seed_high, step, id[t]);
  }
  workgroupBarrier();
  if t != 0u { return; }
  var best = 0u;
  // Not where the highest is no number.
  if id[0] != NONE {
    var total = 0.0;
    for (var i = 0u; i < params.top_k; i++) { total += weights[i]; }
    var sum = 0.0;
    for (var i = 0u; i < params.top_k; i++) {
      if noisy[i] > noisy[best] || (noisy[i] == noisy[best] && id[i] < id[best]) { best = i; }
      sum += weights[i];
      if params.top_p < 1.0 && sum >= params.top_p * total { break; }
    }
  }
  let token = id[best];
  let position = state[POSITION] + 1u;
  state[INPUT_ID] = token;
  state[POSITION] = position;
  state[KV_RANGE] = 0u;
  state[KV_RANGE + 1u] = position + 1u;
  state[SLIDING] = max(position + 1u, params.window) - params.window;
  state[SLIDING + 1u] = position + 1u;
  state[CHOSEN + step % CHOSEN_COUNT] = token;
  state[STEP] = step + 1u;
}
