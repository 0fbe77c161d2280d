//! Rules: remote address → class → port set. Rules only permit, and they add up, so one look decides.

use crate::{
    maps::{self, Tables},
    pipeline::Scene,
};
use sg_common::{
    Direction,
    policy::{CLASS_NONE, HAS_ADDRESSES, HAS_PREFIXES, PORTS_ALL, PORTS_NONE},
    wire::protocol,
};

/// What rules look at: inward the local port, outward the remote one; type and code of ICMP.
#[inline(always)]
fn point<A: Tables>(scene: &Scene<A>) -> u16 {
    if scene.packet.network.protocol == A::ICMP {
        return u16::from(scene.packet.transport.kind) << 8 | u16::from(scene.packet.transport.code);
    }
    match scene.direction {
        Direction::Ingress => scene.local_port(),
        Direction::Egress => scene.remote_port(),
    }
}

/// Whether the rules of the packet's direction admit it.
#[inline(always)]
pub fn admit<A: Tables>(scene: &Scene<A>) -> bool {
    let lookups = &scene.policy.lookup[A::INDEX];
    let lookup = match scene.direction {
        Direction::Ingress => &lookups[0],
        Direction::Egress => &lookups[1],
    };
    let mut number = None;
    if lookup.holds & HAS_ADDRESSES != 0 {
        number = A::class_of_address(lookup.table, scene.remote());
    }
    if number.is_none() && lookup.holds & HAS_PREFIXES != 0 {
        number = A::class_of_prefix(lookup.table, scene.remote());
    }
    let number = number.unwrap_or(lookup.world);
    if number == CLASS_NONE {
        return false;
    }
    let Some(class) = maps::class(number) else { return false };
    match scene.packet.network.protocol {
        protocol::TCP => holds(class.tcp, point(scene)),
        protocol::UDP => holds(class.udp, point(scene)),
        number if number == A::ICMP => holds(class.icmp, point(scene)),
        number => {
            let [a, b, c, d] = class.protocols;
            let word = match number >> 6 {
                0 => a,
                1 => b,
                2 => c,
                _ => d,
            };
            word >> (number & 63) & 1 != 0
        }
    }
}

/// Whether the set holds the point, without a look where it holds nothing or everything.
#[inline(always)]
pub fn holds(set: u32, point: u16) -> bool {
    match set {
        PORTS_NONE => false,
        PORTS_ALL => true,
        set => maps::port_set_holds(set, point),
    }
}
