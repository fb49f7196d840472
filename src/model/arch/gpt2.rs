//! GPT-2. Its linears are Hugging Face `Conv1D`s, stored `[in, out]`; query, key and value are one of them.

use crate::model::config::{activation, head, layers};
use crate::model::decoder::{logits, objective};
use crate::model::{
    Activation, Architecture, Biases, Carry, Config, ConfigReader, Gguf, Has, Header, HeaderError, Heads, Index, Keys,
    Layer, Model, Op, Result, Role, Scores, Scribe, Stack,
};

/// The architecture of this file.
pub(super) static GPT2: Architecture = Architecture {
    name: "gpt2",
    models: "GPT-2",
    hf: &["GPT2LMHeadModel", "GPT2Model"],
    model_types: &["gpt2"],
    roots: &["transformer.", ""],
    embedding: "wte.weight",
    read,
    write,
    gguf: Some(Gguf { name: "gpt2", holds, keys, config }),
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let (hidden, heads) = (r.size("n_embd")?, r.size("n_head")?);
    if hidden % heads != 0 {
        return Err(r.bad("n_embd", format!("a multiple of n_head = {heads}")));
    }
    if !r.flag("scale_attn_weights", true)? {
        return Err(r.bad("scale_attn_weights", "true: no runtime of GGUF leaves it out"));
    }
    let layers = layers(r, "n_layer")?;
    Ok(Config {
        vocab: r.size("vocab_size")?,
        context: r.size("n_positions")?,
        hidden,
        layers,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        ffn: r.optional_size("n_inner")?.unwrap_or(4 * hidden),
        act: activation(r, "activation_function", Activation::GeluTanh)?,
        eps: r.optional_positive("layer_norm_epsilon")?.unwrap_or(1e-5),
        windows: vec![None; layers],
        bias: Biases { qkv: true, out: true, ffn: true, norm: true },
        head: head(r, true)?,
        ..Config::usual()
    })
}

fn write(c: &Config, root: &str, _: Has) -> Model {
    let blocks = (0..c.layers).map(|i| block(c, root, i));
    let layers = std::iter::once(embedding(c, root)).chain(blocks).chain([end(c, root)]).collect();
    Model { stacks: vec![Stack { name: "decoder", layers }], objective: objective(c), tables: vec![] }
}

fn embedding(c: &Config, root: &str) -> Layer {
    Scribe::layer(root, None, |s| {
        let token = s.embed(Role::TokenEmbd, "wte", [c.vocab, c.hidden], Index::Token);
        let position = s.embed(Role::PosEmbd, "wpe", [c.context, c.hidden], Index::Position);
        let x = s.add(token, position);
        s.leave(Carry::Hidden, x);
    })
}

fn block(c: &Config, root: &str, i: usize) -> Layer {
    let (d, dim) = (c.hidden, c.head_dim);
    let heads = Heads { q: c.heads, kv: c.heads, dim, v_dim: dim };
    Scribe::layer(format!("{root}h.{i}."), Some(i), |s| {
        let x = s.carried(Carry::Hidden);
        let n = s.layer_norm(x, Role::AttnNorm, "ln_1", d, c.eps);
        let qkv = s.conv1d(n, Role::AttnQkv, "attn.c_attn", [3 * d, d]);
        let [q, k, v] = [0, 1, 2].map(|j| s.op(Op::Slice { x: qkv, per: 3 * d, from: j * d, to: (j + 1) * d }));
        let scale = (dim as f32).sqrt().recip();
        let a = s.op(Op::Attend { q, k, v, heads, mask: c.mask(i), scale, scores: Scores::default() });
        let o = s.conv1d(a, Role::AttnOut, "attn.c_proj", [d, d]);
        let h = s.add(x, o);
        let n = s.layer_norm(h, Role::FfnNorm, "ln_2", d, c.eps);
        let u = s.conv1d(n, Role::FfnUp, "mlp.c_fc", [c.ffn, d]);
        let u = s.op(Op::Act(c.act, u));
        let f = s.conv1d(u, Role::FfnDown, "mlp.c_proj", [d, c.ffn]);
        let y = s.add(h, f);
        s.leave(Carry::Hidden, y);
    })
}

fn end(c: &Config, root: &str) -> Layer {
    Scribe::layer(root, None, |s| {
        let x = s.carried(Carry::Hidden);
        let n = s.layer_norm(x, Role::OutputNorm, "ln_f", c.hidden, c.eps);
        logits(s, c, n, "wte");
    })
}

fn holds(c: &Config) -> Result<(), &'static str> {
    // Its `gelu` is the tanh form.
    if c.act == Activation::GeluTanh { Ok(()) } else { Err("its graph for `gpt2` has no activation but gelu_new") }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.set("block_count", c.layers as u32);
    keys.set("context_length", c.context as u32);
    keys.set("embedding_length", c.hidden as u32);
    keys.set("feed_forward_length", c.ffn as u32);
    keys.set("attention.head_count", c.heads as u32);
    keys.set("attention.layer_norm_epsilon", c.eps as f32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("GPT2LMHeadModel", "gpt2");
    header.set("activation_function", "gelu_new");
    for (config, key) in [
        ("n_layer", "block_count"),
        ("n_positions", "context_length"),
        ("n_ctx", "context_length"),
        ("n_embd", "embedding_length"),
        ("n_inner", "feed_forward_length"),
        ("n_head", "attention.head_count"),
    ] {
        header.set(config, header.size(key)?);
    }
    header.set("layer_norm_epsilon", header.number("attention.layer_norm_epsilon")?);
    let heads = header.size("attention.head_count")?;
    if header.optional_size("attention.head_count_kv")?.is_some_and(|kv| kv != heads) {
        return Err(header.bad("attention.head_count_kv", "the number of heads"));
    }
    Ok(())
}
