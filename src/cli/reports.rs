//! The files that a verification leaves for people and for CI.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use planish::run;
use planish::verify::Report;
use planish::verify::render;

/// Where GitHub Actions takes the summary of a job's step from.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Makes the text of a file.
type Render = fn(&Report) -> String;

/// Files beside what is printed. They are written whatever the verdict.
#[derive(clap::Args)]
#[command(next_help_heading = "Reports")]
pub(crate) struct Reports {
    /// Write a page for people: one file, with charts, that needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the gates and checks as JUnit's XML, for CI servers.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a summary in Markdown. It is also added to the file that $GITHUB_STEP_SUMMARY names.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

impl Reports {
    /// Refuses names that nothing can be written under, before anything long begins.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let asked = [&self.html, &self.junit, &self.markdown].into_iter().flatten();
        Ok(asked.into_iter().try_for_each(|path| run::check_name(path, true))?)
    }

    /// Writes what was asked for: all of it, whatever fails; the first failure is told.
    pub(crate) fn write(&self, report: &Report) -> anyhow::Result<()> {
        let files = [
            (&self.html, render::html as Render),
            (&self.junit, render::junit as Render),
            (&self.markdown, render::markdown as Render),
        ];
        let asked = files.into_iter().filter_map(|(path, text)| Some((path.as_deref()?, text)));
        let written = asked.map(|(path, text)| Ok(planish_formats::write(path, text(report).as_bytes())?));
        let summary = std::env::var_os(STEP_SUMMARY).filter(|path| !path.is_empty());
        let summary = summary.map(|path| append(&path, &render::markdown(report)));
        // All are tried before one failure ends it.
        written.chain(summary).collect::<Vec<_>>().into_iter().collect()
    }
}

/// Adds to a file that other steps write to as well.
fn append(path: &OsString, text: &str) -> anyhow::Result<()> {
    let path = Path::new(path);
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()))
        .with_context(|| format!("{}: cannot add the summary", path.display()))
}
