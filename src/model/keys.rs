//! What a GGUF's header says about the model, and what it cannot say.

use std::fmt;

use planish_formats::gguf::{Kv, Value};

use super::error::NO_GRAPH;
use super::rope::{BETA_FAST, BETA_SLOW};
use super::{Architecture, Config, Error, Result, Rope, Scaling};

/// Sets keys under an architecture's name.
pub struct Keys<'a> {
    architecture: &'static str,
    kv: &'a mut Kv,
}

impl Keys<'_> {
    /// Sets `{architecture}.{key}`.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.kv.set(format!("{}.{key}", self.architecture), value);
    }

    /// The sizes that every decoder has.
    pub(super) fn sizes(&mut self, c: &Config) {
        self.set("block_count", c.layers as u32);
        self.set("context_length", c.context as u32);
        self.set("embedding_length", c.hidden as u32);
        self.set("feed_forward_length", c.ffn as u32);
        self.set("attention.head_count", c.heads as u32);
        self.set("attention.head_count_kv", c.kv_heads as u32);
    }

    /// The keys of a decoder with RMS norms and a rope.
    pub(super) fn decoder(&mut self, c: &Config) {
        self.sizes(c);
        if let Some(rope) = &c.rope {
            rope.keys(self);
        }
        self.set("attention.layer_norm_rms_epsilon", c.eps as f32);
        self.windows(c);
    }

    /// How many experts there are, how many a token goes to, and how wide they are.
    pub(super) fn experts(&mut self, c: &Config) {
        let Some(experts) = &c.experts else { return };
        self.set("expert_count", experts.count as u32);
        self.set("expert_used_count", experts.routing.top as u32);
        self.set("expert_feed_forward_length", experts.ffn as u32);
        if let Some(shared) = experts.shared {
            self.set("expert_shared_feed_forward_length", shared as u32);
        }
    }

    /// The width of key and value heads.
    pub(super) fn head_size(&mut self, c: &Config) {
        self.set("attention.key_length", c.head_dim as u32);
        self.set("attention.value_length", c.head_dim as u32);
    }

    /// Sliding windows. llama.cpp's converter drops them; the keys keep a GGUF a whole description of its model.
    pub(super) fn windows(&mut self, c: &Config) {
        let Some(size) = c.windows.iter().copied().flatten().next() else { return };
        self.set("attention.sliding_window", size as u32);
        if c.windows.iter().any(Option::is_none) {
            self.set("attention.sliding_window_pattern", c.windows.iter().map(Option::is_some).collect::<Vec<_>>());
        }
    }
}

/// `general.architecture` and the keys under its name.
pub fn gguf_keys(architecture: &Architecture, config: &Config) -> Result<Kv> {
    let gguf = architecture.held(config)?;
    let mut kv = Kv::new();
    kv.set("general.architecture", gguf.name);
    (gguf.keys)(config, &mut Keys { architecture: gguf.name, kv: &mut kv });
    Ok(kv)
}

/// The architectures whose sliding windows llama.cpp computes.
const WINDOWED: &[&str] = &["gemma2", "gemma3", "gpt-oss"];

