//! Arithmetic of f32 and f64. What the ISA calls approximate is rounded correctly here.

use super::fma;
use super::warp::{LANES, Row32, Row64, Warp};
use crate::inst::{Function, Inst, Op, Part, Reg};
use crate::report::{Hit, Kind};
use crate::round;
use crate::types::Round;

fn f(v: u32) -> f32 {
    f32::from_bits(v)
}

fn d(v: u64) -> f64 {
    f64::from_bits(v)
}

/// Subnormals as zeros of their sign.
#[inline]
fn flush(row: &Row32) -> Row32 {
    row.map(|v| if v & 0x7f80_0000 == 0 { v & 0x8000_0000 } else { v })
}

#[inline]
fn zip(a: &Row32, b: &Row32, g: impl Fn(f32, f32) -> f32) -> Row32 {
    std::array::from_fn(|l| g(f(a[l]), f(b[l])).to_bits())
}

fn canonical(v: f32) -> f32 {
    if v.is_nan() { f(0x7fff_ffff) } else { v }
}

fn saturate(v: f32) -> f32 {
    if v.is_nan() { 0.0 } else { v.clamp(0.0, 1.0) + 0.0 }
}

/// The smaller number; NaN only if both are, or if `nan`.
pub(super) fn min32(a: f32, b: f32, nan: bool) -> f32 {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => f(0x7fff_ffff),
        (true, _) | (_, true) if nan => f(0x7fff_ffff),
        (true, false) => b,
        (false, true) => a,
        _ if a < b || (a == b && a.is_sign_negative()) => a,
        _ => b,
    }
}

/// The larger number; NaN only if both are, or if `nan`.
pub(super) fn max32(a: f32, b: f32, nan: bool) -> f32 {
    -min32(-a, -b, nan)
}

/// Operations of f32.
pub(super) fn single(w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
    let get = |r: Reg| {
        let row = w.get32(r);
        if i.mods.ftz { flush(&row) } else { row }
    };
    let a = get(i.src[0]);
    let b = if i.src[1] == Reg::None { [0; LANES] } else { get(i.src[1]) };
    let near = i.mods.round == Round::Nearest;
    let mode = i.mods.round;
    let out = match i.op {
        Op::Add if near => zip(&a, &b, |x, y| x + y),
        Op::Sub if near => zip(&a, &b, |x, y| x - y),
        Op::Mul(_) if near => zip(&a, &b, |x, y| x * y),
        Op::Add => zip(&a, &b, |x, y| sum(x.into(), y.into(), mode)),
        Op::Sub => zip(&a, &b, |x, y| sum(x.into(), f64::from(-y), mode)),
        Op::Mul(_) => zip(&a, &b, |x, y| round::to_f32(f64::from(x) * f64::from(y), 0.0, mode)),
        Op::Fma => {
            let c = get(i.src[2]);
            if near {
                fma::row(&a, &b, &c)
            } else {
                std::array::from_fn(|l| sum(f64::from(f(a[l])) * f64::from(f(b[l])), f(c[l]).into(), mode).to_bits())
            }
        }
        Op::Div if near => zip(&a, &b, |x, y| x / y),
        Op::Div => zip(&a, &b, |x, y| {
            let (x, y) = (f64::from(x), f64::from(y));
            let q = x / y;
            // The sign of what is left says on which side of the quotient the exact one lies.
            let rest = if q.is_finite() { (-q).mul_add(y, x) / y } else { 0.0 };
            round::to_f32(q, rest, mode)
        }),
        Op::Neg => a.map(|v| v ^ 0x8000_0000),
        Op::Abs => a.map(|v| v & 0x7fff_ffff),
        Op::Min => zip(&a, &b, |x, y| min32(x, y, i.mods.nan)),
        Op::Max => zip(&a, &b, |x, y| max32(x, y, i.mods.nan)),
        Op::Copysign => std::array::from_fn(|l| a[l] & 0x8000_0000 | b[l] & 0x7fff_ffff),
        Op::Function(g) => a.map(|v| function(g, f(v), mode).to_bits()),
        _ => return Err(Hit::new(Kind::Trap, format!("{:?} of f32 is not executed", i.op))),
    };
    let arithmetic = !matches!(i.op, Op::Neg | Op::Abs | Op::Copysign);
    let out = if arithmetic { out.map(|v| canonical(f(v)).to_bits()) } else { out };
    let out = if i.mods.sat { out.map(|v| saturate(f(v)).to_bits()) } else { out };
    let out = if i.mods.ftz { flush(&out) } else { out };
    w.set32(i.dst, mask, &out);
    Ok(())
}

