//! Traffic that security groups do not filter (P-10), by direction.

use crate::{maps::Tables, pipeline::Scene};
use sg_common::{
    Direction,
    packet::Fragment,
    policy::EXEMPT_DHCP,
    wire::{ethertype, protocol},
};

/// Frames that keep a link alive: LLDP, EAPOL, slow protocols, and 802.2 frames such as STP.
#[inline(always)]
pub fn is_link_control(kind: u16) -> bool {
    matches!(kind, ethertype::LLDP | ethertype::EAPOL | ethertype::SLOW) || kind < ethertype::FIRST
}

/// Whether the packet is exempt from rules and tracking.
#[inline(always)]
pub fn is_exempt<A: Tables>(scene: &Scene<A>) -> bool {
    if scene.packet.network.fragment != Fragment::Whole {
        return false;
    }
    if scene.packet.network.protocol == protocol::UDP {
        scene.policy.flags & EXEMPT_DHCP != 0 && is_dhcp(scene)
    } else {
        A::ICMP == protocol::ICMPV6
            && scene.packet.network.protocol == protocol::ICMPV6
            && (is_neighbour_discovery(scene) || is_listener_discovery(scene))
    }
}

/// DHCP between a client here and a server there.
#[inline(always)]
fn is_dhcp<A: Tables>(scene: &Scene<A>) -> bool {
    let (client, server) = if A::ICMP == protocol::ICMP { (68, 67) } else { (546, 547) };
    if scene.local_port() != client || scene.remote_port() != server {
        return false;
    }
    let from_router = A::ICMP == protocol::ICMP || is_link_local(scene.packet.network.source);
    scene.direction == Direction::Egress || from_router
}

/// RFC 4861: hop limit 255 says that the packet comes from this very link.
#[inline(always)]
fn is_neighbour_discovery<A: Tables>(scene: &Scene<A>) -> bool {
    if scene.packet.network.hop_limit != 255 || scene.packet.transport.code != 0 {
        return false;
    }
    match scene.packet.transport.kind {
        133 | 135 | 136 => true,
        134 | 137 => scene.direction == Direction::Ingress && is_link_local(scene.packet.network.source),
        _ => false,
    }
}

/// Multicast listener discovery, RFC 2710 and 3810.
#[inline(always)]
fn is_listener_discovery<A: Tables>(scene: &Scene<A>) -> bool {
    scene.packet.network.hop_limit == 1 && matches!(scene.packet.transport.kind, 130..=132 | 143)
}

/// `fe80::/10`
#[inline(always)]
pub fn is_link_local<A: Tables>(address: A) -> bool {
    u32::from_be(address.words()[0]) >> 22 == 0xfe80 >> 6
}
