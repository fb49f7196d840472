//! Encoders of one pattern (BERT and its kin): every token sees all of its sequence, and the residual stream is normed after
//! attention and after the feed-forward part, so that the last layer's result is the model's.
//!
//! What a family's checkpoints call the parts is its [`Style`]; what a configuration says is its [`Config`].

use super::config::layers;
use super::{
    Activation, Biases, Bidirectional, Carry, Config, ConfigReader, Gather, Has, Head, Header, HeaderError, Heads,
    Index, Keys, Layer, Mask, Model, NormKind, Objective, Op, Param, Result, Role, Scores, Scribe, Stack, Value,
};

/// What a family calls the parts; after the root, layers' after the block's own beginning.
pub(super) struct Style {
    /// Embeddings of tokens, positions and kinds of text, and their norm.
    pub embed: [&'static str; 3],
    pub embed_norm: &'static str,
    /// What brings a narrow embedding to the width of the layers.
    pub mapping: &'static str,
    /// What stands before the number of a layer, or of a set of weights that layers share, and after it.
    pub block: [&'static str; 2],
    pub qkv: [&'static str; 3],
    pub out: &'static str,
    pub attn_norm: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub norm: &'static str,
    /// The head, without a root.
    pub head: HeadNames,
}

/// The parts of a head that guesses masked tokens.
pub(super) struct HeadNames {
    pub dense: &'static str,
    /// What follows it, if not the layers' own function.
    pub act: Option<Activation>,
    pub norm: &'static str,
    pub decoder: &'static str,
    /// The decoder's bias, where it has another name than the decoder.
    pub bias: &'static str,
}

/// BERT's own names.
pub(super) const BERT: Style = Style {
    embed: ["embeddings.word_embeddings", "embeddings.position_embeddings", "embeddings.token_type_embeddings"],
    embed_norm: "embeddings.LayerNorm",
    mapping: "",
    block: ["encoder.layer.", "."],
    qkv: ["attention.self.query", "attention.self.key", "attention.self.value"],
    out: "attention.output.dense",
    attn_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    norm: "output.LayerNorm",
    head: HeadNames {
        dense: "cls.predictions.transform.dense",
        act: None,
        norm: "cls.predictions.transform.LayerNorm",
        decoder: "cls.predictions.decoder",
        bias: "cls.predictions.bias",
    },
};

/// Reads the keys that BERT and its descendants share. Positions begin at row `first` of the checkpoint's.
pub(super) fn read(r: &mut ConfigReader, first: usize) -> Result<Config> {
    let (hidden, heads) = (r.size("hidden_size")?, r.size("num_attention_heads")?);
    if hidden % heads != 0 {
        return Err(r.bad("hidden_size", format!("a multiple of num_attention_heads = {heads}")));
    }
    if r.text("position_embedding_type")?.is_some_and(|kind| kind != "absolute") {
        return Err(r.bad("position_embedding_type", "absolute"));
    }
    let layers = layers(r, "num_hidden_layers")?;
    let positions = r.size("max_position_embeddings")?;
    let context = positions.checked_sub(first).filter(|rows| *rows > 0);
    Ok(Config {
        vocab: r.size("vocab_size")?,
        context: context.ok_or_else(|| r.bad("max_position_embeddings", format!("more than {first}")))?,
        hidden,
        layers,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        ffn: r.size("intermediate_size")?,
        act: super::config::activation(r, "hidden_act", Activation::Gelu)?,
        eps: r.optional_positive("layer_norm_eps")?.unwrap_or(1e-12),
        windows: vec![None; layers],
        bias: Biases { qkv: true, out: true, ffn: true, norm: true },
        head: super::config::head(r, true)?,
        encoder: Some(Bidirectional {
            token_types: r.optional_size("type_vocab_size")?.unwrap_or(2),
            first_position: first,
            embedding: hidden,
            groups: layers,
        }),
        ..Config::usual()
    })
}

/// The row of the first token's position where padding has one before it: RoBERTa counts from there.
pub(super) fn after_padding(r: &mut ConfigReader) -> Result<usize> {
    match r.get("pad_token_id") {
        None => Ok(2),
        Some(id) => {
            let id = id.as_u64().and_then(|id| usize::try_from(id).ok()?.checked_add(1));
            id.ok_or_else(|| r.bad("pad_token_id", "a token id"))
        }
    }
}

/// Embeddings, `layers` layers, and the head if there is one, over tensors under `root`.
pub(super) fn encoder(c: &Config, root: &str, has: Has<'_>, style: &Style) -> Model {
    let usual = Bidirectional { token_types: 0, first_position: 0, embedding: c.hidden, groups: c.layers };
    let e = c.encoder.as_ref().unwrap_or(&usual);
    let pen = Pen { c, e, root, has, style };
    let blocks = (0..c.layers).map(|i| pen.block(i));
    let mut layers: Vec<Layer> = std::iter::once(pen.embedding()).chain(blocks).collect();
    let objective = match c.head {
        Head::None => Objective::Hidden,
        Head::Tied | Head::Own => {
            layers.push(pen.head());
            Objective::Masked
        }
    };
    Model { stacks: vec![Stack { name: "encoder", layers }], objective, tables: vec![] }
}

struct Pen<'a> {
    c: &'a Config,
    e: &'a Bidirectional,
    root: &'a str,
    has: Has<'a>,
    style: &'a Style,
}

impl Pen<'_> {
    /// A layer norm with bias. TensorFlow's names are `gamma` and `beta`.
    fn norm(&self, s: &mut Scribe, x: Value, role: Role, name: &str, width: usize) -> Value {
        let old = (self.has)(&s.name(&format!("{name}.gamma")));
        let part = |part: &str, old_part: &str| {
            let from = s.name(&format!("{name}.{}", if old { old_part } else { part }));
            s.param_of(role, part, Gather::Whole(from), &[width])
        };
        let (w, bias) = (part("weight", "gamma"), Some(part("bias", "beta")));
        s.op(Op::Norm { kind: NormKind::Layer, x, w, bias, eps: self.c.eps as f32 })
    }

    fn embedding(&self) -> Layer {
        let (c, e) = (self.c, self.e);
        Scribe::layer(self.root, None, |s| {
            let [token, position, kind] = self.style.embed;
            let mut x = s.embed(Role::TokenEmbd, token, [c.vocab, e.embedding], Index::Token);
            if e.token_types > 0 {
                let kind = s.embed(Role::TokenTypes, kind, [e.token_types, e.embedding], Index::First);
                x = s.add(x, kind);
            }
            let mut table = s.weight(Role::PosEmbd, position, &[c.context, e.embedding]);
            if e.first_position > 0
                && let Gather::Whole(name) = table.from
            {
                table.from = Gather::Rows(name, e.first_position, e.first_position + c.context);
            }
            let position = s.op(Op::Embed { table, by: Index::Position });
            let x = s.add(x, position);
            let mut x = self.norm(s, x, Role::TokenEmbdNorm, self.style.embed_norm, e.embedding);
            if !self.style.mapping.is_empty() {
                x = s.linear(x, Role::EmbdMapping, self.style.mapping, [c.hidden, e.embedding], true);
            }
            s.leave(Carry::Hidden, x);
        })
    }

    fn block(&self, i: usize) -> Layer {
        let (c, d, style) = (self.c, self.c.hidden, self.style);
        // Layers of one group are one layer again and again: its name and its weights are the same.
        let i = i / (c.layers / self.e.groups.max(1)).max(1);
        let heads = Heads { q: c.heads, kv: c.heads, dim: c.head_dim, v_dim: c.head_dim };
        let [before, after] = style.block;
        Scribe::layer(format!("{}{before}{i}{after}", self.root), Some(i), |s| {
            let x = s.carried(Carry::Hidden);
            let roles = [Role::AttnQ, Role::AttnK, Role::AttnV];
            let [q, k, v] = [0, 1, 2].map(|part| s.linear(x, roles[part], style.qkv[part], [d, d], true));
            let scale = (c.head_dim as f32).sqrt().recip();
            let a = s.op(Op::Attend { q, k, v, heads, mask: Mask::All, scale, scores: Scores::default() });
            let o = s.linear(a, Role::AttnOut, style.out, [d, d], true);
            let h = s.add(o, x);
            let h = self.norm(s, h, Role::AttnOutNorm, style.attn_norm, d);
            let u = s.linear(h, Role::FfnUp, style.up, [c.ffn, d], true);
            let u = s.op(Op::Act(c.act, u));
            let f = s.linear(u, Role::FfnDown, style.down, [d, c.ffn], true);
            let y = s.add(f, h);
            let y = self.norm(s, y, Role::LayerOutNorm, style.norm, d);
            s.leave(Carry::Hidden, y);
        })
    }

    fn head(&self) -> Layer {
        let (c, width, names) = (self.c, self.e.embedding, &self.style.head);
        let mut layer = Scribe::layer("", None, |s| {
            let x = s.carried(Carry::Hidden);
            let x = s.linear(x, Role::MaskedDense, names.dense, [width, c.hidden], true);
            let x = s.op(Op::Act(names.act.unwrap_or(c.act), x));
            let x = self.norm(s, x, Role::MaskedNorm, names.norm, width);
            // A tied head's bias is the same tensor under two names, of which a checkpoint may have either.
            let own = format!("{}.bias", names.decoder);
            let takes_own = (self.has)(&own) && (c.head == Head::Own || !(self.has)(names.bias));
            let bias = if takes_own { own } else { names.bias.to_owned() };
            let bias = s.param_of(Role::Output, "bias", Gather::Whole(bias), &[c.vocab]);
            let w = match c.head {
                Head::Own => s.weight(Role::Output, names.decoder, &[c.vocab, width]),
                Head::Tied | Head::None => Param {
                    from: Gather::Whole(format!("{}{}.weight", self.root, self.style.embed[0])),
                    ..s.weight(Role::TokenEmbd, "", &[c.vocab, width])
                },
            };
            let logits = s.op(Op::Linear { x, w, bias: Some(bias) });
            s.leave(Carry::Logits, logits);
        });
        "head".clone_into(&mut layer.name);
        layer
    }
}

/// Whether the graph of `bert` computes it: the function between its linears is GELU, and no key says otherwise.
pub(super) fn holds(c: &Config) -> std::result::Result<(), &'static str> {
    if c.act == Activation::Gelu { Ok(()) } else { Err("its graph for `bert` has no activation but gelu") }
}

