//! Many timings in a few numbers.

use serde::Serialize;

/// Milliseconds of something that was done many times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// Half of them took at most so long.
    pub median: f64,
    /// A tenth of them.
    pub p10: f64,
    /// Nine tenths.
    pub p90: f64,
    /// All of them by their number.
    pub mean: f64,
}

impl Times {
    /// Of seconds.
    ///
    /// # Panics
    /// If there are none.
    pub fn of_seconds(mut seconds: Vec<f64>) -> Self {
        seconds.sort_unstable_by(f64::total_cmp);
        // Between the two values that a quantile lies between, in proportion.
        let quantile = |q: f64| {
            let at = q * (seconds.len() - 1) as f64;
            let (low, high) = (seconds[at.floor() as usize], seconds[at.ceil() as usize]);
            1e3 * (low + (high - low) * at.fract())
        };
        let mean = 1e3 * seconds.iter().sum::<f64>() / seconds.len() as f64;
        Self { median: quantile(0.5), p10: quantile(0.1), p90: quantile(0.9), mean }
    }
}
