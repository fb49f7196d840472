//! GPT, the first: GPT-2 with norms after what they norm, and none at the end. Its linears are `Conv1D`s as GPT-2's are.

use crate::model::config::{head, layers};
use crate::model::decoder::{logits, objective};
use crate::model::{
    Activation, Architecture, Biases, Carry, Config, ConfigReader, Has, Heads, Index, Layer, Model, Op, Result, Role,
    Scores, Scribe, Stack,
};

/// The architecture of this file.
pub(super) static OPENAIGPT: Architecture = Architecture {
    name: "openaigpt",
    models: "GPT (2018)",
    hf: &["OpenAIGPTLMHeadModel", "OpenAIGPTModel"],
    model_types: &["openai-gpt"],
    roots: &["transformer.", ""],
    embedding: "tokens_embed.weight",
    read,
    write,
    gguf: None,
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let (hidden, heads) = (r.size("n_embd")?, r.size("n_head")?);
    if hidden % heads != 0 {
        return Err(r.bad("n_embd", format!("a multiple of n_head = {heads}")));
    }
    let layers = layers(r, "n_layer")?;
    // Its own names of functions: gelu is what others call gelu_new.
    let act = match r.text("afn")? {
        None | Some("gelu") => Activation::GeluTanh,
        Some("silu" | "swish") => Activation::Silu,
        Some("relu") => Activation::Relu,
        Some(_) => return Err(r.bad("afn", "gelu, silu or relu")),
    };
    Ok(Config {
        vocab: r.size("vocab_size")?,
        context: r.size("n_positions")?,
        hidden,
        layers,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        ffn: hidden.saturating_mul(4),
        act,
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
        let token = s.embed(Role::TokenEmbd, "tokens_embed", [c.vocab, c.hidden], Index::Token);
        let position = s.embed(Role::PosEmbd, "positions_embed", [c.context, c.hidden], Index::Position);
        let x = s.add(token, position);
        s.leave(Carry::Hidden, x);
    })
}

fn block(c: &Config, root: &str, i: usize) -> Layer {
    let (d, dim) = (c.hidden, c.head_dim);
    let heads = Heads { q: c.heads, kv: c.heads, dim, v_dim: dim };
    Scribe::layer(format!("{root}h.{i}."), Some(i), |s| {
        let x = s.carried(Carry::Hidden);
        let qkv = s.conv1d(x, Role::AttnQkv, "attn.c_attn", [3 * d, d]);
        let [q, k, v] = [0, 1, 2].map(|j| s.op(Op::Slice { x: qkv, per: 3 * d, from: j * d, to: (j + 1) * d }));
        let scale = (dim as f32).sqrt().recip();
        let a = s.op(Op::Attend { q, k, v, heads, mask: c.mask(i), scale, scores: Scores::default() });
        let o = s.conv1d(a, Role::AttnOut, "attn.c_proj", [d, d]);
        let h = s.add(x, o);
        let n = s.layer_norm(h, Role::AttnPostNorm, "ln_1", d, c.eps);
        let u = s.conv1d(n, Role::FfnUp, "mlp.c_fc", [c.ffn, d]);
        let u = s.op(Op::Act(c.act, u));
        let f = s.conv1d(u, Role::FfnDown, "mlp.c_proj", [d, c.ffn]);
        let h = s.add(n, f);
        let y = s.layer_norm(h, Role::FfnPostNorm, "ln_2", d, c.eps);
        s.leave(Carry::Hidden, y);
    })
}

fn end(c: &Config, root: &str) -> Layer {
    Scribe::layer(root, None, |s| {
        let x = s.carried(Carry::Hidden);
        logits(s, c, x, "tokens_embed");
    })
}
