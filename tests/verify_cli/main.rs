//! `planish verify` from the outside: what it says of good and of broken candidates, and how it exits.

mod broken;
#[path = "../support/damaged.rs"]
mod damaged;
mod gates;
mod measures;
#[path = "../support/schema.rs"]
mod schema;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;

const TEXT: &str = "fixtures/tiny-llama/heldout.txt";
const TINY: &str = "fixtures/tiny-llama";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_planish"));
    command.args(args).current_dir(root());
    command
}

fn planish(args: &[&str]) -> Output {
    command(args).output().expect("the command starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// tiny-llama as a GGUF of a mix, made once.
struct Release {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn release(mix: &str) -> Release {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(format!("{mix}.gguf"));
    let made = planish(&["quantize", TINY, "--to", mix, "-o", text(&path)]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Release { _dir: dir, path }
}

static Q8_0: LazyLock<Release> = LazyLock::new(|| release("q8_0"));
static Q4_K_M: LazyLock<Release> = LazyLock::new(|| release("q4_k_m"));

/// What a verification said and how it ended.
struct Verdict {
    status: i32,
    report: Value,
    message: String,
}

/// On 6 chunks of 128 tokens of the held-out text, unless `more` says otherwise.
#[track_caller]
fn verify(reference: &str, candidate: &Path, more: &[&str]) -> Verdict {
    let mut args = vec!["verify", reference, text(candidate), "--text", TEXT, "--ctx", "128", "--json"];
    if !more.contains(&"--chunks") {
        args.extend(["--chunks", "6"]);
    }
    args.extend(more);
    let out = planish(&args);
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!message.contains("panicked"), "{message}");
    let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    if report.get("schema").is_some() {
        holds(&report);
    }
    Verdict { status: out.status.code().expect("exited by itself"), report, message }
}

/// Whether a report is as the committed schema says.
#[track_caller]
fn holds(report: &Value) {
    let schema = std::fs::read_to_string(root().join("tests/verify.schema.json")).expect("a schema");
    let schema = serde_json::from_str(&schema).expect("JSON");
    let violations = schema::violations(&schema, report);
    assert!(violations.is_empty(), "{violations:#?}");
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {pointer}: {report:#}"))
}

/// What has to be the same whoever computes it.
fn numbers(report: &Value) -> Value {
    let mut report = report.clone();
    for varying in ["seconds", "peak_anon_bytes", "threads", "running"] {
        report.as_object_mut().expect("an object").remove(varying);
    }
    report["protocol"].as_object_mut().expect("an object").remove("batch");
    report
}
