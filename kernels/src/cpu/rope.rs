//! Rotary position embedding.

use super::{ROWS, each_isa};
use crate::Isa;
use rayon::prelude::*;

/// Which two elements of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// `2 i` and `2 i + 1`: Meta's Llama, GGUF's `llama`, GPT-J.
    Pairs,
    /// `i` and `i + dims / 2`: Hugging Face, GPT-NeoX.
    Halves,
}

/// Cosines and sines `[positions, dims / 2]`.
#[derive(Clone, Debug)]
pub struct Turns {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Turns {
    /// Positions `0..positions` turn by `position * inverse[i]`; both tables are multiplied by `factor` (yarn's attention
    /// factor, 1 without).
    ///
    /// The angle is rounded to f32, as the models were trained; its cosine is not rounded further.
    pub fn new(inverse: &[f32], factor: f32, positions: usize) -> Turns {
        let angles = (0..positions).flat_map(|p| inverse.iter().map(move |inverse| f64::from(p as f32 * inverse)));
        let (cos, sin) = angles
            .map(|angle| {
                let (sin, cos) = angle.sin_cos();
                (cos as f32 * factor, sin as f32 * factor)
            })
            .unzip();
        Turns { half: inverse.len(), cos, sin }
    }

    /// Rows turn by these angles, `half` a row, in radians.
    pub fn by(angles: impl Iterator<Item = f32>, half: usize) -> Turns {
        let (cos, sin) = angles.map(|angle| f64::from(angle).sin_cos()).map(|(s, c)| (c as f32, s as f32)).unzip();
        Turns { half, cos, sin }
    }

    /// Cosines and sines `[positions, half]`, and `half`: how many of each a position has.
    pub fn tables(&self) -> (&[f32], &[f32], usize) {
        (&self.cos, &self.sin, self.half)
    }

    /// How many positions the tables hold.
    pub fn positions(&self) -> usize {
        self.cos.len().checked_div(self.half).unwrap_or(0)
    }
}

/// Turns the first `dims` elements (twice the length of `inverse`) of every head of `x[rows, heads * head_dim]`.
///
/// Row `r` is at position `r % turns.positions()`: rows are whole sequences of that length, one after another.
pub fn rope(isa: Isa, x: &mut [f32], heads: usize, head_dim: usize, rotation: Rotation, turns: &Turns) {
    let width = heads * head_dim;
    if x.is_empty() || turns.half == 0 {
        return;
    }
    assert!(
        2 * turns.half <= head_dim && x.len().is_multiple_of(width),
        "rope: heads of {head_dim} in rows of {width}"
    );
    let positions = turns.positions();
    assert!((x.len() / width).is_multiple_of(positions), "rope: whole sequences of {positions}");
    x.par_chunks_mut(ROWS * width).enumerate().for_each(|(chunk, x)| {
        for (i, row) in x.chunks_exact_mut(width).enumerate() {
            let at = (chunk * ROWS + i) % positions * turns.half;
            let (cos, sin) = (&turns.cos[at..at + turns.half], &turns.sin[at..at + turns.half]);
            match rotation {
                Rotation::Pairs => pairs(isa, row, head_dim, cos, sin),
                Rotation::Halves => halves(isa, row, head_dim, cos, sin),
            }
        }
    });
}

each_isa! {
    fn pairs(row: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
        for head in row.chunks_exact_mut(head_dim) {
            for ((pair, &cos), &sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                *pair = [pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos];
            }
        }
    }
}

each_isa! {
    fn halves(row: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
        for head in row.chunks_exact_mut(head_dim) {
            let (low, high) = head.split_at_mut(cos.len());
            for (((low, high), &cos), &sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                (*low, *high) = (*low * cos - *high * sin, *low * sin + *high * cos);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{isas, numbers};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn heads_turn(heads in 1usize..4, half in 1usize..20, spare in 0usize..5, positions in 1usize..9, seed: u64) {
            let head_dim = 2 * half + spare;
            let inverse: Vec<f32> = (0..half).map(|i| 10000f32.powf(-(i as f32) / half as f32)).collect();
            let turns = Turns::new(&inverse, 1.25, positions);
            let rows = 3 * positions;
            let before = numbers(rows * heads * head_dim, seed);
            for rotation in [Rotation::Pairs, Rotation::Halves] {
                let mut want = before.clone();
                for r in 0..rows {
                    for h in 0..heads {
                        for (i, inverse) in inverse.iter().enumerate() {
                            let (a, b) = match rotation {
                                Rotation::Pairs => (2 * i, 2 * i + 1),
                                Rotation::Halves => (i, i + half),
                            };
                            let head = &mut want[(r * heads + h) * head_dim..];
                            let (x, y) = (head[a], head[b]);
                            let (sin, cos) = ((r % positions) as f32 * inverse).sin_cos();
                            head[a] = 1.25 * (x * cos - y * sin);
                            head[b] = 1.25 * (x * sin + y * cos);
                        }
                    }
                }
                let mut first = None;
                for isa in isas() {
                    let mut x = before.clone();
                    rope(isa, &mut x, heads, head_dim, rotation, &turns);
                    for (x, want) in x.iter().zip(&want) {
                        prop_assert!((x - want).abs() < 1e-5, "{rotation:?} {x} {want}");
                    }
                    prop_assert!(first.get_or_insert_with(|| x.clone()) == &x, "{isa:?}");
                }
            }
        }
    }
}
