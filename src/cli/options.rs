//! What `plan`, `quantize` and `convert` have in common: the request for a job.

use std::path::{Path, PathBuf};

use anyhow::Context;
use planish::checkpoint::Checkpoint;
use planish::dialect::TARGETS;
use planish::plan::{self, Importance, Job, Overrides, RECIPES, Recipe, Uncovered};
use planish_formats::GgmlType;
use planish_kernels::cpu::Precision;
use regex::Regex;

use super::exit::UsageError;
use super::show::Out;

/// The model and what becomes of it.
#[derive(clap::Args)]
pub(crate) struct Source {
    /// A checkpoint folder, a GGUF (any part of a split one), or `owner/name` in the local Hugging Face cache.
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) adapters: Adapters,
}

/// Adapters to be merged into a checkpoint.
#[derive(clap::Args)]
pub(crate) struct Adapters {
    /// Merge a LoRA adapter of PEFT's (a folder with adapter_config.json) while reading, times SCALE if given. Repeatable.
    #[arg(long, value_name = "DIR[:SCALE]", value_parser = parse_adapter)]
    lora: Vec<(PathBuf, f64)>,
}

impl Adapters {
    /// Opens a checkpoint and merges all of them.
    pub(crate) fn open(&self, model: &Path) -> anyhow::Result<Checkpoint> {
        let mut checkpoint = Checkpoint::open(model)?;
        self.merge(&mut checkpoint)?;
        Ok(checkpoint)
    }

    /// Merges all of them.
    pub(crate) fn merge(&self, checkpoint: &mut Checkpoint) -> anyhow::Result<()> {
        Ok(self.lora.iter().try_for_each(|(folder, scale)| checkpoint.merge(folder, *scale))?)
    }
}

impl Source {
    /// Opens it and merges the adapters.
    pub(crate) fn open(&self) -> anyhow::Result<Checkpoint> {
        self.adapters.open(&self.model)
    }
}

/// A folder, and a number after the last colon.
fn parse_adapter(text: &str) -> Result<(PathBuf, f64), String> {
    let (folder, scale) = match text.rsplit_once(':').map(|(folder, scale)| (folder, scale.parse::<f64>())) {
        Some((folder, Ok(scale))) => (folder, scale),
        _ => (text, 1.0),
    };
    if folder.is_empty() || !scale.is_finite() || scale == 0.0 {
        return Err(format!("{text}: expected a folder, and a number other than 0 after a colon"));
    }
    Ok((folder.into(), scale))
}

/// How products are computed.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum AskedPrecision {
    /// The reference: the same bits on every machine.
    F32,
    /// Activations as two bf16 where weights are bf16 and the machine multiplies them; else f32.
    Bf16Split,
    /// Activations and weights rounded to bf16, where the machine multiplies them; else f32. The fastest.
    Bf16,
}

impl From<AskedPrecision> for Precision {
    fn from(asked: AskedPrecision) -> Precision {
        match asked {
            AskedPrecision::F32 => Precision::F32,
            AskedPrecision::Bf16Split => Precision::Bf16Split,
            AskedPrecision::Bf16 => Precision::Bf16,
        }
    }
}

/// Types other than the mix's.
#[derive(clap::Args)]
pub(crate) struct Types {
    /// Give every tensor the mix's main type.
    #[arg(long)]
    pure: bool,
    /// Leave output.weight as it is.
    #[arg(long)]
    leave_output: bool,
    /// Type of output.weight.
    #[arg(long, value_name = "TYPE", value_parser = parse_type)]
    output_type: Option<GgmlType>,
    /// Type of token_embd.weight.
    #[arg(long, value_name = "TYPE", value_parser = parse_type)]
    embedding_type: Option<GgmlType>,
    /// Type of the tensors whose GGUF name matches a regular expression; the first match counts. Repeatable.
    #[arg(long, value_name = "REGEX=TYPE", value_parser = parse_tensor_type)]
    tensor_type: Vec<(Regex, GgmlType)>,
    /// Name of the pre-tokenizer (tokenizer.ggml.pre), where it cannot be told from tokenizer.json.
    #[arg(long, value_name = "NAME")]
    pre: Option<String>,
    /// Write parts of at most this size: 500M, 4G (decimal).
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) split_max_size: Option<u64>,
}

