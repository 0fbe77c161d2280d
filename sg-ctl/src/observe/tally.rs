//! What lies in the flow tables, counted.

use crate::{
    error::Result,
    kernel::{BpfMap, Host, Plain},
    model::State,
};
use sg_common::{
    flow::{Flow, FlowKey4, FlowKey6, KeyHead},
    sweep::Table,
    track::{Timeouts, is_live},
};
use std::{collections::HashMap, net::IpAddr};

/// Entries of one flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// All that lie in it: those of flows that are over stay until they are swept, or their place is needed.
    pub entries: u64,
    /// Of flows that live, half-open ones included.
    pub live: u64,
    /// Entries that fit.
    pub limit: u64,
}

/// The flow tables of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// `[family][table]`
    pub tables: [[Filled; 3]; 2],
}

impl Tally {
    /// Counts them, in one walk over each.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn of(host: &Host, state: &State) -> Result<Self> {
        Self::visiting(host, state, |_, _, _| {})
    }

    /// The same, and calls `visit` with each flow that lives: what it is filed under, its local and its remote address, and
    /// itself.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn visiting(
        host: &Host,
        state: &State,
        mut visit: impl FnMut(&KeyHead, (IpAddr, IpAddr), &Flow),
    ) -> Result<Self> {
        let timeouts: HashMap<u16, Timeouts> = state
            .attached()
            .map(|(_, attachment)| (attachment.slot, attachment.timeouts.in_force().into()))
            .collect();
        let clock = host.clock()?;
        let lives = |head: &KeyHead, flow: &Flow| {
            timeouts.get(&head.slot).is_some_and(|timeouts| is_live(flow, head, timeouts, &clock))
        };
        let mut tally = Self::default();
        for (filled, map) in tally.tables[0].iter_mut().zip(&host.flows4) {
            *filled = count(map, |key: &FlowKey4, flow| {
                let is_live = lives(&key.head, flow);
                if is_live {
                    visit(&key.head, key.ends(), flow);
                }
                is_live
            })?;
        }
        for (filled, map) in tally.tables[1].iter_mut().zip(&host.flows6) {
            *filled = count(map, |key: &FlowKey6, flow| {
                let is_live = lives(&key.head, flow);
                if is_live {
                    visit(&key.head, key.ends(), flow);
                }
                is_live
            })?;
        }
        Ok(tally)
    }

    /// Flows that live, over all tables.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.tables.iter().flatten().map(|table| table.live).sum()
    }

    /// TCP connections that can still be tracked, of both families together: EC2's `conntrack_allowance_available`. What
    /// has no third leg yet takes no place of an established connection (P-16).
    #[must_use]
    pub fn available(&self) -> u64 {
        let established = self.tables.iter().map(|tables| tables[Table::Established as usize]);
        established.map(|table| table.limit.saturating_sub(table.live)).sum()
    }
}

fn count<K: Plain>(map: &BpfMap<K, Flow>, mut lives: impl FnMut(&K, &Flow) -> bool) -> Result<Filled> {
    let mut filled = Filled { limit: u64::from(map.max_entries()), ..Filled::default() };
    map.for_each(|key, flow| {
        filled.entries += 1;
        filled.live += u64::from(lives(key, flow));
    })?;
    Ok(filled)
}
