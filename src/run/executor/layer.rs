//! One layer over a few sequences: one arm an op.

use std::sync::Arc;

use planish_kernels::cpu::{self, Attention, Rotation, Sequences, Turns};
use rayon::prelude::*;

use super::buffers::Buffers;
use super::weights::{Loaded, Stack, read};
use super::{Result, Settings, Tap, experts, heads};
use crate::model::{Activation, Carry, Frequencies, Index, Layer, Mask, NormKind, Op, Turn, Value};
use crate::run::Weight;

/// Whole sequences that run together.
pub(super) struct Group<'a> {
    pub ids: &'a [u32],
    /// Of each sequence.
    pub tokens: usize,
    /// Of all of them.
    pub rows: usize,
    /// How many of its tokens each really has; all without.
    pub lengths: Option<&'a [usize]>,
    /// Tokens of the sequence beside each that the stack before read.
    pub across: usize,
    /// How many of those each really has; all without.
    pub across_lengths: Option<&'a [usize]>,
}

/// What the layers before left for these sequences; empty where no op asks for it.
#[derive(Default)]
pub(super) struct Flow {
    pub hidden: Vec<f32>,
    pub encoded: Vec<f32>,
}

impl Flow {
    /// Gives back what is not read any more.
    pub(super) fn give(self, buffers: &mut Buffers) {
        for buffer in [self.hidden, self.encoded] {
            buffers.give(buffer);
        }
    }

    /// What was left under this name.
    pub(super) fn of(&self, carry: Carry) -> &[f32] {
        match carry {
            Carry::Encoded => &self.encoded,
            Carry::Hidden | Carry::Logits => &self.hidden,
        }
    }
}

impl Group<'_> {
    /// The sequences of an attention, whether it is causal, and its window.
    pub(super) fn attending(&self, mask: Mask) -> (Sequences<'_>, bool, Option<usize>) {
        let queries = self.tokens;
        match mask {
            Mask::Causal => (Sequences::of(queries), true, None),
            Mask::Window(tokens) => (Sequences::of(queries), true, Some(tokens)),
            Mask::All => (Sequences { queries, keys: queries, lengths: self.lengths }, false, None),
            Mask::Across => (Sequences { queries, keys: self.across, lengths: self.across_lengths }, false, None),
        }
    }
}

