//! Integer instructions against Rust's own arithmetic.
#![allow(missing_docs)]
#![allow(clippy::type_complexity, reason = "tables of operations and what they do")]

mod support;

use support::instruction::check;

#[test]
fn integers_of_32_bits() {
    let u = ["u32", "u32"];
    let cases: &[(&str, fn(u32, u32) -> u32)] = &[
        ("add.s32 $;", |a, b| a.wrapping_add(b)),
        ("sub.s32 $;", |a, b| a.wrapping_sub(b)),
        ("mul.lo.s32 $;", |a, b| a.wrapping_mul(b)),
        ("mul.hi.u32 $;", |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32),
        ("mul.hi.s32 $;", |a, b| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32),
        ("add.sat.s32 $;", |a, b| (a as i32).saturating_add(b as i32) as u32),
        ("div.u32 $;", |a, b| a.checked_div(b).unwrap_or(u32::MAX)),
        ("div.s32 $;", |a, b| if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 }),
        ("rem.u32 $;", |a, b| a.checked_rem(b).unwrap_or(a)),
        ("rem.s32 $;", |a, b| if b == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u32 }),
        ("min.s32 $;", |a, b| (a as i32).min(b as i32) as u32),
        ("min.u32 $;", |a, b| a.min(b)),
        ("max.s32 $;", |a, b| (a as i32).max(b as i32) as u32),
        ("max.u32 $;", |a, b| a.max(b)),
        ("and.b32 $;", |a, b| a & b),
        ("or.b32 $;", |a, b| a | b),
        ("xor.b32 $;", |a, b| a ^ b),
        ("shl.b32 $;", |a, b| a.checked_shl(b).unwrap_or(0)),
        ("shr.u32 $;", |a, b| a.checked_shr(b).unwrap_or(0)),
        ("shr.s32 $;", |a, b| ((a as i32) >> b.min(31)) as u32),
        ("setp.lt.s32 %p1, %w0, %w1; selp.b32 %w7, 1, 0, %p1;", |a, b| u32::from((a as i32) < b as i32)),
        ("setp.hs.u32 %p1, %w0, %w1; selp.b32 %w7, 1, 0, %p1;", |a, b| u32::from(a >= b)),
        ("setp.ne.b32 %p1, %w0, %w1; selp.b32 %w7, %w0, %w1, %p1;", |a, b| if a == b { b } else { a }),
    ];
    for (op, wanted) in cases {
        check(op, "u32", &u, |v| wanted(v[0] as u32, v[1] as u32).into());
    }
    let unary: &[(&str, fn(u32) -> u32)] = &[
        ("not.b32 $;", |a| !a),
        ("neg.s32 $;", |a| a.wrapping_neg()),
        ("abs.s32 $;", |a| (a as i32).unsigned_abs()),
        ("popc.b32 $;", u32::count_ones),
        ("clz.b32 $;", u32::leading_zeros),
        ("brev.b32 $;", u32::reverse_bits),
        ("bfind.u32 $;", |a| a.checked_ilog2().unwrap_or(u32::MAX)),
        ("bfind.s32 $;", |a| (if (a as i32) < 0 { !a } else { a }).checked_ilog2().unwrap_or(u32::MAX)),
        ("cnot.b32 $;", |a| u32::from(a == 0)),
    ];
    for (op, wanted) in unary {
        check(op, "u32", &["u32"], |v| wanted(v[0] as u32).into());
    }
}

