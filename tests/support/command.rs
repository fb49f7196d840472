//! The command, as a user runs it.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A finished run, which did not panic.
#[track_caller]
pub(crate) fn planish(args: &[&str]) -> Output {
    let out = Command::new(env!("CARGO_BIN_EXE_planish")).args(args).output().expect("the command starts");
    assert!(!message(&out).contains("panicked"), "{args:?}: {}", message(&out));
    out
}

/// What a run says that does not fail.
#[track_caller]
pub(crate) fn json(args: &[&str]) -> Value {
    let out = planish(&[args, &["--json"]].concat());
    assert!(out.status.success(), "{args:?}: {}", message(&out));
    serde_json::from_slice(&out.stdout).expect("output is JSON")
}

/// Remarks and errors.
pub(crate) fn message(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// The exit status of a run that fails with a message, and that message.
#[track_caller]
pub(crate) fn fails(args: &[&str]) -> (i32, String) {
    let out = planish(args);
    let message = message(&out);
    assert!(!out.status.success() && message.contains("error:"), "{args:?}: {message}");
    (out.status.code().expect("exited by itself"), message)
}

/// The exit status of a run, and all that it says.
#[track_caller]
pub(crate) fn told(args: &[&str]) -> (Option<i32>, String) {
    let out = planish(args);
    (out.status.code(), message(&out) + &String::from_utf8_lossy(&out.stdout))
}