/// The keys of `bert`.
pub(super) fn keys(c: &Config, keys: &mut Keys) {
    keys.set("block_count", c.layers as u32);
    keys.set("context_length", c.context as u32);
    keys.set("embedding_length", c.hidden as u32);
    keys.set("feed_forward_length", c.ffn as u32);
    keys.set("attention.head_count", c.heads as u32);
    keys.set("attention.layer_norm_epsilon", c.eps as f32);
    keys.set("attention.causal", false);
}

/// The configuration of a `bert`, whichever family it was: positions begin at the first row in all of them. One without
/// kinds of text is a DistilBERT.
pub(super) fn config(header: &mut Header) -> std::result::Result<(), HeaderError> {
    if header.flag("attention.causal")? == Some(true) {
        return Err(header.bad("attention.causal", "false"));
    }
    let pooling = header.optional_size("pooling_type")?;
    if pooling.is_some_and(|kind| kind > 3) {
        return Err(HeaderError::NoConfig { what: "it ends with a classifier" });
    }
    let kinds = header.has("token_types.weight");
    let names = if kinds {
        header.class("BertModel", "bert");
        header.set("hidden_act", "gelu");
        header.set("layer_norm_eps", header.number("attention.layer_norm_epsilon")?);
        header.set("type_vocab_size", header.rows("token_types.weight")?);
        ["num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"]
    } else {
        header.class("DistilBertModel", "distilbert");
        header.set("activation", "gelu");
        if header.number("attention.layer_norm_epsilon")? > 1.5e-12 {
            return Err(header.bad("attention.layer_norm_epsilon", "1e-12, a DistilBERT's"));
        }
        ["n_layers", "dim", "hidden_dim", "n_heads"]
    };
    let sizes = ["block_count", "embedding_length", "feed_forward_length", "attention.head_count"];
    for (config, key) in names.into_iter().zip(sizes) {
        header.set(config, header.size(key)?);
    }
    header.set("max_position_embeddings", header.size("context_length")?);
    let heads = header.size("attention.head_count")?;
    if header.optional_size("attention.head_count_kv")?.is_some_and(|kv| kv != heads) {
        return Err(header.bad("attention.head_count_kv", "the number of heads"));
    }
    Ok(())
}
