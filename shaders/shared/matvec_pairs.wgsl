// matvec.wgsl: two columns of W_0, each activated and multiplied by the same column of W_1.
const OUTPUTS: u32 = 2u;

// A workgroup's columns: from `first` on. None if `columns` is 0.
struct Place { first: u32, start: u32, columns: u32, }

fn place_of(group: u32) -> Place {
  let first = group * 2u;
  return Place(first, 0u, select(0u, params.n, first < params.n));
}
fn part_of(place: Place, product: u32) -> u32 { return product / 2u; }
fn column_of(place: Place, product: u32) -> u32 { return place.first + product % 2u; }

struct Words { a: Word, b: Word, c: Word, d: Word, e: Word, f: Word, g: Word, h: Word, }
fn words(place: Place, i: vec4<u32>, j: vec4<u32>) -> Words {
  return Words(word_0(i.x), word_0(i.y), word_1(i.z), word_1(i.w), word_0(j.x), word_0(j.y), word_1(j.z), word_1(j.w));
}

fn result(place: Place, output: u32, rstd: f32) -> f32 {
  return activated(finished(place, output, rstd)) * finished(place, output + 2u, rstd);
}
