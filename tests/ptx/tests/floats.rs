//! Float instructions and conversions against Rust's own arithmetic.
#![allow(missing_docs)]
#![allow(clippy::type_complexity, reason = "tables of operations and what they do")]
#![allow(
    clippy::if_same_then_else,
    clippy::neg_cmp_op_on_partial_ord,
    clippy::double_comparisons,
    reason = "NaN is spelt out"
)]

mod support;

use support::instruction::check;

fn f(v: u64) -> f32 {
    f32::from_bits(v as u32)
}

fn fb(v: f32) -> u64 {
    v.to_bits().into()
}

fn d(v: u64) -> f64 {
    f64::from_bits(v)
}

/// Flushes subnormals.
fn z(v: f32) -> f32 {
    if v.is_subnormal() { 0f32.copysign(v) } else { v }
}

#[test]
fn floats_of_32_bits() {
    let cases: &[(&str, fn(f32, f32) -> f32)] = &[
        ("add.f32 $;", |a, b| a + b),
        ("add.rn.ftz.f32 $;", |a, b| z(z(a) + z(b))),
        ("sub.f32 $;", |a, b| a - b),
        ("mul.f32 $;", |a, b| a * b),
        ("mul.ftz.f32 $;", |a, b| z(z(a) * z(b))),
        ("div.rn.f32 $;", |a, b| a / b),
        ("min.f32 $;", |a, b| {
            if a.is_nan() {
                b
            } else if b.is_nan() {
                a
            } else if a < b || (a == b && a.is_sign_negative()) {
                a
            } else {
                b
            }
        }),
        ("max.f32 $;", |a, b| {
            if a.is_nan() {
                b
            } else if b.is_nan() {
                a
            } else if a > b || (a == b && b.is_sign_negative()) {
                a
            } else {
                b
            }
        }),
        ("add.sat.f32 $;", |a, b| if (a + b).is_nan() { 0.0 } else { (a + b).clamp(0.0, 1.0) + 0.0 }),
        ("copysign.f32 $;", |a, b| b.copysign(a)),
    ];
    for (op, wanted) in cases {
        check(op, "f32", &["f32", "f32"], |v| fb(wanted(f(v[0]), f(v[1]))));
    }
    check("fma.rn.f32 $;", "f32", &["f32", "f32", "f32"], |v| fb(f(v[0]).mul_add(f(v[1]), f(v[2]))));
    let unary: &[(&str, fn(f32) -> f32)] = &[
        ("neg.f32 $;", |a| -a),
        ("abs.f32 $;", f32::abs),
        ("sqrt.rn.f32 $;", f32::sqrt),
        ("rcp.rn.f32 $;", |a| 1.0 / a),
        ("ex2.approx.f32 $;", |a| f64::from(a).exp2() as f32),
        ("lg2.approx.f32 $;", |a| f64::from(a).log2() as f32),
        ("rsqrt.approx.f32 $;", |a| (1.0 / f64::from(a).sqrt()) as f32),
        ("sin.approx.f32 $;", |a| f64::from(a).sin() as f32),
        ("tanh.approx.f32 $;", |a| f64::from(a).tanh() as f32),
    ];
    for (op, wanted) in unary {
        check(op, "f32", &["f32"], |v| fb(wanted(f(v[0]))));
    }
    for (name, yes) in [
        ("lt", (|a, b| a < b) as fn(f32, f32) -> bool),
        ("gtu", |a, b| !(a <= b)),
        ("equ", |a, b| !(a < b || a > b)),
        ("ne", |a, b| a < b || a > b),
        ("neu", |a, b| a != b),
        ("num", |a, b| !a.is_nan() && !b.is_nan()),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
    ] {
        let op = format!("setp.{name}.f32 %p1, %w0, %w1; selp.b32 %w7, 1, 0, %p1;");
        check(&op, "u32", &["f32", "f32"], |v| yes(f(v[0]), f(v[1])).into());
    }
}