/// Runs `ops` of `layer` and gives back the value that its results name as the hidden state. `tap` is shown every value
/// that a linear one of the ops reads.
#[allow(clippy::too_many_arguments)]
pub(super) fn run(
    settings: &Settings,
    buffers: &mut Buffers,
    ops: &[Op],
    layer: &Layer,
    weights_of_layer: &[Loaded<'_>],
    group: &Group<'_>,
    flow: Flow,
    turns: impl Fn(&Arc<Frequencies>) -> Option<Arc<Turns>>,
    mut tap: Option<&mut dyn Tap>,
) -> Result<Option<Vec<f32>>> {
    let wanted = hidden_result(layer);
    let keep: Vec<Value> = wanted.into_iter().collect();
    let mut values = Values { made: Vec::with_capacity(ops.len()), last: last_uses(ops, &keep), flow, buffers };
    for (at, (op, weights)) in ops.iter().zip(weights_of_layer).enumerate() {
        if let Some(tap) = &mut tap {
            experts::tap(settings, &mut values, at, ops, layer, weights_of_layer, group, &mut **tap)?;
            heads::tap(&mut values, at, ops, layer, group, &mut **tap)?;
        }
        let value = step(settings, &mut values, at, op, weights, group, &turns)?;
        if let Some(tap) = &mut tap
            && let Some((read, _)) =
                ops.iter().filter(|op| !op.apart()).filter_map(Op::reads).find(|(read, _)| read.index() == at)
        {
            tap.value(layer, read, &value)?;
        }
        values.made.push(Some(value));
        values.release(at);
    }
    let result = wanted.and_then(|value| values.made[value.index()].take());
    let Values { made, flow, buffers, .. } = values;
    flow.give(buffers);
    made.into_iter().flatten().for_each(|buffer| buffers.give(buffer));
    Ok(result)
}

/// Runs the ops from the place `made.len()` on that `weights` are for, and gives back what they and those before them
/// made of the values in `keep`. `made` has what the ops before made of the values that these ops or others after read.
#[allow(clippy::too_many_arguments)]
pub(super) fn run_on(
    settings: &Settings,
    buffers: &mut Buffers,
    ops: &[Op],
    made: Vec<Option<Vec<f32>>>,
    weights: &[Loaded<'_>],
    group: &Group<'_>,
    flow: Flow,
    turns: impl Fn(&Arc<Frequencies>) -> Option<Arc<Turns>>,
    keep: &[Value],
) -> Result<Vec<Option<Vec<f32>>>> {
    let mut values = Values { last: last_uses(ops, keep), made, flow, buffers };
    for weights in weights {
        let at = values.made.len();
        let value = step(settings, &mut values, at, &ops[at], weights, group, &turns)?;
        values.made.push(Some(value));
        values.release(at);
    }
    let Values { mut made, flow, buffers, .. } = values;
    flow.give(buffers);
    for (at, value) in made.iter_mut().enumerate() {
        if !keep.iter().any(|kept| kept.index() == at)
            && let Some(buffer) = value.take()
        {
            buffers.give(buffer);
        }
    }
    Ok(made)
}

/// The value that becomes the hidden state after `layer`.
pub(super) fn hidden_result(layer: &Layer) -> Option<Value> {
    layer.results.iter().find(|(carry, _)| *carry == Carry::Hidden).map(|(_, value)| *value)
}

/// For each value the last op that reads it; never, for those to keep.
pub(super) fn last_uses(ops: &[Op], keep: &[Value]) -> Vec<usize> {
    let mut last: Vec<usize> = (0..ops.len()).collect();
    for (at, op) in ops.iter().enumerate() {
        for input in op.inputs() {
            last[input.index()] = at;
        }
    }
    for value in keep {
        if let Some(last) = last.get_mut(value.index()) {
            *last = usize::MAX;
        }
    }
    last
}

/// The values of a layer while somebody will read them.
pub(super) struct Values<'a> {
    pub(super) made: Vec<Option<Vec<f32>>>,
    last: Vec<usize>,
    flow: Flow,
    pub(super) buffers: &'a mut Buffers,
}

#[cfg(feature = "cuda")]
impl<'a> Values<'a> {
    /// For one of `ops` ops. Nothing is changed in place, and all that `made` has stays there.
    pub(super) fn of(made: Vec<Option<Vec<f32>>>, ops: usize, buffers: &'a mut Buffers) -> Values<'a> {
        Values { made, last: vec![usize::MAX; ops], flow: Flow::default(), buffers }
    }

    /// Gives everything back.
    pub(super) fn give_back(self) {
        let Values { made, flow, buffers, .. } = self;
        flow.give(buffers);
        made.into_iter().flatten().for_each(|buffer| buffers.give(buffer));
    }
}

impl Values<'_> {
    pub(super) fn get(&self, value: Value) -> &[f32] {
        self.made[value.index()].as_deref().unwrap_or_default()
    }

    /// The value to be changed in place: itself where `at` is the last to read it, else a copy.
    fn own(&mut self, value: Value, at: usize) -> Vec<f32> {
        if self.last[value.index()] == at {
            return self.made[value.index()].take().unwrap_or_default();
        }
        self.copy(value)
    }

    /// Copies of the values that are `wanted`, to go another way with: room for all ops, and nothing is given back.
    pub(super) fn fork(&mut self, ops: usize, wanted: impl Fn(Value) -> bool) -> Values<'_> {
        let made = (0..ops).map(|i| self.made.get(i).filter(|_| wanted(Value::at(i))).cloned().flatten()).collect();
        Values { made, last: vec![usize::MAX; ops], flow: Flow::default(), buffers: self.buffers }
    }

    fn copy(&mut self, value: Value) -> Vec<f32> {
        let mut copy = self.buffers.take(self.get(value).len());
        copy.copy_from_slice(self.get(value));
        copy
    }

    /// Gives back what no later op reads.
    fn release(&mut self, at: usize) {
        for (value, &last) in self.made.iter_mut().zip(&self.last) {
            if last <= at
                && let Some(buffer) = value.take()
            {
                self.buffers.give(buffer);
            }
        }
    }
}

