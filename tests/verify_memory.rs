//! How much memory verifying and rounding take that no page cache can give back: a model of 3 GB.
//!
//! Minutes of arithmetic, so by name: `cargo test --release --test verify_memory -- --ignored`.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

const LAYERS: usize = 16;
const HIDDEN: usize = 2048;
const FFN: usize = 8192;
const KV: usize = 512;
const VOCAB: usize = 128256;

/// The tensors of a Llama of 1.5 billion weights, with a head of its own.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
        ("lm_head.weight".to_owned(), vec![VOCAB, HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let shapes = [
            ("input_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![KV, HIDDEN]),
            ("self_attn.v_proj", vec![KV, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("mlp.gate_proj", vec![FFN, HIDDEN]),
            ("mlp.up_proj", vec![FFN, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, FFN]),
        ];
        tensors.extend(shapes.map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape)));
    }
    tensors
}

/// A checkpoint whose weights are all zero and take no room on the disk, or the BF16 of `pattern` again and again. `dtype`
/// has two bytes an element.
fn checkpoint(folder: &Path, dtype: &str, pattern: Option<&[u8]>) -> u64 {
    std::fs::create_dir(folder).expect("a folder");
    let (mut header, mut at) = (Map::new(), 0);
    for (name, shape) in tensors() {
        let bytes = 2 * shape.iter().product::<usize>() as u64;
        header.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes] }));
        at += bytes;
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(folder.join("model.safetensors")).expect("a file");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("a header");
    file.write_all(header.as_bytes()).expect("a header");
    if let Some(pattern) = pattern {
        let mut left = usize::try_from(at).expect("a size");
        while left > 0 {
            let piece = left.min(pattern.len());
            file.write_all(&pattern[..piece]).expect("weights");
            left -= piece;
        }
    }
    file.set_len(8 + header.len() as u64 + at).expect("a hole");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": FFN, "max_position_embeddings": 8192, "num_attention_heads": 32,
        "num_hidden_layers": LAYERS, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "tie_word_embeddings": false, "vocab_size": VOCAB,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("a configuration");
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tiny.join(file), folder.join(file)).expect("a tokenizer");
    }
    at
}

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
    // Small odd numbers; no row repeats another, since the pattern's length is no multiple of a row's.
    let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 4096.0 * 0.1 - 0.05;
    let pattern: Vec<u8> = (0..1_000_003).flat_map(|i| ((value(i).to_bits() >> 16) as u16).to_le_bytes()).collect();
    let bytes = checkpoint(&model, "BF16", Some(&pattern));
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