#[test]
fn directed_rounding_brackets_the_exact_value() {
    // down <= exact <= up, and they are equal or neighbours.
    for (op, exact) in [
        ("add", (|a, b| f64::from(a) + f64::from(b)) as fn(f32, f32) -> f64),
        ("mul", |a, b| f64::from(a) * f64::from(b)),
        ("div", |a, b| f64::from(a) / f64::from(b)),
    ] {
        for (mode, up) in [("rm", false), ("rp", true)] {
            check(&format!("{op}.{mode}.f32 $;"), "f32", &["f32", "f32"], |v| {
                let (a, b) = (f(v[0]), f(v[1]));
                let e = exact(a, b);
                let near = e as f32;
                if e.is_nan() || e.is_infinite() || a.is_infinite() || b.is_infinite() {
                    return fb(near);
                }
                // Products and sums in f64 may themselves be rounded; these sources are far enough apart, or exact.
                let r = match (up, f64::from(near) < e, f64::from(near) > e) {
                    (true, true, _) => near.next_up(),
                    (false, _, true) => near.next_down(),
                    _ => near,
                };
                if op == "add" && e == 0.0 && !up && a != 0.0 {
                    return fb(-0.0);
                }
                if op == "add" && e == 0.0 && a == 0.0 && a.is_sign_negative() != b.is_sign_negative() {
                    return fb(if up { 0.0 } else { -0.0 });
                }
                // A sum of which one part vanishes in f64.
                let lost = op == "add"
                    && (f64::from(a) + f64::from(b) - f64::from(a) != f64::from(b)
                        || f64::from(a) + f64::from(b) - f64::from(b) != f64::from(a));
                if lost && f64::from(near) == e {
                    let small = if a.abs() < b.abs() { a } else { b };
                    return fb(match (up, small > 0.0) {
                        (true, true) => near.next_up(),
                        (false, false) => near.next_down(),
                        _ => near,
                    });
                }
                fb(r)
            });
        }
    }
}

#[test]
fn floats_of_64_bits() {
    let cases: &[(&str, fn(f64, f64) -> f64)] = &[
        ("add.f64 $;", |a, b| a + b),
        ("mul.f64 $;", |a, b| a * b),
        ("div.rn.f64 $;", |a, b| a / b),
        ("min.f64 $;", |a, b| {
            if a.is_nan() {
                b
            } else if b.is_nan() {
                a
            } else if a < b || (a == b && a.is_sign_negative()) {
                a
            } else {
                b
            }
        }),
    ];
    for (op, wanted) in cases {
        check(op, "f64", &["f64", "f64"], |v| wanted(d(v[0]), d(v[1])).to_bits());
    }
    check("fma.rn.f64 $;", "f64", &["f64", "f64", "f64"], |v| d(v[0]).mul_add(d(v[1]), d(v[2])).to_bits());
    check("sqrt.rn.f64 $;", "f64", &["f64"], |v| d(v[0]).sqrt().to_bits());
}

#[test]
fn conversions() {
    check("cvt.rni.s32.f32 $;", "u32", &["f32"], |v| f(v[0]).round_ties_even() as i32 as u64);
    check("cvt.rzi.s32.f32 $;", "u32", &["f32"], |v| f(v[0]) as i32 as u64);
    check("cvt.rmi.s32.f32 $;", "u32", &["f32"], |v| f(v[0]).floor() as i32 as u64);
    check("cvt.rpi.u32.f32 $;", "u32", &["f32"], |v| u64::from(f(v[0]).ceil() as u32));
    check("cvt.rzi.s64.f32 $;", "u64", &["f32"], |v| f(v[0]) as i64 as u64);
    check("cvt.rni.f32.f32 $;", "f32", &["f32"], |v| fb(f(v[0]).round_ties_even()));
    check("cvt.rn.f32.s32 $;", "f32", &["u32"], |v| fb(v[0] as i32 as f32));
    check("cvt.rn.f32.u64 $;", "f32", &["u64"], |v| fb(v[0] as f32));
    check("cvt.rn.f32.s64 $;", "f32", &["u64"], |v| fb(v[0] as i64 as f32));
    check("cvt.rn.f64.u64 $;", "f64", &["u64"], |v| (v[0] as f64).to_bits());
    check("cvt.f64.f32 $;", "f64", &["f32"], |v| f64::from(f(v[0])).to_bits());
    check("cvt.rn.f32.f64 $;", "f32", &["f64"], |v| fb(d(v[0]) as f32));
    check("cvt.s64.s32 $;", "u64", &["u32"], |v| v[0] as i32 as i64 as u64);
    check("cvt.u64.u32 $;", "u64", &["u32"], |v| v[0]);
    check("cvt.u32.u64 $;", "u32", &["u64"], |v| v[0]);
    check("cvt.s32.s8 $;", "u32", &["u32"], |v| v[0] as i8 as i32 as u64);
    check("cvt.u32.u8 $;", "u32", &["u32"], |v| v[0] & 255);
    check("cvt.s32.s16 $;", "u32", &["u16"], |v| v[0] as i16 as i32 as u64);
    check("cvt.sat.u8.s32 $;", "u32", &["u32"], |v| (v[0] as i32).clamp(0, 255) as u64);
    check("cvt.sat.s8.s32 $;", "u32", &["u32"], |v| (v[0] as i32).clamp(-128, 127) as u64);
    check("cvt.sat.f32.f32 $;", "f32", &["f32"], |v| fb(if f(v[0]).is_nan() { 0.0 } else { f(v[0]).clamp(0.0, 1.0) }));
    check("cvt.rna.tf32.f32 $;", "u32", &["f32"], |v| {
        if f(v[0]).is_finite() { v[0].wrapping_add(0x1000) & !0x1fff } else { v[0] & !0x1fff }
    });
}

