//! `planish quantize`: the main job.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use planish::checkpoint::Checkpoint;
use planish::plan::{self, Job};
use planish::verify::report::{Report, Verdict};
use planish::{modelfile, run};
use planish_formats::{Sink, gguf};
use planish_kernels::Isa;
use serde_json::json;

use super::exit::{Status, UsageError};
use super::options::{Source, Types, recipe};
use super::plan::{summary, summary_json};
use super::show::{self, Out};
use super::{progress, signals, verify};

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
    target: Target,
    /// Verify the result on this text before it gets its name; a failed gate leaves nothing. Repeatable.
    #[arg(long, value_name = "TEXT")]
    verify: Vec<PathBuf>,
    #[command(flatten)]
    scoring: verify::Scoring,
    #[command(flatten)]
    gates: verify::Gates,
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

pub(crate) fn run(args: &Args, out: &Out) -> anyhow::Result<Status> {
    if args.verify.is_empty() && args.gates.asked() {
        return Err(UsageError("a gate needs a text to decide on: --verify TEXT".to_owned()).into());
    }
    let proof = (!args.verify.is_empty())
        .then(|| verify::Job::new(&args.verify, &args.scoring, &args.gates, threads(args.target.threads)))
        .transpose()?;
    let job = args.types.job(&args.source, recipe(&args.to)?, out)?;
    execute(&job, args.types.split_max_size, &args.target, proof.as_ref(), out)
}

/// Does what the plan says and tells what was done. With a `proof`, the result gets its name if it passes.
pub(crate) fn execute(
    job: &Job,
    split_max_size: Option<u64>,
    target: &Target,
    proof: Option<&verify::Job>,
    out: &Out,
) -> anyhow::Result<Status> {
    let output = target.output.clone().unwrap_or_else(|| plan::default_output(&job.checkpoint, &job.recipe));
    let layout = |path: &Path| gguf::layout(path, &job.kv, &job.infos(), split_max_size);
    run::check_room(&layout(&output)?, target.force)?;
    let cancel = signals::cancel()?;
    let (mut outcome, report) = match proof {
        None => (write(job, layout(&output)?.create()?, target, &cancel)?, None),
        Some(proof) => {
            let provisional = run::Provisional::beside(&output)?;
            let sink = layout(&provisional.path(&output))?.create()?;
            let mut outcome = write(job, sink, target, &cancel)?;
            let first = outcome.files.first().map_or(output.as_path(), PathBuf::as_path);
            let report = proof.run(&job.checkpoint, &Checkpoint::open(first)?, &cancel)?;
            outcome.files = match report.verdict {
                Verdict::Pass => provisional.keep(&outcome.files)?,
                _ => vec![],
            };
            (outcome, Some(report))
        }
    };
    if let Some(report) = &report {
        verify::warn(report, out);
        outcome.peak_anon_bytes = outcome.peak_anon_bytes.max(report.peak_anon_bytes);
    }
    let done = tell(job, &outcome, report.as_ref(), target, out);
    if let Some(report) = report.filter(|report| report.verdict != Verdict::Pass) {
        verify::complain(&report, out);
        out.complain(&format!("{}: not written, since it did not pass", output.display()), None);
        return done.map(|()| verify::status(&report));
    }
    done.map(|()| Status::Done)
}

/// Encodes everything into `sink`, with a bar.
fn write(job: &Job, sink: Box<dyn Sink>, target: &Target, cancel: &AtomicBool) -> anyhow::Result<run::Outcome> {
    let bar = progress::bar(job.checkpoint.tensor_bytes());
    let scale = job.checkpoint.tensor_bytes() as f64 / job.weights().max(1) as f64;
    let outcome = run::quantize(
        &run::Run {
            source: job.checkpoint.source.as_ref(),
            tensors: &job.tensors,
            threads: threads(target.threads),
            isa: Isa::detected(),
            cancel,
            progress: &|weights| bar.inc((weights as f64 * scale) as u64),
        },
        sink,
    );
    bar.finish_and_clear();
    Ok(outcome?)
}

/// Prints what was done.
fn tell(job: &Job, outcome: &run::Outcome, report: Option<&Report>, target: &Target, out: &Out) -> anyhow::Result<()> {
    let wanted = target.modelfile && !outcome.files.is_empty();
    let modelfile = if wanted { Some(write_modelfile(job, &outcome.files)?) } else { None };
    let seconds = outcome.elapsed.as_secs_f64();
    out.result(
        || {
            let speed = job.checkpoint.tensor_bytes() as f64 / seconds;
            let mut rows = summary(job, outcome.bytes);
            rows.push(("time", format!("{seconds:.2} s, {} read a second", show::bytes(speed as u64))));
            rows.push(("memory", format!("{} beside the page cache", show::bytes(outcome.peak_anon_bytes))));
            rows.extend(outcome.files.iter().map(|file| ("written", file.display().to_string())));
            rows.extend(modelfile.iter().map(|file| ("modelfile", file.display().to_string())));
            let proof = report.map_or(String::new(), |report| format!("\n{}", verify::text(report)));
            show::facts(&rows) + &proof
        },
        || {
            let mut value = summary_json(job);
            value["files"] = json!(outcome.files);
            value["bytes"] = outcome.bytes.into();
            value["seconds"] = seconds.into();
            value["peak_anon_bytes"] = outcome.peak_anon_bytes.into();
            value["modelfile"] = json!(modelfile);
            value["isa"] = Isa::detected().name().into();
            if let Some(report) = report {
                value["verification"] = verify::json(report);
            }
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
