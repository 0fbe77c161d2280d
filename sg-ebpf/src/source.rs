//! Source and destination check (P-20): a packet may not claim an address that cannot be its sender's.

use crate::{
    config::Config,
    exempt::is_link_local,
    maps::{self, Tables},
    pipeline::{Frame, Scene},
};
use sg_common::{
    Direction,
    packet::{Cursor, Fragment, Link, Network},
    policy::{CHECK_SOURCE, MORE_LOCALS_V4, MORE_LOCALS_V6, Policy, policy_row},
    reason::{Drop, Pass},
    wire::{Arp, protocol},
};

/// Whether the address is one of the interface's.
#[inline(always)]
fn is_local<A: Tables>(config: Config, generation: u64, policy: &Policy, address: A) -> bool {
    let [a, b, c, d] = *A::inline_locals(policy);
    let more = if A::INDEX == 0 { MORE_LOCALS_V4 } else { MORE_LOCALS_V6 };
    address == a
        || address == b
        || address == c
        || address == d
        || (policy.flags & more != 0
            && maps::is_further_local(policy_row(generation, config.slot), address.words()))
}

/// Whether the check, made on TCP, finds nothing, as far as the policy's row alone tells. False says nothing.
#[inline(always)]
pub fn is_honest_at_sight<A: Tables>(
    config: Config,
    policy: &Policy,
    direction: Direction,
    network: &Network<A>,
) -> bool {
    if policy.flags & CHECK_SOURCE == 0 {
        return true;
    }
    let (local, remote) = network.ends(direction);
    // Unused places of the row are zero: an unspecified address is among them, and left to the whole check.
    let [a, b, c, d] = A::inline_locals(policy);
    let is_inline = |address: A| address == *a || address == *b || address == *c || address == *d;
    let more = if A::INDEX == 0 { MORE_LOCALS_V4 } else { MORE_LOCALS_V6 };
    let is_foreign = || policy.flags & more == 0 && !is_inline(remote);
    let is_own = || is_inline(local) && local.words() != [0; 4];
    (direction == Direction::Egress || is_foreign()) && (!config.guest || is_own())
}

/// The check of an IP packet.
#[inline(always)]
pub fn check<A: Tables, C: Cursor>(scene: &Scene<A>, cursor: C) -> Result<(), Drop> {
    if scene.policy.flags & CHECK_SOURCE == 0 {
        return Ok(());
    }
    let is_unspecified = |address: A| address.words() == [0; 4];
    let is_local = |address| is_local(scene.config, scene.generation, scene.policy, address);
    // Unused places of the row are zero, and so is an unspecified source, which is nobody's.
    let is_own = |address| !is_unspecified(address) && is_local(address);
    let (source, destination) = (scene.packet.network.source, scene.packet.network.destination);
    let honest = match (scene.direction, scene.config.guest) {
        (Direction::Ingress, false) => !is_own(source),
        (Direction::Ingress, true) => {
            !is_own(source)
                && (is_own(destination)
                    || is_to_many(destination)
                    || is_own_link_local(scene, cursor, 0, destination))
        }
        (Direction::Egress, false) => true,
        (Direction::Egress, true) => {
            !plays_router(scene)
                && (is_own(source)
                    || is_unspecified(source) && may_be_unspecified(scene)
                    || is_own_link_local(scene, cursor, 6, source))
        }
    };
    if honest { Ok(()) } else { Err(Drop::SpoofedSource) }
}

/// A guest may speak without an address to detect duplicates and to ask for one.
#[inline(always)]
fn may_be_unspecified<A: Tables>(scene: &Scene<A>) -> bool {
    if A::ICMP == protocol::ICMP {
        scene.packet.network.protocol == protocol::UDP
            && scene.packet.transport.source_port == 68
            && scene.packet.transport.destination_port == 67
    } else {
        // Duplicate detection solicits and reports its listening; so does router discovery (RFC 4861, 4862, 3810).
        scene.packet.network.protocol == protocol::ICMPV6
            && matches!(scene.packet.transport.kind, 133 | 135 | 143)
    }
}

/// What only routers and DHCP servers send: never a guest, whatever its rules say.
#[inline(always)]
fn plays_router<A: Tables>(scene: &Scene<A>) -> bool {
    if scene.packet.network.fragment == Fragment::Later {
        return false;
    }
    match scene.packet.network.protocol {
        protocol::UDP => {
            let (client, server) = if A::ICMP == protocol::ICMP { (68, 67) } else { (546, 547) };
            scene.packet.transport.source_port == server && scene.packet.transport.destination_port == client
        }
        number if number == A::ICMP => {
            if A::ICMP == protocol::ICMP {
                matches!(scene.packet.transport.kind, 5 | 9)
            } else {
                matches!(scene.packet.transport.kind, 134 | 137)
            }
        }
        _ => false,
    }
}

/// Multicast or broadcast.
#[inline(always)]
fn is_to_many<A: Tables>(address: A) -> bool {
    let first = u32::from_be(address.words()[0]);
    if A::INDEX == 0 { first >> 28 == 0xe || first == u32::MAX } else { first >> 24 == 0xff }
}

/// Whether the address is `fe80::/64` with the interface identifier (EUI-64, RFC 4291 appendix A) of the MAC address
/// at this offset of the frame.
#[inline(always)]
fn is_own_link_local<A: Tables, C: Cursor>(scene: &Scene<A>, cursor: C, mac_at: usize, address: A) -> bool {
    if A::INDEX == 0 || scene.config.no_link_layer || !is_link_local(address) {
        return false;
    }
    let Some(mac) = cursor.read::<[u16; 3]>(mac_at) else { return false };
    let [a, b, c] = mac.map(u16::from_be).map(u32::from);
    let words = address.words().map(u32::from_be);
    words == [0xfe80_0000, 0, (a ^ 0x0200) << 16 | (b & 0xff00) | 0xff, 0xfe00_0000 | (b & 0xff) << 16 | c]
}

/// ARP is exempt; a guest's must name one of its addresses as the sender, or none while it probes (RFC 5227).
#[inline(always)]
pub fn arp<C: Cursor>(
    config: Config,
    generation: u64,
    policy: &'static Policy,
    frame: &Frame<C>,
    link: Link,
) -> Result<Pass, Drop> {
    if config.guest && frame.direction == Direction::Egress && policy.flags & CHECK_SOURCE != 0 {
        let arp: Arp = frame.cursor.read(link.offset).ok_or(Drop::Malformed)?;
        let sender = u32::from(arp.sender[0]) | u32::from(arp.sender[1]) << 16;
        let is_ipv4 = arp.form.map(u16::from_be) == Arp::IPV4_OVER_ETHERNET;
        if !is_ipv4 || (sender != 0 && !is_local(config, generation, policy, sender)) {
            return Err(Drop::SpoofedSource);
        }
    }
    Ok(Pass::Exempt)
}
