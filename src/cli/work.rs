//! Doing what a plan says: with a progress bar, until it is done or somebody asks to stop; and telling what was done.

use std::sync::atomic::AtomicBool;

use planish::plan::Outline;
use planish::run::{Outcome, Run};
use planish::verify::Report;
use planish::verify::report::Rounding;
use planish_kernels::Isa;
use serde_json::{Value, json};

use super::plan::{summary, summary_json};
use super::show::{self, Out};
use super::{progress, rounding, verify};

/// Does the work of `outline`: `write` gets what it has to read.
pub(crate) fn perform<E: Into<anyhow::Error>>(
    outline: &Outline,
    threads: usize,
    cancel: &AtomicBool,
    write: impl FnOnce(&Run) -> Result<Outcome, E>,
) -> anyhow::Result<Outcome> {
    let source_bytes = outline.checkpoint.tensor_bytes();
    let bar = progress::bar(source_bytes);
    let scale = source_bytes as f64 / outline.weights().max(1) as f64;
    let outcome = write(&Run {
        source: &outline.checkpoint.source,
        tensors: outline.tensors,
        threads,
        isa: Isa::detected(),
        cancel,
        progress: &|weights| bar.inc((weights as f64 * scale) as u64),
    });
    bar.finish_and_clear();
    outcome.map_err(Into::into)
}

/// Tells what was done; `extra` are facts that only this command has, for people and under their names in JSON. `proof` is
/// how the result was verified, `account` how matrices were rounded.
pub(crate) fn tell(
    outline: &Outline,
    outcome: &Outcome,
    extra: &[(&'static str, Option<String>)],
    account: Option<&Rounding>,
    proof: Option<&Report>,
    out: &Out,
) -> anyhow::Result<()> {
    let seconds = outcome.elapsed.as_secs_f64();
    out.result(
        || {
            let speed = outline.checkpoint.tensor_bytes() as f64 / seconds;
            let mut rows = summary(outline, outcome.bytes);
            rows.push(("time", format!("{seconds:.2} s, {} read a second", show::bytes(speed as u64))));
            rows.push(("memory", format!("{} beside the page cache", show::bytes(outcome.peak_anon_bytes))));
            rows.extend(outcome.files.iter().map(|file| ("written", file.display().to_string())));
            rows.extend(extra.iter().filter_map(|(name, value)| Some((*name, value.clone()?))));
            let account = account.map_or(String::new(), |account| format!("{}\n", rounding::text(account)));
            account + &show::facts(&rows) + &proof.map_or(String::new(), |report| format!("\n{}", verify::text(report)))
        },
        || {
            let mut value: Value = summary_json(outline);
            value["files"] = json!(outcome.files);
            value["bytes"] = outcome.bytes.into();
            value["seconds"] = seconds.into();
            value["peak_anon_bytes"] = outcome.peak_anon_bytes.into();
            for (name, fact) in extra {
                value[*name] = json!(fact);
            }
            value["isa"] = Isa::detected().name().into();
            if let Some(account) = account {
                value["rounding"] = json!(account);
            }
            if let Some(report) = proof {
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
