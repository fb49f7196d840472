//! Every file of `fixtures/attacks` is refused with the message that its table promises, without a panic, and without
//! allocating more than its own size and a fixed allowance. So is every cut of a sound file's header.
#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use planish_formats::gguf::Kv;
use planish_formats::{Contents, Dtype, Info, Kind, Storage, gguf, open, safetensors, torch};

/// What opening may allocate beside the file's size, in bytes: paths, messages, a directory listing.
const ALLOWANCE: usize = 64 << 10;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.with(|sum| sum.set(sum.get().saturating_add(layout.size())));
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that `work` allocates in all, freed or not.
fn allocated<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATED.get();
    let result = work();
    (result, ALLOCATED.get() - before)
}

fn attacks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/attacks")
}

fn bytes_in(path: &Path) -> usize {
    if path.is_dir() {
        path.read_dir().unwrap().map(|entry| bytes_in(&entry.unwrap().path())).sum()
    } else {
        path.metadata().unwrap().len() as usize
    }
}

/// All files below, relative to `root`.
fn walk(root: &Path, folder: &Path, files: &mut BTreeSet<String>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, files);
        } else {
            files.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn attacks_are_refused() {
    let root = attacks();
    let table: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(root.join("expected.json")).unwrap()).unwrap();
    let mut failures = Vec::new();
    for (name, expected) in &table {
        let path = root.join(name);
        let size = bytes_in(&path);
        let (result, allocated) = allocated(|| open(&path).map(drop));
        let Err(error) = result else {
            failures.push(format!("{name}: was opened"));
            continue;
        };
        let (message, says) = (error.to_string(), expected["says"].as_str().unwrap());
        let kind = match expected["kind"].as_str().unwrap() {
            "bad" => Kind::Bad,
            "unsupported" => Kind::Unsupported,
            other => panic!("{name}: unknown kind {other}"),
        };
        if !message.contains(says) {
            failures.push(format!("{name}: {message:?} lacks {says:?}"));
        }
        if error.kind() != kind {
            failures.push(format!("{name}: {:?}, expected {kind:?} ({message})", error.kind()));
        }
        if !message.contains(path.file_name().unwrap().to_str().unwrap()) {
            failures.push(format!("{name}: {message:?} does not name the file"));
        }
        if allocated > size + ALLOWANCE {
            failures.push(format!("{name}: {allocated} bytes allocated for {size}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(table.len() > 150, "only {} attacks", table.len());
}

#[test]
fn every_attack_is_in_the_table() {
    let root = attacks();
    let table: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(root.join("expected.json")).unwrap()).unwrap();
    let mut files = BTreeSet::new();
    walk(&root, &root, &mut files);
    let known = |file: &str| {
        matches!(file, "expected.json" | "make.py")
            || table.keys().any(|name| name == file || (name.ends_with('/') && file.starts_with(name)))
    };
    let unknown: Vec<&String> = files.iter().filter(|file| !known(file)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// A file of two tensors and some keys.
fn sound(path: &Path) -> Vec<u8> {
    let f32s = |name: &str, shape: &[usize]| Info {
        name: name.to_owned(),
        storage: Storage::Plain(Dtype::F32),
        shape: shape.to_vec(),
    };
    let infos = [f32s("a.weight", &[2, 8]), f32s("b.bias", &[8])];
    let sink = if path.extension().unwrap() == "gguf" {
        let mut kv = Kv::new();
        kv.set("general.architecture", "llama");
        kv.set("llama.rope.freq_base", 1e4f32);
        kv.set("tokenizer.ggml.tokens", ["a", "b", "é"].map(str::to_owned).to_vec());
        kv.set("tokenizer.ggml.scores", vec![0f32, -1.0, -2.0]);
        gguf::create(path, &kv, &infos, None).unwrap()
    } else {
        safetensors::create(path, &infos, None).unwrap()
    };
    for (tensor, info) in infos.iter().enumerate() {
        sink.write_at(tensor, 0, &vec![1; info.bytes().unwrap()]).unwrap();
    }
    sink.finish().unwrap();
    fs::read(path).unwrap()
}

#[test]
fn truncation_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let gguf_bytes = sound(&folder.path().join("m.gguf"));
    let safetensors_bytes = sound(&folder.path().join("m.safetensors"));
    let torch_bytes = fs::read(attacks().join("../torch/saved.pt")).unwrap();
    assert!(gguf::parse(&gguf_bytes).is_ok() && safetensors::parse(&safetensors_bytes).is_ok());
    assert!(torch::parse(&torch_bytes).is_ok());
    for n in 0..gguf_bytes.len() {
        let (result, allocated) = allocated(|| gguf::parse(&gguf_bytes[..n]).map(drop));
        result.expect_err(&format!("GGUF cut at {n}"));
        assert!(allocated <= n + ALLOWANCE, "GGUF cut at {n}: {allocated}");
    }
    for n in 0..safetensors_bytes.len() {
        safetensors::parse(&safetensors_bytes[..n]).expect_err(&format!("safetensors cut at {n}"));
    }
    for n in 0..torch_bytes.len() {
        torch::parse(&torch_bytes[..n]).expect_err(&format!("PyTorch cut at {n}"));
    }
}

type Parse = fn(&[u8]) -> Option<Contents>;

/// Every byte of a header set to every value: whatever comes of it, views stay inside the file.
#[test]
fn any_wrong_byte_is_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let torch_bytes = fs::read(attacks().join("../torch/saved.pt")).unwrap();
    let cases: [(Vec<u8>, Parse); 3] = [
        (sound(&folder.path().join("m.gguf")), |bytes| gguf::parse(bytes).ok()),
        (sound(&folder.path().join("m.safetensors")), |bytes| safetensors::parse(bytes).ok()),
        (torch_bytes, |bytes| torch::parse(bytes).ok()),
    ];
    for (mut bytes, parse) in cases {
        for at in 0..bytes.len() {
            let sound = bytes[at];
            for wrong in 0..=255 {
                bytes[at] = wrong;
                let (result, allocated) = allocated(|| parse(&bytes));
                assert!(allocated <= bytes.len() + ALLOWANCE, "byte {at} = {wrong}: {allocated}");
                for (info, range) in result.iter().flat_map(|c| c.infos.iter().zip(&c.ranges)) {
                    assert_eq!(bytes.get(range.clone()).map(<[u8]>::len), info.bytes(), "byte {at} = {wrong}");
                }
            }
            bytes[at] = sound;
        }
    }
}
