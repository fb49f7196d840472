//! AWQ: channels that matter are scaled up before rounding, and what makes them is scaled down.
//!
//! A scale `s` of the channels of a value leaves the model as it is when the value's maker is divided by it and the columns
//! of all its readers are multiplied. What it changes is how the readers round. Scales are taken from a family of curves,
//! `s = x^a / w^b`, where `x` is the root mean square of a channel and `w` the mean of its weights' share of their block's
//! largest (Lin et al. 2023, arXiv 2306.00978, with the division by `w` that AutoAWQ added), and the best is that which loses
//! least. No scale at all is one of them, so the result is never worse than that.

use planish_kernels::Isa;
use planish_kernels::block::Codec;
use rayon::prelude::*;

use super::nearest::encode;
use super::{Moments, Task, loss};

/// A matrix that reads the value.
pub struct Reader<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// `[out, in]`.
    pub weights: &'a [f32],
    /// The type that it becomes.
    pub codec: &'a dyn Codec,
}

/// The channels of a value that can be scaled.
pub struct Channels<'a> {
    /// What flows there.
    pub moments: &'a Moments,
    /// Which channel of the maker each is: heads that share their values share their scales.
    pub maker: &'a [usize],
    /// Channels of the maker.
    pub count: usize,
    /// The scale that the maker's stored numbers have room for: the nearest to the one given.
    pub stored: &'a (dyn Fn(&[f32]) -> Vec<f32> + Sync),
}

/// Scales that were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// One a channel of the maker, which is divided by it.
    pub scale: Vec<f32>,
    /// The loss without, as a share of all there is to lose.
    pub before: f64,
    /// The loss with it.
    pub after: f64,
}

/// Points on the curve from all weights to all activations.
const POINTS: usize = 20;
/// How far the exponents of the best point are moved, twice.
const STEPS: [f64; 2] = [0.12, 0.05];
/// What keeps a channel without weights from an endless scale.
const SMALL: f64 = 1e-4;

/// Rows of all readers that are looked at in the search: their losses differ from scale to scale as those of all rows do.
const SAMPLE: usize = 1024;
/// Rows that are taken together.
const BAND: usize = 16;

/// The best scales for these readers; `None` if no scale is the best. The search sees a sample of their rows, the decision
/// all of them.
pub fn scaling(isa: Isa, channels: &Channels<'_>, readers: &[Reader<'_>]) -> Option<Scaling> {
    let n = channels.maker.len();
    let sampled: Vec<Vec<f32>> = readers.iter().map(|reader| sample(reader, n, readers)).collect();
    let few: Vec<Reader<'_>> =
        readers.iter().zip(&sampled).map(|(reader, weights)| Reader { weights, ..*reader }).collect();
    let search = Search::new(isa, channels, &few);
    let mut best = Best { loss: search.loss(&vec![1.0; channels.count]), scale: None, exponents: [0.0; 2] };
    for point in 0..POINTS {
        let ratio = point as f64 / (POINTS - 1) as f64;
        best.look(&search, [ratio, 1.0 - ratio]);
    }
    for step in STEPS {
        let [a, b] = best.exponents;
        for (da, db) in [(step, 0.0), (-step, 0.0), (0.0, step), (0.0, -step)] {
            best.look(&search, [a + da, b + db]);
        }
    }
    let scale = best.scale?;
    let all = Search::new(isa, channels, readers);
    let (before, after) = (all.loss(&vec![1.0; channels.count]), all.loss(&scale));
    (after < before).then_some(Scaling { scale, before, after })
}

/// The best of the scales that were looked at.
struct Best {
    loss: f64,
    scale: Option<Vec<f32>>,
    exponents: [f64; 2],
}

impl Best {
    fn look(&mut self, search: &Search<'_>, exponents: [f64; 2]) {
        let scale = (search.channels.stored)(&search.scale(exponents));
        let loss = search.loss(&scale);
        if loss < self.loss {
            *self = Best { loss, scale: Some(scale), exponents };
        }
    }
}

