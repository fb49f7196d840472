//! A GGUF back to the folder that it was made of, through the command: the weights, the configuration, the tokenizer.

#[path = "support/command.rs"]
mod command;
#[path = "support/installed.rs"]
mod installed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use command::{json as succeeds, planish, text};
use installed::{installed, root, shared};
use planish::checkpoint::{About, Checkpoint};
use planish::text::Encoder;
use planish_formats::Storage;
use planish_formats::gguf::{self, Kv};
use planish_kernels::{Isa, block};
use serde_json::{Value, json};

/// Standard error of a command that must fail with `status`.
#[track_caller]
fn fails(status: i32, args: &[&str]) -> String {
    let out = planish(args);
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(status), "{args:?}: {message}");
    message
}

fn tiny() -> PathBuf {
    root().join("fixtures/tiny-llama")
}

/// Type, shape and bytes of every tensor.
fn tensors(path: &Path) -> BTreeMap<String, (Storage, Vec<usize>, Vec<u8>)> {
    let source = planish_formats::open(path).unwrap();
    let tensor = |name: &str| {
        let view = source.view(name).unwrap();
        (name.to_owned(), (view.info.storage, view.info.shape.clone(), view.bytes.to_vec()))
    };
    source.infos().iter().map(|info| tensor(&info.name)).collect()
}

fn keys(path: &Path) -> Kv {
    match Checkpoint::open(path).unwrap().about {
        About::Gguf(kv) => kv,
        About::HuggingFace { .. } => panic!("{} is no GGUF", path.display()),
    }
}

