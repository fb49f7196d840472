//! Rotary positions: the kinds of scaling, as config.json names them, and the one table that each amounts to.

use super::{ConfigReader, Error, Keys, Result, Role};

/// Where YaRN's ramp begins, rotations over the original context, if the configuration does not say.
pub(super) const BETA_FAST: f64 = 32.0;
/// Where it ends.
pub(super) const BETA_SLOW: f64 = 1.0;

/// All that [`Op::Rope`](super::Op::Rope) needs to know of a rope.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// Radians a token for each two elements, fastest first. `head_dim / 2` of them.
    pub inverse: Vec<f32>,
    /// Multiplies sine and cosine.
    pub scale: f32,
    /// Sequences of more tokens than the first turn by these frequencies instead.
    pub long: Option<(usize, Vec<f32>)>,
}

impl Frequencies {
    /// The frequencies for sequences of so many tokens.
    pub fn of(&self, tokens: usize) -> &[f32] {
        self.long.as_ref().filter(|(most, _)| tokens > *most).map_or(&self.inverse, |(_, long)| long)
    }
}

/// A rope: its base and what stretches it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The base (`rope_theta`).
    pub theta: f64,
    /// What stretches it.
    pub scaling: Scaling,
}

/// How a rope was stretched to a longer context. `factor` is how many times longer; `original` the context before,
/// tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// Every frequency divided by `factor` (position interpolation).
    Linear {
        /// See [`Scaling`].
        factor: f64,
    },
    /// The base grows with the sequence once it is longer than the trained context; up to there, not at all.
    Dynamic {
        /// See [`Scaling`].
        factor: f64,
    },
    /// Low frequencies divided by `factor`, high ones kept, a ramp between (Llama 3.1).
    Llama3 {
        /// See [`Scaling`].
        factor: f64,
        /// Wavelengths above `original / low` are stretched in full.
        low: f64,
        /// Wavelengths below `original / high` are kept.
        high: f64,
        /// See [`Scaling`].
        original: usize,
    },
    /// Every frequency divided by a number of its own, one for sequences up to `original` and another for longer ones
    /// (LongRoPE, arXiv 2402.13753).
    Long {
        /// Divisors up to there.
        short: Vec<f32>,
        /// Divisors past it.
        long: Vec<f32>,
        /// See [`Scaling`].
        original: usize,
        /// The scale of sine and cosine.
        attention: f64,
    },
    /// A ramp over the dimensions, and a scale of the attention (YaRN, arXiv 2309.00071).
    Yarn {
        /// See [`Scaling`].
        factor: f64,
        /// See [`Scaling`].
        original: usize,
        /// Rotations over `original` from which a dimension is kept;
        /// 32 if not given.
        beta_fast: Option<f64>,
        /// Rotations up to which it is stretched in full; 1 if not given.
        beta_slow: Option<f64>,
        /// The scale of sine and cosine, if not the paper's `0.1 ln(factor) + 1`.
        attention: Option<f64>,
        /// `mscale_all_dim`, by which latent attention scales its scores: see `Rope::score_scale`.
        all: Option<f64>,
        /// Whether the ends of the ramp are whole dimensions.
        truncate: bool,
    },
}

