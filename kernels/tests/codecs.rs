//! Every entry of `CODECS` on every instruction set: llama.cpp's bytes, and the laws of a codec.
//!
//! `PLANISH_BLESS=1 cargo test -p planish-kernels` rewrites the golden hashes, from the oracle's bytes alone.
#![allow(missing_docs)]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/data.rs"]
mod data;
#[path = "support/oracle.rs"]
mod oracle;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cases::{Case, cases, importances};
use data::Random;
use oracle::Oracle;
use planish_kernels::block::{CODECS, Codec, codec};
use planish_kernels::{Isa, first_non_finite};

/// What this machine has, or the one that `PLANISH_ISA` names: emulated, every instruction set counts.
fn isas() -> impl Iterator<Item = Isa> {
    let asked = Isa::overridden().and_then(Result::ok);
    Isa::ALL.into_iter().filter(move |isa| isa.available() && asked.is_none_or(|asked| *isa == asked))
}

fn fits(codec: &dyn Codec, case: &Case) -> bool {
    case.cols.is_multiple_of(codec.block_len())
}

fn takes(codec: &dyn Codec, importance: Option<&[f32]>) -> bool {
    importance.is_some() || !codec.needs_importance()
}

fn encoded(codec: &dyn Codec, isa: Isa, case: &Case, importance: Option<&[f32]>) -> Vec<u8> {
    let mut out = vec![0xaa; case.rows.len() / codec.block_len() * codec.block_bytes()];
    codec.encode(isa, &case.rows, case.cols, importance, &mut out);
    out
}

fn oracles(oracle: &Oracle, codec: &dyn Codec, case: &Case, importance: Option<&[f32]>) -> Vec<u8> {
    let mut out = vec![0x55; case.rows.len() / codec.block_len() * codec.block_bytes()];
    oracle.encode(codec.name(), &case.rows, case.cols, importance, &mut out);
    out
}

fn first_difference(ours: &[u8], theirs: &[u8], block: usize) -> String {
    let at = ours.iter().zip(theirs).position(|(a, b)| a != b).expect("a difference");
    let blocks = ours.chunks(block).zip(theirs.chunks(block)).filter(|(a, b)| a != b).count();
    let (start, end) = (at / block * block, at / block * block + block);
    format!(
        "{blocks} blocks of {}, first {}, byte {}: ours {:02x?}, theirs {:02x?}",
        ours.len() / block,
        at / block,
        at % block,
        &ours[start..end],
        &theirs[start..end]
    )
}

