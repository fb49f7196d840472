//! planish against stock llama.cpp and the `tokenizers` crate, on real models.

mod files;
mod generation;
mod importance;
mod keys;
mod llama;
mod rebuilt;
mod release;
mod tokens;
