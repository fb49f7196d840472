//! A naive executor, written from the documentation of the ops alone: the oracle for programs, and for executors.

use std::collections::BTreeMap;

use super::super::{
    Activation, Carry, Gather, Index, Layer, Mask, Model, NormKind, Op, Param, Routing, Scoring, Turn, Value,
    paired_row, unpaired_row,
};

/// Rows of one width.
type Rows = Vec<Vec<f64>>;

/// What a program says of these tokens; `tensor` gives a tensor by its name in the checkpoint.
pub(super) fn run(model: &Model, inputs: &[Vec<usize>], tensor: &dyn Fn(&str) -> Vec<f32>) -> BTreeMap<Carry, Rows> {
    let mut carried = BTreeMap::new();
    for (stack, ids) in model.stacks.iter().zip(inputs) {
        carried = carried.remove(&Carry::Hidden).map(|rows| (Carry::Encoded, rows)).into_iter().collect();
        for layer in &stack.layers {
            let values = values(layer, &carried, ids, tensor);
            for (carry, value) in &layer.results {
                carried.insert(*carry, values[value.index()].clone());
            }
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
                    Index::First => 0,
                };
                ids.iter().enumerate().map(row).map(|i| w[i * width..][..width].to_vec()).collect()
            }
            Op::Linear { x, w, bias } => {
                let (weights, bias) = (load(w), bias.as_ref().map(load));
                at(x).iter().map(|row| product(row, &weights, bias.as_deref())).collect()
            }
            Op::Heads { x, w } => {
                let (weights, [count, out, inp]) = (load(w), [w.shape[0], w.shape[1], w.shape[2]]);
                let head = |row: &Vec<f64>, h: usize| {
                    product(&row[h * inp..][..inp], &weights[h * out * inp..][..out * inp], None)
                };
                at(x).iter().map(|row| (0..count).flat_map(|h| head(row, h)).collect()).collect()
            }
            Op::Norm { kind, x, w, bias, eps } => {
                let (w, bias) = (load(w), bias.as_ref().map(load));
                let width = load_shape(op)[load_shape(op).len() - 1];
                let norm = |row: &Vec<f64>| {
                    let weight = |i: usize| &w[(i * width) % w.len()..][..width];
                    let pieces = row.chunks(width).enumerate();
                    pieces.flat_map(|(i, x)| normed(*kind, x, weight(i), bias.as_deref(), *eps)).collect()
                };
                at(x).iter().map(norm).collect()
            }
            Op::Rope { x, turn, dim, table } => {
                let mut rows = at(x).clone();
                for (p, row) in rows.iter_mut().enumerate() {
                    row.chunks_mut(*dim).for_each(|head| turned(head, p, *turn, table.of(ids.len()), table.scale));
                }
                rows
            }
            Op::Slice { x, per, from, to } => at(x)
                .iter()
                .map(|row| row.chunks(*per).flat_map(|piece| piece[*from..*to].to_vec()).collect())
                .collect(),
            Op::Join { a, b, heads, shared } => {
                let row = |(a, b): (&Vec<f64>, &Vec<f64>)| {
                    let (n, m) = (a.len() / heads, if *shared { b.len() } else { b.len() / heads });
                    let of = |h: usize| if *shared { 0 } else { h * m };
                    (0..*heads).flat_map(|h| [&a[h * n..][..n], &b[of(h)..][..m]].concat()).collect()
                };
                at(a).iter().zip(at(b)).map(row).collect()
            }
            Op::Attend { q, k, v, heads, mask, scale, scores: how } => {
                let sinks = how.sinks.as_ref().map(load);
                let bias = how.bias.as_ref().map(|bias| (bias, load(&bias.table)));
                let head = |p: usize, h: usize| -> Vec<f64> {
                    let (first, end) = match mask {
                        Mask::Causal => (0, p + 1),
                        Mask::Window(n) => ((p + 1).saturating_sub(*n), p + 1),
                        Mask::All => (0, ids.len()),
                        Mask::Across => (0, at(k).len()),
                    };
                    let shared = h / (heads.q / heads.kv);
                    let query = &at(q)[p][h * heads.dim..][..heads.dim];
                    let score = |t: usize| {
                        let score = dot(query, &at(k)[t][shared * heads.dim..][..heads.dim]) * f64::from(*scale);
                        let score = how.cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
                        let score = score
                            + bias
                                .as_ref()
                                .map_or(0.0, |(bias, table)| table[bias.bucket(t as i64 - p as i64) * heads.q + h]);
                        score - how.slopes.as_ref().map_or(0.0, |slopes| f64::from(slopes[h]) * (p - t) as f64)
                    };
                    let scores: Vec<f64> = (first..end).map(score).collect();
                    let top = scores.iter().copied().fold(f64::MIN, f64::max);
                    let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                    let sum = sum + sinks.as_ref().map_or(0.0, |sinks| (sinks[h] - top).exp());
                    let mut out = vec![0.0; heads.v_dim];
                    for (t, s) in (first..end).zip(&scores) {
                        for (o, v) in out.iter_mut().zip(&at(v)[t][shared * heads.v_dim..]) {
                            *o += (s - top).exp() / sum * v;
                        }
                    }
                    out
                };
                (0..ids.len()).map(|p| (0..heads.q).flat_map(|h| head(p, h)).collect()).collect()
            }
            Op::Add(a, b) => both(at(a), at(b), |a, b| a + b),
            Op::Mul(a, b) if at(a)[0].len() == 1 => {
                at(a).iter().zip(at(b)).map(|(a, b)| b.iter().map(|b| a[0] * b).collect()).collect()
            }
            Op::Mul(a, b) => both(at(a), at(b), |a, b| a * b),
            Op::Act(act, x) => each(at(x), |x| activated(*act, x)),
            Op::Affine { x, scale, shift } => each(at(x), |x| x * f64::from(*scale) + f64::from(*shift)),
            Op::Clamp { x, low, high } => each(at(x), |x| x.clamp(f64::from(*low), f64::from(*high))),
            Op::Softcap { x, cap } => each(at(x), |x| f64::from(*cap) * (x / f64::from(*cap)).tanh()),
            Op::Route { x, bias, how } => {
                let bias = bias.as_ref().map(load);
                at(x).iter().map(|logits| routed(logits, bias.as_deref(), how)).collect()
            }
            Op::Experts { x, route, w, bias } => {
                let (weights, bias, [_, n, k]) = (load(w), bias.as_ref().map(load), stack(w));
                let row = |(x, route): (&Vec<f64>, &Vec<f64>)| {
                    let slot = |(j, expert): (usize, &f64)| {
                        let (e, from) = (*expert as usize, if x.len() == k { 0 } else { j * k });
                        product(
                            &x[from..from + k],
                            &weights[e * n * k..][..n * k],
                            bias.as_ref().map(|b| &b[e * n..][..n]),
                        )
                    };
                    route[..route.len() / 2].iter().enumerate().flat_map(slot).collect()
                };
                at(x).iter().zip(at(route)).map(row).collect()
            }
            Op::Mix { x, route } => {
                let row = |(x, route): (&Vec<f64>, &Vec<f64>)| {
                    let (top, width) = (route.len() / 2, x.len() / (route.len() / 2));
                    (0..width).map(|i| (0..top).map(|j| x[j * width + i] * route[top + j]).sum()).collect()
                };
                at(x).iter().zip(at(route)).map(row).collect()
            }
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
        Gather::Rows(name, first, to) => {
            let cols = shape[shape.len() - 1];
            tensor(name)[first * cols..to * cols].to_vec()
        }
        Gather::Stacked(names) => names.iter().flat_map(|name| tensor(name)).collect(),
        Gather::Paired { name, heads } => {
            let (data, cols) = (tensor(name), shape.get(1).copied().unwrap_or(1));
            let row = |r| data[paired_row(r, shape[0] / heads) * cols..][..cols].to_vec();
            (0..shape[0]).flat_map(row).collect()
        }
        Gather::Unpaired { name, heads } => {
            let (data, cols) = (tensor(name), shape.get(1).copied().unwrap_or(1));
            let row = |r| data[unpaired_row(r, shape[0] / heads) * cols..][..cols].to_vec();
            (0..shape[0]).flat_map(row).collect()
        }
        Gather::Picked { name, .. } | Gather::Ungrouped { name, .. } | Gather::Grouped { name, .. } => {
            // Where the rows come from is tested beside the enum, and by transformers' logits.
            let data = tensor(name);
            let cols = if shape.len() == 1 { 1 } else { shape[shape.len() - 1] };
            let rows = shape.iter().product::<usize>() / cols;
            (0..rows).flat_map(|r| data[from.source_row(r, rows) * cols..][..cols].to_vec()).collect()
        }
        Gather::Woven(parts) => {
            let data: Vec<(Vec<f32>, usize)> = parts.iter().map(|(name, rows)| (tensor(name), *rows)).collect();
            let cols = if shape.len() == 1 { 1 } else { shape[shape.len() - 1] };
            let turns = data[0].0.len() / data[0].1 / cols;
            let turn =
                |i: usize| data.iter().flat_map(move |(data, rows)| &data[i * rows * cols..(i + 1) * rows * cols]);
            (0..turns).flat_map(|i| turn(i).copied().collect::<Vec<f32>>()).collect()
        }
        Gather::Heads { name, per, from, turned, .. } => {
            let (data, [heads, n, k]) = (tensor(name), [shape[0], shape[1], shape[2]]);
            let width = if *turned { n } else { k };
            let element = |h: usize, r: usize, c: usize| {
                let (row, col) = if *turned { (c, r) } else { (r, c) };
                data[(h * per + from + row) * width + col]
            };
            let rows = (0..heads).flat_map(|h| (0..n).map(move |r| (h, r)));
            rows.flat_map(|(h, r)| (0..k).map(|c| element(h, r, c)).collect::<Vec<f32>>()).collect()
        }
        Gather::OfHeads(strands) => {
            let (data, k): (Vec<Vec<f32>>, _) = (strands.iter().map(|s| tensor(&s.name)).collect(), shape[1]);
            let heads = shape[0] / strands.iter().map(|s| s.rows).sum::<usize>();
            let element = |i: usize, h: usize, r: usize, c: usize| {
                let n = strands[i].rows;
                data[i][h * n * k + if strands[i].turned { c * n + r } else { r * k + c }]
            };
            let rows = (0..heads).flat_map(|h| (0..strands.len()).map(move |i| (h, i)));
            let rows = rows.flat_map(|(h, i)| (0..strands[i].rows).map(move |r| (h, i, r)));
            rows.flat_map(|(h, i, r)| (0..k).map(|c| element(i, h, r, c)).collect::<Vec<f32>>()).collect()
        }
        Gather::Shifted { name, by } => tensor(name).iter().map(|x| x + by).collect(),
        Gather::Columns { name, step, first } => {
            let (data, [count, n, k]) = (tensor(name), [shape[0], shape[1], shape[2]]);
            let element = |e: usize, r: usize, c: usize| data[(e * k + c) * n * step + r * step + first];
            let rows = (0..count).flat_map(|e| (0..n).map(move |r| (e, r)));
            rows.flat_map(|(e, r)| (0..k).map(|c| element(e, r, c)).collect::<Vec<f32>>()).collect()
        }
        Gather::Zipped { names, transposed } => {
            let data: Vec<Vec<f32>> = names.iter().map(|name| tensor(name)).collect();
            let (cols, n) = (shape[shape.len() - 1], data.len());
            let inp = if *transposed { shape[shape.len() - 2] } else { 1 };
            let width = cols / n;
            let element = |at: usize| {
                let (row, f, j) = (at / cols, at % cols / n, at % n);
                let at = if *transposed { (row / inp * width + f) * inp + row % inp } else { row * width + f };
                data[j][at]
            };
            (0..shape.iter().product()).map(element).collect()
        }
        Gather::Every { name, step, first } => tensor(name).into_iter().skip(*first).step_by(*step).collect(),
        Gather::Computed(values) => values.to_vec(),
    }
}

