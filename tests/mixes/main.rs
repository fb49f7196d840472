//! The built-in recipes against what llama.cpp decides: its own listings of real models, and the stock library itself on
//! models made here.

mod listings;
mod live;
mod stock;
