// gelu(x) = x·σ(2u), u = √(2/π)·(x + 0.044715·x³): the tanh form, ½(1 + tanh u) being σ(2u) (Hendrycks &
// Gimpel, arXiv:1606.08415). Needs a file that says what a Part is.
// Numerics: σ is 0 or 1 in f32 long before |x| = 30, where the cube is cut off; exp's argument stays below
// f32's end, where division promises nothing.
const SQRT_2_OVER_PI: f32 = 0.7978845608;
const CUBIC: f32 = 0.044715;
fn gelu_sigma(x: Part) -> Part {
  let c = clamp(x, Part(-30.0), Part(30.0));
  let u = SQRT_2_OVER_PI * fma(CUBIC * c * c, c, c);
  return 1.0 / (1.0 + exp(min(-2.0 * u, Part(80.0))));
}
// d gelu/dx = σ + x·σ·(1 − σ)·2u'
fn gelu_slope(x: Part) -> Part {
  let c = clamp(x, Part(-30.0), Part(30.0));
  let sigma = gelu_sigma(x);
  let du = SQRT_2_OVER_PI * fma(3.0 * CUBIC * c, c, Part(1.0));
  return fma(c * sigma * (1.0 - sigma), 2.0 * du, sigma);
}
