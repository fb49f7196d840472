//! Ctrl-C and termination: a flag that a job looks at.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;

/// A flag that the first signal sets. The second ends the process at once.
pub(crate) fn cancel() -> anyhow::Result<Arc<AtomicBool>> {
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 75, cancel.clone())
            .and_then(|_| signal_hook::flag::register(signal, cancel.clone()))
            .context("cannot handle signals")?;
    }
    Ok(cancel)
}
