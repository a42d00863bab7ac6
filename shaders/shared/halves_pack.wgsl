// From f32 to 16 bits. Needs `rounded`.
alias From = vec4<f32>;
alias To = vec2<u32>;
fn converted(v: From) -> To { return vec2(rounded(v.xy), rounded(v.zw)); }
