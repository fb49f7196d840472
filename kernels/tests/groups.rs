//! Groups of integers and small floats: the conventions of the tools, by the book, and the laws of a codec.
#![allow(missing_docs)]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/data.rs"]
mod data;
#[path = "support/groups.rs"]
mod groups;

use cases::{cases, importances};
use data::Random;
use groups::{floats, groups, ints};
use planish_kernels::Isa;
use planish_kernels::block::Codec;
use planish_kernels::group::{FloatGroup, Floats, IntGroup, ScaleType, Tool, Zero, nvfp4_global_scale};

fn isas() -> impl Iterator<Item = Isa> {
    let asked = Isa::overridden().and_then(Result::ok);
    Isa::ALL.into_iter().filter(move |isa| isa.available() && asked.is_none_or(|asked| *isa == asked))
}

fn encoded(codec: &dyn Codec, isa: Isa, rows: &[f32], cols: usize, importance: Option<&[f32]>) -> Vec<u8> {
    let mut out = vec![0xaa; rows.len() / codec.block_len() * codec.block_bytes()];
    codec.encode(isa, rows, cols, importance, &mut out);
    out
}

fn decoded(codec: &dyn Codec, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; bytes.len() / codec.block_bytes() * codec.block_len()];
    codec.decode(Isa::detected(), bytes, &mut out);
    out
}

#[test]
fn every_isa_encodes_alike() {
    for case in cases() {
        for (weights, importance) in importances(case.cols) {
            for codec in groups(case.cols) {
                let scalar = encoded(codec.as_ref(), Isa::Scalar, &case.rows, case.cols, importance.as_deref());
                for isa in isas() {
                    let bytes = encoded(codec.as_ref(), isa, &case.rows, case.cols, importance.as_deref());
                    assert!(bytes == scalar, "{} {}, {}, {weights}", codec.name(), isa.name(), case.name);
                }
            }
        }
    }
}

#[test]
fn rows_are_encoded_alone() {
    let mut random = Random(5);
    let rows = random.gaussians(21 * 768, 0.1);
    let importance: Vec<f32> = (0..768).map(|_| random.unit()).collect();
    for codec in groups(768) {
        let bytes = |rows: &[f32]| encoded(codec.as_ref(), Isa::detected(), rows, 768, Some(&importance));
        let together = bytes(&rows);
        for split in [1, 5, 16] {
            let (head, tail) = rows.split_at(split * 768);
            assert!(together == [bytes(head), bytes(tail)].concat(), "{} after row {split}", codec.name());
        }
    }
}

#[test]
fn errors_stay_within_tolerance() {
    let mut random = Random(3);
    let rows = random.gaussians(64 * 768, 0.02);
    let energy: f64 = rows.iter().map(|x| f64::from(*x).powi(2)).sum();
    for codec in groups(768) {
        let values = decoded(codec.as_ref(), &encoded(codec.as_ref(), Isa::detected(), &rows, 768, None));
        let error: f64 = values.iter().zip(&rows).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let (relative, bound) = ((error / energy).sqrt() as f32, codec.tolerance());
        assert!(relative <= bound, "{} of {}: {relative} above {bound}", codec.name(), codec.block_len());
        assert!(relative >= bound * 0.5, "{} of {}: {relative}, {bound} is loose", codec.name(), codec.block_len());
    }
}

/// The stored number nearest to a positive scale.
fn stored(scale: f32, as_type: ScaleType) -> f32 {
    match as_type {
        ScaleType::F16 => half::f16::from_f32(scale).to_f32().clamp(half::f16::from_bits(1).to_f32(), 65504.0),
        ScaleType::Bf16 => half::bf16::from_f32(scale).to_f32().clamp(f32::MIN_POSITIVE, half::bf16::MAX.to_f32()),
        ScaleType::F32 => scale.max(f32::MIN_POSITIVE),
    }
}

