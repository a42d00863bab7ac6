// From 16 bits to f32. Needs `widen`.
alias From = vec2<u32>;
alias To = vec4<f32>;
fn converted(v: From) -> To { return vec4(widen(v.x), widen(v.y)); }
