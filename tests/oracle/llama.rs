//! Stock llama.cpp, loaded as plain libraries: what planish is compared with.
//!
//! Where there is none, [`oracle`] says so and gives `None`, and the test passes or fails as `installed` says.
//!
//! The parameter structs are written down as far as they are used, and larger than the real ones at the end: they are passed
//! in memory, and the callee reads only its own part.
#![allow(unsafe_code)]
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

#[path = "llama/model.rs"]
mod model;

#[allow(unused_imports, reason = "each test binary uses its part")]
pub use model::{Context, Model};

use crate::installed::{libraries, library};

/// `llama_model_params`, with room.
#[repr(C)]
#[derive(Clone, Copy)]
struct ModelParams {
    before: [u64; 9],
    vocab_only: bool,
    check_tensors: bool,
    use_extra_bufts: bool,
    after: [u8; 181],
}

/// `llama_context_params`, with room.
#[repr(C)]
#[derive(Clone, Copy)]
struct ContextParams {
    n_ctx: u32,
    n_batch: u32,
    n_ubatch: u32,
    n_seq_max: u32,
    n_rs_seq: u32,
    n_outputs_max: u32,
    n_outputs_max_per_seq: u32,
    n_threads: i32,
    n_threads_batch: i32,
    after: [u32; 119],
}

/// `llama_model_quantize_params`, with room.
#[repr(C)]
#[derive(Clone, Copy)]
struct QuantizeParams {
    nthread: i32,
    ftype: i32,
    output_tensor_type: i32,
    token_embedding_type: i32,
    allow_requantize: bool,
    quantize_output_tensor: bool,
    only_copy: bool,
    pure_: bool,
    keep_split: bool,
    dry_run: bool,
    /// A list that ends with a null name.
    imatrix: *const ImportanceData,
    after: [u64; 28],
}

/// `llama_model_imatrix_data`.
#[repr(C)]
struct ImportanceData {
    name: *const c_char,
    data: *const f32,
    size: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Batch {
    n_tokens: i32,
    token: *mut i32,
    embd: *mut f32,
    pos: *mut i32,
    n_seq_id: *mut i32,
    seq_id: *mut *mut i32,
    logits: *mut i8,
}

/// An object of llama.cpp that is only pointed to.
type Opaque = *mut c_void;
type Log = extern "C" fn(c_int, *const c_char, *mut c_void);

macro_rules! functions {
    ($($library:ident $name:ident($($arg:ty),*) $(-> $out:ty)?;)*) => {
        struct Functions { $($name: unsafe extern "C" fn($($arg),*) $(-> $out)?,)* }

        impl Functions {
            fn load(libraries: &Libraries) -> Result<Functions, libloading::Error> {
                $(
                    // SAFETY: the signature is the one in ggml.h or llama.h; the library is never closed.
                    let $name = unsafe { *libraries.$library.get(concat!(stringify!($name), "\0").as_bytes())? };
                )*
                Ok(Functions { $($name,)* })
            }
        }
    };
}
functions! {
    base ggml_quantize_chunk(c_int, *const f32, *mut c_void, i64, i64, i64, *const f32) -> usize;
    llama llama_log_set(Log, *mut c_void);
    llama llama_backend_init();
    llama llama_model_default_params() -> ModelParams;
    llama llama_context_default_params() -> ContextParams;
    llama llama_model_quantize_default_params() -> QuantizeParams;
    llama llama_model_load_from_file(*const c_char, ModelParams) -> Opaque;
    llama llama_model_free(Opaque);
    llama llama_model_get_vocab(Opaque) -> Opaque;
    llama llama_init_from_model(Opaque, ContextParams) -> Opaque;
    llama llama_free(Opaque);
    llama llama_model_quantize(*const c_char, *const c_char, *const QuantizeParams) -> u32;
    llama llama_vocab_n_tokens(Opaque) -> i32;
    llama llama_vocab_get_text(Opaque, i32) -> *const c_char;
    llama llama_vocab_get_score(Opaque, i32) -> f32;
    llama llama_vocab_get_attr(Opaque, i32) -> c_int;
    llama llama_vocab_is_eog(Opaque, i32) -> bool;
    llama llama_vocab_bos(Opaque) -> i32;
    llama llama_vocab_eos(Opaque) -> i32;
    llama llama_vocab_get_add_bos(Opaque) -> bool;
    llama llama_vocab_get_add_eos(Opaque) -> bool;
    llama llama_tokenize(Opaque, *const c_char, i32, *mut i32, i32, bool, bool) -> i32;
    llama llama_detokenize(Opaque, *const i32, i32, *mut c_char, i32, bool, bool) -> i32;
    llama llama_batch_init(i32, i32, i32) -> Batch;
    llama llama_batch_free(Batch);
    llama llama_encode(Opaque, Batch) -> i32;
    llama llama_decode(Opaque, Batch) -> i32;
    llama llama_get_logits_ith(Opaque, i32) -> *const f32;
    llama llama_model_n_embd(Opaque) -> i32;
    llama llama_set_embeddings(Opaque, bool);
    llama llama_get_embeddings_ith(Opaque, i32) -> *const f32;
    llama llama_get_embeddings_seq(Opaque, i32) -> *const f32;
    llama llama_get_memory(Opaque) -> Opaque;
    llama llama_memory_clear(Opaque, bool);
    llama llama_adapter_lora_init(Opaque, *const c_char) -> Opaque;
    llama llama_set_adapters_lora(Opaque, *mut Opaque, usize, *mut f32) -> i32;
}

struct Libraries {
    base: Library,
    llama: Library,
}

/// llama.cpp, loaded for the life of the process.
pub struct Oracle {
    functions: Functions,
    _libraries: Libraries,
}

/// The oracle, or `None` with a word about it where it is not installed.
pub fn oracle() -> Option<&'static Oracle> {
    static ORACLE: OnceLock<Option<Oracle>> = OnceLock::new();
    let load = |folder: PathBuf| Oracle::load(&folder).expect("the oracle's libraries do not load");
    let oracle = ORACLE.get_or_init(|| libraries().map(load)).as_ref();
    // The first caller has been told already; the others are other tests.
    oracle.or_else(|| libraries().and(None))
}

