//! Integer arithmetic and bits.

use super::warp::{LANES, Row32, Row64, Warp};
use crate::inst::{Inst, Op, Part, Reg};
use crate::report::{Hit, Kind};
use crate::types::Ty;

/// The low bytes of a value, zero-extended.
#[inline]
pub(super) fn truncate(v: u64, size: usize) -> u64 {
    if size >= 8 { v } else { v & ((1 << (8 * size)) - 1) }
}

/// The low bytes of a value, sign-extended.
#[inline]
pub(super) fn sign_extend(v: u64, size: usize) -> i64 {
    let shift = 64 - 8 * size.min(8);
    ((v << shift) as i64) >> shift
}

#[inline]
fn zip(a: &Row32, b: &Row32, f: impl Fn(u32, u32) -> u32) -> Row32 {
    std::array::from_fn(|l| f(a[l], b[l]))
}

#[inline]
fn zip64(a: &Row64, b: &Row64, f: impl Fn(u64, u64) -> u64) -> Row64 {
    std::array::from_fn(|l| f(a[l], b[l]))
}

/// A source row of at most 32 bits, extended from the type's width.
#[inline]
fn source(w: &Warp, r: Reg, ty: Ty) -> Row32 {
    let v = w.get32(r);
    match (ty.size(), ty.is_signed()) {
        (1 | 2, true) => v.map(|v| sign_extend(u64::from(v), ty.size()) as u32),
        (1, false) => v.map(|v| v & 0xff),
        (2, false) => v.map(|v| v & 0xffff),
        _ => v,
    }
}

fn unknown(i: &Inst) -> Hit {
    Hit::new(Kind::Trap, format!("{:?} of {:?} is not executed", i.op, i.ty))
}

/// Integer operations.
pub(super) fn run(w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
    if i.ty.size() == 8 { wide(w, i, mask) } else { narrow(w, i, mask) }
}

