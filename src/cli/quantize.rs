//! `planish quantize`: the main job.

use std::path::{Path, PathBuf};

use anyhow::Context;
use planish::plan::{self, Job};
use planish::{modelfile, run};
use planish_formats::gguf;

use super::options::{Source, Types, recipe};
use super::show::Out;
use super::work::{perform, tell, threads};

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
}

/// Where the result goes and how it is made.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// The file to write; by default NAME-MIX.gguf in the current folder. With `convert --to hf` the folder to write;
    /// by default NAME-hf.
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Replace what stands under that name; a folder only if it has a config.json.
    #[arg(long)]
    pub(crate) force: bool,
    /// Number of threads; by default one a core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
    /// Write an Ollama Modelfile beside the GGUF.
    #[arg(long)]
    pub(crate) modelfile: bool,
}

pub(crate) fn run(args: &Args, out: &Out) -> anyhow::Result<()> {
    let job = args.types.job(&args.source, recipe(&args.to)?, out)?;
    execute(&job, args.types.split_max_size, &args.target, out)
}

/// Does what the plan says and tells what was done.
pub(crate) fn execute(job: &Job, split_max_size: Option<u64>, target: &Target, out: &Out) -> anyhow::Result<()> {
    let output = target.output.clone().unwrap_or_else(|| plan::default_output(&job.checkpoint, &job.recipe));
    let layout = gguf::layout(&output, &job.kv, &job.infos(), split_max_size)?;
    run::check_room(&layout, target.force)?;

    let outcome = perform(&job.outline(), threads(target.threads), |run| run::quantize(run, layout.create()?))?;
    let modelfile = if target.modelfile { Some(write_modelfile(job, &outcome.files)?) } else { None };
    let modelfile = modelfile.map(|path| path.display().to_string());
    tell(&job.outline(), &outcome, &[("modelfile", modelfile)], out)
}

fn write_modelfile(job: &Job, files: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let folder = files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."));
    let path = folder.join("Modelfile");
    let text = modelfile::modelfile(job, files);
    std::fs::write(&path, text).with_context(|| format!("{}: cannot write", path.display()))?;
    Ok(path)
}
