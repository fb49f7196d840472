//! The original and a candidate, run in lock-step on the same tokens and compared: how the hidden states drift from layer
//! to layer, and what becomes of the probabilities in the end.
//!
//! A [`Protocol`] cuts a text into sequences and says which tokens are scored; [`compare`] runs both models over them,
//! one layer of each at a time, and keeps one [`Score`] a token; [`Summary`] is the statistics of those.

mod bootstrap;
mod compare;
mod error;
mod protocol;
pub mod report;
mod stats;
mod summary;

pub use bootstrap::{Interval, interval};
pub use compare::{Comparison, LayerDrift, Progress, Score, Side, compare};
pub use error::{Error, Result, Which};
pub use protocol::{Protocol, Sequences};
pub use report::Report;
pub use stats::{Estimate, percentile};
pub use summary::Summary;
