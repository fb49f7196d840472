//! The only place that prints: data on standard output, everything else on standard error.

use std::io::{IsTerminal, Write};

pub(crate) use planish::amount::{bytes, count};
use serde_json::{Value, json};

/// Where results and remarks go.
pub(crate) struct Out {
    json: bool,
    color: bool,
}

impl Out {
    pub(crate) fn new(json: bool) -> Out {
        let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Out { json, color }
    }

    /// The result of a command, in the form that was asked for. Only that form is made.
    pub(crate) fn result(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> anyhow::Result<()> {
        let text = if self.json { format!("{:#}\n", json()) } else { text() };
        print(text.as_bytes())
    }

    pub(crate) fn warning(&self, text: &str) {
        self.remark("warning", "33", text);
    }

    /// A failed command's message; as JSON too, so that a pipeline reads one form.
    pub(crate) fn error(&self, message: &str, hint: Option<&str>, status: u8) {
        self.complain(message, hint);
        if self.json {
            // The exit status tells already; a closed pipe changes nothing.
            let _ = print(format!("{:#}\n", json!({"error": message, "hint": hint, "status": status})).as_bytes());
        }
    }

    /// What went wrong, of a command that has given its result all the same.
    pub(crate) fn complain(&self, message: &str, hint: Option<&str>) {
        self.remark("error", "31", message);
        if let Some(hint) = hint {
            self.remark("hint", "36", hint);
        }
    }

    /// Something to know, on standard error.
    pub(crate) fn note(&self, text: &str) {
        self.remark("note", "36", text);
    }

    fn remark(&self, label: &str, color: &str, text: &str) {
        let mut stderr = std::io::stderr().lock();
        // Nobody is left to be told that remarks cannot be written.
        let _ = if self.color {
            writeln!(stderr, "\x1b[1;{color}m{label}:\x1b[0m {text}")
        } else {
            writeln!(stderr, "{label}: {text}")
        };
    }
}

/// Bytes on standard output. A reader that has gone away has seen enough: that is no error.
pub(crate) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// Lines of `key  value`, the values aligned.
pub(crate) fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    rows.iter().map(|(key, value)| format!("{key:width$}  {value}\n")).collect()
}

/// Columns under headings; a heading that starts with `>` aligns its column to the right.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let right: Vec<bool> = headings.iter().map(|h| h.starts_with('>')).collect();
    let headings: Vec<String> = headings.iter().map(|h| h.trim_start_matches('>').to_owned()).collect();
    let width = |i: usize| rows.iter().chain([&headings]).map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = (row.iter().zip(&widths).zip(&right))
            .map(|((cell, &width), right)| if *right { format!("{cell:>width$}") } else { format!("{cell:width$}") })
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    std::iter::once(&headings).chain(rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_their_columns() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["bcd".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["name", ">n"], &rows), "name   n\na      1\nbcd   22\n");
    }
}
