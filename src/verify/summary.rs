//! The statistics of a comparison's scores.

use super::stats::{Estimate, covariance, mean, percentile};
use super::{Interval, Score, interval};

/// What llama-perplexity prints of two models, and 95 % intervals over sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Scored tokens.
    pub tokens: usize,
    /// Perplexity of the reference.
    pub ppl_reference: Estimate,
    /// Perplexity of the candidate.
    pub ppl_candidate: Estimate,
    /// `ln(candidate / reference)`; its error knows that both saw the same tokens.
    pub ln_ratio: Estimate,
    /// The same as a ratio.
    pub ratio: Estimate,
    /// `candidate - reference`.
    pub difference: Estimate,
    /// Correlation of the two log-likelihoods, in -1..=1.
    pub correlation: f64,
    /// Mean KL divergence, nats.
    pub kl: Estimate,
    /// KL divergence of every token, ascending, nats.
    pub kl_sorted: Vec<f64>,
    /// Mean change of the probability of the token that came next.
    pub delta_p: Estimate,
    /// Root mean square of that change.
    pub delta_p_rms: Estimate,
    /// Share of tokens for which both find the same token most likely, in 0..=1.
    pub same_best: Estimate,
    /// 95 % interval of [`Summary::kl`].
    pub kl_interval: Interval,
    /// 95 % interval of [`Summary::ln_ratio`].
    pub ln_ratio_interval: Interval,
    /// 95 % interval of [`Summary::same_best`].
    pub same_best_interval: Interval,
}

/// Seed of the intervals.
const SEED: u64 = 1;

impl Summary {
    /// Of `scores` in the order of their sequences.
    pub fn new(scores: &[Score]) -> Summary {
        let nats = |score: &Score| (-score.reference, -score.candidate);
        let (reference, candidate) = (mean(scores.iter().map(|s| nats(s).0)), mean(scores.iter().map(|s| nats(s).1)));
        let shared = covariance(scores.iter().map(nats));
        let ppl = |nats: Estimate| Estimate { value: nats.value.exp(), error: nats.value.exp() * nats.error };
        let (ppl_reference, ppl_candidate) = (ppl(reference), ppl(candidate));

        // The error of paired differences: what llama.cpp's two variances less twice the covariance amount to, without
        // the difference of large numbers.
        let ln_ratio = mean(scores.iter().map(|s| nats(s).1 - nats(s).0));
        let ratio = ln_ratio.value.exp();
        let difference = (ppl_candidate.error.powi(2) + ppl_reference.error.powi(2)
            - 2.0 * ppl_candidate.value * ppl_reference.value * shared)
            .max(0.0)
            .sqrt();
        let correlation = shared / (reference.error * candidate.error);

        let mut kl_sorted: Vec<f64> = scores.iter().map(|s| s.kl).collect();
        kl_sorted.sort_by(f64::total_cmp);
        let change = |s: &Score| s.candidate.exp() - s.reference.exp();
        let squares = mean(scores.iter().map(|s| change(s).powi(2)));
        let rms = squares.value.sqrt();
        let agrees = |s: &Score| f64::from(u8::from(s.same_best()));
        let same = mean(scores.iter().map(agrees));
        let per_sequence = |value: &dyn Fn(&Score) -> f64| -> Vec<(f64, usize)> {
            let chunks = scores.chunk_by(|a, b| a.sequence == b.sequence);
            chunks.map(|chunk| (chunk.iter().map(value).sum(), chunk.len())).collect()
        };
        Summary {
            tokens: scores.len(),
            ppl_reference,
            ppl_candidate,
            ln_ratio,
            ratio: Estimate { value: ratio, error: ratio * ln_ratio.error },
            difference: Estimate { value: ppl_candidate.value - ppl_reference.value, error: difference },
            correlation,
            kl: mean(scores.iter().map(|s| s.kl)),
            kl_sorted,
            delta_p: mean(scores.iter().map(change)),
            delta_p_rms: Estimate { value: rms, error: if rms > 0.0 { 0.5 / rms * squares.error } else { 0.0 } },
            same_best: same,
            kl_interval: interval(&per_sequence(&|s| s.kl), SEED),
            ln_ratio_interval: interval(&per_sequence(&|s| s.reference - s.candidate), SEED),
            same_best_interval: interval(&per_sequence(&agrees), SEED),
        }
    }

    /// The KL divergence below which this share of tokens lies, nats.
    pub fn kl_percentile(&self, share: f64) -> f64 {
        percentile(&self.kl_sorted, share)
    }
}
