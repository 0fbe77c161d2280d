//! The packet that is asked about, as bytes.

use crate::{
    compile::{Carried, Start},
    error::Result,
    model::Direction,
};
use anyhow::bail;
use etherparse::{IpNumber, PacketBuilder};
use std::net::IpAddr;

/// MAC address of whoever is at the far end: a locally administered one, since no rule looks at it.
const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0];
/// Data of protocols that are judged by their number alone, and of UDP.
const DATA: [u8; 8] = [0; 8];

/// The Ethernet frame of a packet between `local`, whose MAC address is given, and the far end.
///
/// # Errors
/// Where the two ends are of different families.
pub fn build(start: &Start, local: IpAddr, mac: [u8; 6]) -> Result<Vec<u8>> {
    let ((source, destination), (source_mac, destination_mac)) = match start.direction {
        Direction::Ingress => ((start.remote, local), (FAR_MAC, mac)),
        Direction::Egress => ((local, start.remote), (mac, FAR_MAC)),
    };
    let ethernet = PacketBuilder::ethernet2(source_mac, destination_mac);
    let is_v4 = local.is_ipv4();
    let network = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ethernet.ipv4(source.octets(), destination.octets(), hop_limit(start))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ethernet.ipv6(source.octets(), destination.octets(), hop_limit(start))
        }
        _ => bail!("{source} and {destination} are of different families"),
    };
    let mut frame = Vec::new();
    match start.carried {
        Carried::Tcp { source, destination } => {
            network.tcp(source, destination, 1, u16::MAX).syn().write_to_vec(&mut frame, &[])?;
        }
        Carried::Udp { source, destination } => {
            network.udp(source, destination).write_to_vec(&mut frame, &DATA)?
        }
        Carried::Icmp { kind, code } if is_v4 => {
            network.icmpv4_raw(kind, code, [0; 4]).write_to_vec(&mut frame, &DATA)?;
        }
        Carried::Icmp { kind, code } => {
            network.icmpv6_raw(kind, code, [0; 4]).write_to_vec(&mut frame, &DATA)?;
        }
        Carried::Other(number) => network.write_to_vec(&mut frame, IpNumber(number), &DATA)?,
    }
    Ok(frame)
}

/// As senders set it: neighbour discovery and listener discovery are told from forgeries by it (RFC 4861, RFC 3810).
fn hop_limit(start: &Start) -> u8 {
    match (start.remote, start.carried) {
        (IpAddr::V6(_), Carried::Icmp { kind: 133..=137, .. }) => 255,
        (IpAddr::V6(_), Carried::Icmp { kind: 130..=132 | 143, .. }) => 1,
        _ => 64,
    }
}
