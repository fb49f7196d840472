//! The built-in recipes against what llama.cpp decides: its own listings of real models, and the stock library itself on
//! models made here.

mod decisions;
mod files;
mod listings;
mod live;
mod made;
mod stock;
mod weighed;
