//! How the program's tensors are assembled from the checkpoint's.

use std::sync::Arc;

/// How a logical tensor is assembled from the checkpoint's.
#[derive(Clone, Debug, PartialEq)]
pub enum Gather {
    /// The tensor of this name as it is.
    Whole(String),
    /// A matrix stored `[in, out]` (Hugging Face's `Conv1D`), transposed to `[out, in]`.
    Transposed(String),
    /// Rows `from..to` of the matrix of this name, of which other tensors take the rest.
    Rows(String, usize, usize),
    /// Matrices of one shape `[out, in]`, stacked to `[count, out, in]`.
    Stacked(Vec<String>),
    /// The tensor of this name (a matrix, or a bias) with the rows of each of its `heads` reordered, so that a rope
    /// that turns halves becomes one that turns pairs: see [`paired_row`].
    Paired {
        /// The checkpoint's tensor, its rows in halves.
        name: String,
        /// How many heads its rows are divided among.
        heads: usize,
    },
    /// The inverse of [`Gather::Paired`], from a GGUF's tensor: see [`unpaired_row`].
    Unpaired {
        /// The GGUF's tensor, its rows in pairs.
        name: String,
        /// How many heads its rows are divided among.
        heads: usize,
    },
    /// Of every `per` rows of the tensor of this name (a matrix, matrices stacked, or a bias) rows `from..to`; other
    /// tensors take the rest.
    Picked {
        /// The checkpoint's tensor.
        name: String,
        /// Rows that repeat.
        per: usize,
        /// First row taken of them.
        from: usize,
        /// The row after the last.
        to: usize,
    },
    /// The inverse of [`Gather::Picked`]: so many rows of each of these tensors in turn, again and again.
    Woven(Vec<(String, usize)>),
    /// Query, key and value in one (a matrix, or a bias), stored for each of `groups` key heads with its query heads
    /// before it and the value head after it; here all queries, then all keys, then all values.
    Ungrouped {
        /// The checkpoint's tensor, group by group.
        name: String,
        /// Key heads.
        groups: usize,
        /// Rows of a head.
        dim: usize,
    },
    /// The inverse of [`Gather::Ungrouped`], from a GGUF's tensor.
    Grouped {
        /// The GGUF's tensor: queries, keys, values.
        name: String,
        /// Key heads.
        groups: usize,
        /// Rows of a head.
        dim: usize,
    },
    /// The tensor of this name with a number added to each element: a gain stored as its distance from 1.
    Shifted {
        /// The tensor.
        name: String,
        /// What is added.
        by: f32,
    },
    /// A matrix a head: of every `per` rows of the tensor rows `from..to`, transposed if `turned`. The tensor is a matrix,
    /// these are stacked.
    Heads {
        /// The checkpoint's tensor.
        name: String,
        /// Its rows of a head.
        per: usize,
        /// First row taken of them.
        from: usize,
        /// The row after the last.
        to: usize,
        /// Whether each matrix is `[in, out]` in the tensor.
        turned: bool,
    },
    /// The inverse of several [`Gather::Heads`]: of each head, the rows of each of these in turn.
    OfHeads(Vec<Strand>),
    /// Stacked matrices stored `[count, in, step * out]`: every `step`-th column from `first` on, each matrix
    /// transposed to `[out, in]`.
    Columns {
        /// The checkpoint's tensor.
        name: String,
        /// From column to column.
        step: usize,
        /// The first column.
        first: usize,
    },
    /// The inverse of [`Gather::Columns`], or of [`Gather::Every`] where it is not `transposed`: an element of each of
    /// these in turn.
    Zipped {
        /// The GGUF's tensors.
        names: Vec<String>,
        /// Whether they are matrices `[out, in]` to become `[in, out]`.
        transposed: bool,
    },
    /// Every `step`-th element from `first` on.
    Every {
        /// The checkpoint's tensor.
        name: String,
        /// From element to element.
        step: usize,
        /// The first element.
        first: usize,
    },
    /// Not in the checkpoint: these values.
    Computed(Arc<[f32]>),
}

/// Matrices of heads in a GGUF that were rows of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Strand {
    /// The GGUF's tensor, `[heads, rows, in]`, or `[heads, in, rows]` if `turned`.
    pub name: String,
    /// Rows of a head.
    pub rows: usize,
    /// Whether each matrix is transposed there.
    pub turned: bool,
}

