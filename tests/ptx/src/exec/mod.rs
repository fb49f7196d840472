//! Executes kernels.
//!
//! A warp runs the lanes at the lowest program counter together, so that lanes which went apart meet again where the
//! program meets; one decoded instruction is one loop over 32 lanes. Nothing else is assumed to keep lanes together:
//! shared memory written by one lane and read by another needs a `__syncwarp`, and a warp operation waits for exactly
//! the lanes of its mask. Blocks run one after the other.

mod atomic;
mod block;
mod collective;
mod convert;
mod float;
mod fma;
mod half;
mod int;
mod matrix;
mod memory;
mod step;
mod warp;

use crate::heap::Heap;
use crate::module::Kernel;
use crate::report::{Kind, Report};

/// The size of a launch.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Blocks, by axis.
    pub grid: [u32; 3],
    /// Threads of a block, by axis.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
}

/// What a device allows, and how the interpreter runs.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Blocks, warps and lanes run from the last to the first.
    pub reverse: bool,
    /// Races are looked for.
    pub races: bool,
    /// Shared memory of a block that a kernel gets without asking.
    pub shared_default: usize,
    /// Shared memory of a block that it may ask for.
    pub shared_optin: usize,
    /// Dynamic shared memory that this kernel asked for with an attribute.
    pub shared_asked: usize,
    /// Thread instructions after which a launch counts as hanging.
    pub limit: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reverse: false,
            races: true,
            shared_default: 48 * 1024,
            shared_optin: 99 * 1024,
            shared_asked: 0,
            limit: 200_000_000_000,
        }
    }
}

/// What a launch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Instructions, counted for each thread.
    pub instructions: u64,
    /// Threads.
    pub threads: u64,
}

/// Runs a kernel. `variables` are the addresses of the module's variables.
pub fn launch(
    kernel: &Kernel,
    heap: &mut Heap,
    variables: &[u64],
    config: Config,
    params: &[u8],
    options: &Options,
) -> Result<Stats, Report> {
    let refuse = |kind, message: String| {
        Err(Report { kind, kernel: kernel.name.clone(), place: None, instruction: None, address: None, message })
    };
    let threads: u64 = config.block.iter().map(|&n| u64::from(n)).product();
    let blocks = config.grid.iter().try_fold(1u64, |n, &k| n.checked_mul(u64::from(k)));
    let Some(blocks) = blocks.filter(|&n| n > 0 && n < 1 << 28) else {
        return refuse(Kind::Launch, format!("a grid of {:?} blocks", config.grid));
    };
    if config.grid[1] > 65535 || config.grid[2] > 65535 {
        return refuse(Kind::Launch, format!("a grid of {:?} blocks: 65535 are the most in y and z", config.grid));
    }
    if threads == 0 || threads > 1024 || config.block[2] > 64 {
        return refuse(Kind::Launch, format!("a block of {:?} threads", config.block));
    }
    if let Some(max) = kernel.max_threads.filter(|&m| threads > u64::from(m)) {
        return refuse(Kind::Launch, format!("a block of {threads} threads, compiled for {max} (__launch_bounds__)"));
    }
    if let Some(r) = kernel.required.filter(|&r| r != config.block) {
        return refuse(Kind::Launch, format!("a block of {:?} threads, compiled for {r:?}", config.block));
    }
    if params.len() != kernel.param_bytes {
        let (found, wanted) = (params.len(), kernel.param_bytes);
        return refuse(Kind::Launch, format!("{found} bytes of arguments, the kernel takes {wanted}"));
    }
    let dynamic = config.dynamic_shared as usize;
    let allowed = if options.shared_asked == 0 {
        options.shared_default
    } else {
        options.shared_optin.min(kernel.shared + options.shared_asked).max(options.shared_default)
    };
    let shared = kernel.shared + dynamic;
    if shared > allowed {
        let m = format!("{shared} bytes of shared memory, {allowed} are allowed");
        return refuse(Kind::Launch, m + " (more needs CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)");
    }
    let result = block::run(kernel, heap, variables, config, params, options);
    heap.end_launch();
    result.map(|instructions| Stats { instructions, threads: threads * blocks })
}