/// A group without importance, as the tools' own formulas have it.
fn by_the_book(x: &[f32], bits: i32, zero: Zero, as_type: ScaleType, tool: Tool) -> (Vec<u8>, f32, u8) {
    let high = 2f32.powi(bits) - 1.0;
    let (min, max) = x.iter().fold((0f32, 0f32), |(min, max), x| (min.min(*x), max.max(*x)));
    let mut scale = match zero {
        Zero::Middle => f32::max(-min, max) / (high / 2.0),
        Zero::AboveLowest if -min / ((max - min) / high) < 0.5 => max / (high - 1.0),
        Zero::Anywhere | Zero::AboveLowest => (max - min) / high,
    };
    match tool {
        Tool::Gptq if scale == 0.0 => scale = 2.0 / high,
        Tool::Awq => scale = scale.max(1e-5 / high),
        Tool::CompressedTensors if scale == 0.0 => {
            scale = match as_type {
                ScaleType::F16 => half::f16::EPSILON.to_f32(),
                ScaleType::Bf16 => half::bf16::EPSILON.to_f32(),
                ScaleType::F32 => f32::EPSILON,
            }
        }
        Tool::Gptq | Tool::CompressedTensors => {}
    }
    let scale = stored(scale, as_type);
    let zero = match zero {
        Zero::Middle => 2f32.powi(bits - 1),
        Zero::Anywhere => (-min / scale).round_ties_even().clamp(0.0, high),
        Zero::AboveLowest => (-min / scale).round_ties_even().clamp(1.0, high),
    };
    let code = |x: &f32| {
        let level = x / scale;
        let code = match tool {
            Tool::Gptq | Tool::Awq => level.round_ties_even() + zero,
            Tool::CompressedTensors => (level + zero).round_ties_even(),
        };
        code.clamp(0.0, high) as u8
    };
    (x.iter().map(code).collect(), scale, zero as u8)
}

#[test]
fn ranges_decide_as_the_tools_say() {
    for case in cases() {
        for tool in [Tool::Gptq, Tool::Awq, Tool::CompressedTensors] {
            for zero in [Zero::Middle, Zero::Anywhere, Zero::AboveLowest] {
                for (bits, as_type) in [(4, ScaleType::F16), (3, ScaleType::F32), (8, ScaleType::Bf16)] {
                    let group = IntGroup::new(bits, zero, case.cols.min(96), as_type, tool);
                    if !case.cols.is_multiple_of(group.group_len()) {
                        continue;
                    }
                    let bytes = encoded(&group, Isa::detected(), &case.rows, case.cols, None);
                    let records = bytes.chunks_exact(group.block_bytes());
                    for (record, x) in records.zip(case.rows.chunks_exact(group.group_len())) {
                        let (codes, scale, found_zero) = group.parts(record);
                        let want = by_the_book(x, i32::from(bits), zero, as_type, tool);
                        assert!(
                            (codes, scale, found_zero) == (want.0.as_slice(), want.1, want.2),
                            "{}, {group:?}: {x:?}\n{codes:?} {scale} {found_zero}\n{want:?}",
                            case.name
                        );
                        assert_eq!(record[group.group_len() + 5..], [0; 3]);
                    }
                }
            }
        }
    }
}

fn weighted_error(x: &[f32], values: &[f32], w: &[f32]) -> f64 {
    let parts = x.iter().zip(values).zip(w.iter().cycle());
    parts.map(|((x, v), w)| f64::from(*w) * (f64::from(*x) - f64::from(*v)).powi(2)).sum()
}

#[test]
fn importance_never_costs() {
    for case in cases() {
        for (weights, importance) in importances(case.cols) {
            let Some(importance) = importance else { continue };
            for group in ints(case.cols) {
                let [plain, weighted] = [None, Some(importance.as_slice())]
                    .map(|w| decoded(&group, &encoded(&group, Isa::detected(), &case.rows, case.cols, w)));
                let len = group.group_len();
                let all = case.rows.chunks_exact(len).zip(plain.chunks_exact(len)).zip(weighted.chunks_exact(len));
                for (i, ((x, plain), weighted)) in all.enumerate() {
                    let w = &importance[i * len % case.cols..][..len];
                    let (plain, weighted) = (weighted_error(x, plain, w), weighted_error(x, weighted, w));
                    // The search sums in f32.
                    let noise = 1e-5 * plain + 1e-38;
                    assert!(weighted <= plain + noise, "{group:?}, {}, {weights}: {weighted} {plain}", case.name);
                }
            }
        }
    }
}

/// Where the search matters most: a few bits on Gaussian weights.
#[test]
fn importance_pays() {
    let mut random = Random(9);
    let rows = random.gaussians(64 * 768, 0.02);
    let importance: Vec<f32> = (0..768).map(|_| 0.01 + random.unit() * random.unit()).collect();
    for (bits, zero, most) in [
        (2, Zero::Middle, 0.55),
        (3, Zero::Middle, 0.80),
        (4, Zero::Middle, 0.91),
        (2, Zero::Anywhere, 0.62),
        (3, Zero::Anywhere, 0.83),
        (4, Zero::Anywhere, 0.93),
    ] {
        let group = IntGroup::new(bits, zero, 128, ScaleType::F16, Tool::Gptq);
        let [plain, weighted] = [None, Some(importance.as_slice())].map(|w| {
            let values = decoded(&group, &encoded(&group, Isa::detected(), &rows, 768, w));
            weighted_error(&rows, &values, &importance)
        });
        assert!(weighted <= most * plain, "{bits} bits, {zero:?}: {:.3} of the error", weighted / plain);
    }
}