/// Makes a GGUF of `model` and a folder of that, compares the folder with `model`, and makes a GGUF of the folder, which
/// has to be the first one. `extra`: tensors of the checkpoint that a GGUF does not have.
fn there_and_back(model: &Path, ty: &str, extra: &[&str]) -> PathBuf {
    let dir = tempfile::tempdir().unwrap().keep();
    let (first, folder, second) = (dir.join("first.gguf"), dir.join("back"), dir.join("second.gguf"));
    succeeds(&["convert", text(model), "--to", ty, "-o", text(&first)]);
    let done = succeeds(&["convert", text(&first), "--to", "hf", "-o", text(&folder)]);
    assert_eq!(done["mix"], "hf");
    assert_eq!(done["folder"], text(&folder));
    for file in done["files"].as_array().unwrap() {
        assert!(Path::new(file.as_str().unwrap()).is_file(), "{file}");
    }

    // A tower is no part of a GGUF, nor what leads to it of the names beside it.
    let language = |(name, tensor): (String, _)| {
        let seen = ["vision", "visual", "multi_modal"].iter().any(|part| name.contains(part));
        (!seen)
            .then(|| (name.replacen("language_model.model.", "model.", 1).replacen("language_model.", "", 1), tensor))
    };
    let original: BTreeMap<String, _> = tensors(model).into_iter().filter_map(language).collect();
    let mut restored = tensors(&folder);
    let encoder = keys(&first).str("general.architecture") == Some("bert");
    if encoder {
        // Every family's GGUF comes back as a BERT's or a DistilBERT's hidden states: names and rows of positions are
        // compared where programs are.
        assert_eq!(restored.len(), tensors(&first).len());
        restored.clear();
    }
    let base = !restored.keys().any(|name| original.contains_key(name));
    let mut compared = 0;
    for (name, tensor) in &restored {
        // Base classes are saved without the root.
        let name = if base { name.split_once('.').unwrap().1 } else { name };
        let from = original.get(name).unwrap_or_else(|| panic!("{}: no {name} in {:?}", text(model), original.keys()));
        assert!(from == tensor, "{name} is another: {:?} {:?}", tensor.0, tensor.1);
        compared += 1;
    }
    let left: Vec<&String> = original.keys().filter(|name| !extra.iter().any(|part| name.ends_with(part))).collect();
    assert!(encoder || left.len() == compared, "{left:?}");

    succeeds(&["convert", text(&folder), "--to", ty, "-o", text(&second)]);
    assert!(tensors(&first) == tensors(&second));
    let (first, second) = (keys(&first), keys(&second));
    let about_the_model = |kv: &Kv| -> Vec<(String, String)> {
        // Without a tower every token has one position, and Qwen2-VL is Qwen2.
        let told = |key: &str| !key.starts_with("general.") && !key.ends_with(".rope.dimension_sections");
        let mut keys: Vec<_> = (kv.iter().filter(|(key, _)| told(key)))
            .map(|(key, value)| (key.replace("qwen2vl.", "qwen2."), format!("{value:?}")))
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(about_the_model(&first), about_the_model(&second));
    dir
}

/// The first `bytes` of wikitext, or the text that comes with the fixture.
fn some_text(bytes: usize) -> String {
    let path = shared("data/text/wiki.test.raw").unwrap_or_else(|| tiny().join("heldout.txt"));
    let text = std::fs::read_to_string(path).unwrap();
    let end = (bytes.min(text.len())..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap();
    text[..end].to_owned()
}

fn same_ids(original: &Path, folder: &Path) {
    let [a, b] = [original, folder].map(|path| Encoder::of(&Checkpoint::open(path).unwrap()).unwrap());
    assert_eq!(a.bos, b.bos);
    for line in some_text(300_000).split_inclusive('\n') {
        assert_eq!(a.encode(line).unwrap(), b.encode(line).unwrap(), "{line:?}");
    }
}

#[test]
fn tiny_llama_comes_back() {
    let dir = there_and_back(&tiny(), "bf16", &[]);
    same_ids(&tiny(), &dir.join("back"));
    same_ids(&tiny(), &dir.join("first.gguf"));
    let config: Value = serde_json::from_slice(&std::fs::read(dir.join("back/config.json")).unwrap()).unwrap();
    let original: Value = serde_json::from_slice(&std::fs::read(tiny().join("config.json")).unwrap()).unwrap();
    for key in ["architectures", "model_type", "hidden_size", "rms_norm_eps", "head_dim", "tie_word_embeddings"] {
        assert_eq!(config[key], original[key], "{key}");
    }
    assert_eq!((&config["torch_dtype"], &config["rope_theta"]), (&json!("bfloat16"), &json!(10000.0)));
    let plan = succeeds(&["plan", text(&dir.join("first.gguf")), "--to", "hf"]);
    assert_eq!(plan["tensors"].as_array().unwrap().len(), 39);
    assert_eq!(plan["files"][0]["bytes"], std::fs::metadata(dir.join("back/model.safetensors")).unwrap().len());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn smollm2_comes_back() {
    let Some(model) = installed("smollm2") else { return };
    let dir = there_and_back(&model, "bf16", &[]);
    same_ids(&model, &dir.join("back"));
    let generation = std::fs::read(dir.join("back/generation_config.json")).unwrap();
    let generation: Value = serde_json::from_slice(&generation).unwrap();
    assert_eq!(generation["eos_token_id"], 2);
    std::fs::remove_dir_all(dir).unwrap();
}

/// A tokenizer of 96 tokens: two that begin and end a text, and a printable character each.
fn small_tokenizer(folder: &Path) {
    let characters = ('!'..='~').map(|c| c.to_string());
    let vocab: serde_json::Map<String, Value> =
        ["<s>", "</s>"].map(str::to_owned).into_iter().chain(characters).zip((0..).map(|id: u32| id.into())).collect();
    let added = |id: u32, content: &str| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    let level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [added(0, "<s>"), added(1, "</s>")], "normalizer": null,
        "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({ "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true });
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

/// Every architecture, and every way of its configuration that the executor is tested with.
#[test]
fn every_architecture_comes_back() {
    let mut seen = vec![];
    for case in std::fs::read_dir(root().join("fixtures/golden-logits")).unwrap() {
        let case = case.unwrap().path();
        let dir = tempfile::tempdir().unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(case.join(file), dir.path().join(file)).unwrap();
        }
        small_tokenizer(dir.path());
        let types = tensors(dir.path()).into_values().filter(|(_, shape, _)| shape.len() == 2);
        let ty = types.map(|(storage, ..)| storage.name().to_lowercase()).next().unwrap();
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let first = dir.path().join("first.gguf");
        let made = planish(&["convert", text(dir.path()), "--to", &ty, "-o", text(&first)]);
        if made.status.code() == Some(4) {
            println!("{name}: no GGUF: {}", String::from_utf8_lossy(&made.stderr));
            continue;
        }
        // Experts come back the usual way, a tensor each.
        if tensors(dir.path()).contains_key("model.layers.0.mlp.experts.gate_up_proj") && name != "gptoss" {
            continue;
        }
        // Masks, which GPT-2 once saved.
        let made = there_and_back(dir.path(), &ty, &[".attn.bias", ".attn.masked_bias"]);
        std::fs::remove_dir_all(made).unwrap();
        println!("{name}: {ty}");
        seen.push(name);
    }
    assert!(seen.len() >= 14, "{seen:?}");
}

#[test]
fn quantized_weights_come_back_as_what_they_decode_to() {
    let dir = tempfile::tempdir().unwrap();
    let [file, folder, again] = ["q.gguf", "back", "again.gguf"].map(|name| dir.path().join(name));
    succeeds(&["quantize", text(&tiny()), "--to", "q4_k_m", "-o", text(&file)]);
    let out = planish(&["convert", text(&file), "--to", "hf", "-o", text(&folder)]);
    assert!(out.status.success());
    let message = String::from_utf8_lossy(&out.stderr);
    assert!(message.contains("warning:") && message.contains("stays lost"), "{message}");
    assert!(tensors(&folder).values().all(|(storage, ..)| storage.name() == "BF16"));

    // In GGUF's own order of rows.
    succeeds(&["convert", text(&folder), "--to", "bf16", "-o", text(&again)]);
    let again = tensors(&again);
    let bf16 = block::codec("BF16").unwrap();
    for (name, (storage, shape, bytes)) in tensors(&file) {
        let codec = block::codec(storage.name()).unwrap();
        let mut values = vec![0.0; shape.iter().product()];
        codec.decode(Isa::detected(), &bytes, &mut values);
        let mut narrow = vec![0; 2 * values.len()];
        bf16.encode(Isa::detected(), &values, values.len(), None, &mut narrow);
        if again[&name].0.name() == "F32" {
            assert!(again[&name].2 == bytes, "{name}");
        } else {
            assert!(again[&name].2 == narrow, "{name}");
        }
    }
}

#[test]
fn large_models_come_back_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (file, folder) = (dir.path().join("m.gguf"), dir.path().join("back"));
    succeeds(&["convert", text(&tiny()), "--to", "bf16", "-o", text(&file)]);
    let done = succeeds(&["convert", text(&file), "--to", "hf", "--split-max-size", "2M", "-o", text(&folder)]);
    assert!(folder.join("model-00001-of-00004.safetensors").is_file(), "{}", done["files"]);
    let index: Value =
        serde_json::from_slice(&std::fs::read(folder.join("model.safetensors.index.json")).unwrap()).unwrap();
    assert_eq!(index["weight_map"].as_object().unwrap().len(), 39);
    assert!(tensors(&folder) == tensors(&tiny()));
}

