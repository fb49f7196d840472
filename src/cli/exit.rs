//! From an error to a message, a hint and an exit status.

use std::process::ExitCode;

use planish::{checkpoint, imatrix, plan, run, verify};
use planish_formats::Kind;
use planish_kernels::Isa;

use super::show::Out;

/// What the caller's shell or CI job sees. Documented in the README.
#[derive(Clone, Copy)]
pub(crate) enum Status {
    Done = 0,
    GateFailed = 1,
    Usage = 2,
    BadInput = 3,
    Unsupported = 4,
    Incomparable = 5,
    Inconclusive = 6,
    Io = 74,
    Interrupted = 75,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

/// A mistake in what was typed that the argument parser cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Prints `error:`, its causes and a hint on standard error, and says how to exit.
pub(crate) fn report(error: &anyhow::Error, out: &Out) -> ExitCode {
    let (status, hint) = classify(error);
    let mut message = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // A transparent wrapper says the same as what it wraps.
        if !message.ends_with(&text) {
            message.push_str(if message.is_empty() { "" } else { ": " });
            message.push_str(&text);
        }
    }
    out.error(&message, hint.as_deref(), status as u8);
    status.into()
}

fn classify(error: &anyhow::Error) -> (Status, Option<String>) {
    for cause in error.chain() {
        if let Some(run::Error::Interrupted) = cause.downcast_ref() {
            return (Status::Interrupted, None);
        }
        match cause.downcast_ref() {
            Some(verify::Error::Interrupted) => return (Status::Interrupted, None),
            Some(error @ verify::Error::Incomparable { .. }) => return (Status::Incomparable, error.hint()),
            _ => {}
        }
        if cause.is::<UsageError>() {
            return (Status::Usage, None);
        }
        let known = None
            .or_else(|| cause.downcast_ref::<plan::Error>().map(|e| (e.kind(), e.hint())))
            .or_else(|| cause.downcast_ref::<verify::Error>().map(|e| (e.kind(), e.hint())))
            .or_else(|| cause.downcast_ref::<run::Error>().map(|e| (e.kind(), e.hint())))
            .or_else(|| cause.downcast_ref::<imatrix::Error>().map(|e| (e.kind(), e.hint())))
            .or_else(|| cause.downcast_ref::<run::CalibrateError>().map(|e| (e.kind(), e.hint())))
            .or_else(|| cause.downcast_ref::<run::executor::Error>().map(|e| (e.kind(), e.hint())))
            .or_else(|| cause.downcast_ref::<planish_kernels::device::Error>().map(|e| (Kind::Unsupported, e.hint())))
            .or_else(|| cause.downcast_ref::<checkpoint::Error>().map(|e| (e.kind(), e.hint())))
            .or_else(|| cause.downcast_ref::<plan::RecipeError>().map(|_| (Kind::Bad, None)))
            .or_else(|| cause.downcast_ref::<planish_formats::Error>().map(|e| (e.kind(), e.hint())));
        if let Some((kind, hint)) = known {
            let status = match kind {
                Kind::Io => Status::Io,
                Kind::Bad => Status::BadInput,
                Kind::Unsupported => Status::Unsupported,
            };
            return (status, hint);
        }
    }
    (Status::Io, None)
}

/// An instruction set that cannot be had is an error, not a silent choice of another.
pub(crate) fn refuse_bad_isa() -> anyhow::Result<()> {
    if let Some(Err(asked)) = Isa::overridden() {
        let able: Vec<&str> = Isa::ALL.iter().filter(|isa| isa.available()).map(|isa| isa.name()).collect();
        let able = able.join(", ");
        return Err(UsageError(format!("PLANISH_ISA={asked}: this machine can run {able}")).into());
    }
    Ok(())
}
