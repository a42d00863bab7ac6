// Where in the state of a sequence things are, in words; the Rust twin is kernels::sample::TokenState.
const INPUT_ID: u32 = 0u;
const POSITION: u32 = 64u;
// First and one past the last cache row that the token attends, without and with a sliding window.
const KV_RANGE: u32 = 128u;
const SLIDING: u32 = 192u;
// Tokens that were chosen, and the last CHOSEN_COUNT of them.
const STEP: u32 = 256u;
const CHOSEN: u32 = 320u;
const CHOSEN_COUNT: u32 = 64u;
