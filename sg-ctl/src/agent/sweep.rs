//! Sweeps the flow tables: a walk round all of them every few seconds, in steps with pauses between them, so that no
//! processor is busy with it for long.

use crate::{
    error::Result,
    kernel::{Host, Step, Sweeper, object::Constants},
    metrics::Walk,
    time::now,
};
use anyhow::Context as _;
use sg_common::policy::STATE_HZ;
use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};
use tokio::time::Instant;

/// Between the starts of two walks.
const EVERY: Duration = Duration::from_secs(10);
/// Between two steps of a walk. Tables that are full to the last place take 14 seconds to go round.
const PAUSE: Duration = Duration::from_millis(100);

/// What the agent sweeps, and how far it is.
pub struct Sweep {
    /// With the inode of the host's clock, which tells whether it is the same host still.
    sweeper: Option<(u64, Sweeper)>,
    /// The walk that is under way: its start, and how many entries went so far.
    walk: Option<(Instant, usize)>,
    next: Instant,
    /// The last walk that came round.
    pub last: Option<Walk>,
}

impl Sweep {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { sweeper: None, walk: None, next: Instant::now(), last: None }
    }

    /// When there is something to do next.
    pub fn due(&self) -> Instant {
        self.next
    }

    /// Does nothing this time.
    pub fn put_off(&mut self) {
        self.next = Instant::now() + EVERY;
    }

    /// Does one step, where there is a host.
    ///
    /// # Errors
    /// Where the kernel refuses; the next walk tries again.
    pub fn step(&mut self, bpffs: &Path) -> Result<()> {
        let (began, removed) = self.walk.take().unwrap_or((Instant::now(), 0));
        let stepped = self.try_step(bpffs);
        let soon = Instant::now() + PAUSE;
        self.next = soon.max(began + EVERY);
        match stepped {
            Ok(Some(step)) if step.is_last => {
                let removed = removed + step.removed;
                log::debug!("swept {removed} entries of flows that were over");
                self.last = Some(Walk { ended: now(), took: began.elapsed(), removed });
            }
            Ok(Some(step)) => (self.walk, self.next) = (Some((began, removed + step.removed)), soon),
            Ok(None) => {}
            Err(error) => {
                self.sweeper = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Lets go of a host that is no more: its tables take memory for as long as somebody has them open.
    pub fn let_go_of_what_is_gone(&mut self, bpffs: &Path) {
        if self.sweeper.as_ref().is_some_and(|(inode, _)| Some(*inode) != clock_inode(bpffs)) {
            self.sweeper = None;
        }
    }

    fn try_step(&mut self, bpffs: &Path) -> Result<Option<Step>> {
        self.let_go_of_what_is_gone(bpffs);
        if self.sweeper.is_none() {
            let Some(inode) = clock_inode(bpffs) else { return Ok(None) };
            // Its lock is held while the program is loaded, or a host that is being taken away would get its maps back.
            let Some(host) = Host::open(bpffs)? else { return Ok(None) };
            let hz = u32::try_from(host.cell(STATE_HZ)?).context("the clock's rate")?;
            self.sweeper = Some((inode, Sweeper::new(&host, &Constants { hz, ..Constants::default() })?));
        }
        self.sweeper.as_mut().map(|(_, sweeper)| sweeper.step()).transpose()
    }
}

/// Of the pin that a host has from its making to its end.
fn clock_inode(bpffs: &Path) -> Option<u64> {
    fs::metadata(bpffs.join("clock")).ok().map(|metadata| metadata.ino())
}
