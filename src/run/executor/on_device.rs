//! One layer over a few sequences on a device: what [`super::layer`] does on the processor.
//!
//! A value stays on the device while somebody there reads it. An op that the device lacks is run by
//! [`super::layer::step`] on what is copied back for it, and counted.

use std::sync::Arc;

use planish_kernels::cpu::{self, Attention, Rotation, Turns};
use planish_kernels::device::{Device, Norm};

use super::buffers::Buffers;
use super::layer::{self, Flow, Group, Values, hidden_result, last_uses};
use super::weights::{Loaded, Matrix, Stack, borrowed, finite_bf16, read};
use super::{Result, Settings, Tap, experts, heads};
use crate::model::{Frequencies, Layer, NormKind, Op, Turn, Value};
use crate::run::Weight;

/// A device that says what it left to the processor.
pub(super) trait Counted: Device {
    /// An op of this kind was run by the processor.
    fn left(&self, op: &'static str);
}

#[cfg(feature = "cuda")]
impl Counted for planish_kernels::cuda::Cuda {
    fn left(&self, op: &'static str) {
        self.count_on_cpu(op);
    }
}

/// What an op needs of the checkpoint, on the device.
pub(super) enum Placed<D: Device> {
    /// Nothing, or nothing there.
    None,
    /// A matrix and perhaps a bias.
    Linear(D::Matrix, Option<D::Buf>),
    /// A vector, or a row for each piece, and perhaps a bias.
    Norm(D::Buf, Option<D::Buf>),
}

/// Copies a layer's weights to the device. Those of experts follow when a token goes to them.
pub(super) fn place<D: Counted>(device: &D, ops: &[Op], weights: &[Loaded<'_>]) -> Result<Vec<Placed<D>>> {
    let vector = |values: &Option<Vec<f32>>| values.as_deref().map(|values| device.upload(values)).transpose();
    let one = |weights: &Loaded<'_>| -> Result<Placed<D>> {
        Ok(match weights {
            Loaded::Linear(matrix, bias, _) => Placed::Linear(device.matrix(matrix.view())?, vector(bias)?),
            Loaded::Weight(Matrix::F32(w), bias) => Placed::Norm(device.upload(w)?, vector(bias)?),
            Loaded::Weight(Matrix::Bf16(_), _)
            | Loaded::None
            | Loaded::Table(_)
            | Loaded::Experts(..)
            | Loaded::Scores(..)
            | Loaded::Vector(_) => Placed::None,
        })
    };
    ops.iter().zip(weights).map(|(_, weights)| one(weights)).collect()
}

/// What a layer is run with.
pub(super) struct Run<'a, 'w, D: Device> {
    pub device: &'a D,
    pub settings: &'a Settings,
    pub ops: &'a [Op],
    pub weights: &'a [Loaded<'w>],
    pub placed: &'a [Placed<D>],
    pub group: &'a Group<'a>,
    pub flow: &'a Flow,
}

impl<D: Counted> Run<'_, '_, D> {
    /// See [`layer::run`].
    pub(super) fn layer(
        &self,
        buffers: &mut Buffers,
        layer: &Layer,
        turns: impl Fn(&Arc<Frequencies>) -> Option<Arc<Turns>>,
        mut tap: Option<&mut dyn Tap>,
    ) -> Result<Option<Vec<f32>>> {
        let wanted = hidden_result(layer);
        let keep: Vec<Value> = wanted.into_iter().collect();
        let last = last_uses(self.ops, &keep);
        let mut made: Vec<Option<D::Buf>> = Vec::with_capacity(self.ops.len());
        for at in 0..self.ops.len() {
            if let Some(tap) = &mut tap {
                self.tap_apart(buffers, &made, at, layer, &mut **tap)?;
            }
            let value = self.step(buffers, &mut made, &last, at, 0, &turns)?;
            if let Some(tap) = &mut tap
                && let Some((read, w)) =
                    self.ops.iter().filter(|op| !op.apart()).filter_map(Op::reads).find(|(read, _)| read.index() == at)
            {
                let width = w.shape.last().copied().unwrap_or(1).max(1);
                if tap.wants_squares() {
                    let sums = self.device.sum_squares(&value, width, self.group.tokens)?;
                    tap.squares(layer, read, &sums, self.group.tokens)?;
                } else {
                    let x = self.back(buffers, &value)?;
                    tap.value(layer, read, &x)?;
                    buffers.give(x);
                }
            }
            made.push(Some(value));
            release(&mut made, &last, at);
        }
        match wanted.and_then(|value| made[value.index()].take()) {
            Some(value) => Ok(Some(self.back(buffers, &value)?)),
            None => Ok(None),
        }
    }

