//! SentencePiece models, written by hand.

use proptest::prelude::*;

use super::*;

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn piece(text: &str, score: f32, kind: u64) -> Vec<u8> {
    let score = [varint(2 << 3 | 5), score.to_le_bytes().to_vec()].concat();
    bytes(1, &[bytes(1, text.as_bytes()), score, number(3, kind)].concat())
}

/// `algorithm`: 1 unigram, 2 BPE.
fn model(algorithm: u64) -> Vec<u8> {
    [
        piece("<unk>", 0.0, 2),
        piece("<s>", 0.0, 3),
        piece("</s>", 0.0, 3),
        piece("<0x0A>", 0.0, 6),
        piece("\u{2581}a", -1.5, 1),
        piece("user", 0.0, 4),
        piece("gone", 0.0, 5),
        bytes(2, &[number(3, algorithm), number(43, u64::MAX)].concat()),
        bytes(3, &[bytes(1, b"identity"), number(3, 0)].concat()),
    ]
    .concat()
}

fn folder(bytes: &[u8]) -> Folder {
    Folder::new(9).text("tokenizer.model", bytes)
}

#[test]
fn types_scores_and_ids_are_kept() {
    let vocabulary = folder(&model(2)).read().unwrap();
    let expected = [
        ("<unk>", 2),
        ("<s>", 3),
        ("</s>", 3),
        ("<0x0A>", 6),
        ("\u{2581}a", 1),
        ("user", 1),
        ("gone", 5),
        ("[PAD7]", 5),
        ("[PAD8]", 5),
    ];
    assert_eq!(tokens(&vocabulary), expected);
    let scores = vocabulary.kv.f32s("tokenizer.ggml.scores").unwrap();
    assert_eq!((scores[4], scores[7]), (-1.5, -10000.0));
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.model"), Some("llama"));
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.pre"), Some("default"));
    let special = &vocabulary.special;
    assert_eq!((special.unk, special.bos, special.eos, special.pad), (Some(0), Some(1), Some(2), None));
    assert_eq!(flag(&vocabulary, "add_space_prefix"), Some(false), "no dummy prefix");
}

#[test]
fn unigram_is_another_model() {
    let vocabulary = folder(&model(1)).read().unwrap();
    assert_eq!(vocabulary.kv.str("tokenizer.ggml.model"), Some("t5"));
    assert_eq!(flag(&vocabulary, "add_space_prefix"), Some(false));
    assert_eq!(flag(&vocabulary, "remove_extra_whitespaces"), Some(true));
}

#[test]
fn the_config_adds_and_retypes() {
    let decoder = json!({ "1": { "content": "<s>", "special": true }, "7": { "content": "\u{2581}x" },
                          "8": { "content": "<|y|>" } });
    let folder = folder(&model(2))
        .json("added_tokens.json", &json!({ "<|y|>": 8 }))
        .json("tokenizer_config.json", &json!({ "added_tokens_decoder": decoder, "add_prefix_space": true }));
    let vocabulary = folder.read().unwrap();
    assert_eq!(tokens(&vocabulary)[7..], [(" x", 4), ("<|y|>", 3)]);
    assert_eq!(flag(&vocabulary, "add_space_prefix"), Some(true));
    folder.json("added_tokens.json", &json!({ "z": 9 })).refused(
        Kind::Bad,
        "added_tokens.json",
        &["\"z\"", "id 9", "9 rows"],
    );
}

#[test]
fn damaged_models_are_refused() {
    let refused = |bytes: &[u8], parts: &[&str]| folder(bytes).refused(Kind::Bad, "tokenizer.model", parts);
    refused(b"", &["without pieces"]);
    refused(&[model(2), piece("<0xZZ>", 0.0, 6)].concat(), &["byte piece", "<0xZZ>"]);
    refused(&[model(2), piece("x", f32::NAN, 1)].concat(), &["not finite"]);
    refused(&[model(2), piece("x", 0.0, 9)].concat(), &["piece type"]);
    refused(&[model(2), piece("user", 0.0, 1)].concat(), &["\"user\"", "5 and 7"]);
    refused(&[model(2), bytes(1, &bytes(1, b"\xff"))].concat(), &["UTF-8"]);
    refused(&[model(2), number(1, 7)].concat(), &["something else than bytes"]);
    refused(&[model(2), vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat(), &["past the end"]);
    refused(&[model(2), vec![0xff; 12]].concat(), &["64 bits"]);
    let many: Vec<u8> = (0..3).flat_map(|i| piece(&format!("p{i}"), 0.0, 1)).collect();
    refused(&[model(2), many].concat(), &["\"p2\"", "id 9", "9 rows"]);
    folder(&model(3)).refused(Kind::Unsupported, "tokenizer.model", &["WORD"]);
}

#[test]
fn a_model_cut_anywhere_is_refused_or_shorter() {
    let whole = model(2);
    for end in 0..whole.len() {
        match folder(&whole[..end]).read() {
            Err(error) => assert!(error.to_string().contains("tokenizer.model"), "{error}"),
            // Cut between fields, which the format cannot tell.
            Ok(vocabulary) => assert_eq!(vocabulary.size, 9),
        }
    }
}

#[test]
fn a_tiktoken_file_of_that_name_is_passed_over() {
    let folder = Folder::byte_level(6).text("tokenizer.model", "IQ== 0\nIg== 1\n");
    assert_eq!(folder.read().unwrap().kv.str("tokenizer.ggml.model"), Some("gpt2"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = folder(&bytes).read();
    }

    #[test]
    fn no_change_makes_it_panic(at in 0usize..200, byte: u8, cut in 0usize..200) {
        let mut bytes = model(1);
        let (len, cut) = (bytes.len(), cut.min(bytes.len() - 1));
        bytes[at % len] = byte;
        bytes.drain(cut..(cut + 2).min(len));
        if let Ok(vocabulary) = folder(&bytes).read() {
            prop_assert_eq!(vocabulary.size, 9);
        }
    }
}
