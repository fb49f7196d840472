//! T5, in all versions: an encoder and a decoder of pre-norm layers whose only positions are what is added to attention's
//! scores, made in the first layer of each for all of its layers.

use crate::model::config::{end, layers};
use crate::model::{
    Activation, Architecture, Carry, Config, ConfigReader, Gather, Gguf, Has, Head, Header, HeaderError, Heads, Index,
    Keys, Layer, Mask, Model, Objective, Op, Pair, Param, RelativeBias, Result, Role, Scores, Scribe, Stack, Value,
};

/// The architecture of this file.
pub(super) static T5: Architecture = Architecture {
    name: "t5",
    models: "T5, T5 v1.1, Flan-T5",
    hf: &["T5ForConditionalGeneration", "T5WithLMHeadModel"],
    model_types: &["t5"],
    roots: &[""],
    embedding: EMBEDDING,
    read,
    write,
    gguf: Some(Gguf { name: "t5", holds, keys, config }),
};

pub(super) const EMBEDDING: &str = "shared.weight";

/// The function of llama.cpp's graph and the one of each kind of feed-forward part.
const PARTS: [(&str, bool, Activation); 4] = [
    ("relu", false, Activation::Relu),
    ("gated-gelu", true, Activation::GeluTanh),
    ("gated-gelu_new", true, Activation::GeluTanh),
    ("gated-silu", true, Activation::Silu),
];

fn read(r: &mut ConfigReader) -> Result<Config> {
    let config = sizes(r)?;
    // Tied heads read what is scaled down, heads of their own do not; transformers 5 says which in a key of its own.
    let tied = r.flag("tie_word_embeddings", true)?;
    let tied = r.flag("scale_decoder_outputs", tied)?;
    let (head, scale) = if tied { (Head::Tied, (config.hidden as f64).sqrt().recip()) } else { (Head::Own, 1.0) };
    let scales = crate::model::Scales { logits: scale, ..config.scales };
    Ok(Config { head, scales, ..config })
}

/// All but the head.
pub(super) fn sizes(r: &mut ConfigReader) -> Result<Config> {
    let count = layers(r, "num_layers")?;
    let named = r.text("feed_forward_proj")?.unwrap_or("relu");
    let part = PARTS.into_iter().find(|(name, ..)| *name == named);
    let (_, gated, act) = part.ok_or_else(|| r.bad("feed_forward_proj", "relu, gated-gelu or gated-silu"))?;
    // What transformers derives from it and writes beside it.
    r.text("dense_act_fn")?;
    r.flag("is_gated_act", gated)?;
    r.flag("is_encoder_decoder", true)?;
    let buckets = r.optional_size("relative_attention_num_buckets")?.unwrap_or(32);
    let far = r.optional_size("relative_attention_max_distance")?.unwrap_or(128);
    let (heads, ffn) = (r.size("num_heads")?, r.size("d_ff")?);
    let decoder_layers = if r.has("num_decoder_layers") { layers(r, "num_decoder_layers")? } else { count };
    let start = r.count("decoder_start_token_id")? as u32;
    Ok(Config {
        vocab: r.size("vocab_size")?,
        // As the converter supposes: nothing limits the distances.
        context: r.optional_size("n_positions")?.unwrap_or(512),
        hidden: r.size("d_model")?,
        layers: count,
        heads,
        kv_heads: heads,
        head_dim: r.size("d_kv")?,
        own_head_dim: true,
        ffn,
        act,
        eps: r.optional_positive("layer_norm_epsilon")?.unwrap_or(1e-6),
        windows: vec![None; count],
        pair: Some(Pair {
            decoder_layers,
            decoder_heads: heads,
            decoder_ffn: ffn,
            start,
            end: end(r),
            gated,
            buckets: Some((buckets, far)),
        }),
        ..Config::usual()
    })
}

