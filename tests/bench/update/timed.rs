//! Runs a command to its end, or to the end of patience, and says how long it took.

use sg_tests::ctl::{Ctl, binary};
use std::{
    io::Read,
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// How much is done for one figure.
#[derive(Clone, Copy)]
pub struct Effort {
    /// At most.
    pub samples: u32,
    /// No sample beyond the third begins later than this.
    pub budget: Duration,
    /// For one command.
    pub limit: Duration,
}

/// How long a command took, or why it did not do what it was to do.
pub type Took = Result<Duration, String>;

/// A line of `sg-ctl` whose words hold no blanks.
pub fn timed(ctl: &Ctl, line: &str, limit: Duration) -> Took {
    finish(ctl.prepare(&mut Command::new(binary())).args(line.split_whitespace()), limit)
}

/// Any command, which must succeed.
pub fn finish(command: &mut Command, limit: Duration) -> Took {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let (done, ends) = channel::<()>();
    let (pid, started) = channel();
    let watchdog = thread::spawn(move || {
        let Ok(pid) = started.recv() else { return false };
        let hangs = ends.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if hangs {
            crate::sys::kill(pid);
        }
        hangs
    });
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?;
    pid.send(child.id()).expect("the watchdog waits");
    let mut said = String::new();
    // Also the wait for its end: the stream is closed when the process is gone.
    let read = child.stderr.take().map_or(Ok(0), |mut stderr| stderr.read_to_string(&mut said));
    let status = child.wait();
    let took = start.elapsed();
    drop(done);
    let hangs = watchdog.join().expect("the watchdog does not panic");
    read.map_err(|error| error.to_string())?;
    match status {
        _ if hangs => Err(format!("took longer than {} s", limit.as_secs())),
        Ok(status) if status.success() => Ok(took),
        _ => Err(said.lines().next().unwrap_or("failed without a word").to_owned()),
    }
}