#[test]
fn bytes_are_llama_cpps() {
    let Some(oracle) = Oracle::load() else { return };
    let mut wrong = String::new();
    for case in cases() {
        for (weights, importance) in importances(case.cols) {
            for codec in CODECS.iter().filter(|c| fits(**c, &case) && takes(**c, importance.as_deref())) {
                let theirs = oracles(&oracle, *codec, &case, importance.as_deref());
                for isa in isas() {
                    let ours = encoded(*codec, isa, &case, importance.as_deref());
                    if ours != theirs {
                        let difference = first_difference(&ours, &theirs, codec.block_bytes());
                        let (name, isa) = (codec.name(), isa.name());
                        writeln!(wrong, "{name} {isa}, {}, importance {weights}: {difference}", case.name).unwrap();
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// MXFP4 takes the floor of a logarithm that was rounded to single precision.
#[test]
fn exponents_are_llama_cpps() {
    let Some(oracle) = Oracle::load() else { return };
    let codec = codec("MXFP4").expect("a codec");
    let largest = (0u32..=255).flat_map(|power| (0u32..128).map(move |below| (power << 23).saturating_sub(below)));
    let rows: Vec<f32> = largest.flat_map(|x| (0u32..32).map(move |i| f32::from_bits(x - x / 32 * i))).collect();
    assert_eq!(first_non_finite(Isa::detected(), &rows[..255 * 128 * 32]), None);
    // Infinity itself is no weight.
    let rows = rows.into_iter().map(|x| if x.is_finite() { x } else { 0.0 }).collect();
    let case = Case { name: "below powers of two", cols: 32, rows };
    let theirs = oracles(&oracle, codec, &case, None);
    for isa in isas() {
        let ours = encoded(codec, isa, &case, None);
        assert!(ours == theirs, "{}: {}", isa.name(), first_difference(&ours, &theirs, codec.block_bytes()));
    }
}

/// FNV-1a, to keep the oracle's bytes in little room.
fn hash(bytes: &[u8], start: u64) -> u64 {
    bytes.iter().fold(start, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/golden/codecs.txt");

/// A line a codec and input: the hash of its bytes for all importances.
fn hashes(encode: impl Fn(&dyn Codec, &Case, Option<&[f32]>) -> Vec<u8>) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for case in cases() {
        let importances = importances(case.cols);
        for codec in CODECS.iter().filter(|c| fits(**c, &case)) {
            let all = importances
                .iter()
                .filter(|(_, weights)| takes(*codec, weights.as_deref()))
                .fold(0xcbf2_9ce4_8422_2325, |h, (_, weights)| hash(&encode(*codec, &case, weights.as_deref()), h));
            found.insert(format!("{}, {}", codec.name(), case.name), all);
        }
    }
    found
}

#[test]
fn bytes_are_the_golden_ones() {
    if std::env::var_os("PLANISH_BLESS").is_some_and(|v| v == "1") {
        let oracle = Oracle::load().expect("an oracle to bless with");
        let lines = hashes(|codec, case, weights| oracles(&oracle, codec, case, weights));
        let mut text = String::new();
        for (name, hash) in &lines {
            writeln!(text, "{hash:016x} {name}").unwrap();
        }
        std::fs::write(GOLDEN, text).expect("the golden file");
    }
    let golden: BTreeMap<String, u64> = std::fs::read_to_string(GOLDEN)
        .expect("the committed golden file")
        .lines()
        .map(|line| line.split_once(' ').expect("hash and name"))
        .map(|(hash, name)| (name.to_owned(), u64::from_str_radix(hash, 16).expect("a hash")))
        .collect();
    for isa in isas() {
        let ours = hashes(|codec, case, weights| encoded(codec, isa, case, weights));
        for (name, hash) in &ours {
            assert_eq!(golden.get(name), Some(hash), "{name} on {}", isa.name());
        }
        assert_eq!(ours.len(), golden.len());
    }
}

/// Random bytes whose half-precision scales are finite: NaN payloads are nobody's weight.
fn random_blocks(codec: &dyn Codec, blocks: usize) -> Vec<u8> {
    let mut random = Random(11);
    let mut bytes: Vec<u8> = (0..blocks * codec.block_bytes()).map(|_| random.bits() as u8).collect();
    let halves: &[usize] = match codec.name() {
        "Q4_0" | "Q5_0" | "Q8_0" | "F16" | "BF16" | "IQ4_NL" | "IQ4_XS" | "IQ3_XXS" | "IQ3_S" | "IQ2_XXS"
        | "IQ2_XS" | "IQ2_S" | "IQ1_S" | "Q1_0" | "Q2_0" => &[1],
        "TQ1_0" => &[53],
        "TQ2_0" => &[65],
        // The four high nibbles of the scales, so the highest is enough.
        "IQ1_M" => &[55],
        "MXFP4" | "NVFP4" => &[],
        "F32" => &[3],
        "Q4_1" | "Q5_1" | "Q4_K" | "Q5_K" => &[1, 3],
        "Q2_K" => &[81, 83],
        "Q3_K" => &[109],
        "Q6_K" => &[209],
        name => panic!("where {name} keeps its scales"),
    };
    for block in bytes.chunks_exact_mut(codec.block_bytes()) {
        for &top in halves {
            // Clearing the top exponent bit would halve the range; this only avoids the all-ones exponent.
            let exponent = if codec.name() == "IQ1_M" { 0x70 } else { 0x7c };
            if block[top] & exponent == exponent {
                block[top] &= 0xbf;
            }
        }
    }
    bytes
}

#[test]
fn decoding_is_llama_cpps() {
    const BLOCKS: usize = 1_000_003;
    // The library wants its blocks aligned.
    const AT_ONCE: usize = 40_000;
    let Some(oracle) = Oracle::load() else { return };
    for codec in CODECS {
        let (mut theirs, mut ours) = (vec![], vec![]);
        for (part, bytes) in random_blocks(*codec, BLOCKS).chunks(AT_ONCE * codec.block_bytes()).enumerate() {
            let len = bytes.len() / codec.block_bytes() * codec.block_len();
            theirs.resize(len, 0.0);
            oracle.decode(codec.name(), bytes, &mut theirs);
            for isa in isas() {
                ours.clear();
                ours.resize(len, f32::NAN);
                codec.decode(isa, bytes, &mut ours);
                let at = ours.iter().zip(&theirs).position(|(a, b)| a.to_bits() != b.to_bits());
                let pair = at.map(|i| (part * AT_ONCE * codec.block_len() + i, ours[i], theirs[i]));
                assert_eq!(pair, None, "{} on {}: element, ours, theirs", codec.name(), isa.name());
            }
        }
    }
}

#[test]
fn every_isa_decodes_alike_from_any_address() {
    for codec in CODECS {
        for blocks in [1, 2, 3, 17, 33] {
            let bytes = random_blocks(*codec, blocks);
            let mut scalar = vec![0.0; blocks * codec.block_len()];
            codec.decode(Isa::Scalar, &bytes, &mut scalar);
            for isa in isas() {
                for shift in 1..4 {
                    let mut moved = vec![0; shift];
                    moved.extend(&bytes);
                    let mut out = vec![0.0; scalar.len()];
                    codec.decode(isa, &moved[shift..], &mut out);
                    let same = out.iter().zip(&scalar).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{} on {}, {blocks} blocks", codec.name(), isa.name());
                }
            }
        }
    }
}

#[test]
fn errors_stay_within_tolerance() {
    let mut random = Random(3);
    let rows = random.gaussians(64 * 512, 0.02);
    let importance: Vec<f32> = (0..512).map(|_| 0.1 + random.unit()).collect();
    let energy: f64 = rows.iter().map(|x| f64::from(*x).powi(2)).sum();
    for codec in CODECS {
        for importance in [None, Some(importance.as_slice())].into_iter().filter(|i| takes(*codec, *i)) {
            let case = Case { name: "gaussian", cols: 512, rows: rows.clone() };
            let bytes = encoded(*codec, Isa::detected(), &case, importance);
            let mut decoded = vec![0.0; rows.len()];
            codec.decode(Isa::detected(), &bytes, &mut decoded);
            let error: f64 = decoded.iter().zip(&rows).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let relative = (error / energy).sqrt() as f32;
            let bound = codec.tolerance();
            assert!(relative <= bound, "{}: {relative} above {bound}", codec.name());
            assert!(relative >= bound * 0.5, "{}: {relative} leaves {bound} too loose", codec.name());
        }
    }
}

#[test]
fn rows_are_encoded_alone() {
    let mut random = Random(5);
    let rows = random.gaussians(21 * 768, 0.1);
    let importance: Vec<f32> = (0..768).map(|_| random.unit()).collect();
    for codec in CODECS {
        for importance in [None, Some(importance.as_slice())].into_iter().filter(|i| takes(*codec, *i)) {
            let bytes = |rows: &[f32]| {
                let case = Case { name: "", cols: 768, rows: rows.to_vec() };
                encoded(*codec, Isa::detected(), &case, importance)
            };
            let together = bytes(&rows);
            for split in [1, 2, 16, 20] {
                let (head, tail) = rows.split_at(split * 768);
                let apart = [bytes(head), bytes(tail)].concat();
                assert!(together == apart, "{} split after row {split}", codec.name());
            }
        }
    }
}

#[test]
fn fallbacks_lead_to_blocks_of_one() {
    for first in CODECS {
        let mut current = *first;
        assert!(std::ptr::eq(codec(&current.name().to_lowercase()).expect("found by name"), current));
        while let Some(name) = current.fallback() {
            let next = codec(name).expect("a known fallback");
            assert!(next.block_len() < current.block_len(), "{} -> {name}", current.name());
            current = next;
        }
        let alone = ["Q1_0", "NVFP4"].contains(&first.name());
        assert!(current.block_len() == 1 || alone, "{} ends at {}", first.name(), current.name());
    }
}

#[test]
fn every_type_file_is_registered() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/block");
    let mut types = 0;
    for file in std::fs::read_dir(folder).expect("the source").map(|e| e.expect("an entry").path()) {
        let name = file.file_stem().and_then(|n| n.to_str()).expect("a name").to_owned();
        let is_type =
            file.is_file() && std::fs::read_to_string(&file).expect("the source").contains("\nimpl Block for ");
        if is_type && name != "plain" {
            types += 1;
            assert!(codec(&name).is_some(), "{name}.rs is not in CODECS");
        }
    }
    assert_eq!(types + 3, CODECS.len());
}

#[test]
fn the_first_non_finite_value_is_found() {
    for isa in isas() {
        for len in [0, 1, 255, 256, 257, 1000] {
            let mut values = vec![f32::MAX; len];
            assert_eq!(first_non_finite(isa, &values), None);
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in (0..len).rev().step_by(37) {
                    values[at] = bad;
                    assert_eq!(first_non_finite(isa, &values), Some(at));
                }
                values.fill(-0.0);
            }
        }
    }
}
