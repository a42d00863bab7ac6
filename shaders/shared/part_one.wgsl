// What a kernel reads and writes at once: one element.
alias Part = f32;
const WIDE: u32 = 1u;
fn part_dot(a: Part, b: Part) -> f32 { return a * b; }
fn part_element(v: Part, i: u32) -> f32 { return v; }
