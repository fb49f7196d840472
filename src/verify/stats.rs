//! The estimates that llama-perplexity prints, by its formulas: tokens count as independent.

/// A value and its standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// One standard error.
    pub error: f64,
}

/// The mean of values.
pub(super) fn mean(values: impl Iterator<Item = f64> + Clone) -> Estimate {
    let (count, sum) = values.clone().fold((0usize, 0.0), |(count, sum), x| (count + 1, sum + x));
    let mean = sum / count.max(1) as f64;
    // Around the mean: the difference of two large squares would lose what llama.cpp's f64 formula keeps of it.
    let squares: f64 = values.map(|x| (x - mean) * (x - mean)).sum();
    let error = if count > 10 { (squares / count as f64 / (count - 1) as f64).sqrt() } else { 0.0 };
    Estimate { value: mean, error }
}

/// The covariance of the means of two paired series.
pub(super) fn covariance(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let (count, a, b) = pairs.clone().fold((0usize, 0.0, 0.0), |(n, a, b), (x, y)| (n + 1, a + x, b + y));
    if count < 10 {
        return 0.0;
    }
    let (a, b) = (a / count as f64, b / count as f64);
    pairs.map(|(x, y)| (x - a) * (y - b)).sum::<f64>() / count as f64 / (count - 1) as f64
}

/// The value below which this share of `sorted` lies, between two of them by linear interpolation. NaN of nothing.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share.clamp(0.0, 1.0) * last as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    (1.0 - part) * sorted[below] + part * sorted[(below + 1).min(last)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_their_errors() {
        let values: Vec<f64> = (0..12).map(f64::from).collect();
        let estimate = mean(values.iter().copied());
        // Variance of 0..12 is 143/12.
        assert_eq!(estimate.value, 5.5);
        assert!((estimate.error - (143.0f64 / 12.0 / 11.0).sqrt()).abs() < 1e-12);
        assert_eq!(mean(values[..10].iter().copied()).error, 0.0);
        let own = covariance(values.iter().map(|&x| (x, x)));
        assert!((own - estimate.error * estimate.error).abs() < 1e-12);
        assert!((covariance(values.iter().map(|&x| (x, -2.0 * x))) + 2.0 * own).abs() < 1e-12);
    }

    #[test]
    fn percentiles_interpolate() {
        let sorted = [1.0, 2.0, 4.0, 8.0, 16.0];
        let found = [0.0, 0.25, 0.5, 0.9, 1.0].map(|share| percentile(&sorted, share));
        for (found, expected) in found.iter().zip([1.0, 2.0, 4.0, 12.8, 16.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert!(percentile(&[], 0.5).is_nan());
    }
}
