//! What the datapath tells of single packets to those who listen, and who listens to what.
//!
//! A listener takes one of [`PLACES`]: a [`Listener`] that says what it wants to hear, a ring buffer of its own, and a
//! [`Budget`] a processor. Its place is held for as long as it says so again and again: one that was killed falls
//! silent at the moment that it named last ([`Listener::until`]), and its place is free.

use crate::{reason::FIRST_DROP, wire::protocol};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Listeners at a time.
pub const PLACES: u32 = 8;

/// Events that a listener gets at most from one processor in a second. Enough for a person and for a script, and so few that
/// neither the programs nor who reads them takes a noticeable part of a processor in a flood.
pub const EVENTS_PER_SECOND: u32 = 10_000;
/// Events that may come at once after a pause, from one processor.
pub const EVENTS_AT_ONCE: u32 = 2_000;
/// For how long a listener holds its place each time. It says so again several times within.
pub const LEASE_SECONDS: u32 = 5;

/// Bits of [`Event::what`] and [`Listener::wants`].
pub mod what {
    /// A packet that was dropped.
    pub const DROPPED: u32 = 1;
    /// A packet that passed.
    pub const ALLOWED: u32 = 2;
    /// It starts a flow: a tracked one, or, with a SYN, an untracked TCP connection.
    pub const NEW: u32 = 4;
    /// It ends a TCP connection of the flow table: the second FIN, or a believable RST.
    pub const CLOSED: u32 = 8;
}

/// Bits of [`Event::notes`]: what the stages found on the way to the verdict.
pub mod note {
    /// The flow is over with this packet: see [`super::what::CLOSED`].
    pub const CLOSED: u32 = 1;
    /// Flows that start inward to its local port are untracked (P-2a).
    pub const OPEN_INWARD: u32 = 1 << 1;
    /// Flows that start outward to its remote port are untracked (P-2b).
    pub const OPEN_OUTWARD: u32 = 1 << 2;
    /// An ICMP error, which quotes a packet that the interface may have sent.
    pub const QUOTES: u32 = 1 << 3;
    /// The flow tables were asked.
    pub const SOUGHT: u32 = 1 << 4;
    /// There is an entry among established or answered flows.
    pub const SETTLED: u32 = 1 << 5;
    /// There is an entry among pending flows.
    pub const PENDING: u32 = 1 << 6;
    /// The entry is live.
    pub const LIVE: u32 = 1 << 7;
    /// Its flow is untracked by now, and the entry void (P-3a).
    pub const VOID: u32 = 1 << 8;
    /// The rules were asked; [`super::Event::class`] is what CIDR blocks, or else all addresses, permit.
    pub const RULES: u32 = 1 << 9;
    /// The far end lies in a CIDR block.
    pub const IN_BLOCK: u32 = 1 << 10;
    /// The far end is a member of groups.
    pub const MEMBER: u32 = 1 << 11;
    /// A CIDR block, or a rule for all addresses, admits it.
    pub const BY_CIDR: u32 = 1 << 12;
    /// A rule for a group admits it.
    pub const BY_GROUP: u32 = 1 << 13;
    /// A rule for a prefix list admits it.
    pub const BY_LIST: u32 = 1 << 14;
}

/// Where the programs have what they know of a packet when its verdict is counted; the lower half of a word in whose
/// upper half its EtherType is, host order, 0 where the frame ends before it.
pub mod seen {
    /// In no scratch memory: it was decided before its headers were understood.
    pub const NOTHING: u32 = 0;
    /// In the scratch memory for IPv4.
    pub const IPV4: u32 = 1;
    /// In the scratch memory for IPv6.
    pub const IPV6: u32 = 2;
    /// In registers that are gone: decided at sight, while nobody listened.
    pub const AT_SIGHT: u32 = 3;
}

/// [`Listener::slot`] of one that listens to all interfaces.
pub const ANY_SLOT: u32 = u32::MAX;
/// [`Listener::protocol`] of one that listens to all, and [`Event::protocol`] of what is no IP packet.
pub const NO_PROTOCOL: u16 = 256;
/// [`Listener::port`] of one that listens to all.
pub const ANY_PORT: u32 = 1 << 16;