impl Rope {
    /// Reads both dialects: `rope_theta` and `rope_scaling` (transformers 4), `rope_parameters` (5).
    ///
    /// Beside the rope it gives the share of each head that is turned, where one is named.
    pub(super) fn read(r: &mut ConfigReader, context: usize) -> Result<(Rope, Option<f64>)> {
        const DEFAULT_THETA: f64 = 10000.0;
        // GPT-NeoX's names are others.
        let other = r.optional_positive("rotary_emb_base")?;
        let outer = r.optional_positive("rope_theta")?.or(other);
        let original = r.optional_size("original_max_position_embeddings")?;
        let (scaling, parameters) = (r.object("rope_scaling")?, r.object("rope_parameters")?);
        if scaling.is_some() && parameters.is_some() {
            return Err(r.bad("rope_scaling", "either rope_scaling or rope_parameters, not both"));
        }
        let other = r.optional_positive("rotary_pct")?;
        let outer_share = r.optional_positive("partial_rotary_factor")?.or(other);
        let Some(mut table) = scaling.or(parameters) else {
            let rope = base(r, "rope_theta", outer.unwrap_or(DEFAULT_THETA), Scaling::None)?;
            return Ok((rope, outer_share));
        };
        let share = table.optional_positive("partial_rotary_factor")?.or(outer_share);
        let theta = table.optional_positive("rope_theta")?.or(outer).unwrap_or(DEFAULT_THETA);
        let scaling = Scaling::read(&mut table, original, context)?;
        table.finish("the rope")?;
        Ok((base(&table, "rope_theta", theta, scaling)?, share))
    }

    /// One rope of several in a configuration: its own table, with a base if that names none.
    pub(super) fn table(r: &mut ConfigReader, theta: f64) -> Result<Rope> {
        let theta = r.optional_positive("rope_theta")?.unwrap_or(theta);
        let scaling = Scaling::read(r, None, 1)?;
        r.finish("the rope")?;
        base(r, "rope_theta", theta, scaling)
    }

