//! `planish quantize`: the main job.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use planish::checkpoint::Checkpoint;
use planish::plan::{self, Importance, Job};
use planish::provenance::{self, Ingredients};
use planish::{modelfile, run};
use planish_formats::gguf;
use planish_kernels::Isa;
use serde_json::json;

use super::calibrate;
use super::options::{Source, Types, Weighing, recipe};
use super::plan::{summary, summary_json};
use super::progress;
use super::show::{self, Out};

/// Write a quantized GGUF of a checkpoint.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The mix: a llama.cpp file type such as q4_k_m, or a recipe file (.toml).
    #[arg(long)]
    to: String,
    #[command(flatten)]
    types: Types,
    #[command(flatten)]
    weighing: Weighing,
    /// Weigh errors by what matters for this text: `planish calibrate` and `quantize` in one. Repeatable.
    #[arg(long, value_name = "TEXT", conflicts_with = "imatrix")]
    calibrate: Vec<PathBuf>,
    #[command(flatten)]
    calibration: calibrate::Cutting,
    /// Write where the release came from into it: version, mix, and the SHA-256 of every file that was read.
    #[arg(long)]
    provenance: bool,
    #[command(flatten)]
    target: Target,
}

/// Where the result goes and how it is made.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// The file to write; by default NAME-MIX.gguf in the current folder.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace what stands under that name.
    #[arg(long)]
    pub(crate) force: bool,
    /// Number of threads; by default one a core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
    /// Write an Ollama Modelfile beside the GGUF.
    #[arg(long)]
    modelfile: bool,
}

pub(crate) fn run(args: &Args, out: &Out) -> anyhow::Result<()> {
    // What was typed wrong is told before a file is opened.
    let recipe = recipe(&args.to)?;
    let checkpoint = Checkpoint::open(&args.source.model)?;
    let importance = if args.calibrate.is_empty() {
        args.weighing.read()?
    } else {
        let output = args.target.output.clone().unwrap_or_else(|| plan::default_output(&checkpoint, &recipe));
        if output.exists() && !args.target.force {
            return Err(run::Error::Exists { path: output }.into());
        }
        let made = calibrate::run_on(&checkpoint, &args.calibrate, &args.calibration, args.target.threads, None)?;
        Some(Importance { imatrix: made.imatrix, file: None, uncovered: args.weighing.uncovered() })
    };
    let mut job = args.types.job(checkpoint, recipe, importance, out)?;
    if args.provenance {
        let ingredients = Ingredients { imatrix: args.weighing.file(), texts: &args.calibrate };
        job.kv.extend(provenance::keys(&job, &ingredients)?);
    }
    execute(&job, args.types.split_max_size, &args.target, out)
}

/// Does what the plan says and tells what was done.
pub(crate) fn execute(job: &Job, split_max_size: Option<u64>, target: &Target, out: &Out) -> anyhow::Result<()> {
    let output = target.output.clone().unwrap_or_else(|| plan::default_output(&job.checkpoint, &job.recipe));
    let layout = gguf::layout(&output, &job.kv, &job.infos(), split_max_size)?;
    run::check_room(&layout, target.force)?;

    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second signal ends the process at once.
        signal_hook::flag::register_conditional_shutdown(signal, 75, cancel.clone())
            .and_then(|_| signal_hook::flag::register(signal, cancel.clone()))
            .context("cannot handle signals")?;
    }
    let sink = layout.create()?;
    let bar = progress::bar(job.checkpoint.tensor_bytes());
    let scale = job.checkpoint.tensor_bytes() as f64 / job.weights().max(1) as f64;
    let outcome = run::quantize(
        &run::Run {
            source: job.checkpoint.source.as_ref(),
            tensors: &job.tensors,
            threads: threads(target.threads),
            isa: Isa::detected(),
            cancel: &cancel,
            progress: &|weights| bar.inc((weights as f64 * scale) as u64),
        },
        sink,
    );
    bar.finish_and_clear();
    let outcome = outcome?;
    let modelfile = if target.modelfile { Some(write_modelfile(job, &outcome.files)?) } else { None };

    let seconds = outcome.elapsed.as_secs_f64();
    out.result(
        || {
            let speed = job.checkpoint.tensor_bytes() as f64 / seconds;
            let mut rows = summary(job, outcome.bytes);
            rows.push(("time", format!("{seconds:.2} s, {} read a second", show::bytes(speed as u64))));
            rows.push(("memory", format!("{} beside the page cache", show::bytes(outcome.peak_anon_bytes))));
            rows.extend(outcome.files.iter().map(|file| ("written", file.display().to_string())));
            rows.extend(modelfile.iter().map(|file| ("modelfile", file.display().to_string())));
            show::facts(&rows)
        },
        || {
            let mut value = summary_json(job);
            value["files"] = json!(outcome.files);
            value["bytes"] = outcome.bytes.into();
            value["seconds"] = seconds.into();
            value["peak_anon_bytes"] = outcome.peak_anon_bytes.into();
            value["modelfile"] = json!(modelfile);
            value["isa"] = Isa::detected().name().into();
            value
        },
    )
}

/// The number asked for, or one a core.
pub(crate) fn threads(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

fn write_modelfile(job: &Job, files: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let folder = files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."));
    let path = folder.join("Modelfile");
    let text = modelfile::modelfile(job, files);
    std::fs::write(&path, text).with_context(|| format!("{}: cannot write", path.display()))?;
    Ok(path)
}
