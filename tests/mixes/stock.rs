//! Stock llama.cpp through its C interface: quantize a file, list the types in a file.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr;
use std::sync::LazyLock;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use planish_formats::GgmlType;

use crate::installed::{libraries, library};

/// `enum ggml_type`'s number for "not asked for".
const NO_TYPE: i32 = 43;

#[repr(C)]
#[derive(Clone, Copy)]
struct Params {
    nthread: i32,
    ftype: i32,
    output_tensor_type: i32,
    token_embedding_type: i32,
    allow_requantize: bool,
    quantize_output_tensor: bool,
    only_copy: bool,
    pure: bool,
    keep_split: bool,
    dry_run: bool,
    imatrix: *const Importance,
    kv_overrides: *const c_void,
    tt_overrides: *const TensorType,
    prune_layers: *const i32,
    max_buf_size: usize,
}

#[repr(C)]
struct Importance {
    name: *const c_char,
    data: *const f32,
    size: usize,
}

#[repr(C)]
struct TensorType {
    pattern: *const c_char,
    ty: i32,
}

#[repr(C)]
struct GgufInit {
    no_alloc: bool,
    ctx: *mut *mut c_void,
}

type Log = extern "C" fn(i32, *const c_char, *mut c_void);
type Quantize = unsafe extern "C" fn(*const c_char, *const c_char, *const Params) -> u32;
type Open = unsafe extern "C" fn(*const c_char, GgufInit) -> *mut c_void;
type Name = unsafe extern "C" fn(*const c_void, i64) -> *const c_char;

/// What `llama_model_quantize` is asked for.
#[derive(Default)]
pub(crate) struct Ask<'a> {
    pub(crate) file_type: u32,
    pub(crate) pure: bool,
    pub(crate) leave_output: bool,
    pub(crate) output: Option<GgmlType>,
    pub(crate) embedding: Option<GgmlType>,
    pub(crate) tensors: &'a [(&'a str, GgmlType)],
    /// Per tensor, a weight for each column of each matrix.
    pub(crate) importance: Option<&'a BTreeMap<String, Vec<f32>>>,
}

pub(crate) struct Stock {
    base: Library,
    llama: Library,
}

extern "C" fn silent(_: i32, _: *const c_char, _: *mut c_void) {}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

fn c_path(path: &Path) -> CString {
    c_string(path.to_str().expect("a UTF-8 path"))
}

/// The oracle, or `None` with a word on stdout where it is not installed.
pub(crate) fn stock() -> Option<&'static Stock> {
    static STOCK: LazyLock<Option<Stock>> = LazyLock::new(|| libraries().map(|folder| Stock::load(&folder)));
    // The first caller has been told already; the others are other tests.
    STOCK.as_ref().or_else(|| libraries().and(None))
}

impl Stock {
    fn load(folder: &Path) -> Stock {
        let open = |stem: &str| {
            let path = library(folder, stem).unwrap_or_else(|| panic!("no {stem}.so"));
            // SAFETY: a library of ggml; its initialisers have no preconditions.
            unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.expect("loads")
        };
        let (base, ggml) = (open("libggml-base"), open("libggml"));
        let backends = c_path(folder);
        // SAFETY: the signature is ggml-backend.h's; `ggml` stays loaded below.
        unsafe {
            let load =
                ggml.get::<unsafe extern "C" fn(*const c_char)>(b"ggml_backend_load_all_from_path").expect("symbol");
            load(backends.as_ptr());
        }
        std::mem::forget(ggml);
        let llama = open("libllama");
        // SAFETY: the signatures are llama.h's; `silent` lives for ever.
        unsafe {
            let log = llama.get::<unsafe extern "C" fn(Log, *mut c_void)>(b"llama_log_set").expect("symbol");
            log(silent, ptr::null_mut());
            llama.get::<unsafe extern "C" fn()>(b"llama_backend_init").expect("symbol")();
        }
        Stock { base, llama }
    }

    /// Quantizes `from` into `to`; false where llama.cpp refuses.
    pub(crate) fn quantize(&self, from: &Path, to: &Path, ask: &Ask) -> bool {
        let (from, to) = (c_path(from), c_path(to));
        let empty = BTreeMap::new();
        let importance: Vec<(CString, &Vec<f32>)> =
            ask.importance.unwrap_or(&empty).iter().map(|(name, data)| (c_string(name), data)).collect();
        let mut rows: Vec<Importance> = importance
            .iter()
            .map(|(name, data)| Importance { name: name.as_ptr(), data: data.as_ptr(), size: data.len() })
            .collect();
        rows.push(Importance { name: ptr::null(), data: ptr::null(), size: 0 });
        let patterns: Vec<CString> = ask.tensors.iter().map(|(p, _)| c_string(p)).collect();
        let mut types: Vec<TensorType> = patterns
            .iter()
            .zip(ask.tensors)
            .map(|(pattern, (_, ty))| TensorType { pattern: pattern.as_ptr(), ty: ty.id() as i32 })
            .collect();
        types.push(TensorType { pattern: ptr::null(), ty: NO_TYPE });
        let id = |ty: Option<GgmlType>| ty.map_or(NO_TYPE, |t| t.id() as i32);
        // SAFETY: the structs are llama.h's, both lists end in a null name, and all pointers outlive the call.
        unsafe {
            let defaults = self.llama.get::<unsafe extern "C" fn() -> Params>(b"llama_model_quantize_default_params");
            let mut params = defaults.expect("symbol")();
            assert_eq!((params.output_tensor_type, params.token_embedding_type), (NO_TYPE, NO_TYPE), "another llama.h");
            params.nthread = 1;
            params.ftype = ask.file_type as i32;
            params.output_tensor_type = id(ask.output);
            params.token_embedding_type = id(ask.embedding);
            params.quantize_output_tensor = !ask.leave_output;
            params.pure = ask.pure;
            params.imatrix = if ask.importance.is_some() { rows.as_ptr() } else { ptr::null() };
            params.tt_overrides = types.as_ptr();
            let quantize = self.llama.get::<Quantize>(b"llama_model_quantize").expect("symbol");
            quantize(from.as_ptr(), to.as_ptr(), &raw const params) == 0
        }
    }

    /// Names and types of a GGUF's tensors, in the order of the file.
    pub(crate) fn types(&self, path: &Path) -> Vec<(String, GgmlType)> {
        let path = c_path(path);
        // SAFETY: the signatures are gguf.h's; names are copied before the context is freed.
        unsafe {
            let open = self.base.get::<Open>(b"gguf_init_from_file").expect("symbol");
            let count =
                self.base.get::<unsafe extern "C" fn(*const c_void) -> i64>(b"gguf_get_n_tensors").expect("symbol");
            let name = self.base.get::<Name>(b"gguf_get_tensor_name").expect("symbol");
            let ty = self.base.get::<unsafe extern "C" fn(*const c_void, i64) -> i32>(b"gguf_get_tensor_type");
            let ty = ty.expect("symbol");
            let free = self.base.get::<unsafe extern "C" fn(*mut c_void)>(b"gguf_free").expect("symbol");
            let file = open(path.as_ptr(), GgufInit { no_alloc: true, ctx: ptr::null_mut() });
            assert!(!file.is_null(), "llama.cpp wrote a file that it cannot read");
            let tensor = |i| {
                let name = CStr::from_ptr(name(file, i)).to_str().expect("UTF-8").to_owned();
                (name, GgmlType::with_id(ty(file, i) as u32).expect("a known type"))
            };
            let all = (0..count(file)).map(tensor).collect();
            free(file);
            all
        }
    }
}
