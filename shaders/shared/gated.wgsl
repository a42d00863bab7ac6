// An MLP with a gate: two values a column, of which the first is activated and the second multiplied.
const GATED: bool = true;
