//! Gemma 3, the text model: Gemma 2 without caps, with normed queries and keys, and a rope of its own in layers with a
//! window.

use super::gemma2::{STYLE, gemma, header_of, plain, sizes};
use crate::model::config::typed_windows;
use crate::model::decoder::decoder;
use crate::model::{Architecture, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result, Rope, Scaling};

/// The architecture of this file.
pub(super) static GEMMA3: Architecture = Architecture {
    name: "gemma3",
    models: "Gemma 3 (text)",
    hf: &["Gemma3ForCausalLM"],
    model_types: &["gemma3_text"],
    roots: &["model."],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "gemma3", holds, keys, config }),
};

/// One layer in so many has no window.
const PERIOD: usize = 6;

fn read(r: &mut ConfigReader) -> Result<Config> {
    let (usual, local) = ropes(r)?;
    let sizes = Config::sizes_with(r, usual)?;
    let mut c = gemma(r, sizes)?;
    c.local_rope = Some(local);
    c.qk_norm = true;
    let private = r.optional_size("_sliding_window_pattern")?;
    let period = r.optional_size("sliding_window_pattern")?.or(private).unwrap_or(PERIOD);
    let window = r.optional_size("sliding_window")?.or(Some(4096));
    c.windows = typed_windows(r, c.layers, window, |i| (i + 1) % period != 0)?;
    c.caps.logits = r.optional_positive("final_logit_softcapping")?;
    Ok(c)
}

/// The rope of layers that see all, and that of layers with a window.
fn ropes(r: &mut ConfigReader) -> Result<(Rope, Rope)> {
    let plain = |theta| Rope { theta, scaling: Scaling::None };
    let both = r.object("rope_parameters")?;
    if let Some(mut both) = both
        && both.has("full_attention")
    {
        let mut rope = |key: &str, theta: f64| -> Result<Rope> {
            Ok(match both.object(key)? {
                Some(mut table) => Rope::table(&mut table, theta)?,
                None => plain(theta),
            })
        };
        let found = (rope("full_attention", 1e6)?, rope("sliding_attention", 1e4)?);
        both.finish("the rope")?;
        return Ok(found);
    }
    let local = plain(r.optional_positive("rope_local_base_freq")?.unwrap_or(1e4));
    let theta = r.optional_positive("rope_theta")?.unwrap_or(1e6);
    let usual = match r.object("rope_scaling")? {
        Some(mut table) => Rope::table(&mut table, theta)?,
        None => plain(theta),
    };
    Ok((usual, local))
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.windows.iter().enumerate().any(|(i, window)| window.is_some() != ((i + 1) % PERIOD != 0)) {
        return Err("its graph for `gemma3` has a layer without a window after every five with one");
    }
    if c.local_rope.as_ref().is_some_and(|rope| rope.scaling != Scaling::None) {
        return Err("its graph for `gemma3` has no scaling of the rope in layers with a window");
    }
    if !matches!(&c.rope, Some(Rope { scaling: Scaling::None | Scaling::Linear { .. }, .. })) {
        return Err("its graph for `gemma3` has no scaling of the rope but a linear one");
    }
    plain(c, 62)
}

fn keys(c: &Config, keys: &mut Keys) {
    sizes(c, keys);
    if let Some(rope) = &c.rope {
        rope.keys(keys);
    }
    if let Some(rope) = &c.local_rope {
        keys.set("rope.freq_base_swa", rope.theta as f32);
    }
    if let Some(cap) = c.caps.logits {
        keys.set("final_logit_softcapping", cap as f32);
    }
    keys.set("attention.sliding_window", c.windows.iter().copied().flatten().next().unwrap_or(0) as u32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("Gemma3ForCausalLM", "gemma3_text");
    header_of(header, 62)?;
    header.set("rope_local_base_freq", header.optional_number("rope.freq_base_swa")?.unwrap_or(1e4));
    if let Some(cap) = header.optional_number("final_logit_softcapping")? {
        header.set("final_logit_softcapping", cap);
    }
    header.set("sliding_window", header.optional_size("attention.sliding_window")?.unwrap_or(4096));
    Ok(())
}
