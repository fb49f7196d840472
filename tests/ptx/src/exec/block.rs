//! The threads of a block, one block after the other: who runs, who waits, and whether the waiting ends.

use std::cmp::Ordering;

use super::collective;
use super::warp::{LANES, Shape, Waiting, Warp};
use super::{Config, Options};
use crate::heap::{Heap, Racer};
use crate::inst::{BarReduce, Inst, Op, Reg};
use crate::module::Kernel;
use crate::report::{Hit, Kind, Report};
use crate::shared::Shared;

/// Everything that a block's instructions see, but the warp.
pub(crate) struct Block<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) heap: &'a mut Heap,
    pub(crate) shared: Shared,
    pub(crate) params: &'a [u8],
    pub(crate) racer: Option<Racer>,
    pub(crate) reverse: bool,
    pub(crate) count: u64,
    limit: u64,
}

/// Where an error was found.
pub(crate) struct Place {
    warp: usize,
    pc: usize,
    lane: usize,
}

/// Runs all blocks and counts thread instructions.
pub(crate) fn run(
    kernel: &Kernel,
    heap: &mut Heap,
    variables: &[u64],
    config: Config,
    params: &[u8],
    options: &Options,
) -> Result<u64, Report> {
    let size = kernel.shared + config.dynamic_shared as usize;
    let shape = Shape { grid: config.grid, block: config.block, dynamic: config.dynamic_shared, shared: size as u32 };
    let mut warps: Vec<Warp> =
        (0..shape.threads().div_ceil(LANES)).map(|i| Warp::new(i, kernel, &shape, variables)).collect();
    let mut block = Block {
        kernel,
        heap,
        shared: Shared::new(size, kernel.shared_grain),
        params,
        racer: None,
        reverse: options.reverse,
        count: 0,
        limit: options.limit,
    };
    let [x, y, z] = config.grid;
    let blocks = x * y * z;
    for n in 0..blocks {
        let n = if options.reverse { blocks - 1 - n } else { n };
        let id = [n % x, n / x % y, n / x / y];
        if options.races && blocks > 1 {
            block.racer = Some(Racer { block: n, shift: kernel.global_grain.trailing_zeros() });
        }
        block.shared.begin();
        for w in &mut warps {
            w.begin(kernel, id);
        }
        block.finish(&mut warps).map_err(|(hit, place)| Report {
            kind: hit.kind,
            kernel: kernel.name.clone(),
            place: place.as_ref().map(|p| (id, shape.thread(p.warp * LANES + p.lane))),
            instruction: place.and_then(|p| Some((kernel.code.get(p.pc)?.line, kernel.text.get(p.pc)?.clone()))),
            address: hit.address,
            message: hit.message,
        })?;
    }
    Ok(block.count)
}

type Stop = (Hit, Option<Place>);

