//! `--device`, and `planish devices`: where models are run.

use std::sync::OnceLock;

use planish::run::Place;
use serde_json::json;

use super::show::{self, Out};

/// What `--device` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The processor.
    Cpu,
    /// The NVIDIA GPU of this number, or an error.
    Cuda(usize),
    /// The first NVIDIA GPU that can be used, or the processor.
    Auto,
}

/// Reads `cpu`, `cuda`, `cuda:N` or `auto`.
pub(crate) fn parse(text: &str) -> Result<Asked, String> {
    let number = |text: &str| text.parse().map_err(|_| format!("{text} is not the number of a device"));
    match text.split_once(':') {
        Some(("cuda", n)) => number(n).map(Asked::Cuda),
        None if text == "cpu" => Ok(Asked::Cpu),
        None if text == "cuda" => Ok(Asked::Cuda(0)),
        None if text == "auto" => Ok(Asked::Auto),
        Some(_) | None => Err("expected cpu, cuda:N or auto".to_owned()),
    }
}

static PLACE: OnceLock<Place> = OnceLock::new();
static ASKED: OnceLock<Asked> = OnceLock::new();

/// Notes what was asked for. What must be there is looked for when it is needed.
pub(crate) fn ask(asked: Asked, out: &Out) {
    if asked == Asked::Auto {
        let place = first().unwrap_or_else(|error| {
            out.warning(&format!("{error}; the processor is used"));
            Place::Cpu
        });
        PLACE.get_or_init(|| place);
    }
    ASKED.get_or_init(|| asked);
}

/// Where to run.
pub(crate) fn place() -> anyhow::Result<Place> {
    if let Some(place) = PLACE.get() {
        return Ok(*place);
    }
    let place = match ASKED.get().copied().unwrap_or(Asked::Cpu) {
        Asked::Cpu | Asked::Auto => Place::Cpu,
        Asked::Cuda(ordinal) => cuda(ordinal)?,
    };
    Ok(*PLACE.get_or_init(|| place))
}

#[cfg(feature = "cuda")]
fn cuda(ordinal: usize) -> planish_kernels::device::Result<Place> {
    planish_kernels::cuda::Cuda::open(ordinal).map(Place::Cuda)
}

#[cfg(not(feature = "cuda"))]
fn cuda(ordinal: usize) -> planish_kernels::device::Result<Place> {
    let (device, why) = (format!("cuda:{ordinal}"), "this planish was built without GPUs".to_owned());
    Err(planish_kernels::device::Error::Unusable { device, why })
}

/// The first that can be used.
#[cfg(feature = "cuda")]
fn first() -> planish_kernels::device::Result<Place> {
    let found = planish_kernels::cuda::devices();
    let usable = found.gpus.iter().find(|gpu| gpu.problem.is_none()).or(found.gpus.first());
    cuda(usable.map_or(0, |gpu| gpu.ordinal))
}

#[cfg(not(feature = "cuda"))]
fn first() -> planish_kernels::device::Result<Place> {
    cuda(0)
}

/// Says what a GPU was used for, and what it left to the processor.
pub(crate) fn tell(out: &Out) {
    let Some(place) = PLACE.get().filter(|place| !matches!(place, Place::Cpu)) else { return };
    let left = place.left_to_cpu();
    let left: Vec<String> = left.iter().map(|(op, count)| format!("{op} ({count} times)")).collect();
    let left = if left.is_empty() { String::new() } else { format!("; left to the processor: {}", left.join(", ")) };
    out.note(&format!("run on {}{left}", place.name()));
}

/// What models can be run on: the processor, and NVIDIA GPUs.
#[derive(clap::Args)]
pub(crate) struct Args {}

#[cfg(feature = "cuda")]
pub(crate) fn run(_: &Args, out: &Out) -> anyhow::Result<()> {
    let found = planish_kernels::cuda::devices();
    let isa = planish_kernels::Isa::detected();
    let name = |ordinal: usize| format!("cuda:{ordinal}");
    let capability = |gpu: &planish_kernels::cuda::Gpu| format!("{}.{}", gpu.capability / 10, gpu.capability % 10);
    out.result(
        || {
            let mut rows =
                vec![vec!["cpu".to_owned(), isa.name().to_owned(), String::new(), String::new(), "yes".to_owned()]];
            rows.extend(found.gpus.iter().map(|gpu| {
                let usable = gpu.problem.clone().map_or("yes".to_owned(), |why| format!("no: {why}"));
                vec![name(gpu.ordinal), gpu.name.clone(), show::bytes(gpu.memory as u64), capability(gpu), usable]
            }));
            let mut text = show::table(&["device", "name", ">memory", ">capability", "usable"], &rows);
            if let Some(driver) = &found.driver {
                text.extend(["\nNVIDIA driver: serves CUDA ", driver, "\n"]);
            }
            if let Some(problem) = &found.problem {
                text.extend(["\nno GPU: ", problem, "\n"]);
            }
            text
        },
        || {
            json!({
                "cpu": {"instruction_set": isa.name()},
                "cuda": {
                    "driver": found.driver,
                    "problem": found.problem,
                    "devices": found.gpus.iter().map(|gpu| json!({
                        "device": name(gpu.ordinal),
                        "name": gpu.name,
                        "memory_bytes": gpu.memory,
                        "compute_capability": capability(gpu),
                        "problem": gpu.problem,
                    })).collect::<Vec<_>>(),
                },
            })
        },
    )
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn run(_: &Args, out: &Out) -> anyhow::Result<()> {
    let isa = planish_kernels::Isa::detected();
    let problem = "this planish was built without GPUs";
    out.result(
        || format!("{}\nno GPU: {problem}\n", show::facts(&[("cpu", isa.name().to_owned())])),
        || json!({"cpu": {"instruction_set": isa.name()}, "cuda": {"driver": null, "problem": problem, "devices": []}}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read() {
        assert_eq!(parse("cpu"), Ok(Asked::Cpu));
        assert_eq!(parse("cuda"), Ok(Asked::Cuda(0)));
        assert_eq!(parse("cuda:3"), Ok(Asked::Cuda(3)));
        assert_eq!(parse("auto"), Ok(Asked::Auto));
        for bad in ["", "gpu", "cuda:", "cuda:x", "cpu:0"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
