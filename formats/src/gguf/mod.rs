//! GGUF: the container of llama.cpp and Ollama. Format: ggml's `docs/gguf.md`.

mod kv;

pub use kv::{Array, Kv, Value};
