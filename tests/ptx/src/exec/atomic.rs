//! `atom` and `red`.

use super::block::{Block, lanes};
use super::collective::extended;
use super::half;
use super::int::truncate;
use super::memory::aligned;
use super::warp::Warp;
use crate::heap::Access;
use crate::inst::{Inst, Rmw};
use crate::report::{Hit, Kind};
use crate::types::{Space, Ty};

impl Block<'_> {
    /// Lanes one after the other; the order is the one that the run's direction gives.
    pub(super) fn atom(&mut self, w: &mut Warp, i: &Inst, mask: u32, op: Rmw) -> Result<(), Hit> {
        let n = i.ty.size();
        let addresses = w.get64(i.src[0]).map(|a| a.wrapping_add(i.imm as u64));
        let mut order: Vec<usize> = lanes(mask).collect();
        if self.reverse {
            order.reverse();
        }
        for l in order {
            let (b, c) = (w.lane(i.src[1], l), w.lane(i.src[2], l));
            aligned(addresses[l], n, "atomic").map_err(|h| h.lane(l))?;
            let new = |old: u64| result(op, i.ty, old, b, c).map(|v| truncate(v, n));
            let old = match Self::resolve(i.space, addresses[l]) {
                (Space::Shared, a) => self.shared.atomic(a, n, Self::who(w, l), new),
                (Space::Global, a) => self.heap.load(a, n, self.racer, Access::Atomic).and_then(|old| {
                    self.heap.store(a, n, new(old)?, self.racer, Access::Atomic)?;
                    Ok(old)
                }),
                (_, a) => Err(Hit::new(Kind::OutOfBounds, "atomic on memory that is neither shared nor global").at(a)),
            };
            let old = old.map_err(|h| h.lane(l))?;
            w.set_lane(i.dst, l, old);
        }
        Ok(())
    }
}

fn result(op: Rmw, ty: Ty, old: u64, b: u64, c: u64) -> Result<u64, Hit> {
    let (x, y) = (extended(ty, old), extended(ty, b));
    let less = if ty.is_signed() { (x as i64) < (y as i64) } else { x < y };
    Ok(match (op, ty) {
        (Rmw::Add, Ty::F32) => u64::from((f32::from_bits(old as u32) + f32::from_bits(b as u32)).to_bits()),
        (Rmw::Add, Ty::F64) => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        (Rmw::Add, Ty::F16 | Ty::Bf16) => u64::from(half::add(ty, old as u16, b as u16)),
        (Rmw::Add, Ty::F16x2 | Ty::Bf16x2) => {
            let high = u64::from(half::add(ty, (old >> 16) as u16, (b >> 16) as u16));
            high << 16 | u64::from(half::add(ty, old as u16, b as u16))
        }
        (_, Ty::F16 | Ty::Bf16 | Ty::F16x2 | Ty::Bf16x2 | Ty::F32 | Ty::F64 | Ty::Tf32 | Ty::Pred) => {
            return Err(Hit::new(Kind::Trap, format!("atomic {op:?} of {ty:?} is not executed")));
        }
        (Rmw::Add, _) => x.wrapping_add(y),
        (Rmw::Min, _) => {
            if less {
                x
            } else {
                y
            }
        }
        (Rmw::Max, _) => {
            if less {
                y
            } else {
                x
            }
        }
        (Rmw::And, _) => x & y,
        (Rmw::Or, _) => x | y,
        (Rmw::Xor, _) => x ^ y,
        (Rmw::Exch, _) => y,
        (Rmw::Cas, _) => {
            if x == y {
                c
            } else {
                x
            }
        }
        (Rmw::Inc, _) => {
            if x >= y {
                0
            } else {
                x + 1
            }
        }
        (Rmw::Dec, _) => {
            if x == 0 || x > y {
                y
            } else {
                x - 1
            }
        }
    })
}
