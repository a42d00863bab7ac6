// What a workgroup of a tiled attention kernel works on. An item is a row and one of the `group` query heads that share
// a key head; the items of a key head are counted row by row, so that a tile of them reads the keys once.
// Needs from the kernel's file: params.
// Stands for -infinity, which WGSL need not honour.
const LOWEST: f32 = -3.0e38;
const EMPTY: vec2<u32> = vec2(0xffffffffu, 0u);
var<private> kv_head: u32;
// Which rows or items of the other side some row or item of the tile attends.
var<private> held: vec2<u32>;

fn group() -> u32 { return params.heads / params.kv_heads; }

// Where an item's vector is in q, its number in lse.
fn head_of(item: u32) -> u32 { return item / group() * params.heads + kv_head * group() + item % group(); }

// Where a row's key (0) or value (1) is in kv.
fn kv_of(which: u32, row: u32) -> u32 { return (row * 2u + which) * params.kv_heads + kv_head; }

fn is_held(index: u32) -> bool { return index >= held.x && index < held.y; }

// The nearest that is held, where any is.
fn within_held(index: u32) -> u32 { return clamp(index, held.x, held.y - 1u); }

// A range of all rows as one of the rows of this part.
fn in_part(range: vec2<u32>) -> vec2<u32> {
  return clamp(range, vec2(params.first), vec2(params.first + params.count)) - params.first;
}

// The range of two and all between; one of them may be empty.
fn around(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  if b.x >= b.y { return a; }
  return vec2(min(a.x, b.x), max(a.y, b.y));
}