fn write(c: &Config, _: &str, has: Has) -> Model {
    let pair = c.pair.unwrap_or_else(|| unreachable!("its reader sets it"));
    let blocks = (0..pair.decoder_layers).map(|i| block(c, pair, "dec.", i));
    let head = Scribe::layer_of("dec.", "decoder.", None, |s| {
        let x = s.carried(Carry::Hidden);
        let n = s.rms(x, Role::OutputNorm, "final_layer_norm", c.hidden, c.eps);
        let x = s.scaled(n, c.scales.logits);
        // Saved without a head of its own, it is the embedding, scaled or not.
        let own = c.head == Head::Own && (has("lm_head.weight") || !has(EMBEDDING));
        let (role, name) = if own { (Role::Output, "lm_head.weight") } else { (Role::TokenEmbd, EMBEDDING) };
        let w = s.param_of(role, "weight", Gather::Whole(name.to_owned()), &[c.vocab, c.hidden]);
        let w = Param { name: format!("{}.weight", role.gguf()), ..w };
        let y = s.op(Op::Linear { x, w, bias: None });
        s.leave(Carry::Logits, y);
    });
    let layers = std::iter::once(embedding(c, "dec.", "decoder.")).chain(blocks).chain([head]).collect();
    let stacks = vec![encoder(c, pair), Stack { name: "decoder", layers }];
    Model { stacks, objective: Objective::Seq2Seq, tables: vec![] }
}

/// Embedding, layers and the last norm.
pub(super) fn encoder(c: &Config, pair: Pair) -> Stack {
    let blocks = (0..c.layers).map(|i| block(c, pair, "enc.", i));
    let end = Scribe::layer_of("enc.", "encoder.", None, |s| {
        let x = s.carried(Carry::Hidden);
        let n = s.rms(x, Role::OutputNorm, "final_layer_norm", c.hidden, c.eps);
        s.leave(Carry::Hidden, n);
    });
    let layers = std::iter::once(embedding(c, "enc.", "encoder.")).chain(blocks).chain([end]).collect();
    Stack { name: "encoder", layers }
}

fn embedding(c: &Config, stack: &'static str, name: &str) -> Layer {
    Scribe::layer_of(stack, name, None, |s| {
        let from = Gather::Whole(EMBEDDING.to_owned());
        let table = s.param_of(Role::TokenEmbd, "weight", from, &[c.vocab, c.hidden]);
        let x = s.op(Op::Embed { table, by: Index::Token });
        s.leave(Carry::Hidden, x);
    })
}

fn block(c: &Config, pair: Pair, stack: &'static str, i: usize) -> Layer {
    let (name, both_ways) = if stack == "enc." { ("encoder", true) } else { ("decoder", false) };
    Scribe::layer_of(stack, format!("{name}.block.{i}."), Some(i), |s| {
        let x = s.carried(Carry::Hidden);
        let n = s.rms(x, Role::AttnNorm, "layer.0.layer_norm", c.hidden, c.eps);
        let roles = [Role::AttnQ, Role::AttnK, Role::AttnV, Role::AttnO];
        let mask = if both_ways { Mask::All } else { Mask::Causal };
        let bias = pair.buckets.map(|(buckets, max_distance)| RelativeBias {
            table: Param {
                name: format!("{stack}blk.0.{}.weight", Role::AttnRelB.gguf()),
                role: Role::AttnRelB,
                from: Gather::Whole(format!("{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight")),
                shape: vec![buckets, c.heads],
                pairs: None,
            },
            both_ways,
            max_distance,
        });
        let scores = Scores { bias, ..Scores::default() };
        let a = attention(s, c, n, n, "layer.0.SelfAttention", roles, mask, scores);
        let mut h = s.add(x, a);
        if !both_ways {
            let n = s.rms(h, Role::CrossNorm, "layer.1.layer_norm", c.hidden, c.eps);
            let encoded = s.carried(Carry::Encoded);
            let roles = [Role::CrossQ, Role::CrossK, Role::CrossV, Role::CrossO];
            let a = attention(s, c, n, encoded, "layer.1.EncDecAttention", roles, Mask::Across, Scores::default());
            h = s.add(h, a);
        }
        let at = if both_ways { "layer.1" } else { "layer.2" };
        let n = s.rms(h, Role::FfnNorm, &format!("{at}.layer_norm"), c.hidden, c.eps);
        let mut up =
            |role, name: &str| s.linear(n, role, &format!("{at}.DenseReluDense.{name}"), [c.ffn, c.hidden], false);
        let u = if pair.gated {
            let (g, u) = (up(Role::FfnGate, "wi_0"), up(Role::FfnUp, "wi_1"));
            let g = s.op(Op::Act(c.act, g));
            s.op(Op::Mul(g, u))
        } else {
            let u = up(Role::FfnUp, "wi");
            s.op(Op::Act(c.act, u))
        };
        let f = s.linear(u, Role::FfnDown, &format!("{at}.DenseReluDense.wo"), [c.hidden, c.ffn], false);
        let y = s.add(h, f);
        s.leave(Carry::Hidden, y);
    })
}

