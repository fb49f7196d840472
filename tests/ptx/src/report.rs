//! What a detector found, and where.

use std::fmt;

/// What kind of error was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An access outside of what is allocated.
    OutOfBounds,
    /// An address that is not a multiple of what is accessed.
    Misaligned,
    /// A read of memory that nothing wrote.
    Uninitialised,
    /// Threads of a block access shared memory without a barrier between.
    SharedRace,
    /// Blocks access global memory without atomics.
    GlobalRace,
    /// A read of what `cp.async` copies before it was waited for.
    Unwaited,
    /// A barrier that not all threads reach alike.
    Barrier,
    /// A warp operation whose lanes do not take part as its mask says.
    WarpSync,
    /// Threads that wait for ever.
    Deadlock,
    /// More instructions than the limit.
    Timeout,
    /// `trap`, or an operation without a meaning.
    Trap,
    /// A launch that the device cannot do.
    Launch,
}

/// An error of a launch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// What kind.
    pub kind: Kind,
    /// The kernel.
    pub kernel: String,
    /// Block and thread, if the error is of a thread.
    pub place: Option<([u32; 3], [u32; 3])>,
    /// Line and text of the instruction.
    pub instruction: Option<(u32, String)>,
    /// The address.
    pub address: Option<u64>,
    /// What happened.
    pub message: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: kernel `{}`", self.kind, self.kernel)?;
        if let Some((block, thread)) = self.place {
            write!(f, ", block {block:?}, thread {thread:?}")?;
        }
        if let Some((line, text)) = &self.instruction {
            write!(f, ", PTX line {line} `{text}`")?;
        }
        write!(f, ": {}", self.message)?;
        match self.address {
            Some(a) => write!(f, " [address {a:#x}]"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Report {}

/// What went wrong inside an instruction; the block adds the place.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) kind: Kind,
    pub(crate) lane: Option<usize>,
    pub(crate) address: Option<u64>,
    pub(crate) message: String,
}

impl Hit {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, lane: None, address: None, message: message.into() }
    }

    pub(crate) fn lane(mut self, lane: usize) -> Self {
        self.lane = Some(lane);
        self
    }

    pub(crate) fn at(mut self, address: u64) -> Self {
        self.address = Some(address);
        self
    }
}
