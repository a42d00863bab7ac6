// attention_token.wgsl: heads whose width is no multiple of four, column by column.
alias Part = f32;
const WIDE: u32 = 1u;
fn inner(a: Part, b: Part) -> f32 { return a * b; }
fn query_part(p: u32) -> Part { return raw_query[p]; }
fn key_part(p: u32) -> Part { return raw_key[p]; }
fn qkv_part(p: u32) -> Part { return qkv[p]; }
