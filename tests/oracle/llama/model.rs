//! A GGUF file in stock llama.cpp, and its runs.

use std::path::Path;

use super::{Opaque, Oracle, c_path};

/// A GGUF file in llama.cpp.
pub struct Model {
    pub(super) oracle: &'static Oracle,
    pub(super) raw: Opaque,
    pub(super) vocab: Opaque,
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

    /// The logits after every token of `tokens`, with what adapters add, each with its scale.
    pub fn adapted_logits(&self, adapters: &[(&Path, f32)], tokens: &[i32]) -> Result<Vec<Vec<f32>>, String> {
        let functions = &self.oracle.functions;
        let (mut loaded, mut scales) = (vec![], vec![]);
        for (path, scale) in adapters {
            let name = c_path(path);
            // SAFETY: the path lives through the call, the model as long as the adapter, which it frees.
            let adapter = unsafe { (functions.llama_adapter_lora_init)(self.raw, name.as_ptr()) };
            if adapter.is_null() {
                return Err(format!("llama.cpp does not load the adapter {}", path.display()));
            }
            loaded.push(adapter);
            scales.push(*scale);
        }
        let mut context = Context::exact(self, tokens.len());
        // SAFETY: both lists are as long as said; llama.cpp copies them.
        let code = unsafe {
            let (adapters, scales) = (loaded.as_mut_ptr(), scales.as_mut_ptr());
            (functions.llama_set_adapters_lora)(context.raw, adapters, loaded.len(), scales)
        };
        assert_eq!(code, 0, "llama_set_adapters_lora");
        context.decode(tokens, 0, true);
        Ok((0..tokens.len()).map(|i| context.logits(i as i32).to_vec()).collect())
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