impl Block<'_> {
    fn finish(&mut self, warps: &mut [Warp]) -> Result<(), Stop> {
        loop {
            for i in 0..warps.len() {
                let i = if self.reverse { warps.len() - 1 - i } else { i };
                self.run_warp(&mut warps[i])?;
            }
            if warps.iter().all(|w| w.live == 0) {
                return Ok(());
            }
            if !self.release(warps)? {
                return Err(stuck(self.kernel, warps));
            }
        }
    }

    /// Runs a warp until all of its lanes have returned or wait for another warp.
    fn run_warp(&mut self, w: &mut Warp) -> Result<(), Stop> {
        loop {
            let ready = w.live & !w.waiting & !w.at_barrier;
            if ready == 0 {
                if w.waiting == 0 || !collective::resolve(self, w)? {
                    return Ok(());
                }
                continue;
            }
            // The lowest program counter first: lanes ahead wait where the paths meet.
            let (mut pc, mut mask, mut limit) = (usize::MAX, 0, usize::MAX);
            for l in lanes(ready) {
                let at = w.pc[l];
                match at.cmp(&pc) {
                    Ordering::Less => (limit, pc, mask) = (pc, at, 1 << l),
                    Ordering::Equal => mask |= 1 << l,
                    Ordering::Greater => limit = limit.min(at),
                }
            }
            self.run_group(w, pc, mask, limit)?;
        }
    }

    /// Runs lanes together from `pc` until they part, wait, return or reach `limit`.
    fn run_group(&mut self, w: &mut Warp, mut pc: usize, mask: u32, limit: usize) -> Result<(), Stop> {
        let kernel = self.kernel;
        let first = mask.trailing_zeros() as usize;
        loop {
            let Some(inst) = kernel.code.get(pc) else {
                w.live &= !mask;
                return Ok(());
            };
            self.count += u64::from(mask.count_ones());
            if self.count > self.limit {
                let hit = Hit::new(Kind::Timeout, format!("more than {} instructions", self.limit));
                return Err((hit, Some(Place { warp: w.index, pc, lane: first })));
            }
            let active = if inst.guard == Reg::None { mask } else { w.bits(inst.guard) & mask };
            let here = |hit: Hit, w: &Warp| {
                let lane = hit.lane.unwrap_or(active.trailing_zeros() as usize % LANES);
                (hit, Some(Place { warp: w.index, pc, lane }))
            };
            match inst.op {
                _ if active == 0 => pc += 1,
                Op::Bra => {
                    let target = inst.imm as usize;
                    if active == mask {
                        pc = target;
                    } else {
                        set_pc(w, active, target);
                        set_pc(w, mask & !active, pc + 1);
                        return Ok(());
                    }
                }
                Op::Ret => {
                    w.live &= !active;
                    set_pc(w, mask & !active, pc + 1);
                    return Ok(());
                }
                Op::Bar { .. } => {
                    Self::arrive(w, inst, pc, active).map_err(|h| here(h, w))?;
                    set_pc(w, mask & !active, pc + 1);
                    return Ok(());
                }
                op if collective::is_collective(op) => {
                    let done = collective::meet(self, w, inst, active).map_err(|h| here(h, w))?;
                    if done != active {
                        set_pc(w, active & !done, pc);
                        set_pc(w, mask & !active | done, pc + 1);
                        w.waiting |= active & !done;
                        return Ok(());
                    }
                    pc += 1;
                }
                _ => {
                    self.step(w, inst, active).map_err(|h| here(h, w))?;
                    pc += 1;
                }
            }
            if pc >= limit {
                set_pc(w, mask, pc);
                return Ok(());
            }
        }
    }

    fn arrive(w: &mut Warp, inst: &Inst, pc: usize, active: u32) -> Result<(), Hit> {
        let (ids, counts) = (w.get32(inst.src[0]), w.get32(inst.src[1]));
        for l in lanes(active) {
            let count = (inst.src[1] != Reg::None).then_some(counts[l]);
            if ids[l] > 15 || count.is_some_and(|n| n == 0 || n % 32 != 0) {
                let m = format!("barrier {} for {count:?} threads", ids[l]);
                return Err(Hit::new(Kind::Barrier, m).lane(l));
            }
            w.barrier[l] = Some(Waiting { id: ids[l], count, pc });
        }
        set_pc(w, active, pc);
        w.at_barrier |= active;
        Ok(())
    }

    /// Opens the barriers that are complete. False if there is none.
    fn release(&mut self, warps: &mut [Warp]) -> Result<bool, Stop> {
        let mut released = false;
        for id in 0..16 {
            let at = |w: &Warp, l: usize| w.barrier[l].filter(|b| b.id == id && w.at_barrier >> l & 1 == 1);
            let here: Vec<(usize, usize, Waiting)> = (warps.iter().enumerate())
                .flat_map(|(i, w)| (0..LANES).filter_map(move |l| Some((i, l, at(w, l)?))))
                .collect();
            let Some(&(_, _, first)) = here.first() else { continue };
            let place = |p: &(usize, usize, Waiting)| Place { warp: p.0, pc: p.2.pc, lane: p.1 };
            if let Some(other) = here.iter().find(|p| p.2.count != first.count) {
                let hit = Hit::new(Kind::Barrier, format!("threads disagree on how many meet at barrier {id}"));
                return Err((hit, Some(place(other))));
            }
            let all: u32 = warps.iter().map(|w| w.present.count_ones()).sum();
            let wanted = first.count.unwrap_or(all);
            if (here.len() as u32) < wanted {
                let exited: u32 = warps.iter().map(|w| (w.present & !w.live).count_ones()).sum();
                if first.count.is_none() && here.len() as u32 + exited == all {
                    let m = format!("barrier with {exited} exited threads: {} of {all} wait", here.len());
                    return Err((Hit::new(Kind::Barrier, m), Some(place(&here[0]))));
                }
                continue;
            }
            self.check_aligned(warps, &here)?;
            let inst = &self.kernel.code[first.pc];
            self.reduce(warps, inst, &here);
            for &(i, l, b) in &here {
                let w = &mut warps[i];
                w.at_barrier &= !(1 << l);
                w.barrier[l] = None;
                w.pc[l] = b.pc + 1;
            }
            self.shared.barrier();
            released = true;
        }
        Ok(released)
    }

    /// `bar.sync` is for whole warps: all lanes at the same instruction.
    fn check_aligned(&self, warps: &[Warp], here: &[(usize, usize, Waiting)]) -> Result<(), Stop> {
        for &(i, l, b) in here {
            let Op::Bar { aligned: true, .. } = self.kernel.code[b.pc].op else { continue };
            let w = &warps[i];
            let apart = lanes(w.live).find(|&o| w.barrier[o].is_none_or(|o| o.pc != b.pc));
            if let Some(o) = apart {
                let line = self.kernel.code.get(w.pc[o]).map_or(0, |c| c.line);
                let m = format!("barrier in divergent code: lane {o} of the warp is at PTX line {line}");
                return Err((Hit::new(Kind::Barrier, m), Some(Place { warp: i, pc: b.pc, lane: l })));
            }
        }
        Ok(())
    }

    fn reduce(&self, warps: &mut [Warp], inst: &Inst, here: &[(usize, usize, Waiting)]) {
        let Op::Bar { reduce, .. } = inst.op else { return };
        if reduce == BarReduce::None {
            return;
        }
        let each = |p: &&(usize, usize, Waiting)| warps[p.0].bits(self.kernel.code[p.2.pc].src[2]) >> p.1 & 1 == 1;
        let n = here.iter().filter(each).count();
        let v = match reduce {
            BarReduce::None => return,
            BarReduce::Popc => n as u64,
            BarReduce::And => u64::from(n == here.len()),
            BarReduce::Or => u64::from(n > 0),
        };
        for &(i, l, b) in here {
            warps[i].set_lane(self.kernel.code[b.pc].dst, l, v);
        }
    }

    /// An error of a lane that waits at `pc`.
    pub(crate) fn fail<T>(w: &Warp, pc: usize, lane: usize, hit: Hit) -> Result<T, Stop> {
        Err((hit, Some(Place { warp: w.index, pc, lane })))
    }
}

