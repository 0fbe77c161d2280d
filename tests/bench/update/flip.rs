//! When a change is in force, seen from outside: the moment at which the live generation's word changes.

use super::timed::{Took, timed};
use sg_common::policy::STATE_WORD;
use sg_ctl::kernel::BpfMap;
use sg_tests::ctl::Ctl;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a command took to be enforced.
#[derive(Clone, Copy)]
pub struct Live {
    /// Since the process was started.
    pub since_start: Duration,
    /// Since the last write to the store's files before it: the end of the commit, or what of it the file system does
    /// after that write.
    pub since_commit: Duration,
}

/// Runs a line of `sg-ctl` that changes what is enforced, and watches for the moment.
pub fn watched(ctl: &Ctl, line: &str, limit: Duration) -> Result<Live, String> {
    let state: BpfMap<u32, u64> =
        BpfMap::open(&ctl.bpffs().join("maps/STATE")).map_err(|error| error.to_string())?;
    let word = || state.get(&STATE_WORD).ok().flatten();
    let (before, done, ready) = (word(), AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            crate::sys::pin(1);
            let (mut seen, mut written) = (store(ctl.state_dir()), None);
            ready.store(true, Ordering::Relaxed);
            while !done.load(Ordering::Relaxed) {
                if word() != before {
                    return Some((written, Instant::now()));
                }
                let now = store(ctl.state_dir());
                if now != seen {
                    (seen, written) = (now, Some(Instant::now()));
                }
            }
            None
        });
        while !ready.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        let start = Instant::now();
        let took = timed(ctl, line, limit);
        done.store(true, Ordering::Relaxed);
        let seen = watch.join().expect("the watch does not panic");
        took?;
        match seen {
            Some((Some(written), live)) => {
                Ok(Live { since_start: live - start, since_commit: live - written })
            }
            Some((None, _)) => Err("the store's files were not seen to change".to_owned()),
            None => Err("the watching thread did not get its processor in time".to_owned()),
        }
    })
}

/// That part of what was seen. A change that went unseen is left out where others were seen.
pub fn part(live: &[Result<Live, String>], of: impl Fn(&Live) -> Duration) -> Vec<Took> {
    let any = live.iter().any(Result::is_ok);
    let kept = live.iter().filter(|live| !any || live.is_ok());
    kept.map(|live| live.as_ref().map(&of).map_err(Clone::clone)).collect()
}

/// Sizes and times of the store's files: another picture after each write.
fn store(dir: &Path) -> [Option<(u64, i64, i64)>; 3] {
    ["state.db", "state.db-wal", "state.db-journal"].map(|name| {
        let data = fs::metadata(dir.join(name)).ok()?;
        Some((data.size(), data.mtime(), data.mtime_nsec()))
    })
}
