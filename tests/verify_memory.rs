//! How much memory verifying and rounding take that no page cache can give back: a model of 3 GB.
//!
//! Minutes of arithmetic, so by name: `cargo test --release --test verify_memory -- --ignored`.

#[path = "support/synthetic.rs"]
mod synthetic;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use synthetic::{LAYERS, VOCAB, checkpoint};

#[test]
#[ignore = "minutes of arithmetic"]
fn memory_does_not_grow_with_the_model() {
    let dir = tempfile::tempdir().expect("a folder");
    let (reference, candidate) = (dir.path().join("bf16"), dir.path().join("f16"));
    // BF16 is multiplied where it lies; F16, like every quantized type, has to be decoded.
    let bytes = checkpoint(&reference, "BF16", None);
    assert_eq!(checkpoint(&candidate, "F16", None), bytes);
    assert!(bytes > 2_900_000_000, "{bytes}");
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama/heldout.txt");
    let ctx = std::env::var("PLANISH_CTX").unwrap_or_else(|_| "512".to_owned());
    let out = Command::new(env!("CARGO_BIN_EXE_planish"))
        .arg("verify")
        .args([&reference, &candidate])
        .arg("--text")
        .arg(text)
        .args(["--chunks", "8", "--ctx", &ctx, "--json"])
        .output()
        .expect("the command starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let peak = report["peak_anon_bytes"].as_u64().expect("a peak");
    println!("{} MB for two models of {} MB, {} s", peak >> 20, bytes >> 20, report["seconds"]);
    assert!(peak > 100_000_000 && peak < 1_200_000_000, "{peak} bytes");
    // Zeros know nothing: every token is as likely as any other.
    let ppl = report["metrics"]["ppl_ref"].as_f64().expect("a perplexity");
    assert!((ppl / VOCAB as f64 - 1.0).abs() < 1e-6, "{ppl}");
}

#[test]
#[ignore = "many minutes of arithmetic, and 3 GB on the disk"]
fn rounding_takes_the_memory_of_a_layer() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, output) = (dir.path().join("bf16"), dir.path().join("q4_k_m.gguf"));
    let bytes = checkpoint(&model, "BF16", Some(&synthetic::pattern()));
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama/heldout.txt");
    let out = Command::new(env!("CARGO_BIN_EXE_planish"))
        .arg("quantize")
        .arg(&model)
        .args([
            "--to",
            "q4_k_m",
            "--method",
            "gptq",
            "--calibrate-chunks",
            "4",
            "--no-journal",
            "--json",
            "--calibrate",
        ])
        .arg(text)
        .arg("-o")
        .arg(&output)
        .output()
        .expect("the command starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let peak = report["peak_anon_bytes"].as_u64().expect("a peak");
    println!("{} MB for a model of {} MB, {} s", peak >> 20, bytes >> 20, report["seconds"]);
    assert!(peak > 100_000_000 && peak < 1_500_000_000, "{peak} bytes");
    let tensors = report["rounding"]["tensors"].as_array().expect("an account");
    assert_eq!(tensors.len(), 7 * LAYERS);
    assert!(tensors.iter().all(|tensor| tensor["loss"].as_f64() <= tensor["loss_nearest"].as_f64()));
}
