//! `planish inspect`: what a checkpoint or GGUF is.

use std::path::PathBuf;

use planish::checkpoint::{About, Checkpoint, Description, brief, describe};
use planish::dialect::Stored;
use planish::model::support;
use planish_kernels::block::CODECS;
use serde_json::{Value, json};

use super::exit::UsageError;
use super::inspect_imatrix;
use super::options::Adapters;
use super::show::{self, Out};

/// Show what a checkpoint or GGUF is: architecture, tensors, types, tokenizer, chat template; or what an importance matrix
/// says of each weight.
#[derive(clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
pub(crate) struct Args {
    /// A checkpoint folder, a GGUF (any part of a split one), or `owner/name` in the local Hugging Face cache; or an
    /// importance matrix.
    model: Option<PathBuf>,
    #[command(flatten)]
    adapters: Adapters,
    /// Show which architectures are known, and what GGUF calls each.
    #[arg(long, exclusive = true)]
    architectures: bool,
    /// List every tensor.
    #[arg(long)]
    tensors: bool,
    /// List every metadata key.
    #[arg(long)]
    keys: bool,
    /// Print the chat template.
    #[arg(long)]
    chat_template: bool,
    /// Write a heat map of an importance matrix.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, out: &Out) -> anyhow::Result<()> {
    if args.architectures {
        return architectures(out);
    }
    let Some(model) = &args.model else {
        return Err(UsageError("name a model, or ask for --architectures".to_owned()).into());
    };
    if let Some(imatrix) = inspect_imatrix::open(model)? {
        return inspect_imatrix::run(model, &imatrix, args.html.as_deref(), out);
    }
    if args.html.is_some() {
        return Err(UsageError("--html shows importance matrices, and this is none".to_owned()).into());
    }
    let (mut checkpoint, unread) = Checkpoint::open_as_stored(model)?;
    args.adapters.merge(&mut checkpoint)?;
    if let Some(error) = unread {
        out.warning(&error.to_string());
    }
    let about = describe(&checkpoint);
    for problem in &about.problems {
        out.warning(problem);
    }
    out.result(|| text(args, &checkpoint, &about), || json(args, &checkpoint, &about))
}

fn architectures(out: &Out) -> anyhow::Result<()> {
    let table = support();
    let rows =
        || table.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()).collect::<Vec<Vec<String>>>();
    let object = |[name, models, gguf]: &[&str; 3]| json!({ "name": name, "models": models, "gguf": gguf });
    out.result(
        || show::table(&["architecture", "models", "GGUF"], &rows()),
        || Value::Array(table.iter().map(object).collect()),
    )
}

fn text(args: &Args, checkpoint: &Checkpoint, about: &Description) -> String {
    let mut text = show::facts(&overview(checkpoint, about));
    if args.tensors {
        let row = |info: &planish_formats::Info<Stored>| {
            let bytes = show::bytes(info.storage.bytes(&info.shape));
            vec![info.name.clone(), format!("{:?}", info.shape), info.storage.name().into_owned(), bytes]
        };
        let rows: Vec<Vec<String>> = checkpoint.source.infos().iter().map(row).collect();
        text.push('\n');
        text.push_str(&show::table(&["tensor", "shape", "type", ">size"], &rows));
    }
    if args.keys {
        let rows: Vec<(&str, String)> = about.kv.iter().map(|(key, value)| (key, brief(value))).collect();
        text.push('\n');
        text.push_str(&show::facts(&rows));
    }
    if args.chat_template {
        text.push('\n');
        text.push_str(about.kv.str("tokenizer.chat_template").unwrap_or("(none)"));
        text.push('\n');
    }
    text
}