    /// The table for heads of width `dim`, in the arithmetic of transformers: f32, each step rounded.
    pub fn frequencies(&self, dim: usize) -> Frequencies {
        let plain = self.plain(dim);
        let divided = |by: &[f32]| by.iter().zip(0..).map(|(by, j)| 1.0 / (by * self.power(dim, j))).collect();
        let mut longer = None;
        let (inverse, scale) = match &self.scaling {
            Scaling::None | Scaling::Dynamic { .. } => (plain, 1.0),
            Scaling::Linear { factor } => (plain.iter().map(|f| f / *factor as f32).collect(), 1.0),
            Scaling::Llama3 { factor, low, high, original } => {
                let stretch = |&f: &f32| match ramp(f, *low, *high, *original) {
                    Ramp::Kept => f,
                    Ramp::Full => f / *factor as f32,
                    Ramp::Between(smooth) => (1.0 - smooth) * f / *factor as f32 + smooth * f,
                };
                (plain.iter().map(stretch).collect(), 1.0)
            }
            Scaling::Long { short, long, original, attention } => {
                longer = Some((*original, divided(long)));
                (divided(short), *attention as f32)
            }
            Scaling::Yarn { factor, attention, .. } => {
                let (low, high) = self.yarn_range(dim);
                let mixed = (0..).zip(&plain).map(|(j, &kept)| {
                    let stretched = 1.0 / (*factor as f32 * self.power(dim, j));
                    let keep = 1.0 - ((j as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    stretched * (1.0 - keep) + kept * keep
                });
                (mixed.collect(), attention.unwrap_or_else(|| yarn_attention(*factor)) as f32)
            }
        };
        Frequencies { inverse, scale, long: longer }
    }

    /// What latent attention multiplies its scores by, beside one over the root of its heads' width (DeepSeek).
    pub(super) fn score_scale(&self) -> f64 {
        match self.scaling {
            Scaling::Yarn { factor, all: Some(all), .. } => yarn_mscale(factor, all).powi(2),
            _ => 1.0,
        }
    }

    /// What GGUF's `rope_freqs.weight` divides each plain frequency by; only Llama 3's scaling needs it.
    pub fn divisors(&self, dim: usize) -> Option<Vec<f32>> {
        let Scaling::Llama3 { factor, low, high, original } = &self.scaling else { return None };
        let divisor = |&f: &f32| match ramp(f, *low, *high, *original) {
            Ramp::Kept => 1.0,
            Ramp::Full => *factor as f32,
            Ramp::Between(smooth) => 1.0 / ((1.0 - smooth) / *factor as f32 + smooth),
        };
        Some(self.plain(dim).iter().map(divisor).collect())
    }

    /// The tensors that GGUF carries of it.
    pub(super) fn tables(&self, dim: usize) -> Vec<(Role, Vec<f32>)> {
        if let Scaling::Long { short, long, .. } = &self.scaling {
            return vec![(Role::RopeLong, long.clone()), (Role::RopeShort, short.clone())];
        }
        self.divisors(dim).map(|divisors| (Role::RopeFreqs, divisors)).into_iter().collect()
    }

    /// Sets the `rope.*` keys.
    pub(super) fn keys(&self, keys: &mut Keys) {
        match &self.scaling {
            // The table rope_freqs carries Llama 3's; a dynamic one has no key, see Caveat.
            Scaling::None | Scaling::Dynamic { .. } | Scaling::Llama3 { .. } => {}
            Scaling::Long { original, attention, .. } => {
                keys.set("rope.scaling.original_context_length", *original as u32);
                keys.set("rope.scaling.attn_factor", *attention as f32);
            }
            Scaling::Linear { factor } => {
                keys.set("rope.scaling.type", "linear");
                keys.set("rope.scaling.factor", *factor as f32);
            }
            Scaling::Yarn { factor, original, beta_fast, beta_slow, attention, all: _, truncate: _ } => {
                keys.set("rope.scaling.type", "yarn");
                keys.set("rope.scaling.factor", *factor as f32);
                keys.set("rope.scaling.original_context_length", *original as u32);
                if let Some(attention) = attention {
                    keys.set("rope.scaling.yarn_attn_factor", *attention as f32);
                    // What its loader reads instead; the paper's scale is multiplied in later.
                    keys.set("rope.scaling.attn_factor", (attention / yarn_attention(*factor)) as f32);
                }
                if let Some(beta) = beta_fast {
                    keys.set("rope.scaling.yarn_beta_fast", *beta as f32);
                }
                if let Some(beta) = beta_slow {
                    keys.set("rope.scaling.yarn_beta_slow", *beta as f32);
                }
            }
        }
        keys.set("rope.freq_base", self.theta as f32);
    }

    /// `theta ^ (2j / dim)`. The power is taken in f64 and rounded, so that no platform's `powf` shows.
    fn power(&self, dim: usize, j: usize) -> f32 {
        let exponent = (2 * j) as f32 / dim as f32;
        f64::from(self.theta as f32).powf(f64::from(exponent)) as f32
    }

    fn plain(&self, dim: usize) -> Vec<f32> {
        (0..dim / 2).map(|j| 1.0 / self.power(dim, j)).collect()
    }

    /// First and last dimension of YaRN's ramp.
    fn yarn_range(&self, dim: usize) -> (f64, f64) {
        let Scaling::Yarn { original, beta_fast, beta_slow, truncate, .. } = &self.scaling else { return (0.0, 1.0) };
        let dimension = |rotations: f64| {
            let turns = *original as f64 / (rotations * 2.0 * std::f64::consts::PI);
            dim as f64 * turns.ln() / (2.0 * self.theta.ln())
        };
        let (low, high) = (dimension(beta_fast.unwrap_or(BETA_FAST)), dimension(beta_slow.unwrap_or(BETA_SLOW)));
        let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(dim as f64 - 1.0));
        (low, if low == high { high + 0.001 } else { high })
    }
}

fn base(r: &ConfigReader, key: &str, theta: f64, scaling: Scaling) -> Result<Rope> {
    // At 1 all dimensions turn alike and YaRN divides by ln 1.
    if theta > 1.0 { Ok(Rope { theta, scaling }) } else { Err(r.bad(key, "a number above 1")) }
}

impl Scaling {
    fn read(r: &mut ConfigReader, outer_original: Option<usize>, context: usize) -> Result<Scaling> {
        let (new, old) = (r.text("rope_type")?, r.text("type")?);
        let (key, kind) = if new.is_some() { ("rope_type", new) } else { ("type", old) };
        let original = |r: &mut ConfigReader| -> Result<usize> {
            let inner = r.optional_size("original_max_position_embeddings")?;
            Ok(outer_original.or(inner).unwrap_or(context))
        };
        match kind {
            None | Some("default") => Ok(Scaling::None),
            Some("linear") => Ok(Scaling::Linear { factor: r.positive("factor")? }),
            Some("dynamic") => {
                // Only an upper bound of the trained context, which the base of the formula is anyway.
                original(r)?;
                Ok(Scaling::Dynamic { factor: r.positive("factor")? })
            }
            Some("llama3") => {
                let (low, high) = (r.positive("low_freq_factor")?, r.positive("high_freq_factor")?);
                if high as f32 <= low as f32 {
                    return Err(r.bad("high_freq_factor", format!("a number above low_freq_factor = {low}")));
                }
                Ok(Scaling::Llama3 { factor: r.positive("factor")?, low, high, original: original(r)? })
            }
            Some("yarn") => yarn(r, original, context),
            Some("longrope" | "su") => long(r, original, context),
            Some(_) => Err(r.bad(key, "default, linear, dynamic, yarn, longrope or llama3")),
        }
    }
}

fn yarn(
    r: &mut ConfigReader,
    original: impl Fn(&mut ConfigReader) -> Result<usize>,
    context: usize,
) -> Result<Scaling, Error> {
    let original = original(r)?;
    let factor = r.optional_positive("factor")?.unwrap_or(context as f64 / original as f64);
    let (mscale, all) = (r.optional_positive("mscale")?, r.optional_positive("mscale_all_dim")?);
    let ratio = match (mscale, all) {
        (Some(mscale), Some(all)) => Some(yarn_mscale(factor, mscale) / yarn_mscale(factor, all)),
        _ => None,
    };
    Ok(Scaling::Yarn {
        factor,
        original,
        beta_fast: r.optional_positive("beta_fast")?,
        beta_slow: r.optional_positive("beta_slow")?,
        attention: r.optional_positive("attention_factor")?.or(ratio),
        all,
        truncate: r.flag("truncate", true)?,
    })
}

fn long(
    r: &mut ConfigReader,
    original: impl Fn(&mut ConfigReader) -> Result<usize>,
    context: usize,
) -> Result<Scaling, Error> {
    let original = original(r)?;
    let mut divisors = |key: &str| -> Result<Vec<f32>> {
        let list = r.numbers(key)?.ok_or_else(|| Error::MissingKey { key: key.to_owned() })?;
        if list.iter().any(|&by| by <= 0.0) {
            return Err(r.bad(key, "numbers above 0"));
        }
        Ok(list.into_iter().map(|by| by as f32).collect())
    };
    let (short, long) = (divisors("short_factor")?, divisors("long_factor")?);
    let factor = r.optional_positive("factor")?.unwrap_or(context as f64 / original as f64);
    let attention = r.optional_positive("attention_factor")?.unwrap_or_else(|| long_attention(factor, original));
    Ok(Scaling::Long { short, long, original, attention })
}

fn yarn_mscale(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

/// What LongRoPE multiplies sines by unless a configuration says.
pub(super) fn long_attention(factor: f64, original: usize) -> f64 {
    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() }
}

pub(super) fn yarn_attention(factor: f64) -> f64 {
    yarn_mscale(factor, 1.0)
}

/// Where a frequency lies on Llama 3's ramp.
enum Ramp {
    Kept,
    Full,
    Between(f32),
}

fn ramp(frequency: f32, low: f64, high: f64, original: usize) -> Ramp {
    let wavelength = (2.0 * std::f64::consts::PI) as f32 / frequency;
    let original = original as f64;
    if wavelength < (original / high) as f32 {
        Ramp::Kept
    } else if wavelength > (original / low) as f32 {
        Ramp::Full
    } else {
        Ramp::Between((original as f32 / wavelength - low as f32) / (high - low) as f32)
    }
}
