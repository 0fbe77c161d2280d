//! Takes entries out of the flow table: those of flows that have become untracked (P-3a), and those of an interface.

use super::host::Host;
use crate::compile::{Image, InterfacePolicy};
use sg_common::{
    Direction,
    flow::{Flow, FlowKey4, FlowKey6, KeyHead},
    policy::COUNTERS_PER_INTERFACE,
    wire::protocol,
};
use std::io;

/// Whether the flow is one that its interface's policy lets through untracked (P-2).
fn is_covered(policy: &InterfacePolicy, family: usize, head: &KeyHead, flow: &Flow) -> bool {
    let kind = match head.protocol {
        protocol::TCP => 0,
        protocol::UDP => 1,
        _ => return false,
    };
    if flow.started == Direction::Ingress as u32 {
        policy.open_in[family][kind].contains(head.local_port)
    } else {
        policy.open_out[family][kind].contains(head.remote_port)
    }
}

/// Removes the entries for which `is_over` holds.
fn remove(host: &Host, is_over: impl Fn(usize, &KeyHead, &Flow) -> bool) -> io::Result<()> {
    for map in &host.flows4 {
        let mut over: Vec<FlowKey4> = Vec::new();
        map.for_each(|key, flow| {
            if is_over(0, &key.head, flow) {
                over.push(*key);
            }
        })?;
        map.remove_all(&over)?;
    }
    for map in &host.flows6 {
        let mut over: Vec<FlowKey6> = Vec::new();
        map.for_each(|key, flow| {
            if is_over(1, &key.head, flow) {
                over.push(*key);
            }
        })?;
        map.remove_all(&over)?;
    }
    Ok(())
}

/// Voids the entries of flows that the image lets through untracked: they have no claim on their old entry any more.
pub fn untracked(host: &Host, image: &Image) -> io::Result<()> {
    remove(host, |family, head, flow| {
        image.policies.get(&head.slot).is_some_and(|policy| is_covered(policy, family, head, flow))
    })
}

/// Removes all that an interface has left behind, so that its slot can be given to another.
pub fn interface(host: &Host, slot: u16) -> anyhow::Result<()> {
    remove(host, |_, head, _| head.slot == slot)?;
    let processors = processors()?;
    for cell in 0..COUNTERS_PER_INTERFACE {
        let index = u32::from(slot) * COUNTERS_PER_INTERFACE + cell;
        host.counters.set_per_cpu(index, sg_common::policy::Counter::default(), processors)?;
    }
    Ok(())
}

/// Processors that per-CPU maps have a value for.
pub fn processors() -> anyhow::Result<usize> {
    let count =
        aya::util::nr_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
    Ok(count.get() as usize)
}
