//! One file an architecture. To add one: write it, list it here.

mod albert;
mod bart;
mod bert;
mod bloom;
mod cohere;
mod deepseek2;
mod deepseek3;
mod distilbert;
mod falcon;
mod gemma2;
mod gemma3;
mod glm4;
mod gpt2;
mod gptneox;
mod gptoss;
mod granite;
mod llama;
mod minicpm;
mod mixtral;
mod mpt;
mod olmo2;
mod openaigpt;
mod phi3;
mod qwen2;
mod qwen2moe;
mod qwen2vl;
mod qwen3;
mod qwen3moe;
mod roberta;
mod stablelm;
mod starcoder2;
mod t5;
mod t5encoder;

use super::Architecture;

/// All architectures.
pub static ARCHITECTURES: &[&Architecture] = &[
    &llama::LLAMA,
    &mixtral::MIXTRAL,
    &qwen2::QWEN2,
    &qwen2moe::QWEN2MOE,
    &qwen2vl::QWEN2VL,
    &qwen3::QWEN3,
    &qwen3moe::QWEN3MOE,
    &deepseek2::DEEPSEEK2,
    &deepseek3::DEEPSEEK3,
    &gptoss::GPTOSS,
    &gemma2::GEMMA2,
    &gemma3::GEMMA3,
    &phi3::PHI3,
    &olmo2::OLMO2,
    &granite::GRANITE,
    &minicpm::MINICPM,
    &glm4::GLM4,
    &cohere::COHERE,
    &stablelm::STABLELM,
    &starcoder2::STARCODER2,
    &gptneox::GPTNEOX,
    &falcon::FALCON,
    &bloom::BLOOM,
    &mpt::MPT,
    &gpt2::GPT2,
    &bert::BERT,
    &roberta::ROBERTA,
    &distilbert::DISTILBERT,
    &albert::ALBERT,
    &openaigpt::OPENAIGPT,
    &t5::T5,
    &t5encoder::T5ENCODER,
    &bart::BART,
];