/// The shape of a norm's weight.
fn load_shape(op: &Op) -> &[usize] {
    match op {
        Op::Norm { w, .. } => &w.shape,
        other => panic!("{other:?} is no norm"),
    }
}

fn stack(w: &Param) -> [usize; 3] {
    w.shape.clone().try_into().expect("a stack")
}

fn each(rows: &Rows, f: impl Fn(f64) -> f64) -> Rows {
    rows.iter().map(|row| row.iter().map(|&x| f(x)).collect()).collect()
}

/// By sorting.
fn routed(logits: &[f64], bias: Option<&[f64]>, how: &Routing) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|x| x.exp()).sum();
    let score = |x: &f64| match how.scoring {
        Scoring::Softmax => x.exp() / sum,
        Scoring::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    };
    let scores: Vec<f64> = logits.iter().map(score).collect();
    let chosen: Vec<f64> = scores.iter().enumerate().map(|(i, x)| x + bias.map_or(0.0, |bias| bias[i])).collect();
    let of = logits.len() / how.groups;
    let quality = |g: &usize| -> f64 {
        let mut group = chosen[g * of..(g + 1) * of].to_vec();
        group.sort_by(|a, b| b.total_cmp(a));
        group[..how.group_best].iter().sum()
    };
    let mut groups: Vec<usize> = (0..how.groups).collect();
    groups.sort_by(|a, b| quality(b).total_cmp(&quality(a)));
    let mut experts: Vec<usize> = (0..logits.len()).filter(|e| groups[..how.top_groups].contains(&(e / of))).collect();
    experts.sort_by(|a, b| chosen[*b].total_cmp(&chosen[*a]));
    experts.truncate(how.top);
    let sum: f64 = if how.normalise { experts.iter().map(|e| scores[*e]).sum() } else { 1.0 };
    let weights = experts.iter().map(|e| scores[*e] / sum * f64::from(how.scale));
    experts.iter().map(|e| *e as f64).chain(weights).collect()
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

/// Its series.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..150 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    if x.abs() > 5.0 { x.signum() } else { sum * std::f64::consts::FRAC_2_SQRT_PI }
}

fn activated(act: Activation, x: f64) -> f64 {
    let tanh = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    match act {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => x / 2.0 * (1.0 + tanh.tanh()),
        Activation::GeluQuick => x / (1.0 + (-1.702 * x).exp()),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::Gelu => x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
    }
}
