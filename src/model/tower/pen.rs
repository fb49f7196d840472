//! What the layers of towers have in common: norms before attention and before a feed-forward part.

use std::sync::Arc;

use planish_formats::gguf::Kv;

use super::super::{
    Activation, Carry, ConfigReader, Frequencies, Gather, Heads, Index, Layer, Mask, NormKind, Op, Param, Result, Role,
    Scores, Scribe, Turn, Value,
};

/// The sizes of a tower and what its parts do.
pub(super) struct Sizes {
    pub hidden: usize,
    pub ffn: usize,
    pub heads: usize,
    pub layers: usize,
    pub patch: usize,
    pub act: Activation,
    pub eps: f64,
    pub norm: NormKind,
}

/// The most layers a program is written for.
const MAX_LAYERS: usize = 1000;

impl Sizes {
    /// Checks what no tower can do without.
    pub(super) fn checked(self, r: &ConfigReader, heads: &str, layers: &str) -> Result<Sizes> {
        if !self.hidden.is_multiple_of(self.heads) || !(self.hidden / self.heads).is_multiple_of(4) {
            return Err(r.bad(heads, format!("heads of a width that 4 divides, of {} in all", self.hidden)));
        }
        if self.layers > MAX_LAYERS {
            return Err(r.bad(layers, format!("at most {MAX_LAYERS} layers")));
        }
        Ok(self)
    }

    /// Width of a head.
    pub(super) fn head(&self) -> usize {
        self.hidden / self.heads
    }

    /// The keys that all towers have.
    pub(super) fn keys(&self, projector: &str, image: usize, ffn: usize, width: usize) -> Kv {
        let mut kv = Kv::new();
        kv.set("clip.has_vision_encoder", true);
        kv.set("clip.projector_type", projector);
        for (key, value) in [
            ("projection_dim", width),
            ("image_size", image),
            ("patch_size", self.patch),
            ("embedding_length", self.hidden),
            ("feed_forward_length", ffn),
            ("block_count", self.layers),
            ("attention.head_count", self.heads),
        ] {
            kv.set(format!("clip.vision.{key}"), value as u32);
        }
        kv.set("clip.vision.attention.layer_norm_epsilon", self.eps as f32);
        kv
    }
}

