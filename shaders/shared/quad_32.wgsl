// Weight storage: f32, four at a time.
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
fn weight_quad(i: u32) -> vec4<f32> { return weights[i]; }
