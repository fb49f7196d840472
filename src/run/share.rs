//! Pieces of work handed out to threads in order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Error, Result};

/// Does `count` pieces of work on `threads` threads, each with what `worker` made for it. Pieces are begun in order. After a
/// failure none is begun; of several the one that comes first is returned.
pub(super) fn share<W>(
    threads: usize,
    count: usize,
    cancel: &AtomicBool,
    worker: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, usize) -> Result<()> + Sync,
) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failure: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut worker = worker();
                while !failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    let cancelled = cancel.load(Ordering::Relaxed);
                    if let Err(error) = if cancelled { Err(Error::Interrupted) } else { work(&mut worker, at) } {
                        failed.store(true, Ordering::Relaxed);
                        keep_first(&failure, at, error);
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

fn keep_first(failure: &Mutex<Option<(usize, Error)>>, at: usize, error: Error) {
    let mut slot = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if slot.as_ref().is_none_or(|(first, _)| at < *first) {
        *slot = Some((at, error));
    }
}
