//! What a vocabulary of logits is reduced to, tile by tile: log-sum-exp, the target's log-probability, the most likely
//! tokens, and the KL divergence of two such streams.
//!
//! Every sum is in f64 and relative to the running maximum: when a tile raises the maximum from `m` to `m'`, the sums so
//! far are multiplied by `e^(m - m')`. The divergence is `sum p_ref (l_ref - l_cand) - lse_ref + lse_cand`, so two equal
//! streams give exactly 0: the first term is a sum of zeros and the other two are the same number. Its error is a few
//! units of f64 in the logits' size, about 1e-14.

use super::each_isa;
use super::exp::exp_down;
use crate::Isa;

/// One row of logits, reduced.
#[derive(Clone, Debug)]
pub struct Likelihood {
    most: f32,
    sum: f64,
    target: Option<f32>,
    top: Vec<(u32, f32)>,
    keep: usize,
    finite: bool,
}

impl Likelihood {
    /// Nothing yet. The `keep` most likely tokens will be known.
    pub fn new(keep: usize) -> Likelihood {
        Likelihood { most: f32::NEG_INFINITY, sum: 0.0, target: None, top: Vec::new(), keep, finite: true }
    }

    /// Adds the logits of the tokens `first..first + logits.len()`. Tiles come in the order of the tokens.
    pub fn push(&mut self, isa: Isa, first: usize, logits: &[f32], target: u32) {
        let rescale = self.prepare(isa, first, logits, target);
        self.sum = self.sum * rescale + sum(isa, logits, self.most);
    }

    /// All but the sum: the factor of what was summed before.
    fn prepare(&mut self, isa: Isa, first: usize, logits: &[f32], target: u32) -> f64 {
        if let Some(&logit) = (target as usize).checked_sub(first).and_then(|at| logits.get(at)) {
            self.target = Some(logit);
        }
        let (most, finite) = survey(isa, logits);
        self.finite &= finite;
        self.rank(first, logits);
        if most > self.most {
            // The first tile has nothing to rescale.
            let rescale = if self.sum == 0.0 { 0.0 } else { exp_down(f64::from(self.most) - f64::from(most)) };
            self.most = most;
            rescale
        } else {
            1.0
        }
    }

    fn rank(&mut self, first: usize, logits: &[f32]) {
        for (i, &logit) in logits.iter().enumerate() {
            // A tie goes to the lower id.
            let full = self.top.len() >= self.keep;
            if full && self.top.last().is_none_or(|last| logit <= last.1) {
                continue;
            }
            let at = self.top.partition_point(|other| other.1 >= logit);
            self.top.insert(at, ((first + i) as u32, logit));
            self.top.truncate(self.keep);
        }
    }

    /// The logarithm of the sum of the exponentials, in nats.
    pub fn log_sum_exp(&self) -> f64 {
        f64::from(self.most) + self.sum.ln()
    }

    /// The target's log-probability in nats; `None` where no tile held it.
    pub fn log_prob(&self) -> Option<f64> {
        self.target.map(|target| f64::from(target) - self.log_sum_exp())
    }

    /// The most likely tokens and their log-probabilities in nats, most likely first; of equals, the lower id.
    pub fn top(&self) -> impl Iterator<Item = (u32, f64)> {
        let total = self.log_sum_exp();
        self.top.iter().map(move |&(id, logit)| (id, f64::from(logit) - total))
    }

    /// The most likely token.
    pub fn best(&self) -> Option<u32> {
        self.top.first().map(|top| top.0)
    }

    /// Whether every logit was a finite number. Nothing else here means anything if not.
    pub fn finite(&self) -> bool {
        self.finite
    }
}

/// Two rows of logits for one position, reduced together.
#[derive(Clone, Debug)]
pub struct Drift {
    /// The original.
    pub reference: Likelihood,
    /// The one under test.
    pub candidate: Likelihood,
    gap: f64,
}

impl Drift {
    /// Nothing yet. The `keep` most likely tokens of both will be known.
    pub fn new(keep: usize) -> Drift {
        Drift { reference: Likelihood::new(keep), candidate: Likelihood::new(keep), gap: 0.0 }
    }

    /// Adds both logits of the tokens `first..first + reference.len()`. Tiles come in the order of the tokens.
    pub fn push(&mut self, isa: Isa, first: usize, reference: &[f32], candidate: &[f32], target: u32) {
        assert_eq!(reference.len(), candidate.len(), "drift: tiles of one width");
        let rescale = self.reference.prepare(isa, first, reference, target);
        let (sum, gap) = sum_gap(isa, reference, candidate, self.reference.most);
        self.reference.sum = self.reference.sum * rescale + sum;
        self.gap = self.gap * rescale + gap;
        self.candidate.push(isa, first, candidate, target);
    }

    /// KL(reference || candidate) in nats: not below 0 but for rounding, and exactly 0 for equal logits.
    pub fn kl(&self) -> f64 {
        self.gap / self.reference.sum + (self.candidate.log_sum_exp() - self.reference.log_sum_exp())
    }

    /// Whether both find the same token most likely.
    pub fn same_best(&self) -> bool {
        self.reference.best() == self.candidate.best()
    }
}

