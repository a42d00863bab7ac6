// A row's queries, keys and values, the first two turned by its position (see rope.wgsl), out of place.
// Needs from the kernel's file: params, positions, table_at, and
//   fn source(row, c) -> Part: what is in columns c … of queries, keys and values beside each other.
fn turned(row: u32, c: u32) -> Part {
  let value = source(row, c);
  let j = c % params.head_dim;
  if c >= params.q_width + params.kv_width / 2u || j >= params.rotary { return value; }
  let half = params.rotary / 2u;
  let angle = (positions[row] - params.first) * params.rotary + j % half;
  let cosine = table_at(angle / WIDE);
  let sine = table_at((angle + half) / WIDE) * params.direction;
  if j < half { return value * cosine - source(row, c + half) * sine; }
  return value * cosine + source(row, c - half) * sine;
}

// Whether the table has the row's position, or there is none.
fn is_held(row: u32) -> bool { return params.rotary == 0u || positions[row] - params.first < params.count; }
