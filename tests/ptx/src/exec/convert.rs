//! `cvt`: between all scalar types.

use super::half;
use super::int::{sign_extend, truncate};
use super::warp::{Row64, Warp};
use crate::inst::Inst;
use crate::report::{Hit, Kind};
use crate::round;
use crate::types::{Round, Ty};

/// `cvt.TO.FROM d, a`.
pub(super) fn run(w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
    let (to, from) = (i.ty, i.from);
    let a = w.get64(i.src[0]);
    let out: Row64 = match (from.is_float(), to.is_float()) {
        (false, false) => {
            let wide = a.map(|v| widened(from, v));
            if i.mods.sat { wide.map(|v| clamp(to, v)) } else { wide.map(|v| truncate(v as u64, to.size())) }
        }
        (true, false) => a.map(|v| to_integer(i, to_f64(from, v, i.mods.ftz))),
        (false, true) => a.map(|v| from_integer(to, widened(from, v), i.mods.round)),
        (true, true) => a.map(|v| float(i, to_f64(from, v, i.mods.ftz))),
    };
    // A narrow signed result fills its register: all of a 32-bit or wider one, 16 bits of a 16-bit one. Rows do not
    // tell these two apart, and whoever reads a 16-bit register reads 16 bits.
    let out = if to.is_signed() { out.map(|v| sign_extend(v, to.size()) as u64) } else { out };
    w.set64(i.dst, mask, &out);
    Ok(())
}

/// `cvt.rn.f16x2.f32 d, a, b`: a above b.
pub(super) fn pair(w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
    if i.from != Ty::F32 {
        return Err(Hit::new(Kind::Trap, format!("cvt of {:?} to pairs is not executed", i.from)));
    }
    let (a, b) = (w.get32(i.src[0]), w.get32(i.src[1]));
    let one = |v: u32| {
        let v = f64::from(f32::from_bits(v));
        let v = if i.mods.relu && v < 0.0 { 0.0 } else { v };
        u32::from(half::shrink(i.ty, v, i.mods.round))
    };
    w.set32(i.dst, mask, &std::array::from_fn(|l| one(a[l]) << 16 | one(b[l])));
    Ok(())
}

fn widened(ty: Ty, v: u64) -> i128 {
    if ty.is_signed() { i128::from(sign_extend(v, ty.size())) } else { i128::from(truncate(v, ty.size())) }
}

fn clamp(to: Ty, v: i128) -> u64 {
    let bits = 8 * to.size() as u32;
    let (low, high) =
        if to.is_signed() { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    truncate(v.clamp(low, high) as u64, to.size())
}

fn to_f64(ty: Ty, v: u64, ftz: bool) -> f64 {
    match ty {
        Ty::F64 => f64::from_bits(v),
        Ty::F16 | Ty::Bf16 => half::widen(ty, v as u16).into(),
        _ => {
            let x = f32::from_bits(v as u32);
            if ftz && x.is_subnormal() { f64::from(0f32.copysign(x)) } else { x.into() }
        }
    }
}

fn integral(v: f64, mode: Round) -> f64 {
    match mode {
        Round::Nearest => v.round_ties_even(),
        Round::NearestAway => v.round(),
        Round::Zero => v.trunc(),
        Round::Down => v.floor(),
        Round::Up => v.ceil(),
    }
}

/// Out of range is clamped and NaN is zero, as the hardware does; Rust's `as` does the same.
fn to_integer(i: &Inst, v: f64) -> u64 {
    let v = integral(v, i.mods.integral.unwrap_or(Round::Zero));
    match i.ty {
        Ty::S(1) => v as i8 as u8 as u64,
        Ty::S(2) => v as i16 as u16 as u64,
        Ty::S(4) => v as i32 as u32 as u64,
        Ty::S(_) => v as i64 as u64,
        Ty::U(1) | Ty::B(1) => v as u8 as u64,
        Ty::U(2) | Ty::B(2) => v as u16 as u64,
        Ty::U(4) | Ty::B(4) => v as u32 as u64,
        _ => v as u64,
    }
}

fn from_integer(to: Ty, v: i128, mode: Round) -> u64 {
    // Two parts of which each is exact in f64.
    let high = (v >> 32 << 32) as f64;
    let low = (v & 0xffff_ffff) as f64;
    let (s, e) = round::two_sum(high, low);
    match to {
        Ty::F32 => u64::from(round::to_f32(s, e, mode).to_bits()),
        Ty::F64 => match mode {
            Round::Nearest | Round::NearestAway => s,
            Round::Zero if (s > 0.0) == (e < 0.0) && e != 0.0 => toward_zero(s),
            Round::Down if e < 0.0 => s.next_down(),
            Round::Up if e > 0.0 => s.next_up(),
            Round::Zero | Round::Down | Round::Up => s,
        }
        .to_bits(),
        _ => u64::from(half::shrink(to, round::odd(s, e), mode)),
    }
}

fn toward_zero(v: f64) -> f64 {
    if v > 0.0 { v.next_down() } else { v.next_up() }
}

fn float(i: &Inst, v: f64) -> u64 {
    let v = i.mods.integral.map_or(v, |mode| integral(v, mode));
    let v = if i.mods.relu && v < 0.0 { 0.0 } else { v };
    let v = if i.mods.sat { if v.is_nan() { 0.0 } else { v.clamp(0.0, 1.0) } } else { v };
    match i.ty {
        Ty::F64 => v.to_bits(),
        Ty::F16 | Ty::Bf16 => u64::from(half::shrink(i.ty, v, i.mods.round)),
        Ty::Tf32 => u64::from(round::to_tf32(v as f32, i.mods.round)),
        _ => {
            let x = round::to_f32(v, 0.0, i.mods.round);
            let x = if x.is_nan() { f32::from_bits(0x7fff_ffff) } else { x };
            let x = if i.mods.ftz && x.is_subnormal() { 0f32.copysign(x) } else { x };
            u64::from(x.to_bits())
        }
    }
}
