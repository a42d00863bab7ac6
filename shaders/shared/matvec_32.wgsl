// Weights in f32 and x in chunks of four: one load of 16 bytes each.
alias Word = vec4<f32>;
alias Chunk = vec4<f32>;
const CHUNK: u32 = 4u;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights_0: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weights_1: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read> weights_2: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> norm: array<vec4<f32>>;
fn word_0(i: u32) -> Word { return weights_0[i]; }
fn word_1(i: u32) -> Word { return weights_1[i]; }
fn word_2(i: u32) -> Word { return weights_2[i]; }
fn x_chunk(i: u32) -> Chunk { return x[i]; }
fn norm_chunk(i: u32) -> Chunk { return norm[i]; }
fn widened(w: Word) -> Chunk { return w; }
fn scaled(a: Chunk, s: f32) -> Chunk { return a * s; }
fn times(a: Chunk, b: Chunk) -> Chunk { return a * b; }
fn inner(a: Chunk, b: Chunk) -> f32 { return dot(a, b); }
