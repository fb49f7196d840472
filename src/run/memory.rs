//! How much anonymous memory the process took: what a machine must really have, beside the page cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Samples `RssAnon` until it is asked for the peak.
pub struct PeakAnon {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    sampler: Option<JoinHandle<()>>,
}

impl PeakAnon {
    /// Starts sampling, every 5 ms.
    pub fn start() -> PeakAnon {
        let peak = Arc::new(AtomicU64::new(rss_anon().unwrap_or(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let sampler = {
            let (peak, stop) = (peak.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    peak.fetch_max(rss_anon().unwrap_or(0), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(5));
                }
            })
        };
        PeakAnon { peak, stop, sampler: Some(sampler) }
    }

    /// The highest value so far, in bytes; 0 where the system does not tell.
    pub fn bytes(&self) -> u64 {
        self.peak.fetch_max(rss_anon().unwrap_or(0), Ordering::Relaxed);
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for PeakAnon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sampler) = self.sampler.take() {
            // A sampler that panicked has nothing more to say.
            let _ = sampler.join();
        }
    }
}

/// `RssAnon` of this process in bytes, from Linux's `/proc/self/status`.
fn rss_anon() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_sees_memory_that_was_given_back() {
        // Tests beside this one may give back as much at the same time, but not again and again.
        let mut seen = vec![];
        for _ in 0..20 {
            let peak = PeakAnon::start();
            let before = peak.bytes();
            let taken = vec![1u8; 64 << 20];
            std::hint::black_box(&taken);
            let during = peak.bytes();
            drop(taken);
            assert!(peak.bytes() >= during);
            if during >= before + (60 << 20) {
                return;
            }
            seen.push((before, during));
        }
        panic!("{seen:?}");
    }
}
