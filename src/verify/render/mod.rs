//! A report for people and for CI: pure functions from a [`Report`](super::Report) to the text of a file.
//!
//! What a report holds came from files that anybody may have made: names, paths and text are escaped for the format
//! that they are put into, and characters that would not be seen are shown.
#![expect(clippy::format_push_string, reason = "a report is made once; markup reads best as one format string")]

mod escape;
mod facts;
mod html;
mod junit;
mod markdown;
mod number;

pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