/// The row of the checkpoint that becomes row `row` of a [`Gather::Paired`] tensor: of a head's `head_dim` rows, row
/// `j` goes to `2j` and row `j + head_dim / 2` to `2j + 1`.
pub fn paired_row(row: usize, head_dim: usize) -> usize {
    let (head, at) = (row / head_dim, row % head_dim);
    head * head_dim + (at % 2) * (head_dim / 2) + at / 2
}

/// The row of a [`Gather::Paired`] tensor that row `row` of the checkpoint became: the inverse of [`paired_row`].
pub fn unpaired_row(row: usize, head_dim: usize) -> usize {
    let (head, at, half) = (row / head_dim, row % head_dim, head_dim / 2);
    head * head_dim + if at < half { 2 * at } else { 2 * (at - half) + 1 }
}

/// The row of a tensor of groups (see [`Gather::Ungrouped`]) that becomes row `row` of the `rows` that are queries, keys
/// and values.
fn grouped_row(row: usize, rows: usize, groups: usize, dim: usize) -> usize {
    let group = rows / groups.max(1);
    let (queries, keys) = (rows - 2 * groups * dim, groups * dim);
    let of = group - 2 * dim;
    if row < queries {
        row / of * group + row % of
    } else {
        let (part, row) = ((row - queries) / keys, (row - queries) % keys);
        row / dim * group + of + part * dim + row % dim
    }
}

/// The inverse of [`grouped_row`].
fn ungrouped_row(row: usize, rows: usize, groups: usize, dim: usize) -> usize {
    let group = rows / groups.max(1);
    let (queries, keys) = (rows - 2 * groups * dim, groups * dim);
    let of = group - 2 * dim;
    let (g, at) = (row / group, row % group);
    if at < of { g * of + at } else { queries + (at - of) / dim * keys + g * dim + (at - of) % dim }
}

impl Gather {
    /// The checkpoint's tensors it reads, each with the shape it must have for the whole to be of `shape`; for
    /// [`Gather::Rows`] the first dimension is the least it may be.
    pub fn sources(&self, shape: &[usize]) -> Vec<(&str, Vec<usize>)> {
        let inner = || shape.iter().skip(1).copied();
        match self {
            Gather::Whole(name)
            | Gather::Paired { name, .. }
            | Gather::Unpaired { name, .. }
            | Gather::Ungrouped { name, .. }
            | Gather::Grouped { name, .. }
            | Gather::Shifted { name, .. } => vec![(name, shape.to_vec())],
            Gather::Transposed(name) => vec![(name, shape.iter().rev().copied().collect())],
            Gather::Rows(name, _, to) => vec![(name, std::iter::once(*to).chain(inner()).collect())],
            Gather::Stacked(names) => names.iter().map(|name| (name.as_str(), inner().collect())).collect(),
            Gather::Picked { name, per, from, to } => vec![(name, with_rows(shape, |n| n / (to - from).max(1) * per))],
            Gather::Woven(parts) => {
                let per: usize = parts.iter().map(|(_, rows)| rows).sum();
                parts.iter().map(|(name, rows)| (name.as_str(), with_rows(shape, |n| n / per.max(1) * rows))).collect()
            }
            Gather::Heads { name, per, turned, .. } => match *shape {
                [heads, out, inp] => vec![(name, vec![heads.saturating_mul(*per), if *turned { out } else { inp }])],
                _ => vec![(name, shape.to_vec())],
            },
            Gather::OfHeads(strands) => {
                let per: usize = strands.iter().map(|strand| strand.rows).sum();
                let (heads, cols) = (shape.first().map_or(0, |rows| rows / per.max(1)), shape.last().copied());
                let of = |strand: &Strand| {
                    let (rows, cols) = (strand.rows, cols.unwrap_or(1));
                    if strand.turned { vec![heads, cols, rows] } else { vec![heads, rows, cols] }
                };
                strands.iter().map(|strand| (strand.name.as_str(), of(strand))).collect()
            }
            Gather::Columns { name, step, .. } => {
                let mut shape = shape.to_vec();
                if let [.., out, inp] = &mut shape[..] {
                    (*out, *inp) = (*inp, *out * step);
                }
                vec![(name, shape)]
            }
            Gather::Zipped { names, transposed } => {
                let mut shape = shape.to_vec();
                match &mut shape[..] {
                    [.., inp, out] if *transposed => (*inp, *out) = (*out / names.len().max(1), *inp),
                    [.., width] => *width /= names.len().max(1),
                    [] => {}
                }
                names.iter().map(|name| (name.as_str(), shape.clone())).collect()
            }
            Gather::Every { name, step, .. } => {
                let mut shape = shape.to_vec();
                shape.iter_mut().last().into_iter().for_each(|n| *n *= step);
                vec![(name, shape)]
            }
            Gather::Computed(_) => vec![],
        }
    }

