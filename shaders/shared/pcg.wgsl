// A hash of 32 bits: PCG (Jarzynski & Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020).
fn pcg(v: u32) -> u32 {
  let state = v * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}