/// Integer operations of up to 32 bits.
fn narrow(w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
    let (ty, signed) = (i.ty, i.ty.is_signed());
    let bits = 8 * ty.size() as u32;
    let a = source(w, i.src[0], ty);
    let b = if i.src[1] == Reg::None { [0; LANES] } else { source(w, i.src[1], ty) };
    let out = match i.op {
        Op::Add if i.mods.sat => zip(&a, &b, |x, y| (x as i32).saturating_add(y as i32) as u32),
        Op::Sub if i.mods.sat => zip(&a, &b, |x, y| (x as i32).saturating_sub(y as i32) as u32),
        Op::Add | Op::Addc | Op::Sub | Op::Subc if i.mods.carry || matches!(i.op, Op::Addc | Op::Subc) => {
            return carry(w, i, mask, &a.map(u64::from), &b.map(u64::from));
        }
        Op::Add => zip(&a, &b, u32::wrapping_add),
        Op::Sub => zip(&a, &b, u32::wrapping_sub),
        Op::Mul(Part::Lo) => zip(&a, &b, u32::wrapping_mul),
        Op::Mad(Part::Lo) => {
            let c = w.get32(i.src[2]);
            std::array::from_fn(|l| a[l].wrapping_mul(b[l]).wrapping_add(c[l]))
        }
        Op::Mul(part) | Op::Mad(part) => return product(w, i, mask, part, &a, &b),
        Op::Div | Op::Rem => {
            // Both are defined for no divisor of zero; the GPU gives all ones and the dividend.
            let f = |x: u32, y: u32| match (i.op, y, signed) {
                (Op::Div, 0, _) => u32::MAX,
                (_, 0, _) => x,
                (Op::Div, _, true) => (x as i32).wrapping_div(y as i32) as u32,
                (Op::Div, _, false) => x / y,
                (_, _, true) => (x as i32).wrapping_rem(y as i32) as u32,
                (_, _, false) => x % y,
            };
            zip(&a, &b, f)
        }
        Op::Min if signed => zip(&a, &b, |x, y| (x as i32).min(y as i32) as u32),
        Op::Max if signed => zip(&a, &b, |x, y| (x as i32).max(y as i32) as u32),
        Op::Min => zip(&a, &b, u32::min),
        Op::Max => zip(&a, &b, u32::max),
        Op::Neg => a.map(u32::wrapping_neg),
        Op::Abs => a.map(|x| (x as i32).unsigned_abs()),
        Op::And => zip(&a, &b, |x, y| x & y),
        Op::Or => zip(&a, &b, |x, y| x | y),
        Op::Xor => zip(&a, &b, |x, y| x ^ y),
        Op::Not => a.map(|x| !x),
        Op::Cnot => a.map(|x| u32::from(x == 0)),
        Op::Shl => zip(&a, &w.get32(i.src[1]), |x, n| if n >= bits { 0 } else { x << n }),
        Op::Shr if signed => zip(&a, &w.get32(i.src[1]), |x, n| ((x as i32) >> n.min(31)) as u32),
        Op::Shr => zip(&a, &w.get32(i.src[1]), |x, n| if n >= bits { 0 } else { x >> n }),
        Op::ShfL | Op::ShfR => {
            let c = w.get32(i.src[2]);
            std::array::from_fn(|l| {
                let n = if i.mods.wrap { c[l] & 31 } else { c[l].min(32) };
                let v = u64::from(b[l]) << 32 | u64::from(a[l]);
                if i.op == Op::ShfL { ((v << n) >> 32) as u32 } else { (v >> n) as u32 }
            })
        }
        Op::Lop3 => {
            let (c, table) = (w.get32(i.src[2]), i.imm as u32);
            std::array::from_fn(|l| lop3(a[l], b[l], c[l], table))
        }
        Op::Prmt => {
            let c = w.get32(i.src[2]);
            std::array::from_fn(|l| permute(a[l], b[l], c[l]))
        }
        Op::Sad => {
            let c = w.get32(i.src[2]);
            let distance = |x: u32, y: u32| if signed { (x as i32).abs_diff(y as i32) } else { x.abs_diff(y) };
            std::array::from_fn(|l| distance(a[l], b[l]).wrapping_add(c[l]))
        }
        Op::Popc => a.map(u32::count_ones),
        Op::Clz => a.map(u32::leading_zeros),
        Op::Brev => a.map(u32::reverse_bits),
        Op::Bfi | Op::Bfe | Op::Bfind => {
            return fields(w, i, mask, &a.map(u64::from), &b.map(u64::from));
        }
        Op::Dp4a => {
            let c = w.get32(i.src[2]);
            std::array::from_fn(|l| dot4(a[l], b[l], c[l], signed, i.from.is_signed()))
        }
        Op::Dp2a { hi } => {
            let c = w.get32(i.src[2]);
            std::array::from_fn(|l| dot2(a[l], if hi { b[l] >> 16 } else { b[l] }, c[l], signed, i.from.is_signed()))
        }
        _ => return Err(unknown(i)),
    };
    let out = if bits == 16 { out.map(|v| v & 0xffff) } else { out };
    w.set32(i.dst, mask, &out);
    Ok(())
}

