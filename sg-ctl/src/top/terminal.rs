//! The terminal, borrowed: given back on every way out.

use crate::error::{Refusal, Result};
use ratatui::{DefaultTerminal, Frame};
use std::io::{self, IsTerminal as _};

/// Refuses where there is no screen to draw on: to be asked before anything else is done.
///
/// # Errors
/// `UnsupportedOperation`
pub fn check() -> Result<()> {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if io::stdout().is_terminal() && !is_dumb {
        return Ok(());
    }
    let why = if is_dumb { "TERM=dumb has no screen" } else { "stdout is no terminal" };
    let message = format!(
        "top draws on a terminal, and {why}; use `sg-ctl counters --watch` for rates and `sg-ctl monitor` for drops, each also \
         with -o json"
    );
    Err(Refusal::new("UnsupportedOperation", message).into())
}

/// The terminal with its other screen up and its keys unread by anybody else. Dropping it gives it back; so does a panic,
/// before it says what is wrong.
pub struct Borrowed {
    terminal: DefaultTerminal,
    logs: log::LevelFilter,
}

impl Borrowed {
    /// Takes the terminal.
    ///
    /// # Errors
    /// `OutputError` where it does not do as it is told.
    pub fn take() -> Result<Self> {
        let terminal = ratatui::try_init().map_err(|error| {
            // What was done of it is undone.
            ratatui::restore();
            Refusal::new("OutputError", format!("the terminal cannot be drawn on: {error}"))
        })?;
        let logs = log::max_level();
        if io::stderr().is_terminal() {
            // What is logged there would be in the middle of the picture.
            log::set_max_level(log::LevelFilter::Off);
        }
        Ok(Self { terminal, logs })
    }

    /// Draws, and writes what has changed since the last time.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // Whoever has hung up has no terminal to give back.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
        log::set_max_level(self.logs);
    }
}
