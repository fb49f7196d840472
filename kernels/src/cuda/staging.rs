//! Weights on their way to the GPU: through page-locked memory, on a stream of their own.

use cudarc::driver::{CudaSlice, DriverError, PinnedHostSlice};

use super::Cuda;
use crate::device::Result;

/// Bytes of each of the two buffers.
const BYTES: usize = 16 << 20;

/// Two buffers in turn: one is filled while the other is copied.
#[derive(Default)]
pub(super) struct Staging {
    buffers: Vec<PinnedHostSlice<u8>>,
    next: usize,
}

impl Cuda {
    /// Copies `bytes`; what is computed with them waits, and what is computed meanwhile does not.
    pub(super) fn send(&self, bytes: &[u8]) -> Result<CudaSlice<u8>> {
        let mut to = self.room::<u8>(&self.copies, bytes.len())?;
        let mut staging = self.staging.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let failed = |error: DriverError| self.failed("to copy a weight", error);
        if staging.buffers.is_empty() {
            for _ in 0..2 {
                // SAFETY: it is written before it is read.
                let buffer = unsafe { self.stream.context().alloc_pinned(BYTES) };
                staging.buffers.push(buffer.map_err(failed)?);
            }
        }
        for (at, part) in bytes.chunks(BYTES).enumerate() {
            let turn = staging.next;
            staging.next = 1 - turn;
            let buffer = &mut staging.buffers[turn];
            // Waits until what was in it before is on the GPU.
            buffer.as_mut_slice().map_err(failed)?[..part.len()].copy_from_slice(part);
            if part.len() == BYTES {
                self.copies.memcpy_htod(buffer, &mut to.slice_mut(at * BYTES..(at + 1) * BYTES)).map_err(failed)?;
            } else {
                // A buffer goes as a whole; the rest goes by itself.
                self.copies
                    .memcpy_htod(part, &mut to.slice_mut(at * BYTES..at * BYTES + part.len()))
                    .map_err(failed)?;
            }
        }
        Ok(to)
    }
}
