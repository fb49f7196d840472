//! What config.json says of a decoder, read once and checked.

use super::{Activation, ConfigReader, Error, Mask, Result, Rope, Routing, Scaling};

/// The most layers a program is written for.
const MAX_LAYERS: usize = 10_000;
/// The widest head: a rope's tables are as long.
pub(super) const MAX_HEAD: usize = 1 << 14;

/// Which linears have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each linear by itself")]
pub struct Biases {
    /// Query, key and value.
    pub qkv: bool,
    /// The output of attention.
    pub out: bool,
    /// The feed-forward part.
    pub ffn: bool,
    /// Layer norms.
    pub norm: bool,
}

/// What a configuration multiplies by, beside weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    /// The embedding.
    pub embedding: f64,
    /// What attention and the feed-forward part add to the residual stream.
    pub residual: f64,
    /// Scores of attention, if not `1 / sqrt(head_dim)`.
    pub attention: Option<f64>,
    /// Logits.
    pub logits: f64,
}

/// What values are kept softly below.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Caps {
    /// Scores of attention.
    pub attention: Option<f64>,
    /// Logits.
    pub logits: Option<f64>,
}

/// The experts that the feed-forward part of some layers is divided into.
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    /// How many.
    pub count: usize,
    /// Width of each.
    pub ffn: usize,
    /// How tokens are given to them.
    pub routing: Routing,
    /// Width of the expert that every token goes to, if there is one.
    pub shared: Option<usize>,
    /// Whether each layer has them; `layers` of them.
    pub sparse: Vec<bool>,
}

/// Queries, keys and values that are made of narrower, latent vectors (MLA, arXiv 2405.04434).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latent {
    /// Width of what queries are made of; without, they are made of the hidden state.
    pub q: Option<usize>,
    /// Width of what keys and values are made of.
    pub kv: usize,
    /// Elements of a head of queries and keys that do not turn.
    pub nope: usize,
    /// Those that do, which are the same for all key heads.
    pub rope: usize,
    /// Width of a value head.
    pub v: usize,
}

/// What an encoder has beside a decoder's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bidirectional {
    /// Kinds of text (first, second) that have an embedding; 0 without one.
    pub token_types: usize,
    /// Rows of the checkpoint's positions that stand before that of the first token.
    pub first_position: usize,
    /// Width of the embedding, if another than that of the residual stream.
    pub embedding: usize,
    /// Sets of weights that the layers share in equal parts, one after the other; as many as layers where none is shared.
    pub groups: usize,
}

/// An encoder, and perhaps a decoder beside it. What else the configuration says is of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The decoder's layers; [`Config::layers`] are the encoder's.
    pub decoder_layers: usize,
    /// The decoder's heads, of the same width together.
    pub decoder_heads: usize,
    /// Width of the decoder's feed-forward parts.
    pub decoder_ffn: usize,
    /// The id that the decoder's input begins with.
    pub start: u32,
    /// The id that ends a text, if one does.
    pub end: Option<u32>,
    /// Whether feed-forward parts have a gate.
    pub gated: bool,
    /// Buckets of distances that the scores of attention are changed by, and the distance from which on all share one;
    /// without, positions are learned.
    pub buckets: Option<(usize, usize)>,
}

/// What makes logits of the last hidden state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The token embedding.
    Tied,
    /// A matrix of its own.
    Own,
    /// Nothing: a base model.
    None,
}

/// The shape of a decoder and what its parts do.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct Config {
    /// Tokens of the vocabulary; rows of the embedding.
    pub vocab: usize,
    /// Tokens that the model was trained for.
    pub context: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Whether the configuration, not a division, gave `head_dim`.
    pub own_head_dim: bool,
    /// Width of the feed-forward part.
    pub ffn: usize,
    /// Its function.
    pub act: Activation,
    /// Epsilon of every norm.
    pub eps: f64,
    /// The rope, if positions are not learned.
    pub rope: Option<Rope>,
    /// The sliding window of each layer, tokens; `layers` of them.
    pub windows: Vec<Option<usize>>,
    /// Which linears have one.
    pub bias: Biases,
    /// Whether each query and key head is normed.
    pub qk_norm: bool,
    /// What makes logits.
    pub head: Head,
    /// Elements of a head that the rope turns.
    pub rotary: usize,
    /// The rope of layers that have a window, if it is another.
    pub local_rope: Option<Rope>,
    /// The steepest slope of ALiBi is `2^(-max / heads)` and its like: see `decoder`. None without.
    pub alibi: Option<f64>,
    /// Whether attention and the feed-forward part read the same value and are added together.
    pub parallel: bool,
    /// Whether they then have a norm each.
    pub two_norms: bool,
    /// What it multiplies by, beside weights.
    pub scales: Scales,
    /// What values are kept softly below.
    pub caps: Caps,
    /// The experts, if there are any.
    pub experts: Option<Experts>,
    /// What attention is made of, if it is latent.
    pub latent: Option<Latent>,
    /// The encoder and decoder, if it is no decoder alone.
    pub pair: Option<Pair>,
    /// Layers after those of the model, each for one more token ahead (multi-token prediction). The program has none of
    /// them.
    pub ahead: usize,
    /// What it has as an encoder; every token then sees all of its sequence.
    pub encoder: Option<Bidirectional>,
    /// How many of the rope's frequencies turn by a token's time, row and column; by its position alone without.
    pub sections: Option<[usize; 3]>,
    /// What the names of tensors begin with that are towers' beside the language model.
    pub towers: &'static [&'static str],
}

