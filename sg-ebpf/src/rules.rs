//! Rules: remote address → class → port set, by CIDR block, by membership of groups, and by prefix list.

use crate::{
    index,
    maps::{self, Tables},
    pipeline::Scene,
};
use sg_common::{
    Direction,
    event::note,
    policy::{
        CLASS_NONE, HAS_ADDRESSES, HAS_PREFIXES, IDENTITY_NONE, ListUse, PORTS_ALL, PORTS_NONE,
        TABLE_MEMBERS, VIEW_NONE, index_place, table_number,
    },
    wire::protocol,
};

/// What rules look at: inward the local port, outward the remote one; type and code of ICMP.
#[inline(always)]
pub fn point<A: Tables>(scene: &Scene<A>) -> u16 {
    if scene.packet.network.protocol == A::ICMP {
        return u16::from(scene.packet.transport.kind) << 8 | u16::from(scene.packet.transport.code);
    }
    match scene.direction {
        Direction::Ingress => scene.local_port(),
        Direction::Egress => scene.remote_port(),
    }
}

/// Whether the rules of the packet's direction admit it: by a CIDR block, as a member of a group, or by a prefix list.
/// Rules only permit, so whichever says yes first has decided.
#[inline(always)]
pub fn admit<A: Tables>(scene: &mut Scene<A>) -> bool {
    let lookups = &scene.policy.lookup[A::INDEX];
    let lookup = match scene.direction {
        Direction::Ingress => &lookups[0],
        Direction::Egress => &lookups[1],
    };
    let (remote, generation) = (scene.remote(), scene.generation);
    let mut class = find::<A>(lookup.table, remote, generation);
    scene.packet.notes |= if class == 0 { note::RULES } else { note::RULES | note::IN_BLOCK };
    if class == 0 {
        class = lookup.world;
    }
    scene.packet.class = class;
    if permits(scene, class) {
        scene.packet.notes |= note::BY_CIDR;
        return true;
    }
    if lookup.view != VIEW_NONE {
        let identity = A::at_address(TABLE_MEMBERS, remote, generation);
        if identity != IDENTITY_NONE {
            scene.packet.notes |= note::MEMBER;
            if permits(scene, maps::class_in_view(lookup.view, identity)) {
                scene.packet.notes |= note::BY_GROUP;
                return true;
            }
        }
    }
    let [a, b, c, d] = &lookup.lists;
    let is_in_list =
        list_admits(scene, a) || list_admits(scene, b) || list_admits(scene, c) || list_admits(scene, d);
    if is_in_list {
        scene.packet.notes |= note::BY_LIST;
    }
    is_in_list
}

/// Whether a prefix list that rules name holds the far end, and they permit the packet.
#[inline(always)]
fn list_admits<A: Tables>(scene: &Scene<A>, list: &ListUse) -> bool {
    // Its ports first: they are cheap to look up, and the addresses of a long list are not.
    permits(scene, list.class) && A::in_list(list.table, scene.remote(), scene.generation)
}

/// Whether the list of this table covers an IPv4 address. A function of its own, as is the other one: the verifier goes
/// through it once, and not once for every way that a packet can have come to it, and its stack is not the packet path's.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn sg_in_list4(table: u32, address: u32, generation: u64) -> u32 {
    in_list(table, address, generation).into()
}

/// The same of IPv6, whose address comes in halves, in network order: a function has five arguments at most.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn sg_in_list6(table: u32, first: u64, last: u64, generation: u64) -> u32 {
    let words = |half: u64| [half as u32, (half >> 32) as u32];
    let ([a, b], [c, d]) = (words(first), words(last));
    in_list(table, [a, b, c, d], generation).into()
}

#[inline(always)]
fn in_list<A: Tables>(table: u32, address: A, generation: u64) -> bool {
    let place = index_place(table);
    find(table, address, generation) != 0 || place != 0 && index::holds(place, address, generation)
}

/// What a table has for an address; 0 is nothing.
#[inline(always)]
fn find<A: Tables>(table: u32, address: A, generation: u64) -> u32 {
    let number = table_number(table);
    let mut found = 0;
    if table & HAS_ADDRESSES != 0 {
        found = A::at_address(number, address, generation);
    }
    if found == 0 && table & HAS_PREFIXES != 0 {
        found = A::at_prefix(number, address, generation);
    }
    found
}

/// Whether a class admits the packet.
#[inline(always)]
fn permits<A: Tables>(scene: &Scene<A>, class: u32) -> bool {
    if class == CLASS_NONE {
        return false;
    }
    let Some(class) = maps::class(class) else { return false };
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
