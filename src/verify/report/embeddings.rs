//! The drift of vectors of texts: what a model without a head is for.

use serde::{Deserialize, Serialize};

use super::super::{interval, percentile};
use super::Statistic;

/// Cosines between the reference's vector of a text and the candidate's; 1 is the same direction, and exactly 1 the same
/// vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    /// Which hidden states become a vector: `mean`, `cls` (the first) or `lasttoken`.
    pub pooling: String,
    /// Elements of a vector.
    pub width: usize,
    /// Texts: a line of a file each.
    pub texts: usize,
    /// Tokens of all of them.
    pub tokens: usize,
    /// The mean.
    pub mean: f64,
    /// Its 95 % interval, by a bootstrap over texts.
    pub ci95: [f64; 2],
    /// The cosine that half of the texts are below.
    pub median: f64,
    /// The cosine that one in ten is below.
    pub p10: f64,
    /// The cosine that one in twenty is below.
    pub p5: f64,
    /// The cosine that one in a hundred is below.
    pub p1: f64,
    /// The least.
    pub min: f64,
    /// The texts of the least cosine, the least first.
    pub worst: Vec<WorstText>,
}

/// A text whose vector turned away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorstText {
    /// The file that it is a line of.
    pub file: String,
    /// Which line, from 1.
    pub line: usize,
    /// Its beginning.
    pub text: String,
    /// Tokens.
    pub tokens: usize,
    /// The cosine between the two vectors.
    pub cosine: f64,
}

/// Seed of the interval.
const SEED: u64 = 1;

impl Embeddings {
    /// The dotted names that [`Embeddings::get`] knows.
    pub const NAMES: &[&str] = &["cosine.mean", "cosine.median", "cosine.p10", "cosine.p5", "cosine.p1", "cosine.min"];

    /// Of these cosines; nothing of nothing. Who knows the worst texts adds them.
    pub fn of(pooling: &str, width: usize, tokens: usize, cosines: &[f64]) -> Option<Embeddings> {
        let mut sorted = cosines.to_vec();
        sorted.sort_by(f64::total_cmp);
        let each: Vec<(f64, usize)> = cosines.iter().map(|cosine| (*cosine, 1)).collect();
        let bounds = interval(&each, SEED);
        Some(Embeddings {
            pooling: pooling.to_owned(),
            width,
            texts: cosines.len(),
            tokens,
            mean: cosines.iter().sum::<f64>() / cosines.len() as f64,
            ci95: [bounds.low, bounds.high],
            median: percentile(&sorted, 0.5),
            p10: percentile(&sorted, 0.1),
            p5: percentile(&sorted, 0.05),
            p1: percentile(&sorted, 0.01),
            min: *sorted.first()?,
            worst: vec![],
        })
    }

    /// The statistic of this dotted name.
    pub fn get(&self, name: &str) -> Option<Statistic> {
        let plain = |value| Some(Statistic { value, ci95: None });
        match name {
            "cosine.mean" => Some(Statistic { value: self.mean, ci95: Some(self.ci95) }),
            "cosine.median" => plain(self.median),
            "cosine.p10" => plain(self.p10),
            "cosine.p5" => plain(self.p5),
            "cosine.p1" => plain(self.p1),
            "cosine.min" => plain(self.min),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_value() {
        let cosines: Vec<f64> = (0..101).map(|i| 1.0 - f64::from(i) / 1000.0).collect();
        let found = Embeddings::of("mean", 4, 500, &cosines).expect("cosines");
        let values: Vec<f64> = Embeddings::NAMES.iter().map(|name| found.get(name).expect("a value").value).collect();
        for (got, want) in values.iter().zip([0.95, 0.95, 0.91, 0.905, 0.901, 0.9]) {
            assert!((got - want).abs() < 1e-12, "{values:?}");
        }
        assert!(found.ci95[0] < 0.95 && 0.95 < found.ci95[1]);
        assert_eq!(Embeddings::of("mean", 4, 0, &[]), None);
        let same = Embeddings::of("mean", 4, 9, &[1.0; 3]).expect("cosines");
        assert!(Embeddings::NAMES.iter().all(|name| same.get(name).expect("a value").value == 1.0));
    }
}
