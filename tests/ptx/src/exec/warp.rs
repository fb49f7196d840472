//! Thirty-two threads: their registers, where each of them is, and what it waits for.

use crate::inst::Reg;
use crate::module::{Fixed, Kernel, Special};

/// Threads of a warp.
pub(crate) const LANES: usize = 32;
/// One value a lane.
pub(crate) type Row32 = [u32; LANES];
/// One wide value a lane.
pub(crate) type Row64 = [u64; LANES];

/// What a register holds before anything wrote it.
const POISON: u32 = 0xbad0_bad0;

/// A copy that a thread has begun with `cp.async`.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) lane: usize,
    pub(crate) to: u64,
    pub(crate) bytes: [u8; 16],
    pub(crate) len: usize,
    /// Which `commit_group` closes it.
    pub(crate) group: u32,
}

/// A barrier that a thread waits at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) id: u32,
    /// Threads that take part; none means all of the block.
    pub(crate) count: Option<u32>,
    pub(crate) pc: usize,
}

/// A warp.
#[derive(Debug)]
pub(crate) struct Warp {
    pub(crate) index: usize,
    /// Lanes that exist.
    pub(crate) present: u32,
    /// Lanes that have not returned.
    pub(crate) live: u32,
    /// Lanes that wait at an operation of the warp.
    pub(crate) waiting: u32,
    /// Lanes that wait at a barrier.
    pub(crate) at_barrier: u32,
    pub(crate) barrier: [Option<Waiting>; LANES],
    pub(crate) pc: [usize; LANES],
    pub(crate) w: Vec<Row32>,
    pub(crate) d: Vec<Row64>,
    pub(crate) p: Vec<u32>,
    pub(crate) carry: u32,
    pub(crate) local: Vec<u8>,
    pub(crate) sync: u32,
    pub(crate) copies: Vec<Copy>,
    /// Groups of copies that each lane has committed.
    pub(crate) groups: [u32; LANES],
    first32: Vec<Row32>,
    first64: Vec<Row64>,
}

/// What special registers read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) dynamic: u32,
    pub(crate) shared: u32,
}

impl Shape {
    pub(crate) fn threads(&self) -> usize {
        self.block.iter().map(|&n| n as usize).product()
    }

    /// Index of a thread by axis.
    pub(crate) fn thread(&self, linear: usize) -> [u32; 3] {
        let (n, [x, y, _]) = (linear as u32, self.block);
        [n % x, n / x % y, n / x / y]
    }
}

impl Warp {
    pub(crate) fn new(index: usize, k: &Kernel, s: &Shape, variables: &[u64]) -> Self {
        let threads = s.threads() - index * LANES;
        let present = if threads >= LANES { !0 } else { (1u32 << threads) - 1 };
        let value = |f: &Option<Fixed>, lane: usize| match *f {
            None => (u64::from(POISON) << 32) | u64::from(POISON),
            Some(Fixed::Bits(v)) => v,
            Some(Fixed::Variable(i, offset)) => variables.get(i).map_or(0, |a| a.wrapping_add(offset as u64)),
            Some(Fixed::DynamicShared(offset)) => (k.dynamic_base as u64).wrapping_add(offset as u64),
            Some(Fixed::Special(x)) => u64::from(special(x, lane, index, s)),
        };
        Self {
            index,
            present,
            live: 0,
            waiting: 0,
            at_barrier: 0,
            barrier: [None; LANES],
            pc: [0; LANES],
            w: Vec::new(),
            d: Vec::new(),
            p: vec![0; k.predicates],
            carry: 0,
            local: vec![0xff; k.local * LANES],
            sync: 0,
            copies: Vec::new(),
            groups: [0; LANES],
            first32: k.rows32.iter().map(|f| std::array::from_fn(|l| value(f, l) as u32)).collect(),
            first64: k.rows64.iter().map(|f| std::array::from_fn(|l| value(f, l))).collect(),
        }
    }

    /// Begins another block.
    pub(crate) fn begin(&mut self, k: &Kernel, block: [u32; 3]) {
        self.live = self.present;
        (self.waiting, self.at_barrier) = (0, 0);
        self.barrier = [None; LANES];
        self.pc = [0; LANES];
        self.w.clone_from(&self.first32);
        self.d.clone_from(&self.first64);
        for (i, f) in k.rows32.iter().enumerate() {
            if let Some(Fixed::Special(Special::Ctaid(axis))) = f {
                self.w[i] = [block[*axis]; LANES];
            }
        }
        for (i, f) in k.rows64.iter().enumerate() {
            if let Some(Fixed::Special(Special::Ctaid(axis))) = f {
                self.d[i] = [u64::from(block[*axis]); LANES];
            }
        }
        self.copies.clear();
        self.groups = [0; LANES];
    }

