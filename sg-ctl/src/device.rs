//! What the kernel knows of a network device, by rtnetlink.

use crate::{
    error::{Refusal, Result},
    netns,
};
use anyhow::Context;
use futures_util::StreamExt;
use netlink_packet_route::{
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkExtentMask, LinkInfo, LinkLayerType, LinkMessage, LinkXdp},
};
use rtnetlink::Handle;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A network device as it is now.
#[derive(Clone, Debug)]
pub struct Device {
    /// The kernel's index.
    pub ifindex: u32,
    /// Link-layer address; all zero where it has none.
    pub mac: [u8; 6],
    /// What a packet begins with.
    pub layer: Layer,
    /// `veth`, `tun`, …; none of a physical device.
    pub kind: Option<String>,
    /// Id of an XDP program that sits on it.
    pub xdp_program: Option<u32>,
    /// Global addresses that are in use: what a reference to its groups means (P-17).
    pub addresses: BTreeSet<IpAddr>,
    /// Every address of the device, link-local ones included: what a connection of its own may have.
    pub all_addresses: BTreeSet<IpAddr>,
}

/// What a device's packets begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// An Ethernet header.
    Ethernet,
    /// The network header (tun, WireGuard, ppp).
    Network,
    /// The loopback device.
    Loopback,
    /// Something else, by the kernel's ARPHRD number.
    Other(u16),
}

/// Looks the device up in a namespace; `None` where there is none of that name.
///
/// # Errors
/// Where the kernel cannot be asked.
pub fn find(netns: Option<&str>, name: &str) -> Result<Option<Device>> {
    netns::within(netns, || in_runtime(async |handle| look(&handle, name).await))
}

