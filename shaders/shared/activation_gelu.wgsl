// gelu(x) in its tanh form; needs shared/gelu.wgsl.
fn activated(x: f32) -> f32 { return x * gelu_sigma(x); }
