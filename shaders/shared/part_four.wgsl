// What a kernel reads and writes at once: four neighbours.
alias Part = vec4<f32>;
const WIDE: u32 = 4u;
fn part_dot(a: Part, b: Part) -> f32 { return dot(a, b); }
fn part_element(v: Part, i: u32) -> f32 { return v[i]; }
