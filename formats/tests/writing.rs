//! Files appear whole or not at all.

use std::fs;
use std::path::Path;

use planish_formats::gguf::Kv;
use planish_formats::{CONTAINERS, Dtype, Error, GgmlType, Info, Kind, Storage, free_space, gguf, open, safetensors};

fn info(name: &str, storage: Storage, shape: &[usize]) -> Info {
    Info { name: name.to_owned(), storage, shape: shape.to_vec() }
}

fn f32s(name: &str, shape: &[usize]) -> Info {
    info(name, Storage::Plain(Dtype::F32), shape)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        folder.read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn nothing_has_its_final_name_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let infos = [f32s("a", &[16]), f32s("b", &[16]), f32s("c", &[16])];
    let sink = gguf::create(&path, &Kv::new(), &infos, Some(100)).unwrap();
    assert_eq!(
        names(folder.path()),
        ["m-00001-of-00003.gguf.partial", "m-00002-of-00003.gguf.partial", "m-00003-of-00003.gguf.partial"]
    );
    for tensor in 0..3 {
        sink.write_at(tensor, 0, &[1; 64]).unwrap();
    }
    let files = sink.finish().unwrap();
    assert_eq!(names(folder.path()), ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]);
    assert_eq!(files.len(), 3);
}

#[test]
fn what_is_given_up_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    drop(gguf::create(&path, &Kv::new(), &[f32s("a", &[16])], None).unwrap());
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_tensor_without_all_its_bytes_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let sink = gguf::create(&path, &Kv::new(), &[f32s("a", &[16])], None).unwrap();
    sink.write_at(0, 0, &[1; 63]).unwrap();
    let error = sink.finish().unwrap_err();
    assert!(matches!(error, Error::Incomplete { written: 63, bytes: 64, .. }), "{error}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_write_stays_inside_its_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let sink = gguf::create(&folder.path().join("m.gguf"), &Kv::new(), &[f32s("a", &[16])], None).unwrap();
    assert!(matches!(sink.write_at(0, 60, &[0; 5]), Err(Error::OutsideTensor { bytes: 64, .. })));
    assert!(matches!(sink.write_at(0, usize::MAX, &[0]), Err(Error::OutsideTensor { .. })));
    assert!(matches!(sink.write_at(1, 0, &[0]), Err(Error::NoSuchSlot { tensor: 1, tensors: 1 })));
}

#[test]
fn what_a_killed_run_left_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(folder.path().join("m.gguf.partial"), vec![0xff; 100_000]).unwrap();
    fs::write(&path, b"the last good one").unwrap();
    let sink = gguf::create(&path, &Kv::new(), &[f32s("a", &[3])], None).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"the last good one");
    sink.write_at(0, 0, &[7; 12]).unwrap();
    sink.finish().unwrap();
    assert_eq!(names(folder.path()), ["m.gguf"]);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(&bytes[bytes.len() - 32..], [[7; 12].as_slice(), &[0; 20]].concat(), "padding is zeros");
}

#[test]
fn two_runs_do_not_write_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let first = gguf::create(&path, &Kv::new(), &[f32s("a", &[1])], None).unwrap();
    let Err(error) = gguf::create(&path, &Kv::new(), &[f32s("a", &[1])], None) else { panic!("both write") };
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    first.write_at(0, 0, &[1; 4]).unwrap();
    first.finish().unwrap();
    assert!(open(&path).is_ok());
}

#[test]
fn no_room_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let free = free_space(&path).unwrap();
    assert!(free > 0);
    let layout = safetensors::layout(&path, &[f32s("a", &[1 << 20, 1 << 25])], None).unwrap();
    assert!(layout.bytes() > free && layout.bytes() > 1 << 47);
    let Err(error) = layout.create() else { panic!("128 TiB were reserved") };
    assert_eq!(error.kind(), Kind::Io);
    assert!(error.to_string().contains("m.safetensors.partial: cannot reserve room for"), "{error}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/such/m.gguf");
    assert!(free_space(&path).is_ok(), "the space of the nearest folder that exists");
    let Err(error) = gguf::create(&path, &Kv::new(), &[], None) else { panic!("created") };
    assert!(error.to_string().contains("no/such/m.gguf.partial: cannot create"), "{error}");
}

