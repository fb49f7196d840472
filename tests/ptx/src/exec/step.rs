//! One instruction for the active lanes of a warp.

use super::block::Block;
use super::collective::extended;
use super::half::widen;
use super::int::truncate;
use super::warp::{LANES, Row64, Warp};
use super::{convert, float, half, int};
use crate::inst::{Cmp, Inst, Join, Op, Reg};
use crate::report::{Hit, Kind};
use crate::types::{LOCAL_WINDOW, SHARED_WINDOW, Space, Ty};

impl Block<'_> {
    /// Executes an instruction that needs no other lane.
    pub(super) fn step(&mut self, w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
        match i.op {
            Op::Nop => Ok(()),
            Op::Trap => Err(Hit::new(Kind::Trap, "trap")),
            Op::Ld => self.ld(w, i, mask),
            Op::St => self.st(w, i, mask),
            Op::Atom(op) => self.atom(w, i, mask, op),
            Op::CpAsync => self.cp_async(w, i, mask),
            Op::CpCommit => {
                Self::cp_commit(w, mask);
                Ok(())
            }
            Op::CpWait => self.cp_wait(w, i, mask),
            Op::Mov => {
                mov(w, i, mask);
                Ok(())
            }
            Op::Pack => {
                pack(w, i, mask);
                Ok(())
            }
            Op::Unpack => {
                unpack(w, i, mask);
                Ok(())
            }
            Op::CvtaTo | Op::CvtaFrom => {
                let window = match i.space {
                    Space::Shared => SHARED_WINDOW,
                    Space::Local => LOCAL_WINDOW,
                    Space::Global | Space::Const | Space::Param | Space::Generic => 0,
                };
                let a = w.get64(i.src[0]);
                let out = if i.op == Op::CvtaTo { a.map(|v| v & !window) } else { a.map(|v| v | window) };
                w.set64(i.dst, mask, &out);
                Ok(())
            }
            Op::ActiveMask => {
                w.set32(i.dst, mask, &[mask; LANES]);
                Ok(())
            }
            Op::Clock => {
                w.set64(i.dst, mask, &[self.count; LANES]);
                Ok(())
            }
            Op::Setp(cmp, nan, join) => {
                setp(w, i, mask, cmp, nan, join);
                Ok(())
            }
            Op::Set(cmp, nan) => {
                let yes = compare(w, i, i.from, cmp, nan);
                let one = if i.ty.is_float() { u64::from(1f32.to_bits()) } else { u64::from(u32::MAX) };
                w.set64(i.dst, mask, &std::array::from_fn(|l| if yes >> l & 1 == 1 { one } else { 0 }));
                Ok(())
            }
            Op::Selp => {
                let choose = w.bits(i.src[2]);
                if i.ty.size() == 8 {
                    let (a, b) = (w.get64(i.src[0]), w.get64(i.src[1]));
                    w.set64(i.dst, mask, &std::array::from_fn(|l| if choose >> l & 1 == 1 { a[l] } else { b[l] }));
                } else {
                    let (a, b) = (w.get32(i.src[0]), w.get32(i.src[1]));
                    w.set32(i.dst, mask, &std::array::from_fn(|l| if choose >> l & 1 == 1 { a[l] } else { b[l] }));
                }
                Ok(())
            }
            Op::Slct => {
                let (a, b, c) = (w.get64(i.src[0]), w.get64(i.src[1]), w.get32(i.src[2]));
                let first = |v: u32| if i.from == Ty::F32 { f32::from_bits(v) >= 0.0 } else { v as i32 >= 0 };
                w.set64(i.dst, mask, &std::array::from_fn(|l| if first(c[l]) { a[l] } else { b[l] }));
                Ok(())
            }
            Op::Cvt => convert::run(w, i, mask),
            Op::CvtPair => convert::pair(w, i, mask),
            Op::Testp => {
                testp(w, i, mask);
                Ok(())
            }
            _ => match i.ty {
                Ty::Pred => logic(w, i, mask),
                Ty::F32 | Ty::Tf32 => float::single(w, i, mask),
                Ty::F64 => float::double(w, i, mask),
                Ty::F16 | Ty::Bf16 | Ty::F16x2 | Ty::Bf16x2 => half::run(w, i, mask),
                Ty::B(_) | Ty::U(_) | Ty::S(_) => int::run(w, i, mask),
            },
        }
    }
}

fn mov(w: &mut Warp, i: &Inst, mask: u32) {
    match i.ty.size() {
        _ if i.ty == Ty::Pred => {
            let v = w.bits(i.src[0]);
            w.set_bits(i.dst, mask, v);
        }
        8 => {
            let v = w.get64(i.src[0]);
            w.set64(i.dst, mask, &v);
        }
        2 => {
            let v = w.get32(i.src[0]).map(|v| v & 0xffff);
            w.set32(i.dst, mask, &v);
        }
        _ => {
            let v = w.get32(i.src[0]);
            w.set32(i.dst, mask, &v);
        }
    }
}

fn pack(w: &mut Warp, i: &Inst, mask: u32) {
    let list = &i.lists[0];
    let size = i.ty.size() / list.len().max(1);
    let mut out: Row64 = [0; LANES];
    for (k, &r) in list.iter().enumerate() {
        let v = w.get64(r);
        for l in 0..LANES {
            out[l] |= truncate(v[l], size) << (8 * size * k);
        }
    }
    w.set64(i.dst, mask, &out);
}

