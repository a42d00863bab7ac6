// attention_token.wgsl: heads in fours of columns.
alias Part = vec4<f32>;
const WIDE: u32 = 4u;
fn inner(a: Part, b: Part) -> f32 { return dot(a, b); }
fn query_part(p: u32) -> Part {
  return vec4(raw_query[4u * p], raw_query[4u * p + 1u], raw_query[4u * p + 2u], raw_query[4u * p + 3u]);
}
fn key_part(p: u32) -> Part {
  return vec4(raw_key[4u * p], raw_key[4u * p + 1u], raw_key[4u * p + 2u], raw_key[4u * p + 3u]);
}
fn qkv_part(p: u32) -> Part { return vec4(qkv[4u * p], qkv[4u * p + 1u], qkv[4u * p + 2u], qkv[4u * p + 3u]); }
