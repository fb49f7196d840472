//! `planish convert`: another container, the same weights.

use planish::checkpoint::Checkpoint;

use super::options::{Source, Types, recipe};
use super::quantize::{Target, execute};
use super::show::Out;

/// Write a checkpoint as a GGUF of plain types.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The type of the weights in the GGUF.
    #[arg(long)]
    to: To,
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
}

pub(crate) fn run(args: &Args, out: &Out) -> anyhow::Result<()> {
    let mix = match args.to {
        To::Bf16 => "bf16",
        To::F16 => "f16",
        To::F32 => "f32",
    };
    let job = args.types.job(Checkpoint::open(&args.source.model)?, recipe(mix)?, None, out)?;
    execute(&job, args.types.split_max_size, &args.target, out)
}