    /// See [`layer::run_on`].
    pub(super) fn part(
        &self,
        buffers: &mut Buffers,
        given: Vec<Option<Vec<f32>>>,
        turns: impl Fn(&Arc<Frequencies>) -> Option<Arc<Turns>>,
        keep: &[Value],
    ) -> Result<Vec<Option<Vec<f32>>>> {
        let (last, first) = (last_uses(self.ops, keep), given.len());
        let mut made: Vec<Option<D::Buf>> = Vec::with_capacity(self.ops.len());
        for value in &given {
            made.push(value.as_deref().map(|value| self.device.upload(value)).transpose()?);
        }
        for at in first..first + self.weights.len() {
            let value = self.step(buffers, &mut made, &last, at, first, &turns)?;
            made.push(Some(value));
            release(&mut made, &last, at);
        }
        let mut out = given;
        out.resize_with(made.len(), || None);
        for (at, (out, value)) in out.iter_mut().zip(made).enumerate() {
            let kept = keep.iter().any(|kept| kept.index() == at);
            match (kept, value) {
                (true, Some(value)) if at >= first => *out = Some(self.back(buffers, &value)?),
                (true, _) => {}
                (false, _) => {
                    if let Some(buffer) = out.take() {
                        buffers.give(buffer);
                    }
                }
            }
        }
        Ok(out)
    }

    fn back(&self, buffers: &mut Buffers, value: &D::Buf) -> Result<Vec<f32>> {
        let mut out = buffers.take(self.device.len(value));
        self.device.download(value, &mut out)?;
        Ok(out)
    }

    /// Statistics of what experts or heads read are gathered by the processor.
    fn tap_apart(
        &self,
        buffers: &mut Buffers,
        made: &[Option<D::Buf>],
        at: usize,
        layer: &Layer,
        tap: &mut dyn Tap,
    ) -> Result<()> {
        if !self.ops[at].apart() {
            return Ok(());
        }
        self.device.left("statistics of experts or heads");
        let made = made.iter().map(|value| value.as_ref().map(|value| self.back(buffers, value)).transpose());
        let made = made.collect::<Result<Vec<_>>>()?;
        let mut values = Values::of(made, self.ops.len(), buffers);
        experts::tap(self.settings, &mut values, at, self.ops, layer, self.weights, self.group, tap)?;
        heads::tap(&mut values, at, self.ops, layer, self.group, tap)?;
        values.give_back();
        Ok(())
    }

    /// The value itself where `at` is the last to read it, else a copy.
    fn own(&self, made: &mut [Option<D::Buf>], value: Value, last: &[usize], at: usize) -> Result<D::Buf> {
        if last[value.index()] == at
            && let Some(value) = made[value.index()].take()
        {
            return Ok(value);
        }
        Ok(self.device.copy(get(made, value))?)
    }

