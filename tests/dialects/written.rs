//! Whole folders that planish writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use planish::checkpoint::Checkpoint;
use planish::dialect::{Stored, TARGETS, Target};
use planish::model::Gather;
use planish::plan::{Becomes, Quantization};
use planish::run::{Outcome, Pack, Result, pack_folder};
use planish_kernels::Isa;
use serde_json::{Value, json};

use super::golden::values;
use super::support::installed::root;

/// Writes `model` as `target` to `output`.
pub(crate) fn write(model: &Path, target: Target, output: &Path, threads: usize) -> Result<Outcome> {
    let plan = Quantization::new(Checkpoint::open(model).expect("a checkpoint"), target).expect("a plan");
    let pack = Pack { plan: &plan, threads, isa: Isa::detected(), cancel: &AtomicBool::new(false), progress: &|_| {} };
    pack_folder(&pack, output, None, false, &[], |_| Ok(BTreeSet::new()), |_| Ok(true))
}

fn tiny() -> std::path::PathBuf {
    root().join("fixtures/tiny-llama")
}

fn planish(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_planish"));
    command.args(args).current_dir(root()).output().expect("the command starts")
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    entries.map(|e| (e.file_name().into_string().expect("a name"), std::fs::read(e.path()).expect("a file"))).collect()
}

#[test]
fn every_target_writes_a_folder_that_reads_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let source = Checkpoint::open(&tiny()).expect("a checkpoint");
    for target in TARGETS {
        let output = dir.path().join(target.name);
        let outcome = write(&tiny(), *target, &output, 2).expect("a folder");
        let back = Checkpoint::open(&output).expect("what was written");
        assert_eq!(back.source.quantized(), 28, "{}", target.name);
        let plan = Quantization::new(Checkpoint::open(&tiny()).expect("a checkpoint"), *target).expect("a plan");
        for tensor in &plan.tensors {
            let info = back.source.info(&tensor.name).unwrap_or_else(|| panic!("{}: no {}", target.name, tensor.name));
            assert_eq!(
                (&info.shape, info.storage),
                (&tensor.shape, tensor.storage()),
                "{}: {}",
                target.name,
                info.name
            );
            let gather = Gather::Whole(tensor.name.clone());
            let (mine, theirs) =
                (values(&back.source, &gather, &info.shape, 64), values(&source.source, &gather, &info.shape, 64));
            let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x) * f64::from(x)).sum::<f64>();
            let off = squares(&mut mine.iter().zip(&theirs).map(|(a, b)| a - b)) / squares(&mut theirs.iter().copied());
            let packed = matches!(tensor.becomes, Becomes::Packed { .. });
            // Noise of two bits is large, and of no bits none.
            let bound = if packed { if target.name == "gptq-int2" { 0.7 } else { 0.25 } } else { 0.0 };
            assert!(off.sqrt() <= bound, "{}: {} is off by {}", target.name, info.name, off.sqrt());
        }
        // What consumers read beside the weights.
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
            assert!(outcome.files.contains(&output.join(name)), "{}: no {name}", target.name);
        }
        let tokenizer = |folder: &Path| std::fs::read(folder.join("tokenizer.json")).expect("a tokenizer");
        assert_eq!(tokenizer(&output), tokenizer(&tiny()));
        let config: Value = serde_json::from_slice(&files(&output)["config.json"]).expect("JSON");
        assert_eq!(config["hidden_size"], 256);
        assert!(config["quantization_config"]["quant_method"].is_string());
    }
}

/// GPT's linears are stored `[in, out]`. GPTQ's loaders make linears `[out, in]` of them; others leave them alone.
#[test]
fn conv1d_weights_become_linears_of_gptq() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["gpt2", "openai-gpt"] {
        let model = root().join("fixtures/golden-logits").join(name);
        let open = |folder: &Path| Checkpoint::open(folder).expect("a checkpoint");
        let target = Target::named("gptq-int8").and_then(|target| target.grouped(32).ok()).expect("a target");
        let output = dir.path().join(name);
        write(&model, target, &output, 2).expect("a folder");
        let (source, back) = (open(&model), open(&output));
        let (file, mut packed) = (planish_formats::open(&output).expect("a container"), 0);
        for info in back.source.infos().iter().filter(|info| matches!(info.storage, Stored::Packed(_))) {
            let module = info.name.strip_suffix(".weight").expect("a weight");
            let [rows, cols] = info.shape[..] else { panic!("{info:?}") };
            let part = |part: &str| file.view(&format!("{module}.{part}")).expect("a part").info.shape.clone();
            assert_eq!((part("qweight"), part("scales")), (vec![cols / 4, rows], vec![cols / 32, rows]));
            let mine = values(&back.source, &Gather::Whole(info.name.clone()), &info.shape, 64);
            let theirs = values(&source.source, &Gather::Whole(info.name.clone()), &[cols, rows], 64);
            for row in 0..rows {
                for from in (0..cols).step_by(32) {
                    let group = from..from + 32;
                    let largest = group.clone().map(|col| theirs[col * rows + row].abs()).fold(0f32, f32::max);
                    for col in group {
                        let off = (mine[row * cols + col] - theirs[col * rows + row]).abs();
                        assert!(off <= largest / 127.0, "{name} {module} [{row}, {col}] is off by {off}");
                    }
                }
            }
            packed += 1;
        }
        assert_eq!(packed, 8, "{name}");
        let refused = Quantization::new(open(&model), Target::named("w8a16").expect("a target")).err();
        let hint = refused.and_then(|error| error.hint()).expect("a refusal with a hint");
        assert!(hint.contains("gptq"), "{hint}");
    }
}

