//! `planish quantize`: the main job.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use planish::checkpoint::Checkpoint;
use planish::imatrix::Imatrix;
use planish::plan::{self, Class, Importance, Job, Planned};
use planish::provenance::{self, Ingredients};
use planish::run::IntoGguf;
use planish::verify::report::Verdict;
use planish::{modelfile, run};
use planish_formats::{Storage, gguf};

use super::device;
use super::exit::{Status, UsageError};
use super::options::{Groups, Source, Types, Weighing, parse_size, recipe};
use super::rounding::{self, Asked};
use super::show::Out;
use super::work::{perform, tell, threads};
use super::{calibrate, packed, signals, verify};

/// Write a quantized GGUF or a quantized safetensors folder of a checkpoint.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) source: Source,
    /// The mix: a llama.cpp file type such as q4_k_m, or a recipe file (.toml). Or a quantized checkpoint: gptq-int4,
    /// awq-int4, w4a16, fp8 and others.
    #[arg(long)]
    pub(super) to: String,
    #[command(flatten)]
    pub(super) types: Types,
    #[command(flatten)]
    pub(super) groups: Groups,
    #[command(flatten)]
    pub(super) weighing: Weighing,
    #[command(flatten)]
    pub(super) calibration: Calibration,
    #[command(flatten)]
    pub(super) rounding: rounding::Options,
    /// Write where the release came from into it: version, mix, and the SHA-256 of every file that was read.
    #[arg(long)]
    pub(super) provenance: bool,
    #[command(flatten)]
    pub(super) target: Target,
    /// Verify the result on this text before it gets its name; a failed gate leaves nothing. Repeatable.
    #[arg(long, value_name = "TEXT")]
    pub(super) verify: Vec<PathBuf>,
    #[command(flatten)]
    scoring: verify::Scoring,
    #[command(flatten)]
    gates: verify::Gates,
}

impl Args {
    /// What `--method` asks for, with its texts read.
    pub(super) fn rounding_job(&self, checkpoint: &Checkpoint, output: &Path) -> anyhow::Result<Option<rounding::Job>> {
        let Some(asked) = self.rounding.method else { return Ok(None) };
        let (keep, resume) = (!self.rounding.no_journal, self.rounding.resume);
        let keeping = rounding::Keeping { folder: run::Journal::beside(output), keep, resume };
        let Calibration { texts, .. } = &self.calibration;
        let cutting = self.calibration.cutting();
        let (original, precision) = (self.rounding.from_original, self.scoring.precision.into());
        let place = device::place()?;
        rounding::Job::new(asked, checkpoint, texts, &cutting, keeping, original, precision, place).map(Some)
    }
}

/// An importance matrix made on the way.
#[derive(clap::Args)]
pub(super) struct Calibration {
    /// Weigh errors by what matters for this text: `planish calibrate` and `quantize` in one. Repeatable.
    #[arg(long = "calibrate", value_name = "TEXT", conflicts_with = "imatrix")]
    pub(super) texts: Vec<PathBuf>,
    /// Use so many chunks of these texts at most.
    #[arg(long, value_name = "N", requires = "texts", value_parser = clap::value_parser!(u32).range(1..))]
    calibrate_chunks: Option<u32>,
    /// Tokens of such a chunk.
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(4..))]
    calibrate_ctx: u32,
    /// Hidden states to keep in memory, 500M or 4G; more go to a temporary file.
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    calibrate_memory: u64,
}

impl Calibration {
    /// Runs the model of `checkpoint` over the texts.
    fn run(&self, checkpoint: &Checkpoint, asked: Option<u16>) -> anyhow::Result<Imatrix> {
        Ok(calibrate::run_on(checkpoint, &self.texts, &self.cutting(), asked, None, device::place()?)?.imatrix)
    }

