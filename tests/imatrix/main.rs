//! Importance matrices: what is measured, the files, and the commands.

mod attacks;
#[path = "../support/command.rs"]
mod command;
mod commands;
mod drift;
mod measured;
