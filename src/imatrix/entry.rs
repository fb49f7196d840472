//! What is known of one weight's inputs.

use super::Problem;

/// Sums are kept in whole multiples of 2 to the minus this: addition is exact, and 2^54 is the most that fits.
pub const EXACT_BITS: u32 = 72;

/// Sums of squares for one weight, `[in]`, or one row for each matrix of a stack, `[experts, in]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// `[matrices, in]`.
    sums: Vec<f32>,
    /// Tokens that each matrix saw; one for all of a stack in files of old.
    counts: Vec<u64>,
    /// The same sums before they were rounded to f32, in multiples of 2^-72; only planish's files have them.
    exact: Option<Vec<i128>>,
}

impl Entry {
    /// From what a file says. There is a sum at least, and the counts divide the sums evenly.
    pub fn rounded(sums: Vec<f32>, counts: Vec<u64>) -> Result<Entry, Problem> {
        let even = !counts.is_empty() && !sums.is_empty() && sums.len().is_multiple_of(counts.len());
        if !even {
            return Err(Problem::Shape { sums: sums.len(), counts: counts.len() });
        }
        if let Some(at) = sums.iter().position(|sum| !sum.is_finite() || *sum < 0.0) {
            return Err(Problem::Sum { at, found: sums[at] });
        }
        Ok(Entry { sums, counts, exact: None })
    }

    /// From sums in multiples of 2^-72.
    pub fn exact(exact: Vec<i128>, counts: Vec<u64>) -> Result<Entry, Problem> {
        let mut entry = Entry::rounded(exact.iter().map(|&sum| to_f32(sum)).collect(), counts)?;
        entry.exact = Some(exact);
        Ok(entry)
    }

    /// `[matrices, in]`: sums of squares over the tokens.
    pub fn sums(&self) -> &[f32] {
        &self.sums
    }

    /// The sums in multiples of 2^-72, where they are known exactly.
    pub fn exact_sums(&self) -> Option<&[i128]> {
        self.exact.as_deref()
    }

    /// Tokens that each matrix saw.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Sums a count: the length of a row of the weight.
    pub fn cols(&self) -> usize {
        self.sums.len() / self.counts.len()
    }

    /// Matrices that saw no token.
    pub fn unseen(&self) -> usize {
        self.counts.iter().filter(|&&count| count == 0).count()
    }

    /// The importance of each channel, `[matrices, in]`, in the arithmetic of llama-quantize: the mean square, and 1 for
    /// the channels of a matrix that saw no token.
    pub fn importance(&self) -> Vec<f32> {
        let rows = self.sums.chunks(self.cols()).zip(&self.counts);
        rows.flat_map(|(sums, &count)| sums.iter().map(move |sum| if count > 0 { sum / count as f32 } else { 1.0 }))
            .collect()
    }

    /// Adds what another run saw of the same weight.
    pub(super) fn merge(&mut self, other: &Entry) -> Result<(), Problem> {
        if self.sums.len() != other.sums.len() {
            return Err(Problem::Lengths { ours: self.sums.len(), theirs: other.sums.len() });
        }
        let counts = self.counts.len().max(other.counts.len());
        let (ours, theirs) = (broadcast(&self.counts, counts)?, broadcast(&other.counts, counts)?);
        let add = |(a, b): (u64, u64)| a.checked_add(b).ok_or(Problem::TooMuch);
        let counts = ours.into_iter().zip(theirs).map(add).collect::<Result<Vec<u64>, _>>()?;
        *self = if let (Some(a), Some(b)) = (&self.exact, &other.exact) {
            let add = |(a, b): (&i128, &i128)| a.checked_add(*b).ok_or(Problem::TooMuch);
            Entry::exact(a.iter().zip(b).map(add).collect::<Result<_, _>>()?, counts)?
        } else {
            let add = |(a, b): (&f32, &f32)| (f64::from(*a) + f64::from(*b)) as f32;
            Entry::rounded(self.sums.iter().zip(&other.sums).map(add).collect(), counts)?
        };
        Ok(())
    }

    /// Multiplies sums and counts.
    pub(super) fn scale(&mut self, by: u32) -> Result<(), Problem> {
        let count = |&n: &u64| n.checked_mul(by.into()).ok_or(Problem::TooMuch);
        let counts = self.counts.iter().map(count).collect::<Result<_, _>>()?;
        *self = Entry::rounded(self.sums.iter().map(|sum| sum * by as f32).collect(), counts)?;
        Ok(())
    }
}

/// One count for all matrices becomes one for each.
fn broadcast(counts: &[u64], len: usize) -> Result<Vec<u64>, Problem> {
    match counts {
        [one] => Ok(vec![*one; len]),
        all if all.len() == len => Ok(all.to_vec()),
        all => Err(Problem::Matrices { ours: all.len(), theirs: len }),
    }
}

/// The nearest f32 to a multiple of 2^-72.
fn to_f32(sum: i128) -> f32 {
    // A conversion of an integer rounds once; a power of two only shifts. Nothing here is as small as a subnormal.
    sum as f32 * (1.0 / (1u128 << EXACT_BITS) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_f32() {
        for value in [0.0f32, 1.0, 0.1, 1e-12, 3.75e15, 16_777_217.0] {
            let exact = (f64::from(value) * (1u128 << EXACT_BITS) as f64) as i128;
            let error = (to_f32(exact) - value).abs();
            assert!(error <= f32::EPSILON * value, "{value}: {}", to_f32(exact));
        }
    }

    #[test]
    fn importance_is_the_mean_square_and_one_where_nothing_was_seen() {
        let entry = Entry::rounded(vec![2.0, 4.0, 0.0, 0.0, 9.0, 3.0], vec![2, 0, 3]).unwrap();
        assert_eq!(entry.importance(), [1.0, 2.0, 1.0, 1.0, 3.0, 1.0]);
        assert_eq!((entry.cols(), entry.unseen()), (2, 1));
    }

    #[test]
    fn exact_sums_do_not_care_for_the_order() {
        let parts: Vec<Entry> = (0..9)
            .map(|i| Entry::exact(vec![7_i128.pow(30 + i % 5) << i, 1 << (i * 7)], vec![u64::from(i)]).unwrap())
            .collect();
        let sum = |order: &[usize]| {
            let mut sum = parts[order[0]].clone();
            order[1..].iter().for_each(|&i| sum.merge(&parts[i]).unwrap());
            sum
        };
        assert_eq!(sum(&[0, 1, 2, 3, 4, 5, 6, 7, 8]), sum(&[8, 3, 1, 0, 7, 5, 2, 6, 4]));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        assert!(Entry::rounded(vec![1.0; 3], vec![1; 2]).is_err());
        assert!(Entry::rounded(vec![], vec![1]).is_err());
        assert!(Entry::rounded(vec![f32::NAN], vec![1]).is_err());
        assert!(Entry::rounded(vec![-1.0], vec![1]).is_err());
        let mut entry = Entry::rounded(vec![1.0; 4], vec![1]).unwrap();
        assert!(entry.merge(&Entry::rounded(vec![1.0; 2], vec![1]).unwrap()).is_err());
        entry.merge(&Entry::rounded(vec![1.0; 4], vec![5, 0]).unwrap()).unwrap();
        assert_eq!(entry.counts(), [6, 1]);
        assert!(entry.merge(&Entry::rounded(vec![1.0; 4], vec![1; 4]).unwrap()).is_err());
    }
}