/// Integer operations of 64 bits.
fn wide(w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
    let signed = i.ty.is_signed();
    let a = w.get64(i.src[0]);
    let b = if i.src[1] == Reg::None { [0; LANES] } else { w.get64(i.src[1]) };
    let high = |x: u64, y: u64| {
        if signed {
            ((i128::from(x as i64) * i128::from(y as i64)) >> 64) as u64
        } else {
            ((u128::from(x) * u128::from(y)) >> 64) as u64
        }
    };
    let out = match i.op {
        Op::Add | Op::Addc | Op::Sub | Op::Subc if i.mods.carry || matches!(i.op, Op::Addc | Op::Subc) => {
            return carry(w, i, mask, &a, &b);
        }
        Op::Add => zip64(&a, &b, u64::wrapping_add),
        Op::Sub => zip64(&a, &b, u64::wrapping_sub),
        Op::Mul(Part::Lo) => zip64(&a, &b, u64::wrapping_mul),
        Op::Mul(Part::Hi) => zip64(&a, &b, high),
        Op::Mad(part @ (Part::Lo | Part::Hi)) => {
            let c = w.get64(i.src[2]);
            let f = |x: u64, y: u64| if part == Part::Hi { high(x, y) } else { x.wrapping_mul(y) };
            std::array::from_fn(|l| f(a[l], b[l]).wrapping_add(c[l]))
        }
        Op::Div | Op::Rem => zip64(&a, &b, |x, y| match (i.op, y, signed) {
            (Op::Div, 0, _) => u64::MAX,
            (_, 0, _) => x,
            (Op::Div, _, true) => (x as i64).wrapping_div(y as i64) as u64,
            (Op::Div, _, false) => x / y,
            (_, _, true) => (x as i64).wrapping_rem(y as i64) as u64,
            (_, _, false) => x % y,
        }),
        Op::Min if signed => zip64(&a, &b, |x, y| (x as i64).min(y as i64) as u64),
        Op::Max if signed => zip64(&a, &b, |x, y| (x as i64).max(y as i64) as u64),
        Op::Min => zip64(&a, &b, u64::min),
        Op::Max => zip64(&a, &b, u64::max),
        Op::Neg => a.map(u64::wrapping_neg),
        Op::Abs => a.map(|x| (x as i64).unsigned_abs()),
        Op::And => zip64(&a, &b, |x, y| x & y),
        Op::Or => zip64(&a, &b, |x, y| x | y),
        Op::Xor => zip64(&a, &b, |x, y| x ^ y),
        Op::Not => a.map(|x| !x),
        Op::Cnot => a.map(|x| u64::from(x == 0)),
        Op::Shl | Op::Shr => {
            let n = w.get32(i.src[1]);
            std::array::from_fn(|l| match (i.op, n[l] > 63, signed) {
                (Op::Shl, false, _) => a[l] << n[l],
                (Op::Shr, _, true) => ((a[l] as i64) >> n[l].min(63)) as u64,
                (Op::Shr, false, false) => a[l] >> n[l],
                _ => 0,
            })
        }
        Op::Popc => a.map(|x| u64::from(x.count_ones())),
        Op::Clz => a.map(|x| u64::from(x.leading_zeros())),
        Op::Brev => a.map(u64::reverse_bits),
        Op::Bfi | Op::Bfe | Op::Bfind => return fields(w, i, mask, &a, &b),
        _ => return Err(unknown(i)),
    };
    w.set64(i.dst, mask, &out);
    Ok(())
}

/// Upper halves and whole products of up to 32 bits.
fn product(w: &mut Warp, i: &Inst, mask: u32, part: Part, a: &Row32, b: &Row32) -> Result<(), Hit> {
    let signed = i.ty.is_signed();
    let add = matches!(i.op, Op::Mad(_));
    let whole: Row64 = std::array::from_fn(|l| {
        if signed {
            (i64::from(a[l] as i32) * i64::from(b[l] as i32)) as u64
        } else {
            u64::from(a[l]) * u64::from(b[l])
        }
    });
    let bits = 8 * i.ty.size();
    let c = if add { w.get64(i.src[2]) } else { [0; LANES] };
    let out: Row64 = match part {
        Part::Hi => std::array::from_fn(|l| truncate((whole[l] >> bits).wrapping_add(c[l]), i.ty.size())),
        Part::Wide if bits == 16 => std::array::from_fn(|l| u64::from((whole[l].wrapping_add(c[l])) as u32)),
        Part::Wide => std::array::from_fn(|l| whole[l].wrapping_add(c[l])),
        Part::Lo => return Err(unknown(i)),
    };
    w.set64(i.dst, mask, &out);
    Ok(())
}

/// Sums and differences with the carry flag.
fn carry(w: &mut Warp, i: &Inst, mask: u32, a: &Row64, b: &Row64) -> Result<(), Hit> {
    let bits = 8 * i.ty.size() as u32;
    let with = matches!(i.op, Op::Addc | Op::Subc);
    let subtract = matches!(i.op, Op::Sub | Op::Subc);
    let mut flags = 0;
    let out: Row64 = std::array::from_fn(|l| {
        let old = u128::from(with && w.carry >> l & 1 == 1);
        let (x, y) = (u128::from(truncate(a[l], i.ty.size())), u128::from(truncate(b[l], i.ty.size())));
        let v = if subtract { x.wrapping_sub(y).wrapping_sub(old) } else { x + y + old };
        flags |= u32::from(v >> bits & 1 == 1) << l;
        truncate(v as u64, i.ty.size())
    });
    if i.mods.carry {
        w.carry = w.carry & !mask | flags & mask;
    }
    w.set64(i.dst, mask, &out);
    Ok(())
}

