//! A running `sg-ctl agent`.

use crate::ctl::{Ctl, binary};
use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
};

/// A running agent; stopped, at the latest, with the test.
pub struct Agent {
    child: Child,
    log: BufReader<ChildStderr>,
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
    pub fn start_by(ctl: &Ctl, mut command: Command, flags: &str) -> Self {
        ctl.prepare(&mut command).arg("agent").args(flags.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let log = BufReader::new(child.stderr.take().expect("it was piped"));
        let mut agent = Self { child, log };
        agent.says("following");
        agent
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads its log up to the line that holds the word, and returns that. An agent that ends without saying it fails the
    /// test.
    pub fn says(&mut self, word: &str) -> String {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).expect("its log"), 0, "ended without saying {word:?}");
        }
        line
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
