//! Transposition.

/// xᵀ for a matrix with so many columns.
pub fn transpose<T: Copy>(x: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| x.iter().skip(column).step_by(columns).copied()).collect()
}
