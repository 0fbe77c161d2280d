//! `sg-ctl conntrack list` and `flush`: the live entries of the flow table.

use super::{FlowFilter, FlowStatus, Flows};
use crate::{
    context::Context,
    error::Result,
    kernel::{Host, sweep_flows},
    model::{Attachment, EniId, Interface, State},
    ops,
    store::Snapshot,
    transact,
};
use sg_common::{
    Direction,
    flow::{Flow, KeyHead, flag, state},
    track::{self, Clock},
    wire::protocol,
};
use std::{collections::HashMap, net::IpAddr};

/// Reads the live entries that the filter names.
///
/// # Errors
/// As for [`flush`].
pub fn conntrack(ctx: &Context, filter: &FlowFilter) -> Result<Flows> {
    let (Snapshot { state, .. }, host) = transact::locked(ctx)?;
    let wanted = wanted(ctx, &state, filter)?;
    let Some(host) = host else { return Ok(Flows { flows: Vec::new() }) };
    live(&host, &state, wanted, filter)
}

/// Removes the entries that the filter names, of flows that are over as well. Returns how many live ones were among them:
/// those connections go on only where rules admit each of their packets, or a new one.
///
/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`; `IncorrectState` where the host is another store's; and where store or kernel
/// cannot be read.
pub fn flush(ctx: &Context, filter: &FlowFilter) -> Result<usize> {
    let (Snapshot { state, .. }, host) = transact::locked(ctx)?;
    let wanted = wanted(ctx, &state, filter)?;
    let Some(host) = host else { return Ok(0) };
    let flushed = live(&host, &state, wanted, filter)?.flows.len();
    let slots = by_slot(&state, wanted);
    let is_meant =
        |head: &KeyHead, remote| slots.contains_key(&head.slot) && filter.means(head.protocol, remote);
    sweep_flows(&host, is_meant)?;
    Ok(flushed)
}

fn wanted(ctx: &Context, state: &State, filter: &FlowFilter) -> Result<Option<EniId>> {
    let name = filter.interface.as_deref();
    name.map(|name| ops::interface::find(state, ctx.netns.as_deref(), name)).transpose()
}

/// The live entries of an open host.
pub(super) fn live(host: &Host, state: &State, wanted: Option<EniId>, filter: &FlowFilter) -> Result<Flows> {
    let reader = Reader { interfaces: by_slot(state, wanted), clock: host.clock()?, filter };
    let mut flows = Vec::new();
    for_each(host, |head, local, remote, flow| flows.extend(reader.read(head, local, remote, flow)))?;
    let order = |flow: &FlowStatus| {
        (
            flow.interface.clone(),
            flow.protocol.clone(),
            flow.local_port,
            flow.remote.clone(),
            flow.vlans.clone(),
        )
    };
    flows.sort_by_cached_key(order);
    Ok(Flows { flows })
}

/// Every entry of the flow tables, dead ones too: what it is filed under, its local and its remote address, and itself.
pub(crate) fn for_each(host: &Host, mut visit: impl FnMut(&KeyHead, IpAddr, IpAddr, &Flow)) -> Result<()> {
    let mut visit = |head: &KeyHead, (local, remote), flow: &Flow| visit(head, local, remote, flow);
    for map in &host.flows4 {
        map.for_each(|key, flow| visit(&key.head, key.ends(), flow))?;
    }
    for map in &host.flows6 {
        map.for_each(|key, flow| visit(&key.head, key.ends(), flow))?;
    }
    Ok(())
}

fn by_slot(state: &State, wanted: Option<EniId>) -> HashMap<u16, (&Interface, &Attachment)> {
    let enis = state.attached().filter(|(eni, _)| wanted.is_none_or(|id| id == eni.id));
    enis.map(|(eni, attachment)| (attachment.slot, (eni, attachment))).collect()
}

struct Reader<'a> {
    interfaces: HashMap<u16, (&'a Interface, &'a Attachment)>,
    clock: Clock,
    filter: &'a FlowFilter,
}

impl Reader<'_> {
    fn read(&self, head: &KeyHead, local: IpAddr, remote: IpAddr, flow: &Flow) -> Option<FlowStatus> {
        let (eni, attachment) = self.interfaces.get(&head.slot)?;
        if !self.filter.means(head.protocol, remote) {
            return None;
        }
        let timeouts = attachment.timeouts.in_force().into();
        if !track::is_live(flow, head, &timeouts, &self.clock) {
            return None;
        }
        let idle_seconds = self.clock.age(flow.last) / self.clock.hz;
        let lasts = u64::from(track::timeout(flow, head, &timeouts));
        let is_icmp = matches!(head.protocol, protocol::ICMP | protocol::ICMPV6);
        let has_ports = matches!(head.protocol, protocol::TCP | protocol::UDP);
        Some(FlowStatus {
            interface: eni.name.clone(),
            protocol: protocol_name(head.protocol),
            local: local.to_string(),
            local_port: has_ports.then_some(head.local_port),
            remote: remote.to_string(),
            remote_port: has_ports.then_some(head.remote_port),
            vlans: attachment.options.vlan_aware.then(|| head.vlans.ids().collect()),
            icmp_id: is_icmp.then_some(head.local_port),
            initiated: if flow.started == Direction::Ingress as u32 { "ingress" } else { "egress" },
            state: state_name(head.protocol, flow),
            idle_seconds,
            expires_in_seconds: lasts.saturating_sub(idle_seconds),
            packets: flow.packets,
            bytes: flow.bytes,
        })
    }
}

/// As EC2 prints it.
pub(crate) fn protocol_name(number: u8) -> String {
    match number {
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        protocol::ICMP => "icmp".to_owned(),
        protocol::ICMPV6 => "icmpv6".to_owned(),
        other => other.to_string(),
    }
}

fn state_name(number: u8, flow: &Flow) -> &'static str {
    match (number, flow.state) {
        (protocol::TCP, state::PENDING) => "half_open",
        (protocol::TCP, _) if flow.flags & flag::RESET != 0 => "reset",
        (protocol::TCP, _) if flow.flags & flag::FIN_BOTH == flag::FIN_BOTH => "closing",
        (protocol::TCP, _) => "established",
        (_, state::PENDING) => "unanswered",
        (protocol::UDP, _)
            if flow.flags & (flag::REQUESTS | flag::RESPONSES) == flag::REQUESTS | flag::RESPONSES =>
        {
            "stream"
        }
        _ => "answered",
    }
}
