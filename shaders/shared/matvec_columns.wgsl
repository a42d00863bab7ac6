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

// At once, so that all loads are under way together.
struct Words { a: Word, b: Word, c: Word, d: Word, e: Word, f: Word, g: Word, h: Word, }
fn words(place: Place, i: vec4<u32>, j: vec4<u32>) -> Words {
  switch place.part {
    case 0u: {
      return Words(word_0(i.x), word_0(i.y), word_0(i.z), word_0(i.w), word_0(j.x), word_0(j.y), word_0(j.z), word_0(j.w));
    }
    case 1u: {
      return Words(word_1(i.x), word_1(i.y), word_1(i.z), word_1(i.w), word_1(j.x), word_1(j.y), word_1(j.z), word_1(j.w));
    }
    default: {
      return Words(word_2(i.x), word_2(i.y), word_2(i.z), word_2(i.w), word_2(j.x), word_2(j.y), word_2(j.z), word_2(j.w));
    }
  }
}

fn result(place: Place, output: u32, rstd: f32) -> f32 { return activated(finished(place, output, rstd)); }