/// This reader's share of the sample: bands of rows, evenly spread.
fn sample(reader: &Reader<'_>, n: usize, readers: &[Reader<'_>]) -> Vec<f32> {
    let all = readers.iter().map(|reader| reader.weights.len()).sum::<usize>() / n.max(1);
    let step = all.div_ceil(SAMPLE).max(1);
    reader.weights.chunks(BAND * n.max(1)).step_by(step).flatten().copied().collect()
}

/// What stays the same from scale to scale.
struct Search<'a> {
    isa: Isa,
    channels: &'a Channels<'a>,
    readers: &'a [Reader<'a>],
    /// The logarithms of `x` and of `w` of each channel of the maker.
    logarithms: [Vec<f64>; 2],
    all: f64,
}

impl<'a> Search<'a> {
    fn new(isa: Isa, channels: &'a Channels<'a>, readers: &'a [Reader<'a>]) -> Search<'a> {
        let tokens = channels.moments.tokens().max(1) as f64;
        let squares = channels.moments.diagonal().into_iter().map(|sum| f64::from(sum) / tokens);
        let x = channels.means(squares).map(f64::sqrt);
        let w = channels.means(shares(readers, channels.maker.len()).into_iter());
        let logarithm = |value: f64| (value + SMALL).ln();
        let all = readers.iter().map(|reader| loss(isa, reader.weights, channels.moments)).sum();
        Search { isa, channels, readers, logarithms: [x.map(logarithm).collect(), w.map(logarithm).collect()], all }
    }

    /// `x^a / w^b`, centred: the largest and the smallest multiply to one.
    fn scale(&self, [a, b]: [f64; 2]) -> Vec<f32> {
        let [x, w] = &self.logarithms;
        let curve: Vec<f64> = x.iter().zip(w).map(|(x, w)| a * x - b * w).collect();
        let (low, high) = curve.iter().fold((f64::MAX, f64::MIN), |(low, high), c| (low.min(*c), high.max(*c)));
        curve.iter().map(|c| (c - f64::midpoint(low, high)).exp() as f32).collect()
    }

    /// What all readers lose, as a share of what there is to lose.
    fn loss(&self, scale: &[f32]) -> f64 {
        let columns: Vec<f32> = self.channels.maker.iter().map(|&channel| scale[channel]).collect();
        if columns.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            return f64::INFINITY;
        }
        let moments = self.channels.moments.divided(&columns);
        let lost: f64 = self.readers.iter().map(|reader| self.one(reader, &columns, &moments)).sum();
        if self.all > 0.0 { lost / self.all } else { 0.0 }
    }

    fn one(&self, reader: &Reader<'_>, columns: &[f32], moments: &Moments) -> f64 {
        let n = columns.len();
        let mut weights = reader.weights.to_vec();
        weights.par_chunks_mut(n).for_each(|row| row.iter_mut().zip(columns).for_each(|(w, s)| *w *= s));
        let task = Task { isa: self.isa, name: reader.name, cols: n, codec: reader.codec, moments };
        let rounded = encode(&task, &weights);
        weights.par_iter_mut().zip(&rounded.values).for_each(|(w, q)| *w -= q);
        loss(self.isa, &weights, moments)
    }
}

impl Channels<'_> {
    /// The mean over the channels that one of the maker's serves.
    fn means(&self, values: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> {
        let mut sums = vec![(0.0, 0usize); self.count];
        for (value, &channel) in values.zip(self.maker) {
            sums[channel].0 += value;
            sums[channel].1 += 1;
        }
        sums.into_iter().map(|(sum, count)| sum / count.max(1) as f64)
    }
}

/// The mean over all rows of each weight's share of the largest in its block.
fn shares(readers: &[Reader<'_>], n: usize) -> Vec<f64> {
    let (mut sums, mut rows) = (vec![0.0; n], 0usize);
    for reader in readers {
        let len = reader.codec.block_len();
        for row in reader.weights.chunks(n) {
            for (block, sums) in row.chunks(len).zip(sums.chunks_mut(len)) {
                let largest = block.iter().fold(0f32, |largest, w| largest.max(w.abs()));
                if largest > 0.0 {
                    block.iter().zip(sums).for_each(|(w, sum)| *sum += f64::from(w.abs() / largest));
                }
            }
            rows += 1;
        }
    }
    sums.into_iter().map(|sum| sum / rows.max(1) as f64).collect()
}