extern "C" fn quiet(_: c_int, _: *const c_char, _: *mut c_void) {}

impl Oracle {
    fn load(folder: &Path) -> Result<Oracle, libloading::Error> {
        let open = |stem| {
            let path = library(folder, stem).unwrap_or_else(|| folder.join(format!("{stem}.so")));
            // SAFETY: llama.cpp's libraries have no initialisers that break anything; they stay open.
            unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }
        };
        let base = open("libggml-base")?;
        let ggml = open("libggml")?;
        let path = CString::new(format!("{}/", folder.display())).expect("a folder without a zero byte");
        // SAFETY: `void ggml_backend_load_all_from_path(const char *)`; the string lives through the call.
        unsafe {
            let load: libloading::os::unix::Symbol<unsafe extern "C" fn(*const c_char)> =
                ggml.get(b"ggml_backend_load_all_from_path\0")?;
            load(path.as_ptr());
        }
        std::mem::forget(ggml);
        let libraries = Libraries { base, llama: open("libllama")? };
        let functions = Functions::load(&libraries)?;
        // SAFETY: plain calls; `quiet` has the type of a log callback and ignores its arguments.
        unsafe {
            (functions.llama_log_set)(quiet, std::ptr::null_mut());
            (functions.llama_backend_init)();
            let model = (functions.llama_model_default_params)();
            let quantize = (functions.llama_model_quantize_default_params)();
            assert!(
                !model.vocab_only && !model.check_tensors && model.use_extra_bufts && quantize.quantize_output_tensor,
                "the oracle's parameter structs have another layout than is written here"
            );
        }
        Ok(Oracle { functions, _libraries: libraries })
    }

    fn open(&'static self, path: &Path, vocab_only: bool) -> Result<Model, String> {
        let name = c_path(path);
        // SAFETY: the path lives through the call; the params are the library's own but for one flag.
        let raw = unsafe {
            let params = ModelParams { vocab_only, ..(self.functions.llama_model_default_params)() };
            (self.functions.llama_model_load_from_file)(name.as_ptr(), params)
        };
        if raw.is_null() {
            return Err(format!("llama.cpp does not load {}", path.display()));
        }
        // SAFETY: `raw` is a model.
        let vocab = unsafe { (self.functions.llama_model_get_vocab)(raw) };
        Ok(Model { oracle: self, raw, vocab })
    }

    /// Quantizes a GGUF file. `ftype` is llama.cpp's number of the file type, `threads` 0 for all.
    pub fn quantize(
        &self,
        from: &Path,
        to: &Path,
        ftype: i32,
        threads: i32,
        options: QuantizeOptions,
    ) -> Result<(), String> {
        self.quantize_weighed(from, to, ftype, threads, options, None)
    }

    /// [`Oracle::quantize`] with importance: for a tensor's name one weight a column of each of its matrices.
    pub fn quantize_weighed(
        &self,
        from: &Path,
        to: &Path,
        ftype: i32,
        threads: i32,
        options: QuantizeOptions,
        importance: Option<&BTreeMap<String, Vec<f32>>>,
    ) -> Result<(), String> {
        let (from_c, to_c) = (c_path(from), c_path(to));
        let names = importance.into_iter().flatten().map(|(name, _)| CString::new(name.as_str()).expect("a name"));
        let names: Vec<CString> = names.collect();
        let rows = importance.into_iter().flatten().zip(&names);
        let mut rows: Vec<ImportanceData> = rows
            .map(|((_, data), name)| ImportanceData { name: name.as_ptr(), data: data.as_ptr(), size: data.len() })
            .collect();
        rows.push(ImportanceData { name: std::ptr::null(), data: std::ptr::null(), size: 0 });
        // SAFETY: the strings, the lists and the params live through the call.
        let code = unsafe {
            let mut params = (self.functions.llama_model_quantize_default_params)();
            params.nthread = threads;
            params.imatrix = if importance.is_some() { rows.as_ptr() } else { std::ptr::null() };
            params.ftype = ftype;
            params.pure_ = options.pure;
            params.quantize_output_tensor = !options.leave_output;
            params.allow_requantize = options.allow_requantize;
            params.output_tensor_type = options.output_type.unwrap_or(params.output_tensor_type);
            params.token_embedding_type = options.embedding_type.unwrap_or(params.token_embedding_type);
            (self.functions.llama_model_quantize)(from_c.as_ptr(), to_c.as_ptr(), &raw const params)
        };
        if code == 0 { Ok(()) } else { Err(format!("llama.cpp does not quantize {}: {code}", from.display())) }
    }

    /// Encodes rows of `cols` floats with GGML type `ty` into blocks of `row_bytes` a row. `importance`: one weight a column.
    pub fn quantize_chunk(
        &self,
        ty: u32,
        rows: &[f32],
        cols: usize,
        row_bytes: usize,
        importance: Option<&[f32]>,
    ) -> Vec<u8> {
        assert!(rows.len().is_multiple_of(cols) && importance.is_none_or(|weights| weights.len() == cols));
        let count = rows.len() / cols;
        let mut out = vec![0u8; count * row_bytes];
        let weights = importance.map_or(std::ptr::null(), <[f32]>::as_ptr);
        // SAFETY: `rows` has count x cols floats, `weights` cols or is null, `out` is as large as the caller says a row is
        // and the size is checked below.
        let written = unsafe {
            let (src, dst) = (rows.as_ptr(), out.as_mut_ptr().cast());
            (self.functions.ggml_quantize_chunk)(ty as c_int, src, dst, 0, count as i64, cols as i64, weights)
        };
        assert_eq!(written, out.len(), "row_bytes is not what type {ty} has for {cols} columns");
        out
    }
}

/// What [`Oracle::quantize`] may be told beside the file type; types are GGML's numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuantizeOptions {
    /// Every tensor gets the file type's own type.
    pub pure: bool,
    /// `output.weight` stays as it is.
    pub leave_output: bool,
    /// Tensors that are quantized already are quantized again.
    pub allow_requantize: bool,
    /// Type of `output.weight`.
    pub output_type: Option<i32>,
    /// Type of `token_embd.weight`.
    pub embedding_type: Option<i32>,
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().expect("a path in UTF-8")).expect("a path without a zero byte")
}
