//! Loads, stores and `cp.async`.

use super::block::{Block, lanes};
use super::int::{sign_extend, truncate};
use super::warp::{Copy, LANES, Row64, Warp};
use crate::bytes;
use crate::heap::Access;
use crate::inst::{Inst, Reg};
use crate::report::{Hit, Kind};
use crate::shared::Who;
use crate::types::{LOCAL_WINDOW, SHARED_WINDOW, Space};

impl Block<'_> {
    /// Lanes in the order in which they access memory.
    fn order(&self, mask: u32) -> impl Iterator<Item = usize> + use<> {
        let (reverse, bits) = (self.reverse, if self.reverse { mask.reverse_bits() } else { mask });
        lanes(bits).map(move |l| if reverse { 31 - l } else { l })
    }

    /// Addresses of an instruction, before they are told apart.
    fn addresses(w: &Warp, base: Reg, offset: i64) -> Row64 {
        w.get64(base).map(|a| a.wrapping_add(offset as u64))
    }

    /// Which space a generic address is in, and where.
    pub(super) fn resolve(space: Space, address: u64) -> (Space, u64) {
        match space {
            Space::Generic if address & LOCAL_WINDOW != 0 => (Space::Local, address & !LOCAL_WINDOW),
            Space::Generic if address & SHARED_WINDOW != 0 => (Space::Shared, address & !SHARED_WINDOW),
            Space::Generic | Space::Const => (Space::Global, address),
            // Shared addresses may come with their window, by way of cvta.
            Space::Shared => (space, address & !SHARED_WINDOW),
            Space::Local => (space, address & !LOCAL_WINDOW),
            Space::Global | Space::Param => (space, address),
        }
    }

    pub(super) fn who(w: &Warp, lane: usize) -> Who {
        Who { thread: w.thread(lane) as u16, sync: w.sync }
    }

    /// Reads up to 8 bytes for one lane.
    pub(super) fn load(
        &mut self,
        w: &Warp,
        lane: usize,
        space: Space,
        address: u64,
        n: usize,
        how: Access,
    ) -> Result<u64, Hit> {
        match Self::resolve(space, address) {
            (Space::Shared, a) => self.shared.load(a, n, Self::who(w, lane)),
            (Space::Local, a) => {
                let at = local(self.kernel.local, lane, a, n, "load")?;
                Ok(bytes::read(&w.local, at, n))
            }
            (Space::Param, a) => {
                let at = usize::try_from(a).ok().filter(|&at| at <= self.params.len().saturating_sub(n));
                let at = at.filter(|_| n <= self.params.len());
                let at = at.ok_or_else(|| Hit::new(Kind::OutOfBounds, "load behind the arguments").at(a))?;
                Ok(bytes::read(self.params, at, n))
            }
            (Space::Global | Space::Const | Space::Generic, a) => self.heap.load(a, n, self.racer, how),
        }
    }

    /// Writes up to 8 bytes for one lane.
    pub(super) fn store(
        &mut self,
        w: &mut Warp,
        lane: usize,
        space: Space,
        address: u64,
        n: usize,
        v: u64,
        how: Access,
    ) -> Result<(), Hit> {
        match Self::resolve(space, address) {
            (Space::Shared, a) => self.shared.store(a, n, v, Self::who(w, lane), Access::Write),
            (Space::Local, a) => {
                let at = local(self.kernel.local, lane, a, n, "store")?;
                bytes::write(&mut w.local, at, n, v);
                Ok(())
            }
            (Space::Param, a) => Err(Hit::new(Kind::OutOfBounds, "store to the arguments").at(a)),
            (Space::Global | Space::Const | Space::Generic, a) => self.heap.store(a, n, v, self.racer, how),
        }
    }

    /// `ld`.
    pub(super) fn ld(&mut self, w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
        let list = &i.lists[0];
        let (n, signed) = (i.ty.size(), i.ty.is_signed());
        let how = if i.mods.ordered { Access::Atomic } else { Access::Read };
        let addresses = Self::addresses(w, i.src[0], i.imm);
        for l in lanes(mask) {
            aligned(addresses[l], n * list.len(), "load").map_err(|h| h.lane(l))?;
        }
        for (k, &r) in list.iter().enumerate() {
            let mut row: Row64 = [0; LANES];
            let offset = (k * n) as u64;
            for l in self.order(mask) {
                let at = addresses[l].wrapping_add(offset);
                let v = match i.space {
                    // The usual cases, without telling spaces apart again for each lane.
                    Space::Shared => self.shared.load(at & !SHARED_WINDOW, n, Self::who(w, l)),
                    Space::Global => self.heap.load(at, n, self.racer, how),
                    space => self.load(w, l, space, at, n, how),
                };
                row[l] = v.map_err(|h| h.lane(l))?;
            }
            if signed {
                row = row.map(|v| sign_extend(v, n) as u64);
            }
            w.set64(r, mask, &row);
        }
        Ok(())
    }

    /// `st`.
    pub(super) fn st(&mut self, w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
        let list = &i.lists[0];
        let n = i.ty.size();
        let how = if i.mods.ordered { Access::Atomic } else { Access::Write };
        let addresses = Self::addresses(w, i.src[0], i.imm);
        for l in self.order(mask) {
            let a = addresses[l];
            aligned(a, n * list.len(), "store").map_err(|h| h.lane(l))?;
            for (k, &r) in list.iter().enumerate() {
                let v = truncate(w.lane(r, l), n);
                let at = a.wrapping_add((k * n) as u64);
                self.store(w, l, i.space, at, n, v, how).map_err(|h| h.lane(l))?;
            }
        }
        Ok(())
    }

    /// `cp.async`: reads now, writes when it is waited for, which is as late as hardware may.
    pub(super) fn cp_async(&mut self, w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
        let to = Self::addresses(w, i.src[0], i.imm >> 32);
        let from = Self::addresses(w, i.src[1], i64::from(i.imm as i32));
        let (sizes, sources) = (w.get32(i.src[2]), w.get32(i.src[3]));
        for l in self.order(mask) {
            let len = sizes[l] as usize;
            let take = if i.src[3] == Reg::None { len } else { sources[l] as usize };
            if !matches!(len, 4 | 8 | 16) || take > len {
                let m = format!("cp.async of {take} bytes in {len}");
                return Err(Hit::new(Kind::Misaligned, m).lane(l));
            }
            aligned(to[l], len, "cp.async store").map_err(|h| h.lane(l))?;
            aligned(from[l], len, "cp.async load").map_err(|h| h.lane(l))?;
            let mut bytes = [0u8; 16];
            for (k, b) in bytes[..take].iter_mut().enumerate() {
                let at = from[l].wrapping_add(k as u64);
                *b = self.load(w, l, Space::Global, at, 1, Access::Read).map_err(|h| h.lane(l))? as u8;
            }
            let (_, at) = Self::resolve(Space::Shared, to[l]);
            let who = Self::who(w, l);
            for k in (0..len).step_by(4) {
                self.shared.claim(at + k as u64, 4, who).map_err(|h| h.lane(l))?;
            }
            w.copies.push(Copy { lane: l, to: at, bytes, len, group: w.groups[l] });
        }
        Ok(())
    }

    /// `cp.async.commit_group`.
    pub(super) fn cp_commit(w: &mut Warp, mask: u32) {
        for l in lanes(mask) {
            w.groups[l] += 1;
        }
    }

    /// `cp.async.wait_group` and `wait_all`.
    pub(super) fn cp_wait(&mut self, w: &mut Warp, i: &Inst, mask: u32) -> Result<(), Hit> {
        let open = u32::try_from(i.imm).ok();
        let copies = std::mem::take(&mut w.copies);
        for c in copies {
            // Groups that are not committed only wait_all waits for.
            let finished = open.is_none_or(|open| c.group < w.groups[c.lane].saturating_sub(open));
            if mask >> c.lane & 1 == 0 || !finished {
                w.copies.push(c);
                continue;
            }
            let who = Self::who(w, c.lane);
            for (k, word) in c.bytes[..c.len].chunks_exact(4).enumerate() {
                let v = u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
                self.shared.land(c.to + 4 * k as u64, v, who).map_err(|h| h.lane(c.lane))?;
            }
        }
        Ok(())
    }
}

/// Where a thread's local address lies in its warp's local memory.
fn local(size: usize, lane: usize, address: u64, n: usize, what: &str) -> Result<usize, Hit> {
    match address.checked_add(n as u64) {
        Some(end) if end <= size as u64 => Ok(lane * size + address as usize),
        _ => {
            let m = format!("local {what} out of bounds: {n} bytes at {address:#x} of {size:#x}");
            Err(Hit::new(Kind::OutOfBounds, m).at(address).lane(lane))
        }
    }
}

/// Fails unless an address is a multiple of the bytes accessed.
pub(super) fn aligned(address: u64, n: usize, what: &str) -> Result<(), Hit> {
    if address & (n as u64 - 1) == 0 {
        return Ok(());
    }
    Err(Hit::new(Kind::Misaligned, format!("misaligned {what} of {n} bytes at {address:#x}")).at(address))
}
