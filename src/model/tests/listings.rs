//! Tensors and keys against llama.cpp's own converter.

use std::collections::{BTreeMap, BTreeSet};

use planish_formats::Dtype;
use planish_formats::gguf::{Array, Value};

use super::super::{Error, gguf_keys, release};
use super::execute::gather;
use super::{Case, Json, case, listed, object, root, stem};

/// Keys of ours that the converter has not: see `Keys::windows` and `Rope::keys`.
const OURS: &[&str] = &[
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "rope.scaling.attn_factor",
    // without, its loader takes no model like V2-Lite but those of 26 and 27 layers
    "attention.q_lora_rank",
];
/// Models that the converter writes all the same. llama.cpp then refuses to load the first (the bias of attn_output has
/// no place), and gives other logits for the second (it does not read the ends of the ramp). For the
/// third its graph has norms in larger models only.
const REFUSED: &[&str] = &["qwen3-biases", "llama-rope-yarn-betas", "cohere-qk-norm"];

/// Every case that the converter took, with what it wrote.
fn converted() -> impl Iterator<Item = (Case, Json)> {
    let paths = listed("fixtures/gguf-listings").into_iter().filter(|path| !REFUSED.contains(&stem(path).as_str()));
    paths.map(|path| (case(&root().join("fixtures/golden-logits").join(stem(&path))), object(&path)))
}

#[test]
fn tensors_are_the_converter_s() {
    for (case, listing) in converted() {
        let tensors = release(case.architecture, &case.config, &case.checkpoint.infos)
            .unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let ours: BTreeMap<String, (String, Vec<usize>)> = tensors
            .iter()
            .map(|t| (t.name.clone(), (if t.keep_f32 { "F32" } else { "BF16" }.to_owned(), t.shape.clone())))
            .collect();
        let theirs = serde_json::from_value(listing["tensors"].clone()).unwrap();
        assert_eq!(ours, theirs, "{}", case.name);
    }
}

#[test]
fn so_are_their_bytes() {
    let mut compared = 0;
    for (case, listing) in converted() {
        for t in release(case.architecture, &case.config, &case.checkpoint.infos).unwrap() {
            let values = gather(&t.gather, &t.shape, &|name| case.checkpoint.floats(name));
            let bf16 = t.gather.sources(&t.shape).iter().all(|(name, _)| case.checkpoint.dtype(name) == Dtype::BF16);
            if !bf16 && !t.keep_f32 {
                continue; // would need rounding, which is not what is tested here
            }
            let bytes: Vec<u8> = if t.keep_f32 {
                values.iter().flat_map(|v| v.to_le_bytes()).collect()
            } else {
                values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect()
            };
            assert_eq!(listing["bytes"][&t.name], fnv(&bytes), "{}: {}", case.name, t.name);
            compared += 1;
        }
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn keys_are_the_converter_s() {
    for (case, listing) in converted() {
        let kv = gguf_keys(case.architecture, &case.config).unwrap();
        let prefix = format!("{}.", case.architecture.gguf.as_ref().unwrap().name);
        let mut ours: Json = kv.iter().map(|(key, value)| (key.to_owned(), shown(value))).collect();
        let mut theirs = listing["keys"].as_object().unwrap().clone();
        let added = |key: &str| key.strip_prefix(&prefix).is_some_and(|key| OURS.contains(&key));
        ours.retain(|key, _| theirs.contains_key(key) || !added(key));
        theirs.retain(|key, _| key.starts_with(&prefix) || key == "general.architecture");
        let names = |keys: &Json| keys.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&ours), names(&theirs), "{}", case.name);
        for (key, want) in &theirs {
            assert_eq!(&ours[key], want, "{}: {key}", case.name);
        }
    }
}

#[test]
fn what_llama_cpp_cannot_run_is_refused() {
    for name in REFUSED {
        let case = case(&root().join("fixtures/golden-logits").join(name));
        let refused = release(case.architecture, &case.config, &case.checkpoint.infos);
        assert!(matches!(refused, Err(Error::NotInGguf { .. })), "{refused:?}");
    }
}

/// A value as the listings have it.
fn shown(value: &Value) -> serde_json::Value {
    match value {
        Value::U32(v) => serde_json::json!(["UINT32", v]),
        Value::F32(v) => serde_json::json!(["FLOAT32", f64::from(*v)]),
        Value::String(v) => serde_json::json!(["STRING", v]),
        Value::Bool(v) => serde_json::json!(["BOOL", v]),
        Value::Array(Array::I32(list)) => serde_json::json!(["ARRAY/INT32", list]),
        other => serde_json::json!(["other", format!("{other:?}")]),
    }
}

fn fnv(bytes: &[u8]) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100000001b3);
    format!("{:016x}", bytes.iter().fold(0xcbf29ce484222325, step))
}
