//! Intervals that respect how texts are: the tokens of one sequence resemble each other, so whole sequences are drawn.

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

const DRAWS: usize = 2000;

/// The 95 % interval of the mean of all values, of which `sequences` holds the sum and the count for each sequence: by
/// drawing as many sequences as there are, with replacement, again and again. The same `seed` gives the same interval.
pub fn interval(sequences: &[(f64, usize)], seed: u64) -> Interval {
    if sequences.is_empty() {
        return Interval { low: f64::NAN, high: f64::NAN };
    }
    let mut state = seed;
    // SplitMix64.
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    let mut means: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let (mut sum, mut count) = (0.0, 0);
            for _ in sequences {
                // The high half of the product is even over the range.
                let at = ((u128::from(next()) * sequences.len() as u128) >> 64) as usize;
                sum += sequences[at].0;
                count += sequences[at].1;
            }
            sum / count as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Interval { low: super::percentile(&means, 0.025), high: super::percentile(&means, 0.975) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_theory() {
        // 400 sequences of 10 tokens whose sums are 0 or 20: the mean is 1, its standard error 1/20.
        let sequences: Vec<(f64, usize)> = (0..400).map(|i| (f64::from(i % 2) * 20.0, 10)).collect();
        let found = interval(&sequences, 7);
        assert!((found.low - 0.902).abs() < 0.01 && (found.high - 1.098).abs() < 0.01, "{found:?}");
        assert_eq!(found, interval(&sequences, 7));
        assert_ne!(found, interval(&sequences, 8));
    }

    #[test]
    fn equal_sequences_leave_no_doubt() {
        assert_eq!(interval(&[(3.0, 2); 5], 1), Interval { low: 1.5, high: 1.5 });
        assert!(interval(&[], 1).low.is_nan());
    }
}
