//! `sg-ctl status`: what is attached, how, and how full each map is.

use super::{Filled, InterfaceStatus, MapStatus, Status, Tally};
use crate::{
    context::Context,
    device,
    error::Result,
    kernel::{Host, links},
    model::{Attachment, Interface, Mode, Side, State},
    time::rfc3339,
    transact,
};
use sg_common::SCHEMA_VERSION;

/// Reads the status.
///
/// # Errors
/// Where store or kernel cannot be read.
pub fn status(ctx: &Context) -> Result<Status> {
    let state = transact::read(ctx)?;
    let host = Host::open(&ctx.bpffs)?;
    let generation = host.as_ref().map_or(Ok(0), |host| host.generation())?;
    let mut interfaces: Vec<_> =
        state.attached().map(|(eni, how)| interface(eni, how, host.as_ref(), generation)).collect();
    interfaces.sort_by(|a, b| (&a.netns, &a.name).cmp(&(&b.netns, &b.name)));
    let maps = host.as_ref().map_or_else(|| Ok(Vec::new()), |host| maps(host, &state))?;
    Ok(Status { interfaces, maps, datapath_version: SCHEMA_VERSION })
}

fn interface(
    eni: &Interface,
    attachment: &Attachment,
    host: Option<&Host>,
    generation: u64,
) -> InterfaceStatus {
    let present = device::find(eni.netns.as_deref(), &eni.name).ok().flatten();
    let enforcing = host.is_some_and(|host| {
        present.as_ref().is_some_and(|device| links::is_attached(host, eni.id, device.ifindex))
            && !host.observes(attachment)
    });
    InterfaceStatus {
        name: eni.name.clone(),
        netns: eni.netns.clone(),
        ifindex: attachment.ifindex,
        eni_id: eni.id.to_string(),
        groups: eni.groups.iter().map(ToString::to_string).collect(),
        addresses: eni.addresses.iter().map(ToString::to_string).collect(),
        side: side(attachment.side).to_owned(),
        mode: mode(attachment.mode).to_owned(),
        mode_reason: attachment.mode_reason.clone(),
        enforcing,
        generation,
        attached_since: rfc3339(attachment.attached_since),
    }
}

/// The word for a side.
pub(crate) fn side(side: Side) -> &'static str {
    match side {
        Side::Host => "host",
        Side::Guest => "guest",
    }
}

/// The word for a mode.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Native => "native",
        Mode::Generic => "generic",
        Mode::Tc => "tc",
    }
}

fn maps(host: &Host, state: &State) -> Result<Vec<MapStatus>> {
    let mut maps = flow_tables(host, &Tally::of(host, state)?)?;
    maps.extend(host.policy_maps()?);
    Ok(maps)
}

/// How full the flow tables are.
pub(crate) fn flow_tables(host: &Host, tally: &Tally) -> Result<Vec<MapStatus>> {
    let mut tables = Vec::new();
    for (table, name) in ["established", "answered", "pending"].into_iter().enumerate() {
        let memory = [host.flows4[table].memory()?, host.flows6[table].memory()?];
        for (family, (suffix, memory_bytes)) in ["4", "6"].into_iter().zip(memory).enumerate() {
            let Filled { entries, limit, .. } = tally.tables[family][table];
            let name = format!("{name}{suffix}");
            tables.push(MapStatus { name, entries, max_entries: limit, memory_bytes });
        }
    }
    Ok(tables)
}