fn overview(checkpoint: &Checkpoint, about: &Description) -> Vec<(&'static str, String)> {
    let bits = about.bytes as f64 * 8.0 / about.elements.max(1) as f64;
    let types: Vec<String> = (about.types.iter())
        .map(|(storage, count, bytes)| format!("{} x {count} ({})", storage.name(), show::bytes(*bytes)))
        .collect();
    let mut rows = vec![
        ("model", checkpoint.path.display().to_string()),
        ("files", format!("{} with {} of tensors", checkpoint.source.files().len(), show::bytes(about.bytes))),
        ("architecture", about.class.clone().unwrap_or_else(|| "(not named)".to_owned())),
        (
            "weights",
            format!(
                "{} in {} tensors, {bits:.2} bits a weight",
                show::count(about.elements),
                checkpoint.source.infos().len()
            ),
        ),
        ("types", types.join(", ")),
    ];
    if checkpoint.source.quantized() > 0 && matches!(checkpoint.about, About::HuggingFace { .. }) {
        let quantized = checkpoint.source.quantized();
        rows.push(("quantization", format!("{}, {quantized} tensors", checkpoint.source.dialect())));
    }
    if let Some(arch) = about.kv.str("general.architecture") {
        let facts = [
            ("layers", "block_count"),
            ("hidden", "embedding_length"),
            ("feed-forward", "feed_forward_length"),
            ("heads", "attention.head_count"),
            ("kv heads", "attention.head_count_kv"),
            ("context", "context_length"),
        ];
        for (label, key) in facts {
            // Of a file of towers these are under another name.
            let arch = if arch == "clip" { "clip.vision" } else { arch };
            if let Some(value) = about.kv.get(&format!("{arch}.{key}")) {
                rows.push((label, brief(value)));
            }
        }
    }
    for (label, key) in
        [("projector", "clip.projector_type"), ("image", "clip.vision.image_size"), ("patch", "clip.vision.patch_size")]
    {
        if let Some(value) = about.kv.get(key) {
            rows.push((label, brief(value)));
        }
    }
    if let Some((class, facts)) = &about.vision {
        let facts: Vec<String> = facts.iter().map(|(label, fact)| format!("{label} {fact}")).collect();
        rows.push(("vision", format!("{class}: {}", facts.join(", "))));
    }
    if let Some(tokenizer) = tokenizer(about) {
        rows.push(("tokenizer", tokenizer));
    }
    let template = about.kv.str("tokenizer.chat_template");
    rows.push(("chat template", template.map_or("none".to_owned(), |t| format!("{} characters", t.chars().count()))));
    rows
}

/// `gpt2 (llama-bpe), 128256 tokens, bos 128000 "<|begin_of_text|>", eos ...`.
fn tokenizer(about: &Description) -> Option<String> {
    let tokens = about.kv.strings("tokenizer.ggml.tokens")?;
    let mut parts = vec![match about.kv.str("tokenizer.ggml.pre") {
        Some(pre) => format!("{} ({pre})", about.kv.str("tokenizer.ggml.model")?),
        None => about.kv.str("tokenizer.ggml.model")?.to_owned(),
    }];
    parts.push(format!("{} tokens", tokens.len()));
    for name in ["bos", "eos", "eot", "unknown", "padding"] {
        let id = about.kv.unsigned(&format!("tokenizer.ggml.{name}_token_id"));
        if let Some(id) = id {
            let token = usize::try_from(id).ok().and_then(|id| tokens.get(id));
            parts.push(format!("{name} {id} {:?}", token.map_or("(out of range)", String::as_str)));
        }
    }
    Some(parts.join(", "))
}

fn json(args: &Args, checkpoint: &Checkpoint, about: &Description) -> Value {
    let types: Vec<Value> = (about.types.iter())
        .map(|(storage, count, bytes)| {
            let encodable = CODECS.iter().any(|codec| codec.name() == storage.name());
            json!({"type": storage.name(), "tensors": count, "bytes": bytes, "encodable": encodable})
        })
        .collect();
    let keys: serde_json::Map<String, Value> =
        about.kv.iter().map(|(key, value)| (key.to_owned(), brief(value).into())).collect();
    let mut value = json!({
        "model": checkpoint.path,
        "files": checkpoint.source.files(),
        "architecture": about.class,
        "weights": about.elements,
        "bytes": about.bytes,
        "bits_per_weight": about.bytes as f64 * 8.0 / about.elements.max(1) as f64,
        "types": types,
        "dialect": checkpoint.source.dialect(),
        "quantized_tensors": checkpoint.source.quantized(),
        "tokenizer": about.kv.str("tokenizer.ggml.model"),
        "pre_tokenizer": about.kv.str("tokenizer.ggml.pre"),
        "vocabulary": about.kv.strings("tokenizer.ggml.tokens").map(<[String]>::len),
        "chat_template": about.kv.str("tokenizer.chat_template"),
        "keys": keys,
        "problems": about.problems,
    });
    if let Some((class, facts)) = &about.vision {
        let mut vision: serde_json::Map<String, Value> = facts
            .iter()
            .map(|(label, fact)| ((*label).to_owned(), fact.parse::<u64>().map_or(json!(fact), Value::from)))
            .collect();
        vision.insert("class".to_owned(), (*class).into());
        value["vision"] = vision.into();
    }
    if args.tensors {
        let tensors: Vec<Value> = (checkpoint.source.infos().iter())
            .map(|info| json!({"name": info.name, "shape": info.shape, "type": info.storage.name(), "bytes": info.storage.bytes(&info.shape)}))
            .collect();
        value["tensors"] = tensors.into();
    }
    value
}
