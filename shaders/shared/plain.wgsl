// An MLP without a gate: one value a column.
const GATED: bool = false;
