//! Device memory: allocations at addresses of their own, with shadow for what was written and which block touched it.

use crate::bytes;
use crate::report::{Hit, Kind};

/// First address that is handed out. Far from anything that a host pointer could be taken for.
const FIRST: u64 = 0x0002_0000_0000;
/// Unmapped bytes behind each allocation, so that running over the end never meets a neighbour.
const GUARD: u64 = 4096;
/// `cuMemAlloc` promises this alignment.
pub const ALIGNMENT: u64 = 256;
/// Granules of a page of race shadow.
const PAGE: usize = 1024;

/// A piece of device memory.
#[derive(Debug)]
struct Allocation {
    base: u64,
    data: Vec<u8>,
    written: Vec<u8>,
    constant: bool,
    races: Vec<Option<Box<[u32; PAGE]>>>,
}

impl Allocation {
    fn end(&self) -> u64 {
        self.base + self.data.len() as u64
    }
}

/// Why an allocation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// Zero bytes.
    Empty,
    /// More than the device has left.
    OutOfMemory,
}

/// How memory is accessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
    /// Atomic, or ordered like one.
    Atomic,
}

/// A race's shadow: who touched a granule, and how.
mod record {
    pub(super) const READ: u32 = 1;
    pub(super) const WRITE: u32 = 2;
    pub(super) const ATOMIC: u32 = 4;
    /// More than one block.
    pub(super) const MANY: u32 = 8;
    pub(super) const FLAGS: u32 = 15;
}

/// Device memory.
#[derive(Debug)]
pub struct Heap {
    allocations: Vec<Allocation>,
    freed: Vec<(u64, u64)>,
    next: u64,
    capacity: u64,
    used: u64,
    /// The allocation that was accessed last.
    recent: usize,
    /// Pages of race shadow in use: allocation's base and page.
    touched: Vec<(u64, usize)>,
}

impl Heap {
    /// Device memory of so many bytes.
    pub fn new(capacity: u64) -> Self {
        Self {
            allocations: Vec::new(),
            freed: Vec::new(),
            next: FIRST,
            capacity,
            used: 0,
            recent: 0,
            touched: Vec::new(),
        }
    }

    /// Bytes of the device, and how many of them are free.
    pub fn space(&self) -> (u64, u64) {
        (self.capacity, self.capacity - self.used)
    }

    /// Allocates memory of which nothing is written.
    pub fn alloc(&mut self, size: u64) -> Result<u64, AllocError> {
        if size == 0 {
            return Err(AllocError::Empty);
        }
        let taken = size.checked_next_multiple_of(ALIGNMENT).ok_or(AllocError::OutOfMemory)?;
        if taken > self.capacity - self.used {
            return Err(AllocError::OutOfMemory);
        }
        let n = usize::try_from(size).map_err(|_| AllocError::OutOfMemory)?;
        self.used += taken;
        let base = self.next;
        self.next += taken.next_multiple_of(GUARD) + GUARD;
        let allocation = Allocation { base, data: vec![0; n], written: vec![0; n], constant: false, races: Vec::new() };
        // Addresses only grow, so the list stays sorted.
        self.allocations.push(allocation);
        Ok(base)
    }

    /// Allocates a module's variable.
    pub fn alloc_variable(&mut self, bytes: &[u8], constant: bool) -> Result<u64, AllocError> {
        let base = self.alloc(bytes.len() as u64)?;
        if let Some(a) = self.allocations.last_mut() {
            a.data.copy_from_slice(bytes);
            a.written.fill(1);
            a.constant = constant;
        }
        Ok(base)
    }

    /// Frees what starts at `base`; false if nothing does.
    pub fn free(&mut self, base: u64) -> bool {
        let Ok(i) = self.allocations.binary_search_by_key(&base, |a| a.base) else { return false };
        let a = self.allocations.remove(i);
        self.used -= (a.data.len() as u64).next_multiple_of(ALIGNMENT);
        self.freed.push((a.base, a.data.len() as u64));
        self.recent = 0;
        true
    }

