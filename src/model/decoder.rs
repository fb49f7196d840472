//! Decoders of one pattern: norms around attention and around a feed-forward part, each added to the residual stream.
//!
//! What a family's checkpoints call the parts, and where it departs from Llama, is its [`Style`]; what a configuration
//! says is its [`Config`].

mod attention;
mod ffn;
mod latent;

use std::sync::Arc;

use super::multimodal::before_head;
use super::{
    Carry, Config, Frequencies, Gather, Has, Head, Index, Layer, Model, NormKind, Objective, Op, Param, Role, Scribe,
    Stack, Turn, Value,
};
pub(super) use attention::{QkNorm, Qkv};
pub(super) use ffn::{ExpertNames, Ffn};
pub(super) use latent::EPS as LATENT_EPS;

/// How a family departs from Llama, and what it calls the parts.
pub(super) struct Style {
    /// Whether GGUF has the rows of query and key in pairs, as Meta's own checkpoints do, where transformers' are not.
    pub pairs: bool,
    /// Which elements its ropes turn together in transformers.
    pub turn: Turn,
    /// Its norms.
    pub norm: Norm,
    /// The embedding.
    pub embed: &'static str,
    /// A norm of it.
    pub embed_norm: Option<&'static str>,
    /// What stands before a layer's number.
    pub block: &'static str,
    /// The norm before the head.
    pub end: &'static str,
    /// The head, if not tied: the whole name.
    pub head: &'static str,
    /// The norm before attention.
    pub attn_norm: Option<&'static str>,
    /// What those two norms before the parts are in GGUF.
    pub norm_roles: [Role; 2],
    /// The norm of what attention adds.
    pub attn_post: Option<&'static str>,
    /// The norm before the feed-forward part; in a parallel block without one both read the norm before attention.
    pub ffn_norm: Option<&'static str>,
    /// The norm of what the feed-forward part adds.
    pub ffn_post: Option<&'static str>,
    /// Query, key and value.
    pub qkv: Qkv,
    /// Norms of queries and keys, where the configuration has them.
    pub qk_norm: QkNorm,
    /// Scores without a value.
    pub sinks: Option<&'static str>,
    /// The output of attention.
    pub out: &'static str,
    /// The feed-forward part.
    pub ffn: Ffn,
    /// Experts, where the configuration has them.
    pub experts: ExpertNames,
}

/// A family's norms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Norm {
    Rms,
    /// The checkpoint has gains as their distance from 1.
    RmsFromOne,
    /// Its bias as the configuration says.
    Layer,
}

