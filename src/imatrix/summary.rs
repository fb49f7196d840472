//! What an entry says, in a few numbers.

use super::Entry;

/// One channel of one matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel {
    /// Which matrix of a stack; 0 where there is one.
    pub matrix: usize,
    /// Which of its input channels.
    pub channel: usize,
    /// Its share of the matrix's total, in 0..=1.
    pub share: f64,
}

/// An entry in a few numbers, over the matrices that saw a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Input channels.
    pub channels: usize,
    /// Matrices.
    pub matrices: usize,
    /// Matrices that saw no token.
    pub unseen: usize,
    /// Tokens of the matrix that saw the fewest and the most.
    pub tokens: (u64, u64),
    /// Mean over all channels of the mean square.
    pub mean: f64,
    /// Share of channels whose mean square is less than a hundredth of the mean, in 0..=1.
    pub sparsity: f64,
    /// The channels with the largest share, largest first.
    pub top: Vec<Channel>,
}

impl Summary {
    /// Of `entry`, with the `top` channels.
    pub fn new(entry: &Entry, top: usize) -> Summary {
        let rows: Vec<(usize, Vec<f64>)> = (entry.sums().chunks(entry.cols()).zip(entry.counts()).enumerate())
            .filter(|(_, (_, count))| **count > 0)
            .map(|(i, (sums, &count))| (i, sums.iter().map(|&sum| f64::from(sum) / count as f64).collect()))
            .collect();
        let seen = (rows.len() * entry.cols()).max(1) as f64;
        let mean = rows.iter().flat_map(|(_, row)| row).sum::<f64>() / seen;
        let faint = rows.iter().flat_map(|(_, row)| row).filter(|&&square| square < mean / 100.0).count();
        let mut channels: Vec<Channel> = vec![];
        for (matrix, row) in &rows {
            let total = row.iter().sum::<f64>().max(f64::MIN_POSITIVE);
            channels.extend((row.iter().enumerate()).map(|(channel, square)| Channel {
                matrix: *matrix,
                channel,
                share: square / total,
            }));
        }
        // Of equal ones the first: sorts are stable.
        channels.sort_by(|a, b| b.share.total_cmp(&a.share));
        channels.truncate(top);
        let least = entry.counts().iter().min().copied().unwrap_or(0);
        let most = entry.counts().iter().max().copied().unwrap_or(0);
        Summary {
            channels: entry.cols(),
            matrices: entry.counts().len(),
            unseen: entry.unseen(),
            tokens: (least, most),
            mean,
            sparsity: faint as f64 / seen,
            top: channels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loud_and_the_faint_are_found() {
        let mut sums = vec![2.0; 200];
        (sums[7], sums[130], sums[131]) = (600.0, 0.0, 0.001);
        let summary = Summary::new(&Entry::rounded(sums, vec![2]).unwrap(), 2);
        assert_eq!((summary.channels, summary.matrices, summary.unseen, summary.tokens), (200, 1, 0, (2, 2)));
        assert_eq!(summary.top[0].channel, 7);
        assert!((summary.top[0].share - 600.0 / 994.001).abs() < 1e-6, "{:?}", summary.top);
        assert_eq!(summary.sparsity, 0.01);
    }

    #[test]
    fn a_matrix_that_saw_nothing_says_nothing() {
        let summary = Summary::new(&Entry::rounded(vec![0.0, 0.0, 3.0, 1.0], vec![0, 1]).unwrap(), 9);
        assert_eq!((summary.unseen, summary.mean, summary.tokens), (1, 2.0, (0, 1)));
        assert_eq!(summary.top.len(), 2);
        assert_eq!((summary.top[0].matrix, summary.top[0].share), (1, 0.75));
    }
}