/// Attention's projections in the checkpoint.
pub(super) enum Qkv {
    /// A matrix each: query, key, value.
    Split([&'static str; 3]),
    /// One after another in one.
    Fused(&'static str),
}

/// What a family's checkpoints call the parts of a layer.
pub(super) struct Names {
    pub norms: [&'static str; 2],
    pub qkv: Qkv,
    pub out: &'static str,
    /// Gate if there is one, up, down.
    pub ffn: (Option<&'static str>, &'static str, &'static str),
}

/// A linear of GGUF's name `gguf` and the checkpoint's `name`, `[out, in]`.
pub(super) fn linear(
    s: &mut Scribe,
    x: Value,
    role: Role,
    gguf: &str,
    name: &str,
    [out, inp]: [usize; 2],
    bias: bool,
) -> Value {
    let w = param(s, role, gguf, name, "weight", &[out, inp]);
    let bias = bias.then(|| param(s, role, gguf, name, "bias", &[out]));
    s.op(Op::Linear { x, w, bias })
}

/// A norm; a bias if it takes the mean away.
pub(super) fn norm(s: &mut Scribe, x: Value, kind: NormKind, gguf: &str, name: &str, width: usize, eps: f64) -> Value {
    let w = param(s, Role::AttnNorm, gguf, name, "weight", &[width]);
    let bias = (kind == NormKind::Layer).then(|| param(s, Role::AttnNorm, gguf, name, "bias", &[width]));
    s.op(Op::Norm { kind, x, w, bias, eps: eps as f32 })
}

pub(super) fn param(s: &Scribe, role: Role, gguf: &str, name: &str, part: &str, shape: &[usize]) -> Param {
    let from = Gather::Whole(s.name(&format!("{name}.{part}")));
    Param { name: format!("{gguf}.{part}"), role, from, shape: shape.to_vec(), pairs: None }
}

/// Learned positions, added.
pub(super) fn positions(s: &mut Scribe, x: Value, name: &str, shape: [usize; 2]) -> Value {
    let table = param(s, Role::PosEmbd, "v.position_embd", name, "weight", &shape);
    let p = s.op(Op::Embed { table, by: Index::Position });
    s.add(x, p)
}

/// Layer `i` under the checkpoint's `root`; `rope` turns its queries and keys.
pub(super) fn block(c: &Sizes, names: &Names, root: String, i: usize, rope: Option<&Arc<Frequencies>>) -> Layer {
    let at = |part: &str| format!("v.blk.{i}.{part}");
    Scribe::layer(root, Some(i), |s| {
        let x = s.carried(Carry::Hidden);
        let n = norm(s, x, c.norm, &at("ln1"), names.norms[0], c.hidden, c.eps);
        let heads = Heads { q: c.heads, kv: c.heads, dim: c.head(), v_dim: c.head() };
        let [mut q, mut k, v] = qkv(s, c, names, i, n);
        if let Some(table) = rope {
            q = s.rope(q, Turn::Halves, heads.dim, table);
            k = s.rope(k, Turn::Halves, heads.dim, table);
        }
        let scale = (heads.dim as f32).sqrt().recip();
        let a = s.op(Op::Attend { q, k, v, heads, mask: Mask::All, scale, scores: Scores::default() });
        let a = linear(s, a, Role::AttnOut, &at("attn_out"), names.out, [c.hidden, c.hidden], true);
        let h = s.add(x, a);
        let n = norm(s, h, c.norm, &at("ln2"), names.norms[1], c.hidden, c.eps);
        let (gate, up, down) = names.ffn;
        let wide = [c.ffn, c.hidden];
        let both = if let Some(gate) = gate {
            let gate = linear(s, n, Role::FfnGate, &at("ffn_gate"), gate, wide, true);
            let up = linear(s, n, Role::FfnUp, &at("ffn_up"), up, wide, true);
            let gate = s.op(Op::Act(c.act, gate));
            s.op(Op::Mul(gate, up))
        } else {
            let up = linear(s, n, Role::FfnUp, &at("ffn_up"), up, wide, true);
            s.op(Op::Act(c.act, up))
        };
        let f = linear(s, both, Role::FfnDown, &at("ffn_down"), down, [c.hidden, c.ffn], true);
        let y = s.add(h, f);
        s.leave(Carry::Hidden, y);
    })
}

fn qkv(s: &mut Scribe, c: &Sizes, names: &Names, i: usize, n: Value) -> [Value; 3] {
    let parts = [(Role::AttnQ, "attn_q"), (Role::AttnK, "attn_k"), (Role::AttnV, "attn_v")];
    let mut part = |at: usize| {
        let (role, stem) = parts[at];
        let gguf = format!("v.blk.{i}.{stem}");
        match names.qkv {
            Qkv::Split(names) => linear(s, n, role, &gguf, names[at], [c.hidden, c.hidden], true),
            Qkv::Fused(name) => {
                let picked = |part: &str, shape: &[usize]| {
                    let name = s.name(&format!("{name}.{part}"));
                    let (per, from, to) = (3 * c.hidden, at * c.hidden, (at + 1) * c.hidden);
                    let p = Gather::Picked { name, per, from, to };
                    Param { name: format!("{gguf}.{part}"), role, from: p, shape: shape.to_vec(), pairs: None }
                };
                let (w, bias) = (picked("weight", &[c.hidden, c.hidden]), picked("bias", &[c.hidden]));
                s.op(Op::Linear { x: n, w, bias: Some(bias) })
            }
        }
    };
    [part(0), part(1), part(2)]
}
