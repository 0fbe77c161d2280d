//! What stdout is: a terminal, whose width tables keep to and on which heads are bold, or something that takes all as it
//! is.

use clap::builder::styling::Style;
use std::{io, sync::OnceLock};

/// How answers for people are laid out. The default is that of a pipe or a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Columns; `None` where there is no end of them.
    pub width: Option<usize>,
    /// Of the heads of tables; nothing where colours are not wanted.
    pub heads: Style,
}

static STDOUT: OnceLock<Terminal> = OnceLock::new();

/// Looks at stdout, once: whether it is a terminal, how wide, and whether it takes colours (`NO_COLOR`, `TERM`).
pub fn look_at_stdout() {
    let stdout = io::stdout();
    let width = terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
    let is_plain = anstream::AutoStream::choice(&stdout) == anstream::ColorChoice::Never;
    let heads = if is_plain { Style::new() } else { Style::new().bold() };
    // A second look would find the same.
    STDOUT.get_or_init(|| Terminal { width, heads });
}

/// What stdout was found to be; a pipe where nobody has looked.
#[must_use]
pub fn stdout() -> Terminal {
    STDOUT.get().copied().unwrap_or_default()
}