/// `bfe`, `bfi`, `bfind`.
fn fields(w: &mut Warp, i: &Inst, mask: u32, a: &Row64, b: &Row64) -> Result<(), Hit> {
    let size = i.ty.size();
    let bits = 8 * size as u32;
    let out: Row64 = match i.op {
        Op::Bfe => {
            let (at, len) = (w.get32(i.src[1]), w.get32(i.src[2]));
            std::array::from_fn(|l| extract(a[l], at[l] & 255, len[l] & 255, size, i.ty.is_signed()))
        }
        Op::Bfi => {
            let (at, len) = (w.get32(i.src[2]), w.get32(i.src[3]));
            std::array::from_fn(|l| {
                let (at, len) = (at[l] & 255, len[l] & 255);
                if at >= bits || len == 0 {
                    return b[l];
                }
                let field = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
                truncate((b[l] & !(field << at)) | ((a[l] & field) << at), size)
            })
        }
        Op::Bfind => std::array::from_fn(|l| {
            let v = truncate(a[l], size);
            let v = if i.ty.is_signed() && v >> (bits - 1) & 1 == 1 { truncate(!v, size) } else { v };
            match v.checked_ilog2() {
                None => u64::from(u32::MAX),
                Some(n) => u64::from(if i.mods.shiftamt { bits - 1 - n } else { n }),
            }
        }),
        _ => return Err(unknown(i)),
    };
    w.set64(i.dst, mask, &out);
    Ok(())
}

fn extract(v: u64, at: u32, len: u32, size: usize, signed: bool) -> u64 {
    let bits = 8 * size as u32;
    if len == 0 {
        return 0;
    }
    let v = truncate(v, size);
    // The sign is the top bit of the field, or of the value where the field runs over its end.
    let sign = signed && v >> (at + len - 1).min(bits - 1) & 1 == 1;
    let field = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
    let found = if at >= bits { 0 } else { (v >> at) & field };
    let inside = bits.saturating_sub(at).min(len);
    let ones = if inside >= 64 { u64::MAX } else { (1 << inside) - 1 };
    truncate(if sign { found | !ones } else { found }, size)
}

#[inline]
fn lop3(a: u32, b: u32, c: u32, table: u32) -> u32 {
    (0..8).filter(|i| table >> i & 1 == 1).fold(0, |out, i| {
        let pick = |bit: u32, v: u32| if i & bit != 0 { v } else { !v };
        out | pick(4, a) & pick(2, b) & pick(1, c)
    })
}

#[inline]
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let v = u64::from(b) << 32 | u64::from(a);
    (0..4).fold(0, |out, k| {
        let s = selector >> (4 * k) & 15;
        let byte = (v >> (8 * (s & 7))) as u32 & 255;
        let byte = if s & 8 == 0 {
            byte
        } else if byte & 128 != 0 {
            255
        } else {
            0
        };
        out | byte << (8 * k)
    })
}

fn dot4(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    let byte = |v: u32, k: u32, s: bool| {
        let v = (v >> (8 * k)) as u8;
        if s { i32::from(v as i8) } else { i32::from(v) }
    };
    (0..4).fold(c, |s, k| s.wrapping_add((byte(a, k, a_signed) * byte(b, k, b_signed)) as u32))
}

fn dot2(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    let half = |k: u32| {
        let v = (a >> (16 * k)) as u16;
        if a_signed { i32::from(v as i16) } else { i32::from(v) }
    };
    let byte = |k: u32| {
        let v = (b >> (8 * k)) as u8;
        if b_signed { i32::from(v as i8) } else { i32::from(v) }
    };
    (0..2).fold(c, |s, k| s.wrapping_add((half(k).wrapping_mul(byte(k))) as u32))
}
