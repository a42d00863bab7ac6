//! The dropout mask: a hash of seed, module, row and column, in exact integers.

/// PCG: Jarzynski & Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020.
pub fn pcg(v: u32) -> u32 {
    let state = v.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

/// The hash of one element; it is dropped if this is below the threshold p·2³².
pub fn hash(seed: u32, module: u32, row: u32, column: u32) -> u32 {
    pcg(column ^ pcg(row ^ pcg(module ^ seed)))
}

/// The mask of a whole matrix: `scale` where an element stays, 0 where it is dropped.
pub fn mask(seed: u32, module: u32, [rows, columns]: [usize; 2], threshold: u32, scale: f64) -> Vec<f64> {
    let mut mask = Vec::with_capacity(rows * columns);
    for row in 0..rows as u32 {
        for column in 0..columns as u32 {
            mask.push(if hash(seed, module, row, column) >= threshold { scale } else { 0.0 });
        }
    }
    mask
}
