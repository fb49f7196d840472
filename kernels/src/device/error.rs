//! What can go wrong on a device.

/// A result of a device.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong on a device.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is none to be used.
    #[error("{device} cannot be used: {why}")]
    Unusable {
        /// Which was asked for.
        device: String,
        /// What was found.
        why: String,
    },
    /// It has too little memory.
    #[error("{device} is out of memory: {asked} bytes were asked for, {free} of {total} bytes are free")]
    Memory {
        /// Which.
        device: String,
        /// Bytes that were asked for.
        asked: usize,
        /// Bytes that are free.
        free: usize,
        /// Bytes that it has.
        total: usize,
    },
    /// A call of its driver failed.
    #[error("{device}: {call} failed: {why}")]
    Driver {
        /// Which.
        device: String,
        /// What was tried.
        call: String,
        /// What the driver said.
        why: String,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Unusable { .. } => {
                Some("`planish devices` says what was found; `--device cpu` always works".to_owned())
            }
            Error::Memory { .. } => Some("shorter sequences need less (`--ctx`), or use `--device cpu`".to_owned()),
            Error::Driver { .. } => Some("`--device cpu` does not need the driver".to_owned()),
        }
    }
}
