//! Headers as they lie in packets. Multi-byte fields are big-endian and keep the bytes of the packet: convert where
//! they are used. Sources: RFC 791, 8200, 9293, 768, 792, 4443, 826; IEEE 802.1Q.

use zerocopy::{FromBytes, Immutable, KnownLayout};

/// EtherTypes, host order.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// Slow protocols (LACP).
    pub const SLOW: u16 = 0x8809;
    /// 802.1X.
    pub const EAPOL: u16 = 0x888e;
    /// 802.1ad tag.
    pub const QINQ: u16 = 0x88a8;
    /// LLDP.
    pub const LLDP: u16 = 0x88cc;
    /// Values below are lengths of 802.2 frames (STP and others), not types.
    pub const FIRST: u16 = 0x0600;
}

/// IP protocol numbers.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AH: u8 = 51;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = 60;
    /// IPv6 mobility.
    pub const MOBILITY: u8 = 135;
    /// Host identity protocol.
    pub const HIP: u8 = 139;
    /// Shim6.
    pub const SHIM6: u8 = 140;
}

/// TCP flags as they lie in byte 13 of the header.
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 16;
    /// FIN, SYN, RST, PSH, ACK, URG.
    pub const ALL: u8 = 63;
}

/// Length of an Ethernet header without tags.
pub const ETHERNET_LEN: usize = 14;

/// RFC 791 header without options.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ipv4 {
    /// Version and header length in 32-bit words.
    pub version_ihl: u8,
    /// Not looked at.
    pub tos: u8,
    /// Header and payload.
    pub total_length: u16,
    /// Identification.
    pub id: u16,
    /// Flags and offset in 8-byte units.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub protocol: u8,
    /// Not verified (P-12).
    pub checksum: u16,
    /// Source.
    pub source: u32,
    /// Destination.
    pub destination: u32,
}

/// RFC 8200 fixed header.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ipv6 {
    /// Version, traffic class, flow label.
    pub version_class_label: u32,
    /// What follows this header.
    pub payload_length: u16,
    /// First following header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub source: [u32; 4],
    /// Destination.
    pub destination: [u32; 4],
}

/// First eight bytes of any IPv6 extension header; the last three fields are the fragment header's.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Extension {
    /// Next header.
    pub next_header: u8,
    /// Length in units that depend on the header.
    pub length: u8,
    /// Offset in bytes (upper 13 bits), more fragments (lowest bit).
    pub fragment: u16,
    /// Identification.
    pub id: u32,
}

/// TCP header without options.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Header length in 32-bit words, upper four bits.
    pub data_offset: u8,
    /// See [`tcp_flag`].
    pub flags: u8,
    /// Not looked at.
    pub window: u16,
    /// Not verified.
    pub checksum: u16,
    /// Not looked at.
    pub urgent: u16,
}

/// UDP header.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Header and data.
    pub length: u16,
    /// Not verified.
    pub checksum: u16,
}

/// First eight bytes of every ICMP and ICMPv6 message.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Not verified.
    pub checksum: u16,
    /// Identifier of queries.
    pub id: u16,
    /// Sequence number of queries.
    pub sequence: u16,
}

/// ARP for IPv4 over Ethernet (RFC 826), in words of 16 bits because addresses lie 2 modulo 4.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Arp {
    /// Hardware type, protocol type, both address lengths: [`Arp::IPV4_OVER_ETHERNET`].
    pub form: [u16; 3],
    /// Operation.
    pub operation: u16,
    /// Sender's hardware address.
    pub sender_mac: [u16; 3],
    /// Sender's IPv4 address.
    pub sender: [u16; 2],
    /// Target's hardware address.
    pub target_mac: [u16; 3],
    /// Target's IPv4 address.
    pub target: [u16; 2],
}

impl Arp {
    /// The form that carries IPv4 addresses, host order.
    pub const IPV4_OVER_ETHERNET: [u16; 3] = [1, ethertype::IPV4, 6 << 8 | 4];
}

const _: () = assert!(size_of::<Ipv4>() == 20 && size_of::<Ipv6>() == 40 && size_of::<Extension>() == 8);
const _: () = assert!(size_of::<Tcp>() == 20 && size_of::<Udp>() == 8 && size_of::<Icmp>() == 8);
const _: () = assert!(size_of::<Arp>() == 28);
