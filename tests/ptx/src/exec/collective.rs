//! Operations of several lanes of a warp: they wait for the lanes of their mask, and for no others.

use super::block::{Block, Failure, lanes};
use super::int::{sign_extend, truncate};
use super::matrix;
use super::warp::{LANES, Warp};
use crate::inst::{Inst, Op, Reg, Rmw, Shfl, Vote};
use crate::report::{Hit, Kind};

/// True for operations that lanes do together.
pub(super) fn is_collective(op: Op) -> bool {
    matches!(
        op,
        Op::Shfl(_)
            | Op::Vote(_)
            | Op::MatchAny
            | Op::MatchAll
            | Op::Redux(_)
            | Op::WarpSync
            | Op::Mma
            | Op::WmmaLoad(_)
            | Op::WmmaStore
            | Op::WmmaMma
            | Op::LdMatrix { .. }
    )
}

/// The row with the mask of lanes that take part.
fn members(inst: &Inst) -> Reg {
    match inst.op {
        Op::Shfl(_) => inst.src[3],
        Op::Vote(_) | Op::MatchAny | Op::MatchAll | Op::Redux(_) => inst.src[1],
        Op::WarpSync => inst.src[0],
        _ => Reg::None,
    }
}

/// Lanes of `arrived` meet at an instruction. Does what is complete; gives the lanes that are done.
pub(super) fn meet(b: &mut Block<'_>, w: &mut Warp, inst: &Inst, arrived: u32) -> Result<u32, Hit> {
    let row = members(inst);
    let masks = if row == Reg::None { [!0; LANES] } else { w.get32(row) };
    if row == Reg::None && w.present != !0 {
        return Err(Hit::new(Kind::WarpSync, "an operation of a whole warp in a warp of fewer than 32 threads"));
    }
    let mut done = 0;
    for lane in lanes(arrived) {
        if done >> lane & 1 == 1 {
            continue;
        }
        let mask = masks[lane] & w.present;
        if mask >> lane & 1 == 0 {
            let m = format!("warp operation with mask {:#010x}, which lacks lane {lane} itself", masks[lane]);
            return Err(Hit::new(Kind::WarpSync, m).lane(lane));
        }
        if let Some(gone) = lanes(mask & !w.live).next() {
            let m = format!("warp operation with mask {:#010x} waits for exited lane {gone}", masks[lane]);
            return Err(Hit::new(Kind::WarpSync, m).lane(lane));
        }
        if mask & !arrived != 0 {
            continue;
        }
        if let Some(other) = lanes(mask).find(|&l| masks[l] != masks[lane]) {
            let m = format!("lane {lane} has mask {:#010x}, lane {other} has {:#010x}", masks[lane], masks[other]);
            return Err(Hit::new(Kind::WarpSync, m).lane(lane));
        }
        perform(b, w, inst, mask)?;
        done |= mask;
    }
    Ok(done)
}

/// All lanes wait: does what has become complete. False if nothing has.
pub(super) fn resolve(b: &mut Block<'_>, w: &mut Warp) -> Result<bool, Failure> {
    let mut left = w.waiting;
    let mut progress = false;
    while left != 0 {
        let first = left.trailing_zeros() as usize;
        let pc = w.pc[first];
        let together = lanes(left).filter(|&l| w.pc[l] == pc).fold(0, |m, l| m | 1 << l);
        left &= !together;
        let inst = &b.kernel.code[pc];
        match meet(b, w, inst, together) {
            Ok(done) => {
                w.waiting &= !done;
                for l in lanes(done) {
                    w.pc[l] = pc + 1;
                }
                progress |= done != 0;
            }
            Err(hit) => {
                let lane = hit.lane.unwrap_or(first);
                return Block::fail(w, pc, lane, hit);
            }
        }
    }
    Ok(progress)
}