/// Attention of `x` to `to`, without a scale.
#[allow(clippy::too_many_arguments)]
fn attention(
    s: &mut Scribe,
    c: &Config,
    x: Value,
    to: Value,
    at: &str,
    roles: [Role; 4],
    mask: Mask,
    scores: Scores,
) -> Value {
    let (wide, dim) = (c.heads * c.head_dim, c.head_dim);
    let mut project = |x, role, name: &str| s.linear(x, role, &format!("{at}.{name}"), [wide, c.hidden], false);
    let [q, k, v] = [(x, roles[0], "q"), (to, roles[1], "k"), (to, roles[2], "v")].map(|(x, r, n)| project(x, r, n));
    let heads = Heads { q: c.heads, kv: c.heads, dim, v_dim: dim };
    let a = s.op(Op::Attend { q, k, v, heads, mask, scale: 1.0, scores });
    s.linear(a, roles[3], &format!("{at}.o"), [c.hidden, wide], false)
}

pub(super) fn holds(c: &Config) -> Result<(), &'static str> {
    let Some(pair) = c.pair else { return Ok(()) };
    if c.act != if pair.gated { Activation::GeluTanh } else { Activation::Relu } {
        return Err("its graph for `t5` has relu without a gate and gelu with one");
    }
    match pair.buckets {
        Some((_, 128)) => Ok(()),
        _ => Err("its graph for `t5` has one bucket for all distances from 128 on"),
    }
}

pub(super) fn keys(c: &Config, keys: &mut Keys) {
    keys.set("context_length", c.context as u32);
    keys.set("embedding_length", c.hidden as u32);
    keys.set("feed_forward_length", c.ffn as u32);
    keys.set("block_count", c.layers as u32);
    keys.set("attention.head_count", c.heads as u32);
    keys.head_size(c);
    keys.set("attention.layer_norm_epsilon", c.eps as f32);
    keys.set("attention.layer_norm_rms_epsilon", c.eps as f32);
    let Some(pair) = c.pair else { return };
    keys.set("attention.relative_buckets_count", pair.buckets.map_or(0, |(buckets, _)| buckets) as u32);
    if c.head != Head::None {
        keys.set("decoder_block_count", pair.decoder_layers as u32);
        keys.set("decoder_start_token_id", pair.start);
    }
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("T5ForConditionalGeneration", "t5");
    let decoder = header.optional_size("decoder_block_count")?.unwrap_or(header.size("block_count")?);
    header.set("num_decoder_layers", decoder);
    header.set("decoder_start_token_id", header.optional_size("decoder_start_token_id")?.unwrap_or(0));
    shape(header)
}

/// The keys of config.json that the encoder alone has too.
pub(super) fn shape(header: &mut Header) -> Result<(), HeaderError> {
    for (config, key) in [
        ("num_layers", "block_count"),
        ("n_positions", "context_length"),
        ("d_model", "embedding_length"),
        ("d_ff", "feed_forward_length"),
        ("num_heads", "attention.head_count"),
        ("d_kv", "attention.key_length"),
        ("relative_attention_num_buckets", "attention.relative_buckets_count"),
    ] {
        header.set(config, header.size(key)?);
    }
    let gated = header.has("enc.blk.0.ffn_gate.weight");
    header.set("feed_forward_proj", if gated { "gated-gelu" } else { "relu" });
    header.set("is_encoder_decoder", true);
    header.set("layer_norm_epsilon", header.number("attention.layer_norm_rms_epsilon")?);
    // The same again.
    header.optional_number("attention.layer_norm_epsilon")?;
    let (heads, width) = (header.size("attention.head_count")?, header.size("attention.key_length")?);
    for (key, want) in [("attention.head_count_kv", heads), ("attention.value_length", width)] {
        if header.optional_size(key)?.is_some_and(|found| found != want) {
            return Err(header.bad(key, "that of the queries"));
        }
    }
    Ok(())
}
