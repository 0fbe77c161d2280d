//! `sg-ctl counters`: what passed and what was dropped, by reason, summed over processors.

use super::{
    ConntrackCounters, ConntrackStats, Count, Counters, DirectionCounters, InterfaceCounters, RuleHits,
    Tally, status::flow_tables,
};
use crate::{
    context::Context,
    error::Result,
    kernel::{self, Host, processors, reset_counters},
    model::{EniId, Interface, State},
    ops,
    store::Snapshot,
    transact,
};
use sg_common::{
    Direction,
    flow::{Flow, KeyHead},
    policy::counter_index,
    reason::{Drop, Pass},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Reads the counters of all attached interfaces, or of one. `reset` sets those that were read to zero.
///
/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`; `IncorrectState` where the host is another store's; and where store or kernel
/// cannot be read.
pub fn counters(ctx: &Context, interface: Option<&str>, reset: bool) -> Result<Counters> {
    let (Snapshot { state, .. }, host) = transact::locked(ctx)?;
    let wanted: Option<EniId> =
        interface.map(|name| ops::interface::find(&state, ctx.netns.as_deref(), name)).transpose()?;
    let all = read(&state, host.as_ref())?;
    let conntrack = sums(&all, &tally(&state, host.as_ref())?);
    let mut interfaces = Vec::new();
    for ((eni, attachment), counted) in state.attached().zip(all) {
        if wanted.is_none_or(|id| id == eni.id) {
            interfaces.push(counted);
            if let Some(host) = host.as_ref().filter(|_| reset) {
                reset_counters(host, attachment.slot)?;
            }
        }
    }
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Counters { interfaces, conntrack })
}

/// The same as they are right now, of whatever commands are at work: no lock is taken, and none is waited for.
///
/// # Errors
/// As for [`counters`].
pub fn counters_at_a_glance(ctx: &Context, interface: Option<&str>) -> Result<Counters> {
    Ok(overview(ctx, interface, || (), |(), _, _, _| {})?.counters)
}

/// One look at a host without its lock.
pub struct Overview<T> {
    /// As from [`counters_at_a_glance`].
    pub counters: Counters,
    /// The host's flow tables, whatever interface was named.
    pub tally: Tally,
    /// What was made of the flows.
    pub flows: T,
}

/// Counters, flow tables and flows as they are right now, in one walk. `note` is called with each live flow of the interfaces
/// that are meant: what it is filed under, its local and its remote address, and itself. What it makes of them begins as
/// `flows()`, and begins anew where the store changed under the look.
///
/// # Errors
/// As for [`counters`].
pub fn overview<T>(
    ctx: &Context,
    interface: Option<&str>,
    flows: impl Fn() -> T,
    note: impl Fn(&mut T, &KeyHead, (IpAddr, IpAddr), &Flow),
) -> Result<Overview<T>> {
    transact::glance(ctx, |Snapshot { state, .. }, host| {
        let wanted: Option<EniId> =
            interface.map(|name| ops::interface::find(state, ctx.netns.as_deref(), name)).transpose()?;
        let is_wanted = |eni: &Interface| wanted.is_none_or(|id| id == eni.id);
        let slots: BTreeSet<u16> =
            state.attached().filter(|(eni, _)| is_wanted(eni)).map(|(_, how)| how.slot).collect();
        // Before the walk, which may take a while.
        let all = read(state, host)?;
        let mut flows = flows();
        let tally = host.map_or_else(
            || Ok(Tally::default()),
            |host| {
                Tally::visiting(host, state, |head, ends, flow| {
                    if slots.contains(&head.slot) {
                        note(&mut flows, head, ends, flow);
                    }
                })
            },
        )?;
        let conntrack = sums(&all, &tally);
        let counted = state.attached().zip(all).filter(|((eni, _), _)| is_wanted(eni));
        let mut interfaces: Vec<_> = counted.map(|(_, counted)| counted).collect();
        interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Overview { counters: Counters { interfaces, conntrack }, tally, flows })
    })
}

/// What came a second, to a tenth, between two looks. What was set to zero in between begins anew.
#[must_use]
pub fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    (came(now, before) as f64 / seconds * 10.0).round() / 10.0
}

/// What came between two looks.
#[must_use]
pub fn came(now: u64, before: u64) -> u64 {
    if now < before { now } else { now - before }
}

/// What the flow tables hold, and what they could not.
///
/// # Errors
/// As for [`counters`].
pub fn stats(ctx: &Context) -> Result<ConntrackStats> {
    let (Snapshot { state, .. }, host) = transact::locked(ctx)?;
    let (host, interfaces) = (host.as_ref(), read(&state, host.as_ref())?);
    let tally = tally(&state, host)?;
    let conntrack = sums(&interfaces, &tally);
    let tables = host.map_or_else(|| Ok(Vec::new()), |host| flow_tables(host, &tally))?;
    Ok(ConntrackStats { conntrack, tables })
}

/// Counters of the attached interfaces, in the order of the state.
pub(crate) fn read(state: &State, host: Option<&Host>) -> Result<Vec<InterfaceCounters>> {
    let hits = host.map(|host| host.rule_hits(state)).transpose()?.unwrap_or_default();
    state.attached().map(|(eni, attachment)| one(state, host, &hits, (eni, attachment.slot))).collect()
}

fn tally(state: &State, host: Option<&Host>) -> Result<Tally> {
    host.map_or_else(|| Ok(Tally::default()), |host| Tally::of(host, state))
}

/// What the host as a whole tracks, and what its interfaces counted of that.
fn sums(interfaces: &[InterfaceCounters], tally: &Tally) -> ConntrackCounters {
    let mut conntrack = ConntrackCounters {
        tracked: tally.live(),
        allowance_available: tally.available(),
        ..ConntrackCounters::default()
    };
    for direction in interfaces.iter().flat_map(|counted| [&counted.ingress, &counted.egress]) {
        let of = |counts: &BTreeMap<&str, Count>, reason: &str| {
            counts.get(reason).map_or(0, |count| count.packets)
        };
        conntrack.untracked_packets += of(&direction.allowed, Pass::Untracked.name());
        conntrack.exempt_packets += of(&direction.allowed, Pass::Exempt.name());
        conntrack.allowance_exceeded += of(&direction.dropped, Drop::ConntrackFull.name());
    }
    conntrack
}

fn one(
    state: &State,
    host: Option<&Host>,
    hits: &kernel::RuleHits,
    (eni, slot): (&Interface, u16),
) -> Result<InterfaceCounters> {
    let rules = eni.groups.iter().flat_map(|group| state.rules.of_group(*group));
    let rules = rules.map(|rule| RuleHits {
        security_group_rule_id: rule.id.to_string(),
        hits: hits.get(&(slot, rule.id)).map_or(0, |sum| sum.count),
    });
    Ok(InterfaceCounters {
        name: eni.name.clone(),
        eni_id: eni.id.to_string(),
        ingress: direction(host, slot, Direction::Ingress)?,
        egress: direction(host, slot, Direction::Egress)?,
        rules: rules.collect(),
    })
}

fn direction(host: Option<&Host>, slot: u16, direction: Direction) -> Result<DirectionCounters> {
    let mut counters = DirectionCounters::default();
    let Some(host) = host else { return Ok(counters) };
    let processors = processors()?;
    let read = |number: u32| -> Result<Count> {
        let index = counter_index(u32::from(slot), direction, number);
        let mut sum = Count::default();
        for counter in host.counters.get_per_cpu(index, processors)? {
            sum.packets += counter.packets;
            sum.bytes += counter.bytes;
        }
        Ok(sum)
    };
    for why in Pass::ALL {
        let count = read(why as u32)?;
        counters.allowed_packets += count.packets;
        counters.allowed_bytes += count.bytes;
        if count.packets > 0 {
            counters.allowed.insert(why.name(), count);
        }
    }
    for why in Drop::ALL {
        let count = read(why as u32)?;
        counters.dropped_packets += count.packets;
        counters.dropped_bytes += count.bytes;
        if count.packets > 0 {
            counters.dropped.insert(why.name(), count);
        }
    }
    Ok(counters)
}