/// bfloat16 by the usual trick.
fn bf16(v: f32) -> u64 {
    if v.is_nan() { 0x7fff } else { u64::from(support::bf16(v)) }
}

/// binary16 by search: the nearest of all of them, ties to even.
fn f16_value(h: u16) -> f64 {
    let (e, m) = (i32::from(h >> 10 & 31), f64::from(h & 1023));
    let v = if e == 0 { m * 2f64.powi(-24) } else { (1024.0 + m) * 2f64.powi(e - 25) };
    if h >> 15 == 1 { -v } else { v }
}

fn f16(v: f64) -> u64 {
    if v.is_nan() {
        return 0x7fff;
    }
    let sign = u64::from(v.is_sign_negative()) << 15;
    let a = v.abs();
    if a >= 65520.0 {
        return sign | 0x7c00;
    }
    let (mut low, mut high) = (0u16, 0x7c00u16);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if f16_value(middle) <= a { low = middle } else { high = middle }
    }
    let next = if high == 0x7c00 { 65536.0 } else { f16_value(high) };
    let (below, above) = (a - f16_value(low), next - a);
    let up = above < below || (above == below && low & 1 == 1);
    sign | u64::from(if up { high } else { low })
}

#[test]
fn floats_of_16_bits() {
    check("cvt.rn.f16.f32 $;", "u16", &["f32"], |v| f16(f(v[0]).into()));
    check("cvt.rn.bf16.f32 $;", "u16", &["f32"], |v| bf16(f(v[0])));
    check("cvt.rn.bf16x2.f32 $;", "u32", &["f32", "f32"], |v| bf16(f(v[0])) << 16 | bf16(f(v[1])));
    check("cvt.rn.f16x2.f32 $;", "u32", &["f32", "f32"], |v| f16(f(v[0]).into()) << 16 | f16(f(v[1]).into()));
    check("cvt.f32.bf16 $;", "f32", &["u16"], |v| v[0] << 16);
    check("cvt.f32.f16 $;", "f32", &["u16"], |v| {
        let h = v[0] as u16;
        fb(match (h >> 10 & 31, h & 1023) {
            (31, 0) => {
                if h >> 15 == 1 {
                    f32::NEG_INFINITY
                } else {
                    f32::INFINITY
                }
            }
            (31, _) => f32::NAN,
            _ => f16_value(h) as f32,
        })
    });
    let finite = |h: u64| h >> 10 & 31 != 31;
    let add = |a: u64, b: u64, g: &dyn Fn(f64, f64) -> f64| f16(g(f16_value(a as u16), f16_value(b as u16)));
    // Not-a-number and infinity are left to the f32 tests: the widening is the same.
    for (op, g) in [("add", (|a, b| a + b) as fn(f64, f64) -> f64), ("sub", |a, b| a - b), ("mul", |a, b| a * b)] {
        let text = format!("and.b16 %h0, %h0, 0xbfff; and.b16 %h1, %h1, 0xbfff; {op}.f16 $;");
        check(&text, "u16", &["u16", "u16"], |v| {
            let (a, b) = (v[0] & 0xbfff, v[1] & 0xbfff);
            assert!(finite(a) && finite(b));
            add(a, b, &g)
        });
    }
    let text = "and.b32 %w0, %w0, 0xbfffbfff; and.b32 %w1, %w1, 0xbfffbfff; fma.rn.f16x2 %w7, %w0, %w1, %w0;";
    check(text, "u32", &["u32", "u32"], |v| {
        let (a, b) = (v[0] & 0xbfff_bfff, v[1] & 0xbfff_bfff);
        let one = |k: u64| {
            let (x, y) = (f16_value((a >> k) as u16), f16_value((b >> k) as u16));
            f16(x.mul_add(y, x))
        };
        one(16) << 16 | one(0)
    });
}