#[test]
fn what_gguf_cannot_hold_is_refused() {
    let path = Path::new("m.gguf");
    let refused = |info: Info| match gguf::layout(path, &Kv::new(), &[info], None) {
        Err(error @ Error::Unwritable { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refused(info("u", Storage::Plain(Dtype::U8), &[1])).contains("no GGML type holds U8"));
    assert!(refused(f32s("d", &[1; 5])).contains("5 dimensions"));
    assert!(refused(f32s(&"n".repeat(64), &[1])).contains("names have 1 to 63 bytes"));
    assert!(refused(f32s("h", &[1 << 40, 1 << 40])).contains("no size in bytes"));
    assert!(refused(info("q", Storage::Blocks(GgmlType::Q4_K), &[2, 100])).contains("no size in bytes"));
    let blocks = info("q", Storage::Blocks(GgmlType::Q4_K), &[1, 256]);
    let Err(error) = safetensors::layout(Path::new("m.safetensors"), &[blocks], None) else { panic!("laid out") };
    assert!(error.to_string().contains("has no dtype for Q4_K"), "{error}");
}

#[test]
fn twice_one_name_is_refused() {
    for result in [
        gguf::layout(Path::new("m.gguf"), &Kv::new(), &[f32s("a", &[1]), f32s("a", &[1])], None),
        safetensors::layout(Path::new("m.safetensors"), &[f32s("a", &[1]), f32s("a", &[1])], None),
    ] {
        assert!(result.unwrap_err().to_string().contains("tensor a cannot be written"));
    }
}

/// gguf-split's way: data is counted with its padding, a file has one tensor at least, the first file has all keys.
#[test]
fn splits_as_llama_cpp_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut kv = Kv::new();
    kv.set("general.architecture", "llama");
    kv.set("split.count", 7u16);
    kv.set("general.alignment", 64u32);
    let infos = [f32s("a", &[1]), f32s("b", &[1]), f32s("c", &[100]), f32s("d", &[1])];
    let layout = gguf::layout(&folder.path().join("m.gguf"), &kv, &infos, Some(64)).unwrap();
    let files: Vec<String> =
        layout.files().map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(files, ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]);
    let sink = layout.create().unwrap();
    for (tensor, info) in infos.iter().enumerate() {
        sink.write_at(tensor, 0, &vec![1; info.bytes().unwrap()]).unwrap();
    }
    let files = sink.finish().unwrap();
    for (no, expected) in [(0, (4, 2)), (1, (3, 1)), (2, (3, 1))] {
        let bytes = fs::read(&files[no]).unwrap();
        let contents = gguf::parse(&bytes).unwrap();
        let planish_formats::Meta::Gguf(kv) = contents.meta else { panic!("no keys") };
        assert_eq!((kv.len(), contents.infos.len()), expected, "keys and tensors of file {no}");
        assert_eq!(kv.get("split.no"), Some(&(no as u16).into()));
        assert_eq!(kv.get("split.count"), Some(&3u16.into()));
        assert_eq!(kv.get("split.tensors.count"), Some(&4i32.into()));
    }
}

/// Adding a container means a folder and a line in the registry; this finds the folder without the line.
#[test]
fn every_container_is_registered() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders: Vec<String> = names(&source).into_iter().filter(|name| source.join(name).is_dir()).collect();
    folders.sort();
    let mut registered: Vec<String> = CONTAINERS.iter().map(|c| c.name.to_lowercase()).collect();
    registered.sort();
    assert_eq!(registered, folders);
    for container in CONTAINERS {
        assert!(!container.looks_for.is_empty(), "{}", container.name);
    }
}

#[test]
fn a_folder_prefers_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &Path| {
        let infos = [f32s(path.file_name().unwrap().to_str().unwrap(), &[1])];
        let sink = match path.extension().unwrap().to_str().unwrap() {
            "gguf" => gguf::create(path, &Kv::new(), &infos, None),
            _ => safetensors::create(path, &infos, None),
        };
        let sink = sink.unwrap();
        sink.write_at(0, 0, &[0; 4]).unwrap();
        sink.finish().unwrap();
    };
    for name in ["model.gguf", "consolidated.safetensors", "model.safetensors"] {
        write(&folder.path().join(name));
        assert_eq!(open(folder.path()).unwrap().infos()[0].name, name);
    }
}
