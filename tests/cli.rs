//! The command from the outside: what a person or a pipeline sees, and the exit status.

#[path = "support/command.rs"]
mod command;

use std::path::{Path, PathBuf};
use std::process::Command;

use command::{fails, planish, text};
use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tiny() -> PathBuf {
    root().join("fixtures/tiny-llama")
}

#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let out = planish(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("output is UTF-8")
}

#[track_caller]
fn json(args: &[&str]) -> Value {
    let mut with_json = args.to_vec();
    with_json.push("--json");
    serde_json::from_str(&succeeds(&with_json)).expect("output is JSON")
}

fn copy_of_tiny(dir: &Path) -> PathBuf {
    let copy = dir.join("model");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(tiny()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    copy
}

#[test]
fn inspect_tells_what_the_fixture_is() {
    let about = json(&["inspect", text(&tiny()), "--tensors"]);
    assert_eq!(about["architecture"], "LlamaForCausalLM");
    assert_eq!(about["tensors"].as_array().unwrap().len(), 39);
    assert_eq!(about["pre_tokenizer"], "gpt-2");
    assert_eq!(about["vocabulary"], 1024);
    assert_eq!(about["bits_per_weight"], 16.0);
}

#[test]
fn plan_and_quantize_agree() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tiny.gguf");
    let plan = json(&["plan", text(&tiny()), "--to", "q4_k_m"]);
    let done = json(&["quantize", text(&tiny()), "--to", "Q4_K_M", "-o", text(&out)]);
    assert_eq!(plan["files"][0]["bytes"], std::fs::metadata(&out).unwrap().len());
    assert_eq!(done["bytes"], plan["files"][0]["bytes"]);
    assert!(done["peak_anon_bytes"].as_u64().unwrap() > 0);
    let written = json(&["inspect", text(&out), "--tensors"]);
    let types = |list: &Value, key: &str| -> Vec<(String, String)> {
        let field = |t: &Value, key: &str| t[key].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(|t| (field(t, "name"), field(t, key))).collect()
    };
    assert_eq!(types(&plan["tensors"], "to"), types(&written["tensors"], "type"));
    assert_eq!(written["architecture"], "llama");
}

#[test]
fn threads_and_instruction_sets_do_not_change_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = vec![];
    for (threads, isa) in [("1", "scalar"), ("2", "scalar"), ("1", "avx2"), ("3", "avx2"), ("2", "avx512")] {
        let out = dir.path().join(format!("{threads}-{isa}.gguf"));
        let run = Command::new(env!("CARGO_BIN_EXE_planish"))
            .args(["quantize", text(&tiny()), "--to", "q3_k_m", "--threads", threads, "-o", text(&out)])
            .env("PLANISH_ISA", isa)
            .output()
            .unwrap();
        if run.status.success() {
            files.push((isa, std::fs::read(&out).unwrap()));
        } else {
            let message = String::from_utf8_lossy(&run.stderr);
            assert!(run.status.code() == Some(2) && message.contains("this machine can run"), "{message}");
            println!("skipped: {isa}: {message}");
        }
    }
    for (isa, file) in &files[1..] {
        assert!(*file == files[0].1, "{isa} differs");
    }
}

