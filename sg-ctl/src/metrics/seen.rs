//! One look at a host, without its lock: monitoring waits for nobody, and nobody for it.

use crate::{
    context::Context,
    error::{Result, or_given_up},
    kernel::{Host, links},
    observe::{
        InterfaceCounters, MapStatus, Tally, counters,
        status::{flow_tables, mode, side},
    },
    store::Snapshot,
    transact,
};
use sg_common::policy::{STATE_REMOVALS, STATE_REVISION, STATE_STAGED, STATE_SWAPPED};
use std::time::Duration;

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Attached interfaces.
    pub interfaces: Vec<SeenInterface>,
    /// The flow tables; zero where nothing is attached.
    pub tally: Tally,
    /// All maps.
    pub maps: Vec<MapStatus>,
    /// The live generation; 0 where nothing is attached.
    pub generation: u64,
    /// When that was put in force, in seconds since the Unix epoch; 0 where that is not known.
    pub swapped: u64,
    /// The store's revision.
    pub revision: u64,
    /// What is in force is what the store says.
    pub in_step: bool,
}

/// One attached interface.
#[derive(Debug)]
pub struct SeenInterface {
    /// Network namespace as the user named it.
    pub netns: Option<String>,
    /// `host` or `guest`.
    pub side: &'static str,
    /// `native`, `generic` or `tc`.
    pub mode: &'static str,
    /// How many groups it carries.
    pub groups: usize,
    /// How many addresses it has.
    pub addresses: usize,
    /// In seconds since the Unix epoch.
    pub attached_since: u64,
    /// Both programs are on the device, and its policy is in force.
    pub enforcing: bool,
    /// What it counted, and its name and id.
    pub counters: InterfaceCounters,
}

/// What the agent knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSeen {
    /// Network namespaces that it follows.
    pub namespaces: usize,
    /// Something that it tries again and again fails.
    pub failing: bool,
    /// The last sweep that came round all tables.
    pub sweep: Option<Walk>,
}

/// A walk round all flow tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// When it ended, in seconds since the Unix epoch.
    pub ended: u64,
    /// How long it took, pauses included.
    pub took: Duration,
    /// Entries of flows that were over.
    pub removed: usize,
}

/// How full the policy maps are. To count them is a walk over all of each, so they are counted only when a command has
/// changed something.
#[derive(Debug, Default)]
pub struct MapCounts {
    /// Of what the counts are: word, staged generation, removals, revision.
    of: [u64; 4],
    maps: Vec<MapStatus>,
}

impl MapCounts {
    fn of(&mut self, host: &Host) -> Result<Vec<MapStatus>> {
        let of =
            [host.word()?, host.cell(STATE_STAGED)?, host.cell(STATE_REMOVALS)?, host.cell(STATE_REVISION)?];
        if of != self.of || self.maps.is_empty() {
            (self.of, self.maps) = (of, host.policy_maps()?);
        }
        Ok(self.maps.clone())
    }
}

impl Seen {
    /// Looks.
    ///
    /// # Errors
    /// `IncorrectState` where the host is another store's; where store or kernel cannot be read.
    pub fn look(ctx: &Context, counts: &mut MapCounts) -> Result<Self> {
        let counts = std::cell::RefCell::new(counts);
        or_given_up(|| {
            transact::glance(ctx, |snapshot, host| match host {
                Some(host) => Self::of(snapshot, host, &mut counts.borrow_mut()),
                None => Ok(Self { revision: snapshot.revision, in_step: true, ..Self::default() }),
            })
        })
    }

    fn of(Snapshot { state, revision, .. }: &Snapshot, host: &Host, counts: &mut MapCounts) -> Result<Self> {
        let counted = counters::read(state, Some(host))?;
        let interfaces = state.attached().zip(counted).map(|((eni, how), counters)| SeenInterface {
            netns: eni.netns.clone(),
            side: side(how.side),
            mode: mode(how.mode),
            groups: eni.groups.len(),
            addresses: eni.addresses.len(),
            attached_since: how.attached_since,
            enforcing: links::is_attached(host, eni.id, how.ifindex) && !host.observes(how),
            counters,
        });
        let interfaces = interfaces.collect();
        let tally = Tally::of(host, state)?;
        let mut maps = flow_tables(host, &tally)?;
        maps.extend(counts.of(host)?);
        Ok(Self {
            interfaces,
            tally,
            maps,
            generation: host.generation()?,
            swapped: host.cell(STATE_SWAPPED)?,
            revision: *revision,
            in_step: host.cell(STATE_REVISION)? == *revision,
        })
    }
}
