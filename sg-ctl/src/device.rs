//! What the kernel knows of a network device, by rtnetlink.

use crate::{
    error::{Refusal, Result},
    kernel::sys,
    netlink, netns,
};
use anyhow::Context;
use futures_util::StreamExt;
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkInfo, LinkLayerType, LinkXdp},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use rtnetlink::Handle;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::AsFd as _,
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

/// What a refreshment of members asks of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The kernel's index.
    pub ifindex: u32,
    /// As [`Device::addresses`].
    pub addresses: Vec<IpAddr>,
}

/// Those devices of a namespace that there are, by their names. One question to the kernel for the addresses of all, and
/// one small one for each name.
///
/// # Errors
/// Where the kernel cannot be asked.
pub fn present<'a>(netns: Option<&str>, names: &[&'a str]) -> Result<BTreeMap<&'a str, Present>> {
    netns::within(netns, || {
        let mut addresses = BTreeMap::<u32, BTreeSet<IpAddr>>::new();
        let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let socket = netlink::dump(NETLINK_ROUTE, question, |answer| {
            if let RouteNetlinkMessage::NewAddress(message) = answer
                && let Some(Address { own, is_members: true }) = read_address(&message)
            {
                addresses.entry(message.header.index).or_default().insert(own);
            }
        });
        let socket = socket.context("cannot ask the kernel for the addresses of devices")?;
        let mut found = BTreeMap::new();
        for name in names {
            let index = sys::ifindex(socket.as_fd(), name).context("cannot ask the kernel for a device")?;
            let Some(ifindex) = index else { continue };
            let addresses = addresses.remove(&ifindex).into_iter().flatten().collect();
            found.insert(*name, Present { ifindex, addresses });
        }
        Ok(found)
    })
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
    read_addresses(handle, &mut device).await?;
    Ok(Some(device))
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
        if message.header.index != device.ifindex {
            continue;
        }
        let Some(address) = read_address(&message) else { continue };
        device.all_addresses.insert(address.own);
        if address.is_members {
            device.addresses.insert(address.own);
        }
    }
    Ok(())
}

/// An address of a device.
struct Address {
    own: IpAddr,
    /// Whether members have it: it is global, in use already, and may be used.
    is_members: bool,
}

fn read_address(message: &AddressMessage) -> Option<Address> {
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    // On point-to-point devices `Address` is the far end.
    let own = local.or(address)?;
    // Link-local IPv4 has global scope where nobody said otherwise, and is never a member's (P-17).
    let is_link_local = matches!(own, IpAddr::V4(v4) if v4.is_link_local());
    let is_global = message.header.scope == AddressScope::Universe;
    Some(Address { own, is_members: is_global && !flags.intersects(unusable) && !is_link_local })
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
