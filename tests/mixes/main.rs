//! The built-in recipes against what llama.cpp decides: its own listings of real models, and the stock library itself on
//! models made here.

mod decisions;
mod files;
#[path = "../support/installed.rs"]
mod installed;
mod listings;
mod live;
mod made;
mod stock;
mod weighed;
