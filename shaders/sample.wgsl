// y = the `keep` highest of every 1,024 candidates, by (value, −id): one pass of choosing the next token
// Shapes    values, ids [count]: candidates of the pass before; in the first pass values are the logits and an id is its
//           index. state: of its words the STEP-th counts draws. y_values, y_ids [slices, keep].
// Dispatch  (slices, 1, 1) workgroups of 256.
// Numerics  f32; with `draws` a value is logit/temperature + noise. A logit that is not finite has no id and is the
//           highest.
// Output    y_values =, y_ids =, the highest first; NONE where a slice has fewer
struct Params {
  count: u32, keep: u32, first: u32, draws: u32,
  inverse_temperature: f32, seed_low: u32, seed_high: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> y_values: array<f32>;
@group(0) @binding(5) var<storage, read_write> y_ids: array<u32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  for (var i = t; i < SLICE; i += LANES) {
    let at = wg.x * SLICE + i;
    var v = LOWEST;
    var token = NONE;
    if at < params.count {
      v = values[at];
      token = at;
      if params.first == 0u { token = ids[at]; }
      if params.first != 0u && (bitcast<u32>(v) & 0x7f800000u) == 0x7f800000u {
        v = -LOWEST;
        token = NONE;
      } else if params.draws != 0u {
        v = v * params.inverse_temperature + noise(params.seed_low, params.seed_high, state[STEP], token);
      }
    }
    value[i] = v;
    id[i] = token;
  }
  sort(t);
  for (var i = t; i < params.keep; i += LANES) {
    y_values[wg.x * params.keep + i] = value[i];
    y_ids[wg.x * params.keep + i] = id[i];
  }
}