#[test]
fn integers_of_three_sources() {
    let u = ["u32", "u32", "u32"];
    let cases: &[(&str, fn(u32, u32, u32) -> u32)] = &[
        ("mad.lo.s32 $;", |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        ("shf.l.wrap.b32 $;", |a, b, c| (((u64::from(b) << 32 | u64::from(a)) << (c & 31)) >> 32) as u32),
        ("shf.r.wrap.b32 $;", |a, b, c| ((u64::from(b) << 32 | u64::from(a)) >> (c & 31)) as u32),
        ("shf.r.clamp.b32 $;", |a, b, c| ((u64::from(b) << 32 | u64::from(a)) >> c.min(32)) as u32),
        ("lop3.b32 $, 0x96;", |a, b, c| a ^ b ^ c),
        ("lop3.b32 $, 0xca;", |a, b, c| (a & b) | (!a & c)),
        ("sad.u32 $;", |a, b, c| a.abs_diff(b).wrapping_add(c)),
        ("prmt.b32 %w7, %w0, %w1, 0x5410;", |a, b, _| a & 0xffff | b << 16),
        ("prmt.b32 %w7, %w0, %w1, 0x0123;", |a, _, _| a.swap_bytes()),
        ("prmt.b32 %w7, %w0, %w1, 0x8888;", |a, _, _| if a & 0x80 == 0 { 0 } else { u32::MAX }),
        ("dp4a.s32.s32 $;", |a, b, c| {
            (0..4).fold(c, |s, k| {
                let (x, y) = ((a >> (8 * k)) as i8, (b >> (8 * k)) as i8);
                s.wrapping_add((i32::from(x) * i32::from(y)) as u32)
            })
        }),
        ("dp4a.u32.u32 $;", |a, b, c| {
            (0..4).fold(c, |s, k| s.wrapping_add((a >> (8 * k) & 255) * (b >> (8 * k) & 255)))
        }),
        ("bfe.u32 $;", |a, b, c| {
            let (at, len) = (b & 255, c & 255);
            let v = u64::from(a) >> at.min(63);
            (if len >= 32 { v } else { v & ((1 << len) - 1) }) as u32
        }),
        ("bfe.s32 $;", |a, b, c| {
            let (at, len) = (i64::from(b & 255), i64::from(c & 255));
            if len == 0 {
                return 0;
            }
            let bit = |i: i64| (a >> i.min(31)) & 1;
            let sign = bit(at + len - 1);
            (0..32).fold(0, |v, i| v | (if i < len && at + i < 32 { bit(at + i) } else { sign }) << i)
        }),
    ];
    for (op, wanted) in cases {
        check(op, "u32", &u, |v| wanted(v[0] as u32, v[1] as u32, v[2] as u32).into());
    }
    check("bfi.b32 %w7, %w0, %w1, 8, 5;", "u32", &["u32", "u32"], |v| v[1] & !0x1f00 | (v[0] & 31) << 8);
    check("bfi.b32 %w7, %w0, %w1, 28, 8;", "u32", &["u32", "u32"], |v| v[1] & 0x0fff_ffff | v[0] << 28);
}

#[test]
fn integers_of_64_and_16_bits() {
    let cases: &[(&str, fn(u64, u64) -> u64)] = &[
        ("add.s64 $;", |a, b| a.wrapping_add(b)),
        ("sub.s64 $;", |a, b| a.wrapping_sub(b)),
        ("mul.lo.s64 $;", |a, b| a.wrapping_mul(b)),
        ("mul.hi.u64 $;", |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64),
        ("mul.hi.s64 $;", |a, b| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64),
        ("div.u64 $;", |a, b| a.checked_div(b).unwrap_or(u64::MAX)),
        ("rem.s64 $;", |a, b| if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 }),
        ("min.s64 $;", |a, b| (a as i64).min(b as i64) as u64),
        ("max.u64 $;", |a, b| a.max(b)),
        ("setp.lt.s64 %p1, %d0, %d1; selp.b64 %d7, %d0, %d1, %p1;", |a, b| (a as i64).min(b as i64) as u64),
        ("add.cc.u64 %d6, %d0, %d1; addc.u64 %d7, 0, 0;", |a, b| u64::from(a.checked_add(b).is_none())),
        ("sub.cc.u64 %d6, %d0, %d1; subc.u64 %d7, 0, 0;", |a, b| if a < b { u64::MAX } else { 0 }),
    ];
    for (op, wanted) in cases {
        check(op, "u64", &["u64", "u64"], |v| wanted(v[0], v[1]));
    }
    check("shl.b64 $;", "u64", &["u64", "u32"], |v| v[0].checked_shl(v[1] as u32).unwrap_or(0));
    check("shr.s64 $;", "u64", &["u64", "u32"], |v| ((v[0] as i64) >> v[1].min(63)) as u64);
    check("mul.wide.u32 $;", "u64", &["u32", "u32"], |v| v[0] * v[1]);
    check("mul.wide.s32 $;", "u64", &["u32", "u32"], |v| (i64::from(v[0] as i32) * i64::from(v[1] as i32)) as u64);
    check("mad.wide.s32 $;", "u64", &["u32", "u32", "u64"], |v| {
        (i64::from(v[0] as i32) * i64::from(v[1] as i32)).wrapping_add(v[2] as i64) as u64
    });
    check("popc.b64 $;", "u32", &["u64"], |v| v[0].count_ones().into());
    check("clz.b64 $;", "u32", &["u64"], |v| v[0].leading_zeros().into());
    check("mov.b64 {%w6, %w7}, %d0;", "u32", &["u64"], |v| v[0] >> 32);
    check("mov.b64 %d7, {%w0, %w1};", "u64", &["u32", "u32"], |v| v[1] << 32 | v[0]);
    check("add.s16 $;", "u16", &["u16", "u16"], |v| v[0].wrapping_add(v[1]));
    check("shr.s16 $;", "u16", &["u16", "u32"], |v| (i32::from(v[0] as i16) >> v[1].min(31)) as u64);
    check("shr.u16 $;", "u16", &["u16", "u32"], |v| if v[1] > 15 { 0 } else { v[0] >> v[1] });
    check("mul.wide.s16 $;", "u32", &["u16", "u16"], |v| (i32::from(v[0] as i16) * i32::from(v[1] as i16)) as u64);
    check("setp.lt.s16 %p1, %h0, %h1; selp.b32 %w7, 1, 0, %p1;", "u32", &["u16", "u16"], |v| {
        u64::from((v[0] as i16) < v[1] as i16)
    });
}
