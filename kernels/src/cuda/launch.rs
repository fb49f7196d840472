//! How a kernel is started.

use cudarc::driver::{CudaSlice, CudaView, LaunchConfig, PushKernelArg};

use super::Cuda;
use crate::device::{Error, Result};

/// What a kernel is given.
pub(super) enum Arg<'a> {
    /// Numbers that it reads.
    In(&'a CudaSlice<f32>),
    /// Numbers that it changes, or writes all of.
    Out(&'a mut CudaSlice<f32>),
    /// The same in f64.
    Wide(&'a mut CudaSlice<f64>),
    /// Part of a weight.
    Bytes(&'a CudaView<'a, u8>),
    /// Places.
    Rows(&'a CudaSlice<u32>),
    /// A pointer to nothing.
    Null,
    U32(u32),
    U64(u64),
    F32(f32),
}

impl<'a> Arg<'a> {
    pub(super) fn optional(buf: Option<&'a super::Buf>) -> Arg<'a> {
        buf.map_or(Arg::Null, |buf| Arg::In(&buf.data))
    }
}

/// How many threads, and how much shared memory in bytes.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub grid: (u32, u32, u32),
    pub block: u32,
    pub shared: u32,
}

impl Size {
    /// A thread for each of `n` elements, or several elements for each thread.
    pub(super) fn each(n: usize) -> Size {
        Size { grid: (n.div_ceil(256).clamp(1, 1 << 20) as u32, 1, 1), block: 256, shared: 0 }
    }
}

/// A pointer to nothing.
const NULL: u64 = 0;

impl Cuda {
    pub(super) fn launch(&self, name: &'static str, size: Size, args: &mut [Arg<'_>]) -> Result<()> {
        let Some(function) = self.functions.get(name) else {
            return Err(Error::Unusable { device: self.name.clone(), why: format!("it has no kernel {name}") });
        };
        let mut builder = self.stream.launch_builder(function);
        for arg in args.iter_mut() {
            match arg {
                Arg::In(buf) => builder.arg(*buf),
                Arg::Out(buf) => builder.arg(&mut **buf),
                Arg::Wide(buf) => builder.arg(&mut **buf),
                Arg::Bytes(view) => builder.arg(*view),
                Arg::Rows(rows) => builder.arg(*rows),
                Arg::Null => builder.arg(&NULL),
                Arg::U32(number) => builder.arg(&*number),
                Arg::U64(number) => builder.arg(&*number),
                Arg::F32(number) => builder.arg(&*number),
            };
        }
        let config = LaunchConfig { grid_dim: size.grid, block_dim: (size.block, 1, 1), shared_mem_bytes: size.shared };
        // SAFETY: the arguments are those of the kernel of this name, in order, and it stays within the lengths that it is
        // given with them.
        unsafe { builder.launch(config) }.map_err(|error| self.failed(&format!("the kernel {name}"), error))?;
        Ok(())
    }
}
