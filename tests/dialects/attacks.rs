//! Quantized checkpoints that are broken: refused with the names of tensors and keys, never a panic.

use planish::dialect::{Error, Target};
use planish::model::Gather;
use planish::run::Weight;
use planish_formats::{Dtype, Kind, Storage};
use serde_json::json;

use super::made::{Made, linear, weights};

/// What opening a damaged linear of `[128, 256]` says, and whose fault it is.
fn refused(target: &str, damage: impl FnOnce(&mut Made)) -> (Kind, String) {
    let target = Target::named(target).expect("a target");
    let (mut made, _) = linear(&target, [128, 256], &weights(128 * 256, 1));
    damage(&mut made);
    let dir = tempfile::tempdir().expect("a folder");
    let opened = made.open(&dir.path().join("model.safetensors"));
    let failed = |error: Error| (error.kind(), error.to_string());
    let tensors = match opened {
        Err(error) => return failed(error),
        Ok(tensors) => tensors,
    };
    match Weight::new(&tensors, &Gather::Whole("P.weight".to_owned()), &[128, 256]) {
        Err(planish::run::Error::Dialect(error)) => failed(*error),
        Err(error) => (error.kind(), error.to_string()),
        Ok(_) => panic!("{}: nobody minded", target.name),
    }
}

/// Cuts the last row or element off a tensor.
fn cut(made: &mut Made, name: &str) {
    let (info, bytes) = made.tensor(name);
    info.shape[0] -= 1;
    bytes.truncate(info.bytes().expect("whole bytes"));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let mut count = 0;
    for target in planish::dialect::TARGETS {
        let (made, _) = linear(target, [128, 256], &weights(128 * 256, 1));
        for (info, _) in &made.tensors {
            for drop in [false, true] {
                // Nothing but g_idx can be done without; and blocks may be cut, so that a row less is sound.
                let sound =
                    if drop { info.name == "P.g_idx" } else { (target.name, &*info.name) == ("fp8-block", "P.weight") };
                if sound {
                    continue;
                }
                let (kind, message) = refused(target.name, |made| {
                    if drop { made.tensors.retain(|(other, _)| other.name != info.name) } else { cut(made, &info.name) }
                });
                assert_eq!(kind, Kind::Bad, "{}: {} {message}", target.name, info.name);
                assert!(message.contains("P."), "{}: {} {message}", target.name, info.name);
                count += 1;
            }
            let (kind, message) = refused(target.name, |made| {
                let (info, bytes) = made.tensor(&info.name);
                (info.storage, info.shape) = (Storage::Plain(Dtype::BOOL), vec![bytes.len()]);
            });
            assert_eq!(kind, Kind::Bad, "{}: {} {message}", target.name, info.name);
            assert!(message.contains(&info.name), "{}: {} {message}", target.name, info.name);
        }
    }
    assert!(count > 60, "only {count} cases");
}

#[test]
fn groups_and_divisors_that_are_none_are_named() {
    for (value, shown) in [(2i32, "group 2 of 2"), (-1, "group -1 of 2"), (i32::MIN, "group -2147483648 of 2")] {
        let (kind, message) =
            refused("gptq-int4", |made| made.tensor("P.g_idx").1[40..44].copy_from_slice(&value.to_le_bytes()));
        assert_eq!((kind, message), (Kind::Bad, format!("P.g_idx: column 10 is in {shown}")));
    }
    for value in [0f32, -1.0, f32::NAN, f32::INFINITY] {
        let (kind, message) =
            refused("nvfp4a16", |made| made.tensor("P.weight_global_scale").1.copy_from_slice(&value.to_le_bytes()));
        assert_eq!(kind, Kind::Bad);
        assert!(message.starts_with("P.weight_global_scale: "), "{message}");
    }
    for shape in [[128i64, -1], [128, 0], [64, 256], [128, i64::MAX]] {
        let (kind, message) = refused("w4a16", |made| {
            made.tensor("P.weight_shape").1 = shape.iter().flat_map(|n| n.to_le_bytes()).collect();
        });
        assert_eq!(kind, Kind::Bad, "{shape:?}");
        assert!(message.contains("P.weight_"), "{message}");
    }
}