/// Where llama.cpp will compute something else than the checkpoint's authors meant, although it can run the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Caveat {
    /// It attends to the whole context where the model has windows.
    Window {
        /// Tokens of the smallest window.
        tokens: usize,
    },
    /// It begins and ends YaRN's ramp at whole dimensions where the model does not.
    YarnRamp,
    /// It chooses groups of experts by the two best of each where the model does by the best.
    Groups,
    /// The norms of its latent vectors have the epsilon of all others, where the model's have one of their own.
    LatentEpsilon,
    /// It does not scale down what a tied head reads.
    TiedScale,
    /// It does not grow the rope's base past the trained context.
    DynamicRope {
        /// Tokens of the trained context.
        tokens: usize,
    },
    /// It takes LongRoPE's table for longer texts wherever its context is longer, however short the text.
    LongRope {
        /// Tokens of the longest text that the table for shorter ones is for.
        tokens: usize,
    },
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caveat::Window { tokens } => {
                write!(f, "llama.cpp ignores this model's sliding window: texts above {tokens} tokens will differ")
            }
            Caveat::YarnRamp => {
                write!(
                    f,
                    "llama.cpp rounds the ends of this model's YaRN ramp to whole dimensions: logits will differ a little"
                )
            }
            Caveat::Groups => write!(
                f,
                "llama.cpp chooses groups of experts by their two best, this model by the best: some tokens go elsewhere"
            ),
            Caveat::LatentEpsilon => {
                write!(
                    f,
                    "llama.cpp norms latent vectors with rms_norm_eps, this model with 1e-6: logits differ a little"
                )
            }
            Caveat::TiedScale => write!(
                f,
                "llama.cpp does not scale what this model's tied head reads: the order of tokens stays, probabilities do not"
            ),
            Caveat::DynamicRope { tokens } => {
                write!(f, "llama.cpp ignores dynamic rope scaling: texts above {tokens} tokens will differ")
            }
            Caveat::LongRope { tokens } => write!(
                f,
                "llama.cpp chooses between this model's two ropes by the size of its context (-c), not by the text: in a \
                 context above {tokens} tokens shorter texts will differ"
            ),
        }
    }
}

impl Architecture {
    /// What GGUF makes of it, if llama.cpp can run this configuration.
    pub(super) fn held(&self, config: &Config) -> Result<&super::Gguf> {
        let refused = |what| Error::NotInGguf { architecture: self.name, what };
        let gguf = self.gguf.as_ref().ok_or_else(|| refused(NO_GRAPH))?;
        (gguf.holds)(config).map_err(refused)?;
        if let Some(Rope { scaling: Scaling::Yarn { beta_fast, beta_slow, truncate, .. }, .. }) = &config.rope {
            // gpt-oss asks for it, and its authors' GGUFs go without.
            if !truncate && gguf.name != "gpt-oss" {
                return Err(refused("its YaRN ramp begins and ends at whole dimensions"));
            }
            // The keys exist, but the loaders of these architectures do not read them.
            if beta_fast.is_some_and(|beta| beta != BETA_FAST) || beta_slow.is_some_and(|beta| beta != BETA_SLOW) {
                return Err(refused("its YaRN ramp goes from 32 rotations to 1 whatever beta_fast and beta_slow say"));
            }
        }
        Ok(gguf)
    }

    /// Where a GGUF of this configuration will differ from the checkpoint.
    pub fn caveats(&self, config: &Config) -> Vec<Caveat> {
        // Where a layer in so many has one, its graph has too.
        let ignored = self.gguf.as_ref().is_some_and(|gguf| !WINDOWED.contains(&gguf.name));
        let window = config.windows.iter().filter(|_| ignored).copied().flatten().filter(|&w| w < config.context).min();
        let dynamic = matches!(&config.rope, Some(Rope { scaling: Scaling::Dynamic { .. }, .. }));
        let mut caveats: Vec<Caveat> = window.map(|tokens| Caveat::Window { tokens }).into_iter().collect();
        if matches!(&config.rope, Some(Rope { scaling: Scaling::Yarn { truncate: false, .. }, .. })) {
            caveats.push(Caveat::YarnRamp);
        }
        if let Some(Rope { scaling: Scaling::Long { original, .. }, .. }) = &config.rope {
            caveats.push(Caveat::LongRope { tokens: *original });
        }
        if config.experts.as_ref().is_some_and(|e| e.routing.groups > 1 && e.routing.group_best == 1) {
            caveats.push(Caveat::Groups);
        }
        if config.latent.is_some() && config.eps != super::decoder::LATENT_EPS {
            caveats.push(Caveat::LatentEpsilon);
        }
        if config.pair.is_some_and(|pair| pair.buckets.is_some()) && config.scales.logits != 1.0 {
            caveats.push(Caveat::TiedScale);
        }
        if dynamic {
            caveats.push(Caveat::DynamicRope { tokens: config.context });
        }
        caveats
    }
}
