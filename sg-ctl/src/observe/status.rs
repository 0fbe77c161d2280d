//! `sg-ctl status`: what is attached, how, and how full each map is.

use super::{InterfaceStatus, MapStatus, Status};
use crate::{
    context::Context,
    device,
    error::Result,
    kernel::{BpfMap, Host, Plain, links},
    model::{Attachment, Interface, Mode, Side},
    time::rfc3339,
    transact,
};
use sg_common::SCHEMA_VERSION;
use std::io;

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
    let maps = host.as_ref().map_or_else(|| Ok(Vec::new()), maps)?;
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
        side: match attachment.side {
            Side::Host => "host",
            Side::Guest => "guest",
        }
        .to_owned(),
        mode: match attachment.mode {
            Mode::Native => "native",
            Mode::Generic => "generic",
            Mode::Tc => "tc",
        }
        .to_owned(),
        mode_reason: attachment.mode_reason.clone(),
        enforcing,
        generation,
        attached_since: rfc3339(attachment.attached_since),
    }
}

fn maps(host: &Host) -> Result<Vec<MapStatus>> {
    let mut maps = flow_tables(host)?;
    maps.extend(host.policy_maps()?);
    Ok(maps)
}

/// How full the flow tables are.
pub(super) fn flow_tables(host: &Host) -> Result<Vec<MapStatus>> {
    fn one<K: Plain, V: Plain>(name: &str, map: &BpfMap<K, V>) -> io::Result<MapStatus> {
        Ok(MapStatus {
            name: name.to_owned(),
            entries: map.count()?,
            max_entries: u64::from(map.max_entries()),
            memory_bytes: map.memory()?,
        })
    }
    let [established4, answered4, pending4] = &host.flows4;
    let [established6, answered6, pending6] = &host.flows6;
    Ok(vec![
        one("established4", established4)?,
        one("established6", established6)?,
        one("answered4", answered4)?,
        one("answered6", answered6)?,
        one("pending4", pending4)?,
        one("pending6", pending6)?,
    ])
}
