// attention_token.wgsl: the query and the key of the row itself, normed and turned. Needs shared/row.wgsl, a file that
// says what a Part is, and from the kernel's file: params, qkv, angles, q_norm, k_norm.
const MAX_HEAD_DIM: u32 = 256u;
const MAX_WIDTH: u32 = MAX_HEAD_DIM / WIDE;
// The head's query and its key, while they are made.
var<workgroup> raw_query: array<f32, MAX_HEAD_DIM>;
var<workgroup> raw_key: array<f32, MAX_HEAD_DIM>;
var<workgroup> query: array<Part, MAX_WIDTH>;
var<workgroup> key: array<Part, MAX_WIDTH>;

// Makes `query` and `key` of a head.
fn prepare(head: u32, kv_head: u32, t: u32) {
  let dim = params.head_dim;
  var squares = vec2<f32>();
  for (var d = t; d < dim; d += LANES) {
    raw_query[d] = qkv[head * dim + d];
    raw_key[d] = qkv[(params.heads + kv_head) * dim + d];
    squares += vec2(raw_query[d] * raw_query[d], raw_key[d] * raw_key[d]);
  }
  if params.head_norm != 0u {
    let of_query = 1.0 / sqrt(row_sum(squares.x, t) / f32(dim) + params.eps);
    let of_key = 1.0 / sqrt(row_sum(squares.y, t) / f32(dim) + params.eps);
    for (var d = t; d < dim; d += LANES) {
      raw_query[d] *= of_query * q_norm[d];
      raw_key[d] *= of_key * k_norm[d];
    }
  }
  workgroupBarrier();
  let half = params.rotary / 2u;
  for (var d = t; d < half; d += LANES) {
    let c = angles[d];
    let s = angles[d + half];
    let q = vec2(raw_query[d], raw_query[d + half]);
    let k = vec2(raw_key[d], raw_key[d + half]);
    raw_query[d] = q.x * c - q.y * s;
    raw_query[d + half] = q.y * c + q.x * s;
    raw_key[d] = k.x * c - k.y * s;
    raw_key[d + half] = k.y * c + k.x * s;
  }
  workgroupBarrier();
  for (var p = t; p < dim / WIDE; p += LANES) {
    query[p] = query_part(p);
    key[p] = key_part(p);
  }
  workgroupBarrier();
}
