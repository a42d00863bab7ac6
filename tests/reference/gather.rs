//! Embedding lookup and its counterpart.

/// The index that names no row.
pub const NONE: u32 = u32::MAX;

/// y[i,:] = w[index[i],:]; zeros for [`NONE`].
pub fn gather<T: Copy + Default>(index: &[u32], w: &[T], width: usize) -> Vec<T> {
    let mut y = Vec::with_capacity(index.len() * width);
    for &row in index {
        match row {
            NONE => y.extend(std::iter::repeat_n(T::default(), width)),
            row => y.extend_from_slice(&w[row as usize * width..][..width]),
        }
    }
    y
}

/// y[index[i],:] = x[i,:]; other rows stay, [`NONE`] is skipped.
pub fn scatter<T: Copy>(index: &[u32], x: &[T], y: &mut [T], width: usize) {
    for (&row, from) in index.iter().zip(x.chunks_exact(width)) {
        if row != NONE {
            y[row as usize * width..][..width].copy_from_slice(from);
        }
    }
}
