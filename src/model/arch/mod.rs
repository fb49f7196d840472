//! One file an architecture. To add one: write it, list it here.

mod gpt2;
mod llama;
mod qwen2;
mod qwen3;

use super::Architecture;

/// All architectures.
pub static ARCHITECTURES: &[&Architecture] = &[&llama::LLAMA, &qwen2::QWEN2, &qwen3::QWEN3, &gpt2::GPT2];
