//! How the demo speaks: numbered steps, commands with their output, and claims with a tick once checked.

use std::cell::Cell;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::lab::{Lab, Ran};
use crate::exec::Interrupted;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

/// The terminal, and the wish to stop.
pub struct Stage {
    colours: bool,
    steps: Cell<u32>,
    interrupted: Arc<AtomicBool>,
}

impl Stage {
    /// From here on Ctrl-C and its kin only raise a flag, which every step looks at.
    pub fn new() -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Ok(Self { colours, steps: Cell::new(0), interrupted })
    }

    /// The heading of the next step.
    pub fn step(&self, title: &str) -> Result<()> {
        self.go_on()?;
        self.steps.set(self.steps.get() + 1);
        println!("\n{}", self.paint(BOLD, &format!("{}. {title}", self.steps.get())));
        Ok(())
    }

    /// A sentence that is not checked.
    pub fn note(&self, text: &str) {
        println!("   {}", self.paint(DIM, text));
    }

    /// Runs `sg-ctl` before the eyes of the user; a failure ends the demo.
    pub fn run(&self, lab: &Lab, arguments: &[&str]) -> Result<Ran> {
        self.go_on()?;
        let words: Vec<_> = arguments.iter().map(|word| quoted(word)).collect();
        let shown = format!("sg-ctl {}", words.join(" "));
        println!("   {}", self.paint(CYAN, &format!("$ {shown}")));
        let ran = lab.sg_ctl(arguments)?;
        for line in ran.stdout.lines().chain(ran.stderr.lines()) {
            println!("     {line}");
        }
        if !ran.status.success() {
            bail!("`{shown}` failed: {}", ran.stderr.trim());
        }
        Ok(ran)
    }

    /// A claim: told with a tick when it was seen to be `true`, the end of the demo otherwise.
    pub fn check(&self, seen: bool, claim: &str) -> Result<()> {
        self.go_on()?;
        if seen {
            println!("   {} {claim}", self.paint(GREEN, "✔"));
            return Ok(());
        }
        println!("   {} {claim}", self.paint(RED, "✘"));
        bail!("this was not so: {claim}");
    }

    /// Lets the traffic run for a while.
    pub fn wait(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.go_on()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The last word.
    pub fn end(&self, text: &str) {
        println!("\n{} {text}", self.paint(GREEN, "✔"));
    }

    fn go_on(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) { Err(Interrupted.into()) } else { Ok(()) }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A word as one types it in a shell.
fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}
