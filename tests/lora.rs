//! Adapters merged while reading, against PEFT's own merging.

#[path = "support/command.rs"]
mod command;
#[path = "support/lettered.rs"]
mod lettered;

use std::path::{Path, PathBuf};

use command::{text, told};
use planish::checkpoint::{About, Checkpoint};
use planish::run::Subject;
use planish::run::executor::{Executor, Settings};
use planish_formats::gguf::Value as GgufValue;
use planish_formats::open;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The base of an adapter.
fn base(adapter: &Path) -> PathBuf {
    let name = std::fs::read_to_string(adapter.join("base.txt")).expect("base.txt");
    fixtures().join(name.trim())
}

fn logits(checkpoint: &Checkpoint, ids: &[u32]) -> Vec<f32> {
    let subject = Subject::of(checkpoint).expect("a model");
    let source = &checkpoint.source;
    let mut executor = Executor::new(&subject.model, source, ids, ids.len(), Settings::default()).expect("a run");
    while executor.step().expect("a step").is_some() {}
    let rows: Vec<usize> = (0..ids.len()).collect();
    let head = executor.head(&rows).expect("a head").expect("a causal model");
    let tile = head.tile(0..head.vocab(), None).expect("the whole vocabulary");
    let mut logits = vec![];
    head.logits(&tile, 0..ids.len(), &mut logits).expect("logits");
    logits
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |far, off| if off > far || off.is_nan() { off } else { far })
}

#[test]
fn merged_models_say_what_peft_s_say() {
    let mut adapters: Vec<PathBuf> =
        std::fs::read_dir(fixtures().join("lora")).expect("fixtures").map(|e| e.expect("an entry").path()).collect();
    adapters.sort();
    assert!(adapters.len() >= 3);
    for adapter in adapters {
        let golden = open(&adapter.join("merged.safetensors")).expect("logits");
        let ids = golden.view("ids").expect("ids").bytes.as_chunks::<8>().0.iter();
        let ids: Vec<u32> = ids.map(|id| i64::from_le_bytes(*id) as u32).collect();
        let want = golden.view("logits").expect("logits").bytes.as_chunks::<4>().0.iter();
        let want: Vec<f32> = want.map(|x| f32::from_le_bytes(*x)).collect();
        let mut checkpoint = Checkpoint::open(&base(&adapter)).expect("a base");
        let before = logits(&checkpoint, &ids);
        let plain = distance(&before, &want);
        checkpoint.merge(&adapter, 1.0).expect("an adapter");
        let merged = distance(&logits(&checkpoint, &ids), &want);
        println!("{}: {merged:.2e}, without {plain:.2e}", adapter.display());
        assert!(merged < 1e-3 && plain > 0.1, "{}: {merged}, without {plain}", adapter.display());
        if checkpoint.source.merged().1 == 0 {
            // Two of them add up: what was added is taken away again.
            checkpoint.merge(&adapter, -1.0).expect("the same again");
            let again = distance(&logits(&checkpoint, &ids), &before);
            assert!(again < 1e-3, "{}: {again}", adapter.display());
        } else {
            // What was added to a weight is not lost by taking another in its place.
            checkpoint.merge(&adapter, 1.0).expect_err("a weight that is merged already");
        }
    }
}

