//! Latent attention as a checkpoint's own matrices have it: keys and values of every head are made of the latent vectors.

use super::{Gather, Heads, Layer, Model, Op, Param, Value};

impl Model {
    /// The same model with keys and values of all heads made, where its program multiplies their matrices into queries and
    /// outputs instead. Both then read the latent vectors, as the one linear of the checkpoint that they are rows of does.
    pub fn expanded(mut self) -> Model {
        for layer in self.stacks.iter_mut().flat_map(|s| &mut s.layers) {
            if let Some(at) = latent(layer) {
                expand(layer, &at);
            }
        }
        self
    }
}

/// The ops of an attention over latent vectors that change.
struct Latent {
    /// Queries into the latent's space, and those queries with their part that turns.
    absorbed: usize,
    q: usize,
    k: usize,
    attend: usize,
    /// Each head's mean of latent vectors to its value.
    values: usize,
}

fn latent(layer: &Layer) -> Option<Latent> {
    let ops = &layer.ops;
    let heads = |turned: bool| {
        let one = move |op: &Op| match op {
            Op::Heads { w, .. } => matches!(&w.from, Gather::Heads { turned: found, .. } if *found == turned),
            _ => false,
        };
        ops.iter().position(one)
    };
    let (absorbed, values) = (heads(true)?, heads(false)?);
    let Op::Heads { x, .. } = &ops[values] else { return None };
    let Some(Op::Attend { q, k, v, .. }) = layer.maker(*x) else { return None };
    // In this order every value is made before it is read.
    let ordered = absorbed < q.index() && q.index() < k.index() && k.index() < x.index() && x.index() < values;
    let joined = matches!((layer.maker(*q), layer.maker(*k)),
        (Some(Op::Join { a, .. }), Some(Op::Join { a: latent, .. })) if a.index() == absorbed && latent == v);
    let made = v.index() < absorbed;
    (ordered && joined && made).then_some(Latent { absorbed, q: q.index(), k: k.index(), attend: x.index(), values })
}

fn expand(layer: &mut Layer, at: &Latent) {
    let ops = &layer.ops;
    let (Op::Heads { x: q_rest, w: keys }, Op::Join { b: q_turned, .. }) = (&ops[at.absorbed], &ops[at.q]) else {
        return;
    };
    let (Op::Join { b: k_turned, .. }, Op::Heads { w: values, .. }) = (&ops[at.k], &ops[at.values]) else { return };
    let Op::Attend { v: latent, heads, mask, scale, scores, .. } = &ops[at.attend] else { return };
    let ([count, rank, rest], [_, v_dim, _]) = (stack(keys), stack(values));
    let (q_rest, q_turned, k_turned, latent) = (*q_rest, *q_turned, *k_turned, *latent);
    let keys = Param { from: upright(&keys.from), shape: vec![count, rest, rank], ..keys.clone() };
    let heads = Heads { kv: count, dim: heads.dim - rank + rest, v_dim, ..*heads };
    let attend = Op::Attend {
        q: Value::at(at.q),
        k: Value::at(at.k),
        v: Value::at(at.attend),
        heads,
        mask: *mask,
        scale: *scale,
        scores: scores.clone(),
    };
    let values = Op::Linear { x: latent, w: values.clone(), bias: None };
    layer.ops[at.absorbed] = Op::Linear { x: latent, w: keys, bias: None };
    layer.ops[at.q] = Op::Join { a: q_rest, b: q_turned, heads: count, shared: false };
    layer.ops[at.k] = Op::Join { a: Value::at(at.absorbed), b: k_turned, heads: count, shared: true };
    layer.ops[at.attend] = values;
    layer.ops[at.values] = attend;
}

fn stack(w: &Param) -> [usize; 3] {
    [0, 1, 2].map(|i| w.shape.get(i).copied().unwrap_or(0))
}

/// The rows as the checkpoint has them.
fn upright(from: &Gather) -> Gather {
    match from {
        Gather::Heads { name, per, from, to, .. } => {
            Gather::Heads { name: name.clone(), per: *per, from: *from, to: *to, turned: false }
        }
        other => other.clone(),
    }
}
