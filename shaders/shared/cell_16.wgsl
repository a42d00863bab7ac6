// Four neighbours as they lie in memory: f16.
alias Cell = vec4<f16>;
fn narrow_cell(cell: Cell) -> vec4<f16> { return cell; }
