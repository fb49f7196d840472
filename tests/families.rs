//! Every family from the outside: `quantize` and `verify` on its tiny models.

#[path = "support/command.rs"]
mod command;
#[path = "support/lettered.rs"]
mod lettered;

use std::path::Path;

use command::text;
use lettered::{lettered, models};
use serde_json::Value;

/// The newest of what a command says, or why not: its exit status and message.
fn planish(args: &[&str]) -> Result<Value, (i32, String)> {
    let out = command::planish(&[args, &["--json"]].concat());
    if out.status.success() {
        return Ok(serde_json::from_slice(&out.stdout).expect("output is JSON"));
    }
    Err((out.status.code().expect("exited by itself"), command::message(&out)))
}

/// Mean KL divergence of `candidate` from `reference`, or of models without a head by how much their vectors turn; or why
/// there is none.
fn drift(reference: &Path, candidate: &Path, corpus: &Path) -> Result<f64, (i32, String)> {
    let args = ["verify", text(reference), text(candidate), "--text", text(corpus), "--ctx", "32", "--chunks", "40"];
    let report = planish(&args)?;
    let strange: Vec<&Value> =
        report["tensors"].as_array().expect("tensors").iter().filter(|t| !t["problem"].is_null()).collect();
    assert!(strange.is_empty(), "{args:?}: {strange:#?}");
    let turned = report["embeddings"]["mean"].as_f64().map(|cosine| 1.0 - cosine);
    Ok(turned.unwrap_or_else(|| report["metrics"]["kld"]["mean"].as_f64().expect("a mean")))
}

#[test]
fn fewer_bits_drift_further_in_every_family() {
    let dir = tempfile::tempdir().expect("a folder");
    let corpus = dir.path().join("corpus.txt");
    let prose = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama/heldout.txt"));
    let letters: String = prose.expect("a text").chars().filter(|c| matches!(c, '\n' | ' '..='~')).take(2000).collect();
    std::fs::write(&corpus, letters).expect("written");
    let (mut seen, mut wrong) = (0, vec![]);
    for folder in models() {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let model = dir.path().join(&name);
        lettered(&folder, &model);
        let release = |mix: &str| -> Result<f64, (i32, String)> {
            let release = dir.path().join(format!("{name}-{mix}.gguf"));
            planish(&["quantize", text(&model), "--to", mix, "-o", text(&release)])?;
            drift(&model, &release, &corpus)
        };
        let all = std::iter::once(drift(&model, &model, &corpus)).chain(["q8_0", "q4_k_m", "q2_k"].map(release));
        let drifts = match all.collect::<Result<Vec<f64>, _>>() {
            Ok(drifts) => drifts,
            // What llama.cpp does not know.
            Err((4, why)) => {
                println!("{name:24} {}", why.lines().next().unwrap_or_default());
                continue;
            }
            Err(why) => {
                wrong.push(format!("{name}: {why:?}"));
                continue;
            }
        };
        println!("{name:24} {drifts:.5?}");
        if drifts[0] != 0.0 || !drifts.is_sorted_by(|a, b| a < b) {
            wrong.push(format!("{name}: {drifts:?}"));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen >= 35, "only {seen} models");
}
