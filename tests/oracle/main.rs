//! planish against stock llama.cpp and the `tokenizers` crate, on real models.

mod adapters;
#[path = "../support/command.rs"]
mod command;
mod drift;
mod embeddings;
mod families;
mod files;
mod generation;
mod importance;
#[path = "../support/installed.rs"]
mod installed;
mod keys;
#[path = "../support/lettered.rs"]
mod lettered;
mod llama;
mod rebuilt;
mod release;
mod restored;
mod scores;
mod tokens;