/// One packet, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// The kernel's monotonic clock, nanoseconds.
    pub time: u64,
    /// From layer 2, over all segments.
    pub bytes: u64,
    /// Of a flow that is over: its wire packets both ways.
    pub flow_packets: u64,
    /// Of a flow that is over: its bytes both ways.
    pub flow_bytes: u64,
    /// The interface's end as in the packet; IPv4 in the first word, the others zero.
    pub local: [u32; 4],
    /// The far end, likewise.
    pub remote: [u32; 4],
    /// See [`what`].
    pub what: u32,
    /// See [`note`].
    pub notes: u32,
    /// See [`note::RULES`].
    pub class: u32,
    /// Explicit padding.
    pub reserved_word: u32,
    /// Wire packets: more than one of a super-packet.
    pub segments: u32,
    /// As [`crate::vlan::Vlans::bits`]; 0 unless the interface is VLAN-aware.
    pub vlans: u32,
    /// Slot of the interface.
    pub slot: u16,
    /// Host order; 0 where the frame ends before it.
    pub ethertype: u16,
    /// IP protocol number, or [`NO_PROTOCOL`] where nothing below is known.
    pub protocol: u16,
    /// TCP and UDP, host order.
    pub local_port: u16,
    /// TCP and UDP, host order.
    pub remote_port: u16,
    /// Identifier of an ICMP query, host order.
    pub icmp_id: u16,
    /// [`crate::reason::Verdict::number`]
    pub verdict: u8,
    /// [`crate::Direction`]
    pub direction: u8,
    /// [`seen`]
    pub family: u8,
    /// 1 of the first fragment of a datagram, 2 of a later one, which has no ports.
    pub fragment: u8,
    /// TCP, see [`crate::wire::tcp_flag`].
    pub tcp_flags: u8,
    /// ICMP and ICMPv6.
    pub icmp_type: u8,
    /// ICMP and ICMPv6.
    pub icmp_code: u8,
    /// Explicit padding.
    pub reserved: u8,
    /// The programs' own note of who hears of it: a bit a place.
    pub hearers: u16,
    /// Likewise, of those for whom it depends on what it is.
    pub askers: u16,
}

impl Event {
    /// Whether the packet has ports.
    #[inline(always)]
    #[must_use]
    pub fn has_ports(&self) -> bool {
        (self.protocol == protocol::TCP as u16 || self.protocol == protocol::UDP as u16) && self.fragment != 2
    }

    /// The local address and the remote one; `None` of what is no IP packet that was understood.
    #[must_use]
    pub fn ends(&self) -> Option<(IpAddr, IpAddr)> {
        let v4 = |words: [u32; 4]| IpAddr::V4(Ipv4Addr::from(words[0].to_ne_bytes()));
        let v6 = |words: [u32; 4]| {
            let octets: [u8; 16] = zerocopy::transmute!(words);
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        match u32::from(self.family) {
            seen::IPV4 => Some((v4(self.local), v4(self.remote))),
            seen::IPV6 => Some((v6(self.local), v6(self.remote))),
            _ => None,
        }
    }

    /// Whether a verdict of this number is a drop.
    #[inline(always)]
    #[must_use]
    pub fn is_drop(number: u32) -> bool {
        number >= FIRST_DROP
    }
}

/// Who listens, and to what. A place of which every byte is zero is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Listener {
    /// Jiffies until which it listens; 0 is nobody.
    pub until: u64,
    /// Drawn at random by who took the place: it is another's when this is another.
    pub token: u64,
    /// Bits of [`what`].
    pub wants: u32,
    /// Slot of the interface, or [`ANY_SLOT`].
    pub slot: u32,
    /// Local or remote port, or [`ANY_PORT`].
    pub port: u32,
    /// Events that it gets more a jiffy, from one processor.
    pub rate: u32,
    /// Events that it gets at once after a pause, from one processor.
    pub burst: u32,
    /// IP protocol number, or [`NO_PROTOCOL`] for all.
    pub protocol: u16,
    /// [`seen`] of the family of `remote`; 0 where that is not asked.
    pub family: u8,
    /// Explicit padding.
    pub reserved: u8,
    /// The far end, as in packets.
    pub remote: [u32; 4],
    /// The bits of it that count.
    pub mask: [u32; 4],
}

impl Listener {
    /// Whether somebody still listens. A moment that is further off than a lease can last is of another boot's clock.
    #[inline(always)]
    #[must_use]
    pub fn is_live(&self, now: u64, hz: u64) -> bool {
        let left = self.until.wrapping_sub(now);
        self.until != 0 && left != 0 && left <= LEASE_SECONDS as u64 * hz
    }

    /// Whether it may want to hear of an event of which no more is known than interface and verdict.
    #[inline(always)]
    #[must_use]
    pub fn may_want(&self, event: &Event) -> bool {
        self.wants & event.what != 0 && (self.slot == ANY_SLOT || self.slot == u32::from(event.slot))
    }

    /// Whether it depends on the packet's headers what it wants to hear of.
    #[inline(always)]
    #[must_use]
    pub fn reads_headers(&self) -> bool {
        self.protocol != NO_PROTOCOL || self.port != ANY_PORT || self.family != 0
    }

    /// Whether it wants to hear of that.
    #[inline(always)]
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        if !self.may_want(event) {
            return false;
        }
        if self.protocol != NO_PROTOCOL && self.protocol != event.protocol {
            return false;
        }
        if self.port != ANY_PORT
            && (!event.has_ports()
                || (u32::from(event.local_port) != self.port && u32::from(event.remote_port) != self.port))
        {
            return false;
        }
        if self.family == 0 {
            return true;
        }
        let differs = |word: usize| (event.remote[word] ^ self.remote[word]) & self.mask[word] != 0;
        self.family == event.family && !(differs(0) || differs(1) || differs(2) || differs(3))
    }
}

