//! A naive executor, written from the documentation of the ops alone: the oracle for programs, and for executors.

use std::collections::BTreeMap;

use super::super::{
    Activation, Carry, Gather, Index, Layer, Mask, Model, NormKind, Op, Param, Turn, Value, paired_row,
};

/// Rows of one width.
type Rows = Vec<Vec<f64>>;

/// What a program says of these tokens; `tensor` gives a tensor by its name in the checkpoint.
pub(super) fn run(model: &Model, ids: &[usize], tensor: &dyn Fn(&str) -> Vec<f32>) -> BTreeMap<Carry, Rows> {
    let mut carried = BTreeMap::new();
    for layer in model.stacks.iter().flat_map(|s| &s.layers) {
        let values = values(layer, &carried, ids, tensor);
        for (carry, value) in &layer.results {
            carried.insert(*carry, values[value.index()].clone());
        }
    }
    carried
}

fn values(
    layer: &Layer,
    carried: &BTreeMap<Carry, Rows>,
    ids: &[usize],
    tensor: &dyn Fn(&str) -> Vec<f32>,
) -> Vec<Rows> {
    let mut made: Vec<Rows> = vec![];
    for op in &layer.ops {
        let at = |v: &Value| &made[v.index()];
        let load = |p: &Param| -> Vec<f64> { gather(&p.from, &p.shape, tensor).into_iter().map(f64::from).collect() };
        let rows: Rows = match op {
            Op::Carried(carry) => carried[carry].clone(),
            Op::Embed { table, by } => {
                let (w, width) = (load(table), table.shape[1]);
                let row = |(p, &id): (usize, &usize)| match by {
                    Index::Token => id,
                    Index::Position => p,
                };
                ids.iter().enumerate().map(row).map(|i| w[i * width..][..width].to_vec()).collect()
            }
            Op::Linear { x, w, bias } => {
                let (weights, bias) = (load(w), bias.as_ref().map(load));
                at(x).iter().map(|row| product(row, &weights, bias.as_deref())).collect()
            }
            Op::Norm { kind, x, w, bias, eps } => {
                let (w, bias) = (load(w), bias.as_ref().map(load));
                let norm = |row: &Vec<f64>| {
                    row.chunks(w.len()).flat_map(|x| normed(*kind, x, &w, bias.as_deref(), *eps)).collect()
                };
                at(x).iter().map(norm).collect()
            }
            Op::Rope { x, turn, dim, table } => {
                let mut rows = at(x).clone();
                for (p, row) in rows.iter_mut().enumerate() {
                    row.chunks_mut(*dim).for_each(|head| turned(head, p, *turn, &table.inverse, table.scale));
                }
                rows
            }
            Op::Slice { x, per, from, to } => at(x)
                .iter()
                .map(|row| row.chunks(*per).flat_map(|piece| piece[*from..*to].to_vec()).collect())
                .collect(),
            Op::Attend { q, k, v, heads, mask, scale } => {
                let head = |p: usize, h: usize| -> Vec<f64> {
                    let first = match mask {
                        Mask::Causal => 0,
                        Mask::Window(n) => (p + 1).saturating_sub(*n),
                    };
                    let shared = h / (heads.q / heads.kv);
                    let query = &at(q)[p][h * heads.dim..][..heads.dim];
                    let score = |t: usize| dot(query, &at(k)[t][shared * heads.dim..][..heads.dim]) * f64::from(*scale);
                    let scores: Vec<f64> = (first..=p).map(score).collect();
                    let top = scores.iter().copied().fold(f64::MIN, f64::max);
                    let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                    let mut out = vec![0.0; heads.v_dim];
                    for (t, s) in (first..=p).zip(&scores) {
                        for (o, v) in out.iter_mut().zip(&at(v)[t][shared * heads.v_dim..]) {
                            *o += (s - top).exp() / sum * v;
                        }
                    }
                    out
                };
                (0..ids.len()).map(|p| (0..heads.q).flat_map(|h| head(p, h)).collect()).collect()
            }
            Op::Add(a, b) => both(at(a), at(b), |a, b| a + b),
            Op::Mul(a, b) => both(at(a), at(b), |a, b| a * b),
            Op::Act(act, x) => at(x).iter().map(|row| row.iter().map(|&x| activated(*act, x)).collect()).collect(),
        };
        made.push(rows);
    }
    made
}

/// The logical tensor, row by row as [`Gather`] says.
pub(super) fn gather(from: &Gather, shape: &[usize], tensor: &dyn Fn(&str) -> Vec<f32>) -> Vec<f32> {
    match from {
        Gather::Whole(name) => tensor(name),
        Gather::Transposed(name) => {
            let (data, out) = (tensor(name), shape[0]);
            (0..data.len()).map(|i| data[i % shape[1] * out + i / shape[1]]).collect()
        }
        Gather::Rows(name, first, to) => tensor(name)[first * shape[1]..to * shape[1]].to_vec(),
        Gather::Stacked(names) => names.iter().flat_map(|name| tensor(name)).collect(),
        Gather::Paired { name, heads } => {
            let (data, cols) = (tensor(name), shape.get(1).copied().unwrap_or(1));
            let row = |r| data[paired_row(r, shape[0] / heads) * cols..][..cols].to_vec();
            (0..shape[0]).flat_map(row).collect()
        }
        Gather::Computed(values) => values.to_vec(),
    }
}

fn both(a: &Rows, b: &Rows, f: impl Fn(f64, f64) -> f64) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn product(x: &[f64], w: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
    let rows = w.chunks(x.len()).enumerate();
    rows.map(|(j, row)| dot(x, row) + bias.map_or(0.0, |b| b[j])).collect()
}

fn normed(kind: NormKind, x: &[f64], w: &[f64], bias: Option<&[f64]>, eps: f32) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = match kind {
        NormKind::Rms => 0.0,
        NormKind::Layer => x.iter().sum::<f64>() / n,
    };
    let spread = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + f64::from(eps)).sqrt();
    x.iter().enumerate().map(|(i, x)| (x - mean) / spread * w[i] + bias.map_or(0.0, |b| b[i])).collect()
}

fn turned(head: &mut [f64], p: usize, turn: Turn, inverse: &[f32], scale: f32) {
    for (j, frequency) in inverse.iter().enumerate() {
        let (a, b) = match turn {
            Turn::Halves => (j, j + inverse.len()),
            Turn::Pairs => (2 * j, 2 * j + 1),
        };
        let (sin, cos) = f64::from(p as f32 * frequency).sin_cos();
        let (sin, cos) = (sin * f64::from(scale), cos * f64::from(scale));
        (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[b] * cos + head[a] * sin);
    }
}

fn activated(act: Activation, x: f64) -> f64 {
    let tanh = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    match act {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => x / 2.0 * (1.0 + tanh.tanh()),
        Activation::Relu => x.max(0.0),
        Activation::Gelu => panic!("no committed model has it: std lacks erf"),
    }
}