pub(super) fn step(
    settings: &Settings,
    values: &mut Values<'_>,
    at: usize,
    op: &Op,
    weights: &Loaded<'_>,
    group: &Group<'_>,
    turns: &impl Fn(&Arc<Frequencies>) -> Option<Arc<Turns>>,
) -> Result<Vec<f32>> {
    let (isa, rows) = (settings.isa, group.rows);
    Ok(match (op, weights) {
        (Op::Carried(carry), _) => {
            let flow = values.flow.of(*carry);
            let mut out = values.buffers.take(flow.len());
            out.copy_from_slice(flow);
            out
        }
        (Op::Embed { table, by }, Loaded::Table(weight)) => {
            let mut out = values.buffers.take(rows * weight.cols);
            let fetch = |(i, out): (usize, &mut [f32])| {
                let row = match by {
                    Index::Token => group.ids[i] as usize,
                    Index::Position => i % group.tokens,
                    Index::First => 0,
                };
                read(isa, weight, &table.name, row, out)
            };
            out.par_chunks_mut(weight.cols.max(1)).enumerate().try_for_each(fetch)?;
            out
        }
        (Op::Linear { x, w, .. }, Loaded::Linear(matrix, bias, storage)) => {
            let k = w.shape.last().copied().unwrap_or(1);
            let n = w.shape.iter().product::<usize>() / k.max(1);
            // Of the stack before, a value has other rows.
            let rows = values.get(*x).len() / k.max(1);
            let mut out = values.buffers.take(rows * n);
            let bias = bias.as_deref();
            let mut multiply = |x: &[f32]| {
                cpu::matmul(isa, x, rows, k, matrix.view(), n, bias, &mut out, settings.precision);
            };
            if let Some(rounding) = settings.activations.rounding(*storage) {
                let mut rounded = values.copy(*x);
                rounding.round(&mut rounded, k);
                multiply(&rounded);
                values.buffers.give(rounded);
            } else {
                multiply(values.get(*x));
            }
            out
        }
        (Op::Heads { x, w }, Loaded::Linear(matrix, _, storage)) => {
            heads::multiply(settings, values, *x, w, matrix, *storage, rows)
        }
        (Op::Norm { kind, x, w, eps, .. }, Loaded::Weight(matrix, bias)) => {
            let mut out = values.buffers.take(values.get(*x).len());
            let (x, width, each) = (values.get(*x), w.shape.last().copied().unwrap_or(1), w.shape.len() > 1);
            let cpu::Weight::F32(w) = matrix.view() else { unreachable!("norms are decoded when they are loaded") };
            // Pieces with a weight of their own are multiplied by it afterwards.
            let shared = (!each).then_some(w);
            match kind {
                NormKind::Rms => cpu::rms_norm(isa, x, width, shared, *eps, &mut out),
                NormKind::Layer => cpu::layer_norm(isa, x, width, shared, bias.as_deref(), *eps, &mut out),
            }
            if each {
                cpu::multiply_columns(isa, &mut out, w);
            }
            out
        }
        (Op::Rope { x, turn, dim, table }, _) => {
            let mut out = values.own(*x, at);
            let rotation = match turn {
                Turn::Halves => Rotation::Halves,
                Turn::Pairs => Rotation::Pairs,
            };
            if let Some(turns) = turns(table) {
                let heads = out.len() / rows.max(1) / dim;
                cpu::rope(isa, &mut out, heads, *dim, rotation, &turns);
            }
            out
        }
        (Op::Slice { x, per, from, to }, _) => {
            let mut out = values.buffers.take(values.get(*x).len() / per * (to - from));
            let pieces = out.par_chunks_mut(to - from).zip(values.get(*x).par_chunks(*per));
            pieces.for_each(|(out, x)| out.copy_from_slice(&x[*from..*to]));
            out
        }
        (Op::Join { a, b, heads, shared }, _) => join(values, *a, *b, *heads, *shared, rows),
        (Op::Attend { q, k, v, heads, mask, scale, scores }, Loaded::Scores(sinks, table)) => {
            let mut out = values.buffers.take(rows * heads.q * heads.v_dim);
            let (sequences, causal, window) = group.attending(*mask);
            let bias = scores.bias.as_ref().zip(table.as_ref());
            let bias = bias.map(|(bias, table)| bias.spread(table, sequences.queries, sequences.keys));
            let shape = Attention {
                heads: heads.q,
                kv_heads: heads.kv,
                head_dim: heads.dim,
                value_dim: heads.v_dim,
                scale: *scale,
                causal,
                window,
                cap: scores.cap,
                slopes: scores.slopes.as_deref(),
                sinks: sinks.as_deref(),
                bias: bias.as_deref(),
            };
            let (q, k, v) = (values.get(*q), values.get(*k), values.get(*v));
            cpu::attend(isa, &shape, sequences, q, k, v, &mut out, settings.attention);
            out
        }
        (Op::Add(a, b), _) => {
            let mut out = if a == b { values.copy(*a) } else { values.own(*a, at) };
            cpu::add(isa, &mut out, values.get(*b));
            out
        }
        (Op::Mul(a, b), _) if values.get(*a).len() == rows && values.get(*b).len() != rows => {
            let mut out = values.own(*b, at);
            cpu::multiply_rows(isa, &mut out, values.get(*a));
            out
        }
        (Op::Mul(a, b), _) => {
            let mut out = if a == b { values.copy(*a) } else { values.own(*a, at) };
            cpu::multiply(isa, &mut out, values.get(*b));
            out
        }
        (Op::Act(kind, x), _) => {
            let mut out = values.own(*x, at);
            cpu::activate(isa, activation(*kind), &mut out);
            out
        }
        (Op::Affine { x, scale, shift }, _) => {
            let mut out = values.own(*x, at);
            cpu::affine(isa, &mut out, *scale, *shift);
            out
        }
        (Op::Clamp { x, low, high }, _) => {
            let mut out = values.own(*x, at);
            cpu::clamp(isa, &mut out, *low, *high);
            out
        }
        (Op::Softcap { x, cap }, _) => {
            let mut out = values.own(*x, at);
            cpu::softcap(isa, &mut out, *cap);
            out
        }
        (Op::Route { x, how, .. }, Loaded::Vector(bias)) => {
            let experts = values.get(*x).len() / rows.max(1);
            let mut out = values.buffers.take(rows * 2 * how.top);
            let how = experts::routing(how, bias.as_deref());
            cpu::route(isa, &how, experts, values.get(*x), &mut out);
            out
        }
        (Op::Experts { x, route, w, .. }, Loaded::Experts(stack, bias)) => {
            let bias = bias.as_deref();
            match stack {
                Stack::Stored(weight) => experts::multiply(settings, values, *x, *route, w, weight, bias, rows)?,
                Stack::Given(matrices) => {
                    let weight = Weight::given(matrices, &w.shape);
                    experts::multiply(settings, values, *x, *route, w, &weight, bias, rows)?
                }
            }
        }
        (Op::Mix { x, route }, _) => {
            let top = values.get(*route).len() / rows.max(1) / 2;
            let width = values.get(*x).len() / rows.max(1) / top.max(1);
            let mut out = values.buffers.take(rows * width);
            cpu::mix(isa, values.get(*x), values.get(*route), top, width, &mut out);
            out
        }
        (
            Op::Embed { .. }
            | Op::Linear { .. }
            | Op::Heads { .. }
            | Op::Norm { .. }
            | Op::Attend { .. }
            | Op::Route { .. }
            | Op::Experts { .. },
            _,
        ) => {
            unreachable!("weights are loaded by the same ops in the same order")
        }
    })
}