#[test]
fn version_one_never_needs_zero_point_zero() {
    for case in cases().iter().filter(|case| case.cols.is_multiple_of(32)) {
        for (_, importance) in importances(case.cols) {
            let group = IntGroup::new(4, Zero::AboveLowest, 32, ScaleType::F16, Tool::Gptq);
            let bytes = encoded(&group, Isa::detected(), &case.rows, case.cols, importance.as_deref());
            assert!(bytes.chunks_exact(group.block_bytes()).all(|record| group.parts(record).2 >= 1), "{}", case.name);
        }
    }
}

#[test]
fn the_global_scale_fits_the_largest_group() {
    assert_eq!(nvfp4_global_scale(2.0), 448.0 * 6.0 / 2.0);
    assert!(nvfp4_global_scale(0.0).is_finite() && nvfp4_global_scale(f32::MAX) > 0.0);
    // Records end with their scales.
    for group in floats(96) {
        let bytes = encoded(&group, Isa::detected(), &[0.0; 96], 96, None);
        let (codes, scale) = group.parts(&bytes[..group.block_bytes()]);
        assert_eq!((codes.len(), codes.len() + scale.len()), (group.block_len(), group.block_bytes()));
        assert!(decoded(&group, &bytes).iter().all(|v| *v == 0.0), "{group:?}");
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).expect("a digit") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// What compressed-tensors itself makes of some rows, by `fixtures/make/groups.py`.
#[test]
fn codes_are_compressed_tensors() {
    let text = include_str!("../../fixtures/golden/groups.txt");
    let (first, schemes) = text.split_once('\n').expect("rows, then schemes");
    let [_, cols, rows] = *first.split(' ').collect::<Vec<_>>() else { panic!("rows") };
    let cols: usize = cols.parse().expect("a number");
    let rows: Vec<f32> = bytes_of(rows).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let largest = rows.iter().fold(0f32, |a, b| a.max(b.abs()));
    let int = |bits, zero, len, scale| IntGroup::new(bits, zero, len, scale, Tool::CompressedTensors);
    let mut seen = 0;
    for line in schemes.lines() {
        let [name, codes, scales, zeros] = *line.split(' ').collect::<Vec<_>>() else { panic!("four parts") };
        let group: Box<dyn Codec> = match name {
            "int4-32-bf16" => Box::new(int(4, Zero::Middle, 32, ScaleType::Bf16)),
            "int4-64-f32-asymmetric" => Box::new(int(4, Zero::Anywhere, 64, ScaleType::F32)),
            "int3-128-f16" => Box::new(int(3, Zero::Middle, 128, ScaleType::F16)),
            "int8-channel-bf16" => Box::new(int(8, Zero::Middle, cols, ScaleType::Bf16)),
            "fp8-channel-bf16" => Box::new(FloatGroup::new(Floats::Fp8(ScaleType::Bf16), cols)),
            "mxfp8" => Box::new(FloatGroup::new(Floats::Mxfp8, 32)),
            "mxfp4" => Box::new(FloatGroup::new(Floats::Mxfp4, 32)),
            "nvfp4" => Box::new(FloatGroup::new(Floats::Nvfp4(nvfp4_global_scale(largest)), 16)),
            name => panic!("what {name} is"),
        };
        let (codes, scales) = (bytes_of(codes), bytes_of(scales));
        let width = scales.len() * group.block_len() / rows.len();
        for isa in isas() {
            let bytes = encoded(group.as_ref(), isa, &rows, cols, None);
            let records = || bytes.chunks_exact(group.block_bytes());
            let found: Vec<u8> = records().flat_map(|r| &r[..group.block_len()]).copied().collect();
            let at = found.iter().zip(&codes).position(|(a, b)| a != b);
            assert_eq!(at.map(|i| (i, found[i], codes[i], rows[i])), None, "{name}: element, ours, theirs, value");
            let found: Vec<u8> = records().flat_map(|r| &r[group.block_len()..][..width]).copied().collect();
            assert!(found == scales, "{name}: scales");
            if zeros != "-" {
                let found: Vec<u8> = records().map(|r| r[group.block_len() + 4]).collect();
                assert!(found == bytes_of(zeros), "{name}: zero points");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 8);
}
