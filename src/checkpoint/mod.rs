//! What the user brought: a Hugging Face folder or a GGUF.
