// Single numbers, for rows that do not begin at multiples of 16 bytes. Needs the type `Stored`, of which each has IN_WORD
// numbers, and `number`, one of these.
alias Word = f32;
alias Chunk = f32;
const CHUNK: u32 = 1u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weights_0: array<Stored>;
@group(0) @binding(3) var<storage, read> weights_1: array<Stored>;
@group(0) @binding(8) var<storage, read> weights_2: array<Stored>;
@group(0) @binding(4) var<storage, read> norm: array<f32>;
fn word_0(i: u32) -> Word { return number(weights_0[i / IN_WORD], i % IN_WORD); }
fn word_1(i: u32) -> Word { return number(weights_1[i / IN_WORD], i % IN_WORD); }
fn word_2(i: u32) -> Word { return number(weights_2[i / IN_WORD], i % IN_WORD); }
fn x_chunk(i: u32) -> Chunk { return x[i]; }
fn norm_chunk(i: u32) -> Chunk { return norm[i]; }
fn widened(w: Word) -> Chunk { return w; }
fn scaled(a: Chunk, s: f32) -> Chunk { return a * s; }
fn times(a: Chunk, b: Chunk) -> Chunk { return a * b; }
fn inner(a: Chunk, b: Chunk) -> f32 { return a * b; }
