//! planish against stock llama.cpp and the `tokenizers` crate, on real models.

mod files;
mod generation;
mod llama;
mod release;
mod tokens;