/// The kernel's word for a non-linearity.
pub(super) fn activation(kind: Activation) -> cpu::Activation {
    match kind {
        Activation::Silu => cpu::Activation::Silu,
        Activation::Gelu => cpu::Activation::Gelu,
        Activation::GeluTanh => cpu::Activation::GeluTanh,
        Activation::GeluQuick => cpu::Activation::GeluQuick,
        Activation::Relu => cpu::Activation::Relu,
        Activation::Sigmoid => cpu::Activation::Sigmoid,
    }
}

/// The pieces of `a` and `b` in turn.
fn join(values: &mut Values<'_>, a: Value, b: Value, heads: usize, shared: bool, rows: usize) -> Vec<f32> {
    let (x, y) = (values.get(a).len() / rows.max(1), values.get(b).len() / rows.max(1));
    let (n, m) = (x / heads.max(1), if shared { y } else { y / heads.max(1) });
    let mut out = values.buffers.take(rows * heads * (n + m));
    let pairs = values.get(a).par_chunks(x.max(1)).zip(values.get(b).par_chunks(y.max(1)));
    out.par_chunks_mut((heads * (n + m)).max(1)).zip(pairs).for_each(|(out, (a, b))| {
        for (head, out) in out.chunks_exact_mut(n + m).enumerate() {
            out[..n].copy_from_slice(&a[head * n..][..n]);
            out[n..].copy_from_slice(&b[if shared { 0 } else { head * m }..][..m]);
        }
    });
    out
}