    /// The allocation around an address, as (base, size).
    pub fn range(&self, address: u64) -> Option<(u64, u64)> {
        let i = self.find(address)?;
        let a = &self.allocations[i];
        Some((a.base, a.data.len() as u64))
    }

    fn find(&self, address: u64) -> Option<usize> {
        let i = self.allocations.partition_point(|a| a.base <= address).checked_sub(1)?;
        (address < self.allocations[i].end()).then_some(i)
    }

    /// Allocation and offset of `n` bytes at an address.
    fn locate(&mut self, address: u64, n: usize, what: &str) -> Result<(usize, usize), Hit> {
        if let Some(a) = self.allocations.get(self.recent)
            && address >= a.base
            && address - a.base + n as u64 <= a.data.len() as u64
        {
            return Ok((self.recent, (address - a.base) as usize));
        }
        match self.find(address) {
            Some(i) if address + n as u64 <= self.allocations[i].end() => {
                self.recent = i;
                Ok((i, (address - self.allocations[i].base) as usize))
            }
            _ => Err(Hit::new(Kind::OutOfBounds, self.outside(address, n, what)).at(address)),
        }
    }

    fn outside(&self, address: u64, n: usize, what: &str) -> String {
        let start = format!("{what} out of bounds: {n} bytes at {address:#x}");
        if let Some((base, size)) = self.freed.iter().rev().find(|(b, s)| address >= *b && address < b + s) {
            return format!("{start} are {} bytes into an allocation of {size} bytes that was freed", address - base);
        }
        let before = self.allocations.partition_point(|a| a.base <= address).checked_sub(1);
        match before.map(|i| &self.allocations[i]) {
            Some(a) if address < a.end() + GUARD => {
                let size = a.data.len();
                format!("{start} start {} bytes into an allocation of {size} bytes", address - a.base)
            }
            _ => format!("{start} are in no allocation"),
        }
    }

