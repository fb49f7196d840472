//! `planish plan`: what `quantize` would do to each tensor.

use planish::dialect::Tensors;
use planish::plan::{Coverage, Outline, Why, default_folder};
use planish::run::buffer_bytes;
use planish_formats::{Layout, gguf};
use serde_json::{Value, json};

use super::convert::{restoration, towers};
use super::options::{Groups, Source, Types, Weighing, recipe};
use super::packed;
use super::show::{self, Out};
use super::work::threads;

/// Show what quantize, or convert --to hf, would do to each tensor, with sizes, fallbacks and memory.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The mix: a llama.cpp file type such as q4_k_m, or a recipe file (.toml); or hf for a Hugging Face folder; or a
    /// quantized checkpoint: gptq-int4, awq-int4, w4a16, fp8 and others.
    #[arg(long)]
    to: String,
    /// Of the vision tower and its projector, which llama.cpp reads from a file of their own: f32, f16, bf16 or q8_0.
    #[arg(long)]
    mmproj: bool,
    #[command(flatten)]
    types: Types,
    #[command(flatten)]
    groups: Groups,
    #[command(flatten)]
    weighing: Weighing,
}

pub(crate) fn run(args: &Args, out: &Out) -> anyhow::Result<()> {
    if args.mmproj {
        let job = towers(&args.source, &args.types, recipe(&args.to)?, out)?;
        let layout = gguf::layout(&job.default_output(), &job.kv, &job.infos(), None)?;
        return out.result(|| text(&job.outline(), &layout), || json(&job.outline(), &layout));
    }
    if args.to == "hf" {
        let plan = restoration(&args.source, &args.types, out)?;
        let layout = plan.layout(&default_folder(&plan.checkpoint), args.types.split_max_size)?;
        return out.result(|| text(&plan.outline(), &layout), || json(&plan.outline(), &layout));
    }
    if let Some(target) = packed::target(&args.to, &args.groups)? {
        return packed::show(&args.source, &args.types, target, out);
    }
    let recipe = recipe(&args.to)?;
    let checkpoint = args.source.open()?;
    let job = args.types.job(checkpoint, recipe, args.weighing.read()?, false, out)?;
    let output = job.default_output();
    let layout = gguf::layout(&output, &job.kv, &job.infos(), args.types.split_max_size)?;
    out.result(|| text(&job.outline(), &layout), || json(&job.outline(), &layout))
}

fn text(outline: &Outline, layout: &Layout) -> String {
    let rows: Vec<Vec<String>> = (outline.tensors.iter())
        .map(|tensor| {
            vec![
                tensor.name.clone(),
                format!("{:?}", tensor.shape),
                tensor.source.name().into_owned(),
                tensor.choice.ty.name().to_owned(),
                show::bytes(tensor.bytes),
                why(&tensor.choice.why),
            ]
        })
        .collect();
    let mut text = show::table(&["tensor", "shape", "from", "to", ">size", "why"], &rows);
    text.push('\n');
    let mut rows = summary(outline, layout.bytes());
    let buffers = show::bytes(buffer_bytes(outline.tensors, threads(None)));
    rows.push(("memory", format!("{buffers} of buffers, beside the tokenizer and the page cache")));
    text.push_str(&show::facts(&rows));
    text
}

/// What decided a tensor's type, for people.
fn why(why: &Why) -> String {
    match why {
        Why::Kept => "never quantized".to_owned(),
        Why::Default => "the mix's main type".to_owned(),
        Why::Rule(rule) => rule.clone(),
        Why::Override => "--tensor-type".to_owned(),
        Why::Output => "--output-type".to_owned(),
        Why::Embedding => "--embedding-type".to_owned(),
        Why::Fallback { cols, wanted } => {
            format!("{}, but rows of {cols} are no whole blocks of it", self::why(wanted))
        }
    }
}

/// The few lines that `plan` and `quantize` both end with.
pub(crate) fn summary(outline: &Outline, file_bytes: u64) -> Vec<(&'static str, String)> {
    let types: Vec<String> = (outline.histogram().into_iter())
        .map(|(ty, count, bytes)| format!("{} x {count} ({})", ty.name(), show::bytes(bytes)))
        .collect();
    let mut rows = vec![
        ("architecture", outline.architecture.to_owned()),
        ("weights", show::count(outline.weights())),
        ("mix", outline.target.to_owned()),
        ("types", types.join(", ")),
        ("source", show::bytes(outline.checkpoint.tensor_bytes())),
        ("release", format!("{} ({:.2} bits a weight)", show::bytes(file_bytes), outline.bits_per_weight())),
    ];
    rows.extend(adapters(&outline.checkpoint.source).map(|told| ("adapters", told)));
    if let Some(coverage) = outline.coverage {
        let without = coverage.missing.len();
        rows.push((
            "importance",
            format!("{} tensors weighed, {without} with nothing known of them", coverage.weighed),
        ));
    }
    rows
}

/// What adapters do to the weights, if there are any.
pub(crate) fn adapters(source: &Tensors) -> Option<String> {
    let (added, instead) = source.merged();
    (added + instead > 0).then(|| format!("added to {added} tensors, in the place of {instead}"))
}

fn json(outline: &Outline, layout: &Layout) -> Value {
    let tensors: Vec<Value> = (outline.tensors.iter())
        .map(|tensor| {
            json!({
                "name": tensor.name,
                "shape": tensor.shape,
                "from": tensor.source.name(),
                "to": tensor.choice.ty.name(),
                "wanted": tensor.choice.wanted.name(),
                "fallback": matches!(tensor.choice.why, Why::Fallback { .. }),
                "why": why(&tensor.choice.why),
                "weighed": tensor.importance.is_some(),
                "bytes": tensor.bytes,
            })
        })
        .collect();
    let files: Vec<Value> = layout.files().map(|(path, bytes)| json!({"path": path, "bytes": bytes})).collect();
    let mut value = summary_json(outline);
    value["files"] = files.into();
    value["buffer_bytes"] = buffer_bytes(outline.tensors, threads(None)).into();
    value["tensors"] = tensors.into();
    value
}

fn coverage(coverage: &Coverage) -> Value {
    let unseen = (coverage.unseen.iter())
        .map(|(name, unseen, of)| json!({"tensor": name, "experts_without_tokens": unseen, "experts": of}))
        .collect::<Vec<_>>();
    json!({
        "weighed": coverage.weighed,
        "missing": coverage.missing,
        "unseen": unseen,
        "unused": coverage.unused,
        "odd": coverage.odd,
    })
}

/// How many tensors adapters change.
pub(crate) fn adapted(source: &Tensors) -> usize {
    let (added, instead) = source.merged();
    added + instead
}

/// The fields that `plan` and `quantize` share.
pub(crate) fn summary_json(outline: &Outline) -> Value {
    json!({
        "source": outline.checkpoint.path,
        "architecture": outline.architecture,
        "mix": outline.target,
        "file_type": outline.file_type,
        "weights": outline.weights(),
        "source_bytes": outline.checkpoint.tensor_bytes(),
        "adapted_tensors": adapted(&outline.checkpoint.source),
        "tensor_bytes": outline.tensor_bytes(),
        "bits_per_weight": outline.bits_per_weight(),
        "importance": outline.coverage.map(coverage),
        "warnings": outline.warnings,
    })
}