#[test]
fn the_same_bytes_on_any_number_of_threads() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["nvfp4a16", "w4a16-asym", "gptq-int3"] {
        let target = Target::named(name).expect("a target");
        let (one, two) = (dir.path().join(format!("{name}-1")), dir.path().join(format!("{name}-2")));
        write(&tiny(), target, &one, 1).expect("a folder");
        write(&tiny(), target, &two, 2).expect("a folder");
        assert!(files(&one) == files(&two), "{name}");
    }
}

/// Linears that read one value have one global scale.
#[test]
fn fused_linears_share_their_scale() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = dir.path().join("out");
    write(&tiny(), Target::named("nvfp4a16").expect("a target"), &output, 2).expect("a folder");
    let source = planish_formats::open(&output).expect("a container");
    let global = |module: &str| {
        let name = format!("model.layers.1.{module}.weight_global_scale");
        source.view(&name).unwrap_or_else(|_| panic!("no {name}")).bytes.to_vec()
    };
    let [q, k, v] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].map(global);
    assert!(q == k && k == v);
    assert_eq!(global("mlp.gate_proj"), global("mlp.up_proj"));
    assert_ne!(global("mlp.gate_proj"), global("mlp.down_proj"));
}

#[test]
fn nothing_is_left_of_a_failure() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = dir.path().join("model");
    std::fs::create_dir(&model).expect("a folder");
    for (name, content) in files(&tiny()) {
        std::fs::write(model.join(name), content).expect("a file");
    }
    let path = model.join("model.safetensors");
    let mut bytes = std::fs::read(&path).expect("weights");
    let end = bytes.len() - 600_000;
    bytes[end..end + 2].copy_from_slice(&0x7fc0u16.to_le_bytes());
    std::fs::write(&path, bytes).expect("weights");
    let error =
        write(&model, Target::named("w4a16").expect("a target"), &dir.path().join("out"), 2).err().expect("NaN");
    assert!(error.to_string().contains("is NaN"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 1);
}

#[test]
fn the_command_plans_writes_verifies_and_converts() {
    let dir = tempfile::tempdir().expect("a folder");
    let (out, gguf) = (dir.path().join("out"), dir.path().join("out.gguf"));
    let (out, gguf) = (out.to_str().expect("UTF-8"), gguf.to_str().expect("UTF-8"));
    let json = |args: &[&str]| -> Value {
        let made = planish(args);
        assert!(made.status.success(), "{args:?}: {}", String::from_utf8_lossy(&made.stderr));
        serde_json::from_slice(&made.stdout).expect("JSON")
    };
    let tiny = "fixtures/tiny-llama";
    let plan = json(&["plan", tiny, "--to", "w4a16", "--group-size", "64", "--json"]);
    let written = json(&["quantize", tiny, "--to", "w4a16", "--group-size", "64", "-o", out, "--provenance", "--json"]);
    for key in ["tensor_bytes", "bits_per_weight", "quantization_config", "weights", "target"] {
        assert_eq!(plan[key], written[key], "{key}");
    }
    assert!(files(Path::new(out)).contains_key("planish.json"));
    let about = json(&["inspect", out, "--json"]);
    let types: Vec<&str> =
        about["types"].as_array().expect("types").iter().filter_map(|t| t["type"].as_str()).collect();
    assert!(types.contains(&"INT4 g64") && types.contains(&"BF16"), "{types:?}");
    let verify = ["--text", "fixtures/tiny-llama/heldout.txt", "--ctx", "128", "--chunks", "2", "--json"];
    let report = json(&[&["verify", tiny, out][..], &verify].concat());
    let share = report["coverage"]["share"].as_f64().expect("a share");
    assert!(share > 0.7 && share < 0.95, "{share}");
    // A quantized source becomes a GGUF like any other.
    let made = planish(&["quantize", out, "--to", "q8_0", "-o", gguf]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(String::from_utf8_lossy(&made.stderr).contains("28 of 39 tensors are quantized already"));
    let second = json(&[&["verify", out, gguf][..], &verify].concat());
    assert!(second["kld"]["mean"].as_f64().or(second["metrics"]["kld"]["mean"].as_f64()).is_none_or(|kl| kl < 0.01));
    for (args, expected) in [
        (&["--to", "w4a16", "--group-size", "48"][..], "runtimes have kernels for 32, 64, 128"),
        (&["--to", "q4_k_m", "--group-size", "64"], "have their own size"),
        (&["--to", "fp8", "--pure"], "--pure"),
    ] {
        let refused = planish(&[&["plan", tiny][..], args].concat());
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(json!(plan["copied"]), json!(["generation_config.json", "tokenizer.json", "tokenizer_config.json"]));
}
