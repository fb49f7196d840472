//! Files that other programs wrote. What is not installed is skipped, loudly.

use std::path::{Path, PathBuf};

use planish_formats::gguf::{Array, Value};
use planish_formats::{Dtype, Kind, Meta, Storage, open};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The shared data's folder, if this machine has it.
fn shared(name: &str) -> Option<PathBuf> {
    let path = root().join("../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not here", path.display());
    None
}

/// Every tensor of a checkpoint can be seen, and is as long as it says.
fn look_at_all(path: &Path) -> usize {
    let source = open(path).unwrap_or_else(|e| panic!("{e}"));
    for info in source.infos() {
        let view = source.view(&info.name).unwrap();
        assert_eq!(Some(view.bytes.len()), info.bytes(), "{}: {info:?}", path.display());
        assert_eq!(source.info(&info.name), Some(info));
    }
    source.infos().len()
}

#[test]
fn tiny_llama_opens() {
    let source = open(&root().join("fixtures/tiny-llama")).unwrap();
    let embedding = source.info("model.embed_tokens.weight").unwrap();
    assert_eq!((embedding.shape.len(), embedding.cols()), (2, 256));
    assert!(look_at_all(&root().join("fixtures/tiny-llama")) > 10);
}

/// `torch.save({"test": torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])})`, as PyTorch 2 wrote it for candle's tests.
#[test]
fn a_file_by_pytorch() {
    let source = open(&root().join("fixtures/torch/test.pt")).unwrap();
    let view = source.view("test").unwrap();
    assert_eq!((view.info.storage, &view.info.shape[..]), (Storage::Plain(Dtype::I64), &[2, 4][..]));
    let values: Vec<i64> = view.bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect();
    assert_eq!(values, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn golden_folders_open() {
    let Some(golden) = shared("golden") else { return };
    let mut folders = 0;
    for entry in golden.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert!(look_at_all(&path) > 0, "{}", path.display());
            folders += 1;
        }
    }
    assert!(folders > 20, "{folders} folders");
}

#[test]
fn shards_are_one_checkpoint() {
    let Some(folder) = shared("golden/tiny_llama_sharded") else { return };
    let source = open(&folder).unwrap();
    assert_eq!(source.files().len(), 4);
    assert!(source.view("model.norm.weight").is_ok());
}

#[test]
fn vocabularies_open() {
    let Some(folder) = shared("data/tokenizers") else { return };
    let mut files = 0;
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "gguf") {
            let source = open(&path).unwrap_or_else(|e| panic!("{e}"));
            let Meta::Gguf(kv) = source.meta() else { panic!("{} is not a GGUF", path.display()) };
            let tokens = kv.strings("tokenizer.ggml.tokens").unwrap();
            assert!(tokens.len() > 30000, "{}: {} tokens", path.display(), tokens.len());
            assert_eq!(kv.i32s("tokenizer.ggml.token_type").unwrap().len(), tokens.len());
            assert!(matches!(kv.get("tokenizer.ggml.tokens"), Some(Value::Array(Array::String(_)))));
            files += 1;
        }
    }
    assert!(files > 5, "{files} vocabularies");
}

#[test]
fn version_1_is_named() {
    let Some(path) = shared("data/stories260K/stories260K-f32.gguf") else { return };
    let Err(error) = open(&path) else { panic!("version 1 was opened") };
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("version 1 is not supported, expected 2 or 3"), "{error}");
    assert!(error.hint().is_some());
}