#[test]
fn an_existing_file_is_not_replaced_unless_told() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tiny.gguf");
    std::fs::write(&out, "precious").unwrap();
    let (status, message) = fails(&["quantize", text(&tiny()), "--to", "q8_0", "-o", text(&out)]);
    assert_eq!(status, 74);
    assert!(message.contains("exists already") && message.contains("hint: `--force`"), "{message}");
    assert_eq!(std::fs::read(&out).unwrap(), b"precious");
    succeeds(&["quantize", text(&tiny()), "--to", "q8_0", "-o", text(&out), "--force"]);
    assert!(std::fs::read(&out).unwrap().starts_with(b"GGUF"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn where_nothing_can_be_written_nothing_begins() {
    let dir = tempfile::tempdir().unwrap();
    let (here, nowhere) = (text(dir.path()), dir.path().join("no/where"));
    let tiny = tiny();
    let (model, nowhere, heldout) = (text(&tiny), text(&nowhere), text(&tiny.join("heldout.txt")).to_owned());
    for command in [
        &["quantize", model, "--to", "q8_0", "--force", "-o"][..],
        &["quantize", model, "--to", "q8_0", "--calibrate", &heldout, "--force", "-o"],
        &["calibrate", model, "--text", &heldout, "--force", "-o"],
        &["verify", model, model, "--text", &heldout, "--html"],
        &["verify", model, model, "--text", &heldout, "--junit"],
    ] {
        for (place, says) in [(here, "is a folder"), (nowhere, "there is no folder")] {
            let (status, message) = fails(&[command, &[place]].concat());
            assert!(status == 74 && message.contains(says), "{command:?} {place}: {message}");
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_pattern_that_no_name_matches_is_told() {
    let plan = |pattern: &str| {
        let run = planish(&["plan", text(&tiny()), "--to", "q4_k_m", "--tensor-type", &format!("{pattern}=q8_0")]);
        assert!(run.status.success());
        String::from_utf8(run.stderr).unwrap()
    };
    assert!(plan("ffn_dwon").contains("warning: no tensor has a name that matches ffn_dwon"));
    assert_eq!(plan("FFN_down"), "");
}

#[test]
fn a_gguf_is_a_source_and_says_when_it_is_quantized() {
    let dir = tempfile::tempdir().unwrap();
    let bf16 = dir.path().join("bf16.gguf");
    let (straight, through) = (dir.path().join("a.gguf"), dir.path().join("b.gguf"));
    succeeds(&["convert", text(&tiny()), "--to", "bf16", "-o", text(&bf16)]);
    succeeds(&["quantize", text(&bf16), "--to", "q4_k_m", "-o", text(&through)]);
    succeeds(&["quantize", text(&tiny()), "--to", "q4_k_m", "-o", text(&straight)]);
    assert!(std::fs::read(&straight).unwrap() == std::fs::read(&through).unwrap());
    let again = planish(&["plan", text(&through), "--to", "q4_0"]);
    let message = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success() && message.contains("warning: 30 of 39 tensors are quantized already"), "{message}");
}

#[test]
fn split_parts_are_one_model() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tiny.gguf");
    let done = json(&["convert", text(&tiny()), "--to", "f32", "-o", text(&out), "--split-max-size", "4M"]);
    let files = done["files"].as_array().unwrap();
    assert!(files.len() > 2, "{files:?}");
    let part = files[1].as_str().unwrap();
    assert!(part.ends_with(&format!("tiny-00002-of-{:05}.gguf", files.len())), "{part}");
    assert_eq!(json(&["inspect", part, "--tensors"])["tensors"].as_array().unwrap().len(), 39);
    std::fs::remove_file(part).unwrap();
    let (status, message) = fails(&["inspect", files[0].as_str().unwrap()]);
    assert!(status == 3 && message.contains("tiny-00002-of-"), "{status} {message}");
}

#[test]
fn types_set_by_hand_are_obeyed() {
    let plan = json(&[
        "plan",
        text(&tiny()),
        "--to",
        "q4_k_m",
        "--tensor-type",
        "blk.0.ffn_down=q8_0",
        "--output-type",
        "f16",
        "--embedding-type",
        "q5_k",
    ]);
    let ty = |name: &str| {
        let tensors = plan["tensors"].as_array().unwrap();
        tensors.iter().find(|t| t["name"] == name).unwrap_or_else(|| panic!("{name}"))["to"].as_str().unwrap()
    };
    assert_eq!(ty("blk.0.ffn_down.weight"), "Q8_0");
    assert_eq!(ty("output.weight"), "F16");
    assert_eq!(ty("token_embd.weight"), "Q5_K");
    assert_eq!(ty("blk.1.ffn_gate.weight"), "Q4_K");
    assert_eq!(ty("blk.0.attn_norm.weight"), "F32");
}

#[test]
fn a_modelfile_names_the_release_and_where_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tiny.gguf");
    succeeds(&["quantize", text(&tiny()), "--to", "q8_0", "-o", text(&out), "--modelfile"]);
    let modelfile = std::fs::read_to_string(dir.path().join("Modelfile")).unwrap();
    assert!(modelfile.starts_with("FROM ./tiny.gguf\n"), "{modelfile}");
    assert!(modelfile.contains("PARAMETER stop \"<|endoftext|>\""), "{modelfile}");
}

#[test]
fn mistakes_in_what_was_typed_are_status_2() {
    for args in [
        &["quantize", "x", "--to", "q4_k_x"][..],
        &["plan", "x", "--to", "q4_0", "--tensor-type", "no-type"],
        &["plan", "x", "--to", "q4_0", "--split-max-size", "12"],
        &["frobnicate"],
    ] {
        assert_eq!(fails(args).0, 2, "{args:?}");
    }
    let message = fails(&["quantize", "x", "--to", "Q4-KM"]).1;
    assert!(message.contains("; did you mean q4_k_m?"), "{message}");
    let message = fails(&["plan", "x", "--to", "q4_0", "--tensor-type", "blk.(0=q8_0"]).1;
    assert!(message.contains("\"blk.(0=q8_0\" is not REGEX=TYPE: unclosed group"), "{message}");
}

#[test]
fn what_is_wrong_with_a_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let model = copy_of_tiny(dir.path());
    let plan = ["plan", text(&model), "--to", "q4_0"];
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    let broken = |from: &str, to: &str| {
        assert!(config.contains(from), "{from}");
        std::fs::write(model.join("config.json"), config.replace(from, to)).unwrap();
        fails(&plan)
    };
    let (status, message) = broken("\"hidden_size\": 256,", "");
    assert!(status == 3 && message.contains("config.json") && message.contains("hidden_size"), "{status} {message}");
    let (status, message) = broken("LlamaForCausalLM", "ZebraForCausalLM");
    assert!(status == 4 && message.contains("ZebraForCausalLM"), "{status} {message}");
    let (status, message) = broken("\"vocab_size\": 1024", "\"vocab_size\": 1000");
    assert!(status == 3 && message.contains("[1024, 256], but config.json makes it [1000, 256]"), "{status} {message}");
    let (status, message) = broken("\"silu\"", "\"quick_zelu\"");
    assert!(status == 3 && message.contains("hidden_act") && message.contains("quick_zelu"), "{status} {message}");
    let (status, message) = broken("\"num_hidden_layers\": 4", "\"num_hidden_layers\": 5");
    assert!(status == 3 && message.contains("model.layers.4."), "{status} {message}");
    let (status, message) = broken("\"num_hidden_layers\": 4", "\"num_hidden_layers\": 3");
    assert!(status == 4 && message.contains("model.layers.3."), "{status} {message}");
    std::fs::write(model.join("config.json"), "{").unwrap();
    assert!(fails(&plan).1.contains("config.json"));
    std::fs::remove_file(model.join("config.json")).unwrap();
    let (status, message) = fails(&plan);
    assert!(status == 3 && message.contains("config.json: missing"), "{status} {message}");
    let (status, message) = fails(&["inspect", "no/such-model"]);
    assert!(status == 3 && message.contains("no/such-model"), "{status} {message}");
}

#[test]
fn a_weight_that_is_no_number_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let model = copy_of_tiny(dir.path());
    let file = model.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let table: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let start = table["model.layers.2.mlp.up_proj.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
    let at = 8 + header + start + 2 * (256 * 7 + 5);
    for (value, shown) in [(0x7fc0u16, "NaN"), (0xff80, "-inf")] {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        std::fs::write(&file, &bytes).unwrap();
        for to in [&["quantize", "--to", "q4_k_m"], &["convert", "--to", "bf16"]] {
            let out = dir.path().join("out.gguf");
            let (status, message) = fails(&[to[0], text(&model), to[1], to[2], "-o", text(&out)]);
            assert_eq!(status, 3);
            let place = format!("tensor blk.2.ffn_up.weight: the weight at row 7, column 5 is {shown}");
            assert!(message.contains(&place), "{message}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the model is left");
        }
    }
}

#[test]
fn every_attack_ends_with_a_message_and_its_status() {
    let attacks = root().join("fixtures/attacks");
    let table: Value = serde_json::from_slice(&std::fs::read(attacks.join("expected.json")).unwrap()).unwrap();
    for (name, expected) in table.as_object().unwrap() {
        let (status, message) = fails(&["inspect", text(&attacks.join(name))]);
        let wanted = if expected["kind"] == "unsupported" { 4 } else { 3 };
        assert_eq!(status, wanted, "{name}: {message}");
        assert!(message.contains(expected["says"].as_str().unwrap()), "{name}: {message}");
    }
}

#[test]
fn completions_and_man_pages_name_the_commands() {
    assert!(succeeds(&["completions", "bash"]).contains("quantize"));
    assert!(succeeds(&["man"]).contains("planish"));
    assert!(succeeds(&["man", "quantize"]).contains("tensor\\-type"));
}
