//! Takes entries out of the flow table: those of flows that have become untracked (P-3a), those of
//! addresses that were released, those of an interface, and those that a user names.

use super::host::Host;
use crate::compile::{Image, Released};
use sg_common::{
    Direction,
    flow::{Flow, FlowKey4, FlowKey6, KeyHead},
    mark,
    policy::COUNTERS_PER_INTERFACE,
    track::{Clock, is_live},
    wire::protocol,
};
use std::{borrow::Cow, cell::LazyCell, io, net::IpAddr};

/// Removes the entries for which `is_over` holds. It is given the flow with a hash of its addresses.
fn remove(host: &Host, mut is_over: impl FnMut(&Seen<'_>) -> bool) -> io::Result<()> {
    for map in &host.flows4 {
        let mut over: Vec<FlowKey4> = Vec::new();
        map.for_each(|key, flow| {
            let addresses = mark::addresses4(key.local, key.remote);
            if is_over(&Seen { family: 0, head: &key.head, flow, addresses, ends: key.ends() }) {
                over.push(*key);
            }
        })?;
        map.remove_all(&over)?;
    }
    for map in &host.flows6 {
        let mut over: Vec<FlowKey6> = Vec::new();
        map.for_each(|key, flow| {
            let addresses = mark::addresses6(key.local, key.remote);
            if is_over(&Seen { family: 1, head: &key.head, flow, addresses, ends: key.ends() }) {
                over.push(*key);
            }
        })?;
        map.remove_all(&over)?;
    }
    Ok(())
}

/// An entry on a walk.
struct Seen<'a> {
    family: usize,
    head: &'a KeyHead,
    flow: &'a Flow,
    /// For its place among the marks.
    addresses: u64,
    /// The local address and the remote one.
    ends: (IpAddr, IpAddr),
}

/// Removes the entries of flows with an address that its owner lost: the next owner is another host. It is for whoever has
/// the address now to begin anew. Flows that the rules admit for the remote address itself go on: they would let its next
/// owner in as well. `image` is asked for where there are flows with such an address.
pub fn released<'a>(
    host: &Host,
    released: &Released,
    image: impl Fn() -> Cow<'a, Image>,
) -> anyhow::Result<()> {
    if released.is_empty() {
        return Ok(());
    }
    let image = LazyCell::new(image);
    let over = |seen: &Seen<'_>| {
        let (slot, (local, remote)) = (seen.head.slot, seen.ends);
        if released.ends_from(slot, local) {
            return true;
        }
        let admits = || {
            let policy = image.policies.get(&slot);
            policy.is_none_or(|policy| policy.admits_flow(&image, seen.head, remote, seen.flow))
        };
        released.ends_to(slot, remote) && !admits()
    };
    Ok(remove(host, over)?)
}

/// Voids the entries of flows that the image lets through untracked: they have no claim on their old entry any more.
/// A live UDP flow keeps the mark of an untracked one, so that its answering end cannot revive it later (P-3).
pub fn untracked(host: &Host, image: &Image) -> anyhow::Result<()> {
    let (now, hz) = host.now()?;
    let clock = Clock { now, hz, second_shift: 0 };
    let mut voided: Vec<(Direction, mark::Place)> = Vec::new();
    remove(host, |seen| {
        let Some(policy) = image.policies.get(&seen.head.slot) else { return false };
        if !policy.is_untracked(seen.family, started(seen.flow), seen.head) {
            return false;
        }
        let timeouts = policy.timeouts.into();
        if seen.head.protocol == protocol::UDP && is_live(seen.flow, seen.head, &timeouts, &clock) {
            let KeyHead { slot, vlans, local_port, remote_port, .. } = *seen.head;
            let place = mark::tuple_place(seen.addresses, slot.into(), vlans, local_port, remote_port);
            voided.push((started(seen.flow), place));
        }
        true
    })?;
    for (start, place) in voided {
        let index = mark::block_index(start, &place);
        if let Some(mut block) = host.marks.get(&index)? {
            block.set(&place, mark::period(now, hz));
            host.marks.set(&index, &block)?;
        }
    }
    Ok(())
}

fn started(flow: &Flow) -> Direction {
    if flow.started == Direction::Ingress as u32 { Direction::Ingress } else { Direction::Egress }
}

/// Removes the entries that are meant, by what they are filed under and their far end.
pub fn flows(host: &Host, is_meant: impl Fn(&KeyHead, IpAddr) -> bool) -> anyhow::Result<()> {
    Ok(remove(host, |seen| is_meant(seen.head, seen.ends.1))?)
}

/// Removes all that an interface has left behind, so that its slot can be given to another.
pub fn interface(host: &Host, slot: u16) -> anyhow::Result<()> {
    remove(host, |seen| seen.head.slot == slot)?;
    reset_counters(host, slot)
}

/// Sets the counters of an interface and its rules' hits to zero. What the datapath counts in that instant may be lost, or
/// set a counter back to where it was.
pub fn reset_counters(host: &Host, slot: u16) -> anyhow::Result<()> {
    let processors = processors()?;
    for cell in 0..COUNTERS_PER_INTERFACE {
        let index = u32::from(slot) * COUNTERS_PER_INTERFACE + cell;
        host.counters.set_per_cpu(index, sg_common::policy::Counter::default(), processors)?;
    }
    host.forget_hits(slot)
}

/// Processors that per-CPU maps have a value for.
pub fn processors() -> anyhow::Result<usize> {
    let count =
        aya::util::nr_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
    Ok(count.get() as usize)
}