/// Writes `file` again as `to` with other keys, and without the tensor `without`.
fn changed(file: &Path, to: &Path, without: &str, change: impl Fn(&mut Kv)) {
    let source = gguf::open(file).unwrap();
    let mut kv = keys(file);
    change(&mut kv);
    let infos: Vec<_> = source.infos().iter().filter(|info| info.name != without).cloned().collect();
    let sink = gguf::create(to, &kv, &infos, None).unwrap();
    for (at, info) in infos.iter().enumerate() {
        sink.write_at(at, 0, source.view(&info.name).unwrap().bytes).unwrap();
    }
    sink.finish().unwrap();
}

#[test]
fn settings_templates_and_ends_of_turns_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let [file, other, folder, again] = ["m.gguf", "other.gguf", "back", "again.gguf"].map(|name| dir.path().join(name));
    succeeds(&["convert", text(&tiny()), "--to", "bf16", "-o", text(&file)]);
    changed(&file, &other, "", |kv| {
        kv.set("general.sampling.temp", 0.6f32);
        kv.set("general.sampling.top_k", 20i32);
        kv.set("tokenizer.ggml.eot_token_id", 7u32);
        kv.set("tokenizer.ggml.padding_token_id", 3u32);
        kv.set("tokenizer.ggml.add_bos_token", true);
        kv.set("tokenizer.chat_template", "{{ messages }}");
        kv.set("tokenizer.chat_templates", vec!["tool_use".to_owned()]);
        kv.set("tokenizer.chat_template.tool_use", "{{ tools }}");
    });
    succeeds(&["convert", text(&other), "--to", "hf", "-o", text(&folder)]);
    let read = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap() };
    let generation = read("generation_config.json");
    assert_eq!(generation["eos_token_id"], json!([0, 7]));
    assert_eq!((&generation["temperature"], &generation["top_k"]), (&json!(0.6), &json!(20)));
    assert_eq!(read("config.json")["pad_token_id"], 3);
    assert_eq!(read("tokenizer_config.json")["chat_template"][1]["name"], "tool_use");
    assert_eq!(Encoder::folder(&folder).unwrap().bos, Some(0));
    succeeds(&["convert", text(&folder), "--to", "bf16", "-o", text(&again)]);
    let (before, after) = (keys(&other), keys(&again));
    for (key, value) in before.iter().filter(|(key, _)| *key != "general.name") {
        assert_eq!(after.get(key), Some(value), "{key}");
    }
    assert_eq!(before.len(), after.len());
}