    /// One op. `first` is the place of the op that `weights` begin with.
    fn step(
        &self,
        buffers: &mut Buffers,
        made: &mut [Option<D::Buf>],
        last: &[usize],
        at: usize,
        first: usize,
        turns: &impl Fn(&Arc<Frequencies>) -> Option<Arc<Turns>>,
    ) -> Result<D::Buf> {
        let (device, rows, op) = (self.device, self.group.rows, &self.ops[at]);
        let (weights, placed) = (&self.weights[at - first], &self.placed[at - first]);
        let rounds = |stored| self.settings.activations.rounding(stored).is_some();
        Ok(match (op, weights, placed) {
            (Op::Carried(carry), ..) => device.upload(self.flow.of(*carry))?,
            // Only the rows of the tokens at hand are read, and go there as the first value.
            (Op::Embed { .. }, ..) => self.on_cpu(None, buffers, made, at, first, turns)?,
            (Op::Linear { x, w, .. }, Loaded::Linear(.., stored), Placed::Linear(matrix, bias)) if !rounds(*stored) => {
                let k = w.shape.last().copied().unwrap_or(1);
                let n = w.shape.iter().product::<usize>() / k.max(1);
                // Values of the stack before have rows of their own.
                let x = get(made, *x);
                device.matmul(x, device.len(x) / k.max(1), k, matrix, 0..n, bias.as_ref())?
            }
            (Op::Heads { x, w }, Loaded::Linear(.., stored), Placed::Linear(matrix, _)) if !rounds(*stored) => {
                let (count, n, k) = (w.shape[0], w.shape[1], w.shape[2]);
                let mut out: Option<D::Buf> = None;
                for head in 0..count {
                    let piece = device.slice(get(made, *x), count * k, head * k..(head + 1) * k)?;
                    let product = device.matmul(&piece, rows, k, matrix, head * n..(head + 1) * n, None)?;
                    out = Some(match out {
                        Some(before) => device.join(&before, &product, rows, 1, true)?,
                        None => product,
                    });
                }
                match out {
                    Some(out) => out,
                    None => device.zeros(0)?,
                }
            }
            (Op::Norm { kind, x, w, eps, .. }, _, Placed::Norm(weight, bias)) => {
                let each = w.shape.len() > 1;
                let centred = match kind {
                    NormKind::Rms => false,
                    NormKind::Layer => true,
                };
                let how = Norm { width: w.shape.last().copied().unwrap_or(1), eps: *eps, centred };
                let bias = bias.as_ref().filter(|_| centred);
                let mut out = device.norm(get(made, *x), how, (!each).then_some(weight), bias)?;
                if each {
                    device.multiply_columns(&mut out, weight)?;
                }
                out
            }
            (Op::Rope { x, turn, dim, table }, ..) => {
                let mut out = self.own(made, *x, last, at)?;
                let rotation = match turn {
                    Turn::Halves => Rotation::Halves,
                    Turn::Pairs => Rotation::Pairs,
                };
                if let Some(turns) = turns(table) {
                    let heads = device.len(&out) / rows.max(1) / dim;
                    device.rope(&mut out, heads, *dim, rotation, &turns)?;
                }
                out
            }
            (Op::Slice { x, per, from, to }, ..) => device.slice(get(made, *x), *per, *from..*to)?,
            (Op::Join { a, b, heads, shared }, ..) => {
                device.join(get(made, *a), get(made, *b), rows, *heads, *shared)?
            }
            (Op::Attend { q, k, v, heads, mask, scale, scores }, Loaded::Scores(sinks, table), _) => {
                let (sequences, causal, window) = self.group.attending(*mask);
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
                let (q, k, v) = (get(made, *q), get(made, *k), get(made, *v));
                device.attend(&shape, sequences, q, k, v)?
            }
            (Op::Add(a, b), ..) => {
                let mut out = if a == b { device.copy(get(made, *a))? } else { self.own(made, *a, last, at)? };
                device.add(&mut out, get(made, *b))?;
                out
            }
            (Op::Mul(a, b), ..) => {
                let len = |value: &Value| device.len(get(made, *value));
                if len(a) == rows && len(b) != rows {
                    let mut out = self.own(made, *b, last, at)?;
                    device.multiply_rows(&mut out, get(made, *a))?;
                    out
                } else {
                    let mut out = if a == b { device.copy(get(made, *a))? } else { self.own(made, *a, last, at)? };
                    device.multiply(&mut out, get(made, *b))?;
                    out
                }
            }
            (Op::Act(kind, x), ..) => {
                let mut out = self.own(made, *x, last, at)?;
                device.activate(&mut out, layer::activation(*kind))?;
                out
            }
            (Op::Affine { x, scale, shift }, ..) => {
                let mut out = self.own(made, *x, last, at)?;
                device.affine(&mut out, *scale, *shift)?;
                out
            }
            (Op::Clamp { x, low, high }, ..) => {
                let mut out = self.own(made, *x, last, at)?;
                device.clamp(&mut out, *low, *high)?;
                out
            }
            (Op::Softcap { x, cap }, ..) => {
                let mut out = self.own(made, *x, last, at)?;
                device.softcap(&mut out, *cap)?;
                out
            }
            (Op::Route { x, how, .. }, Loaded::Vector(bias), _) => {
                let logits = get(made, *x);
                device.route(&experts::routing(how, bias.as_deref()), device.len(logits) / rows.max(1), logits)?
            }
            (Op::Experts { x, route, w, .. }, Loaded::Experts(stack, bias), _) => {
                let given;
                let stored = match stack {
                    Stack::Stored(weight) => weight,
                    Stack::Given(matrices) => {
                        given = Weight::given(matrices, &w.shape);
                        &given
                    }
                };
                if rounds(stored.storage()) {
                    self.on_cpu(Some("products of rounded activations"), buffers, made, at, first, turns)?
                } else {
                    let (x, route) = (get(made, *x), get(made, *route));
                    self.experts(buffers, x, route, w, stored, bias.as_deref())?
                }
            }
            (Op::Mix { x, route }, ..) => {
                let (x, route) = (get(made, *x), get(made, *route));
                let top = device.len(route) / rows.max(1) / 2;
                device.mix(x, route, top, device.len(x) / rows.max(1) / top.max(1))?
            }
            (Op::Linear { .. } | Op::Heads { .. }, ..) => {
                self.on_cpu(Some("products of rounded activations"), buffers, made, at, first, turns)?
            }
            (Op::Norm { .. } | Op::Attend { .. } | Op::Route { .. } | Op::Experts { .. }, ..) => {
                unreachable!("weights are loaded by the same ops in the same order")
            }
        })
    }