impl Style {
    /// Llama itself, but with rows as they are.
    pub(super) const LLAMA: Style = Style {
        pairs: false,
        turn: Turn::Halves,
        norm: Norm::Rms,
        embed: "embed_tokens",
        embed_norm: None,
        block: "layers",
        end: "norm",
        head: "lm_head",
        attn_norm: Some("input_layernorm"),
        norm_roles: [Role::AttnNorm, Role::FfnNorm],
        attn_post: None,
        ffn_norm: Some("post_attention_layernorm"),
        ffn_post: None,
        qkv: Qkv::Split(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        qk_norm: QkNorm::Heads(["self_attn.q_norm", "self_attn.k_norm"]),
        sinks: None,
        out: "self_attn.o_proj",
        ffn: Ffn::Gated(["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]),
        experts: ExpertNames::QWEN,
    };

    /// A norm of rows, or of pieces, of `width`.
    fn norm(&self, s: &mut Scribe, c: &Config, x: Value, role: Role, name: &str, width: usize) -> Value {
        let mut w = s.weight(role, name, &[width]);
        let (kind, bias) = match self.norm {
            Norm::Rms | Norm::RmsFromOne => (NormKind::Rms, None),
            Norm::Layer => (NormKind::Layer, c.bias.norm.then(|| s.bias(role, name, width))),
        };
        if let (Norm::RmsFromOne, Gather::Whole(name)) = (self.norm, &w.from) {
            w.from = Gather::Shifted { name: name.clone(), by: 1.0 };
        }
        s.op(Op::Norm { kind, x, w, bias, eps: c.eps as f32 })
    }

    /// Such a norm of the residual stream, or nothing.
    fn maybe(&self, s: &mut Scribe, c: &Config, x: Value, role: Role, name: Option<&str>) -> Value {
        name.map_or(x, |name| self.norm(s, c, x, role, name, c.hidden))
    }
}

/// The ropes of a model.
struct Ropes {
    usual: Option<Arc<Frequencies>>,
    /// Of layers with a window.
    local: Option<Arc<Frequencies>>,
}

/// Embedding, `layers` layers, final norm and head, over tensors under `root`.
pub(super) fn decoder(c: &Config, root: &str, has: Has<'_>, style: &Style) -> Model {
    let table = |rope: &super::Rope| Arc::new(rope.frequencies(c.rotary));
    let ropes = Ropes { usual: c.rope.as_ref().map(table), local: c.local_rope.as_ref().map(table) };
    let blocks = (0..c.layers).map(|i| block(c, root, has, style, &ropes, i));
    let layers = std::iter::once(embedding(c, root, style)).chain(blocks).chain([head(c, root, style)]).collect();
    Model { stacks: vec![Stack { name: "decoder", layers }], objective: objective(c), tables: tables(c) }
}

pub(super) fn objective(c: &Config) -> Objective {
    match c.head {
        Head::Tied | Head::Own => Objective::Causal,
        Head::None => Objective::Hidden,
    }
}

fn tables(c: &Config) -> Vec<Param> {
    let tables = c.rope.as_ref().map(|rope| rope.tables(c.rotary)).unwrap_or_default();
    let param = |(role, values): (Role, Vec<f32>)| Param {
        name: format!("{}.weight", role.gguf()),
        role,
        shape: vec![values.len()],
        from: Gather::Computed(values.into()),
        pairs: None,
    };
    tables.into_iter().map(param).collect()
}

fn embedding(c: &Config, root: &str, style: &Style) -> Layer {
    Scribe::layer(root, None, |s| {
        let x = s.embed(Role::TokenEmbd, style.embed, [c.vocab, c.hidden], Index::Token);
        let x = style.maybe(s, c, x, Role::TokenEmbdNorm, style.embed_norm);
        let x = s.scaled(x, c.scales.embedding);
        s.leave(Carry::Hidden, x);
    })
}

fn block(c: &Config, root: &str, has: Has<'_>, style: &Style, ropes: &Ropes, i: usize) -> Layer {
    Scribe::layer(format!("{root}{}.{i}.", style.block), Some(i), |s| {
        let x = s.carried(Carry::Hidden);
        let n = style.maybe(s, c, x, style.norm_roles[0], style.attn_norm);
        let a = match &c.latent {
            None => style.attention(s, c, ropes, i, n),
            Some(latent) => style.latent(s, c, ropes, latent, i, n),
        };
        let a = style.maybe(s, c, a, Role::AttnPostNorm, style.attn_post);
        let a = s.scaled(a, c.scales.residual);
        let (h, n) = if c.parallel {
            (x, if style.ffn_norm.is_some() { x } else { n })
        } else {
            let h = s.add(x, a);
            (h, h)
        };
        let n = style.maybe(s, c, n, style.norm_roles[1], style.ffn_norm);
        let f = style.feed_forward(s, c, has, i, n);
        let f = style.maybe(s, c, f, Role::FfnPostNorm, style.ffn_post);
        let f = s.scaled(f, c.scales.residual);
        let f = if c.parallel { s.add(a, f) } else { f };
        let y = s.add(h, f);
        s.leave(Carry::Hidden, y);
    })
}

fn head(c: &Config, root: &str, style: &Style) -> Layer {
    Scribe::layer(root, None, |s| {
        let x = s.carried(Carry::Hidden);
        let n = style.norm(s, c, x, Role::OutputNorm, style.end, c.hidden);
        logits_of(s, c, n, style.embed, style.head);
    })
}

/// The end of a program: logits of the normed hidden state `n`, or itself if there is no head. A head of its own has
/// no root before its name; a tied one is the embedding `tied` under the layer's.
pub(super) fn logits(s: &mut Scribe, c: &Config, n: Value, tied: &str) {
    logits_of(s, c, n, tied, "lm_head");
}

fn logits_of(s: &mut Scribe, c: &Config, n: Value, tied: &str, own: &str) {
    let shape = [c.vocab, c.hidden];
    let w = match c.head {
        Head::None => return s.leave(Carry::Hidden, n),
        Head::Tied => s.weight(Role::TokenEmbd, tied, &shape),
        Head::Own => {
            let name = format!("{}{own}.weight", before_head(&s.name("")));
            Param { from: Gather::Whole(name), ..s.weight(Role::Output, own, &shape) }
        }
    };
    let x = s.scaled(n, c.scales.logits);
    let y = s.op(Op::Linear { x, w, bias: None });
    let y = c.caps.logits.map_or(y, |cap| s.op(Op::Softcap { x: y, cap: cap as f32 }));
    s.leave(Carry::Logits, y);
}