    /// A row as 32-bit values.
    #[inline]
    pub(crate) fn get32(&self, r: Reg) -> Row32 {
        match r {
            Reg::W(i) => self.w[i as usize],
            Reg::D(i) => self.d[i as usize].map(|v| v as u32),
            Reg::P(_) | Reg::NotP(_) => {
                let bits = self.bits(r);
                std::array::from_fn(|l| bits >> l & 1)
            }
            Reg::None => [0; LANES],
        }
    }

    /// A row as 64-bit values.
    #[inline]
    pub(crate) fn get64(&self, r: Reg) -> Row64 {
        match r {
            Reg::D(i) => self.d[i as usize],
            _ => self.get32(r).map(u64::from),
        }
    }

    /// A predicate, a bit a lane.
    #[inline]
    pub(crate) fn bits(&self, r: Reg) -> u32 {
        match r {
            Reg::P(i) => self.p[i as usize],
            Reg::NotP(i) => !self.p[i as usize],
            Reg::None => !0,
            Reg::W(_) | Reg::D(_) => 0,
        }
    }

    /// One lane of a row.
    #[inline]
    pub(crate) fn lane(&self, r: Reg, lane: usize) -> u64 {
        match r {
            Reg::W(i) => u64::from(self.w[i as usize][lane]),
            Reg::D(i) => self.d[i as usize][lane],
            Reg::P(_) | Reg::NotP(_) => u64::from(self.bits(r) >> lane & 1),
            Reg::None => 0,
        }
    }

    /// Writes one lane.
    #[inline]
    pub(crate) fn set_lane(&mut self, r: Reg, lane: usize, v: u64) {
        match r {
            Reg::W(i) => self.w[i as usize][lane] = v as u32,
            Reg::D(i) => self.d[i as usize][lane] = v,
            Reg::P(i) => self.p[i as usize] = self.p[i as usize] & !(1 << lane) | ((v as u32 & 1) << lane),
            Reg::NotP(_) | Reg::None => {}
        }
    }

    /// Writes the lanes of `mask`.
    #[inline]
    pub(crate) fn set32(&mut self, r: Reg, mask: u32, v: &Row32) {
        match r {
            Reg::W(i) => {
                let row = &mut self.w[i as usize];
                if mask == !0 {
                    *row = *v;
                } else {
                    for l in 0..LANES {
                        row[l] = if mask >> l & 1 == 1 { v[l] } else { row[l] };
                    }
                }
            }
            Reg::D(_) => self.set64(r, mask, &v.map(u64::from)),
            Reg::P(_) => {
                let bits = (0..LANES).fold(0, |b, l| b | ((v[l] & 1) << l));
                self.set_bits(r, mask, bits);
            }
            Reg::NotP(_) | Reg::None => {}
        }
    }

    /// Writes the lanes of `mask`.
    #[inline]
    pub(crate) fn set64(&mut self, r: Reg, mask: u32, v: &Row64) {
        match r {
            Reg::D(i) => {
                let row = &mut self.d[i as usize];
                if mask == !0 {
                    *row = *v;
                } else {
                    for l in 0..LANES {
                        row[l] = if mask >> l & 1 == 1 { v[l] } else { row[l] };
                    }
                }
            }
            _ => self.set32(r, mask, &v.map(|v| v as u32)),
        }
    }

    /// Writes the lanes of `mask` of a predicate.
    #[inline]
    pub(crate) fn set_bits(&mut self, r: Reg, mask: u32, bits: u32) {
        match r {
            Reg::P(i) => self.p[i as usize] = self.p[i as usize] & !mask | bits & mask,
            Reg::W(_) | Reg::D(_) => self.set32(r, mask, &std::array::from_fn(|l| bits >> l & 1)),
            Reg::NotP(_) | Reg::None => {}
        }
    }

    /// The block's number of a lane's thread.
    pub(crate) fn thread(&self, lane: usize) -> usize {
        self.index * LANES + lane
    }
}

fn special(s: Special, lane: usize, warp: usize, shape: &Shape) -> u32 {
    let bit = 1u32 << lane;
    match s {
        Special::Tid(axis) => shape.thread(warp * LANES + lane)[axis],
        Special::Ntid(axis) => shape.block[axis],
        Special::Nctaid(axis) => shape.grid[axis],
        // Set when a block begins.
        Special::Ctaid(_) | Special::Zero => 0,
        Special::Lane => lane as u32,
        Special::Warp => warp as u32,
        Special::Warps => shape.threads().div_ceil(LANES) as u32,
        Special::MaskEq => bit,
        Special::MaskLt => bit - 1,
        Special::MaskLe => bit | (bit - 1),
        Special::MaskGe => !(bit - 1),
        Special::MaskGt => !(bit | (bit - 1)),
        Special::DynamicSharedSize => shape.dynamic,
        Special::TotalSharedSize => shape.shared,
    }
}
