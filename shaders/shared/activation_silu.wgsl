// silu(x) = x·σ(x); below −80 exp would near f32's end, where division promises nothing.
fn activated(x: f32) -> f32 { return x / (1.0 + exp(min(-x, 80.0))); }