/// How waiting lanes fail.
pub(crate) type Failure = Stop;

fn stuck(kernel: &Kernel, warps: &[Warp]) -> Stop {
    let (mut bar, mut warp, mut done) = (0, 0, 0);
    let mut place = None;
    for w in warps {
        bar += w.at_barrier.count_ones();
        warp += w.waiting.count_ones();
        done += (w.present & !w.live).count_ones();
        if let Some(l) = lanes(w.waiting | w.at_barrier).next()
            && (place.is_none() || w.waiting != 0)
        {
            let l = lanes(w.waiting).next().unwrap_or(l);
            place = Some(Place { warp: w.index, pc: w.pc[l], lane: l });
        }
    }
    let mut m = format!("deadlock: {bar} threads wait at a barrier, {warp} at warp operations, {done} have exited");
    if let Some(w) = warps.iter().find(|w| w.waiting != 0) {
        let at: Vec<String> =
            lanes(w.live).map(|l| format!("{l}:{}", kernel.code.get(w.pc[l]).map_or(0, |c| c.line))).collect();
        m += &format!("; lanes of warp {} at PTX lines {}", w.index, at.join(" "));
    }
    let kind = if warp > 0 { Kind::WarpSync } else { Kind::Deadlock };
    (Hit::new(kind, m), place)
}

fn set_pc(w: &mut Warp, mask: u32, pc: usize) {
    for l in lanes(mask) {
        w.pc[l] = pc;
    }
}

/// Lanes of a mask, from the lowest.
pub(crate) fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (mask != 0).then(|| {
            let l = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            l
        })
    })
}
