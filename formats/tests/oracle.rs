//! llama.cpp's own reader (libggml-base) sees in our files what we wrote, and refuses what we refuse.
#![allow(unsafe_code, reason = "calls a C library")]

#[path = "../../tests/support/installed.rs"]
mod installed;

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use libloading::{Library, Symbol};
use planish_formats::gguf::Kv;
use planish_formats::{GgmlType, Info, gguf, open};

/// `struct gguf_init_params`.
#[repr(C)]
struct InitParams {
    no_alloc: bool,
    ctx: *mut *mut c_void,
}

struct Oracle(Library);

/// One file, opened by libggml-base.
struct Opened<'a> {
    oracle: &'a Oracle,
    context: *mut c_void,
}

impl Oracle {
    /// The library, where it is installed.
    fn find() -> Option<Oracle> {
        let library = installed::library(&installed::libraries()?, "libggml-base")?;
        // SAFETY: ggml-base's initializers only fill its own tables.
        Some(Oracle(unsafe { Library::new(library) }.unwrap()))
    }

    fn symbol<T>(&self, name: &str) -> Symbol<'_, T> {
        // SAFETY: every caller gives the type that gguf.h declares.
        unsafe { self.0.get(name) }.unwrap()
    }

    fn open(&self, path: &Path) -> Option<Opened<'_>> {
        type Init = unsafe extern "C" fn(*const c_char, InitParams) -> *mut c_void;
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let params = InitParams { no_alloc: true, ctx: std::ptr::null_mut() };
        // SAFETY: the path is a C string that lives through the call, a null `ctx` is allowed.
        let context = unsafe { self.symbol::<Init>("gguf_init_from_file")(path.as_ptr(), params) };
        (!context.is_null()).then_some(Opened { oracle: self, context })
    }
}

impl Opened<'_> {
    fn get<T>(&self, name: &str) -> T {
        let function = self.oracle.symbol::<unsafe extern "C" fn(*mut c_void) -> T>(name);
        // SAFETY: the context is alive; all functions named here take nothing else.
        unsafe { function(self.context) }
    }

    fn of<T>(&self, name: &str, index: i64) -> T {
        let function = self.oracle.symbol::<unsafe extern "C" fn(*mut c_void, i64) -> T>(name);
        // SAFETY: the context is alive and the index in range: it counts up to the library's own number.
        unsafe { function(self.context, index) }
    }

    fn text(&self, name: &str, index: i64) -> String {
        // SAFETY: the library gives C strings that live as long as the context.
        unsafe { CStr::from_ptr(self.of(name, index)) }.to_str().unwrap().to_owned()
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.get::<()>("gguf_free");
    }
}

/// One tensor of every type that stands in files.
fn infos() -> Vec<Info> {
    let types = GgmlType::ALL.iter().filter(|ty| !matches!(ty, GgmlType::Q8_1 | GgmlType::Q8_K));
    let tensor = |ty: &GgmlType| Info {
        name: format!("blk.0.{}.weight", ty.name()),
        storage: ty.storage(),
        shape: vec![3, 2 * ty.block_len()],
    };
    types
        .map(tensor)
        .chain([Info { name: "scalar".to_owned(), storage: GgmlType::F32.storage(), shape: vec![] }])
        .collect()
}

fn keys() -> Kv {
    let mut kv = Kv::new();
    kv.set("general.architecture", "llama");
    kv.set("one.u8", 1u8);
    kv.set("one.i8", -1i8);
    kv.set("one.u16", 1u16);
    kv.set("one.i16", -1i16);
    kv.set("one.u32", 1u32);
    kv.set("one.i32", -1i32);
    kv.set("one.f32", 1.5f32);
    kv.set("one.bool", true);
    kv.set("many.str", vec!["a".to_owned(), "é".to_owned()]);
    kv.set("one.u64", 1u64);
    kv.set("one.i64", -1i64);
    kv.set("one.f64", 1.5f64);
    kv.set("many.i32", vec![1i32, 2, 3]);
    kv
}

