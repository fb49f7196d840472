//! Tokenizers and their GGUF keys.
