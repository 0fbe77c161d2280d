//! Runs the programs that the tasks are made of, and says what is going on.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// A program that ran and failed. It keeps the exit code, so that CI sees cargo's own.
#[derive(Debug)]
pub struct Failed {
    what: String,
    code: u8,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed (exit status {})", self.what, self.code)
    }
}

impl std::error::Error for Failed {}

/// Interrupted by the user or by a signal: 130, as shells say it.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// The exit status that tells the caller about `error`.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Interrupted>() {
        return 130;
    }
    error.downcast_ref::<Failed>().map_or(1, |failed| failed.code)
}

/// One line for a step that is about to take time.
pub fn say(line: impl fmt::Display) {
    eprintln!("xtask: {line}");
}

/// Runs `command` with the terminal as its own; `what` names it in a complaint.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    let status =
        command.status().with_context(|| format!("{what}: cannot start {:?}", command.get_program()))?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failed { what: what.to_owned(), code }.into())
}

/// What `command` prints on stdout, or `None` when it is absent or fails: a question, not a step.
pub fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where the shell would find `program`. The system directories are looked in even where `PATH`
/// of an unprivileged user lacks them.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| {
        // A directory of that name, or one we may not look into, is not the program.
        match file.metadata() {
            Ok(data) => data.is_file(),
            Err(error) => error.kind() == ErrorKind::PermissionDenied,
        }
    })
}