const LANES: usize = 8;

each_isa! {
    /// The largest logit, and whether all are finite.
    fn survey(logits: &[f32]) -> (f32, bool) {
        let mut most = [f32::NEG_INFINITY; LANES];
        let mut bad = [0u32; LANES];
        let (blocks, rest) = logits.as_chunks::<LANES>();
        for block in blocks {
            for ((most, bad), &x) in most.iter_mut().zip(&mut bad).zip(block) {
                *most = if x > *most { x } else { *most };
                *bad |= u32::from(x.abs() >= f32::INFINITY) | u32::from(x.is_nan());
            }
        }
        let finite = bad.iter().all(|&bad| bad == 0) && rest.iter().all(|x| x.is_finite());
        (most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, &x| if x > most { x } else { most }), finite)
    }
}

each_isa! {
    /// The sum of `e^(logit - most)`.
    fn sum(logits: &[f32], most: f32) -> f64 {
        let most = f64::from(most);
        let mut sums = [0f64; LANES];
        let (blocks, rest) = logits.as_chunks::<LANES>();
        for block in blocks {
            for (sum, &x) in sums.iter_mut().zip(block) {
                *sum += exp_down(f64::from(x) - most);
            }
        }
        for (sum, &x) in sums.iter_mut().zip(rest) {
            *sum += exp_down(f64::from(x) - most);
        }
        sums.iter().sum()
    }
}

each_isa! {
    /// The sum of `w = e^(reference - most)`, in the order of `sum`, and that of `w (reference - candidate)`.
    fn sum_gap(reference: &[f32], candidate: &[f32], most: f32) -> (f64, f64) {
        let most = f64::from(most);
        let (mut sums, mut gaps) = ([0f64; LANES], [0f64; LANES]);
        let ((blocks, rest), (others, other_rest)) = (reference.as_chunks::<LANES>(), candidate.as_chunks::<LANES>());
        for (block, other) in blocks.iter().zip(others) {
            for i in 0..LANES {
                let x = f64::from(block[i]);
                let weight = exp_down(x - most);
                sums[i] += weight;
                gaps[i] += weight * (x - f64::from(other[i]));
            }
        }
        for (i, (&x, &other)) in rest.iter().zip(other_rest).enumerate() {
            let weight = exp_down(f64::from(x) - most);
            sums[i] += weight;
            gaps[i] += weight * (f64::from(x) - f64::from(other));
        }
        (sums.iter().sum(), gaps.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{isas, numbers};
    use proptest::prelude::*;

    fn log_probs(logits: &[f32]) -> Vec<f64> {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - f64::from(most)).exp()).sum();
        logits.iter().map(|&x| f64::from(x) - f64::from(most) - sum.ln()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn tiles_add_up(vocab in 1usize..700, tile in 1usize..300, spread in 0.1f32..30.0, off in 0f32..1.0, seed: u64) {
            let reference: Vec<f32> = numbers(vocab, seed).iter().map(|x| x * spread).collect();
            let noise = numbers(vocab, !seed);
            let candidate: Vec<f32> = reference.iter().zip(&noise).map(|(x, noise)| x + off * noise).collect();
            let target = (seed % vocab as u64) as u32;
            let run = |isa, candidate: &[f32]| {
                let mut drift = Drift::new(3);
                let tiles = reference.chunks(tile).zip(candidate.chunks(tile)).enumerate();
                tiles.for_each(|(i, (a, b))| drift.push(isa, i * tile, a, b, target));
                drift
            };
            let drift = run(Isa::Scalar, &candidate);
            let (p, q) = (log_probs(&reference), log_probs(&candidate));
            let kl: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
            prop_assert!((drift.kl() - kl).abs() < 1e-12, "{} {kl}", drift.kl());
            let close = |got: Option<f64>, want: f64| got.is_some_and(|got| (got - want).abs() < 1e-12);
            prop_assert!(close(drift.reference.log_prob(), p[target as usize]));
            prop_assert!(close(drift.candidate.log_prob(), q[target as usize]));
            let mut order: Vec<usize> = (0..vocab).collect();
            order.sort_by(|&a, &b| reference[b].total_cmp(&reference[a]).then(a.cmp(&b)));
            let top: Vec<usize> = drift.reference.top().map(|top| top.0 as usize).collect();
            prop_assert_eq!(&top[..], &order[..vocab.min(3)]);
            for isa in isas() {
                let other = run(isa, &candidate);
                prop_assert_eq!(other.kl().to_bits(), drift.kl().to_bits());
                let same = run(isa, &reference);
                prop_assert_eq!((same.kl(), same.same_best()), (0.0, true));
            }
        }
    }

    #[test]
    fn nan_and_infinity_are_noticed() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 9, 15, 16, 18] {
                let mut logits = vec![0.5; 19];
                let mut row = Likelihood::new(1);
                row.push(Isa::detected(), 0, &logits, 0);
                assert!(row.finite());
                logits[at] = bad;
                row.push(Isa::detected(), 19, &logits, 0);
                assert!(!row.finite(), "{bad} at {at}");
            }
        }
    }
}