impl Config {
    /// What most configurations say nothing of: a start for `..Config::usual()`. All sizes are 0.
    pub(super) fn usual() -> Config {
        Config {
            vocab: 0,
            context: 0,
            hidden: 0,
            layers: 0,
            heads: 0,
            kv_heads: 0,
            head_dim: 0,
            own_head_dim: false,
            ffn: 0,
            act: Activation::Silu,
            eps: 1e-5,
            rope: None,
            windows: vec![],
            bias: Biases::default(),
            qk_norm: false,
            head: Head::Own,
            rotary: 0,
            local_rope: None,
            alibi: None,
            parallel: false,
            two_norms: false,
            scales: Scales { embedding: 1.0, residual: 1.0, attention: None, logits: 1.0 },
            caps: Caps::default(),
            experts: None,
            latent: None,
            pair: None,
            ahead: 0,
            encoder: None,
            sections: None,
            towers: &[],
        }
    }
}

impl Config {
    /// Reads the keys that Llama and its descendants share; the caller sets what is its own.
    pub(super) fn read(r: &mut ConfigReader) -> Result<Config> {
        let eps = r.positive("rms_norm_eps")?;
        let act = activation(r, "hidden_act", Activation::Silu)?;
        let config = Config { act, eps, ..Config::sizes(r)? };
        if config.rotary != config.head_dim {
            const KEY: &str = "partial_rotary_factor";
            if !r.forget(KEY) {
                return Err(r.bad(KEY, "1: this architecture turns whole heads"));
            }
        }
        Ok(Config { rotary: config.head_dim, ..config })
    }

    /// The part of [`Config::read`] that is sizes, rope and head. A rope may turn a part of each head.
    pub(super) fn sizes(r: &mut ConfigReader) -> Result<Config> {
        let context = r.size("max_position_embeddings")?;
        let (rope, share) = Rope::read(r, context)?;
        Config::sizes_of(r, rope, share)
    }

    /// [`Config::sizes`] with a rope that was read before.
    pub(super) fn sizes_with(r: &mut ConfigReader, rope: Rope) -> Result<Config> {
        Config::sizes_of(r, rope, None)
    }

