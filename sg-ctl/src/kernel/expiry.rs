//! Takes flows that are over out of the tables, a few at a time and beside the datapath at work.
//!
//! What is looked at here is a copy, and may be another flow by the time that it is removed. So nothing is removed from
//! here: a program of the datapath is told which flows seem to be over, and judges each anew (`sg-ebpf/src/sweep.rs`).
//! No lock is held, since nothing that a command reads or writes changes but entries that mean nothing any more.

use super::{
    clock,
    host::Host,
    map::{BpfMap, Walk},
    object::{self, Constants},
    sys,
};
use crate::error::Result;
use anyhow::{Context, ensure};
use aya::Ebpf;
use sg_common::{
    flow::{Flow, FlowKey4, FlowKey6, KeyHead},
    policy::{Policy, STATE_HZ, STATE_WORD, policy_row},
    sweep::{SWEEP_FLOWS, SWEEP_UNREAD, Suspect, SweepHead, Table},
    track::{Clock, Timeouts, is_long_over},
};
use std::{
    collections::HashMap,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};
use zerocopy::IntoBytes;

/// Entries that one step looks at: 3 ms of work where all of them have to go (measured without optimisation), within which
/// the kernel holds no lock for longer than it takes to copy what hashes alike.
const ENTRIES: usize = 4_096;

/// Walks round the flow tables of a host. Its open maps stay in memory as long as it does, also when the host is removed.
pub struct Sweeper {
    dir: PathBuf,
    state: BpfMap<u32, u64>,
    policies: BpfMap<u32, Policy>,
    clock: BpfMap<u32, u64>,
    flows4: [BpfMap<FlowKey4, Flow>; 3],
    flows6: [BpfMap<FlowKey6, Flow>; 3],
    program: Ebpf,
    /// Which of the six tables is next, IPv4's three first.
    table: usize,
    walk4: Walk<FlowKey4, Flow>,
    walk6: Walk<FlowKey6, Flow>,
}

/// What a look at the next entries found.
#[derive(Debug)]
pub struct Suspects {
    table: Table,
    family: u32,
    flows: Vec<Suspect>,
    /// Entries that were looked at.
    pub looked: usize,
    /// The walk is round.
    pub is_last: bool,
}

impl Suspects {
    /// How many flows seemed to be over.
    #[must_use]
    pub fn count(&self) -> usize {
        self.flows.len()
    }
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Entries that were looked at.
    pub looked: usize,
    /// Entries that were removed.
    pub removed: usize,
    /// The walk is round, and the next step begins another.
    pub is_last: bool,
}

impl Sweeper {
    /// Opens the host's tables and loads the program.
    ///
    /// # Errors
    /// `ProgramRefused`, and where a map cannot be opened.
    pub fn new(host: &Host, constants: &Constants) -> Result<Self> {
        let maps = host.maps();
        let mut program = object::open(constants, &maps, &[object::POLICY_MAPS, object::FLOW_MAPS])?;
        object::load(&mut program, object::SWEEP)?;
        Ok(Self {
            dir: host.dir().to_path_buf(),
            state: BpfMap::open(&maps.join("STATE"))?,
            policies: BpfMap::open(&maps.join("POLICIES"))?,
            clock: BpfMap::open(&maps.join("CLOCK"))?,
            flows4: [open(&maps, "ESTABLISHED4")?, open(&maps, "ANSWERED4")?, open(&maps, "PENDING4")?],
            flows6: [open(&maps, "ESTABLISHED6")?, open(&maps, "ANSWERED6")?, open(&maps, "PENDING6")?],
            program,
            table: 0,
            walk4: Walk::new(ENTRIES),
            walk6: Walk::new(ENTRIES),
        })
    }

