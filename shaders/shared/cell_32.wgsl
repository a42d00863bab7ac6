// Four neighbours as they lie in memory: f32.
alias Cell = vec4<f32>;
fn narrow_cell(cell: Cell) -> Narrow { return narrow(cell); }