#[test]
fn our_files_are_read_alike() {
    let Some(oracle) = Oracle::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (kv, infos) = (keys(), infos());
    let sink = gguf::create(&folder.path().join("m.gguf"), &kv, &infos, Some(2000)).unwrap();
    for (tensor, info) in infos.iter().enumerate() {
        sink.write_at(tensor, 0, &vec![tensor as u8; info.bytes().unwrap()]).unwrap();
    }
    let files = sink.finish().unwrap();
    assert!(files.len() > 2);
    for (no, file) in files.iter().enumerate() {
        let bytes = std::fs::read(file).unwrap();
        let ours = gguf::parse(&bytes).unwrap();
        let theirs = oracle.open(file).unwrap_or_else(|| panic!("{} was refused", file.display()));
        assert_eq!(theirs.get::<u32>("gguf_get_version"), 3);
        assert_eq!(theirs.get::<usize>("gguf_get_alignment"), 32);
        assert_eq!(theirs.get::<i64>("gguf_get_n_kv") as usize, if no == 0 { kv.len() + 3 } else { 3 });
        let data: usize = theirs.get("gguf_get_data_offset");
        assert_eq!(theirs.get::<i64>("gguf_get_n_tensors") as usize, ours.infos.len());
        for (index, (info, range)) in ours.infos.iter().zip(&ours.ranges).enumerate() {
            let index = index as i64;
            assert_eq!(theirs.text("gguf_get_tensor_name", index), info.name);
            assert_eq!(data + theirs.of::<usize>("gguf_get_tensor_offset", index), range.start, "{info:?}");
            assert_eq!(theirs.of::<usize>("gguf_get_tensor_size", index), range.len(), "{info:?}");
            let ty = theirs.of::<c_int>("gguf_get_tensor_type", index) as u32;
            assert_eq!(GgmlType::with_id(ty).map(GgmlType::storage), Some(info.storage), "{info:?}");
        }
    }
    let theirs = oracle.open(&files[0]).unwrap();
    for (index, (key, value)) in kv.iter().enumerate() {
        let index = index as i64;
        assert_eq!(theirs.text("gguf_get_key", index), key);
        let ty = if key.starts_with("many") { "gguf_get_arr_type" } else { "gguf_get_kv_type" };
        let name = oracle.symbol::<unsafe extern "C" fn(c_int) -> *const c_char>("gguf_type_name");
        // SAFETY: the type is one that the library gave, and its name is a static C string.
        let name = unsafe { CStr::from_ptr(name(theirs.of::<c_int>(ty, index))) }.to_str().unwrap();
        assert!(key.ends_with(name) || name == "str", "{key} is {name}: {value:?}");
    }
    assert_eq!(open(&files[0]).unwrap().infos(), infos);
}

/// Sound to llama.cpp, which checks these later or not at all.
const STRICTER: &[&str] = &[
    "data-cut",          // it reads tensor data later
    "data-missing",      // likewise
    "bytes-beyond",      // likewise
    "key-nul",           // C strings hide what follows
    "name-nul",          // likewise
    "name-empty",        // it does not ask
    "key-utf8",          // likewise
    "name-utf8",         // likewise
    "string-utf8",       // likewise
    "array-token-utf8",  // likewise
    "value-bool",        // any byte but 0 is true
    "elements-overflow", // 2^80 elements wrap to none
    "split-name",        // splits are a matter of libllama
    "other-00001-of-00003",
];

/// Every attack on GGUF is refused by llama.cpp too, but for the list above.
#[test]
fn attacks_are_refused_alike() {
    let Some(oracle) = Oracle::find() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/attacks/gguf");
    let (mut accepted, mut seen) = (BTreeSet::new(), 0);
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            seen += 1;
            if oracle.open(&path).is_some() {
                accepted.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let expected: BTreeSet<String> = STRICTER.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(accepted, expected);
    assert!(seen > 50, "{seen} attacks");
}
