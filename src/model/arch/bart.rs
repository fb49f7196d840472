//! BART: an encoder and a decoder with norms after the sums, learned positions, and a head that is the embedding with a
//! bias. llama.cpp has no graph for it.

use crate::model::config::{activation, end, layers};
use crate::model::{
    Activation, Architecture, Biases, Carry, Config, ConfigReader, Gather, Has, Head, Heads, Index, Layer, Mask, Model,
    Objective, Op, Pair, Param, Result, Role, Scores, Scribe, Stack, Value,
};

/// The architecture of this file.
pub(super) static BART: Architecture = Architecture {
    name: "bart",
    models: "BART",
    hf: &["BartForConditionalGeneration"],
    model_types: &["bart"],
    roots: &["model.", ""],
    embedding: "shared.weight",
    read,
    write,
    gguf: None,
};

/// torch's own: no key says another.
const EPS: f64 = 1e-5;
/// Rows of the table of positions before the first.
const OFFSET: usize = 2;

fn read(r: &mut ConfigReader) -> Result<Config> {
    let count = layers(r, "encoder_layers")?;
    let (hidden, heads) = (r.size("d_model")?, r.size("encoder_attention_heads")?);
    let decoder_heads = r.size("decoder_attention_heads")?;
    if hidden % heads != 0 || hidden % decoder_heads != 0 {
        return Err(r.bad("d_model", format!("a multiple of {heads} and of {decoder_heads} heads")));
    }
    // What the first releases say of themselves, of which their descendants say the opposite.
    for (key, usual) in [
        ("normalize_before", false),
        ("add_final_layer_norm", false),
        ("static_position_embeddings", false),
        ("add_bias_logits", false),
        ("normalize_embedding", true),
        ("is_encoder_decoder", true),
        ("tie_word_embeddings", true),
    ] {
        if r.flag(key, usual)? != usual {
            return Err(r.bad(key, usual.to_string()));
        }
    }
    for key in ["num_hidden_layers", "extra_pos_embeddings"] {
        r.optional_size(key)?;
    }
    let scale = if r.flag("scale_embedding", false)? { (hidden as f64).sqrt() } else { 1.0 };
    let pair = Pair {
        decoder_layers: layers(r, "decoder_layers")?,
        decoder_heads,
        decoder_ffn: r.size("decoder_ffn_dim")?,
        start: r.optional_size("decoder_start_token_id")?.unwrap_or(2) as u32,
        end: end(r),
        gated: false,
        buckets: None,
    };
    Ok(Config {
        vocab: r.size("vocab_size")?,
        context: r.size("max_position_embeddings")?,
        hidden,
        layers: count,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        ffn: r.size("encoder_ffn_dim")?,
        act: activation(r, "activation_function", Activation::Gelu)?,
        eps: EPS,
        windows: vec![None; count],
        bias: Biases { qkv: true, out: true, ffn: true, norm: true },
        head: Head::Tied,
        scales: crate::model::Scales { embedding: scale, ..Config::usual().scales },
        pair: Some(pair),
        ..Config::usual()
    })
}

fn write(c: &Config, root: &str, _: Has) -> Model {
    let pair = c.pair.unwrap_or_else(|| unreachable!("its reader sets it"));
    let head = Scribe::layer_of("dec.", root, None, |s| {
        let x = s.carried(Carry::Hidden);
        let w = s.weight(Role::TokenEmbd, "shared", &[c.vocab, c.hidden]);
        // One row of a matrix.
        let from = Gather::Whole("final_logits_bias".to_owned());
        let bias = Param { shape: vec![1, c.vocab], ..s.param_of(Role::Output, "bias", from, &[]) };
        let y = s.op(Op::Linear { x, w, bias: Some(bias) });
        s.leave(Carry::Logits, y);
    });
    let stack = |stack: &'static str, name: &'static str, count: usize, last: Option<Layer>| {
        let blocks = (0..count).map(|i| block(c, pair, root, stack, name, i));
        let layers = std::iter::once(embedding(c, root, stack, name)).chain(blocks).chain(last).collect();
        Stack { name, layers }
    };
    let stacks =
        vec![stack("enc.", "encoder", c.layers, None), stack("dec.", "decoder", pair.decoder_layers, Some(head))];
    Model { stacks, objective: Objective::Seq2Seq, tables: vec![] }
}

