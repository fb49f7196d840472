//! The pre-norm decoder with gated feed-forward that Llama brought and most followed.

use std::sync::Arc;

use super::{
    Carry, Config, Frequencies, Gather, Head, Heads, Index, Layer, Model, Objective, Op, Param, Role, Scribe, Stack,
    Value,
};

/// Whether GGUF has the rows of query and key in pairs, as Meta's own checkpoints do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    Halves,
    Pairs,
}

/// Embedding, `layers` layers, final norm and head, over tensors under `root`.
pub(super) fn decoder(c: &Config, root: &str, rows: Rows) -> Model {
    let table = c.rope.as_ref().map(|rope| Arc::new(rope.frequencies(c.head_dim)));
    let blocks = (0..c.layers).map(|i| block(c, root, rows, table.as_ref(), i));
    let layers = std::iter::once(embedding(c, root)).chain(blocks).chain([head(c, root)]).collect();
    Model { stacks: vec![Stack { name: "decoder", layers }], objective: objective(c), tables: tables(c) }
}

pub(super) fn objective(c: &Config) -> Objective {
    match c.head {
        Head::Tied | Head::Own => Objective::Causal,
        Head::None => Objective::Hidden,
    }
}

fn tables(c: &Config) -> Vec<Param> {
    let divisors = c.rope.as_ref().and_then(|rope| rope.divisors(c.head_dim));
    let param = |values: Vec<f32>| Param {
        name: format!("{}.weight", Role::RopeFreqs.gguf()),
        role: Role::RopeFreqs,
        shape: vec![values.len()],
        from: Gather::Computed(values.into()),
        pairs: None,
    };
    divisors.map(param).into_iter().collect()
}

fn embedding(c: &Config, root: &str) -> Layer {
    Scribe::layer(root, None, |s| {
        let x = s.embed(Role::TokenEmbd, "embed_tokens", [c.vocab, c.hidden], Index::Token);
        s.leave(Carry::Hidden, x);
    })
}

fn block(c: &Config, root: &str, rows: Rows, table: Option<&Arc<Frequencies>>, i: usize) -> Layer {
    Scribe::layer(format!("{root}layers.{i}."), Some(i), |s| {
        let x = s.carried(Carry::Hidden);
        let n = s.rms(x, Role::AttnNorm, "input_layernorm", c.hidden, c.eps);
        let a = attention(s, c, rows, table, i, n);
        let h = s.add(x, a);
        let n = s.rms(h, Role::FfnNorm, "post_attention_layernorm", c.hidden, c.eps);
        let f = gated(s, c, n);
        let y = s.add(h, f);
        s.leave(Carry::Hidden, y);
    })
}

fn attention(s: &mut Scribe, c: &Config, rows: Rows, table: Option<&Arc<Frequencies>>, i: usize, n: Value) -> Value {
    let (dim, bias) = (c.head_dim, c.bias.qkv);
    let heads = Heads { q: c.heads, kv: c.kv_heads, dim, v_dim: dim };
    let pairs = |heads| (rows == Rows::Pairs).then_some(heads);
    let mut q = s.rotary(n, Role::AttnQ, "self_attn.q_proj", [heads.q * dim, c.hidden], bias, pairs(heads.q));
    let mut k = s.rotary(n, Role::AttnK, "self_attn.k_proj", [heads.kv * dim, c.hidden], bias, pairs(heads.kv));
    let v = s.linear(n, Role::AttnV, "self_attn.v_proj", [heads.kv * dim, c.hidden], bias);
    if c.qk_norm {
        q = s.rms(q, Role::AttnQNorm, "self_attn.q_norm", dim, c.eps);
        k = s.rms(k, Role::AttnKNorm, "self_attn.k_norm", dim, c.eps);
    }
    if let Some(table) = table {
        q = s.rope(q, dim, table);
        k = s.rope(k, dim, table);
    }
    let scale = (dim as f32).sqrt().recip();
    let a = s.op(Op::Attend { q, k, v, heads, mask: c.mask(i), scale });
    s.linear(a, Role::AttnOut, "self_attn.o_proj", [c.hidden, heads.q * dim], c.bias.out)
}

/// `down(act(gate(x)) * up(x))`.
fn gated(s: &mut Scribe, c: &Config, n: Value) -> Value {
    let (wide, bias) = ([c.ffn, c.hidden], c.bias.ffn);
    let gate = s.linear(n, Role::FfnGate, "mlp.gate_proj", wide, bias);
    let up = s.linear(n, Role::FfnUp, "mlp.up_proj", wide, bias);
    let gate = s.op(Op::Act(c.act, gate));
    let both = s.op(Op::Mul(gate, up));
    s.linear(both, Role::FfnDown, "mlp.down_proj", [c.hidden, c.ffn], bias)
}

fn head(c: &Config, root: &str) -> Layer {
    Scribe::layer(root, None, |s| {
        let x = s.carried(Carry::Hidden);
        let n = s.rms(x, Role::OutputNorm, "norm", c.hidden, c.eps);
        logits(s, c, n, "embed_tokens");
    })
}

/// The end of a program: logits of the normed hidden state `n`, or itself if there is no head. A head of its own has
/// no root before its name; a tied one is the embedding `tied` under the layer's.
pub(super) fn logits(s: &mut Scribe, c: &Config, n: Value, tied: &str) {
    let shape = [c.vocab, c.hidden];
    let w = match c.head {
        Head::None => return s.leave(Carry::Hidden, n),
        Head::Tied => s.weight(Role::TokenEmbd, tied, &shape),
        Head::Own => {
            Param { from: Gather::Whole("lm_head.weight".to_owned()), ..s.weight(Role::Output, "lm_head", &shape) }
        }
    };
    let y = s.op(Op::Linear { x: n, w, bias: None });
    s.leave(Carry::Logits, y);
}
