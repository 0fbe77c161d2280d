//! A running `sg-ctl agent`.

use crate::ctl::{Ctl, PATIENCE, binary};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

/// A running agent; stopped, at the latest, with the test.
pub struct Agent {
    child: Child,
    log: mpsc::Receiver<String>,
    last: String,
}

impl Agent {
    /// Starts one, and waits until it follows the kernel.
    #[must_use]
    pub fn start(ctl: &Ctl) -> Self {
        Self::start_with(ctl, "", |_| {})
    }

    /// The same with these flags, and what `prepare` sets of its environment.
    pub fn start_with(ctl: &Ctl, flags: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(binary());
        prepare(&mut command);
        Self::start_by(ctl, command, flags)
    }

    /// The same by a command whose last arguments the agent's become.
    #[must_use]
    pub fn start_by(ctl: &Ctl, command: Command, flags: &str) -> Self {
        Self::spawn(ctl, command, flags, "following")
    }

    /// Starts one with these flags, and waits until it says this, before it says that it follows or after.
    #[must_use]
    pub fn start_saying(ctl: &Ctl, flags: &str, word: &str) -> Self {
        Self::spawn(ctl, Command::new(binary()), flags, word)
    }

    fn spawn(ctl: &Ctl, mut command: Command, flags: &str, word: &str) -> Self {
        ctl.prepare(&mut command).arg("agent").args(flags.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stderr = BufReader::new(child.stderr.take().expect("it was piped"));
        let (lines, log) = mpsc::channel();
        // It ends with the agent.
        thread::spawn(move || stderr.lines().map_while(Result::ok).all(|line| lines.send(line).is_ok()));
        let mut agent = Self { child, log, last: String::new() };
        agent.says(word);
        agent
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads its log up to the line that holds the word, and returns that. An agent that ends without saying it, or does not
    /// say it in time, fails the test.
    pub fn says(&mut self, word: &str) -> &str {
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            self.last = line.unwrap_or_else(|error| panic!("it does not say {word:?} ({error})"));
            if self.last.contains(word) {
                return &self.last;
            }
        }
    }

    /// The line that was read last.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.last
    }

    /// Ends it as systemd would.
    pub fn stop(mut self) {
        let pid = self.pid().to_string();
        // The shell's own: the program of that name is in a package that need not be there.
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -TERM \"$1\"", "sh", &pid]);
        assert!(kill.status().expect("sh runs").success());
        self.says("stopped");
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
    }

    /// Ends it as nobody should.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Where the test has stopped it already there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
