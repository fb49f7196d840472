//! `quantize --method` from the outside: what it makes drifts less, whatever happens on the way.

#[path = "support/command.rs"]
mod command;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use command::{fails, json, text};
use planish_kernels::Isa;
use planish_kernels::cpu::Precision;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama")
}

/// A calibrated job on the tiny model: a mix, a method, an output, and what else.
fn job<'a>(model: &'a str, heldout: &'a str, to: &'a str, method: &'a str, output: &'a Path) -> Vec<&'a str> {
    let calibrate = ["--calibrate", heldout, "--calibrate-ctx", "128", "--calibrate-chunks", "12"];
    [&["quantize", model, "--to", to, "--method", method, "-o", text(output)], &calibrate[..]].concat()
}

#[test]
fn compensated_and_scaled_weights_drift_less() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, heldout) = (tiny(), tiny().join("heldout.txt"));
    let (model, heldout) = (text(&model), text(&heldout));
    let drift = |method: &str| {
        let file = dir.path().join(format!("{method}.gguf"));
        let report = json(&job(model, heldout, "q2_k", method, &file));
        let tensors = report["rounding"]["tensors"].as_array().expect("an account of each matrix");
        assert_eq!(tensors.len(), 28);
        for tensor in tensors {
            let [loss, nearest] = ["loss", "loss_nearest"].map(|key| tensor[key].as_f64().expect("a share"));
            assert!(loss <= nearest && nearest < 1.0, "{tensor}");
            assert!(method == "gptq" || method == "awq+gptq" || loss == nearest, "{tensor}");
        }
        let scales = report["rounding"]["scales"].as_array().expect("scales");
        assert_eq!(method.starts_with("awq"), !scales.is_empty());
        assert!(scales.iter().all(|scale| scale["loss_after"].as_f64() < scale["loss_before"].as_f64()));
        assert!(!file.with_extension("gguf.journal").exists(), "nothing is left beside the release");
        let cut = ["--ctx", "128", "--chunks", "20", "--json"];
        let verified = json(&[&["verify", model, text(&file), "--text", heldout], &cut[..4]].concat());
        verified["metrics"]["kld"]["mean"].as_f64().expect("a drift")
    };
    let [nearest, gptq, both] = ["nearest", "gptq", "awq+gptq"].map(drift);
    assert!(gptq < 0.9 * nearest, "{gptq} {nearest}");
    assert!(both < 0.9 * nearest, "{both} {nearest}");
}

#[test]
fn any_number_of_threads_and_any_memory_give_the_same_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, heldout) = (tiny(), tiny().join("heldout.txt"));
    let (model, heldout) = (text(&model), text(&heldout));
    let [a, b] = ["1.gguf", "2.gguf"].map(|name| dir.path().join(name));
    json(&[&job(model, heldout, "q3_k_m", "awq+gptq", &a)[..], &["--threads", "1"]].concat());
    json(&[&job(model, heldout, "q3_k_m", "awq+gptq", &b)[..], &["--threads", "2", "--no-journal"]].concat());
    assert!(std::fs::read(&a).expect("a release") == std::fs::read(&b).expect("a release"));
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, heldout) = (tiny(), tiny().join("heldout.txt"));
    let (model, heldout) = (text(&model), text(&heldout));
    let [whole, killed] = ["whole.gguf", "killed.gguf"].map(|name| dir.path().join(name));
    json(&job(model, heldout, "q4_k_m", "awq+gptq", &whole));
    let journal = dir.path().join("killed.gguf.journal");
    let first = journal.join("layer-1");
    let mut run = Command::new(env!("CARGO_BIN_EXE_planish"))
        .args(job(model, heldout, "q4_k_m", "awq+gptq", &killed))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    while !first.exists() && run.try_wait().expect("a process").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // On Unix this is SIGKILL.
    run.kill().expect("it runs");
    run.wait().expect("it ends");
    assert!(first.exists() && !killed.exists(), "it was killed in mid-run");

    let resume = || [&job(model, heldout, "q4_k_m", "awq+gptq", &killed)[..], &["--resume"]].concat();
    let other: Vec<&str> = resume().into_iter().map(|arg| if arg == "12" { "11" } else { arg }).collect();
    let (status, message) = fails(&other);
    assert_eq!(status, 3);
    assert!(message.contains("the calibration text changed") && message.contains("hint:"), "{message}");
    let other: Vec<&str> = resume().into_iter().map(|arg| if arg == "q4_k_m" { "q5_k_m" } else { arg }).collect();
    assert!(fails(&other).1.contains("the types changed"));
    for precision in [Precision::Bf16, Precision::Bf16Split] {
        // Elsewhere it is computed in f32, and is the same run.
        if precision.native(Isa::detected()) {
            let (status, message) = fails(&[&resume()[..], &["--precision", precision.name()]].concat());
            assert!(status == 3 && message.contains("the method changed"), "{message}");
        }
    }

    let report = json(&resume());
    assert!(report["rounding"]["resumed_layers"].as_u64() >= Some(1), "{report}");
    assert!(std::fs::read(&whole).expect("a release") == std::fs::read(&killed).expect("a release"));
    assert!(!journal.exists());
    let (status, message) = fails(&[&resume()[..], &["--force"]].concat());
    assert_eq!(status, 3);
    assert!(message.contains("no interrupted run"), "{message}");
}

#[test]
fn what_cannot_be_done_is_said_before_it_is_begun() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = dir.path().join("out.gguf");
    let (model, heldout) = (tiny(), tiny().join("heldout.txt"));
    let (model, heldout) = (text(&model), text(&heldout));
    let (status, message) = fails(&["quantize", model, "--to", "q4_k_m", "--method", "gptq", "-o", text(&output)]);
    assert_eq!(status, 2);
    assert!(message.contains("--calibrate"), "{message}");
    let (status, message) = fails(&job(model, heldout, "q4_k_m", "spqr", &output));
    assert_eq!(status, 2);
    assert!(message.contains("awq+gptq"), "{message}");
    let conflicts: [(&str, &[&str], &str); 5] = [
        ("bf16", &[], "--method"),
        ("fp8-block", &[], "--method"),
        ("gptq-int4", &["--imatrix", "x.imatrix"], "--imatrix"),
        ("gptq-int4", &["--modelfile"], "--modelfile"),
        ("gptq-int4", &["--tensor-type", "attn_q=Q8_0"], "--tensor-type"),
    ];
    for (to, more, named) in conflicts {
        let (status, message) = fails(&[&job(model, heldout, to, "gptq", &output)[..], more].concat());
        assert!(status == 2 && message.contains(named), "{to} {more:?}: {status} {message}");
    }
    let short = dir.path().join("short.txt");
    std::fs::write(&short, "Once upon a time").expect("a text");
    let (status, message) = fails(&job(model, text(&short), "q4_k_m", "gptq", &output));
    assert_eq!(status, 3);
    assert!(message.contains("whole chunks") && message.contains("--ctx"), "{message}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 1, "nothing but the text");
}