fn sum(a: f64, b: f64, mode: Round) -> f32 {
    let (s, e) = round::two_sum(a, b);
    if s == 0.0 && e == 0.0 && mode == Round::Down && (a != 0.0 || b.is_sign_negative() != a.is_sign_negative()) {
        // An exact zero sum of opposites is -0 when rounding down.
        return -0.0;
    }
    round::to_f32(s, e, mode)
}

fn function(g: Function, x: f32, mode: Round) -> f32 {
    let v = f64::from(x);
    let (y, rest) = match g {
        Function::Ex2 => (v.exp2(), 0.0),
        Function::Lg2 => (v.log2(), 0.0),
        Function::Rcp => {
            let q = 1.0 / v;
            (q, if q.is_finite() { (-q).mul_add(v, 1.0) / v } else { 0.0 })
        }
        Function::Sqrt => {
            let r = v.sqrt();
            (r, if r.is_finite() && r > 0.0 { (-r).mul_add(r, v) / (2.0 * r) } else { 0.0 })
        }
        Function::Rsqrt => (1.0 / v.sqrt(), 0.0),
        Function::Sin => (v.sin(), 0.0),
        Function::Cos => (v.cos(), 0.0),
        Function::Tanh => (v.tanh(), 0.0),
    };
    round::to_f32(y, rest, mode)
}

/// Operations of f64.
pub(super) fn double(w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
    let a = w.get64(i.src[0]);
    let b = if i.src[1] == Reg::None { [0; LANES] } else { w.get64(i.src[1]) };
    let zip = |g: &dyn Fn(f64, f64) -> f64| -> Row64 { std::array::from_fn(|l| g(d(a[l]), d(b[l])).to_bits()) };
    let pick = |x: f64, y: f64, less: bool| match (x.is_nan(), y.is_nan()) {
        (true, _) => y,
        (_, true) => x,
        _ if x == y => {
            if x.is_sign_negative() == less {
                x
            } else {
                y
            }
        }
        _ => {
            if (x < y) == less {
                x
            } else {
                y
            }
        }
    };
    let out = match i.op {
        Op::Add => zip(&|x, y| x + y),
        Op::Sub => zip(&|x, y| x - y),
        Op::Mul(Part::Lo | Part::Hi | Part::Wide) => zip(&|x, y| x * y),
        Op::Div => zip(&|x, y| x / y),
        Op::Fma => {
            let c = w.get64(i.src[2]);
            std::array::from_fn(|l| d(a[l]).mul_add(d(b[l]), d(c[l])).to_bits())
        }
        Op::Neg => a.map(|v| v ^ 1 << 63),
        Op::Abs => a.map(|v| v & !(1 << 63)),
        Op::Min => zip(&|x, y| pick(x, y, true)),
        Op::Max => zip(&|x, y| pick(x, y, false)),
        Op::Copysign => std::array::from_fn(|l| a[l] & 1 << 63 | b[l] & !(1 << 63)),
        Op::Function(Function::Rcp) => a.map(|v| (1.0 / d(v)).to_bits()),
        Op::Function(Function::Sqrt) => a.map(|v| d(v).sqrt().to_bits()),
        Op::Function(Function::Rsqrt) => a.map(|v| (1.0 / d(v).sqrt()).to_bits()),
        _ => return Err(Hit::new(Kind::Trap, format!("{:?} of f64 is not executed", i.op))),
    };
    w.set64(i.dst, mask, &out);
    Ok(())
}