    fn cutting(&self) -> calibrate::Cutting {
        calibrate::Cutting::new(self.calibrate_ctx, self.calibrate_chunks, self.calibrate_memory)
    }
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

pub(crate) fn run(args: &Args, out: &Out) -> anyhow::Result<Status> {
    if args.verify.is_empty() && args.gates.asked() {
        return Err(UsageError("a gate needs a text to decide on: --verify TEXT".to_owned()).into());
    }
    let proof = (!args.verify.is_empty())
        .then(|| verify::Job::new(&args.verify, &args.scoring, &args.gates, threads(args.target.threads)))
        .transpose()?;
    // What was typed wrong is told before a file is opened.
    if let Some(target) = packed::target(&args.to, &args.groups)? {
        return packed::run(args, target, proof.as_ref(), out);
    }
    let recipe = recipe(&args.to)?;
    let checkpoint = args.source.open()?;
    let output = args.target.output.clone().unwrap_or_else(|| plan::default_output(&checkpoint, &recipe));
    if !args.calibration.texts.is_empty() {
        run::check_name(&output, args.target.force)?;
    }
    let rounding = args.rounding_job(&checkpoint, &output)?;
    let importance = match (&rounding, args.calibration.texts.is_empty()) {
        (None, true) => args.weighing.read()?,
        (Some(_), _) => None,
        (None, false) => {
            let imatrix = args.calibration.run(&checkpoint, args.target.threads)?;
            Some(Importance { imatrix, file: None, uncovered: args.weighing.uncovered() })
        }
    };
    let mut job = args.types.job(checkpoint, recipe, importance, rounding.is_some(), out)?;
    if rounding.is_some() && !job.tensors.iter().any(in_layer) {
        let message =
            format!("--method: with --to {} no weight of a layer becomes blocks that could be rounded", args.to);
        return Err(UsageError(message).into());
    }
    if args.provenance {
        let method = args.rounding.method.map(Asked::name);
        let (imatrix, texts) = (args.weighing.file(), &args.calibration.texts[..]);
        let ingredients = Ingredients { imatrix, texts, method: method.as_deref() };
        job.kv.extend(provenance::keys(&job, &ingredients)?);
    }
    execute(&job, args.types.split_max_size, &args.target, rounding.as_ref(), proof.as_ref(), out)
}

/// Does what the plan says and tells what was done. With a `proof`, the result gets its name if it passes.
pub(crate) fn execute(
    job: &Job,
    split_max_size: Option<u64>,
    target: &Target,
    rounding: Option<&rounding::Job>,
    proof: Option<&verify::Job>,
    out: &Out,
) -> anyhow::Result<Status> {
    let output = target.output.clone().unwrap_or_else(|| job.default_output());
    let layout = |path: &Path| gguf::layout(path, &job.kv, &job.infos(), split_max_size);
    run::check_room(&layout(&output)?, target.force)?;
    let cancel = signals::cancel()?;
    let outline = job.outline();
    let (threads, mut account, mut journal) = (threads(target.threads), None, None);
    let mut write = |path: &Path| {
        let layout = layout(path)?;
        perform(&outline, threads, &cancel, |run| {
            run::quantize_after(run, layout.create().map_err(run::Error::from)?, |sink| {
                let Some(rounding) = rounding else { return Ok(BTreeSet::new()) };
                let destination = IntoGguf::new(run.isa, &job.tensors, sink);
                let (told, record) = rounding.run(&job.checkpoint, &destination, threads, &cancel)?;
                (account, journal) = (Some(rounding::account(&told)), record);
                let written = destination.written();
                let left =
                    job.tensors.iter().enumerate().filter(|(at, tensor)| !written.contains(at) && in_layer(tensor));
                if let Some(warning) = rounding::unseen(left.map(|(_, tensor)| tensor.name.as_str())) {
                    out.warning(&warning);
                }
                anyhow::Ok(written)
            })
        })
    };
    let (outcome, report) = match proof {
        None => (write(&output)?, None),
        Some(proof) => {
            let provisional = run::Provisional::beside(&output)?;
            let mut outcome = write(&provisional.path(&output))?;
            let first = outcome.files.first().map_or(output.as_path(), PathBuf::as_path);
            let report = proof.run(&job.checkpoint, &Checkpoint::open(first)?, &cancel)?;
            outcome.files = match report.verdict {
                Verdict::Pass => provisional.keep(&outcome.files)?,
                _ => vec![],
            };
            outcome.peak_anon_bytes = outcome.peak_anon_bytes.max(report.peak_anon_bytes);
            verify::warn(&report, out);
            (outcome, Some(report))
        }
    };
    if let Some(journal) = journal {
        journal.remove().map_err(run::Error::from)?;
    }
    let wanted = target.modelfile && !outcome.files.is_empty();
    let modelfile = if wanted { Some(write_modelfile(job, &outcome.files)?) } else { None };
    let modelfile = modelfile.map(|path| path.display().to_string());
    tell(&outline, &outcome, &[("modelfile", modelfile)], account.as_ref(), report.as_ref(), out)?;
    Ok(report.map_or(Status::Done, |report| verify::release_status(&report, &output, out)))
}

/// Whether a tensor is one that gets quantized and neither embedding nor output, which no method looks at.
fn in_layer(tensor: &Planned) -> bool {
    let blocks = matches!(tensor.choice.ty.storage(), Storage::Blocks(_));
    blocks && !matches!(Class::of(&tensor.name), Class::TokenEmbd | Class::Output)
}

fn write_modelfile(job: &Job, files: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let folder = files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."));
    let path = folder.join("Modelfile");
    let text = modelfile::modelfile(job, files);
    std::fs::write(&path, text).with_context(|| format!("{}: cannot write", path.display()))?;
    Ok(path)
}
