//! Additions to rows.

/// y[i,:] = scale·y[i,:] + x[index[i],:]; without an index x's own row, without x nothing is added.
pub fn add_rows(y: &mut [f64], width: usize, scale: f64, x: Option<&[f64]>, index: Option<&[u32]>) {
    for (i, row) in y.chunks_exact_mut(width).enumerate() {
        let from = index.map_or(i, |index| index[i] as usize);
        for (j, value) in row.iter_mut().enumerate() {
            *value = scale * *value + x.map_or(0.0, |x| x[from * width + j]);
        }
    }
}
