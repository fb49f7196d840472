//! Shell completions and the man page, made from the argument definitions.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::exit::UsageError;
use super::show;

/// Print a completion script for a shell.
#[derive(clap::Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

/// Print the man page.
#[derive(clap::Args)]
pub(crate) struct Man {
    /// The command whose page to print; without it, the overview.
    command: Option<String>,
}

pub(crate) fn completions(args: &Completions) -> anyhow::Result<()> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "planish", &mut script);
    show::print(&script)
}

pub(crate) fn man(args: &Man) -> anyhow::Result<()> {
    let overview = Cli::command();
    let page = match &args.command {
        None => clap_mangen::Man::new(overview),
        Some(name) => {
            let found = overview.get_subcommands().find(|command| command.get_name() == name);
            let command = found.ok_or_else(|| UsageError(format!("{name}: no such command")))?;
            clap_mangen::Man::new(command.clone()).title(format!("planish-{name}"))
        }
    };
    let mut text = vec![];
    page.render(&mut text)?;
    show::print(&text)
}
