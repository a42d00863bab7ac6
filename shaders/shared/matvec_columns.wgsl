// matvec.wgsl: four columns of one weight, as they are or activated.
const OUTPUTS: u32 = 4u;

// A workgroup's columns: from `first` on of a weight that has `columns` of them and whose first is y's `start`-th. None
// if `columns` is 0.
struct Place { part: u32, first: u32, start: u32, columns: u32, }

fn place_of(group: u32) -> Place {
  let ends = vec3(params.end_0, params.end_1, params.n);
  var place = Place(0u, group * 4u, 0u, 0u);
  for (var part = 0u; part < 3u; part++) {
    let columns = ends[part] - place.start;
    if place.first < columns { return Place(part, place.first, place.start, columns); }
    place.first -= (columns + 3u) / 4u * 4u;
    place.start = ends[part];
  }
  return place;
}
fn part_of(place: Place, product: u32) -> u32 { return place.part; }
fn column_of(place: Place, product: u32) -> u32 { return place.first + product; }

struct Words { a: Word, b: Word, c: Word, d: Word, }
fn words(place: Place, at: vec4<u32>) -> Words {
  switch place.part {
    case 0u: { return Words(word_0(at.x), word_0(at.y), word_0(at.z), word_0(at.w)); }
    case 1u: { return Words(word_1(at.x), word_1(at.y), word_1(at.z), word_1(at.w)); }
    default: { return Words(word_2(at.x), word_2(at.y), word_2(at.z), word_2(at.w)); }
  }
}

fn result(place: Place, output: u32, rstd: f32) -> f32 { return activated(finished(place, output, rstd)); }
