//! Columns of one matrix to another.

/// y[:, y_first + j] = x[:, x_first + j], j < count; `x` and `y` as (first column, columns of a row).
pub fn copy_columns<T: Copy>(x: &[T], from: (usize, usize), y: &mut [T], to: (usize, usize), count: usize) {
    for (x, y) in x.chunks_exact(from.1).zip(y.chunks_exact_mut(to.1)) {
        y[to.0..to.0 + count].copy_from_slice(&x[from.0..from.0 + count]);
    }
}
