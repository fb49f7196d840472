//! Where the drift is: the worst tokens, and how all of them are spread.

use super::Score;
use super::corpus::Corpus;
use super::report::{Bin, Worst};

/// Tokens of text shown before and after a worst one.
const BEFORE: usize = 24;
const AFTER: usize = 6;
/// Bins of the histogram for a factor of ten.
const PER_DECADE: i32 = 4;
/// The powers of ten that its bins begin and end with.
const DECADES: std::ops::Range<i32> = -7..1;

/// The tokens of the largest KL divergence, worst first.
pub(super) fn worst(scores: &[Score], corpus: &Corpus<'_>, count: usize) -> Vec<Worst> {
    let mut order: Vec<&Score> = scores.iter().collect();
    // Of equals the earlier in the text.
    order.sort_by(|a, b| b.kl.total_cmp(&a.kl));
    order.truncate(count);
    let tokens = corpus.sequences.tokens.max(1);
    let shown = |score: &Score| {
        let (first, end) = (score.sequence * tokens, (score.sequence + 1) * tokens);
        // The row's logits are of the token after it, or of its own.
        let next = score.row + corpus.ahead();
        Worst {
            file: corpus.file(score.sequence),
            sequence: score.sequence,
            position: next - first,
            before: corpus.text(next.saturating_sub(BEFORE).max(first)..next),
            token: corpus.decode(&[score.target]),
            after: corpus.text((next + 1).min(end)..(next + 1 + AFTER).min(end)),
            id: score.target,
            kld: score.kl,
            p_ref: score.reference.exp(),
            p_cand: score.candidate.exp(),
            best_ref: corpus.decode(&[score.best_reference]),
            best_cand: corpus.decode(&[score.best_candidate]),
        }
    };
    order.into_iter().map(shown).collect()
}

/// How the KL divergences are spread: equal factors, and the rest at both ends. Nothing of nothing.
pub(super) fn histogram(scores: &[Score]) -> Vec<Bin> {
    if scores.is_empty() {
        return vec![];
    }
    let edge = |i: i32| 10f64.powf(f64::from(i) / f64::from(PER_DECADE));
    let edges: Vec<f64> = (DECADES.start * PER_DECADE..=DECADES.end * PER_DECADE).map(edge).collect();
    let lows = std::iter::once(0.0).chain(edges.iter().copied());
    let highs = edges.iter().copied().map(Some).chain([None]);
    let mut bins: Vec<Bin> = lows.zip(highs).map(|(low, high)| Bin { low, high, count: 0 }).collect();
    for score in scores {
        let bin = edges.partition_point(|edge| *edge <= score.kl);
        bins[bin].count += 1;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(kl: f64) -> Score {
        Score {
            sequence: 0,
            row: 0,
            target: 0,
            reference: 0.0,
            candidate: 0.0,
            kl,
            best_reference: 0,
            best_candidate: 0,
        }
    }

    #[test]
    fn every_token_is_in_one_bin() {
        let values = [0.0, -1e-12, 1e-9, 1e-7, 0.01, 0.011, 0.5, 9.99, 10.0, 700.0];
        let scores = values.map(score);
        let bins = histogram(&scores);
        assert_eq!(bins.iter().map(|bin| bin.count).sum::<usize>(), values.len());
        assert_eq!((bins[0].low, bins[0].count), (0.0, 3));
        assert_eq!((bins[bins.len() - 1].high, bins[bins.len() - 1].count), (None, 2));
        assert!(bins.windows(2).all(|pair| pair[0].high == Some(pair[1].low)));
        let inside = |bin: &&Bin| bin.low <= 0.01 && bin.high.is_some_and(|high| 0.01 < high);
        assert_eq!(bins.iter().find(inside).map(|bin| bin.count), Some(2));
        assert!(histogram(&[]).is_empty());
    }
}