    /// Copies bytes to the device.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (i, at) = self.locate(address, bytes.len(), "copy to the device").map_err(|h| h.message)?;
        let a = &mut self.allocations[i];
        a.data[at..at + bytes.len()].copy_from_slice(bytes);
        a.written[at..at + bytes.len()].fill(1);
        Ok(())
    }

    /// Copies bytes from the device; those that nothing wrote come as 0xff, which is NaN in every float.
    pub fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (i, at) = self.locate(address, bytes.len(), "copy from the device").map_err(|h| h.message)?;
        let a = &self.allocations[i];
        for (j, b) in bytes.iter_mut().enumerate() {
            *b = if a.written[at + j] == 1 { a.data[at + j] } else { 0xff };
        }
        Ok(())
    }

    /// Copies inside the device; what nothing wrote stays unwritten.
    pub fn copy(&mut self, to: u64, from: u64, n: usize) -> Result<(), String> {
        if n == 0 {
            return Ok(());
        }
        let (i, at) = self.locate(from, n, "copy inside the device, read").map_err(|h| h.message)?;
        let data = self.allocations[i].data[at..at + n].to_vec();
        let written = self.allocations[i].written[at..at + n].to_vec();
        let (i, at) = self.locate(to, n, "copy inside the device, write").map_err(|h| h.message)?;
        self.allocations[i].data[at..at + n].copy_from_slice(&data);
        self.allocations[i].written[at..at + n].copy_from_slice(&written);
        Ok(())
    }

    /// Fails if one of `n` bytes was never written.
    pub fn check_written(&mut self, address: u64, n: usize) -> Result<(), String> {
        if n == 0 {
            return Ok(());
        }
        let (i, at) = self.locate(address, n, "read").map_err(|h| h.message)?;
        match self.allocations[i].written[at..at + n].iter().position(|&w| w == 0) {
            Some(j) => Err(format!("read of device memory at {:#x} that nothing wrote", address + j as u64)),
            None => Ok(()),
        }
    }

    /// Forgets which block touched what.
    pub(crate) fn end_launch(&mut self) {
        for (base, _) in std::mem::take(&mut self.touched) {
            if let Ok(i) = self.allocations.binary_search_by_key(&base, |a| a.base) {
                self.allocations[i].races.clear();
            }
        }
    }

    /// A kernel's read of up to 8 bytes.
    #[inline]
    pub(crate) fn load(&mut self, address: u64, n: usize, race: Option<Racer>, how: Access) -> Result<u64, Hit> {
        let (i, at) = self.locate(address, n, "global load")?;
        let a = &self.allocations[i];
        let v = bytes::read(&a.data, at, n);
        // All ones where every byte was written.
        let written = bytes::read(&a.written, at, n);
        if written != 0x0101_0101_0101_0101 >> (64 - 8 * n) {
            let j = a.written[at..at + n].iter().position(|&w| w == 0).unwrap_or(0);
            let m = format!("read of uninitialised global memory at {:#x}", address + j as u64);
            return Err(Hit::new(Kind::Uninitialised, m).at(address));
        }
        if let Some(r) = race {
            self.touch(i, at, n, how, r).map_err(|h| h.at(address))?;
        }
        Ok(v)
    }

    /// A kernel's write of up to 8 bytes.
    #[inline]
    pub(crate) fn store(
        &mut self,
        address: u64,
        n: usize,
        v: u64,
        race: Option<Racer>,
        how: Access,
    ) -> Result<(), Hit> {
        let (i, at) = self.locate(address, n, "global store")?;
        if let Some(r) = race {
            self.touch(i, at, n, how, r).map_err(|h| h.at(address))?;
        }
        let a = &mut self.allocations[i];
        if a.constant {
            return Err(Hit::new(Kind::OutOfBounds, "write of constant memory").at(address));
        }
        bytes::write(&mut a.data, at, n, v);
        bytes::write(&mut a.written, at, n, 0x0101_0101_0101_0101);
        Ok(())
    }

    fn touch(&mut self, i: usize, at: usize, n: usize, how: Access, r: Racer) -> Result<(), Hit> {
        let a = &mut self.allocations[i];
        let (first, last) = (at >> r.shift, (at + n - 1) >> r.shift);
        for g in first..=last {
            let (page, cell) = (g / PAGE, g % PAGE);
            if page >= a.races.len() {
                if a.races.is_empty() {
                    self.touched.push((a.base, 0));
                }
                a.races.resize_with(page + 1, || None);
            }
            let cell = &mut a.races[page].get_or_insert_with(|| Box::new([0; PAGE]))[cell];
            let flag = match how {
                Access::Read => record::READ,
                Access::Write => record::WRITE,
                Access::Atomic => record::ATOMIC,
            };
            let mine = (r.block + 1) << 4;
            if *cell == mine | flag {
                continue;
            }
            let (owner, flags) = (*cell >> 4, *cell & record::FLAGS);
            if owner == 0 {
                *cell = mine | flag;
                continue;
            }
            if owner != r.block + 1 || flags & record::MANY != 0 {
                let conflict = match how {
                    Access::Read => flags & (record::WRITE | record::ATOMIC),
                    Access::Write => flags & (record::READ | record::WRITE | record::ATOMIC),
                    Access::Atomic => flags & (record::READ | record::WRITE),
                };
                if conflict != 0 {
                    let verb = |read, write| if how == Access::Read { read } else { write };
                    let by = if conflict & record::WRITE != 0 {
                        "written"
                    } else if conflict & record::ATOMIC != 0 {
                        "changed atomically"
                    } else {
                        "read"
                    };
                    let m = format!(
                        "global race: block number {} {} what block number {} has {by} in the same launch",
                        r.block,
                        verb("reads", "writes"),
                        owner - 1
                    );
                    return Err(Hit::new(Kind::GlobalRace, m));
                }
                *cell |= record::MANY | flag;
                continue;
            }
            *cell |= flag;
        }
        Ok(())
    }
}

/// The block that accesses memory, for the shadow of races.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Racer {
    pub(crate) block: u32,
    /// Granules of so many bytes, as a power of two.
    pub(crate) shift: u32,
}
