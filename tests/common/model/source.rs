//! Source and destination check (P-20).

use super::{
    packet::{Content, NonIp, Packet, array, be16},
    policy::Settings,
};
use sg_ctl::model::{Direction, Side};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a packet claims an address that it cannot have, or, from a guest, a part that is not a guest's.
pub(super) fn is_spoofed(settings: &Settings, packet: &Packet<'_>) -> bool {
    if settings.options().no_source_dest_check {
        return false;
    }
    match (settings.side(), packet.direction) {
        (Side::Host, Direction::Egress) => false,
        (Side::Host, Direction::Ingress) => settings.owns(packet.source),
        (Side::Guest, Direction::Egress) => plays_router(packet) || !may_send_as(settings, packet),
        // The first sentence of P-20 is about every interface, a guest's too.
        (Side::Guest, Direction::Ingress) => settings.owns(packet.source) || !may_receive(settings, packet),
    }
}

/// P-20: the ARP sender of a guest is one of its addresses, or nobody yet (0.0.0.0 when probing). Read as ARP for IPv4
/// over Ethernet; a message of any other form has no sender that is one of them. `None`: the message is cut off.
pub(super) fn arp_sender_is_own(settings: &Settings, frame: &NonIp<'_>) -> Option<bool> {
    const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
    const LENGTH: usize = 28;
    let message = frame.body.get(..LENGTH)?;
    let sender = Ipv4Addr::from(array::<4>(message, 14)?);
    let own = sender.is_unspecified() || settings.owns(sender.into());
    Some(array(message, 0) == Some(ETHERNET_IPV4) && own)
}

/// P-20: DHCP-server messages, router advertisements and redirects are not a guest's to send.
fn plays_router(packet: &Packet<'_>) -> bool {
    match (packet.content, packet.is_ipv6()) {
        (Content::Udp { source: 67, destination: 68 }, false) => true,
        (Content::Udp { source: 547, destination: 546 }, true) => true,
        (Content::Icmp(icmp), false) => matches!(icmp.kind, 5 | 9),
        (Content::Icmp(icmp), true) => matches!(icmp.kind, 134 | 137),
        _ => false,
    }
}

/// Its own address; the link-local of its MAC; none at all while it has none (DHCP, duplicate address detection).
fn may_send_as(settings: &Settings, packet: &Packet<'_>) -> bool {
    let without_address = match (packet.content, packet.is_ipv6()) {
        (Content::Udp { source: 68, destination: 67 }, false) => true,
        (Content::Icmp(icmp), true) => matches!(icmp.kind, 133 | 135 | 143),
        _ => false,
    };
    let of_mac = packet.macs.map(|(_, source)| link_local_of(source));
    settings.owns(packet.source)
        || (packet.source.is_unspecified() && without_address)
        || of_mac == Some(packet.source)
}

/// Its own address; the link-local of its MAC; multicast; broadcast.
fn may_receive(settings: &Settings, packet: &Packet<'_>) -> bool {
    let of_mac = packet.macs.map(|(destination, _)| link_local_of(destination));
    settings.owns(packet.destination)
        || packet.destination.is_multicast()
        || packet.destination == IpAddr::V4(Ipv4Addr::BROADCAST)
        || of_mac == Some(packet.destination)
}

/// `fe80::/64` with the modified EUI-64 of a MAC (RFC 4291, appendix A).
fn link_local_of(mac: [u8; 6]) -> IpAddr {
    let [a, b, c, d, e, f] = mac;
    let eui64 = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    let [w, x, y, z] = [0, 2, 4, 6].map(|at| be16(&eui64, at).unwrap_or_default());
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, w, x, y, z))
}
