//! Codes in words: against words that an independent script made, and there and back.

use std::path::Path;

use planish_formats::packing::{
    pack_awq, pack_columns, pack_row, padded_words, unpack_awq, unpack_columns, unpack_padded, unpack_row, words,
};
use proptest::prelude::*;

struct Golden {
    order: String,
    bits: usize,
    width: usize,
    codes: Vec<u8>,
    packed: Vec<u8>,
}

fn golden() -> Vec<Golden> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden/packing.txt");
    let text = std::fs::read_to_string(path).expect("golden words");
    text.lines().map(line).collect()
}

fn line(line: &str) -> Golden {
    let (about, hex) = line.split_once(':').expect("a colon");
    let about: Vec<&str> = about.split(' ').collect();
    let number = |i: usize| about[i].parse::<usize>().expect("a number");
    let (bits, width, count) = (number(1), number(2), number(3));
    let code = |i: usize| ((i * i * 5 + i * 3 + 1) % (1 << bits)) as u8;
    let word = |word: &str| u32::from_str_radix(word, 16).expect("a word").to_le_bytes();
    Golden {
        order: about[0].to_owned(),
        bits,
        width,
        codes: (0..count).map(code).collect(),
        packed: hex.split_whitespace().flat_map(word).collect(),
    }
}

#[test]
fn words_are_those_of_the_script() {
    let mut seen = std::collections::BTreeSet::new();
    for Golden { order, bits, width, codes, packed } in golden() {
        let mut made = vec![0xaa; packed.len()];
        let mut back = vec![0xaa; codes.len()];
        let rows = codes.len() / width;
        match order.as_str() {
            "row" | "padded" => {
                let row = if order == "row" { words(bits, width).unwrap() } else { padded_words(bits, width) } * 4;
                assert_eq!(rows * row, packed.len(), "{order} {bits} {width}");
                for i in 0..rows {
                    let (codes, packed) = (&codes[i * width..(i + 1) * width], &packed[i * row..(i + 1) * row]);
                    if order == "row" {
                        pack_row(bits, codes, &mut made[i * row..(i + 1) * row]);
                        assert_eq!(&made[i * row..(i + 1) * row], packed, "{order} {bits} {width}");
                        unpack_row(bits, packed, 0, &mut back[i * width..(i + 1) * width]);
                    } else {
                        unpack_padded(bits, packed, 0, &mut back[i * width..(i + 1) * width]);
                    }
                }
                assert_eq!(back, codes, "{order} {bits} {width}");
            }
            "columns" => {
                pack_columns(bits, &codes, width, &mut made);
                assert_eq!(made, packed, "{order} {bits}");
                unpack_columns(bits, &packed, width, 0, 0..width, &mut back);
                let turned: Vec<u8> = (0..width).flat_map(|c| codes[c..].iter().step_by(width).copied()).collect();
                assert_eq!(back, turned, "{order} {bits}");
            }
            "awq" => {
                pack_awq(&codes, &mut made);
                assert_eq!(made, packed);
                unpack_awq(&packed, 0, &mut back);
                assert_eq!(back, codes);
            }
            other => panic!("unknown order {other}"),
        }
        seen.insert(order);
    }
    assert_eq!(seen.len(), 4);
}

/// Codes, their number of bits, and a part of them.
fn codes() -> impl Strategy<Value = (usize, Vec<u8>, std::ops::Range<usize>)> {
    (2usize..=8, 1usize..200)
        .prop_flat_map(|(bits, count)| {
            let codes = prop::collection::vec(0..=((1u16 << bits) - 1) as u8, count);
            (Just(bits), codes, 0..count, 0..=count)
        })
        .prop_map(|(bits, codes, a, b)| (bits, codes, a.min(b)..a.max(b)))
}

proptest! {
    #[test]
    fn any_part_of_a_row_comes_back((bits, codes, part) in codes()) {
        let mut packed = vec![0xff; 4 * words(bits, codes.len()).unwrap()];
        pack_row(bits, &codes, &mut packed);
        let mut back = vec![0; part.len()];
        unpack_row(bits, &packed, part.start, &mut back);
        prop_assert_eq!(&back, &codes[part]);
    }

    #[test]
    fn any_part_of_columns_comes_back((bits, codes, part) in codes(), width in 1usize..6, columns in 0usize..6) {
        let height = codes.len() / width;
        let codes = &codes[..height * width];
        let mut packed = vec![0xff; 4 * words(bits, height).unwrap() * width];
        pack_columns(bits, codes, width, &mut packed);
        let columns = columns.min(width - 1)..width;
        let rows = part.start.min(height)..part.end.min(height);
        let mut back = vec![0; columns.len() * rows.len()];
        unpack_columns(bits, &packed, width, rows.start, columns.clone(), &mut back);
        let turned: Vec<u8> = columns.flat_map(|c| rows.clone().map(move |r| codes[r * width + c])).collect();
        prop_assert_eq!(back, turned);
    }

    #[test]
    fn any_part_of_interleaved_words_comes_back(codes in prop::collection::vec(0u8..16, 1..20), first in 0usize..100) {
        let codes: Vec<u8> = codes.iter().flat_map(|c| (0..8u8).map(move |i| (c + i * 3) % 16)).collect();
        let mut packed = vec![0xff; codes.len() / 2];
        pack_awq(&codes, &mut packed);
        let first = first.min(codes.len());
        let mut back = vec![0; codes.len() - first];
        unpack_awq(&packed, first, &mut back);
        prop_assert_eq!(&back, &codes[first..]);
    }
}
