//! The flow table's keys and values.
//!
//! A key speaks of *local* and *remote* instead of source and destination, so that both directions of a flow have the
//! same key and one lookup finds it. The interface's slot is part of it: two interfaces of a host never share a flow.

use crate::{Direction, vlan::Vlans, wire::protocol};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Names an IPv4 flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowKey4 {
    /// What both families have in common.
    pub head: KeyHead,
    /// As in the packet.
    pub local: u32,
    /// As in the packet.
    pub remote: u32,
}

/// Names an IPv6 flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowKey6 {
    /// What both families have in common.
    pub head: KeyHead,
    /// As in the packet.
    pub local: [u32; 4],
    /// As in the packet.
    pub remote: [u32; 4],
}

impl FlowKey4 {
    /// The local address and the remote one.
    #[must_use]
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        let address = |word: u32| IpAddr::V4(Ipv4Addr::from(word.to_ne_bytes()));
        (address(self.local), address(self.remote))
    }
}

impl FlowKey6 {
    /// The local address and the remote one.
    #[must_use]
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        let address = |words: [u32; 4]| {
            let octets: [u8; 16] = zerocopy::transmute!(words);
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        (address(self.local), address(self.remote))
    }
}

/// Interface, protocol, ports, VLANs. Fields that a protocol lacks are zero (P-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KeyHead {
    /// The interface.
    pub slot: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// ICMP queries only: 1 when started inward, 2 when started outward, so that an echo request from the far end
    /// with the same identifier is not an answer (P-7). 0 of all others.
    pub start: u8,
    /// Local port, or the identifier of an ICMP query. Host order.
    pub local_port: u16,
    /// Remote port, or the request type of an ICMP query. Host order.
    pub remote_port: u16,
    /// [`Vlans::NONE`] unless the interface is VLAN-aware (P-13).
    pub vlans: Vlans,
}

impl KeyHead {
    /// Value of [`Self::start`] for a query that was started in this direction.
    #[inline(always)]
    #[must_use]
    pub fn start_of(direction: Direction) -> u8 {
        direction as u8 + 1
    }
}

/// Where a flow stands; the [`Flow::state`] byte.
pub mod state {
    /// TCP: a SYN without its third leg. Others: no answer yet. In the pending table.
    pub const PENDING: u8 = 0;
    /// TCP after the handshake.
    pub const ESTABLISHED: u8 = 1;
    /// UDP, ICMP and others after the first answer.
    pub const ANSWERED: u8 = 2;
    /// TCP that was seen while its interface observed (P-22), and of which no side has acknowledged the other's segments
    /// yet. In the pending table; never live, so that nothing passes by it.
    pub const OBSERVED: u8 = 3;
}

/// Bits of [`Flow::flags`]. TCP and the others use the same byte for different things.
pub mod flag {
    /// TCP: a FIN was seen inward; outward is the next bit.
    pub const FIN_INGRESS: u8 = 1;
    /// TCP: a FIN was seen outward.
    pub const FIN_EGRESS: u8 = 2;
    /// TCP: FINs both ways.
    pub const FIN_BOTH: u8 = 3;
    /// TCP: a believable RST was seen, and nothing since.
    pub const RESET: u8 = 4;
    /// TCP, pending: the responder's initial sequence number is known.
    pub const ANSWER_SEEN: u8 = 8;
    /// TCP, pending: the SYNs crossed (simultaneous open).
    pub const CROSSED: u8 = 16;
    /// TCP, pending and crossed: the inward side acknowledged the other's SYN; outward is the next bit.
    pub const ACKED_INGRESS: u8 = 32;
    /// TCP, pending and crossed: the outward side did.
    pub const ACKED_EGRESS: u8 = 64;
    /// TCP, pending and crossed: both did.
    pub const ACKED_BOTH: u8 = 96;
    /// TCP, established by adoption (P-22): no sequence number of the inward side is known yet; outward is the next
    /// bit. The first segment of a side that is no RST makes its number known.
    pub const UNHEARD_INGRESS: u8 = 8;
    /// TCP, established by adoption: of neither side.
    pub const UNHEARD_BOTH: u8 = 24;
    /// TCP, established: by adoption (P-22), without a handshake.
    pub const ADOPTED: u8 = 32;

    /// UDP: more than one request was seen.
    pub const REQUESTS: u8 = 1;
    /// UDP: one answer was seen.
    pub const RESPONSE: u8 = 2;
    /// UDP: more than one answer was seen.
    pub const RESPONSES: u8 = 4;
}

