//! T5's positions: a learned bias for each head and each range of distances (arXiv 1910.10683, section 2.1).

use super::Param;

/// What is added to a score by how far the key is from the query.
#[derive(Clone, Debug, PartialEq)]
pub struct RelativeBias {
    /// `[buckets, heads]`.
    pub table: Param,
    /// Whether keys after the query have half of the buckets; else they count as no distance.
    pub both_ways: bool,
    /// All distances from this on share the last bucket, tokens.
    pub max_distance: usize,
}

impl RelativeBias {
    /// The bucket of a key so many tokens after the query (before it, if negative): one for each short distance, then
    /// ranges that grow as their logarithm, rounded in f32 as transformers rounds it.
    pub fn bucket(&self, after: i64) -> usize {
        let all = self.table.shape.first().copied().unwrap_or(1);
        let (first, buckets) = match (self.both_ways, after > 0) {
            (true, true) => (all / 2, all / 2),
            (true, false) => (0, all / 2),
            (false, _) => (0, all),
        };
        let distance = if self.both_ways { after.unsigned_abs() } else { after.min(0).unsigned_abs() };
        let (exact, distance) = (buckets / 2, usize::try_from(distance).unwrap_or(usize::MAX));
        if distance < exact {
            return first + distance;
        }
        let log = |distance: usize| (distance as f64 / exact.max(1) as f64).ln() as f32;
        let steps = (log(distance) / log(self.max_distance) * (buckets - exact) as f32) as usize;
        first + exact.saturating_add(steps).min(buckets.max(1) - 1)
    }

    /// The bias of every head at every distance, `[heads, queries + keys - 1]`: from the key farthest before a query to
    /// the one farthest after. `table` has the values of [`RelativeBias::table`].
    pub fn spread(&self, table: &[f32], queries: usize, keys: usize) -> Vec<f32> {
        let heads = self.table.shape.last().copied().unwrap_or(1);
        let distances = 1 - queries as i64..keys as i64;
        let buckets: Vec<usize> = distances.map(|after| self.bucket(after)).collect();
        (0..heads).flat_map(|head| buckets.iter().map(move |bucket| table[bucket * heads + head])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Gather, Role};
    use super::*;

    #[test]
    fn buckets_are_those_of_transformers() {
        let table = |buckets: usize| Param {
            name: String::new(),
            role: Role::AttnRelB,
            from: Gather::Whole(String::new()),
            shape: vec![buckets, 4],
            pairs: None,
        };
        // T5Attention._relative_position_bucket of transformers 5.23, at these distances.
        let at = [-1000, -128, -127, -90, -64, -63, -16, -8, -7, -1, 0, 1, 7, 8, 15, 16, 32, 64, 127, 128];
        let both = RelativeBias { table: table(32), both_ways: true, max_distance: 128 };
        let one = RelativeBias { both_ways: false, ..both.clone() };
        let of = |bias: &RelativeBias| at.map(|after| bias.bucket(after)).to_vec();
        assert_eq!(of(&both), BOTH);
        assert_eq!(of(&one), ONE);
        assert_eq!(both.spread(&(0..128).map(|x| x as f32).collect::<Vec<_>>(), 2, 3)[4..8], [5.0, 1.0, 69.0, 73.0]);
    }

    const BOTH: [usize; 20] = [15, 15, 15, 14, 14, 13, 10, 8, 7, 1, 0, 17, 23, 24, 25, 26, 28, 30, 31, 31];
    const ONE: [usize; 20] = [31, 31, 31, 29, 26, 26, 16, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
}