#[test]
fn what_cannot_come_back_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [file, other, folder] = ["m.gguf", "other.gguf", "back"].map(|name| dir.path().join(name));
    succeeds(&["convert", text(&tiny()), "--to", "bf16", "-o", text(&file)]);
    let refused = |status: i32, part: &str, without: &str, change: &dyn Fn(&mut Kv)| {
        changed(&file, &other, without, change);
        let message = fails(status, &["convert", text(&other), "--to", "hf", "-o", text(&folder)]);
        assert!(message.contains("error:") && message.contains(part), "{part} is not in: {message}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "something was left");
        std::fs::remove_file(&other).unwrap();
    };
    refused(4, "\"kimi-k2\"", "", &|kv| kv.set("tokenizer.ggml.pre", "kimi-k2"));
    refused(4, "\"nonesuch\"", "", &|kv| kv.set("tokenizer.ggml.pre", "nonesuch"));
    refused(4, "the kind t5", "", &|kv| kv.set("tokenizer.ggml.model", "t5"));
    refused(4, "mamba", "", &|kv| kv.set("general.architecture", "mamba"));
    refused(4, "llama.expert_group_count", "", &|kv| kv.set("llama.expert_group_count", 8u32));
    refused(3, "llama.expert_used_count", "", &|kv| kv.set("llama.expert_count", 8u32));
    refused(3, "blk.1.attn_q.weight", "blk.1.attn_q.weight", &|_| {});
    refused(3, "tokenizer.ggml.tokens", "", &|kv| {
        kv.remove("tokenizer.ggml.tokens");
    });

    let message = fails(4, &["convert", text(&tiny()), "--to", "hf", "-o", text(&folder)]);
    assert!(message.contains("a GGUF is needed"), "{message}");
    fails(4, &["plan", text(&tiny()), "--to", "hf"]);
    for option in [&["--pure"][..], &["--pre", "gpt-2"], &["--output-type", "q8_0"], &["--modelfile"]] {
        let message = fails(2, &[&["convert", text(&file), "--to", "hf", "-o", text(&folder)], option].concat());
        assert!(message.contains(option[0]), "{message}");
    }
    assert!(!folder.exists());
}

#[test]
fn only_a_models_folder_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (file, folder) = (dir.path().join("m.gguf"), dir.path().join("back"));
    succeeds(&["convert", text(&tiny()), "--to", "bf16", "-o", text(&file)]);
    let convert = |from: &Path, force: bool| {
        let mut args = vec!["convert", text(from), "--to", "hf", "-o", text(&folder)];
        args.extend(force.then_some("--force"));
        planish(&args)
    };
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("letter.txt"), "dear").unwrap();
    for force in [false, true] {
        let out = convert(&file, force);
        let message = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(74), "{message}");
        assert!(message.contains("exists already"), "{message}");
    }
    assert_eq!(std::fs::read_to_string(folder.join("letter.txt")).unwrap(), "dear");

    std::fs::write(folder.join("config.json"), "{}").unwrap();
    assert_eq!(convert(&file, false).status.code(), Some(74));
    let inside = folder.join("m.gguf");
    std::fs::copy(&file, &inside).unwrap();
    let out = convert(&inside, true);
    assert_eq!(out.status.code(), Some(74), "the source would be replaced");
    assert!(inside.is_file());
    assert!(convert(&file, true).status.success());
    assert!(tensors(&folder) == tensors(&tiny()));
    assert!(!folder.join("letter.txt").exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
}