    /// Looks at the next entries, and has those removed that are over.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn step(&mut self) -> Result<Step> {
        let suspects = self.look()?;
        let removed = self.remove(&suspects)?;
        Ok(Step { looked: suspects.looked, removed, is_last: suspects.is_last })
    }

    /// Looks at the next entries.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn look(&mut self) -> Result<Suspects> {
        let mut judge = Judge::new(&self.dir, &self.state, &self.clock, &self.policies)?;
        let mut suspects = Suspects {
            table: Table::ALL[self.table % 3],
            family: u32::from(self.table >= 3),
            flows: Vec::new(),
            looked: 0,
            is_last: false,
        };
        let flows = &mut suspects.flows;
        let mut visit = |head: &KeyHead, local, remote, flow: &Flow| {
            suspects.looked += 1;
            if judge.is_over(head, flow) {
                flows.push(Suspect { head: *head, local, remote });
            }
        };
        let goes_on = if suspects.family == 0 {
            self.flows4[self.table].walk_on(&mut self.walk4, |key, flow| {
                visit(&key.head, [key.local, 0, 0, 0], [key.remote, 0, 0, 0], flow);
            })?
        } else {
            self.flows6[self.table - 3].walk_on(&mut self.walk6, |key, flow| {
                visit(&key.head, key.local, key.remote, flow);
            })?
        };
        judge.outcome()?;
        if !goes_on {
            self.table = (self.table + 1) % 6;
            suspects.is_last = self.table == 0;
            self.walk4.rewind();
            self.walk6.rewind();
        }
        Ok(suspects)
    }

    /// Has those removed that are over still. Returns how many went.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn remove(&self, suspects: &Suspects) -> Result<usize> {
        let program = object::program_fd(&self.program, object::SWEEP)?;
        let mut removed = 0;
        for flows in suspects.flows.chunks(SWEEP_FLOWS) {
            let (table, family) = (suspects.table as u32, suspects.family);
            let head = SweepHead { table, family, count: flows.len() as u32, reserved: 0 };
            let given = [head.as_bytes(), flows.as_bytes()].concat();
            let answer = sys::test_run(program.as_fd(), &given).context("cannot run the program")?;
            ensure!(answer != SWEEP_UNREAD, "the program {} cannot read what it is given", object::SWEEP);
            removed += answer as usize;
        }
        Ok(removed)
    }
}

fn open<K: super::Plain, V: super::Plain>(maps: &Path, name: &str) -> Result<BpfMap<K, V>> {
    BpfMap::open(&maps.join(name))
}

/// Judges entries by the policy and the clock of a moment.
struct Judge<'a> {
    policies: &'a BpfMap<u32, Policy>,
    word: u64,
    clock: Clock,
    timeouts: HashMap<u16, Timeouts>,
    failed: Option<io::Error>,
}

impl<'a> Judge<'a> {
    fn new(
        host: &Path,
        state: &BpfMap<u32, u64>,
        cells: &BpfMap<u32, u64>,
        policies: &'a BpfMap<u32, Policy>,
    ) -> Result<Self> {
        let cell = |cell: u32| anyhow::Ok(state.get(&cell)?.unwrap_or(0));
        let clock = Clock { now: clock::now(host, cells)?, hz: cell(STATE_HZ)?.max(1), second_shift: 0 };
        Ok(Self { policies, word: cell(STATE_WORD)?, clock, timeouts: HashMap::new(), failed: None })
    }

    fn is_over(&mut self, head: &KeyHead, flow: &Flow) -> bool {
        self.timeouts(head.slot).is_some_and(|timeouts| is_long_over(flow, head, &timeouts, &self.clock))
    }

    /// Those of an interface.
    fn timeouts(&mut self, slot: u16) -> Option<Timeouts> {
        if let Some(known) = self.timeouts.get(&slot) {
            return Some(*known);
        }
        let row = self.policies.get(&policy_row(self.word, u32::from(slot)));
        let row = row.map_err(|error| self.failed = Some(error)).ok().flatten()?;
        let timeouts =
            Timeouts { tcp_established: row.tcp_established, udp: row.udp, udp_stream: row.udp_stream };
        self.timeouts.insert(slot, timeouts);
        Some(timeouts)
    }

    fn outcome(self) -> Result<()> {
        self.failed.map_or(Ok(()), |error| Err(error).context("cannot read the rows"))
    }
}
