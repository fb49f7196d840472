//! Whole runs on a GPU against the processor, by the command line.
//!
//! The driver is whatever the loader finds: a GPU's, or the interpreter of `tests/ptx`. Without one the tests of runs say so
//! and pass; `PLANISH_REQUIRE_CUDA=1` makes that a failure.
#![cfg(feature = "cuda")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use planish::imatrix::Imatrix;
use serde_json::Value;

fn planish(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_planish"));
    command.args(args).envs(environment.iter().copied()).output().expect("planish runs")
}

/// A run that should end well.
fn done(args: &[&str]) -> (String, String) {
    let output = planish(args, &[]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{args:?}: {error}");
    (out, error)
}

fn devices() -> Value {
    serde_json::from_str(&done(&["--json", "devices"]).0).expect("JSON")
}

fn there() -> bool {
    let found = devices();
    let usable = found["cuda"]["devices"].as_array().is_some_and(|all| all.iter().any(|one| one["problem"].is_null()));
    if !usable {
        assert!(std::env::var_os("PLANISH_REQUIRE_CUDA").is_none(), "{found}");
        println!("skipped: {}", found["cuda"]["problem"]);
    }
    usable
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The tiny model, and a text.
fn tiny(folder: &Path) -> (String, String) {
    let text = folder.join("text.txt");
    let words = std::fs::read_to_string(fixtures().join("sentences.txt")).expect("sentences");
    std::fs::write(&text, words).expect("written");
    let shown = |path: &Path| path.to_str().expect("a name").to_owned();
    (shown(&fixtures().join("tiny-llama")), shown(&text))
}

#[test]
fn calibration_has_the_processors_sums() {
    if !there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (model, text) = tiny(folder.path());
    let run = |device: &str| {
        let out = folder.path().join(device.replace(':', "-")).with_extension("gguf");
        let name = out.to_str().expect("a name");
        let args =
            ["calibrate", &model, "--text", &text, "--ctx", "16", "--chunks", "2", "-o", name, "--device", device];
        let told = done(&args).1;
        (Imatrix::read(&out).expect("an imatrix"), told)
    };
    let ((cpu, _), (cuda, told)) = (run("cpu"), run("cuda:0"));
    assert!(told.contains("run on cuda:0"), "{told}");
    assert_eq!(cpu.entries.len(), cuda.entries.len());
    for (name, entry) in &cpu.entries {
        let (a, b) = (entry.exact_sums().expect("sums"), cuda.entries[name].exact_sums().expect("sums"));
        let most = a.iter().max().copied().unwrap_or(0) as f64;
        for (a, b) in a.iter().zip(b) {
            assert!((*a as f64 - *b as f64).abs() <= 1e-5 * most, "{name}: {a} {b}");
        }
    }
}

#[test]
fn verification_finds_what_the_processor_finds() {
    if !there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (model, text) = tiny(folder.path());
    let quantized = folder.path().join("q.gguf");
    let name = quantized.to_str().expect("a name");
    done(&["quantize", &model, "--to", "q4_0", "-o", name]);
    let run = |device: &str| -> Value {
        let args =
            ["--json", "verify", &model, name, "--text", &text, "--ctx", "16", "--chunks", "2", "--device", device];
        serde_json::from_str(&done(&args).0).expect("JSON")
    };
    let (cpu, cuda) = (run("cpu"), run("cuda:0"));
    let kl = |report: &Value| report["metrics"]["kld"]["mean"].as_f64();
    let (a, b) = (kl(&cpu).expect("a divergence"), kl(&cuda).expect("a divergence"));
    assert!(a > 0.0 && (a - b).abs() <= 1e-4 * a, "{a} {b}");
}

/// Of a machine without a driver or a device: the interpreter plays it too.
#[test]
fn what_is_not_there_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, text) = tiny(folder.path());
    let out = folder.path().join("imatrix.gguf");
    let out = out.to_str().expect("a name");
    let args = |device| {
        ["calibrate", &model, "--text", &text, "--ctx", "16", "--chunks", "1", "--force", "-o", out, "--device", device]
    };
    // No device of this number, whatever there is; none at all for the interpreter; a driver older than the PTX.
    let cases: [(&str, &[(&str, &str)]); 3] = [
        ("cuda:77", &[]),
        ("cuda:0", &[("PLANISH_PTX_DEVICES", "0"), ("CUDA_VISIBLE_DEVICES", "")]),
        ("cuda:78", &[("PLANISH_PTX_DRIVER", "11080")]),
    ];
    for (device, environment) in cases {
        let output = planish(&args(device), environment);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{error}");
        assert!(error.contains("cannot be used") && error.contains("hint:") && !error.contains("panicked"), "{error}");
    }
    for hidden in [("PLANISH_PTX_DEVICES", "0"), ("PLANISH_PTX_DRIVER", "11080")] {
        let output = planish(&args("auto"), &[hidden, ("CUDA_VISIBLE_DEVICES", "")]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !error.contains("panicked"), "{error}");
        assert!(error.contains("the processor is used") || error.contains("run on cuda"), "{error}");
    }
}