/// What is remembered of a flow. With [`FlowKey4`] 68 bytes, which lie in 72 of a hash map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flow {
    /// Jiffies of the last packet that counted; written at most once a second, so that the cache line of a hot flow
    /// does not travel between processors for it.
    pub last: u64,
    /// Wire packets both ways.
    pub packets: u64,
    /// Bytes both ways, from layer 2.
    pub bytes: u64,
    /// TCP: the sequence number last recorded, by direction. Pending: the initial ones.
    pub sequence: [u32; 2],
    /// TCP: when [`Self::sequence`] was recorded, by direction, in the truncated seconds of [`crate::track::Clock`].
    pub sequence_at: [u16; 2],
    /// TCP: when an RST was last considered, likewise.
    pub reset_at: u16,
    /// See [`state`].
    pub state: u8,
    /// See [`flag`].
    pub flags: u8,
    /// Established TCP: its place in the ring that dead entries are found by.
    pub place: u32,
    /// [`Direction`] of the first packet; a whole word, so that there is no padding.
    pub started: u32,
}

/// Names a datagram whose first fragment passed (P-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragmentHead {
    /// The interface.
    pub slot: u16,
    /// [`Direction`]
    pub direction: u8,
    /// Protocol that all its fragments name.
    pub protocol: u8,
    /// Identification, as in the packet.
    pub id: u32,
    /// As in [`KeyHead::vlans`]: a fragment does not follow the first of another VLAN.
    pub vlans: Vlans,
}

/// Key of `FRAGMENTS4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragmentKey4 {
    /// What both families have in common.
    pub head: FragmentHead,
    /// As in the packet.
    pub source: u32,
    /// As in the packet.
    pub destination: u32,
}

/// Key of `FRAGMENTS6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragmentKey6 {
    /// What both families have in common.
    pub head: FragmentHead,
    /// As in the packet.
    pub source: [u32; 4],
    /// As in the packet.
    pub destination: [u32; 4],
}

/// Request types of ICMP queries with the type of their answer (P-7), IPv4 then IPv6.
pub const QUERIES: [(u8, u8, u8); 5] = [
    (protocol::ICMP, 8, 0),
    (protocol::ICMP, 13, 14),
    (protocol::ICMP, 15, 16),
    (protocol::ICMP, 17, 18),
    (protocol::ICMPV6, 128, 129),
];

/// What an ICMP message is to the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpRole {
    /// Starts a query; the type is part of its key.
    Request,
    /// Answers a query of this request type.
    Reply(u8),
    /// Tells of a packet that it quotes (P-8).
    Error,
    /// Judged by rules each time.
    Other,
}

/// The role of an ICMP type; `protocol` is ICMP or ICMPv6.
#[inline(always)]
#[must_use]
pub fn icmp_role(protocol: u8, kind: u8) -> IcmpRole {
    if protocol == protocol::ICMP {
        match kind {
            8 | 13 | 15 | 17 => IcmpRole::Request,
            0 => IcmpRole::Reply(8),
            14 | 16 | 18 => IcmpRole::Reply(kind - 1),
            3 | 11 | 12 => IcmpRole::Error,
            _ => IcmpRole::Other,
        }
    } else {
        match kind {
            128 => IcmpRole::Request,
            129 => IcmpRole::Reply(128),
            1..=4 => IcmpRole::Error,
            _ => IcmpRole::Other,
        }
    }
}

const _: () = assert!(size_of::<KeyHead>() == 12 && size_of::<FragmentHead>() == 12);
const _: () = assert!(size_of::<FlowKey4>() == 20 && size_of::<FlowKey6>() == 44);
const _: () = assert!(size_of::<Flow>() == 48);
const _: () = assert!(size_of::<FlowKey4>() + size_of::<Flow>() <= 68);
const _: () = assert!(size_of::<FragmentKey4>() == 20 && size_of::<FragmentKey6>() == 44);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_every_query_is_answered_by_its_own_reply_only() {
        for (protocol, request, reply) in QUERIES {
            assert_eq!(icmp_role(protocol, request), IcmpRole::Request);
            assert_eq!(icmp_role(protocol, reply), IcmpRole::Reply(request));
        }
        let replies =
            |protocol| (0..=255).filter(move |&k| matches!(icmp_role(protocol, k), IcmpRole::Reply(_)));
        assert_eq!(replies(protocol::ICMP).count() + replies(protocol::ICMPV6).count(), QUERIES.len());
    }

    #[test]
    fn p8_errors_are_those_of_the_rfcs_and_redirects_are_not() {
        let errors = |protocol| (0..=255u8).filter(move |&k| icmp_role(protocol, k) == IcmpRole::Error);
        assert!(errors(protocol::ICMP).eq([3, 11, 12]));
        assert!(errors(protocol::ICMPV6).eq([1, 2, 3, 4]));
    }
}
