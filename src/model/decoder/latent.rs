//! Latent attention (MLA, DeepSeek-V2: arXiv 2405.04434, section 2.1).
//!
//! Keys and values of all heads are made of one narrow vector a token. Their matrices are multiplied into the queries and
//! into the outputs instead (the paper's absorption), so that every head attends to that vector itself: the tensors are
//! then those of a GGUF, and each reads in it what it reads here.

use super::super::{Config, Gather, Heads, Latent, Op, Role, Scores, Scribe, Value};
use super::{Ropes, Style};

/// Epsilon of the norms of latent vectors, whatever the configuration's is.
pub(in crate::model) const EPS: f64 = 1e-6;

impl Style {
    /// What attention over the normed stream `n` adds in layer `i`.
    pub(super) fn latent(
        &self,
        s: &mut Scribe,
        c: &Config,
        ropes: &Ropes,
        latent: &Latent,
        i: usize,
        n: Value,
    ) -> Value {
        let Latent { q: q_rank, kv: rank, nope, rope, v } = *latent;
        let (heads, d, dim) = (c.heads, c.hidden, nope + rope);
        let q = match q_rank {
            None => s.linear(n, Role::AttnQ, "self_attn.q_proj", [heads * dim, d], false),
            Some(width) => {
                let q = s.linear(n, Role::AttnQA, "self_attn.q_a_proj", [width, d], false);
                let q = s.rms(q, Role::AttnQANorm, "self_attn.q_a_layernorm", width, EPS);
                s.linear(q, Role::AttnQB, "self_attn.q_b_proj", [heads * dim, width], false)
            }
        };
        let q_nope = s.op(Op::Slice { x: q, per: dim, from: 0, to: nope });
        let q_rope = s.op(Op::Slice { x: q, per: dim, from: nope, to: dim });
        let kv = s.linear(n, Role::AttnKvAMqa, "self_attn.kv_a_proj_with_mqa", [rank + rope, d], false);
        let made = s.op(Op::Slice { x: kv, per: rank + rope, from: 0, to: rank });
        let k_rope = s.op(Op::Slice { x: kv, per: rank + rope, from: rank, to: rank + rope });
        let made = s.rms(made, Role::AttnKvANorm, "self_attn.kv_a_layernorm", rank, EPS);
        let turned = |s: &mut Scribe, x| ropes.usual.as_ref().map_or(x, |table| s.rope(x, self.turn, rope, table));
        let (q_rope, k_rope) = (turned(s, q_rope), turned(s, k_rope));

        let of_heads = |s: &Scribe, [from, to]: [usize; 2], turned| {
            let name = s.name("self_attn.kv_b_proj.weight");
            Gather::Heads { name, per: nope + v, from, to, turned }
        };
        let w = s.param_of(Role::AttnKB, "weight", of_heads(s, [0, nope], true), &[heads, rank, nope]);
        let q_nope = s.op(Op::Heads { x: q_nope, w });
        let q = s.op(Op::Join { a: q_nope, b: q_rope, heads, shared: false });
        let k = s.op(Op::Join { a: made, b: k_rope, heads: 1, shared: false });
        let scale = c.scales.attention.map_or_else(|| (dim as f32).sqrt().recip(), |scale| scale as f32);
        let shape = Heads { q: heads, kv: 1, dim: rank + rope, v_dim: rank };
        let mask = c.mask(i);
        let a = s.op(Op::Attend { q, k, v: made, heads: shape, mask, scale, scores: Scores::default() });
        let w = s.param_of(Role::AttnVB, "weight", of_heads(s, [nope, nope + v], false), &[heads, v, rank]);
        let a = s.op(Op::Heads { x: a, w });
        s.linear(a, Role::AttnOut, self.out, [d, heads * v], false)
    }
}
