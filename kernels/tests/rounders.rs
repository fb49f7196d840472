//! The laws of every rounder, for every codec that has one.
#![allow(missing_docs)]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/data.rs"]
mod data;
#[path = "support/groups.rs"]
mod groups;

use cases::{Case, cases, importances};
use data::Random;
use planish_kernels::Isa;
use planish_kernels::block::{CODECS, Codec, Rounder, mean_squares};

fn isas() -> impl Iterator<Item = Isa> {
    let asked = Isa::overridden().and_then(Result::ok);
    Isa::ALL.into_iter().filter(move |isa| isa.available() && asked.is_none_or(|asked| *isa == asked))
}

/// Block types and some groups.
fn codecs(groups: &[Box<dyn Codec>]) -> impl Iterator<Item = &dyn Codec> {
    CODECS.iter().map(|codec| *codec as &dyn Codec).chain(groups.iter().map(AsRef::as_ref))
}

/// Columns `block * len ..` of all rows.
fn block_of(case: &Case, len: usize, block: usize) -> Vec<f32> {
    case.rows.chunks_exact(case.cols).flat_map(|row| &row[block * len..][..len]).copied().collect()
}

fn column(x: &[f32], len: usize, col: usize) -> Vec<f32> {
    x.iter().skip(col).step_by(len).copied().collect()
}

/// Rounds all columns of a block, and gives the values and the bytes.
fn snapped(rounder: &mut dyn Rounder, codec: &dyn Codec, x: &[f32]) -> (Vec<f32>, Vec<u8>) {
    let len = rounder.block_len();
    let rows = x.len() / len;
    let mut values = vec![f32::NAN; x.len()];
    // Any order will do.
    for i in 0..len {
        let col = (i * 7 + 3) % len;
        let mut out = vec![f32::NAN; rows];
        rounder.snap(col, &column(x, len, col), &mut out);
        for (row, value) in out.into_iter().enumerate() {
            values[row * len + col] = value;
        }
    }
    let mut bytes = vec![0xaa; rows * codec.block_bytes()];
    rounder.pack(&mut bytes);
    (values, bytes)
}

fn decoded(codec: &dyn Codec, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; bytes.len() / codec.block_bytes() * codec.block_len()];
    codec.decode(Isa::Scalar, bytes, &mut out);
    out
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan())
}

#[test]
fn rounding_what_was_fitted_is_encoding() {
    for case in cases() {
        let squares = mean_squares(Isa::Scalar, &case.rows, case.cols);
        let groups = groups::groups(case.cols);
        for (weights, importance) in importances(case.cols) {
            for codec in codecs(&groups).filter(|c| case.cols.is_multiple_of(c.block_len())) {
                let rows = case.rows.len() / case.cols;
                let Some(mut first) = codec.rounder(Isa::Scalar, rows) else { continue };
                let (len, bytes) = (first.block_len(), codec.block_bytes());
                assert_eq!(len, codec.block_len());
                let mut encoded = vec![0; case.rows.len() / len * bytes];
                codec.encode(Isa::detected(), &case.rows, case.cols, importance.as_deref(), &mut encoded);
                let blocks = case.cols / len;
                for block in (0..blocks).step_by(blocks.div_ceil(3)) {
                    let x = block_of(&case, len, block);
                    let importance = importance.as_ref().map(|w| &w[block * len..][..len]);
                    let want: Vec<u8> = encoded
                        .chunks_exact(blocks * bytes)
                        .flat_map(|row| &row[block * bytes..][..bytes])
                        .copied()
                        .collect();
                    for isa in isas() {
                        let mut other;
                        let rounder = if isa == Isa::Scalar {
                            &mut first
                        } else {
                            other = codec.rounder(isa, rows).expect("as before");
                            &mut other
                        };
                        let what = format!("{} {}, {}, importance {weights}", codec.name(), isa.name(), case.name);
                        rounder.fit(&x, importance, &squares);
                        let mut untouched = vec![0; want.len()];
                        rounder.pack(&mut untouched);
                        assert!(untouched == want, "{what}: before any column");
                        let (values, packed) = snapped(rounder.as_mut(), codec, &x);
                        assert!(packed == want, "{what}: bytes");
                        assert!(same_bits(&values, &decoded(codec, &packed)), "{what}: values");
                    }
                }
            }
        }
    }
}

