// Random numbers of a draw, from a counter: the same for a seed, a step and a token everywhere. Needs shared/pcg.wgsl.

// Exponentially distributed with mean 1: −ln(1 − v), v uniform from 32 bits. By the series of 2·artanh(v/(2 − v)) up to
// v = ½, since ln(1 − v) has no relative precision near v = 0, and the smallest of many of these numbers wins.
fn exponential(hash: u32) -> f32 {
  const UNIT: f32 = 2.3283064365386963e-10;
  if hash >= 0x80000000u { return -log((f32(~hash) + 0.5) * UNIT); }
  let v = (f32(hash) + 0.5) * UNIT;
  let z = v / (2.0 - v);
  let s = z * z;
  var series = 1.0 / 13.0;
  series = fma(series, s, 1.0 / 11.0);
  series = fma(series, s, 1.0 / 9.0);
  series = fma(series, s, 1.0 / 7.0);
  series = fma(series, s, 1.0 / 5.0);
  series = fma(series, s, 1.0 / 3.0);
  series = fma(series, s, 1.0);
  return 2.0 * z * series;
}

// What a token's logit, divided by the temperature, is raised by: the token with the highest sum is a draw from the
// softmax (Gumbel, 1954; Maddison et al., arXiv:1411.0030).
fn noise(seed_low: u32, seed_high: u32, step: u32, token: u32) -> f32 {
  return -log(exponential(pcg(token ^ pcg(step ^ pcg(seed_low ^ pcg(seed_high))))));
}