impl Types {
    /// Decides everything; warnings are printed. `measured`: importance will be measured while layers are rounded.
    pub(crate) fn job(
        &self,
        checkpoint: Checkpoint,
        recipe: Recipe,
        importance: Option<Importance>,
        measured: bool,
        out: &Out,
    ) -> anyhow::Result<Job> {
        let overrides = Overrides {
            pure: self.pure,
            leave_output: self.leave_output,
            output: self.output_type,
            embedding: self.embedding_type,
            tensors: self.tensor_type.clone(),
        };
        let job =
            Job::new(checkpoint, plan::Request { recipe, overrides, pre: self.pre.clone(), importance, measured })?;
        for warning in &job.warnings {
            out.warning(warning);
        }
        Ok(job)
    }
}

impl Types {
    /// The first option that says how a GGUF is made, if one is given.
    pub(crate) fn of_gguf(&self) -> Option<&'static str> {
        [
            ("--pure", self.pure),
            ("--leave-output", self.leave_output),
            ("--output-type", self.output_type.is_some()),
            ("--embedding-type", self.embedding_type.is_some()),
            ("--tensor-type", !self.tensor_type.is_empty()),
            ("--pre", self.pre.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }
}

/// How the linears of a quantized checkpoint are divided.
#[derive(clap::Args)]
pub(crate) struct Groups {
    /// Columns that share a scale in a quantized checkpoint (w4a16, gptq-int4 ...): 32, 64 or 128; -1 for a whole row.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) group_size: Option<i64>,
}

/// An importance matrix and its gaps.
#[derive(clap::Args)]
pub(crate) struct Weighing {
    /// Weigh errors by an importance matrix: llama-imatrix's GGUF or .dat, or what `planish calibrate` made.
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// What to do about tensors and experts that the importance matrix says nothing of.
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = Gaps::Warn)]
    uncovered: Gaps,
}

/// [`Uncovered`] as it is typed.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Gaps {
    /// Write nothing
    Error,
    /// Encode them without, as llama-quantize does, and say so; types that cannot be are an error
    Warn,
    /// Let all of their channels count alike
    Uniform,
}

impl Weighing {
    /// What to do about gaps.
    pub(crate) fn uncovered(&self) -> Uncovered {
        match self.uncovered {
            Gaps::Error => Uncovered::Error,
            Gaps::Warn => Uncovered::Warn,
            Gaps::Uniform => Uncovered::Uniform,
        }
    }

    /// The file that was named.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.imatrix.as_deref()
    }

    /// The matrix, if one was named.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Importance>> {
        let file = self.imatrix.as_deref();
        Ok(file.map(|file| Importance::read(file, self.uncovered())).transpose()?)
    }
}

/// A mix by name or number, or the path of a recipe file.
pub(crate) fn recipe(name: &str) -> anyhow::Result<Recipe> {
    if let Some(recipe) = plan::recipe(name) {
        return Ok(recipe);
    }
    let path = Path::new(name);
    if path.extension().is_some_and(|extension| extension == "toml") {
        let text = std::fs::read_to_string(path).with_context(|| format!("{name}: cannot read"))?;
        return Ok(Recipe::parse(&text, name)?);
    }
    let known: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name.as_str()).collect();
    let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let meant = known.iter().chain(&targets).find(|known| letters(known) == letters(name));
    let meant = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
    let known = known.join(" ");
    let targets = targets.join(" ");
    let nothing = format!("{name} is neither a mix, a recipe file (.toml) nor a quantized checkpoint{meant}");
    Err(UsageError(format!("{nothing}; mixes: {known}; checkpoints: {targets}")).into())
}

/// A name without what is easily typed wrong: case and the signs between its parts.
fn letters(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn parse_type(name: &str) -> Result<GgmlType, String> {
    GgmlType::named(name).ok_or_else(|| {
        let names: Vec<&str> = GgmlType::ALL.iter().map(|ty| ty.name()).collect();
        format!("no such type; types: {}", names.join(" "))
    })
}

fn parse_tensor_type(text: &str) -> Result<(Regex, GgmlType), String> {
    Overrides::tensor(text).map_err(|error| error.to_string())
}

/// A size that is more than nothing.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text}: expected a number with M or G, as in 500M or 4G");
    parse_bytes(text).and_then(|size| if size > 0 { Ok(size) } else { Err(wrong()) })
}

/// A number of bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text}: expected a number with M or G, as in 500M or 4G");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..).unwrap_or("").to_ascii_uppercase().as_str() {
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let n: u64 = digits.parse().map_err(|_| wrong())?;
    n.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_and_have_a_unit() {
        assert_eq!(parse_size("500M"), Ok(500_000_000));
        assert_eq!(parse_size("4g"), Ok(4_000_000_000));
        for wrong in ["", "4", "G", "-1G", "0M", "4K", "99999999999999G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
