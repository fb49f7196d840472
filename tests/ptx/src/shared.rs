//! Shared memory of a block, with shadow: who wrote and who read each granule, and between which barriers.

use crate::bytes;
use crate::heap::Access;
use crate::report::{Hit, Kind};

/// Readers of several warps.
const MANY_WARPS: u16 = u16::MAX;
/// Readers of the writer's own warp; in reports only.
const SOME_LANES: u16 = u16::MAX - 1;

/// A granule's history.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    write_epoch: u32,
    write_sync: u32,
    read_epoch: u32,
    read_sync: u32,
    write_thread: u16,
    read_thread: u16,
    /// Thread, plus one, whose `cp.async` has not been waited for.
    pending: u16,
    atomic: bool,
    many_lanes: bool,
}

/// Who accesses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub(crate) thread: u16,
    /// Barriers of the warp alone so far.
    pub(crate) sync: u32,
}

/// Shared memory of a block.
#[derive(Debug)]
pub(crate) struct Shared {
    data: Vec<u8>,
    cells: Vec<Cell>,
    /// Granules of so many bytes, as a power of two.
    shift: u32,
    /// Barriers so far. Grows over all blocks of a launch, so that shadow need not be cleared.
    epoch: u32,
    /// The epoch in which this block began: older writes are another block's.
    start: u32,
}

impl Shared {
    pub(crate) fn new(size: usize, grain: usize) -> Self {
        Self {
            data: vec![0; size],
            cells: vec![Cell::default(); size.div_ceil(grain)],
            shift: grain.trailing_zeros(),
            epoch: 0,
            start: 0,
        }
    }

    /// Another block begins.
    pub(crate) fn begin(&mut self) {
        self.epoch += 1;
        self.start = self.epoch;
        self.data.fill(0xff);
        if self.start > 1 {
            // Granules that a block left in flight are not in flight for the next.
            for c in &mut self.cells {
                c.pending = 0;
            }
        }
    }

    /// All threads passed a barrier.
    pub(crate) fn barrier(&mut self) {
        self.epoch += 1;
    }

    fn bounds(&self, address: u64, n: usize, what: &str) -> Result<usize, Hit> {
        let end = address.checked_add(n as u64).filter(|&e| e <= self.data.len() as u64);
        if end.is_some() {
            return Ok(address as usize);
        }
        let m = format!("shared {what} out of bounds: {n} bytes at {address:#x} of {:#x}", self.data.len());
        Err(Hit::new(Kind::OutOfBounds, m).at(address))
    }

    /// Reads up to 8 bytes.
    #[inline]
    pub(crate) fn load(&mut self, address: u64, n: usize, who: Who) -> Result<u64, Hit> {
        let at = self.bounds(address, n, "load")?;
        for g in at >> self.shift..=(at + n - 1) >> self.shift {
            let c = &mut self.cells[g];
            if c.pending != 0 {
                let m = format!("thread {} reads what thread {} copies with cp.async", who.thread, c.pending - 1);
                return Err(Hit::new(Kind::Unwaited, m + " and has not waited for").at(address));
            }
            if c.write_epoch < self.start {
                let m = format!("read of uninitialised shared memory at {address:#x}");
                return Err(Hit::new(Kind::Uninitialised, m).at(address));
            }
            if c.write_epoch == self.epoch
                && c.write_thread != who.thread
                && Cell::conflicts(c.write_thread, c.write_sync, who)
            {
                return Err(race(who, "reads", c.write_thread, "wrote", address));
            }
            c.note_read(self.epoch, who);
        }
        Ok(bytes::read(&self.data, at, n))
    }

