//! Arithmetic of 16-bit floats, alone and in pairs. Values are widened, computed exactly or to odd, and rounded once.

use super::float::{max32, min32};
use super::warp::{LANES, Row32, Warp};
use crate::inst::{Function, Inst, Op, Reg};
use crate::report::{Hit, Kind};
use crate::round;
use crate::types::{Round, Ty};

/// A 16-bit value, widened.
pub(super) fn widen(ty: Ty, h: u16) -> f32 {
    if matches!(ty, Ty::Bf16 | Ty::Bf16x2) { round::bf16_to_f32(h) } else { round::f16_to_f32(h) }
}

/// A value, rounded to 16 bits.
pub(super) fn shrink(ty: Ty, v: f64, mode: Round) -> u16 {
    if matches!(ty, Ty::Bf16 | Ty::Bf16x2) { round::to_bf16(v, mode) } else { round::to_f16(v, mode) }
}

/// Operations of 16-bit floats.
pub(super) fn run(w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
    let halves = i.ty.size() / 2;
    let row = |r: Reg| if r == Reg::None { [0; LANES] } else { w.get32(r) };
    let rows = [row(i.src[0]), row(i.src[1]), row(i.src[2])];
    let mut out: Row32 = [0; LANES];
    for (l, out) in out.iter_mut().enumerate() {
        for h in 0..halves {
            let part = |k: usize| (rows[k][l] >> (16 * h)) as u16;
            *out |= u32::from(one(i, part(0), part(1), part(2))?) << (16 * h);
        }
    }
    w.set32(i.dst, mask, &out);
    Ok(())
}

/// The sum of two halves, rounded once.
pub(super) fn add(ty: Ty, a: u16, b: u16) -> u16 {
    let (s, e) = round::two_sum(widen(ty, a).into(), widen(ty, b).into());
    shrink(ty, round::odd(s, e), Round::Nearest)
}

fn one(i: &Inst, a: u16, b: u16, c: u16) -> Result<u16, Hit> {
    let ty = i.ty;
    let (x, y, z) = (widen(ty, a), widen(ty, b), widen(ty, c));
    let exact = |p: f64, q: f64| {
        let (s, e) = round::two_sum(p, q);
        round::odd(s, e)
    };
    let v = match i.op {
        Op::Neg => return Ok(a ^ 0x8000),
        Op::Abs => return Ok(a & 0x7fff),
        Op::Min => min32(x, y, i.mods.nan).into(),
        Op::Max => max32(x, y, i.mods.nan).into(),
        Op::Add => exact(x.into(), y.into()),
        Op::Sub => exact(x.into(), f64::from(-y)),
        Op::Mul(_) => f64::from(x) * f64::from(y),
        Op::Fma => exact(f64::from(x) * f64::from(y), z.into()),
        Op::Function(Function::Ex2) => f64::from(x).exp2(),
        Op::Function(Function::Tanh) => f64::from(x).tanh(),
        _ => return Err(Hit::new(Kind::Trap, format!("{:?} of {ty:?} is not executed", i.op))),
    };
    let v = if i.mods.relu && (v < 0.0 || v.is_nan()) && !(v.is_nan()) { 0.0 } else { v };
    let v = if i.mods.sat { if v.is_nan() { 0.0 } else { v.clamp(0.0, 1.0) } } else { v };
    let h = shrink(ty, v, Round::Nearest);
    let subnormal = matches!(ty, Ty::F16 | Ty::F16x2) && h & 0x7c00 == 0;
    Ok(if i.mods.ftz && subnormal { h & 0x8000 } else { h })
}
