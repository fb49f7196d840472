//! GGUF adapters in stock llama.cpp, against PEFT's own merging.

use std::path::{Path, PathBuf};

use planish_formats::{Dtype, Storage, gguf, open, safetensors};

use crate::command::{text, told};
use crate::installed::root;
use crate::lettered::lettered;
use crate::llama::{Model, oracle};

/// How far logits may be from PEFT's.
const TOLERANCE: f32 = 1e-2;

/// A checkpoint with a tokenizer, and its GGUF in F32.
struct Base {
    folder: PathBuf,
    gguf: PathBuf,
}

impl Base {
    fn of(adapter: &Path, dir: &Path) -> Base {
        let name = std::fs::read_to_string(adapter.join("base.txt")).expect("base.txt");
        let (folder, gguf) = (dir.join("base"), dir.join("base.gguf"));
        lettered(&root().join("fixtures").join(name.trim()), &folder);
        let (status, message) = told(&["convert", text(&folder), "--to", "f32", "-o", text(&gguf), "--force"]);
        assert_eq!(status, Some(0), "{message}");
        Base { folder, gguf }
    }

    /// The GGUF of adapters: `--lora` takes each of `adapters`.
    fn adapter(&self, adapters: &[&str], ty: &str, to: &Path) -> (Option<i32>, String) {
        let lora: Vec<&str> = adapters.iter().flat_map(|adapter| ["--lora", adapter]).collect();
        let convert = ["convert", text(&self.folder), "--adapter", "--to", ty, "-o", text(to), "--force"];
        told(&[&convert, &lora[..]].concat())
    }
}

fn golden(adapter: &Path) -> (Vec<i32>, Vec<f32>) {
    let golden = open(&adapter.join("merged.safetensors")).expect("logits");
    let ids = golden.view("ids").expect("ids").bytes.as_chunks::<8>().0.iter();
    let logits = golden.view("logits").expect("logits").bytes.as_chunks::<4>().0.iter();
    (ids.map(|id| i64::from_le_bytes(*id) as i32).collect(), logits.map(|x| f32::from_le_bytes(*x)).collect())
}

fn distance(a: &[Vec<f32>], b: &[f32]) -> f32 {
    let far = |far: f32, off: f32| if off > far || off.is_nan() { off } else { far };
    a.concat().iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, far)
}

#[test]
fn adapters_add_what_peft_merges() {
    let Some(oracle) = oracle() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["usual", "conv1d"] {
        let adapter = root().join("fixtures/lora").join(name);
        let (base, path) = (Base::of(&adapter, dir.path()), dir.path().join("adapter.gguf"));
        let (ids, want) = golden(&adapter);
        let model = Model::load(oracle, &base.gguf).expect("the base");
        let plain = distance(&model.exact_logits(&ids), &want);
        for (ty, bound) in [("f32", TOLERANCE), ("bf16", 0.25), ("q8_0", 0.5)] {
            let (status, message) = base.adapter(&[text(&adapter)], ty, &path);
            assert_eq!(status, Some(0), "{message}");
            let off = distance(&model.adapted_logits(&[(&path, 1.0)], &ids).expect("an adapter"), &want);
            println!("{name} {ty}: {off:.2e}, without {plain:.2e}");
            assert!(off <= bound && plain > 4.0 * bound.max(0.1), "{name} {ty}: {off}, without {plain}");
        }
        // Two of half the strength, in two files and in one.
        let half = format!("{}:0.5", text(&adapter));
        assert_eq!(base.adapter(&[&half], "f32", &path).0, Some(0));
        let off = distance(&model.adapted_logits(&[(&path, 2.0)], &ids).expect("an adapter"), &want);
        assert!(off <= TOLERANCE, "{name}: {off}");
        assert_eq!(base.adapter(&[&half, &half], "f32", &path).0, Some(0));
        let off = distance(&model.adapted_logits(&[(&path, 1.0)], &ids).expect("an adapter"), &want);
        assert!(off <= TOLERANCE, "{name}: {off}");
    }
}

/// Ranks and scales of each module's own, and an embedding: no one alpha gives all of their scales. The merged release says
/// what the model with the adapter says.
#[test]
fn every_module_may_have_a_scale_of_its_own() {
    let Some(oracle) = oracle() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let from = root().join("fixtures/lora/patterns");
    let base = Base::of(&from, dir.path());
    let (path, merged) = (dir.path().join("adapter.gguf"), dir.path().join("merged.gguf"));
    // It also has a head in the place of the model's.
    let (status, message) = base.adapter(&[text(&from)], "f32", &path);
    assert!(
        status == Some(4) && message.contains("lm_head.weight") && message.contains("hint:"),
        "{status:?}: {message}"
    );
    assert!(!path.exists());

    let adapter = dir.path().join("adapter");
    std::fs::create_dir_all(&adapter).expect("a folder");
    std::fs::copy(from.join("adapter_config.json"), adapter.join("adapter_config.json")).expect("a copy");
    let source = open(&from.join("adapter_model.safetensors")).expect("an adapter");
    let infos: Vec<_> = source.infos().iter().filter(|info| !info.name.contains("lm_head")).cloned().collect();
    assert!(infos.len() < source.infos().len());
    let sink = safetensors::create(&adapter.join("adapter_model.safetensors"), &infos, None).expect("a file");
    for (at, info) in infos.iter().enumerate() {
        sink.write_at(at, 0, source.view(&info.name).expect("a tensor").bytes).expect("written");
    }
    sink.finish().expect("a file");

    let (status, message) = base.adapter(&[text(&adapter)], "f32", &path);
    assert_eq!(status, Some(0), "{message}");
    let file = gguf::open(&path).expect("a GGUF");
    assert!(file.infos().iter().all(|info| info.storage == Storage::Plain(Dtype::F32)));
    let arguments = ["convert", text(&base.folder), "--lora", text(&adapter), "--to", "f32", "-o", text(&merged)];
    assert_eq!(told(&arguments).0, Some(0));
    let (ids, _) = golden(&from);
    let want = Model::load(oracle, &merged).expect("the merged model").exact_logits(&ids).concat();
    let model = Model::load(oracle, &base.gguf).expect("the base");
    let plain = distance(&model.exact_logits(&ids), &want);
    let off = distance(&model.adapted_logits(&[(&path, 1.0)], &ids).expect("an adapter"), &want);
    println!("{off:.2e}, without {plain:.2e}");
    assert!(off <= TOLERANCE && plain > 0.1, "{off}, without {plain}");
}
