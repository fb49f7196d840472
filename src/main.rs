//! The `planish` command: what was typed becomes a job of the library.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
