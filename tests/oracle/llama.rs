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

/// A GGUF file in llama.cpp.
pub struct Model {
    oracle: &'static Oracle,
    raw: Opaque,
    vocab: Opaque,
}

impl Model {
    /// Loads the vocabulary and no weights.
    pub fn vocab_only(oracle: &'static Oracle, path: &Path) -> Result<Model, String> {
        oracle.open(path, true)
    }

    /// Loads everything.
    pub fn load(oracle: &'static Oracle, path: &Path) -> Result<Model, String> {
        oracle.open(path, false)
    }

    /// Number of tokens.
    pub fn tokens(&self) -> i32 {
        // SAFETY: `vocab` is the model's.
        unsafe { (self.oracle.functions.llama_vocab_n_tokens)(self.vocab) }
    }

    /// The ids of `text`. `add_special`: with the begin and end that the model wants; `parse_special`: texts of control
    /// tokens are taken for the tokens.
    pub fn tokenize(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<i32> {
        let mut ids = vec![0i32; text.len() + 16];
        let (len, room) = (text.len() as i32, ids.len() as i32);
        // SAFETY: both buffers live through the call and are as long as said.
        let count = unsafe {
            let (text, out) = (text.as_ptr().cast(), ids.as_mut_ptr());
            (self.oracle.functions.llama_tokenize)(self.vocab, text, len, out, room, add_special, parse_special)
        };
        ids.truncate(usize::try_from(count).expect("more tokens than bytes"));
        ids
    }

    /// The text of `ids`, special tokens included.
    pub fn detokenize(&self, ids: &[i32]) -> String {
        let mut bytes = vec![0u8; ids.len() * 256 + 16];
        // SAFETY: both buffers live through the call and are as long as said.
        let count = unsafe {
            let (out, room) = (bytes.as_mut_ptr().cast(), bytes.len() as i32);
            let ids = (ids.as_ptr(), ids.len() as i32);
            (self.oracle.functions.llama_detokenize)(self.vocab, ids.0, ids.1, out, room, false, true)
        };
        bytes.truncate(usize::try_from(count).expect("more than 256 bytes a token"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the token ends a generation.
    pub fn ends(&self, id: i32) -> bool {
        // SAFETY: `vocab` is the model's; ids out of range are refused by the caller's loop.
        unsafe { (self.oracle.functions.llama_vocab_is_eog)(self.vocab, id) }
    }

    /// Ids of the tokens that begin and end a text; -1 for none.
    pub fn begin_end(&self) -> (i32, i32) {
        // SAFETY: `vocab` is the model's.
        unsafe {
            ((self.oracle.functions.llama_vocab_bos)(self.vocab), (self.oracle.functions.llama_vocab_eos)(self.vocab))
        }
    }

    /// The logits after every token of `tokens`.
    pub fn decode_logits(&self, tokens: &[i32]) -> Vec<Vec<f32>> {
        let mut context = Context::new(self, tokens.len());
        context.decode(tokens, 0, true);
        (0..tokens.len()).map(|i| context.logits(i as i32).to_vec()).collect()
    }

    /// The same without rounding keys and values to F16.
    pub fn exact_logits(&self, tokens: &[i32]) -> Vec<Vec<f32>> {
        let mut context = Context::exact(self, tokens.len());
        context.decode(tokens, 0, true);
        (0..tokens.len()).map(|i| context.logits(i as i32).to_vec()).collect()
    }

    /// The last hidden state of every token of an encoder that does not pool.
    pub fn hidden(&self, tokens: &[i32]) -> Vec<Vec<f32>> {
        let mut context = Context::exact(self, tokens.len());
        context.embeds();
        context.decode(tokens, 0, true);
        (0..tokens.len()).map(|i| context.embedding(Some(i as i32))).collect()
    }

    /// The vectors of texts, pooled as the file says.
    pub fn vectors(&self, texts: &[Vec<i32>]) -> Vec<Vec<f32>> {
        let mut context = Context::exact(self, texts.iter().map(Vec::len).max().unwrap_or(0));
        context.embeds();
        let vector = |tokens: &Vec<i32>| {
            context.decode(tokens, 0, true);
            context.embedding(None)
        };
        texts.iter().map(vector).collect()
    }

    /// The logits after every token of `tokens`, with an encoder that reads `source` first. `exact`: keys and values are
    /// not rounded to F16.
    pub fn pair_logits(&self, source: &[i32], tokens: &[i32], exact: bool) -> Vec<Vec<f32>> {
        let mut context = Context::with(self, source.len().max(tokens.len()), exact);
        context.encode(source);
        context.decode(tokens, 0, true);
        (0..tokens.len()).map(|i| context.logits(i as i32).to_vec()).collect()
    }

    /// Runs sequences of equal length, one after another, and throws the results away. `logits`: makes them for every token,
    /// as llama-imatrix does, else for the last alone.
    pub fn run_chunks(&self, chunks: &[Vec<i32>], logits: bool) {
        let mut context = Context::new(self, chunks.first().map_or(0, Vec::len));
        for chunk in chunks {
            context.clear();
            context.decode(chunk, 0, logits);
        }
    }

    /// For each of `chunks`, equally long, decoded by itself: the logits after every token from `from` on.
    pub fn each_logits(&self, chunks: &[&[i32]], from: usize, mut see: impl FnMut(&[&[f32]])) {
        let mut context = Context::new(self, chunks.first().map_or(0, |chunk| chunk.len()));
        for chunk in chunks {
            context.clear();
            context.decode(chunk, 0, true);
            let rows: Vec<&[f32]> = (from..chunk.len()).map(|i| context.logits(i as i32)).collect();
            see(&rows);
        }
    }

    /// The `count` likeliest tokens after `prompt`, one after the other. Ends at nothing.
    pub fn greedy(&self, prompt: &[i32], count: usize) -> Vec<i32> {
        let mut context = Context::new(self, prompt.len() + count);
        context.decode(prompt, 0, false);
        let mut out = Vec::new();
        while out.len() < count {
            let logits = context.logits(-1);
            let best = (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best });
            out.push(best.expect("a vocabulary") as i32);
            context.decode(&out[out.len() - 1..], prompt.len() + out.len() - 1, false);
        }
        out
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: `raw` came from llama_model_load_from_file and is not used after this.
        unsafe { (self.oracle.functions.llama_model_free)(self.raw) }
    }
}

/// A sequence being decoded.
pub struct Context<'a> {
    model: &'a Model,
    raw: Opaque,
}

impl<'a> Context<'a> {
    /// Room for so many tokens, and two threads.
    pub fn new(model: &'a Model, tokens: usize) -> Context<'a> {
        Context::with(model, tokens, false)
    }

    /// The same with keys and values in F32, and without flash attention.
    pub fn exact(model: &'a Model, tokens: usize) -> Context<'a> {
        Context::with(model, tokens, true)
    }

    fn with(model: &'a Model, tokens: usize, exact: bool) -> Context<'a> {
        let size = tokens.max(1) as u32;
        // SAFETY: the params are the library's own but for sizes and threads.
        let raw = unsafe {
            let functions = &model.oracle.functions;
            let mut params = (functions.llama_context_default_params)();
            (params.n_ctx, params.n_batch, params.n_ubatch) = (size, size, size);
            (params.n_threads, params.n_threads_batch) = (2, 2);
            if exact {
                // `flash_attn_type`, `type_k` and `type_v`.
                let [attention, keys, values] = [4, 17, 18];
                assert_eq!((params.after[keys], params.after[values]), (1, 1), "F16 is the default");
                (params.after[attention], params.after[keys], params.after[values]) = (0, 0, 0);
            }
            (functions.llama_init_from_model)(model.raw, params)
        };
        assert!(!raw.is_null(), "llama.cpp makes no context of {size} tokens");
        Context { model, raw }
    }

    /// Makes hidden states instead of logits.
    fn embeds(&mut self) {
        // SAFETY: `raw` is a context.
        unsafe { (self.model.oracle.functions.llama_set_embeddings)(self.raw, true) }
    }

    /// The hidden state of the `i`-th token of the last batch, or the vector of all of it.
    fn embedding(&self, i: Option<i32>) -> Vec<f32> {
        let functions = &self.model.oracle.functions;
        // SAFETY: llama.cpp keeps a row of as many floats as an embedding has until the next decode.
        unsafe {
            let width = usize::try_from((functions.llama_model_n_embd)(self.model.raw)).expect("a size");
            let row = match i {
                Some(i) => (functions.llama_get_embeddings_ith)(self.raw, i),
                None => (functions.llama_get_embeddings_seq)(self.raw, 0),
            };
            assert!(!row.is_null(), "no embedding was kept for {i:?}");
            std::slice::from_raw_parts(row, width).to_vec()
        }
    }

    /// Forgets what was decoded.
    fn clear(&mut self) {
        let functions = &self.model.oracle.functions;
        // SAFETY: `raw` is a context, and its memory lives as long as it.
        unsafe { (functions.llama_memory_clear)((functions.llama_get_memory)(self.raw), true) }
    }

    /// Encodes `tokens`.
    pub fn encode(&mut self, tokens: &[i32]) {
        self.batch(tokens, 0, true, true);
    }

    /// Decodes `tokens` at `start`. Logits are kept for `all` of them or for the last.
    pub fn decode(&mut self, tokens: &[i32], start: usize, all: bool) {
        self.batch(tokens, start, all, false);
    }

    fn batch(&mut self, tokens: &[i32], start: usize, all: bool, encode: bool) {
        let functions = &self.model.oracle.functions;
        // SAFETY: the batch has room for as many tokens as are written; it is freed once.
        let code = unsafe {
            let mut batch = (functions.llama_batch_init)(tokens.len() as i32, 0, 1);
            batch.n_tokens = tokens.len() as i32;
            for (i, &token) in tokens.iter().enumerate() {
                *batch.token.add(i) = token;
                *batch.pos.add(i) = (start + i) as i32;
                *batch.n_seq_id.add(i) = 1;
                **batch.seq_id.add(i) = 0;
                *batch.logits.add(i) = i8::from(all || i + 1 == tokens.len());
            }
            let run = if encode { functions.llama_encode } else { functions.llama_decode };
            let code = run(self.raw, batch);
            (functions.llama_batch_free)(batch);
            code
        };
        assert_eq!(code, 0, "{}", if encode { "llama_encode" } else { "llama_decode" });
    }

    /// The logits after the `i`-th token of the last batch.
    pub fn logits(&self, i: i32) -> &[f32] {
        let vocab = usize::try_from(self.model.tokens()).expect("a size");
        // SAFETY: llama.cpp keeps a row of as many floats as there are tokens until the next decode, which needs `&mut self`.
        unsafe {
            let row = (self.model.oracle.functions.llama_get_logits_ith)(self.raw, i);
            assert!(!row.is_null(), "no logits were kept for token {i}");
            std::slice::from_raw_parts(row, vocab)
        }
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: `raw` came from llama_init_from_model and is not used after this.
        unsafe { (self.model.oracle.functions.llama_free)(self.raw) }
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().expect("a path in UTF-8")).expect("a path without a zero byte")
}
