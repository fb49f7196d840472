//! Files of vision towers against llama.cpp's own converter (`fixtures/mmproj-listings`), and what is refused.

#[path = "support/lettered.rs"]
mod lettered;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use planish_formats::gguf::{Array, Kv, Value as Gguf};
use planish_formats::{Meta, Source, open};
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Runs `convert --mmproj`; the message and the exit status if it fails.
fn convert(model: &Path, to: &str, out: &Path) -> Result<Box<dyn Source>, (i32, String)> {
    let run = Command::new(env!("CARGO_BIN_EXE_planish"))
        .args(["convert", "--mmproj", "--to", to])
        .arg(model)
        .arg("-o")
        .arg(out)
        .output()
        .expect("the command starts");
    let message = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!message.contains("panicked"), "{message}");
    if run.status.success() { Ok(open(out).expect("a GGUF")) } else { Err((run.status.code().unwrap_or(-1), message)) }
}

fn keys(source: &dyn Source) -> &Kv {
    match source.meta() {
        Meta::Gguf(kv) => kv,
        Meta::Strings(_) => panic!("a GGUF"),
    }
}

fn fnv(bytes: &[u8]) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

fn shown(value: &Gguf) -> Value {
    match value {
        Gguf::U32(v) => json!(["UINT32", v]),
        Gguf::F32(v) => json!(["FLOAT32", f64::from(*v)]),
        Gguf::String(v) => json!(["STRING", v]),
        Gguf::Bool(v) => json!(["BOOL", v]),
        Gguf::Array(Array::F32(list)) => {
            json!(["ARRAY/FLOAT32", list.iter().map(|&v| f64::from(v)).collect::<Vec<_>>()])
        }
        other => json!(["other", format!("{other:?}")]),
    }
}

/// What was an f32 before it was written in decimals is one again.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(rounded).collect(),
        Value::Number(number) if number.is_f64() => json!(f64::from(number.as_f64().expect("a number") as f32)),
        other => other.clone(),
    }
}

#[test]
fn towers_are_the_converter_s() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut seen = 0;
    for listing in std::fs::read_dir(fixtures().join("mmproj-listings")).expect("listings") {
        let path = listing.expect("an entry").path();
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let (case, to) = stem.rsplit_once('-').expect("a case and a type");
        let want: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("a file")).expect("JSON");
        let out = dir.path().join(format!("{stem}.gguf"));
        let made = convert(&fixtures().join("golden-logits").join(case), to, &out).expect("a file");

        let tensors: BTreeMap<String, (String, Vec<usize>)> = (made.infos().iter())
            .map(|info| (info.name.clone(), (info.storage.name().to_owned(), info.shape.clone())))
            .collect();
        assert_eq!(tensors, serde_json::from_value(want["tensors"].clone()).expect("tensors"), "{stem}");
        for name in tensors.keys() {
            assert_eq!(want["bytes"][name], fnv(made.view(name).expect("bytes").bytes), "{stem}: {name}");
        }
        // Names and labels are told from the folder, here and there in another way.
        let ours = ["general.architecture", "general.type", "general.file_type"];
        let about = |key: &str| key.starts_with("clip.") || ours.contains(&key);
        let kv = keys(made.as_ref());
        let got: BTreeMap<&str, Value> = kv.iter().filter(|(key, _)| about(key)).map(|(k, v)| (k, shown(v))).collect();
        let want: BTreeMap<&str, Value> = (want["keys"].as_object().expect("keys").iter())
            .filter(|(key, _)| about(key))
            .map(|(key, value)| (key.as_str(), rounded(value)))
            .collect();
        assert_eq!(got, want, "{stem}");
        seen += 1;
    }
    assert!(seen >= 12, "only {seen}");
}

/// Its converter takes no CLIP: what its reader asks for is all there is to hold on to.
#[test]
fn llava_has_what_the_reader_asks_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = convert(&fixtures().join("golden-logits/llava"), "f16", &dir.path().join("m.gguf")).expect("a file");
    let names: BTreeSet<&str> = made.infos().iter().map(|info| info.name.as_str()).collect();
    let asked = [
        "v.class_embd",
        "v.patch_embd.weight",
        "v.position_embd.weight",
        "v.pre_ln.weight",
        "mm.0.bias",
        "mm.2.weight",
    ];
    assert!(asked.iter().all(|name| names.contains(name)), "{names:?}");
    // Rows are taken after the last layer but one.
    assert!(names.contains("v.blk.1.ffn_up.weight") && !names.contains("v.blk.2.ffn_up.weight"), "{names:?}");
    let kv = keys(made.as_ref());
    assert_eq!(kv.str("clip.projector_type"), Some("mlp"));
    assert_eq!(kv.unsigned("clip.vision.block_count"), Some(2));
    assert_eq!(kv.i32s("clip.vision.feature_layer"), Some(&[2][..]));
    assert_eq!(kv.get("clip.use_gelu"), Some(&Gguf::Bool(false)));
}