fn unpack(w: &mut Warp, i: &Inst, mask: u32) {
    let v = w.get64(i.src[0]);
    let size = i.ty.size() / i.lists[0].len().max(1);
    for (k, &r) in i.lists[0].iter().enumerate() {
        w.set64(r, mask, &v.map(|v| truncate(v >> (8 * size * k), size)));
    }
}

fn compare(w: &Warp, i: &Inst, ty: Ty, cmp: Cmp, nan: bool) -> u32 {
    let gather = |f: &dyn Fn(usize) -> bool| (0..LANES).fold(0u32, |m, l| m | u32::from(f(l)) << l);
    if ty == Ty::F32 {
        let (a, b) = (w.get32(i.src[0]), w.get32(i.src[1]));
        let flushed = |v: u32| if i.mods.ftz && v & 0x7f80_0000 == 0 { v & 0x8000_0000 } else { v };
        let (mut less, mut equal, mut unordered) = (0u32, 0u32, 0u32);
        for l in 0..LANES {
            let (x, y) = (f32::from_bits(flushed(a[l])), f32::from_bits(flushed(b[l])));
            less |= u32::from(x < y) << l;
            equal |= u32::from(x == y) << l;
            unordered |= u32::from(x.is_nan() | y.is_nan()) << l;
        }
        return match cmp {
            Cmp::Num => !unordered,
            Cmp::Nan => unordered,
            _ => ordered(cmp, less, equal) & !unordered | if nan { unordered } else { 0 },
        };
    }
    if ty.is_float() {
        let value = |r: Reg, l: usize| match ty {
            Ty::F64 => f64::from_bits(w.lane(r, l)),
            Ty::F16 | Ty::Bf16 => widen(ty, w.lane(r, l) as u16).into(),
            _ => {
                let v = f32::from_bits(w.lane(r, l) as u32);
                if i.mods.ftz && v.is_subnormal() { 0.0 } else { f64::from(v) }
            }
        };
        return gather(&|l| {
            let (x, y) = (value(i.src[0], l), value(i.src[1], l));
            let unordered = x.is_nan() || y.is_nan();
            match cmp {
                Cmp::Num => !unordered,
                Cmp::Nan => unordered,
                _ if unordered => nan,
                Cmp::Eq => x == y,
                Cmp::Ne => x != y,
                Cmp::Lt => x < y,
                Cmp::Le => x <= y,
                Cmp::Gt => x > y,
                Cmp::Ge => x >= y,
            }
        });
    }
    let mut masks = (0u32, 0u32);
    if ty.size() <= 4 {
        let flip = if ty.is_signed() { 1u32 << 31 } else { 0 };
        let (a, b) = (w.get32(i.src[0]), w.get32(i.src[1]));
        let key = |v: u32| extended(ty, u64::from(v)) as u32 ^ flip;
        for l in 0..LANES {
            let (x, y) = (key(a[l]), key(b[l]));
            masks.0 |= u32::from(x < y) << l;
            masks.1 |= u32::from(x == y) << l;
        }
    } else {
        let flip = if ty.is_signed() { 1u64 << 63 } else { 0 };
        let (a, b) = (w.get64(i.src[0]), w.get64(i.src[1]));
        for l in 0..LANES {
            masks.0 |= u32::from(a[l] ^ flip < b[l] ^ flip) << l;
            masks.1 |= u32::from(a[l] == b[l]) << l;
        }
    }
    ordered(cmp, masks.0, masks.1)
}

/// A comparison of numbers, from the lanes where the first is less and where both are equal.
fn ordered(cmp: Cmp, less: u32, equal: u32) -> u32 {
    match cmp {
        Cmp::Eq => equal,
        Cmp::Ne => !equal,
        Cmp::Lt => less,
        Cmp::Le => less | equal,
        Cmp::Gt => !(less | equal),
        Cmp::Ge => !less,
        Cmp::Num => !0,
        Cmp::Nan => 0,
    }
}

fn setp(w: &mut Warp, i: &Inst, mask: u32, cmp: Cmp, nan: bool, join: Join) {
    let yes = compare(w, i, i.ty, cmp, nan);
    let c = w.bits(i.src[2]);
    let (p, q) = match join {
        Join::None => (yes, !yes),
        Join::And => (yes & c, !yes & c),
        Join::Or => (yes | c, !yes | c),
        Join::Xor => (yes ^ c, !yes ^ c),
    };
    w.set_bits(i.dst, mask, p);
    w.set_bits(i.dst2, mask, q);
}

fn testp(w: &mut Warp, i: &Inst, mask: u32) {
    let a = w.get64(i.src[0]);
    let yes = (0..LANES).fold(0u32, |m, l| {
        let (v, subnormal) = if i.ty == Ty::F64 {
            (f64::from_bits(a[l]), f64::from_bits(a[l]).is_subnormal())
        } else {
            let v = f32::from_bits(a[l] as u32);
            (v.into(), v.is_subnormal())
        };
        let is = match i.imm {
            0 => v.is_finite(),
            1 => v.is_infinite(),
            2 => !v.is_nan(),
            3 => v.is_nan(),
            4 => v.is_finite() && !subnormal && v != 0.0,
            _ => subnormal,
        };
        m | u32::from(is) << l
    });
    w.set_bits(i.dst, mask, yes);
}

/// Logic of predicates.
fn logic(w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
    let (a, b) = (w.bits(i.src[0]), w.bits(i.src[1]));
    let v = match i.op {
        Op::And => a & b,
        Op::Or => a | b,
        Op::Xor => a ^ b,
        Op::Not => !a,
        _ => return Err(Hit::new(Kind::Trap, format!("{:?} of predicates is not executed", i.op))),
    };
    w.set_bits(i.dst, mask, v);
    Ok(())
}
