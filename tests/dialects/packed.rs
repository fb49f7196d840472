//! What is packed comes back, in every target and shape, through every way of gathering rows.

use planish::dialect::{Stored, TARGETS, Target, Tensors};
use planish::model::Gather;
use planish_formats::{Dtype, Info, Storage};

use super::golden::values;
use super::made::{Made, linear, weights};

fn target(name: &str) -> Target {
    Target::named(name).expect("a target")
}

/// Every target with every size of a group that it can have.
fn all() -> Vec<Target> {
    let sizes = [-1, 32, 64, 128];
    TARGETS
        .iter()
        .flat_map(|target| std::iter::once(*target).chain(sizes.iter().filter_map(|&n| target.grouped(n).ok())))
        .collect()
}

#[test]
fn packing_and_unpacking_is_the_identity() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut count = 0;
    for target in all() {
        // One group, several, one row of words, ragged lower edges of blocks.
        for (rows, cols) in [(32, 128), (32, 384), (96, 256), (160, 128), (32, 4224)] {
            let (made, decoded) = linear(&target, [rows, cols], &weights(rows * cols, 7));
            let tensors = made.open(&dir.path().join("model.safetensors")).expect("what was just packed");
            assert_eq!(tensors.infos().len(), 1);
            let info = tensors.info("P.weight").expect("the linear");
            assert_eq!(info.shape, [rows, cols]);
            let back = values(&tensors, &Gather::Whole("P.weight".to_owned()), &[rows, cols], 29);
            // The sign of a zero is all that may differ.
            assert!(back == decoded, "{} g{} {rows} x {cols}: {}", target.name, target.group, info.storage.name());
            count += 1;
        }
    }
    assert!(count >= 5 * 30, "only {count} cases");
}

/// What a plan says of a linear is what reading finds.
#[test]
fn schemes_are_those_that_were_planned() {
    let dir = tempfile::tempdir().expect("a folder");
    for target in all() {
        let (made, _) = linear(&target, [128, 256], &weights(128 * 256, 3));
        let tensors = made.open(&dir.path().join("model.safetensors")).expect("what was just packed");
        let found = tensors.info("P.weight").expect("the linear").storage;
        let planned = planish::dialect::Linear::new(&target, planish_kernels::group::ScaleType::Bf16, [128, 256]);
        assert_eq!(found, Stored::Packed(planned.expect("a linear").scheme()), "{}", target.name);
        // Bits count what the tensors take, but for what is the same for every column or tensor.
        let bytes: usize = made.tensors.iter().map(|(_, bytes)| bytes.len()).sum();
        let counted = found.bytes(&[128, 256]) as usize;
        assert!(counted <= bytes && bytes <= counted + 4 * 256 + 16, "{}: {counted} of {bytes}", target.name);
    }
}

#[test]
fn refusals_give_the_reason() {
    let refused = |name: &str, rows, cols| {
        planish::dialect::Linear::new(&target(name), planish_kernels::group::ScaleType::Bf16, [rows, cols]).unwrap_err()
    };
    assert_eq!(refused("w4a16", 64, 576), "its 576 columns are no multiple of the group of 128");
    assert_eq!(refused("fp8-block", 64, 576), "its 576 columns are no multiple of the group of 128");
    assert!(refused("gptq-int4", 48, 128).contains("GPTQ packs whole words of 32 rows"));
    assert!(refused("awq-int4", 12, 128).contains("eight rows in a word, and it has 12"));
    assert!(refused("nvfp4a16", 4, 40).contains("multiple of the group of 16"));
}

/// Packed tensors beside the same as F32.
fn both(target: &Target, shape: [usize; 2], dir: &std::path::Path) -> (Tensors, Tensors) {
    let (mut packed, mut plain) = (vec![], vec![]);
    let mut config = None;
    for (seed, name) in [(1, "A"), (2, "B")] {
        let (made, decoded) = linear(target, shape, &weights(shape[0] * shape[1], seed));
        for (info, bytes) in made.tensors {
            packed.push((Info { name: info.name.replacen('P', name, 1), ..info }, bytes));
        }
        let info = Info { name: format!("{name}.weight"), storage: Storage::Plain(Dtype::F32), shape: shape.to_vec() };
        plain.push((info, decoded.iter().flat_map(|x| x.to_le_bytes()).collect()));
        config = Some(made.config);
    }
    let packed = Made { tensors: packed, config: config.expect("two linears") };
    let plain = Made { tensors: plain, config: planish::checkpoint::Json::new() };
    (
        packed.open(&dir.join("packed.safetensors")).expect("packed"),
        plain.open(&dir.join("plain.safetensors")).expect("plain"),
    )
}

#[test]
fn every_gather_finds_the_rows_of_packed_tensors() {
    let dir = tempfile::tempdir().expect("a folder");
    let (rows, cols) = (96, 128);
    let a = || "A.weight".to_owned();
    for target in TARGETS {
        let (packed, plain) = both(target, [rows, cols], dir.path());
        let gathers = [
            (Gather::Whole(a()), vec![rows, cols]),
            (Gather::Rows(a(), 32, 80), vec![48, cols]),
            (Gather::Transposed(a()), vec![cols, rows]),
            (Gather::Stacked(vec![a(), "B.weight".to_owned()]), vec![2, rows, cols]),
            (Gather::Paired { name: a(), heads: 6 }, vec![rows, cols]),
            (Gather::Unpaired { name: a(), heads: 6 }, vec![rows, cols]),
        ];
        for (gather, shape) in gathers {
            for band in [5, 16, 4096] {
                let found = values(&packed, &gather, &shape, band);
                assert!(found == values(&plain, &gather, &shape, band), "{} {gather:?} by {band}", target.name);
            }
        }
    }
}
