//! The statistics of a report, and their names in gates.

use serde::{Deserialize, Serialize};

use super::super::{Estimate, Interval, Score, Summary};

/// What llama-perplexity prints of two models, under names that gates use. `*_error` is one standard error by its
/// formulas, which take tokens as independent; `*_ci95` is the 95 % interval of a bootstrap over whole sequences,
/// widened to 1.96 standard errors where there are fewer than 8 of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Scored tokens.
    pub tokens: usize,
    /// Perplexity of the reference.
    pub ppl_ref: f64,
    /// Its standard error.
    pub ppl_ref_error: f64,
    /// Perplexity of the candidate.
    pub ppl_cand: f64,
    /// Its standard error.
    pub ppl_cand_error: f64,
    /// `ppl_cand / ppl_ref`.
    pub ppl_ratio: f64,
    /// Its standard error, paired.
    pub ppl_ratio_error: f64,
    /// Its interval.
    pub ppl_ratio_ci95: [f64; 2],
    /// `ppl_cand - ppl_ref`.
    pub ppl_difference: f64,
    /// Its standard error, paired.
    pub ppl_difference_error: f64,
    /// `ln(ppl_cand / ppl_ref)`, nats.
    pub ln_ratio: f64,
    /// Its standard error, paired.
    pub ln_ratio_error: f64,
    /// Its interval.
    pub ln_ratio_ci95: [f64; 2],
    /// Correlation of the two log-likelihoods; `None` where one of them is constant.
    pub correlation: Option<f64>,
    /// KL(reference || candidate).
    pub kld: Kld,
    /// Change of the probability of the token that came next.
    pub delta_p: DeltaP,
    /// Share of tokens for which both find the same token most likely.
    pub top1: f64,
    /// Its standard error.
    pub top1_error: f64,
    /// Its interval.
    pub top1_ci95: [f64; 2],
    /// The mean KL divergence that this machine's arithmetic shows for identical weights.
    pub noise_floor: Option<f64>,
}

/// KL divergence over tokens, nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the statistics' own names")]
pub struct Kld {
    pub mean: f64,
    pub error: f64,
    pub ci95: [f64; 2],
    pub median: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub min: f64,
}

/// Change of a probability, candidate less reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the statistics' own names")]
pub struct DeltaP {
    pub mean: f64,
    pub mean_error: f64,
    pub rms: f64,
    pub rms_error: f64,
}

/// A value that a gate may be put on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistic {
    /// The value.
    pub value: f64,
    /// Its 95 % interval, if one was computed.
    pub ci95: Option<[f64; 2]>,
}

/// Fewer sequences than this cannot show how sequences vary.
const FEW: usize = 8;

/// The ends of an interval over `sequences`. Of a few, it also covers what tokens alone would leave open.
fn ends(interval: Interval, estimate: Estimate, sequences: usize) -> [f64; 2] {
    let Interval { low, high } = interval;
    if sequences >= FEW {
        return [low, high];
    }
    let reach = 1.96 * estimate.error;
    [low.min(estimate.value - reach), high.max(estimate.value + reach)]
}

impl Metrics {
    /// The dotted names that [`Metrics::get`] knows.
    pub const NAMES: &[&str] = &[
        "kld.mean",
        "kld.median",
        "kld.p90",
        "kld.p95",
        "kld.p99",
        "kld.p999",
        "kld.max",
        "top1",
        "ppl_ref",
        "ppl_cand",
        "ppl_ratio",
        "ppl_difference",
        "ln_ratio",
        "delta_p.mean",
        "delta_p.rms",
        "noise_floor",
        "tokens",
    ];

    /// Of these scores, in the order of their sequences; `None` of nothing.
    pub fn of(scores: &[Score]) -> Option<Metrics> {
        let summary = (!scores.is_empty()).then(|| Summary::new(scores))?;
        let sequences = scores.chunk_by(|a, b| a.sequence == b.sequence).count();
        let ln_ratio_ci95 = ends(summary.ln_ratio_interval, summary.ln_ratio, sequences);
        Some(Metrics {
            tokens: summary.tokens,
            ppl_ref: summary.ppl_reference.value,
            ppl_ref_error: summary.ppl_reference.error,
            ppl_cand: summary.ppl_candidate.value,
            ppl_cand_error: summary.ppl_candidate.error,
            ppl_ratio: summary.ratio.value,
            ppl_ratio_error: summary.ratio.error,
            ppl_ratio_ci95: ln_ratio_ci95.map(f64::exp),
            ppl_difference: summary.difference.value,
            ppl_difference_error: summary.difference.error,
            ln_ratio: summary.ln_ratio.value,
            ln_ratio_error: summary.ln_ratio.error,
            ln_ratio_ci95,
            correlation: Some(summary.correlation).filter(|c| c.is_finite()),
            kld: Kld {
                mean: summary.kl.value,
                error: summary.kl.error,
                ci95: ends(summary.kl_interval, summary.kl, sequences),
                median: summary.kl_percentile(0.5),
                p90: summary.kl_percentile(0.9),
                p95: summary.kl_percentile(0.95),
                p99: summary.kl_percentile(0.99),
                p999: summary.kl_percentile(0.999),
                max: summary.kl_percentile(1.0),
                min: summary.kl_percentile(0.0),
            },
            delta_p: DeltaP {
                mean: summary.delta_p.value,
                mean_error: summary.delta_p.error,
                rms: summary.delta_p_rms.value,
                rms_error: summary.delta_p_rms.error,
            },
            top1: summary.same_best.value,
            top1_error: summary.same_best.error,
            top1_ci95: ends(summary.same_best_interval, summary.same_best, sequences),
            noise_floor: None,
        })
    }

    /// The statistic of this dotted name; `None` where it is not known or was not measured.
    pub fn get(&self, name: &str) -> Option<Statistic> {
        let plain = |value| Some(Statistic { value, ci95: None });
        let bounded = |value, ci95| Some(Statistic { value, ci95: Some(ci95) });
        match name {
            "kld.mean" => bounded(self.kld.mean, self.kld.ci95),
            "kld.median" => plain(self.kld.median),
            "kld.p90" => plain(self.kld.p90),
            "kld.p95" => plain(self.kld.p95),
            "kld.p99" => plain(self.kld.p99),
            "kld.p999" => plain(self.kld.p999),
            "kld.max" => plain(self.kld.max),
            "top1" => bounded(self.top1, self.top1_ci95),
            "ppl_ref" => plain(self.ppl_ref),
            "ppl_cand" => plain(self.ppl_cand),
            "ppl_ratio" => bounded(self.ppl_ratio, self.ppl_ratio_ci95),
            "ppl_difference" => plain(self.ppl_difference),
            "ln_ratio" => bounded(self.ln_ratio, self.ln_ratio_ci95),
            "delta_p.mean" => plain(self.delta_p.mean),
            "delta_p.rms" => plain(self.delta_p.rms),
            "noise_floor" => plain(self.noise_floor?),
            "tokens" => plain(self.tokens as f64),
            _ => None,
        }
    }
}
