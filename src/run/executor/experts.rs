//! Experts: each multiplies the rows of the tokens that go to it, all at once.

use planish_kernels::cpu::{self, matmul};

use super::layer::{Group, Values, step};
use super::weights::{Loaded, borrowed, finite_bf16, read};
use super::{ExpertRows, Result, Settings, Tap};
use crate::model::{Layer, Op, Param, Routing, Scoring, Value};
use crate::run::Weight;

/// The kernel's word for a routing.
pub(super) fn routing<'a>(how: &Routing, bias: Option<&'a [f32]>) -> cpu::Routing<'a> {
    let Routing { top, scoring, groups, top_groups, group_best, normalise, scale } = *how;
    let scoring = match scoring {
        Scoring::Softmax => cpu::Scoring::Softmax,
        Scoring::Sigmoid => cpu::Scoring::Sigmoid,
    };
    cpu::Routing { top, scoring, bias, groups, top_groups, group_best, normalise, scale }
}

/// The slots of each expert, in the order of the tokens: token times `top` plus the place among its experts.
pub(super) fn slots(route: &[f32], top: usize, experts: usize) -> Vec<Vec<usize>> {
    let mut slots = vec![vec![]; experts];
    for (row, route) in route.chunks_exact(2 * top).enumerate() {
        for (j, expert) in route[..top].iter().enumerate() {
            if let Some(of_expert) = slots.get_mut(*expert as usize) {
                of_expert.push(row * top + j);
            }
        }
    }
    slots
}

/// The rows of `x` for these slots, `[slots, inp]`; a token's row is the same for all of its slots if `x` has one.
fn gathered(x: &[f32], inp: usize, top: usize, shared: bool, slots: &[usize], out: &mut Vec<f32>) {
    out.clear();
    for slot in slots {
        let row = if shared { slot / top } else { *slot };
        out.extend_from_slice(&x[row * inp..][..inp]);
    }
}

/// `[rows, top * out]`: every slot's row times the matrix of its expert. A matrix is decoded when it is needed.
#[allow(clippy::too_many_arguments)]
pub(super) fn multiply(
    settings: &Settings,
    values: &mut Values<'_>,
    x: Value,
    route: Value,
    w: &Param,
    weight: &Weight<'_>,
    bias: Option<&[f32]>,
    rows: usize,
) -> Result<Vec<f32>> {
    let (experts, n, k) = (w.shape[0], w.shape[1], w.shape[2]);
    let top = values.get(route).len() / rows.max(1) / 2;
    let mut out = values.buffers.take(rows * top * n);
    let mut decoded = values.buffers.take(0);
    let (mut gathered_rows, mut product) = (values.buffers.take(0), values.buffers.take(0));
    let shared = values.get(x).len() == rows * k;
    for (expert, slots) in slots(values.get(route), top, experts).iter().enumerate().filter(|(_, s)| !s.is_empty()) {
        gathered(values.get(x), k, top, shared, slots, &mut gathered_rows);
        if let Some(rounding) = settings.activations.rounding(weight.storage()) {
            rounding.round(&mut gathered_rows, k);
        }
        let first = expert * n;
        let matrix = if let Some(bytes) = borrowed(weight, first..first + n) {
            finite_bf16(&w.name, k, first, bytes)?;
            cpu::Weight::Bf16(bytes)
        } else {
            decoded.resize(n * k, 0.0);
            read(settings.isa, weight, &w.name, first, &mut decoded)?;
            cpu::Weight::F32(&decoded)
        };
        product.resize(slots.len() * n, 0.0);
        let bias = bias.map(|bias| &bias[first..first + n]);
        matmul(settings.isa, &gathered_rows, slots.len(), k, matrix, n, bias, &mut product, settings.precision);
        for (slot, product) in slots.iter().zip(product.chunks_exact(n.max(1))) {
            out[slot * n..][..n].copy_from_slice(product);
        }
    }
    for buffer in [decoded, gathered_rows, product] {
        values.buffers.give(buffer);
    }
    Ok(out)
}

/// Shows `tap` what the experts of op `at` read, where it is the first op that reads this of them.
#[allow(clippy::too_many_arguments)]
pub(super) fn tap(
    settings: &Settings,
    values: &mut Values<'_>,
    at: usize,
    ops: &[Op],
    layer: &Layer,
    weights: &[Loaded<'_>],
    group: &Group<'_>,
    tap: &mut dyn Tap,
) -> Result<()> {
    let first = |x: Value| ops[..at].iter().all(|op| !matches!(op, Op::Experts { x: other, .. } if *other == x));
    let Some(Op::Experts { x, route, w, .. }) = ops.get(at) else { return Ok(()) };
    if !first(*x) {
        return Ok(());
    }
    let (experts, k, rows) = (w.shape[0], w.shape[2], group.rows);
    let top = values.get(*route).len() / rows.max(1) / 2;
    let shared = values.get(*x).len() == rows * k;
    let all = slots(values.get(*route), top, experts);
    if tap.every_expert() {
        let opens = ops[..at].iter().all(|op| op.route() != Some(*route));
        return if opens { every(settings, values, at, *route, ops, layer, weights, group, &all, tap) } else { Ok(()) };
    }
    let mut x_rows = vec![];
    for (expert, slots) in all.iter().enumerate() {
        gathered(values.get(*x), k, top, shared, slots, &mut x_rows);
        let tokens: Vec<usize> = slots.iter().map(|slot| slot / top).collect();
        tap.expert(layer, *x, &ExpertRows { expert, x: &x_rows, tokens: &tokens, routed: slots.len() })?;
    }
    Ok(())
}

/// Runs what follows `route` once for each expert, as if every token went to it alone, and shows what its matrices read.
#[allow(clippy::too_many_arguments)]
fn every(
    settings: &Settings,
    values: &mut Values<'_>,
    at: usize,
    route: Value,
    ops: &[Op],
    layer: &Layer,
    weights: &[Loaded<'_>],
    group: &Group<'_>,
    slots: &[Vec<usize>],
    tap: &mut dyn Tap,
) -> Result<()> {
    // The ops between here and the last product of this route that depend on it.
    let last =
        ops.iter().rposition(|op| matches!(op, Op::Experts { route: other, .. } if *other == route)).unwrap_or(at);
    let mut depends = vec![false; ops.len()];
    for (i, op) in ops.iter().enumerate().take(last + 1).skip(at) {
        let on = op.inputs().iter().any(|input| depends[input.index()]);
        depends[i] = on || op.route() == Some(route);
    }
    let read: Vec<Value> = ops.iter().zip(&depends).filter(|(_, on)| **on).flat_map(|(op, _)| op.inputs()).collect();
    let tokens: Vec<usize> = (0..group.rows).collect();
    for (expert, routed) in slots.iter().enumerate() {
        let alone: Vec<f32> = tokens.iter().flat_map(|_| [expert as f32, 1.0]).collect();
        let mut own = values.fork(ops.len(), |value| value.index() < at && read.contains(&value));
        own.made[route.index()] = Some(alone);
        let mut seen = vec![];
        for (i, op) in ops.iter().enumerate().take(last + 1).skip(at) {
            if let Op::Experts { x, route: other, .. } = op
                && *other == route
                && !seen.contains(x)
            {
                seen.push(*x);
                tap.expert(layer, *x, &ExpertRows { expert, x: own.get(*x), tokens: &tokens, routed: routed.len() })?;
            }
            if i == last {
                break;
            }
            let value =
                if depends[i] { Some(step(settings, &mut own, i, op, &weights[i], group, &|_| None)?) } else { None };
            own.made[i] = value;
        }
    }
    Ok(())
}