    /// Runs the op by the processor; with `left`, that is counted.
    fn on_cpu(
        &self,
        left: Option<&'static str>,
        buffers: &mut Buffers,
        made: &[Option<D::Buf>],
        at: usize,
        first: usize,
        turns: &impl Fn(&Arc<Frequencies>) -> Option<Arc<Turns>>,
    ) -> Result<D::Buf> {
        if let Some(left) = left {
            self.device.left(left);
        }
        let op = &self.ops[at];
        let inputs = op.inputs();
        let mut values = vec![];
        for (i, value) in made.iter().enumerate() {
            let read = inputs.iter().any(|input| input.index() == i);
            values.push(match value {
                Some(value) if read => Some(self.back(buffers, value)?),
                _ => None,
            });
        }
        let mut values = Values::of(values, self.ops.len(), buffers);
        let value = layer::step(self.settings, &mut values, at, op, &self.weights[at - first], self.group, turns)?;
        values.give_back();
        let placed = self.device.upload(&value)?;
        buffers.give(value);
        Ok(placed)
    }

    /// See [`experts::multiply`]. An expert's matrix is copied when a token goes to it.
    fn experts(
        &self,
        buffers: &mut Buffers,
        x: &D::Buf,
        route: &D::Buf,
        w: &crate::model::Param,
        weight: &Weight<'_>,
        bias: Option<&[f32]>,
    ) -> Result<D::Buf> {
        let (device, rows) = (self.device, self.group.rows);
        let (experts, n, k) = (w.shape[0], w.shape[1], w.shape[2]);
        let route = self.back(buffers, route)?;
        let top = route.len() / rows.max(1) / 2;
        let shared = device.len(x) == rows * k;
        let mut out = device.zeros(rows * top * n)?;
        let mut decoded = buffers.take(0);
        for (expert, slots) in experts::slots(&route, top, experts).iter().enumerate().filter(|(_, s)| !s.is_empty()) {
            let read_rows: Vec<usize> = slots.iter().map(|slot| if shared { slot / top } else { *slot }).collect();
            let first = expert * n;
            let matrix = if let Some(bytes) = borrowed(weight, first..first + n) {
                finite_bf16(&w.name, k, first, bytes)?;
                device.matrix(cpu::Weight::Bf16(bytes))?
            } else {
                decoded.resize(n * k, 0.0);
                read(self.settings.isa, weight, &w.name, first, &mut decoded)?;
                device.matrix(cpu::Weight::F32(&decoded))?
            };
            let bias = bias.map(|bias| device.upload(&bias[first..first + n])).transpose()?;
            let gathered = device.gather(x, k, &read_rows)?;
            let product = device.matmul(&gathered, slots.len(), k, &matrix, 0..n, bias.as_ref())?;
            device.scatter(&product, n, slots, &mut out)?;
        }
        for buffer in [route, decoded] {
            buffers.give(buffer);
        }
        Ok(out)
    }
}

fn get<B>(made: &[Option<B>], value: Value) -> &B {
    let Some(value) = &made[value.index()] else { unreachable!("a value lives until its last reader") };
    value
}

fn release<B>(made: &mut [Option<B>], last: &[usize], at: usize) {
    for (value, &last) in made.iter_mut().zip(last) {
        if last <= at {
            *value = None;
        }
    }
}
