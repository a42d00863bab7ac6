// Weights of 16 bits and x in chunks of eight: one load of 16 bytes and two. Needs `widen`, which makes two numbers of a
// word.
alias Word = vec4<u32>;
alias Chunk = mat2x4<f32>;
const CHUNK: u32 = 8u;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights_0: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> weights_1: array<vec4<u32>>;
@group(0) @binding(8) var<storage, read> weights_2: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> norm: array<vec4<f32>>;
fn word_0(i: u32) -> Word { return weights_0[i]; }
fn word_1(i: u32) -> Word { return weights_1[i]; }
fn word_2(i: u32) -> Word { return weights_2[i]; }
fn x_chunk(i: u32) -> Chunk { return Chunk(x[2u * i], x[2u * i + 1u]); }
fn norm_chunk(i: u32) -> Chunk { return Chunk(norm[2u * i], norm[2u * i + 1u]); }
fn widened(w: Word) -> Chunk { return Chunk(vec4(widen(w.x), widen(w.y)), vec4(widen(w.z), widen(w.w))); }
fn scaled(a: Chunk, s: f32) -> Chunk { return a * s; }
fn times(a: Chunk, b: Chunk) -> Chunk { return Chunk(a[0] * b[0], a[1] * b[1]); }
fn inner(a: Chunk, b: Chunk) -> f32 { return dot(a[0], b[0]) + dot(a[1], b[1]); }
