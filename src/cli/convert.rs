//! `planish convert`: another container, the same weights.

use planish::plan::{Job, Recipe, Restoration, default_folder};
use planish::run;

use super::exit::{Status, UsageError};
use super::options::{Source, Types, recipe};
use super::quantize::{Target, execute};
use super::show::Out;
use super::signals;
use super::work::{perform, tell, threads};

/// Write a checkpoint as a GGUF of plain types, its vision tower or an adapter as one beside it, or a GGUF as a Hugging
/// Face folder.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The type of the weights in the GGUF, or hf for a Hugging Face folder.
    #[arg(long)]
    to: To,
    /// Write the vision tower and its projector, which llama.cpp reads from a file of their own (its own --mmproj); by
    /// default mmproj-NAME-TYPE.gguf.
    #[arg(long)]
    mmproj: bool,
    /// Write the adapters of --lora alone, which llama.cpp adds to a model that it has loaded (its own --lora); by default
    /// lora-NAME-TYPE.gguf.
    #[arg(long, requires = "lora", conflicts_with = "mmproj")]
    adapter: bool,
    #[command(flatten)]
    types: Types,
    #[command(flatten)]
    target: Target,
}

/// What a conversion can end in.
#[derive(Clone, Copy, clap::ValueEnum)]
enum To {
    Bf16,
    F16,
    F32,
    #[value(name = "q8_0")]
    Q80,
    Hf,
}

pub(crate) fn run(args: &Args, out: &Out) -> anyhow::Result<Status> {
    let mix = match args.to {
        To::Bf16 => "bf16",
        To::F16 => "f16",
        To::F32 => "f32",
        To::Q80 => "q8_0",
        To::Hf if args.mmproj || args.adapter => {
            let option = if args.mmproj { "--mmproj" } else { "--adapter" };
            return Err(UsageError(format!("{option}: a GGUF, with --to f16 or another type")).into());
        }
        To::Hf => return to_hf(args, out),
    };
    if args.mmproj || args.adapter {
        if args.target.modelfile {
            return Err(UsageError("--modelfile: of a model, not of what is beside it".to_owned()).into());
        }
        let recipe = recipe(mix)?;
        let job = if args.mmproj {
            towers(&args.source, &args.types, recipe, out)?
        } else {
            beside(&args.types, "an adapter (--adapter)", || Ok(Job::adapter(args.source.open()?, recipe)?), out)?
        };
        return execute(&job, None, &args.target, None, None, out);
    }
    let job = args.types.job(args.source.open()?, recipe(mix)?, None, false, out)?;
    execute(&job, args.types.split_max_size, &args.target, None, None, out)
}

fn to_hf(args: &Args, out: &Out) -> anyhow::Result<Status> {
    let Args { source, types, target, .. } = args;
    if target.modelfile {
        return Err(UsageError("--modelfile: Ollama runs a GGUF; --to hf writes none".to_owned()).into());
    }
    let plan = restoration(source, types, out)?;
    let output = target.output.clone().unwrap_or_else(|| default_folder(&plan.checkpoint));
    let cancel = signals::cancel()?;
    let outcome = perform(&plan.outline(), threads(target.threads), &cancel, |run| {
        run::restore_folder(run, &plan, &output, types.split_max_size, target.force)
    })?;
    let folder = Some(output.display().to_string());
    tell(&plan.outline(), &outcome, &[("folder", folder)], None, None, out)?;
    Ok(Status::Done)
}

/// What would be done to the towers; warnings are printed.
pub(crate) fn towers(source: &Source, types: &Types, recipe: Recipe, out: &Out) -> anyhow::Result<Job> {
    beside(types, "a vision tower (--mmproj)", || Ok(Job::mmproj(source.open()?, recipe)?), out)
}

/// The job of a file beside a model's, `what` it is of; warnings are printed.
fn beside(types: &Types, what: &str, job: impl FnOnce() -> anyhow::Result<Job>, out: &Out) -> anyhow::Result<Job> {
    let split = types.split_max_size.map(|_| "--split-max-size");
    if let Some(option) = types.of_gguf().or(split) {
        return Err(UsageError(format!("{option}: not of {what}")).into());
    }
    let job = job()?;
    for warning in &job.warnings {
        out.warning(warning);
    }
    Ok(job)
}

/// The plan of a folder; warnings are printed.
pub(crate) fn restoration(source: &Source, types: &Types, out: &Out) -> anyhow::Result<Restoration> {
    if let Some(option) = types.of_gguf() {
        return Err(UsageError(format!("{option}: says how a GGUF is made; --to hf writes none")).into());
    }
    let plan = Restoration::new(source.open()?)?;
    for warning in &plan.warnings {
        out.warning(warning);
    }
    Ok(plan)
}
