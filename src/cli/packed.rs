//! `quantize` and `plan` where the result is a quantized safetensors folder.

use std::collections::BTreeSet;
use std::path::Path;

use planish::checkpoint::Checkpoint;
use planish::dialect::{Stored, Target};
use planish::plan::{Becomes, Quantization, default_packed_folder};
use planish::provenance::{self, Ingredients};
use planish::run::{self, IntoFolder, Outcome, Pack};
use planish::verify::report::Verdict;
use planish_formats::{Layout, Sink};
use planish_kernels::Isa;
use serde_json::{Value, json};

use super::exit::{Status, UsageError};
use super::options::{Groups, Source, Types};
use super::plan::{adapted, adapters};
use super::quantize::Args;
use super::rounding::Asked;
use super::show::{self, Out};
use super::work::threads;
use super::{progress, rounding, signals, verify};

/// The quantized checkpoint that `--to` names, if it names one.
pub(crate) fn target(to: &str, groups: &Groups) -> anyhow::Result<Option<Target>> {
    match (Target::named(to), groups.group_size) {
        (Some(target), None) => Ok(Some(target)),
        (Some(target), Some(size)) => Ok(Some(target.grouped(size).map_err(UsageError)?)),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(UsageError(format!("--group-size: the blocks of {to} have their own size")).into()),
    }
}

/// What would be done.
pub(crate) fn show(source: &Source, types: &Types, target: Target, out: &Out) -> anyhow::Result<()> {
    let plan = plan(source, types, target, out)?;
    let layout = plan.layout(&default_packed_folder(&plan.checkpoint, &target), types.split_max_size)?;
    out.result(|| text(&plan, &layout), || json(&plan, &layout))
}

/// Does it and tells what was done.
pub(crate) fn run(args: &Args, target: Target, proof: Option<&verify::Job>, out: &Out) -> anyhow::Result<Status> {
    let Args { source, types, weighing, calibration, provenance, target: place, .. } = args;
    let unused = [
        ("--modelfile", place.modelfile),
        ("--imatrix", weighing.file().is_some()),
        ("--calibrate without --method", args.rounding.method.is_none() && !calibration.texts.is_empty()),
        ("--method", args.rounding.method.is_some() && !target.calibrates()),
    ];
    if let Some((option, _)) = unused.iter().find(|(_, given)| *given) {
        return Err(UsageError(format!("{option}: not with --to {}", target.name)).into());
    }
    let plan = plan(source, types, target, out)?;
    let output = place.output.clone().unwrap_or_else(|| default_packed_folder(&plan.checkpoint, &target));
    let cancel = signals::cancel()?;
    let mut beside = vec![];
    if *provenance {
        let method = args.rounding.method.map(Asked::name);
        let ingredients = Ingredients { imatrix: None, texts: &calibration.texts, method: method.as_deref() };
        let facts = provenance::json(&plan, &ingredients)?;
        beside.push(("planish.json".to_owned(), format!("{facts:#}\n").into_bytes()));
    }
    let bytes = plan.checkpoint.tensor_bytes();
    let bar = progress::bar(bytes);
    let scale = bytes as f64 / plan.weights().max(1) as f64;
    let threads = threads(place.threads);
    let rounding = args.rounding_job(&plan.checkpoint, &output)?.map(rounding::Job::expanded);
    let (mut account, mut journal, mut report) = (None, None, None);
    let pack = Pack {
        plan: &plan,
        threads,
        isa: Isa::detected(),
        cancel: &cancel,
        progress: &|weights| bar.inc((weights as f64 * scale) as u64),
    };
    let first = |sink: &dyn Sink| {
        let Some(rounding) = &rounding else { return Ok(BTreeSet::new()) };
        let destination = IntoFolder::new(pack.isa, &plan, sink);
        let (told, record) = rounding.run(&plan.checkpoint, &destination, threads, &cancel)?;
        (account, journal) = (Some(rounding::account(&told)), record);
        let written = destination.written();
        let packed =
            plan.tensors.iter().enumerate().filter(|(_, tensor)| matches!(tensor.becomes, Becomes::Packed { .. }));
        let left = packed.filter(|(at, _)| !written.contains(at)).map(|(_, tensor)| tensor.name.as_str());
        if let Some(warning) = rounding::unseen(left) {
            out.warning(&warning);
        }
        anyhow::Ok(written)
    };
    let earns_name = |folder: &Path| {
        let Some(proof) = proof else { return Ok(true) };
        bar.finish_and_clear();
        let told = proof.run(&plan.checkpoint, &Checkpoint::open(folder)?, &cancel)?;
        verify::warn(&told, out);
        let passed = told.verdict == Verdict::Pass;
        report = Some(told);
        Ok(passed)
    };
    let outcome = run::pack_folder(&pack, &output, types.split_max_size, place.force, &beside, first, earns_name);
    bar.finish_and_clear();
    let mut outcome = outcome?;
    outcome.peak_anon_bytes =
        report.iter().map(|report| report.peak_anon_bytes).fold(outcome.peak_anon_bytes, u64::max);
    if let Some(journal) = journal {
        journal.remove().map_err(run::Error::from)?;
    }
    out.result(
        || {
            let account = account.as_ref().map_or(String::new(), |account| format!("{}\n", rounding::text(account)));
            let mut rows = summary(&plan, outcome.bytes);
            rows.extend(done(&plan, &outcome));
            if !outcome.files.is_empty() {
                rows.push(("folder", output.display().to_string()));
            }
            let proof = report.as_ref().map_or(String::new(), |report| format!("\n{}", verify::text(report)));
            account + &show::facts(&rows) + &proof
        },
        || {
            let mut value = summary_json(&plan);
            value["files"] = json!(outcome.files);
            value["bytes"] = outcome.bytes.into();
            value["seconds"] = outcome.elapsed.as_secs_f64().into();
            value["peak_anon_bytes"] = outcome.peak_anon_bytes.into();
            if !outcome.files.is_empty() {
                value["folder"] = json!(output);
            }
            if let Some(account) = &account {
                value["rounding"] = json!(account);
            }
            value["isa"] = Isa::detected().name().into();
            if let Some(report) = &report {
                value["verification"] = verify::json(report);
            }
            value
        },
    )?;
    Ok(report.map_or(Status::Done, |report| verify::release_status(&report, &output, out)))
}