    fn sizes_of(r: &mut ConfigReader, rope: Rope, share: Option<f64>) -> Result<Config> {
        let layers = layers(r, "num_hidden_layers")?;
        let (hidden, heads) = (r.size("hidden_size")?, r.size("num_attention_heads")?);
        let own_head_dim = r.optional_size("head_dim")?;
        let context = r.size("max_position_embeddings")?;
        let head_dim = own_head_dim.unwrap_or(hidden / heads);
        let config = Config {
            vocab: r.size("vocab_size")?,
            context,
            hidden,
            layers,
            heads,
            kv_heads: r.optional_size("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            own_head_dim: own_head_dim.is_some(),
            ffn: r.size("intermediate_size")?,
            rope: Some(rope),
            rotary: share.map_or(head_dim, |share| (head_dim as f64 * share) as usize),
            windows: vec![None; layers],
            head: head(r, false)?,
            ..Config::usual()
        };
        if own_head_dim.is_none() && hidden % heads != 0 {
            return Err(r.bad("hidden_size", format!("a multiple of num_attention_heads = {heads}")));
        }
        if let Some(Rope { scaling: Scaling::Long { short, long, .. }, .. }) = &config.rope
            && [short, long].iter().any(|list| list.len() != config.rotary / 2)
        {
            return Err(r.bad("rope_scaling", format!("lists of {} factors", config.rotary / 2)));
        }
        if heads % config.kv_heads != 0 {
            return Err(r.bad("num_key_value_heads", format!("a divisor of num_attention_heads = {heads}")));
        }
        let turns = config.head_dim.is_multiple_of(2) && config.head_dim <= MAX_HEAD;
        if config.rotary == 0 || !config.rotary.is_multiple_of(2) || config.rotary > config.head_dim {
            return Err(r.bad("partial_rotary_factor", format!("a share that makes an even number of {head_dim}")));
        }
        if !turns {
            let key = if own_head_dim.is_some() { "head_dim" } else { "hidden_size" };
            return Err(r.bad(key, format!("a size that makes heads of an even width up to {MAX_HEAD}")));
        }
        Ok(config)
    }

    /// What a token of layer `layer` sees.
    pub fn mask(&self, layer: usize) -> Mask {
        self.windows.get(layer).copied().flatten().map_or(Mask::Causal, Mask::Window)
    }

    /// Whether a tensor of the checkpoint is a tower's, beside the language model.
    pub fn tower(&self, tensor: &str) -> bool {
        self.towers.iter().any(|start| tensor.starts_with(start))
    }

    /// Whether layer `layer` has experts.
    pub fn sparse(&self, layer: usize) -> Option<&Experts> {
        self.experts.as_ref().filter(|experts| experts.sparse.get(layer) == Some(&true))
    }
}

/// The number of layers under `key`.
pub(super) fn layers(r: &mut ConfigReader, key: &str) -> Result<usize> {
    let layers = r.size(key)?;
    if layers > MAX_LAYERS { Err(r.bad(key, format!("at most {MAX_LAYERS} layers"))) } else { Ok(layers) }
}

/// The function under `key`.
pub(super) fn activation(r: &mut ConfigReader, key: &str, default: Activation) -> Result<Activation> {
    match r.text(key)? {
        None => Ok(default),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu" | "gelu_python") => Ok(Activation::Gelu),
        Some("gelu_new" | "gelu_fast" | "gelu_accurate" | "gelu_pytorch_tanh" | "gelu_python_tanh") => {
            Ok(Activation::GeluTanh)
        }
        Some("relu") => Ok(Activation::Relu),
        Some(_) => Err(r.bad(key, "silu, gelu, gelu_new or relu")),
    }
}

/// The head: none for a base class (`...Model`, but not `...LMHeadModel`), else as `tie_word_embeddings` says.
pub(super) fn head(r: &mut ConfigReader, tied: bool) -> Result<Head> {
    let tied = r.flag("tie_word_embeddings", tied)?;
    Ok(match r.class() {
        Some(class) if class.ends_with("Model") && !class.ends_with("LMHeadModel") => Head::None,
        _ if tied => Head::Tied,
        _ => Head::Own,
    })
}

/// The id under `eos_token_id`, the first of several.
pub(super) fn end(r: &mut ConfigReader) -> Option<u32> {
    let id = r.get("eos_token_id")?;
    id.as_array().and_then(|ids| ids.first()).unwrap_or(id).as_u64().and_then(|id| u32::try_from(id).ok())
}

/// Qwen's sliding windows: none unless `use_sliding_window`; then the layers that `layer_types` names, or all from
/// `max_window_layers` on.
pub(super) fn layer_windows(r: &mut ConfigReader, layers: usize) -> Result<Vec<Option<usize>>> {
    let slides = r.flag("use_sliding_window", false)?;
    // Zero is what some write for none.
    let none = !slides && r.get("sliding_window").and_then(serde_json::Value::as_u64) == Some(0);
    let size = if none { 0 } else { r.optional_size("sliding_window")?.unwrap_or(4096) };
    // Zero is a meaningful value here: all layers slide.
    let first = match r.get("max_window_layers") {
        None => 28,
        Some(v) => v.as_u64().ok_or_else(|| r.bad("max_window_layers", "a whole number"))? as usize,
    };
    let Some(types) = r.texts("layer_types")? else {
        return Ok((0..layers).map(|i| (slides && i >= first).then_some(size)).collect());
    };
    if types.len() != layers {
        return Err(r.bad("layer_types", format!("one entry for each of the {layers} layers")));
    }
    let window = |kind: &&str| match *kind {
        "full_attention" => Ok(None),
        "sliding_attention" if slides => Ok(Some(size)),
        "sliding_attention" => Err(r.bad("use_sliding_window", "true, as layer_types has sliding_attention")),
        _ => Err(r.bad("layer_types", "full_attention or sliding_attention")),
    };
    types.iter().map(window).collect()
}

/// The windows that `layer_types` names, of one size; without such a list those that `usual` says.
pub(super) fn typed_windows(
    r: &mut ConfigReader,
    layers: usize,
    size: Option<usize>,
    usual: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>> {
    let Some(types) = r.texts("layer_types")? else {
        return Ok((0..layers).map(|i| size.filter(|_| usual(i))).collect());
    };
    if types.len() != layers {
        return Err(r.bad("layer_types", format!("one entry for each of the {layers} layers")));
    }
    let window = |kind: &&str| match (*kind, size) {
        ("full_attention", _) => Ok(None),
        ("sliding_attention", Some(size)) => Ok(Some(size)),
        ("sliding_attention", None) => Err(r.bad("sliding_window", "a size, as layer_types has sliding_attention")),
        _ => Err(r.bad("layer_types", "full_attention or sliding_attention")),
    };
    types.iter().map(window).collect()
}

/// Refuses a missing `num_key_value_heads`: transformers fills in a fixed number there, which is never meant.
pub(super) fn require_kv_heads(r: &ConfigReader) -> Result<()> {
    const KEY: &str = "num_key_value_heads";
    if r.has(KEY) { Ok(()) } else { Err(Error::MissingKey { key: KEY.to_owned() }) }
}
