//! Files that are cut, damaged or made to mislead: an error that says what, no panic, and no allocation past the file.
#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use planish::imatrix::{Entry, Imatrix};
use planish_formats::gguf::{self, Kv};
use planish_formats::{Dtype, Info, Storage};

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

struct Watching;

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Reads these bytes as a file; an error is given as its message.
fn read(dir: &Path, bytes: &[u8]) -> Result<Imatrix, String> {
    let path = dir.join("attack");
    std::fs::write(&path, bytes).expect("written");
    LARGEST.set(0);
    let result = Imatrix::read(&path).map_err(|error| error.to_string());
    assert!(LARGEST.get() <= bytes.len().max(64 << 10), "{} bytes at once for {}", LARGEST.get(), bytes.len());
    if let Err(message) = &result {
        assert!(message.contains("attack"), "{message}: does not name the file");
    }
    result
}

fn i32s(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn legacy_entry(name: &str, calls: i32, values: &[f32]) -> Vec<u8> {
    let values_bytes = values.iter().flat_map(|value| value.to_le_bytes());
    let name = [i32s(&[name.len() as i32]), name.into()].concat();
    [name, i32s(&[calls, values.len() as i32]), values_bytes.collect()].concat()
}

/// A legacy file, with its end at the given bytes.
fn legacy() -> (Vec<u8>, Vec<usize>) {
    let entries = [
        i32s(&[2]),
        legacy_entry("blk.0.attn_q.weight", 3, &[3.0, 1.0]),
        legacy_entry("blk.1.ffn_down.weight", 0, &[0.5]),
    ]
    .concat();
    let chunks = [&entries[..], &i32s(&[7])].concat();
    let all = [&chunks[..], &i32s(&[8]), b"wiki.txt"].concat();
    let ends = vec![entries.len(), chunks.len(), all.len()];
    (all, ends)
}

#[test]
fn the_legacy_form_is_read_as_llama_quantize_reads_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (all, _) = legacy();
    let imatrix = read(dir.path(), &all).expect("sound");
    assert_eq!((imatrix.chunks, &imatrix.datasets[..]), (7, &["wiki.txt".to_owned()][..]));
    assert_eq!(imatrix.entries["blk.0.attn_q.weight"].importance(), [1.0, 1.0 / 3.0]);
    assert_eq!(imatrix.entries["blk.1.ffn_down.weight"].importance(), [0.5]);
    // Merged, it stands for chunks of 512 tokens, and the importance stays.
    let mut merged = Imatrix::default();
    merged.merge(&imatrix).expect("fits");
    assert_eq!((merged.chunk_size, merged.entries["blk.0.attn_q.weight"].counts()), (512, &[3 * 512][..]));
    assert_eq!(merged.entries["blk.0.attn_q.weight"].importance(), [1.0, 1.0 / 3.0]);
    let file = dir.path().join("merged.gguf");
    merged.write(&file).expect("written");
    assert_eq!(Imatrix::read(&file).expect("read"), merged);
}

#[test]
fn a_legacy_file_that_is_cut_or_damaged_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let (all, ends) = legacy();
    for end in 0..all.len() {
        assert_eq!(read(dir.path(), &all[..end]).is_ok(), ends.contains(&end), "cut at {end}");
    }
    for at in 0..all.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = all.clone();
            damaged[at] = value;
            // Sound or not, it ends well.
            let _ = read(dir.path(), &damaged);
        }
    }
    let says = |bytes: &[u8], what: &str| {
        let message = read(dir.path(), bytes).expect_err(what);
        assert!(message.contains(what), "{message}: lacks {what}");
    };
    says(&i32s(&[i32::MAX, 0, 0, 0, 0, 0, 0]), "2147483647 entries");
    says(&i32s(&[-1, 4, 0, 0, 0, 0, 0]), "-1 entries");
    says(b"a text, and no importance matrix at all", "neither a GGUF");
    says(&[i32s(&[1, i32::MAX]), vec![b'a'; 40]].concat(), "2147483647 more bytes needed");
    says(&[i32s(&[1, -5]), vec![b'a'; 40]].concat(), "the name of an entry is -5");
    says(&[i32s(&[1, 1]), vec![b'a'], i32s(&[1, i32::MAX, 0, 0])].concat(), "values of an entry");
    says(&[i32s(&[1]), legacy_entry("a", 1, &[1.0]), i32s(&[1, 1]), b"ab".to_vec()].concat(), "1 bytes follow");
    says(&[i32s(&[2]), legacy_entry("a", 1, &[1.0]), legacy_entry("a", 1, &[1.0])].concat(), "a: it occurs twice");
    says(&[i32s(&[1]), legacy_entry("a", 1, &[f32::NAN])].concat(), "a: sum 0 is NaN");
    says(&[i32s(&[1]), legacy_entry("a", 1, &[0.0, -2.0])].concat(), "a: sum 1 is -2");
    says(&[i32s(&[1, 2]), vec![0xff, 0xfe], i32s(&[1, 1, 0])].concat(), "not UTF-8");
}

