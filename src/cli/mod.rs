//! The command line: one file a command; only `show` prints.

mod calibrate;
mod convert;
mod device;
mod exit;
mod extras;
mod inspect;
mod inspect_imatrix;
mod options;
mod packed;
mod plan;
mod progress;
mod quantize;
mod reports;
mod rounding;
mod show;
mod signals;
mod verify;
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use exit::Status;

/// Takes a Hugging Face checkpoint to a quantized release.
///
/// Exit status: 0 done; 1 a gate failed; 2 usage; 3 bad or unsafe input; 4 unsupported; 5 not comparable;
/// 6 inconclusive; 74 input or output failed; 75 interrupted.
#[derive(Parser)]
#[command(name = "planish", version, max_term_width = 110)]
pub(crate) struct Cli {
    /// Print one JSON object on standard output instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Where models are run: cpu, cuda:N (an NVIDIA GPU, or an error), or auto (a GPU if one can be used). Only the
    /// processor promises the same bits on every machine.
    #[arg(long, global = true, value_name = "DEVICE", default_value = "cpu", value_parser = device::parse)]
    device: device::Asked,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Plan(plan::Args),
    Quantize(quantize::Args),
    Calibrate(calibrate::Args),
    Convert(convert::Args),
    Verify(verify::Args),
    Devices(device::Args),
    Completions(extras::Completions),
    Man(extras::Man),
}

/// Parses the arguments, runs the command, and turns its error into a message and an exit status.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = show::Out::new(cli.json);
    device::ask(cli.device, &out);
    let done = exit::refuse_bad_isa().and_then(|()| {
        match cli.command {
            Command::Inspect(args) => inspect::run(&args, &out),
            Command::Plan(args) => plan::run(&args, &out),
            Command::Quantize(args) => return quantize::run(&args, &out),
            Command::Calibrate(args) => calibrate::run(&args, &out),
            Command::Convert(args) => return convert::run(&args, &out),
            Command::Verify(args) => return verify::run(&args, &out),
            Command::Devices(args) => device::run(&args, &out),
            Command::Completions(args) => extras::completions(&args),
            Command::Man(args) => extras::man(&args),
        }
        .map(|()| Status::Done)
    });
    device::tell(&out);
    match done {
        Ok(status) => status.into(),
        Err(error) => exit::report(&error, &out),
    }
}