#[test]
fn configurations_are_refused_by_key() {
    type Damage = fn(&mut Made);
    let bad: &[(&str, Damage, &str)] = &[
        ("gptq-int4", |m| drop(m.quantization().insert("bits".into(), json!(5))), "`quantization_config.bits` is 5"),
        ("gptq-int4", |m| drop(m.quantization().shift_remove("bits")), "`quantization_config.bits` is missing"),
        ("gptq-int4", |m| drop(m.quantization().insert("group_size".into(), json!(0))), "group_size"),
        ("gptq-int4", |m| drop(m.quantization().insert("group_size".into(), json!(64))), "P.scales"),
        (
            "gptq-int4",
            |m| drop(m.quantization().insert("dynamic".into(), json!({"-:P": {}}))),
            "leaves its module alone",
        ),
        ("awq-int4", |m| drop(m.quantization().insert("bits".into(), json!(8))), "`quantization_config.bits` is 8"),
        ("w4a16", |m| drop(m.quantization().insert("ignore".into(), json!(["re:P"]))), "ignores its module"),
        ("w4a16", |m| m.quantization()["config_groups"]["group_0"]["targets"] = json!(["Q"]), "no group"),
        ("w4a16", |m| m.quantization()["config_groups"]["group_0"]["weights"]["strategy"] = json!("x"), "strategy"),
        (
            "w4a16",
            |m| m.quantization()["config_groups"]["group_0"]["weights"]["group_size"] = json!(32),
            "P.weight_scale",
        ),
        ("fp8-block", |m| drop(m.quantization().insert("weight_block_size".into(), json!([128]))), "weight_block_size"),
        ("w4a16", |m| drop(m.quantization().shift_remove("quant_method")), "quant_method"),
        ("w4a16", |m| m.config.clear(), "P.weight_packed is packed, but config.json has no quantization_config"),
    ];
    for (target, damage, expected) in bad {
        let (kind, message) = refused(target, *damage);
        assert!(kind == Kind::Bad && message.contains(expected), "{target}: {message}");
    }
    let unknown: &[(&str, Damage, &str)] = &[
        (
            "gptq-int4",
            |m| drop(m.quantization().insert("checkpoint_format".into(), json!("marlin"))),
            "checkpoint_format",
        ),
        ("w4a16", |m| drop(m.quantization().insert("quant_method".into(), json!("bitsandbytes"))), "bitsandbytes"),
        (
            "gptq-int4",
            |m| drop(m.quantization().insert("rotation".into(), json!("hadamard"))),
            "rotation = \"hadamard\"",
        ),
        ("awq-int4", |m| drop(m.quantization().insert("version".into(), json!("gemv"))), "gemv"),
        (
            "w4a16",
            |m| drop(m.quantization().insert("transform_config".into(), json!({"a": {"b": 1}}))),
            "transform_config",
        ),
        (
            "w4a16",
            |m| drop(m.quantization().insert("sparsity_config".into(), json!({"format": "2:4"}))),
            "sparsity_config",
        ),
        ("w4a16", |m| drop(m.quantization().insert("format".into(), json!("marlin-24"))), "marlin-24"),
        ("w4a16", |m| m.quantization()["config_groups"]["group_0"]["weights"]["new"] = json!(1), "weights.new = 1"),
        ("w4a16", |m| drop(m.quantization().insert("ignore".into(), json!(["re:("]))), "the pattern"),
    ];
    for (target, damage, expected) in unknown {
        let (kind, message) = refused(target, *damage);
        assert!(kind == Kind::Unsupported && message.contains(expected), "{target}: {message}");
    }
}
