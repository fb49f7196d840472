//! Weights that are calibrated together, derived from the program.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Activation, Layer, Op, Param, Role, Value};

/// Weights that read the same value: one set of statistics and, for AWQ, one scale.
#[derive(Debug)]
pub struct Group<'a> {
    /// What they read.
    pub input: Value,
    /// In the order of execution.
    pub weights: Vec<&'a Param>,
    /// What can take the inverse of a scale that the weights' columns get; `None` if nothing can.
    pub absorb: Option<Absorber<'a>>,
}

/// The maker of a value, as far as a scale of the value's channels can be moved into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Absorber<'a> {
    /// Its rows (or elements, for a norm) [`Absorber::rows`] are divided by the scale.
    pub weight: &'a Param,
    /// So are the same elements of its bias.
    pub bias: Option<&'a Param>,
    /// Which: all but where only a slice of what it makes becomes the value. Of a stack of experts those of all: the
    /// rows of each expert have a scale of their own, which the same expert's columns in the weights get.
    pub rows: Range<usize>,
}

/// The groups of a layer, in the order in which their values are made.
pub fn groups(layer: &Layer) -> Vec<Group<'_>> {
    let mut by_input: BTreeMap<Value, Vec<&Param>> = BTreeMap::new();
    for (input, weight) in layer.ops.iter().filter_map(Op::reads) {
        by_input.entry(input).or_default().push(weight);
    }
    let grouped = by_input.into_iter();
    grouped.map(|(input, weights)| Group { input, absorb: absorber(layer, input, &weights), weights }).collect()
}

/// Everything from the maker to `v` must be linear in each channel, and nothing but the scaled weights may read what
/// lies between.
fn absorber<'a>(layer: &'a Layer, v: Value, weights: &[&Param]) -> Option<Absorber<'a>> {
    let scaled = |op: &Op| op.reads().is_some_and(|(x, _)| x == v);
    let stays = layer.results.iter().all(|(_, result)| *result != v);
    // A tied head's columns are the embedding's too: scaling them would change what the first layer reads.
    let own = weights.iter().all(|w| w.role != Role::TokenEmbd);
    (own && stays && layer.readers(v).all(scaled)).then(|| maker(layer, v, weights.first()?.shape.last().copied()?))?
}

/// Whether `op` is the slice `own` or one that shares no element with it.
fn apart(op: &Op, own: Range<usize>) -> bool {
    matches!(op, Op::Slice { from, to, .. } if *from == own.start || *to <= own.start || own.end <= *from)
}

/// What makes `v`, of `width` channels each of which scales alone.
fn maker(layer: &Layer, v: Value, width: usize) -> Option<Absorber<'_>> {
    let alone = |v: Value| layer.readers(v).count() == 1;
    let whole = |w: &Param| match &w.shape[..] {
        [rows] | [rows, _] => *rows == width,
        outer => outer.iter().take(outer.len().saturating_sub(1)).product::<usize>() == width,
    };
    match layer.maker(v)? {
        Op::Norm { w, bias, .. } | Op::Linear { w, bias, .. } if whole(w) => {
            Some(Absorber { weight: w, bias: bias.as_ref(), rows: 0..width })
        }
        Op::Experts { w, bias, .. } if w.shape.get(1) == Some(&width) => {
            let rows = w.shape.first()?.checked_mul(width)?;
            Some(Absorber { weight: w, bias: bias.as_ref(), rows: 0..rows })
        }
        Op::Heads { w, .. } if w.shape.iter().take(2).product::<usize>() == width => {
            Some(Absorber { weight: w, bias: None, rows: 0..width })
        }
        Op::Mul(_, scaled) if alone(*scaled) => maker(layer, *scaled, width),
        Op::Act(Activation::Relu, x) if alone(*x) => maker(layer, *x, width),
        Op::Attend { v, heads, .. } if heads.q == heads.kv && alone(*v) => maker(layer, *v, width),
        Op::Slice { x, per, from, to } if to - from == width && layer.readers(*x).all(|op| apart(op, *from..*to)) => {
            let rows = maker(layer, *x, *per)?;
            Some(Absorber { rows: rows.rows.start + from..rows.rows.start + to, ..rows })
        }
        Op::Norm { .. }
        | Op::Linear { .. }
        | Op::Heads { .. }
        | Op::Experts { .. }
        | Op::Mul(..)
        | Op::Act(..)
        | Op::Attend { .. }
        | Op::Slice { .. }
        | Op::Carried(_)
        | Op::Embed { .. }
        | Op::Rope { .. }
        | Op::Join { .. }
        | Op::Affine { .. }
        | Op::Clamp { .. }
        | Op::Softcap { .. }
        | Op::Route { .. }
        | Op::Mix { .. }
        | Op::Add(..) => None,
    }
}
