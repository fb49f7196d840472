//! The IQ, ternary, FP4, one- and two-bit types against stock llama.cpp: bytes and values, bit for bit.

#[path = "support/data.rs"]
mod data;
#[path = "support/oracle.rs"]
mod oracle;

use data::{Random, bf16};
use oracle::Oracle;
use planish_kernels::Isa;
use planish_kernels::block::{CODECS, Codec};

const NAMES: [&str; 15] = [
    "IQ4_NL", "IQ4_XS", "IQ3_XXS", "IQ3_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_S", "IQ1_M", "TQ1_0", "TQ2_0", "MXFP4",
    "NVFP4", "Q1_0", "Q2_0",
];

fn codecs() -> impl Iterator<Item = &'static dyn Codec> {
    let filter = std::env::var("ONLY").unwrap_or_default();
    CODECS.iter().copied().filter(move |codec| NAMES.contains(&codec.name()) && codec.name().contains(&filter))
}

/// Blocks of random bytes decode to llama.cpp's values.
#[test]
fn decoding_any_bytes() {
    let Some(oracle) = Oracle::load() else { return };
    for codec in codecs() {
        let mut random = Random(7);
        for _ in 0..20 {
            const BLOCKS: usize = 10_000;
            let mut bytes = vec![0u8; BLOCKS * codec.block_bytes()];
            bytes.iter_mut().for_each(|byte| *byte = random.bits() as u8);
            let mut ours = vec![0.0; BLOCKS * codec.block_len()];
            let mut theirs = ours.clone();
            codec.decode(Isa::detected(), &bytes, &mut ours);
            oracle.decode(codec.name(), &bytes, &mut theirs);
            for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                let (block, element) = (i / codec.block_len(), i % codec.block_len());
                let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                assert!(same, "{} block {block} element {element}: {a:e}, llama.cpp {b:e}", codec.name());
            }
        }
    }
}

fn compare(oracle: &Oracle, codec: &dyn Codec, what: &str, rows: &[f32], cols: usize, importance: Option<&[f32]>) {
    let mut ours = vec![0u8; rows.len() / codec.block_len() * codec.block_bytes()];
    let mut theirs = ours.clone();
    oracle.encode(codec.name(), rows, cols, importance, &mut theirs);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        codec.encode(isa, rows, cols, importance, &mut ours);
        let blocks = ours.chunks(codec.block_bytes()).zip(theirs.chunks(codec.block_bytes()));
        let bad: Vec<_> = blocks.enumerate().filter(|(_, (a, b))| a != b).collect();
        if let Some((i, (a, b))) = bad.first() {
            let x = &rows[i * codec.block_len()..][..codec.block_len()];
            panic!(
                "{} {} {what}: {} of {} blocks differ, first {i}:\n{a:02x?}\n{b:02x?}\n{x:?}",
                codec.name(),
                isa.name(),
                bad.len(),
                rows.len() / codec.block_len()
            );
        }
    }
}

fn each_input(mut check: impl FnMut(&str, &[f32], usize, &[f32])) {
    let mut random = Random(11);
    for (cols, rows) in [(256, 1), (768, 5), (2048, 16), (512, 33)] {
        let importance: Vec<f32> = (0..cols).map(|_| 0.01 + random.unit() * random.unit()).collect();
        let gaussian = random.gaussians(rows * cols, 0.02);
        check("gaussian", &gaussian, cols, &importance);
        check("bf16", &bf16(&gaussian), cols, &importance);
        let heavy: Vec<f32> = gaussian.iter().map(|v| v * v * v * 1e4).collect();
        check("heavy tails", &heavy, cols, &importance);
        let one_sided: Vec<f32> = gaussian.iter().map(|v| v.abs()).collect();
        check("one-sided", &one_sided, cols, &importance);
        let few: Vec<f32> = gaussian.iter().map(|v| (v * 100.0).round() / 64.0).collect();
        check("few values", &few, cols, &importance);
        let sparse: Vec<f32> = gaussian.iter().map(|v| if random.unit() < 0.9 { 0.0 } else { *v }).collect();
        check("sparse", &sparse, cols, &importance);
        let patchy: Vec<f32> =
            gaussian.iter().enumerate().map(|(i, v)| if i / 16 % 3 == 0 { -0.0 } else { *v }).collect();
        check("zero sub-blocks", &patchy, cols, &importance);
        for scale in [1e-3f32, 1e-6, 1e-10, 1e-16, 1e6, 1e12] {
            let scaled: Vec<f32> = gaussian.iter().map(|v| v * scale).collect();
            check(&format!("times {scale:e}"), &scaled, cols, &importance);
        }
        let mixed: Vec<f32> =
            gaussian.iter().enumerate().map(|(i, v)| v * [1.0, 1e-4, 1e-8, 1e-12][i / 32 % 4]).collect();
        check("mixed magnitudes", &mixed, cols, &importance);
        let zeros = vec![0.0; rows * cols];
        check("zeros", &zeros, cols, &importance);
        let constant = vec![0.37; rows * cols];
        check("constant", &constant, cols, &importance);
        let negative = vec![-0.37; rows * cols];
        check("negative constant", &negative, cols, &importance);
        let uneven: Vec<f32> =
            (0..cols).map(|_| if random.unit() < 0.3 { 0.0 } else { random.unit().powi(6) * 1e3 }).collect();
        check("uneven importance", &gaussian, cols, &uneven);
    }
}

#[test]
fn encoding() {
    let Some(oracle) = Oracle::load() else { return };
    for codec in codecs() {
        each_input(|what, rows, cols, importance| {
            if !codec.needs_importance() {
                compare(&oracle, codec, what, rows, cols, None);
            }
            if codec.weighs() {
                compare(&oracle, codec, &format!("{what}, weighted"), rows, cols, Some(importance));
            }
        });
    }
}