/// The plan; warnings are printed.
fn plan(source: &Source, types: &Types, target: Target, out: &Out) -> anyhow::Result<Quantization> {
    if let Some(option) = types.of_gguf() {
        return Err(UsageError(format!("{option}: says how a GGUF is made; --to {} writes none", target.name)).into());
    }
    let plan = Quantization::new(source.open()?, target)?;
    for warning in &plan.warnings {
        out.warning(warning);
    }
    Ok(plan)
}

fn text(plan: &Quantization, layout: &Layout) -> String {
    let rows: Vec<Vec<String>> = (plan.tensors.iter())
        .map(|tensor| {
            let parts = tensor.places.iter().filter_map(|place| plan.infos.get(*place));
            let bytes: u64 = parts.filter_map(planish_formats::Info::bytes).map(|bytes| bytes as u64).sum();
            vec![
                tensor.name.clone(),
                format!("{:?}", tensor.shape),
                tensor.source.name().into_owned(),
                tensor.storage().name().into_owned(),
                show::bytes(bytes),
            ]
        })
        .collect();
    let mut text = show::table(&["tensor", "shape", "from", "to", ">size"], &rows);
    text.push('\n');
    text.push_str(&show::facts(&summary(plan, layout.bytes())));
    text
}

fn summary(plan: &Quantization, file_bytes: u64) -> Vec<(&'static str, String)> {
    let mut types: Vec<(Stored, usize)> = vec![];
    for storage in plan.tensors.iter().map(planish::plan::Converted::storage) {
        match types.iter_mut().find(|(other, _)| *other == storage) {
            Some((_, count)) => *count += 1,
            None => types.push((storage, 1)),
        }
    }
    let types: Vec<String> = types.iter().map(|(storage, count)| format!("{} x {count}", storage.name())).collect();
    let copied: Vec<String> = plan.copied.iter().map(|(_, name)| name.clone()).collect();
    let mut rows = vec![
        ("architecture", plan.architecture.to_owned()),
        ("weights", show::count(plan.weights())),
        ("target", format!("{}: {}", plan.target.name, plan.target.about)),
        ("types", types.join(", ")),
        ("copied", if copied.is_empty() { "nothing".to_owned() } else { copied.join(", ") }),
        ("source", show::bytes(plan.checkpoint.tensor_bytes())),
        ("release", format!("{} ({:.2} bits a weight)", show::bytes(file_bytes), plan.bits_per_weight())),
    ];
    rows.extend(adapters(&plan.checkpoint.source).map(|told| ("adapters", told)));
    rows
}

fn done(plan: &Quantization, outcome: &Outcome) -> Vec<(&'static str, String)> {
    let seconds = outcome.elapsed.as_secs_f64();
    let speed = plan.checkpoint.tensor_bytes() as f64 / seconds;
    vec![
        ("time", format!("{seconds:.2} s, {} read a second", show::bytes(speed as u64))),
        ("memory", format!("{} beside the page cache", show::bytes(outcome.peak_anon_bytes))),
    ]
}

fn json(plan: &Quantization, layout: &Layout) -> Value {
    let tensors: Vec<Value> = (plan.tensors.iter())
        .map(|tensor| {
            let parts: Vec<Value> = (tensor.places.iter().filter_map(|place| plan.infos.get(*place)))
                .map(|info| json!({"name": info.name, "type": info.storage.name(), "shape": info.shape, "bytes": info.bytes()}))
                .collect();
            json!({
                "name": tensor.name,
                "shape": tensor.shape,
                "from": tensor.source.name(),
                "to": tensor.storage().name(),
                "tensors": parts,
            })
        })
        .collect();
    let mut value = summary_json(plan);
    value["files"] = layout.files().map(|(path, bytes)| json!({"path": path, "bytes": bytes})).collect();
    value["tensors"] = tensors.into();
    value
}

fn summary_json(plan: &Quantization) -> Value {
    json!({
        "source": plan.checkpoint.path,
        "architecture": plan.architecture,
        "target": plan.target.name,
        "group_size": plan.target.group,
        "weights": plan.weights(),
        "source_bytes": plan.checkpoint.tensor_bytes(),
        "adapted_tensors": adapted(&plan.checkpoint.source),
        "tensor_bytes": plan.tensor_bytes(),
        "bits_per_weight": plan.bits_per_weight(),
        "quantization_config": plan.config.get("quantization_config"),
        "copied": plan.copied.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>(),
        "warnings": plan.warnings,
    })
}
