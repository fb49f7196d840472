//! Brings what is being written to the disk while the rest is still being made, so that the flush at the end finds little
//! left and the page cache does not fill with pages that wait.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Bytes of one file between two flushes.
const PORTION: u64 = 32 << 20;

/// A thread that flushes files in the background.
#[derive(Debug)]
pub(crate) struct Flusher {
    /// `None` once the thread was told to end.
    asks: Option<Mutex<Sender<Arc<File>>>>,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

/// A flush that failed, and whose.
pub(crate) type Failure = (Arc<File>, io::Error);

/// How much of a file was written.
#[derive(Debug, Default)]
pub(crate) struct Written(AtomicU64);

impl Flusher {
    pub(crate) fn start() -> Flusher {
        let (asks, asked) = channel();
        let thread = std::thread::spawn(move || flush(&asked));
        Flusher { asks: Some(Mutex::new(asks)), thread: Some(thread) }
    }

    /// Notes that `bytes` more of `file` were written.
    pub(crate) fn wrote(&self, file: &Arc<File>, written: &Written, bytes: u64) {
        let before = written.0.fetch_add(bytes, Ordering::Relaxed);
        if before / PORTION != (before + bytes) / PORTION
            && let Some(asks) = &self.asks
        {
            // If the thread is gone it has failed, which `finish` tells.
            let _ = asks.lock().unwrap_or_else(PoisonError::into_inner).send(file.clone());
        }
    }

    /// Ends the thread. An error that it met is told here: the operating system tells it only once.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.asks = None;
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

fn flush(asked: &Receiver<Arc<File>>) -> Result<(), Failure> {
    while let Ok(file) = asked.recv() {
        file.sync_data().map_err(|error| (file, error))?;
    }
    Ok(())
}
