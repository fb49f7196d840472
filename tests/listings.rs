//! Names, shapes, types and keys of the GGUFs of every architecture, against listings of what llama.cpp's own converter
//! writes for the same checkpoints (`fixtures/make/gguf_listings.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use planish::model::{self, ARCHITECTURES};
use planish_formats::gguf::Value;
use serde_json::{Map, Value as Json, json};

fn read(path: &Path) -> Map<String, Json> {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A value as the listings show it: type and content.
fn shown(value: &Value) -> Json {
    match value {
        Value::U32(v) => json!(["UINT32", v]),
        Value::F32(v) => json!(["FLOAT32", f64::from(*v)]),
        Value::Bool(v) => json!(["BOOL", v]),
        Value::String(v) => json!(["STRING", v]),
        other => json!([other.type_name(), format!("{other:?}")]),
    }
}

/// Keys that planish writes and llama.cpp's converter does not, and why.
const OURS_ALONE: &[(&str, &str)] = &[
    (".attention.sliding_window", "the converter drops windows; a GGUF should be a whole description"),
    (".attention.sliding_window_pattern", "likewise"),
    (".rope.scaling.attn_factor", "the loader ignores the converter's yarn_attn_factor beside its own scale"),
];

/// Cases whose configuration llama.cpp's graph cannot compute: refused.
const NOT_IN_GGUF: &[&str] = &["qwen3-biases"];

#[test]
fn every_architecture_as_llama_cpps_converter_writes_it() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(fixtures.join("gguf-listings")).unwrap() {
        let listing = entry.unwrap().path();
        let case = listing.file_stem().unwrap().to_str().unwrap().to_owned();
        let folder = fixtures.join("golden-logits").join(&case);
        let (config, expected) = (read(&folder.join("config.json")), read(&listing));
        let architecture = model::architecture(&config).unwrap();
        let settings = architecture.config(&config).unwrap();
        let source = planish_formats::open(&folder).unwrap();
        let released = match model::release(architecture, &settings, source.infos()) {
            // The converter writes these too; llama.cpp would then run another model.
            Err(model::Error::NotInGguf { .. }) if NOT_IN_GGUF.contains(&case.as_str()) => continue,
            released => released.unwrap(),
        };
        seen.insert(architecture.name);
        let tensors: BTreeMap<String, Json> = released
            .into_iter()
            .map(|t| (t.name, json!([if t.keep_f32 { "F32" } else { "BF16" }, t.shape])))
            .collect();
        let listed: BTreeMap<String, Json> =
            expected["tensors"].as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(tensors, listed, "{case}: tensors");

        let kv = model::gguf_keys(architecture, &settings).unwrap();
        let ours: BTreeMap<&str, Json> = kv
            .iter()
            .filter(|(key, _)| !OURS_ALONE.iter().any(|(end, _)| key.ends_with(end)))
            .map(|(key, value)| (key, shown(value)))
            .collect();
        let theirs: BTreeMap<&str, Json> = expected["keys"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, _)| *key == "general.architecture" || !key.starts_with("general."))
            .map(|(key, value)| (key.as_str(), value.clone()))
            .collect();
        assert_eq!(ours, theirs, "{case}: keys");
    }
    for architecture in ARCHITECTURES.iter().filter(|a| a.gguf.is_some()) {
        assert!(seen.contains(architecture.name), "{} has no listing", architecture.name);
    }
}