fn perform(b: &mut Block<'_>, w: &mut Warp, inst: &Inst, mask: u32) -> Result<(), Hit> {
    match inst.op {
        Op::WarpSync => {
            w.sync += 1;
            Ok(())
        }
        Op::Shfl(mode) => shuffle(w, inst, mode, mask),
        Op::Vote(v) => {
            let yes = w.bits(inst.src[0]) & mask;
            let answer = match v {
                Vote::Ballot => {
                    w.set32(inst.dst, mask, &[yes; LANES]);
                    return Ok(());
                }
                Vote::All => yes == mask,
                Vote::Any => yes != 0,
                Vote::Uni => yes == 0 || yes == mask,
            };
            w.set_bits(inst.dst, mask, if answer { !0 } else { 0 });
            Ok(())
        }
        Op::MatchAny | Op::MatchAll => {
            let v = w.get64(inst.src[0]);
            if inst.op == Op::MatchAny {
                let row = std::array::from_fn(|l| lanes(mask).filter(|&o| v[o] == v[l]).fold(0, |m, o| m | 1u32 << o));
                w.set32(inst.dst, mask, &row);
            } else {
                let first = mask.trailing_zeros() as usize;
                let all = lanes(mask).all(|l| v[l] == v[first]);
                w.set32(inst.dst, mask, &[if all { mask } else { 0 }; LANES]);
                w.set_bits(inst.dst2, mask, if all { !0 } else { 0 });
            }
            Ok(())
        }
        Op::Redux(op) => {
            let v = w.get32(inst.src[0]);
            let signed = inst.ty.is_signed();
            let combine = |x: u32, y: u32| match (op, signed) {
                (Rmw::Add, _) => x.wrapping_add(y),
                (Rmw::And, _) => x & y,
                (Rmw::Or, _) => x | y,
                (Rmw::Xor, _) => x ^ y,
                (Rmw::Min, true) => (x as i32).min(y as i32) as u32,
                (Rmw::Min, false) => x.min(y),
                (Rmw::Max, true) => (x as i32).max(y as i32) as u32,
                (Rmw::Max, false) => x.max(y),
                (Rmw::Exch | Rmw::Cas | Rmw::Inc | Rmw::Dec, _) => x,
            };
            let r = lanes(mask).map(|l| v[l]).reduce(combine).unwrap_or(0);
            w.set32(inst.dst, mask, &[r; LANES]);
            Ok(())
        }
        Op::Mma => {
            matrix::mma(w, inst);
            Ok(())
        }
        Op::WmmaMma => {
            matrix::wmma_mma(w, inst);
            Ok(())
        }
        Op::WmmaLoad(m) => matrix::wmma_load(b, w, inst, m),
        Op::WmmaStore => matrix::wmma_store(b, w, inst),
        Op::LdMatrix { count, trans } => matrix::ldmatrix(b, w, inst, count, trans),
        _ => Err(Hit::new(Kind::Trap, "not an operation of a warp")),
    }
}

fn shuffle(w: &mut Warp, inst: &Inst, mode: Shfl, mask: u32) -> Result<(), Hit> {
    let (v, bs, cs) = (w.get32(inst.src[0]), w.get32(inst.src[1]), w.get32(inst.src[2]));
    let mut out = v;
    let mut valid = 0u32;
    for l in lanes(mask) {
        let (lane, b) = (l as i32, (bs[l] & 31) as i32);
        let (clamp, segment) = ((cs[l] & 31) as i32, (cs[l] >> 8 & 31) as i32);
        let (max, min) = ((lane & segment) | (clamp & !segment), lane & segment);
        let (from, ok) = match mode {
            Shfl::Up => (lane - b, lane - b >= max),
            Shfl::Down => (lane + b, lane + b <= max),
            Shfl::Bfly => (lane ^ b, lane ^ b <= max),
            Shfl::Idx => {
                let j = min | (b & !segment);
                (j, j <= max)
            }
        };
        let from = if ok { from as usize } else { l };
        if mask >> from & 1 == 0 {
            let m = format!("shfl reads lane {from}, which is outside of the mask {mask:#010x}");
            return Err(Hit::new(Kind::WarpSync, m).lane(l));
        }
        out[l] = v[from];
        valid |= u32::from(ok) << l;
    }
    w.set32(inst.dst, mask, &out);
    w.set_bits(inst.dst2, mask, valid);
    Ok(())
}

/// A value as its type reads it, sign-extended where that is signed.
pub(super) fn extended(ty: crate::types::Ty, v: u64) -> u64 {
    if ty.is_signed() { sign_extend(v, ty.size()) as u64 } else { truncate(v, ty.size()) }
}
