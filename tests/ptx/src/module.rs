//! What a parsed module holds: kernels as decoded instructions, and variables.

use std::collections::BTreeMap;

use crate::inst::Inst;

/// A parsed PTX module.
#[derive(Debug, Default)]
pub struct Module {
    /// ISA version, as (major, minor).
    pub version: (u32, u32),
    /// Compute capability of `.target`, e.g. 80.
    pub target: u32,
    /// Kernels by name.
    pub kernels: BTreeMap<String, Kernel>,
    /// Module-level `.global` and `.const` variables.
    pub variables: Vec<Variable>,
}

/// A module-level variable in device memory.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its first value, which is also its size.
    pub bytes: Vec<u8>,
    /// Required alignment.
    pub align: usize,
    /// True for `.const`: kernels may not write it.
    pub constant: bool,
    /// Whether the PTX gives a value; without one `.global` memory is zero.
    pub initialised: bool,
}

/// A value of a register row that does not change while a kernel runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    /// A literal, or an address inside a known space.
    Bits(u64),
    /// The address of `variables[.0]`, plus `.1`.
    Variable(usize, i64),
    /// The start of dynamic shared memory, plus `.0`.
    DynamicShared(i64),
    /// A special register.
    Special(Special),
}

/// Special registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Index of the thread in its block, by axis.
    Tid(usize),
    /// Threads of a block, by axis.
    Ntid(usize),
    /// Index of the block in the grid, by axis.
    Ctaid(usize),
    /// Blocks of the grid, by axis.
    Nctaid(usize),
    /// Lane of the warp.
    Lane,
    /// Warp of the block.
    Warp,
    /// Warps of the block.
    Warps,
    /// Lanes equal to this one.
    MaskEq,
    /// Lanes below.
    MaskLt,
    /// Lanes not above.
    MaskLe,
    /// Lanes not below.
    MaskGe,
    /// Lanes above.
    MaskGt,
    /// Bytes of dynamic shared memory.
    DynamicSharedSize,
    /// Bytes of shared memory, static and dynamic.
    TotalSharedSize,
    /// A register of which the interpreter has only one value.
    Zero,
}

/// One kernel argument: where it lies in the block of arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Offset in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

/// A decoded kernel.
#[derive(Debug, Default)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Its arguments, in order.
    pub params: Vec<Param>,
    /// Bytes of all arguments.
    pub param_bytes: usize,
    /// Instructions; branches name indices.
    pub code: Vec<Inst>,
    /// Source text of each instruction, for reports.
    pub text: Vec<String>,
    /// Rows of 32-bit registers and constants.
    pub rows32: Vec<Option<Fixed>>,
    /// Rows of 64-bit registers and constants.
    pub rows64: Vec<Option<Fixed>>,
    /// Predicate registers.
    pub predicates: usize,
    /// Bytes of static shared memory.
    pub shared: usize,
    /// Where dynamic shared memory starts.
    pub dynamic_base: usize,
    /// Whether the kernel declares dynamic shared memory.
    pub dynamic: bool,
    /// Bytes of local memory of a thread.
    pub local: usize,
    /// `.maxntid`, as threads of a block.
    pub max_threads: Option<u32>,
    /// `.reqntid`, by axis.
    pub required: Option<[u32; 3]>,
    /// The narrowest access to shared memory: what races are kept for.
    pub shared_grain: usize,
    /// The narrowest access to global memory.
    pub global_grain: usize,
}
