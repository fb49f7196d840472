//! Architectures as data: programs of ops, and what GGUF calls their parts.