fn embedding(c: &Config, root: &str, stack: &'static str, name: &str) -> Layer {
    Scribe::layer_of(stack, format!("{root}{name}."), None, |s| {
        let from = Gather::Whole(format!("{root}shared.weight"));
        let table = s.param_of(Role::TokenEmbd, "weight", from, &[c.vocab, c.hidden]);
        let x = s.op(Op::Embed { table, by: Index::Token });
        let x = s.scaled(x, c.scales.embedding);
        let rows = Gather::Rows(s.name("embed_positions.weight"), OFFSET, OFFSET + c.context);
        let table = s.param_of(Role::PosEmbd, "weight", rows, &[c.context, c.hidden]);
        let p = s.op(Op::Embed { table, by: Index::Position });
        let x = s.add(x, p);
        let x = s.layer_norm(x, Role::TokenEmbdNorm, "layernorm_embedding", c.hidden, c.eps);
        s.leave(Carry::Hidden, x);
    })
}

fn block(c: &Config, pair: Pair, root: &str, stack: &'static str, name: &str, i: usize) -> Layer {
    let encoder = stack == "enc.";
    let (heads, ffn) = if encoder { (c.heads, c.ffn) } else { (pair.decoder_heads, pair.decoder_ffn) };
    Scribe::layer_of(stack, format!("{root}{name}.layers.{i}."), Some(i), |s| {
        let x = s.carried(Carry::Hidden);
        let roles = [Role::AttnQ, Role::AttnK, Role::AttnV, Role::AttnO];
        let mask = if encoder { Mask::All } else { Mask::Causal };
        let a = attention(s, c, heads, [x, x], "self_attn", roles, mask);
        let h = s.add(x, a);
        let mut h = s.layer_norm(h, Role::AttnOutNorm, "self_attn_layer_norm", c.hidden, c.eps);
        if !encoder {
            let encoded = s.carried(Carry::Encoded);
            let roles = [Role::CrossQ, Role::CrossK, Role::CrossV, Role::CrossO];
            let a = attention(s, c, heads, [h, encoded], "encoder_attn", roles, Mask::Across);
            let sum = s.add(h, a);
            h = s.layer_norm(sum, Role::CrossOutNorm, "encoder_attn_layer_norm", c.hidden, c.eps);
        }
        let u = s.linear(h, Role::FfnUp, "fc1", [ffn, c.hidden], true);
        let u = s.op(Op::Act(c.act, u));
        let f = s.linear(u, Role::FfnDown, "fc2", [c.hidden, ffn], true);
        let y = s.add(h, f);
        let y = s.layer_norm(y, Role::LayerOutNorm, "final_layer_norm", c.hidden, c.eps);
        s.leave(Carry::Hidden, y);
    })
}

/// Attention of `x` to `to`.
fn attention(
    s: &mut Scribe,
    c: &Config,
    heads: usize,
    [x, to]: [Value; 2],
    at: &str,
    roles: [Role; 4],
    mask: Mask,
) -> Value {
    let (d, dim) = (c.hidden, c.hidden / heads);
    let mut project = |x, role, name: &str| s.linear(x, role, &format!("{at}.{name}"), [d, d], true);
    let (q, k, v) = (project(x, roles[0], "q_proj"), project(to, roles[1], "k_proj"), project(to, roles[2], "v_proj"));
    let (heads, scale) = (Heads { q: heads, kv: heads, dim, v_dim: dim }, (dim as f32).sqrt().recip());
    let a = s.op(Op::Attend { q, k, v, heads, mask, scale, scores: Scores::default() });
    s.linear(a, roles[3], &format!("{at}.out_proj"), [d, d], true)
}
