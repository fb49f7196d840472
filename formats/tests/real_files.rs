//! Files that this crate did not write. What is not installed is skipped, loudly.

#[path = "../../tests/support/installed.rs"]
mod installed;

use std::path::Path;

use installed::{root, shared};
use planish_formats::gguf::{Array, Value};
use planish_formats::{Dtype, GgmlType, Kind, Meta, Storage, open};

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

/// What `fixtures/make/torch_fixture.py` made PyTorch save.
#[test]
fn a_file_by_pytorch() {
    let source = open(&root().join("fixtures/torch/saved.pt")).unwrap();
    let view = source.view("counts").unwrap();
    assert_eq!((view.info.storage, &view.info.shape[..]), (Storage::Plain(Dtype::I64), &[2, 4][..]));
    let values: Vec<i64> = view.bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect();
    assert_eq!(values, [1, 2, 3, 4, 5, 6, 7, 8]);
    let table = source.view("table").unwrap();
    assert_eq!((table.info.storage, &table.info.shape[..]), (Storage::Plain(Dtype::BF16), &[2, 4][..]));
    let row = source.view("second_row").unwrap();
    assert_eq!((&row.info.shape[..], row.bytes), (&[4][..], &table.bytes[8..]));
    let bias = source.view("bias").unwrap();
    assert_eq!(bias.bytes, [0.5f32.to_le_bytes(), (-0.25f32).to_le_bytes()].concat());
}

/// Every value type, version 2, an alignment of 64, a scalar, an empty tensor, and no padding at the end.
#[test]
fn gguf_by_hand() {
    let source = open(&root().join("fixtures/gguf/sound.gguf")).unwrap();
    let Meta::Gguf(kv) = source.meta() else { panic!("not a GGUF") };
    let ones: [Value; 12] = [
        200u8.into(),
        (-100i8).into(),
        60000u16.into(),
        (-30000i16).into(),
        4_000_000_000u32.into(),
        (-2_000_000_000i32).into(),
        0.5f32.into(),
        true.into(),
        "a\0é".into(),
        ((1u64 << 63) + 1).into(),
        (-(1i64 << 62)).into(),
        (-0.25f64).into(),
    ];
    for (id, one) in [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12].into_iter().zip(&ones) {
        assert_eq!(kv.get(&format!("one.{id}")), Some(one));
        let many = kv.array(&format!("many.{id}")).unwrap();
        assert_eq!(many.type_name(), one.type_name());
    }
    assert_eq!(kv.get("many.7"), Some(&vec![true, true].into()));
    assert_eq!(kv.get("many.12"), Some(&vec![-0.25f64, -0.25].into()));
    assert_eq!(kv.strings("many.8").unwrap(), ["", "a", "é"]);
    assert_eq!(kv.strings("none").unwrap(), [""; 0]);

    let scalar = source.view("scalar").unwrap();
    assert_eq!((&scalar.info.shape[..], scalar.bytes), (&[][..], &1.5f32.to_le_bytes()[..]));
    assert_eq!(source.view("empty").unwrap().bytes, b"");
    let blocks = source.view("q8_0").unwrap();
    assert_eq!((blocks.info.storage, &blocks.info.shape[..]), (Storage::Blocks(GgmlType::Q8_0), &[1, 1, 2, 32][..]));
    assert_eq!(blocks.bytes, (0..68).collect::<Vec<u8>>());
}

/// What a file is, its bytes say; its name is only asked when they do not.
#[test]
fn names_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in
        [("gguf/sound.gguf", "a.bin"), ("safetensors/sound.safetensors", "b.gguf"), ("torch/sound.pt", "c")]
    {
        let (from, to) = (root().join("fixtures").join(from), folder.path().join(to));
        std::fs::copy(&from, &to).unwrap();
        assert_eq!(open(&to).unwrap().infos(), open(&from).unwrap().infos());
    }
}

/// Tensors come in order of their place, whatever the header's order.
#[test]
fn safetensors_by_hand() {
    let source = open(&root().join("fixtures/safetensors/sound.safetensors")).unwrap();
    let names: Vec<&str> = source.infos().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["a", "none", "b"]);
    assert_eq!(source.view("b").unwrap().bytes, [8, 9, 10, 11]);
    assert_eq!(source.view("none").unwrap().bytes, b"");
}

/// A parameter, two tensors in one storage, a float8, and the state that PyTorch leaves on its dicts.
#[test]
fn torch_by_hand() {
    let source = open(&root().join("fixtures/torch/sound.pt")).unwrap();
    let found: Vec<_> = source
        .infos()
        .iter()
        .map(|info| {
            (info.name.as_str(), info.storage.name(), &info.shape[..], source.view(&info.name).unwrap().bytes[0])
        })
        .collect();
    assert_eq!(found, [("w", "F32", &[2, 2][..], 0), ("half", "F32", &[1, 2][..], 8), ("f8", "F8_E4M3", &[8][..], 8)]);
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