/// What one listener may still get from one processor, and what it did not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Budget {
    /// Jiffies when it was last filled.
    pub filled: u64,
    /// Events that it may still get.
    pub left: u64,
    /// Events that were too many, since the maps were made: whoever takes a place looks at what stands there.
    pub suppressed: u64,
    /// Events for which its ring had no room.
    pub lost: u64,
}

impl Budget {
    /// Takes one event out of it. False, and counted, where there is none left.
    #[inline(always)]
    #[must_use]
    pub fn take(&mut self, listener: &Listener, now: u64) -> bool {
        let since = now.wrapping_sub(self.filled);
        if since != 0 {
            let burst = u64::from(listener.burst);
            // After so long it is full at any rate; without the bound the product could wrap.
            let since = if since > burst { burst } else { since };
            let filled = self.left.wrapping_add(since * u64::from(listener.rate));
            self.left = if filled > burst { burst } else { filled };
            self.filled = now;
        }
        if self.left == 0 {
            self.suppressed = self.suppressed.wrapping_add(1);
            return false;
        }
        self.left -= 1;
        true
    }
}

const _: () = assert!(size_of::<Event>() == 112 && size_of::<Listener>() == 72 && size_of::<Budget>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Listener {
        let wants = what::DROPPED | what::ALLOWED;
        let (slot, port, protocol) = (ANY_SLOT, ANY_PORT, NO_PROTOCOL);
        Listener { until: 100, wants, slot, port, protocol, rate: 2, burst: 10, ..Listener::default() }
    }

    fn segment() -> Event {
        Event {
            remote: [u32::from_ne_bytes([198, 51, 100, 7]), 0, 0, 0],
            what: what::DROPPED,
            slot: 3,
            protocol: 6,
            local_port: 22,
            remote_port: 40_000,
            family: seen::IPV4 as u8,
            ..Event::default()
        }
    }

    #[test]
    fn a_listener_hears_what_all_of_its_filters_name() {
        let (all, event) = (everything(), segment());
        assert!(all.wants(&event));
        assert!(!Listener { wants: what::ALLOWED | what::NEW, ..all }.wants(&event));
        for (slot, wanted) in [(3, true), (4, false)] {
            assert_eq!(Listener { slot, ..all }.wants(&event), wanted, "slot {slot}");
        }
        for (protocol, wanted) in [(6, true), (17, false), (0, false)] {
            assert_eq!(Listener { protocol, ..all }.wants(&event), wanted, "protocol {protocol}");
        }
        for (port, wanted) in [(22, true), (40_000, true), (23, false), (0, false)] {
            assert_eq!(Listener { port, ..all }.wants(&event), wanted, "port {port}");
        }
        // A port that is zero for want of one is none.
        let later = Event { fragment: 2, local_port: 0, remote_port: 0, ..event };
        assert!(!Listener { port: 0, ..all }.wants(&later));
        assert!(Listener { port: 0, ..all }.wants(&Event { remote_port: 0, ..event }));
    }

    #[test]
    fn an_address_is_compared_as_far_as_its_prefix_goes_and_within_its_family() {
        let net = |octets: [u8; 4], mask: [u8; 4]| Listener {
            family: seen::IPV4 as u8,
            remote: [u32::from_ne_bytes(octets), 0, 0, 0],
            mask: [u32::from_ne_bytes(mask), 0, 0, 0],
            ..everything()
        };
        let event = segment();
        assert!(net([198, 51, 100, 0], [255, 255, 255, 0]).wants(&event));
        assert!(!net([198, 51, 101, 0], [255, 255, 255, 0]).wants(&event));
        assert!(net([0; 4], [0; 4]).wants(&event), "all of IPv4");
        assert!(!net([0; 4], [0; 4]).wants(&Event { family: seen::IPV6 as u8, ..event }));
        assert!(!net([0; 4], [0; 4]).wants(&Event { family: 0, ..event }), "what has no address");
        let v6 = Listener {
            family: seen::IPV6 as u8,
            remote: [1, 2, 3, 4],
            mask: [u32::MAX, u32::MAX, 0, 0],
            ..everything()
        };
        let from = |remote| Event { family: seen::IPV6 as u8, remote, ..event };
        assert!(v6.wants(&from([1, 2, 9, 9])) && !v6.wants(&from([1, 9, 3, 4])));
    }

    #[test]
    fn a_place_is_free_once_its_lease_is_over_or_of_another_clock() {
        let listener = everything();
        assert!(listener.is_live(99, 250) && !listener.is_live(100, 250) && !listener.is_live(101, 250));
        assert!(!Listener { until: 10_000, ..listener }.is_live(1, 250));
        assert!(!Listener { until: 0, ..listener }.is_live(u64::MAX - 3, 250));
    }

    #[test]
    fn a_budget_fills_with_time_up_to_its_burst_and_counts_what_it_refuses() {
        let (listener, mut budget) = (everything(), Budget::default());
        let mut taken = |now| (0..20).filter(|_| budget.take(&listener, now)).count();
        assert_eq!([taken(1_000), taken(1_000), taken(1_002), taken(u64::MAX)], [10, 0, 4, 10]);
        assert_eq!(budget.suppressed, 10 + 20 + 16 + 10);
    }
}