    /// The tensors whose rows, in some order, are the rows of this one, in equal shares; `None` where an element of a row
    /// comes from elsewhere or is changed.
    pub fn row_tensors(&self) -> Option<Vec<&str>> {
        match self {
            Gather::Whole(name)
            | Gather::Rows(name, ..)
            | Gather::Picked { name, .. }
            | Gather::Heads { name, turned: false, .. }
            | Gather::Ungrouped { name, .. }
            | Gather::Grouped { name, .. } => Some(vec![name]),
            Gather::Stacked(names) => Some(names.iter().map(String::as_str).collect()),
            Gather::Transposed(_)
            | Gather::Paired { .. }
            | Gather::Unpaired { .. }
            | Gather::Woven(_)
            | Gather::Heads { turned: true, .. }
            | Gather::OfHeads(_)
            | Gather::Shifted { .. }
            | Gather::Columns { .. }
            | Gather::Zipped { .. }
            | Gather::Every { .. }
            | Gather::Computed(_) => None,
        }
    }

    /// The tensors that are the linears of which this one has all rows, however those lie: [`Gather::row_tensors`], and a
    /// `Conv1D`, which has a linear's rows as its columns.
    pub fn linears(&self) -> Option<Vec<&str>> {
        if let Gather::Transposed(name) = self { Some(vec![name]) } else { self.row_tensors() }
    }

    /// For a tensor that is another one's rows in another order: the row there that becomes row `row` of `rows` here.
    pub fn source_row(&self, row: usize, rows: usize) -> usize {
        match self {
            Gather::Paired { heads, .. } => paired_row(row, rows / heads.max(&1)),
            Gather::Unpaired { heads, .. } => unpaired_row(row, rows / heads.max(&1)),
            Gather::Picked { per, from, to, .. } | Gather::Heads { per, from, to, turned: false, .. } => {
                let taken = (to - from).max(1);
                row / taken * per + from + row % taken
            }
            Gather::Ungrouped { groups, dim, .. } => grouped_row(row, rows, *groups, *dim),
            Gather::Grouped { groups, dim, .. } => ungrouped_row(row, rows, *groups, *dim),
            Gather::Rows(_, from, _) => from + row,
            Gather::Whole(_)
            | Gather::Transposed(_)
            | Gather::Stacked(_)
            | Gather::Woven(_)
            | Gather::Heads { turned: true, .. }
            | Gather::OfHeads(_)
            | Gather::Shifted { .. }
            | Gather::Columns { .. }
            | Gather::Zipped { .. }
            | Gather::Every { .. }
            | Gather::Computed(_) => row,
        }
    }
}

/// `shape` with another number of rows: the last dimension but one, or the only one of a bias.
fn with_rows(shape: &[usize], rows: impl Fn(usize) -> usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    let at = shape.len().saturating_sub(2);
    if let Some(n) = shape.get_mut(at) {
        *n = rows(*n);
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_apart_and_together() {
        for (groups, queries, dim) in [(1, 4, 3), (4, 1, 2), (2, 3, 5)] {
            let rows = groups * (queries + 2) * dim;
            let apart = Gather::Ungrouped { name: String::new(), groups, dim };
            let together = Gather::Grouped { name: String::new(), groups, dim };
            let order: Vec<usize> = (0..rows).map(|row| apart.source_row(row, rows)).collect();
            assert!((0..rows).all(|row| order[together.source_row(row, rows)] == row));
        }
        let thrice = Gather::Ungrouped { name: String::new(), groups: 2, dim: 1 };
        assert_eq!((0..6).map(|row| thrice.source_row(row, 6)).collect::<Vec<_>>(), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn rows_are_picked_of_each_period() {
        let picked = Gather::Picked { name: String::new(), per: 5, from: 3, to: 5 };
        assert_eq!((0..4).map(|row| picked.source_row(row, 4)).collect::<Vec<_>>(), [3, 4, 8, 9]);
        assert_eq!(picked.sources(&[2, 4, 7])[0].1, [2, 10, 7]);
        assert_eq!(picked.sources(&[4])[0].1, [10]);
    }
}