/// A checkpoint whose config.json was changed: the keys at these places, `/` between.
fn changed(case: &str, to: &Path, changes: &[(&str, Value)]) {
    std::fs::create_dir_all(to).expect("a folder");
    let from = fixtures().join("golden-logits").join(case);
    for file in ["model.safetensors", "preprocessor_config.json"] {
        std::fs::copy(from.join(file), to.join(file)).expect("a copy");
    }
    let text = std::fs::read_to_string(from.join("config.json")).expect("config.json");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    for (at, value) in changes {
        let mut place = &mut config;
        for key in at.split('/') {
            place = &mut place[key];
        }
        *place = value.clone();
    }
    std::fs::write(to.join("config.json"), config.to_string()).expect("written");
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let cases = [
        ("llava", "vision_config/attention_bias", json!(true), 4, "vision_config.attention_bias = true"),
        ("llava", "vision_config/hidden_act", json!("relu"), 4, "quick_gelu"),
        ("llava", "vision_config/hidden_size", json!(40), 3, "makes it [40]"),
        ("llava", "vision_config/num_attention_heads", json!(3), 3, "vision_config.num_attention_heads"),
        ("llava", "vision_config/model_type", json!("pixtral"), 3, "clip_vision_model"),
        ("llava", "vision_config/image_size", json!(13), 3, "a multiple of patch_size = 4"),
        ("llava", "vision_config/image_size", json!(16), 3, "embeddings.position_embedding.weight"),
        ("llava", "vision_feature_layer", json!([1, 2]), 3, "vision_feature_layer"),
        ("llava", "vision_feature_layer", json!(-9), 3, "one of 3 layers"),
        ("llava", "vision_feature_select_strategy", json!("full"), 4, "class token"),
        ("llava", "qformer_config", json!({"layers": 2}), 4, "qformer_config"),
        ("llava", "text_config/model_type", json!("mamba"), 4, "mamba"),
        ("gemma3-vision", "mm_tokens_per_image", json!(5), 3, "mm_tokens_per_image"),
        ("qwen2vl", "vision_config/spatial_merge_size", json!(3), 3, "spatial_merge_size"),
        ("qwen2vl", "vision_config/hidden_size", json!(32), 3, "the width of the language model"),
        ("qwen2vl", "vision_config/deepstack_visual_indexes", json!([1]), 4, "deepstack_visual_indexes"),
        ("qwen25vl", "vision_config/fullatt_block_indexes", json!([0, 3]), 3, "fullatt_block_indexes"),
        ("qwen25vl", "text_config/rope_parameters/mrope_section", json!([1, 3, 3]), 3, "mrope_section"),
    ];
    for (i, (case, at, value, status, part)) in cases.into_iter().enumerate() {
        let model = dir.path().join(i.to_string());
        changed(case, &model, &[(at, value)]);
        let (found, message) = convert(&model, "f16", &dir.path().join("out.gguf")).err().expect("refused");
        assert!(found == status && message.contains(part), "{case} {at}: {found} {message}");
    }
    let plain = fixtures().join("golden-logits/llama-gqa");
    let (found, message) = convert(&plain, "f16", &dir.path().join("out.gguf")).err().expect("refused");
    assert!(found == 4 && message.contains("no vision tower"), "{message}");
    let model = dir.path().join("without");
    changed("llava", &model, &[]);
    std::fs::remove_file(model.join("preprocessor_config.json")).expect("removed");
    let (found, message) = convert(&model, "f16", &dir.path().join("out.gguf")).err().expect("refused");
    assert!(found == 3 && message.contains("image_mean"), "{message}");
    let model = dir.path().join("mllama");
    changed("llava", &model, &[("architectures", json!(["MllamaForConditionalGeneration"]))]);
    let (found, message) = convert(&model, "f16", &dir.path().join("out.gguf")).err().expect("refused");
    assert!(found == 4 && message.contains("layers of their own"), "{message}");
}

/// What `args` print, as JSON.
fn told(args: &[&str], model: &Path) -> Value {
    let run = Command::new(env!("CARGO_BIN_EXE_planish")).args(args).arg(model).arg("--json").output().expect("starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).expect("JSON")
}

#[test]
fn inspect_and_plan_say_what_there_is() {
    let model = fixtures().join("golden-logits/qwen25vl");
    let about = told(&["inspect"], &model);
    assert_eq!(about["vision"]["class"], "qwen2_5_vl");
    assert_eq!(about["vision"]["layers"], 4);
    assert_eq!(about["vision"]["projector"], "qwen2.5vl_merger");
    assert_eq!(about["keys"]["qwen2vl.block_count"], "2");
    let plan = told(&["plan", "--mmproj", "--to", "q8_0"], &model);
    assert_eq!(plan["architecture"], "clip");
    assert!(plan["files"][0]["path"].as_str().expect("a path").starts_with("mmproj-"), "{plan}");
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("m.gguf");
    convert(&model, "bf16", &file).expect("a file");
    assert_eq!(told(&["inspect"], &file)["architecture"], "clip");
    // Without a tokenizer there is no plan of the language model, but with one it tells what is left out.
    let letters = dir.path().join("model");
    lettered::lettered(&model, &letters);
    let plan = told(&["plan", "--to", "q8_0"], &letters);
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains("54 tensors") && warnings.contains("--mmproj"), "{warnings}");
}
