//! What config.json says of a decoder, read once and checked.

use super::{Activation, ConfigReader, Error, Mask, Result, Rope};

/// The most layers a program is written for.
const MAX_LAYERS: usize = 10_000;
/// The widest head: a rope's tables are as long.
const MAX_HEAD: usize = 1 << 14;

/// Which linears have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// Query, key and value.
    pub qkv: bool,
    /// The output of attention.
    pub out: bool,
    /// The feed-forward part.
    pub ffn: bool,
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
}

impl Config {
    /// Reads the keys that Llama and its descendants share; the caller sets what is its own.
    pub(super) fn read(r: &mut ConfigReader) -> Result<Config> {
        let layers = layers(r, "num_hidden_layers")?;
        let (hidden, heads) = (r.size("hidden_size")?, r.size("num_attention_heads")?);
        let own_head_dim = r.optional_size("head_dim")?;
        let context = r.size("max_position_embeddings")?;
        let config = Config {
            vocab: r.size("vocab_size")?,
            context,
            hidden,
            layers,
            heads,
            kv_heads: r.optional_size("num_key_value_heads")?.unwrap_or(heads),
            head_dim: own_head_dim.unwrap_or(hidden / heads),
            own_head_dim: own_head_dim.is_some(),
            ffn: r.size("intermediate_size")?,
            act: activation(r, "hidden_act", Activation::Silu)?,
            eps: r.positive("rms_norm_eps")?,
            rope: Some(Rope::read(r, context)?),
            windows: vec![None; layers],
            bias: Biases::default(),
            qk_norm: false,
            head: head(r, false)?,
        };
        if own_head_dim.is_none() && hidden % heads != 0 {
            return Err(r.bad("hidden_size", format!("a multiple of num_attention_heads = {heads}")));
        }
        if heads % config.kv_heads != 0 {
            return Err(r.bad("num_key_value_heads", format!("a divisor of num_attention_heads = {heads}")));
        }
        let turns = config.head_dim.is_multiple_of(2) && config.head_dim <= MAX_HEAD;
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

/// Qwen's sliding windows: none unless `use_sliding_window`; then the layers that `layer_types` names, or all from
/// `max_window_layers` on.
pub(super) fn layer_windows(r: &mut ConfigReader, layers: usize) -> Result<Vec<Option<usize>>> {
    let size = r.optional_size("sliding_window")?.unwrap_or(4096);
    let slides = r.flag("use_sliding_window", false)?;
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

/// Refuses a missing `num_key_value_heads`: transformers fills in a fixed number there, which is never meant.
pub(super) fn require_kv_heads(r: &ConfigReader) -> Result<()> {
    const KEY: &str = "num_key_value_heads";
    if r.has(KEY) { Ok(()) } else { Err(Error::MissingKey { key: KEY.to_owned() }) }
}
