//! A running `sg-ctl monitor` or `trace`.

use crate::ctl::{Ctl, PATIENCE, Ran, binary};
use serde_json::Value;
use sg_common::event::{Listener, PLACES};
use sg_ctl::kernel::BpfMap;
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How many places of a host somebody has taken, or has not given back.
#[must_use]
pub fn listeners(ctl: &Ctl) -> usize {
    let Ok(map) = BpfMap::<u32, Listener>::open(&ctl.bpffs().join("maps/LISTENERS")) else { return 0 };
    let places = (0..PLACES).map(|place| map.get(&place).expect("an array").expect("its element"));
    places.filter(|listener| listener.until != 0).count()
}

/// A running command that listens; killed, at the latest, with the test.
pub struct Monitor {
    child: Child,
    lines: mpsc::Receiver<String>,
    stderr: ChildStderr,
}

impl Monitor {
    /// Starts one, and waits until it listens.
    #[must_use]
    pub fn start(ctl: &Ctl, line: &str) -> Self {
        let before = listeners(ctl);
        let monitor = Self::spawn(ctl, line);
        let began = Instant::now();
        while listeners(ctl) <= before {
            assert!(began.elapsed() < PATIENCE, "`sg-ctl {line}` does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        monitor
    }

    /// Starts one, and waits for nothing.
    #[must_use]
    pub fn spawn(ctl: &Ctl, line: &str) -> Self {
        let mut command = Command::new(binary());
        ctl.prepare(&mut command).args(line.split_whitespace()).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sg-ctl starts");
        let stderr = child.stderr.take().expect("it was piped");
        let lines = lines(child.stdout.take().expect("it was piped"));
        Self { child, lines, stderr }
    }

    /// Its next line.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("another line")
    }

    /// Its next line, if there is one already or will be in a moment.
    pub fn try_line(&mut self) -> Option<String> {
        self.lines.recv_timeout(Duration::from_millis(200)).ok()
    }

    /// The same of one with `-o json`.
    #[track_caller]
    pub fn json(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"))
    }

    /// Sends it a signal by its name.
    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &self.child.id().to_string()]);
        assert!(kill.status().expect("sh runs").success());
    }

    /// Waits for its end. Returns what it said and had not been read.
    #[must_use]
    pub fn end(mut self) -> Ran {
        let began = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status.code();
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).expect("its stderr");
        let stdout = self.lines.iter().map(|line| line + "\n").collect();
        Ran { code, stdout, stderr }
    }
}

/// Lines as they come.
fn lines(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens any more once the test has failed.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
