// 16 bits: IEEE half. What that does not reach is its largest number.
const LARGEST: vec4<f32> = vec4(65504.0);
fn packed(values: vec4<f32>) -> vec2<u32> {
  let v = clamp(values, -LARGEST, LARGEST);
  return vec2(pack2x16float(v.xy), pack2x16float(v.zw));
}
fn unpacked(words: vec2<u32>) -> vec4<f32> { return vec4(unpack2x16float(words.x), unpack2x16float(words.y)); }
