// What a kernel reads and writes at once: one element.
alias Part = f32;
const WIDE: u32 = 1u;
fn part_dot(a: Part, b: Part) -> f32 { return a * b; }