    /// Writes up to 8 bytes.
    #[inline]
    pub(crate) fn store(&mut self, address: u64, n: usize, v: u64, who: Who, how: Access) -> Result<(), Hit> {
        let at = self.bounds(address, n, "store")?;
        let atomic = how == Access::Atomic;
        for g in at >> self.shift..=(at + n - 1) >> self.shift {
            let c = &mut self.cells[g];
            let both_atomic = atomic && c.atomic;
            let other = c.write_epoch == self.epoch && c.write_thread != who.thread && !both_atomic;
            if other && Cell::conflicts(c.write_thread, c.write_sync, who) {
                // Lanes of one warp that write the same value: which of them wins makes no difference.
                let same = c.write_thread / 32 == who.thread / 32 && self.data[at..at + n] == v.to_le_bytes()[..n];
                if !same {
                    return Err(race(who, "writes", c.write_thread, "wrote", address));
                }
            }
            if c.read_epoch == self.epoch {
                let cross = c.read_thread == MANY_WARPS || c.read_thread / 32 != who.thread / 32;
                let lanes = c.read_sync == who.sync && (c.many_lanes || c.read_thread != who.thread);
                if cross || lanes {
                    let several = c.many_lanes && !cross;
                    let other = if several { SOME_LANES } else { c.read_thread };
                    return Err(race(who, "writes", other, "read", address));
                }
            }
            (c.write_epoch, c.write_thread, c.write_sync, c.atomic) = (self.epoch, who.thread, who.sync, atomic);
        }
        bytes::write(&mut self.data, at, n, v);
        Ok(())
    }

    /// Reads and writes at once; `f` gives what is written.
    pub(crate) fn atomic(
        &mut self,
        address: u64,
        n: usize,
        who: Who,
        f: impl FnOnce(u64) -> Result<u64, Hit>,
    ) -> Result<u64, Hit> {
        let at = self.bounds(address, n, "atomic")?;
        for c in &self.cells[at >> self.shift..=(at + n - 1) >> self.shift] {
            if c.write_epoch < self.start {
                let m = format!("atomic on uninitialised shared memory at {address:#x}");
                return Err(Hit::new(Kind::Uninitialised, m).at(address));
            }
        }
        let old = bytes::read(&self.data, at, n);
        self.store(address, n, f(old)?, who, Access::Atomic)?;
        Ok(old)
    }

    /// A `cp.async` begins: from here on nobody reads what it will write, and nobody may still be reading it.
    pub(crate) fn claim(&mut self, address: u64, n: usize, who: Who) -> Result<(), Hit> {
        let at = self.bounds(address, n, "cp.async")?;
        let old = bytes::read(&self.data, at, n);
        self.store(address, n, old, who, Access::Write)?;
        for c in &mut self.cells[at >> self.shift..=(at + n - 1) >> self.shift] {
            c.pending = who.thread + 1;
        }
        Ok(())
    }

    /// A `cp.async` was waited for: four of its bytes are there.
    pub(crate) fn land(&mut self, address: u64, v: u64, who: Who) -> Result<(), Hit> {
        let at = self.bounds(address, 4, "cp.async")?;
        self.store(address, 4, v, who, Access::Write)?;
        for c in &mut self.cells[at >> self.shift..=(at + 3) >> self.shift] {
            c.pending = 0;
        }
        Ok(())
    }
}

impl Cell {
    /// Whether nothing orders this thread after another one's access in the same epoch.
    fn conflicts(other: u16, sync: u32, who: Who) -> bool {
        other / 32 != who.thread / 32 || sync == who.sync
    }

    #[inline]
    fn note_read(&mut self, epoch: u32, who: Who) {
        if self.read_epoch == epoch && self.read_thread == who.thread && self.read_sync == who.sync {
            return;
        }
        if self.read_epoch != epoch {
            (self.read_thread, self.many_lanes) = (who.thread, false);
        } else if self.read_thread == MANY_WARPS {
            return;
        } else if self.read_thread / 32 != who.thread / 32 {
            self.read_thread = MANY_WARPS;
        } else if self.read_sync != who.sync {
            (self.read_thread, self.many_lanes) = (who.thread, false);
        } else if self.read_thread != who.thread {
            self.many_lanes = true;
        }
        (self.read_epoch, self.read_sync) = (epoch, who.sync);
    }
}

fn race(who: Who, does: &str, other: u16, did: &str, address: u64) -> Hit {
    let them = match other {
        MANY_WARPS => "other threads".into(),
        SOME_LANES => "other lanes of its warp".into(),
        _ => format!("thread {other}"),
    };
    let inside = other == SOME_LANES || other / 32 == who.thread / 32;
    let missing = if inside { "__syncwarp" } else { "barrier" };
    let m =
        format!("shared race: thread {} {does} {address:#x}, which {them} {did} with no {missing} between", who.thread);
    Hit::new(Kind::SharedRace, m).at(address)
}