/// Every value that a code of the element could stand for: what decoding makes of each code, found by rounding.
#[test]
fn other_values_go_to_the_nearest_point() {
    let mut random = Random(21);
    let groups = groups::groups(96);
    for codec in codecs(&groups) {
        let rows = 21;
        let len = codec.block_len();
        let Some(mut first) = codec.rounder(Isa::Scalar, rows) else { continue };
        let x: Vec<f32> = random.gaussians(rows * len, 0.05);
        let squares = mean_squares(Isa::Scalar, &x, len);
        let importance: Vec<f32> = (0..len).map(|_| 0.1 + random.unit()).collect();
        for importance in [None, Some(importance.as_slice())] {
            first.fit(&x, importance, &squares);
            let moved: Vec<f32> = x.iter().map(|x| x + random.gaussian() * 0.01).collect();
            let (values, bytes) = snapped(first.as_mut(), codec, &moved);
            assert!(same_bits(&values, &decoded(codec, &bytes)), "{}: values", codec.name());
            for isa in isas() {
                let mut other = codec.rounder(isa, rows).expect("as before");
                other.fit(&x, importance, &squares);
                let found = snapped(other.as_mut(), codec, &moved);
                assert!(found.1 == bytes && same_bits(&found.0, &values), "{} {}", codec.name(), isa.name());
            }
            // A fine ramp finds all points of each element's grid.
            let points: Vec<Vec<f32>> = (0..=2000)
                .map(|i| snapped(first.as_mut(), codec, &vec![(i - 1000) as f32 * 0.0005; rows * len]).0)
                .collect();
            for (i, (&x, &value)) in moved.iter().zip(&values).enumerate() {
                let best = points.iter().map(|p| (p[i] - x).abs()).fold(f32::INFINITY, f32::min);
                let error = (value - x).abs();
                assert!(
                    error <= best + x.abs() * 1e-6,
                    "{}: {x} went to {value}, off by {error}, not {best}",
                    codec.name()
                );
            }
        }
    }
}

fn weighted_errors(x: &[f32], values: &[f32], w: &[f32]) -> Vec<f64> {
    let rows = x.chunks_exact(w.len()).zip(values.chunks_exact(w.len()));
    let error = |((x, v), w): ((&f32, &f32), &f32)| f64::from(*w) * (f64::from(*x) - f64::from(*v)).powi(2);
    rows.map(|(x, v)| x.iter().zip(v).zip(w).map(error).sum()).collect()
}

#[test]
fn refitting_never_costs() {
    let mut random = Random(33);
    let mut helped = 0;
    let groups = groups::groups(96);
    for codec in codecs(&groups) {
        let (rows, len) = (19, codec.block_len());
        let Some(mut first) = codec.rounder(Isa::Scalar, rows) else { continue };
        let mut helps = false;
        for deviation in [0.05, 3e-7, 900.0] {
            let x = random.gaussians(rows * len, deviation);
            let squares = mean_squares(Isa::Scalar, &x, len);
            let importance: Vec<f32> = (0..len).map(|_| 0.1 + random.unit()).collect();
            let moved: Vec<f32> = x.iter().map(|x| x + random.gaussian() * 0.3 * deviation).collect();
            for importance in [None, Some(importance.as_slice())] {
                let w = importance.map_or_else(|| vec![1.0; len], <[f32]>::to_vec);
                first.fit(&x, importance, &squares);
                let (values, bytes) = snapped(first.as_mut(), codec, &moved);
                let before = weighted_errors(&moved, &values, &w);
                let changed = first.refit(&moved, importance);
                let mut refitted = vec![0; bytes.len()];
                first.pack(&mut refitted);
                let after = weighted_errors(&moved, &decoded(codec, &refitted), &w);
                let what = format!("{} of {len}, deviation {deviation}", codec.name());
                assert_eq!(changed, refitted != bytes, "{what}");
                let blocks = bytes.chunks_exact(codec.block_bytes()).zip(refitted.chunks_exact(codec.block_bytes()));
                for ((old, new), (before, after)) in blocks.zip(before.iter().zip(&after)) {
                    assert!(old == new || after < before, "{what}: {before} became {after}");
                }
                helps |= after.iter().sum::<f64>() < 0.999 * before.iter().sum::<f64>();
                // The new grid is the one that columns are rounded onto, and that decoding sees.
                let (values, packed) = snapped(first.as_mut(), codec, &moved);
                assert!(same_bits(&values, &decoded(codec, &packed)), "{what}: values");
                for isa in isas() {
                    let mut other = codec.rounder(isa, rows).expect("as before");
                    other.fit(&x, importance, &squares);
                    assert!(snapped(other.as_mut(), codec, &moved).1 == bytes, "{what} {}", isa.name());
                    assert_eq!(other.refit(&moved, importance), changed, "{what} {}", isa.name());
                    let mut bytes = vec![0; bytes.len()];
                    other.pack(&mut bytes);
                    assert!(bytes == refitted, "{what} {}", isa.name());
                }
            }
        }
        helped += usize::from(helps);
    }
    // All but plain numbers, powers of two and eight-bit floats.
    assert!(helped >= 20, "{helped}");
}
