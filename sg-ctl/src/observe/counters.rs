//! `sg-ctl counters`: what passed and what was dropped, by reason, summed over processors.

use super::{
    ConntrackCounters, ConntrackStats, Count, Counters, DirectionCounters, InterfaceCounters, Tally,
    status::flow_tables,
};
use crate::{
    context::Context,
    error::Result,
    kernel::{Host, processors, reset_counters},
    model::{EniId, Interface, State},
    ops,
    store::Snapshot,
    transact,
};
use sg_common::{
    Direction,
    policy::counter_index,
    reason::{Drop, Pass},
};
use std::collections::BTreeMap;

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
    let conntrack = sums(&state, host.as_ref(), &all)?;
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
    transact::glance(ctx, |Snapshot { state, .. }, host| {
        let wanted: Option<EniId> =
            interface.map(|name| ops::interface::find(state, ctx.netns.as_deref(), name)).transpose()?;
        let all = read(state, host)?;
        let conntrack = sums(state, host, &all)?;
        let counted = state.attached().zip(all).filter(|((eni, _), _)| wanted.is_none_or(|id| id == eni.id));
        let mut interfaces: Vec<_> = counted.map(|(_, counted)| counted).collect();
        interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Counters { interfaces, conntrack })
    })
}

/// What the flow tables hold, and what they could not.
///
/// # Errors
/// As for [`counters`].
pub fn stats(ctx: &Context) -> Result<ConntrackStats> {
    let (Snapshot { state, .. }, host) = transact::locked(ctx)?;
    let (host, interfaces) = (host.as_ref(), read(&state, host.as_ref())?);
    let conntrack = sums(&state, host, &interfaces)?;
    let tables = host.map_or_else(|| Ok(Vec::new()), |host| flow_tables(host, &Tally::of(host, &state)?))?;
    Ok(ConntrackStats { conntrack, tables })
}

/// Counters of the attached interfaces, in the order of the state.
pub(crate) fn read(state: &State, host: Option<&Host>) -> Result<Vec<InterfaceCounters>> {
    state.attached().map(|(eni, attachment)| one(host, eni, attachment.slot)).collect()
}

/// What the host as a whole tracks, and what its interfaces counted of that.
fn sums(state: &State, host: Option<&Host>, interfaces: &[InterfaceCounters]) -> Result<ConntrackCounters> {
    let mut conntrack = ConntrackCounters::default();
    for direction in interfaces.iter().flat_map(|counted| [&counted.ingress, &counted.egress]) {
        let of = |counts: &BTreeMap<&str, Count>, reason: &str| {
            counts.get(reason).map_or(0, |count| count.packets)
        };
        conntrack.untracked_packets += of(&direction.allowed, Pass::Untracked.name());
        conntrack.exempt_packets += of(&direction.allowed, Pass::Exempt.name());
        conntrack.allowance_exceeded += of(&direction.dropped, Drop::ConntrackFull.name());
    }
    if let Some(host) = host {
        let tally = Tally::of(host, state)?;
        conntrack.tracked = tally.live();
        conntrack.allowance_available = tally.available();
    }
    Ok(conntrack)
}

fn one(host: Option<&Host>, eni: &Interface, slot: u16) -> Result<InterfaceCounters> {
    Ok(InterfaceCounters {
        name: eni.name.clone(),
        eni_id: eni.id.to_string(),
        ingress: direction(host, slot, Direction::Ingress)?,
        egress: direction(host, slot, Direction::Egress)?,
        rules: Vec::new(),
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