/// A GGUF of these tensors and keys.
fn made(dir: &Path, kv: &Kv, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
    let path = dir.join("made.gguf");
    let info = |&(name, dtype, shape, _): &(&str, Dtype, &[usize], Vec<u8>)| Info {
        name: name.to_owned(),
        storage: Storage::Plain(dtype),
        shape: shape.to_vec(),
    };
    let infos: Vec<Info> = tensors.iter().map(info).collect();
    let sink = gguf::create(&path, kv, &infos, None).expect("a file");
    for (i, (.., bytes)) in tensors.iter().enumerate() {
        sink.write_at(i, 0, bytes).expect("written");
    }
    sink.finish().expect("finished");
    std::fs::read(&path).expect("read")
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn keys() -> Kv {
    let mut kv = Kv::new();
    kv.set("general.type", "imatrix");
    kv.set("imatrix.datasets", vec!["a".to_owned()]);
    kv.set("imatrix.chunk_count", 2u32);
    kv.set("imatrix.chunk_size", 512u32);
    kv
}

#[test]
fn a_gguf_that_is_no_importance_matrix_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let sums = || ("a.in_sum2", Dtype::F32, &[2, 2][..], f32s(&[1.0, 2.0, 3.0, 4.0]));
    let counts = || ("a.counts", Dtype::F32, &[2, 1][..], f32s(&[2.0, 0.0]));
    let sound = made(dir.path(), &keys(), &[sums(), counts()]);
    let imatrix = read(dir.path(), &sound).expect("sound");
    assert_eq!(imatrix.entries["a"].importance(), [0.5, 1.0, 1.0, 1.0]);
    for end in 0..sound.len() - 32 {
        assert!(read(dir.path(), &sound[..end]).is_err(), "cut at {end}");
    }
    let says = |kv: &Kv, tensors: &[(&str, Dtype, &[usize], Vec<u8>)], what: &str| {
        let message = read(dir.path(), &made(dir.path(), kv, tensors)).expect_err(what);
        assert!(message.contains(what), "{message}: lacks {what}");
    };
    for key in ["imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"] {
        let mut kv = keys();
        kv.remove(key);
        says(&kv, &[sums(), counts()], &format!("there is no key {key}"));
        kv.set(key, 1.5f32);
        says(&kv, &[sums(), counts()], &format!("the key {key} is f32"));
    }
    let mut model = keys();
    model.set("general.type", "model");
    says(&model, &[sums(), counts()], "general.type is model");
    says(&keys(), &[("a", Dtype::F32, &[1], f32s(&[1.0]))], "no tensor ends in .in_sum2");
    says(&keys(), &[sums()], "a.in_sum2 has no a.counts beside it");
    says(&keys(), &[counts()], "a.counts has no a.in_sum2 beside it");
    says(&keys(), &[sums(), ("a.counts", Dtype::F32, &[3, 1], f32s(&[1.0; 3]))], "a: 4 sums for 3 counts");
    says(&keys(), &[sums(), ("a.counts", Dtype::F32, &[0, 1], vec![])], "a: 4 sums for 0 counts");
    says(&keys(), &[sums(), ("a.counts", Dtype::F32, &[2, 1], f32s(&[1.0, -1.0]))], "a: count 1 is -1");
    says(&keys(), &[sums(), ("a.counts", Dtype::F32, &[2, 1], f32s(&[f32::INFINITY, 1.0]))], "a: count 0 is inf");
    says(&keys(), &[counts(), ("a.in_sum2", Dtype::F16, &[2, 2], vec![0; 8])], "a.in_sum2 is of type F16");
    says(&keys(), &[counts(), ("a.in_sum2", Dtype::F32, &[1, 2], f32s(&[f32::NAN, 1.0]))], "a: sum 0 is NaN");
    let exact = |bytes: Vec<u8>, cols| [sums(), counts(), ("a.in_sum2_exact", Dtype::I64, cols, bytes)];
    says(&keys(), &exact(vec![0; 80], &[2, 5]), "the exact sums are not those");
    says(&keys(), &exact(vec![0; 8], &[1, 1]), "a: 0 sums for 1 counts");
    says(&keys(), &exact(vec![0xff; 80], &[2, 5]), "a: sum 0 is -");
}

#[test]
fn sums_of_different_models_are_not_added() {
    let of = |name: &str, sums: &[f32]| Imatrix {
        chunk_size: 512,
        entries: [(name.to_owned(), Entry::rounded(sums.to_vec(), vec![1]).expect("fits"))].into(),
        ..Imatrix::default()
    };
    let mut one = of("a", &[1.0, 2.0]);
    one.merge(&of("b", &[1.0])).expect("other weights are kept side by side");
    assert_eq!(one.entries.len(), 2);
    let error = one.merge(&of("a", &[1.0])).expect_err("another length").to_string();
    assert!(error.contains("a: 1 sums in one and 2 in the other"), "{error}");
}
