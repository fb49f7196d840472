//! The original and a candidate, run in lock-step on the same tokens and compared: how the hidden states drift from layer
//! to layer, and what becomes of the probabilities in the end.
//!
//! A [`Protocol`] cuts a text into sequences and says which tokens are scored; [`compare`] runs both models over them,
//! one layer of each at a time, and keeps one [`Score`] a token; [`Summary`] is the statistics of those.

pub mod baseline;
mod bootstrap;
mod comparability;
mod compare;
mod corpus;
mod embed;
mod error;
mod extremes;
mod gate;
mod groups;
mod job;
mod pairs;
mod party;
mod policy;
mod protocol;
pub mod render;
pub mod report;
mod stats;
mod summary;
mod weights;

pub use bootstrap::{Interval, interval};
pub use compare::{Comparison, LayerDrift, Progress, Score, Side, Watch, compare};
pub use error::{Error, Result, Which};
pub use gate::{Condition, ConditionError, Op, judge};
pub use job::{Cut, Event, Observer, Options, Text, verify};
pub use policy::Policy;
pub use protocol::{Protocol, Sequences, Sources};
pub use report::{Metrics, Report};
pub use stats::{Estimate, percentile};
pub use summary::Summary;
