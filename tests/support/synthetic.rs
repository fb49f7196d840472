//! A checkpoint of the shape of Llama 3.2 1B with a head of its own: 1.5 billion weights, 3 GB.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

pub const LAYERS: usize = 16;
const HIDDEN: usize = 2048;
const FFN: usize = 8192;
const KV: usize = 512;
pub const VOCAB: usize = 128256;

/// The tensors of a Llama of 1.5 billion weights, with a head of its own.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
        ("lm_head.weight".to_owned(), vec![VOCAB, HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let shapes = [
            ("input_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![KV, HIDDEN]),
            ("self_attn.v_proj", vec![KV, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("mlp.gate_proj", vec![FFN, HIDDEN]),
            ("mlp.up_proj", vec![FFN, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, FFN]),
        ];
        tensors.extend(shapes.map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape)));
    }
    tensors
}

/// A checkpoint whose weights are all zero and take no room on the disk, or the BF16 of `pattern` again and again. `dtype`
/// has two bytes an element.
pub fn checkpoint(folder: &Path, dtype: &str, pattern: Option<&[u8]>) -> u64 {
    std::fs::create_dir(folder).expect("a folder");
    let (mut header, mut at) = (Map::new(), 0);
    for (name, shape) in tensors() {
        let bytes = 2 * shape.iter().product::<usize>() as u64;
        header.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes] }));
        at += bytes;
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(folder.join("model.safetensors")).expect("a file");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("a header");
    file.write_all(header.as_bytes()).expect("a header");
    if let Some(pattern) = pattern {
        let mut left = usize::try_from(at).expect("a size");
        while left > 0 {
            let piece = left.min(pattern.len());
            file.write_all(&pattern[..piece]).expect("weights");
            left -= piece;
        }
    }
    file.set_len(8 + header.len() as u64 + at).expect("a hole");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": FFN, "max_position_embeddings": 8192, "num_attention_heads": 32,
        "num_hidden_layers": LAYERS, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "tie_word_embeddings": false, "vocab_size": VOCAB,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("a configuration");
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tiny.join(file), folder.join(file)).expect("a tokenizer");
    }
    at
}

/// BF16 of small odd numbers, for weights: no row repeats another, since the length is no multiple of a row's.
pub fn pattern() -> Vec<u8> {
    let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 4096.0 * 0.1 - 0.05;
    (0..1_000_003).flat_map(|i| ((value(i).to_bits() >> 16) as u16).to_le_bytes()).collect()
}
