//! Importance matrices: what is measured, the files, and the commands.

mod attacks;
mod command;
mod drift;
mod measured;
