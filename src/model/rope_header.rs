//! A rope read back from a GGUF's header and its tables of divisors.

use serde_json::{Value, json};

use super::header::{Header, HeaderError, Result, RopeTables, number_of};
use super::{Role, Rope, Scaling};

/// The widest head whose table is computed.
const MAX_WIDTH: u64 = 1 << 14;

/// Sets `rope_theta` and `rope_scaling`. `width` is the width of a head.
pub(super) fn read(header: &mut Header, tables: &RopeTables, width: u64) -> Result<()> {
    let table = |role| tables.get(&role).map(Vec::as_slice);
    let divisors = table(Role::RopeFreqs);
    let theta = header.optional_number("rope.freq_base")?.unwrap_or(10000.0);
    header.set("rope_theta", theta);
    let factor = header.optional_number("rope.scaling.factor")?;
    let linear = header.optional_number("rope.scale_linear")?.filter(|&factor| factor != 1.0);
    let original = header.optional_size("rope.scaling.original_context_length")?;
    let kind = match (header.text("rope.scaling.type")?, table(Role::RopeShort), table(Role::RopeLong)) {
        (None | Some("none" | "longrope"), Some(short), Some(long)) if divisors.is_none() => {
            let scaling = longrope(header, short, long, original)?;
            header.set("rope_scaling", scaling);
            return Ok(());
        }
        (kind, None, None) => kind,
        _ => {
            return Err(HeaderError::NoConfig { what: "one of LongRoPE's two tables, or both beside another scaling" });
        }
    };
    let scaling = match (kind, divisors) {
        (None | Some("none"), Some(divisors)) => Some(llama3(header, divisors, theta, width)?),
        (None | Some("none"), None) => linear.map(|factor| json!({ "rope_type": "linear", "factor": factor })),
        (Some(_), Some(_)) => {
            return Err(HeaderError::NoConfig { what: "rope_freqs.weight besides rope.scaling.type" });
        }
        (Some("linear"), None) => {
            let factor = factor.or(linear).ok_or_else(|| header.bad("rope.scaling.factor", "a number"))?;
            Some(json!({ "rope_type": "linear", "factor": factor }))
        }
        (Some("yarn"), None) => Some(yarn(header, factor, original)?),
        (Some(_), None) => return Err(header.bad("rope.scaling.type", "none, linear or yarn")),
    };
    if let Some(scaling) = scaling {
        header.set("rope_scaling", scaling);
    }
    Ok(())
}

fn longrope(header: &Header, short: &[f32], long: &[f32], original: Option<u64>) -> Result<Value> {
    let original = original.ok_or_else(|| header.bad("rope.scaling.original_context_length", "a number of tokens"))?;
    let list = |table: &[f32]| table.iter().map(|&by| number_of(by)).collect::<Option<Vec<f64>>>();
    let (Some(short), Some(long)) = (list(short), list(long)) else {
        return Err(HeaderError::NoConfig { what: "LongRoPE's tables are not all numbers" });
    };
    let mut scaling = json!({ "rope_type": "longrope", "short_factor": short, "long_factor": long });
    scaling["original_max_position_embeddings"] = original.into();
    let factor = header.size("context_length")? as f64 / original as f64;
    let usual = usize::try_from(original).map_or(1.0, |original| super::rope::long_attention(factor, original));
    let attention = header.optional_number("rope.scaling.attn_factor")?;
    if let Some(attention) = attention.filter(|attention| (attention - usual).abs() > 1e-6 * usual) {
        scaling["attention_factor"] = attention.into();
    }
    Ok(scaling)
}

fn yarn(header: &Header, factor: Option<f64>, original: Option<u64>) -> Result<Value> {
    let factor = factor.ok_or_else(|| header.bad("rope.scaling.factor", "a number"))?;
    let mut scaling = json!({ "rope_type": "yarn", "factor": factor });
    if let Some(original) = original {
        scaling["original_max_position_embeddings"] = original.into();
    }
    // llama.cpp's loader has the paper's scale apart from this one.
    let loaded = header.optional_number("rope.scaling.attn_factor")?;
    let whole = loaded.map(|factor_of| factor_of * super::rope::yarn_attention(factor));
    let keys = [
        ("attention_factor", header.optional_number("rope.scaling.yarn_attn_factor")?.or(whole)),
        ("beta_fast", header.optional_number("rope.scaling.yarn_beta_fast")?),
        ("beta_slow", header.optional_number("rope.scaling.yarn_beta_slow")?),
    ];
    for (key, value) in keys {
        if let Some(value) = value {
            scaling[key] = value.into();
        }
    }
    Ok(scaling)
}

/// Llama 3's parameters from its divisors.
///
/// Several parameters give one table (only `original / low` and `original / high` matter, and only as far as a frequency
/// lies between), so the usual ones are tried, and taken only if they give this very table: then the model is the same.
fn llama3(header: &Header, divisors: &[f32], theta: f64, width: u64) -> Result<Value> {
    let unknown =
        HeaderError::NoConfig { what: "no usual parameters of Llama 3's rope scaling give its rope_freqs.weight" };
    let context = header.size("context_length")?;
    if width > MAX_WIDTH || divisors.len() as u64 != width / 2 || theta <= 1.0 {
        return Err(unknown);
    }
    let largest = divisors.iter().copied().fold(1.0, f32::max);
    let originals = (0..31).map(|shift| 1usize << shift).filter(|&original| original as u64 <= context.max(8192));
    // The original context of every Llama 3 is the first guess.
    for original in std::iter::once(8192).chain(originals) {
        for (low, high) in [(1.0, 4.0), (1.0, 16.0), (1.0, 8.0), (1.0, 2.0), (1.0, 32.0), (2.0, 4.0), (2.0, 8.0)] {
            for factor in [f64::from(largest), 8.0, 32.0, 16.0, 4.0, 2.0] {
                let rope = Rope { theta, scaling: Scaling::Llama3 { factor, low, high, original } };
                if rope.divisors(width as usize).is_some_and(|table| same(&table, divisors)) {
                    return Ok(json!({
                        "rope_type": "llama3",
                        "factor": factor,
                        "low_freq_factor": low,
                        "high_freq_factor": high,
                        "original_max_position_embeddings": original,
                    }));
                }
            }
        }
    }
    Err(unknown)
}

/// Equal but for the last bits, which differ between implementations of `powf`.
fn same(ours: &[f32], theirs: &[f32]) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() <= 2e-6 * b.abs())
}
