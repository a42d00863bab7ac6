// loss[i] = logsumexp(z[i,:]) − z[i, target[i]];  z[i,:] ← (softmax(z[i,:]) − onehot(target[i])) · loss_scale · scale
// Shapes    logits z [rows, vocab], target [rows] (2³²−1: none; its loss and gradient are zero),
//           loss [rows] from `loss_offset`, state [8] as in loss_scale.wgsl.
// Dispatch  one workgroup of 256 per row, rows over x and y.
// Output    loss =; logits = their gradient if `backward`, else unchanged
struct Params { rows: u32, vocab: u32, loss_offset: u32, backward: u32, }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read> state: array<f32>;

var<workgroup> lane_max: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) wg: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = wg.y * grid.x + wg.x;
  if row >= params.rows { return; }
  let at = row * params.vocab;
  let label = targets[params.loss_offset + row];
  if label == 0xffffffffu {
    for (var i = t; i < params.vocab; i += LANES) { if params.backward != 0u { logits[at + i] = 0.0; } }
    if t == 0u { loss[params.loss_offset + row] = 0.0; }
    return;
  }
  var own = -3.0e38;
  for (var i = t; i < params.vocab; i += LANES) { own = max(own, logits[at + i]); }
  lane_max[t] = own;
  workgroupBarrier();
  var peak = lane_max[0];
  for (var i = 1u; i < LANES; i++) { peak = max(peak, lane_max[i]); }
  var sum = 0.0;
  for (var i = t; i < params.vocab; i += LANES) { sum += exp(logits[at + i] - peak); }
  let total = row_sum(sum, t);
  if t == 0u { loss[params.loss_offset + row] = log(total) + peak - logits[at + label]; }
  if params.backward == 0u { return; }
  // The label's own logit is read above by lane 0 before any lane overwrites it.
  storageBarrier();
  let scale = step.loss_scale * state[1];
  let factor = scale / total;
  for (var i = t; i < params.vocab; i += LANES) {
    var gradient = exp(logits[at + i] - peak) * factor;
    if i == label { gradient -= scale; }
    logits[at + i] = gradient;
  }
}
