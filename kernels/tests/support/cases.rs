//! The inputs that every codec must turn into llama.cpp's bytes.

use crate::data::{Random, bf16};

/// Whole rows of `cols` elements.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) cols: usize,
    pub(crate) rows: Vec<f32>,
}

/// All inputs. The shapes leave odd numbers of blocks and super-blocks at the end of batches.
pub(crate) fn cases() -> Vec<Case> {
    let mut random = Random(7);
    let mut cases = Vec::new();
    let mut add = |name, cols, rows: Vec<f32>| {
        assert_eq!(rows.len() % cols, 0, "{name}");
        cases.push(Case { name, cols, rows });
    };
    add("gaussian 0.02", 1280, random.gaussians(3 * 1280, 0.02));
    add("gaussian 1", 256, random.gaussians(37 * 256, 1.0));
    add("gaussian 1e-6", 512, random.gaussians(4 * 512, 1e-6));
    add("gaussian 1e5", 768, random.gaussians(5 * 768, 1e5));
    add("one super-block", 256, random.gaussians(256, 0.05));
    add("sixteen rows of 32", 32, random.gaussians(16 * 32, 0.05));
    add("one block", 32, random.gaussians(32, 0.05));
    add("rows of 96", 96, random.gaussians(39 * 96, 0.1));
    add("rows of 576", 576, bf16(&random.gaussians(35 * 576, 0.03)));
    add("bf16", 2048, bf16(&random.gaussians(9 * 2048, 0.02)));
    add("heavy tails", 512, {
        let cubed = |v: f32| v * v * v * 0.01;
        random.gaussians(7 * 512, 1.0).into_iter().map(cubed).collect()
    });
    add("real weights", 256, real_weights());

    let blocks = |random: &mut Random, of: &dyn Fn(&mut Random, usize) -> f32| -> Vec<f32> {
        (0..5 * 768).map(|i| of(random, i)).collect()
    };
    add("zeros", 768, blocks(&mut random, &|_, _| 0.0));
    add("zeros of both signs", 768, blocks(&mut random, &|r, _| if r.unit() < 0.5 { 0.0 } else { -0.0 }));
    add("zeros of both signs and more", 768, {
        let of = |r: &mut Random, i: usize| match (r.unit() < 0.5, i % 7) {
            (_, 0) => (i / 256) as f32 * 0.125 - 0.5,
            (true, _) => 0.0,
            (false, _) => -0.0,
        };
        blocks(&mut random, &of)
    });
    add("constant", 768, blocks(&mut random, &|_, i| if i / 96 % 2 == 0 { 0.37 } else { -0.37 }));
    add("positive", 768, blocks(&mut random, &|r, _| r.unit() + 0.01));
    add("negative", 768, blocks(&mut random, &|r, _| -r.unit() - 0.01));
    add("half zero", 768, blocks(&mut random, &|r, i| if i % 64 < 32 { r.gaussian() } else { 0.0 }));
    add("sparse", 768, blocks(&mut random, &|r, _| if r.unit() < 0.03 { r.gaussian() } else { 0.0 }));
    add("one outlier", 768, blocks(&mut random, &|r, i| if i % 256 == 77 { 1e6 } else { r.gaussian() * 0.02 }));
    add("negative outlier", 768, blocks(&mut random, &|r, i| if i % 96 == 5 { -1e6 } else { r.gaussian() }));
    add("two levels", 768, blocks(&mut random, &|r, _| if r.unit() < 0.5 { -0.1 } else { 0.3 }));
    add("few levels", 768, blocks(&mut random, &|r, _| ((r.unit() * 5.0) as i32 - 2) as f32 * 0.25));
    add("ramp", 768, blocks(&mut random, &|_, i| (i % 256) as f32 / 256.0 - 0.3));
    add("1e-30", 768, blocks(&mut random, &|r, _| r.gaussian() * 1e-30));
    add("around the zero bound", 768, blocks(&mut random, &|r, _| r.gaussian() * 1e-15));
    add("half's subnormals", 768, blocks(&mut random, &|r, i| r.gaussian() * [1e-5, 1e-7, 3e-8][i / 256 % 3]));
    add("denormals", 768, blocks(&mut random, &|r, _| f32::from_bits(r.bits() as u32 & 0x803f_ffff)));
    add("denormals and more", 768, blocks(&mut random, &|r, i| r.gaussian() * [1e-38, 1.0, 1e-41][i / 16 % 3]));
    add("all sizes", 768, {
        let of = |r: &mut Random, i: usize| r.gaussian() * [1e-8, 1e-3, 1.0, 50.0, 1e4][i / 32 % 5];
        blocks(&mut random, &of)
    });
    add("runs of zeros", 768, blocks(&mut random, &|r, i| if i / 16 % 3 == 0 { -0.0 } else { r.gaussian() * 0.02 }));
    add("mixed sub-blocks", 768, {
        let of = |r: &mut Random, i: usize| r.gaussian() * [0.02, 2e-6, 2e-10, 2e-14][i / 32 % 4];
        blocks(&mut random, &of)
    });
    add("beyond half", 768, blocks(&mut random, &|r, _| r.gaussian() * 3e7));
    cases
}

/// Pieces of the trained fixture: the raw bfloat16 data after the header.
fn real_weights() -> Vec<f32> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tiny-llama/model.safetensors");
    let bytes = std::fs::read(path).expect("the committed fixture");
    let (header, rest) = bytes.split_first_chunk::<8>().expect("a header length");
    let data = &rest[u64::from_le_bytes(*header) as usize..];
    let values: Vec<f32> =
        data.as_chunks::<2>().0.iter().map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)).collect();
    values.chunks_exact(256 * 97).flat_map(|chunk| &chunk[..256 * 3]).copied().collect()
}

/// A name and one weight a column; `None` is no importance.
pub(crate) fn importances(cols: usize) -> Vec<(&'static str, Option<Vec<f32>>)> {
    let mut random = Random(cols as u64);
    let mut weights = |of: &dyn Fn(f32, f32) -> f32| -> Option<Vec<f32>> {
        Some((0..cols).map(|_| of(random.unit(), random.unit())).collect())
    };
    vec![
        ("none", None),
        ("random", weights(&|a, b| 0.01 + a * b)),
        ("steep", weights(&|a, b| a * a * a * b + 1e-6)),
        ("with zeros", weights(&|a, b| if a < 0.3 { 0.0 } else { b })),
        ("zeros", weights(&|_, _| 0.0)),
        ("tiny", weights(&|a, b| a * b * 1e-20)),
        ("large", weights(&|a, b| a * b * 1e12)),
    ]
}
