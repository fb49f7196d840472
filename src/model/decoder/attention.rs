//! Attention of decoders.

use super::super::{Config, Gather, Heads, NormKind, Op, Param, Role, Scores, Scribe, Value};
use super::{Ropes, Style};

/// Query, key and value projections.
#[derive(Clone, Copy)]
pub(in crate::model) enum Qkv {
    /// A matrix each.
    Split([&'static str; 3]),
    /// One matrix: queries, keys, values.
    Fused(&'static str),
    /// One matrix, for each key head its queries, itself and its value; queries, keys, values in GGUF.
    Grouped(&'static str),
}

/// Norms of queries and keys.
#[derive(Clone, Copy)]
pub(in crate::model) enum QkNorm {
    /// Of each head, with one weight for all.
    Heads([&'static str; 2]),
    /// Of each head, with a weight for each, without bias: `{name}.norms.{head}`, or a matrix.
    Each([&'static str; 2], bool),
    /// Of all heads together.
    Whole([&'static str; 2]),
}

/// The slope of each head in ALiBi: powers of `2^(-max / n)`, `n` the largest power of 2 up to the number of heads, and
/// odd powers of its root for the heads past that.
fn slopes(heads: usize, max: f64) -> Vec<f32> {
    let n = 1usize << heads.max(1).ilog2();
    let slope = |h: usize| {
        let power = if h < n { (h + 1) as f64 / n as f64 } else { (2 * (h - n) + 1) as f64 / (2 * n) as f64 };
        (-max * power).exp2() as f32
    };
    (0..heads).map(slope).collect()
}

impl Style {
    /// What attention over the normed stream `n` adds in layer `i`.
    pub(super) fn attention(&self, s: &mut Scribe, c: &Config, ropes: &Ropes, i: usize, n: Value) -> Value {
        let dim = c.head_dim;
        let heads = Heads { q: c.heads, kv: c.kv_heads, dim, v_dim: dim };
        let [mut q, mut k, v] = self.projections(s, c, &heads, n);
        if c.qk_norm {
            let (names, each) = match self.qk_norm {
                QkNorm::Heads(names) | QkNorm::Whole(names) => (names, None),
                QkNorm::Each(names, split) => (names, Some(split)),
            };
            for (x, role, name, count) in
                [(&mut q, Role::AttnQNorm, names[0], heads.q), (&mut k, Role::AttnKNorm, names[1], heads.kv)]
            {
                *x = match (self.qk_norm, each) {
                    (_, Some(split)) => each_norm(s, c, *x, role, name, [count, dim], split),
                    (QkNorm::Whole(_), _) => self.norm(s, c, *x, role, name, count * dim),
                    _ => self.norm(s, c, *x, role, name, dim),
                };
            }
        }
        let local = ropes.local.as_ref().filter(|_| c.windows.get(i).copied().flatten().is_some());
        if let Some(table) = local.or(ropes.usual.as_ref()) {
            q = s.rope(q, self.turn, dim, table);
            k = s.rope(k, self.turn, dim, table);
        }
        let scale = c.scales.attention.map_or_else(|| (dim as f32).sqrt().recip(), |scale| scale as f32);
        let sinks = self.sinks.map(|name| {
            let from = Gather::Whole(s.name(name));
            s.param_of(Role::AttnSinks, "weight", from, &[heads.q])
        });
        let scores = Scores {
            bias: None,
            cap: c.caps.attention.map(|cap| cap as f32),
            slopes: c.alibi.map(|max| slopes(heads.q, max).into()),
            sinks,
        };
        let a = s.op(Op::Attend { q, k, v, heads, mask: c.mask(i), scale, scores });
        s.linear(a, Role::AttnOut, self.out, [c.hidden, heads.q * dim], c.bias.out)
    }

    fn projections(&self, s: &mut Scribe, c: &Config, heads: &Heads, n: Value) -> [Value; 3] {
        let (bias, dim) = (c.bias.qkv, heads.dim);
        let (wide, narrow) = (heads.q * dim, heads.kv * dim);
        let name = match self.qkv {
            Qkv::Split(names) => {
                let pairs = |heads| self.pairs.then_some(heads);
                let q = s.rotary(n, Role::AttnQ, names[0], [wide, c.hidden], bias, pairs(heads.q));
                let k = s.rotary(n, Role::AttnK, names[1], [narrow, c.hidden], bias, pairs(heads.kv));
                return [q, k, s.linear(n, Role::AttnV, names[2], [narrow, c.hidden], bias)];
            }
            Qkv::Fused(name) | Qkv::Grouped(name) => name,
        };
        let order = |p: Param| match (self.qkv, &p.from) {
            (Qkv::Grouped(_), Gather::Whole(name)) => {
                Param { from: Gather::Ungrouped { name: name.clone(), groups: heads.kv, dim }, ..p }
            }
            _ => p,
        };
        let all = wide + 2 * narrow;
        let w = order(s.weight(Role::AttnQkv, name, &[all, c.hidden]));
        let bias = bias.then(|| order(s.bias(Role::AttnQkv, name, all)));
        let x = s.op(Op::Linear { x: n, w, bias });
        [(0, wide), (wide, wide + narrow), (wide + narrow, all)]
            .map(|(from, to)| s.op(Op::Slice { x, per: all, from, to }))
    }
}

/// A norm of each of `count` heads with a weight of its own, stored in a tensor a head if `split`.
fn each_norm(
    s: &mut Scribe,
    c: &Config,
    x: Value,
    role: Role,
    name: &str,
    [count, dim]: [usize; 2],
    split: bool,
) -> Value {
    let from = if split {
        Gather::Stacked((0..count).map(|head| s.name(&format!("{name}.norms.{head}.weight"))).collect())
    } else {
        Gather::Whole(s.name(&format!("{name}.weight")))
    };
    let w = s.param_of(role, "weight", from, &[count, dim]);
    s.op(Op::Norm { kind: NormKind::Layer, x, w, bias: None, eps: c.eps as f32 })
}

#[cfg(test)]
mod tests {
    use super::slopes;

    #[test]
    fn slopes_are_those_of_the_paper() {
        assert_eq!(slopes(8, 8.0), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]);
        let six: Vec<f32> = slopes(6, 8.0);
        assert_eq!(six[..4], [0.25, 0.0625, 0.015625, 0.00390625]);
        assert_eq!(six[4..], [0.5, 0.125]);
    }
}