/// The device, or the refusal that names it.
///
/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`
pub fn require(netns: Option<&str>, name: &str) -> Result<Device> {
    find(netns, name)?.ok_or_else(|| {
        let place = netns.map_or(String::new(), |name| format!(" in the network namespace '{name}'"));
        let list = listing(netns);
        let message = format!(
            "The networkInterface ID '{name}' does not exist: no such device{place}; `{list}` lists them"
        );
        Refusal::new("InvalidNetworkInterfaceID.NotFound", message).into()
    })
}

/// The command that lists the devices of a namespace. `ip -n` knows namespaces by their names only.
fn listing(netns: Option<&str>) -> String {
    match netns {
        None => "ip link".to_owned(),
        Some(path) if path.contains('/') => format!("nsenter --net={path} ip link"),
        Some(name) => format!("ip -n {name} link"),
    }
}

/// Those devices of a namespace that there are, by their names.
///
/// # Errors
/// Where the kernel cannot be asked.
pub fn find_all(netns: Option<&str>, names: &[&str]) -> Result<BTreeMap<String, Device>> {
    /// Up to here, to ask for each costs less than to be told of all.
    const FEW: usize = 8;
    netns::within(netns, || {
        in_runtime(async |handle| {
            if names.len() > FEW {
                return list(&handle).await;
            }
            let mut found = BTreeMap::new();
            for name in names {
                if let Some(device) = look(&handle, name).await? {
                    found.insert((*name).to_owned(), device);
                }
            }
            Ok(found)
        })
    })
}

/// All devices of the namespace, by their names.
async fn list(handle: &Handle) -> Result<BTreeMap<String, Device>> {
    let mut request = handle.link().get();
    // Counters are most of what the kernel would tell of a link.
    request.message_mut().attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut links = request.execute();
    let mut names = BTreeMap::new();
    let mut devices = BTreeMap::new();
    while let Some(link) = links.next().await {
        let (name, device) = read_link(link.context("cannot ask the kernel for its devices")?);
        names.insert(device.ifindex, name);
        devices.insert(device.ifindex, device);
    }
    let mut addresses = handle.address().get().execute();
    while let Some(answer) = addresses.next().await {
        let message = answer.context("cannot ask the kernel for its devices' addresses")?;
        if let Some(device) = devices.get_mut(&message.header.index) {
            add_address(device, message);
        }
    }
    let named = |device: Device| Some((names.remove(&device.ifindex)?, device));
    Ok(devices.into_values().filter_map(named).collect())
}

/// Runs one conversation with the kernel.
fn in_runtime<T>(conversation: impl AsyncFnOnce(Handle) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start the netlink conversation")?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        conversation(handle).await
    })
}

async fn look(handle: &Handle, name: &str) -> Result<Option<Device>> {
    // Longer names are none that a device can have, and the kernel would refuse the question.
    const IFNAMSIZ: usize = 16;
    if name.is_empty() || name.len() >= IFNAMSIZ || name.contains('\0') {
        return Ok(None);
    }
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = match links.next().await {
        Some(Ok(link)) => link,
        None => return Ok(None),
        Some(Err(rtnetlink::Error::NetlinkError(error))) if error.raw_code() == -libc::ENODEV => {
            return Ok(None);
        }
        Some(Err(error)) => return Err(error).context("cannot ask the kernel for the device"),
    };
    let (_, mut device) = read_link(link);
    read_addresses(handle, &mut device).await?;
    Ok(Some(device))
}

/// What the kernel tells of a link: its name, and the device without its addresses.
fn read_link(link: LinkMessage) -> (String, Device) {
    let mut name = String::new();
    let mut device = Device {
        ifindex: link.header.index,
        mac: [0; 6],
        layer: layer(link.header.link_layer_type),
        kind: None,
        xdp_program: None,
        addresses: BTreeSet::new(),
        all_addresses: BTreeSet::new(),
    };
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(of) => name = of,
            LinkAttribute::Address(bytes) => {
                if let Ok(mac) = <[u8; 6]>::try_from(bytes.as_slice()) {
                    device.mac = mac;
                }
            }
            LinkAttribute::LinkInfo(infos) => {
                device.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            LinkAttribute::Xdp(xdp) => {
                device.xdp_program = xdp.into_iter().find_map(|part| match part {
                    LinkXdp::ProgId(id) if id != 0 => Some(id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    (name, device)
}

fn layer(kind: LinkLayerType) -> Layer {
    match kind {
        LinkLayerType::Ether => Layer::Ethernet,
        LinkLayerType::Loopback => Layer::Loopback,
        LinkLayerType::None | LinkLayerType::Ppp | LinkLayerType::Rawip => Layer::Network,
        other => Layer::Other(u16::from(other)),
    }
}

/// Addresses of the device, IPv4 and IPv6.
async fn read_addresses(handle: &Handle, device: &mut Device) -> Result<()> {
    let mut answers = handle.address().get().set_link_index_filter(device.ifindex).execute();
    while let Some(answer) = answers.next().await {
        let message = answer.context("cannot ask the kernel for the device's addresses")?;
        if message.header.index == device.ifindex {
            add_address(device, message);
        }
    }
    Ok(())
}

/// Adds an address to those of its device. Members' are the global ones, without those that are not in use yet or must
/// not be used.
fn add_address(device: &mut Device, message: AddressMessage) {
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut local, mut address) = (None, None);
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Flags(all) => flags = all,
            AddressAttribute::Local(ip) => local = Some(ip),
            AddressAttribute::Address(ip) => address = Some(ip),
            _ => {}
        }
    }
    // On point-to-point devices `Address` is the far end.
    let Some(own) = local.or(address) else { return };
    device.all_addresses.insert(own);
    // Link-local IPv4 has global scope where nobody said otherwise, and is never a member's (P-17).
    let is_link_local = matches!(own, IpAddr::V4(v4) if v4.is_link_local());
    if message.header.scope == AddressScope::Universe && !flags.intersects(unusable) && !is_link_local {
        device.addresses.insert(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_offered_for_a_namespace_knows_it() {
        assert_eq!(listing(None), "ip link");
        assert_eq!(listing(Some("blue")), "ip -n blue link");
        assert_eq!(listing(Some("/proc/7/ns/net")), "nsenter --net=/proc/7/ns/net ip link");
    }
}
