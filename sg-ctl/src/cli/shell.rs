//! `sg-ctl completions`, `sg-ctl man`: made out of the command line's own definition, so that they never disagree with it.

use super::Cli;
use crate::{
    error::{Refusal, Result},
    render::{Output, escape},
};
use clap::CommandFactory as _;
use serde_json::json;
use std::{fs, io::Write as _, path::PathBuf};

/// `completions`
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    /// The script, whatever `-o` says: it is what it is.
    pub fn write(&self, out: &mut Vec<u8>) {
        clap_complete::generate(self.shell, &mut Cli::command(), "sg-ctl", out);
    }
}

/// `man`
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Directory for the pages, made where it is missing
    dir: PathBuf,
}

impl Man {
    /// Writes a page for each command and prints the directory.
    pub fn write(&self, out: &mut Vec<u8>, output: Output) -> Result<()> {
        let dir = self.dir.display();
        let written = fs::create_dir_all(&self.dir)
            .and_then(|()| clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &self.dir));
        written.map_err(|error| {
            let message = format!(
                "the manual cannot be written to {dir}: {error}; give a directory that you may write"
            );
            Refusal::new("OutputError", message)
        })?;
        match output {
            Output::Table => writeln!(out, "the pages are in {}", escape(&dir.to_string()))?,
            Output::Json => writeln!(out, "{}", json!({ "Return": true, "directory": dir.to_string() }))?,
        }
        Ok(())
    }
}
