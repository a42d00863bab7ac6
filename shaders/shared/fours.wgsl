// Four neighbours of a line of x or of a weight, the line from `start` on of `count` elements, 0 from its end on; start,
// count and i are multiples of four.
fn x4(start: u32, i: u32, count: u32) -> vec4<f32> {
  return select(vec4<f32>(), x_at((start + min(i, count - 4u)) / 4u), i < count);
}
fn weight4(start: u32, i: u32, count: u32) -> vec4<f32> {
  return select(vec4<f32>(), weights_at((start + min(i, count - 4u)) / 4u), i < count);
}
