//! Builds frames: every header in its place, every field to be bent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TCP flags.
pub mod tcp {
    /// FIN
    pub const FIN: u8 = 1;
    /// SYN
    pub const SYN: u8 = 2;
    /// RST
    pub const RST: u8 = 4;
    /// ACK
    pub const ACK: u8 = 16;
    /// SYN and ACK
    pub const SYN_ACK: u8 = 18;
}

/// What is behind the network header.
#[derive(Clone, Debug)]
pub enum Payload {
    /// TCP without options.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Flags.
        flags: u8,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
    },
    /// UDP with eight bytes of data.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP or ICMPv6, by the family of the addresses.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier.
        id: u16,
        /// What follows the eight bytes of header.
        body: Vec<u8>,
    },
    /// Any protocol number with these bytes.
    Raw {
        /// Protocol.
        protocol: u8,
        /// Bytes.
        bytes: Vec<u8>,
    },
}

impl Payload {
    fn protocol(&self, v6: bool) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Icmp { .. } if v6 => 58,
            Self::Icmp { .. } => 1,
            Self::Raw { protocol, .. } => *protocol,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Tcp { source, destination, flags, sequence, acknowledgement } => {
                out.extend(source.to_be_bytes());
                out.extend(destination.to_be_bytes());
                out.extend(sequence.to_be_bytes());
                out.extend(acknowledgement.to_be_bytes());
                out.extend([5 << 4, *flags, 0xff, 0xff, 0, 0, 0, 0]);
            }
            Self::Udp { source, destination } => {
                out.extend(source.to_be_bytes());
                out.extend(destination.to_be_bytes());
                out.extend(16u16.to_be_bytes());
                out.extend([0; 10]);
            }
            Self::Icmp { kind, code, id, body } => {
                out.extend([*kind, *code, 0, 0]);
                out.extend(id.to_be_bytes());
                out.extend([0, 1]);
                out.extend(body);
            }
            Self::Raw { bytes, .. } => out.extend(bytes),
        }
        out
    }
}

/// A fragment's place.
#[derive(Clone, Copy, Debug)]
pub struct FragmentOf {
    /// Identification of the datagram.
    pub id: u32,
    /// Offset in bytes, a multiple of eight.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
}

/// A frame to be built.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// What is carried.
    pub payload: Payload,
    /// VLAN tags as (EtherType, tag).
    pub tags: Vec<(u16, u16)>,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers as (number, bytes of the header behind its first).
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Fragmentation.
    pub fragment: Option<FragmentOf>,
    /// The transport bytes are cut to this many.
    pub cut: Option<usize>,
    /// Source MAC.
    pub source_mac: [u8; 6],
    /// Destination MAC.
    pub destination_mac: [u8; 6],
}

impl Packet {
    /// A plain packet.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, payload: Payload) -> Self {
        Self {
            source,
            destination,
            payload,
            tags: Vec::new(),
            hop_limit: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            cut: None,
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
        }
    }

    /// The network header and what follows, as an ICMP error quotes it.
    #[must_use]
    pub fn network(&self) -> Vec<u8> {
        let mut transport = self.payload.bytes();
        if let Some(length) = self.cut {
            transport.truncate(length);
        }
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(source, destination, &transport),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(source, destination, &transport),
            _ => unreachable!("both ends of a packet are of one family"),
        }
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr, transport: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let total = (header + transport.len()) as u16;
        let mut out = vec![0x40 | (header / 4) as u8, 0];
        out.extend(total.to_be_bytes());
        let (id, field) = self.fragment.map_or((0x1234, 0), |fragment| {
            (fragment.id as u16, fragment.offset >> 3 | u16::from(fragment.more) << 13)
        });
        out.extend(id.to_be_bytes());
        out.extend(field.to_be_bytes());
        out.extend([self.hop_limit, self.payload.protocol(false), 0, 0]);
        out.extend(source.octets());
        out.extend(destination.octets());
        out.extend(&self.options);
        out.extend(transport);
        out
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr, transport: &[u8]) -> Vec<u8> {
        let mut extensions = self.extensions.clone();
        if let Some(fragment) = self.fragment {
            let mut bytes = vec![0];
            bytes.extend((fragment.offset | u16::from(fragment.more)).to_be_bytes());
            bytes.extend(fragment.id.to_be_bytes());
            extensions.push((44, bytes));
        }
        let last = self.payload.protocol(true);
        let numbers: Vec<u8> = extensions.iter().map(|(number, _)| *number).chain([last]).collect();
        let mut body = Vec::new();
        for ((_, bytes), next) in extensions.iter().zip(&numbers[1..]) {
            body.push(*next);
            body.extend(bytes);
        }
        body.extend(transport);
        let mut out = vec![0x60, 0, 0, 0];
        out.extend((body.len() as u16).to_be_bytes());
        out.extend([numbers[0], self.hop_limit]);
        out.extend(source.octets());
        out.extend(destination.octets());
        out.extend(body);
        out
    }

    /// The whole frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.destination_mac);
        out.extend(self.source_mac);
        for (kind, tag) in &self.tags {
            out.extend(kind.to_be_bytes());
            out.extend(tag.to_be_bytes());
        }
        let kind: u16 = if self.source.is_ipv4() { 0x0800 } else { 0x86dd };
        out.extend(kind.to_be_bytes());
        out.extend(self.network());
        out
    }
}
