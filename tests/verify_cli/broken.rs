//! Broken candidates: each is caught, with the right exit status and a message that names what is wrong.

use serde_json::{Value, json};

use super::damaged::Opened;
use super::{Q8_0, TINY, Verdict, number, verify};

/// A copy of the Q8_0 release with something done to it.
#[track_caller]
fn broken(damage: impl FnOnce(&mut Opened)) -> Verdict {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("broken.gguf");
    let mut gguf = Opened::read(&Q8_0.path);
    damage(&mut gguf);
    gguf.write(&path);
    verify(TINY, &path, &["--chunks", "2"])
}

#[track_caller]
fn caught(found: &Verdict, status: i32, named: &[&str]) {
    assert_eq!(found.status, status, "{}", found.message);
    let error: String = found.message.lines().filter(|line| line.starts_with("error:")).collect();
    for part in named {
        assert!(error.contains(part), "{part:?} is not named: {}", found.message);
    }
}

#[test]
fn a_copy_is_sound() {
    let found = broken(|_| {});
    assert_eq!((found.status, found.message.as_str()), (0, ""));
}

#[test]
fn a_shuffled_layer_is_named() {
    let found = broken(|gguf| gguf.swap_blocks(1, 2));
    caught(&found, 1, &["blk.1.attn_q.weight: holds the weights of blk.2.attn_q.weight", "blk.1.ffn_up.weight"]);
    assert_eq!(found.report["verdict"], "fail");
    assert!(number(&found.report, "/metrics/kld/mean") > 0.01);
}

#[test]
fn permuted_rows_are_named() {
    // Heads of 64: the halves of the checkpoint instead of GGUF's pairs.
    let halves = |row: usize| row / 64 * 64 + planish::model::unpaired_row(row % 64, 64);
    let found = broken(|gguf| gguf.reorder("blk.0.attn_q.weight", halves));
    caught(&found, 1, &["blk.0.attn_q.weight", "order of the other rope"]);
    let found = broken(|gguf| gguf.reorder("blk.3.attn_q.weight", |row| 255 - row));
    caught(&found, 1, &["blk.3.attn_q.weight: relative error 1.4", "not the same weights"]);
}

#[test]
fn a_wrong_rope_is_incomparable() {
    let found = broken(|gguf| gguf.kv.set("llama.rope.freq_base", 500000f32));
    caught(&found, 5, &["rope: theta 10000 in the reference, theta 500000 in the candidate"]);
    assert_eq!((&found.report["verdict"], &found.report["metrics"]), (&json!("incomparable"), &Value::Null));
}

#[test]
fn a_zeroed_tensor_is_named() {
    let found = broken(|gguf| gguf.bytes("blk.2.ffn_down.weight").fill(0));
    caught(&found, 1, &["blk.2.ffn_down.weight: all weights are zero"]);
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    // The scale of the first block of row 5: 8 blocks of 34 bytes a row.
    let found = broken(|gguf| gguf.bytes("blk.1.attn_v.weight")[5 * 8 * 34..][..2].copy_from_slice(&[0, 0x7e]));
    caught(&found, 3, &["candidate", "blk.1.attn_v.weight", "row 5, column 0", "NaN"]);
}

#[test]
fn a_truncated_file_is_bad_input() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("truncated.gguf");
    let bytes = std::fs::read(&Q8_0.path).expect("a file");
    std::fs::write(&path, &bytes[..bytes.len() * 3 / 4]).expect("a file");
    caught(&verify(TINY, &path, &[]), 3, &["truncated.gguf"]);
}

#[test]
fn another_vocabulary_is_incomparable() {
    let found = broken(|gguf| {
        let mut tokens = gguf.kv.strings("tokenizer.ggml.tokens").expect("tokens").to_vec();
        tokens.swap(40, 41);
        gguf.kv.set("tokenizer.ggml.tokens", tokens);
    });
    caught(&found, 5, &["vocabulary: token 40 is", "2 tokens differ"]);

    let found = broken(|gguf| {
        let tokens = gguf.kv.strings("tokenizer.ggml.tokens").expect("tokens")[..1000].to_vec();
        let types = gguf.kv.i32s("tokenizer.ggml.token_type").expect("types")[..1000].to_vec();
        gguf.kv.set("tokenizer.ggml.tokens", tokens);
        gguf.kv.set("tokenizer.ggml.token_type", types);
        gguf.kv.set("llama.vocab_size", 1000u32);
        for name in ["token_embd.weight", "output.weight"] {
            let (info, bytes) = gguf.tensor(name);
            bytes.truncate(bytes.len() / 1024 * 1000);
            info.shape[0] = 1000;
        }
    });
    caught(&found, 5, &["vocabulary size: 1024 in the reference, 1000 in the candidate"]);
}

#[test]
fn a_wrong_pre_tokenizer_is_incomparable() {
    let found = broken(|gguf| gguf.kv.set("tokenizer.ggml.pre", "llama-bpe"));
    caught(&found, 5, &["tokenizer.ggml.pre should be \"gpt-2\" and is \"llama-bpe\""]);
    // Another name of the same splitting.
    let found = broken(|gguf| gguf.kv.set("tokenizer.ggml.pre", "phi-2"));
    assert_eq!(found.status, 0, "{}", found.message);
}

#[test]
fn another_chat_template_is_told_and_no_more() {
    let found = broken(|gguf| gguf.kv.set("tokenizer.chat_template", "{{ messages }}"));
    assert_eq!(found.status, 0, "{}", found.message);
    assert!(found.message.contains("warning: chat template"), "{}", found.message);
}