#[test]
fn a_merged_release_is_the_release_of_the_merged_model() {
    let dir = tempfile::tempdir().expect("a folder");
    let (adapter, release) = (fixtures().join("lora/usual"), dir.path().join("merged.gguf"));
    let model = dir.path().join("model");
    lettered::lettered(&base(&adapter), &model);
    let (model, adapter) = (text(&model).to_owned(), text(&adapter).to_owned());
    let (status, message) = told(&["quantize", &model, "--lora", &adapter, "--to", "q8_0", "-o", text(&release)]);
    assert_eq!(status, Some(0), "{message}");
    assert!(message.contains("added to 6 tensors"), "{message}");
    let corpus = fixtures().join("tiny-llama/heldout.txt");
    let gate = |more: &[&str]| {
        let fixed = ["verify", &model, text(&release), "--text", text(&corpus), "--ctx", "32", "--chunks", "4"];
        told(&[&fixed, more, &["--gate", "kld.mean<=0.05"]].concat()).0
    };
    assert_eq!(gate(&["--lora", &adapter]), Some(0));
    assert_eq!(gate(&[]), Some(1), "without the adapter it is another model");
    assert_eq!(gate(&["--lora", &format!("{adapter}:0.5")]), Some(1), "so it is with half of it");
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let changed = |name: &str, edit: &dyn Fn(String) -> String| {
        let (from, to) = (fixtures().join("lora/usual"), dir.path().join(name));
        std::fs::create_dir_all(&to).expect("a folder");
        std::fs::copy(from.join("adapter_model.safetensors"), to.join("adapter_model.safetensors")).expect("a copy");
        let config = std::fs::read_to_string(from.join("adapter_config.json")).expect("a configuration");
        std::fs::write(to.join("adapter_config.json"), edit(config)).expect("written");
        to
    };
    let llama = fixtures().join("golden-logits/llama-gqa");
    let refused = |model: &Path, adapter: &Path| {
        let out = told(&["plan", text(model), "--lora", text(adapter), "--to", "q8_0"]);
        (out.0.expect("an exit status"), out.1)
    };
    for (name, from, to, status, says) in [
        ("dora", "\"use_dora\": false", "\"use_dora\": true", 4, "`use_dora` is true"),
        ("new", "\"use_dora\": false", "\"use_new\": 3", 4, "use_new = 3"),
        ("pissa", "\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa_niter_4\"", 4, "pissa_niter_4"),
        ("type", "\"LORA\"", "\"IA3\"", 4, "`peft_type` is \"IA3\""),
        ("rank", "\"r\": 4", "\"r\": 0", 4, "`r` is 0"),
    ] {
        let adapter = changed(name, &|config| {
            assert!(config.contains(from), "{from}");
            config.replace(from, to)
        });
        let (found, message) = refused(&llama, &adapter);
        assert!(found == status && message.contains(says) && message.contains("hint:"), "{name}: {found}: {message}");
    }
    // The base is another model, or no checkpoint.
    let adapter = fixtures().join("lora/usual");
    let (status, message) = refused(&fixtures().join("golden-logits/gpt2"), &adapter);
    assert!(status == 3 && message.contains("which the checkpoint does not have"), "{status}: {message}");
    let (status, message) = refused(&fixtures().join("tiny-llama"), &adapter);
    assert!(status == 3 && message.contains("makes [64, 96], "), "{status}: {message}");
    let (status, message) = refused(&llama, &fixtures().join("lora"));
    assert!(status == 3 && message.contains("adapter_config.json"), "{status}: {message}");
}

/// What llama.cpp's converter makes of an adapter with one scale: the same tensors, shapes, keys and bytes.
#[test]
fn an_adapter_s_gguf_is_the_converter_s() {
    let dir = tempfile::tempdir().expect("a folder");
    let (adapter, path) = (fixtures().join("lora/usual"), dir.path().join("adapter.gguf"));
    let model = base(&adapter);
    let convert = ["convert", text(&model), "--lora", text(&adapter), "--adapter", "--to", "f32", "-o", text(&path)];
    let (status, message) = told(&convert);
    assert_eq!(status, Some(0), "{message}");
    let listing = std::fs::read(adapter.join("adapter.json")).expect("a listing");
    let listing: serde_json::Value = serde_json::from_slice(&listing).expect("JSON");
    let About::Gguf(kv) = Checkpoint::open(&path).expect("a GGUF").about else { panic!("no GGUF") };
    let keys: Vec<&str> = listing["keys"].as_object().expect("keys").keys().map(String::as_str).collect();
    assert_eq!(kv.iter().count(), keys.len(), "{keys:?}");
    for key in keys {
        let want = &listing["keys"][key];
        let same = match kv.get(key).unwrap_or_else(|| panic!("no {key}")) {
            GgufValue::String(text) => want == text.as_str(),
            GgufValue::F32(x) => want.as_f64() == Some(f64::from(*x)),
            GgufValue::U32(x) => want.as_u64() == Some(u64::from(*x)),
            other => panic!("{key} is {other:?}"),
        };
        assert!(same, "{key} is not {want}");
    }
    let file = open(&path).expect("a GGUF");
    assert_eq!(file.infos().len(), listing["tensors"].as_object().expect("tensors").len());
    for info in file.infos() {
        let bytes = file.view(&info.name).expect("a tensor").bytes;
        let hash = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        let own = serde_json::json!([info.storage.name(), info.shape, format!("{hash:016x}")]);
        assert_eq!(listing["tensors"][&info.name], own, "{}", info.name);
    }

    // Nothing to write, or another thing.
    for (more, status, says) in [
        (&["--to", "f16"][..], 2, "--lora"),
        (&["--lora", text(&adapter), "--to", "hf"][..], 2, "--adapter: a GGUF"),
        (&["--lora", text(&adapter), "--to", "f16", "--modelfile"][..], 2, "--modelfile"),
    ] {
        let (found, message) = told(&[&["convert", text(&model), "--adapter"], more].concat());
        assert!(found == Some(status) && message.contains(says), "{more:?}: {found:?}: {message}");
    }
}
