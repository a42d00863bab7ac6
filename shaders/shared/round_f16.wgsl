// Two numbers in a word, low half first, as IEEE halves. What they do not reach is their largest number.
fn rounded(v: vec2<f32>) -> u32 { return pack2x16float(clamp(v, vec2(-65504.0), vec2(65504.0))); }
