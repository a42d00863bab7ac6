//! Sums and norms.

/// What is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Values,
    Squares,
}

/// Group g of `groups` adds up the elements g·lanes + t, then every groups·lanes-th, for every lane t.
pub fn grouped(x: &[f64], of: Of, groups: usize, lanes: usize) -> Vec<f64> {
    let mut sums = vec![0.0; groups];
    for (i, &value) in x.iter().enumerate() {
        sums[i / lanes % groups] += if of == Of::Squares { value * value } else { value };
    }
    sums
}

/// The Euclidean norm.
pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}
