//! From bytes to meaning: link layer, VLAN tags, IPv4 and IPv6 headers, fragments (P-11, P-12, P-13).
//!
//! Whatever cannot be read to the point that rules look at is an `Err`: nothing passes because it could not be
//! understood (P-1).

use super::{
    DropClass, Frame,
    transport::{self, Icmp, Segment},
};
use sg_ctl::model::Direction;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Protocol numbers that mean more than a number.
pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;

/// EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TAGS: [u16; 2] = [0x8100, 0x88a8];
/// P-13: two are looked through, a third is malformed.
const MAX_TAGS: usize = 2;
/// P-12: more than eight are malformed.
const MAX_EXTENSION_HEADERS: usize = 8;
/// The shortest TCP header: a later fragment that begins within it overlaps it (P-11).
const TCP_HEADER: usize = 20;
/// The largest datagram that can be put together.
const MAX_DATAGRAM: usize = 65_535;

/// A frame, read.
pub(super) enum Parsed<'a> {
    Ip(Packet<'a>),
    NonIp(NonIp<'a>),
}

/// A frame that is neither IPv4 nor IPv6.
pub(super) struct NonIp<'a> {
    pub direction: Direction,
    /// Below 0x600 it is the length of an 802.2 frame.
    pub ethertype: u16,
    pub body: &'a [u8],
}

/// An IP packet as far as anything is decided by it.
pub(super) struct Packet<'a> {
    pub direction: Direction,
    /// Destination and source of the link layer, where there is one.
    pub macs: Option<([u8; 6], [u8; 6])>,
    pub vlans: Vlans,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub hop_limit: u8,
    /// The transport protocol; of a later fragment, the protocol that the fragments name.
    pub protocol: u8,
    pub part: Part,
    /// What the fragment header says: what fragments of one datagram have in common besides addresses (P-11).
    pub datagram: Option<Datagram>,
    pub content: Content<'a>,
}

/// The VLANs of a frame, the outer one first: identifiers of its tags, whose priority bits name no VLAN (P-13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Vlans([Option<u16>; MAX_TAGS]);

impl Vlans {
    fn of(tags: &[u16]) -> Self {
        let mut ids = tags.iter().map(|tag| tag % 4096);
        Self([ids.next(), ids.next()])
    }
}

/// Which part of its datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it; an atomic fragment is (P-11).
    Whole,
    First,
    Later,
}

/// Identity of a fragmented datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Datagram {
    /// The protocol that the fragments name: in IPv6 the next-header field of the fragment header.
    pub named: u8,
    pub id: u32,
}

/// What follows the network headers.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    Tcp(Segment),
    Udp {
        source: u16,
        destination: u16,
    },
    /// ICMP of the packet's own family.
    Icmp(Icmp<'a>),
    /// Any other protocol, and a later fragment of any.
    Other,
}

impl Packet<'_> {
    /// The instance's own address (P-15).
    pub fn local(&self) -> IpAddr {
        match self.direction {
            Direction::Ingress => self.destination,
            Direction::Egress => self.source,
        }
    }

    /// The address that rules look at (P-14, P-15).
    pub fn remote(&self) -> IpAddr {
        match self.direction {
            Direction::Ingress => self.source,
            Direction::Egress => self.destination,
        }
    }

    pub fn is_ipv6(&self) -> bool {
        self.source.is_ipv6()
    }
}

/// Reads a frame, or says why it is dropped.
pub(super) fn parse<'a>(frame: &Frame<'a>) -> Result<Parsed<'a>, DropClass> {
    let (mut ethertype, mut rest, macs) = match frame.network_ethertype {
        Some(ethertype) => (ethertype, frame.bytes, None),
        None => link_header(frame.bytes).ok_or(DropClass::Malformed)?,
    };
    let mut tags: Vec<u16> = frame.metadata_tag.into_iter().collect();
    while TAGS.contains(&ethertype) {
        tags.push(be16(rest, 0).ok_or(DropClass::Malformed)?);
        ethertype = be16(rest, 2).ok_or(DropClass::Malformed)?;
        rest = &rest[4..];
    }
    if tags.len() > MAX_TAGS {
        return Err(DropClass::Malformed);
    }
    let within = |packet| Parsed::Ip(Packet { vlans: Vlans::of(&tags), ..packet });
    match ethertype {
        IPV4 => ipv4(frame, macs, rest).map(within),
        IPV6 => ipv6(frame, macs, rest).map(within),
        _ => Ok(Parsed::NonIp(NonIp { direction: frame.direction, ethertype, body: rest })),
    }
}

type Macs = Option<([u8; 6], [u8; 6])>;

fn link_header(bytes: &[u8]) -> Option<(u16, &[u8], Macs)> {
    Some((be16(bytes, 12)?, &bytes[14..], Some((array(bytes, 0)?, array(bytes, 6)?))))
}

fn ipv4<'a>(frame: &Frame<'a>, macs: Macs, bytes: &'a [u8]) -> Result<Packet<'a>, DropClass> {
    let header = Ipv4::read(bytes).ok_or(DropClass::Malformed)?;
    // What follows the total length is padding of the frame.
    let end = match header.total_length {
        0 if frame.gso => bytes.len(),
        length => length,
    };
    let payload = bytes.get(header.length..end).ok_or(DropClass::Malformed)?;
    let named = header.protocol;
    let (part, content) =
        fragment_or_content(named, named, header.offset, header.more_follow, payload, false)?;
    let fragmented = part != Part::Whole;
    Ok(Packet {
        direction: frame.direction,
        macs,
        vlans: Vlans::default(),
        source: header.source.into(),
        destination: header.destination.into(),
        hop_limit: header.hop_limit,
        protocol: named,
        part,
        datagram: fragmented.then_some(Datagram { named, id: header.id.into() }),
        content,
    })
}

fn ipv6<'a>(frame: &Frame<'a>, macs: Macs, bytes: &'a [u8]) -> Result<Packet<'a>, DropClass> {
    let header = Ipv6::read(bytes).ok_or(DropClass::Malformed)?;
    let end = match header.payload_length {
        0 if frame.gso => bytes.len(),
        length => IPV6_HEADER + length,
    };
    let payload = bytes.get(IPV6_HEADER..end).ok_or(DropClass::Malformed)?;
    let walked = walk_extensions(header.next_header, payload).map_err(|error| match error {
        WalkError::CutOffInFirstFragment => DropClass::FragmentTiny,
        WalkError::Malformed => DropClass::Malformed,
    })?;
    let (named, offset, more) =
        walked.fragment.map_or((walked.protocol, 0, false), |it| (it.named, it.offset, it.more_follow));
    let (part, content) = fragment_or_content(named, walked.protocol, offset, more, walked.transport, true)?;
    let fragment = walked.fragment.filter(|_| part != Part::Whole);
    Ok(Packet {
        direction: frame.direction,
        macs,
        vlans: Vlans::default(),
        source: header.source.into(),
        destination: header.destination.into(),
        hop_limit: header.hop_limit,
        protocol: walked.protocol,
        part,
        datagram: fragment.map(|it| Datagram { named: it.named, id: it.id }),
        content,
    })
}

/// Which part of its datagram a packet is, and the transport header of all but later fragments.
fn fragment_or_content(
    named: u8,
    protocol: u8,
    offset: usize,
    more_follow: bool,
    payload: &[u8],
    is_ipv6: bool,
) -> Result<(Part, Content<'_>), DropClass> {
    if offset > 0 {
        if offset + payload.len() > MAX_DATAGRAM {
            return Err(DropClass::Malformed);
        }
        if named == TCP && offset < TCP_HEADER {
            return Err(DropClass::FragmentOverlap);
        }
        return Ok((Part::Later, Content::Other));
    }
    let part = if more_follow { Part::First } else { Part::Whole };
    Ok((part, transport::read(protocol, payload, part, is_ipv6)?))
}

/// The fixed part of an IPv4 header, and the length of all of it.
pub(super) struct Ipv4 {
    pub length: usize,
    pub total_length: usize,
    pub id: u16,
    pub offset: usize,
    pub more_follow: bool,
    pub hop_limit: u8,
    pub protocol: u8,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
}

impl Ipv4 {
    /// `None` for another version, an IHL under 5, and a header that the bytes do not hold. The total length is the
    /// caller's to judge: a quote may be shorter.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let length = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4 || length < 20 || bytes.len() < length {
            return None;
        }
        let fragment = be16(bytes, 6)?;
        Some(Self {
            length,
            total_length: be16(bytes, 2)?.into(),
            id: be16(bytes, 4)?,
            offset: usize::from(fragment & 0x1fff) * 8,
            more_follow: fragment & 0x2000 != 0,
            hop_limit: bytes[8],
            protocol: bytes[9],
            source: array::<4>(bytes, 12)?.into(),
            destination: array::<4>(bytes, 16)?.into(),
        })
    }
}

pub(super) const IPV6_HEADER: usize = 40;

/// An IPv6 header.
pub(super) struct Ipv6 {
    pub payload_length: usize,
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
}

impl Ipv6 {
    /// `None` for another version and for a header that the bytes do not hold.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.first()? >> 4 != 6 {
            return None;
        }
        Some(Self {
            payload_length: be16(bytes, 4)?.into(),
            next_header: *bytes.get(6)?,
            hop_limit: *bytes.get(7)?,
            source: array::<16>(bytes, 8)?.into(),
            destination: array::<16>(bytes, 24)?.into(),
        })
    }
}

/// What stands behind the extension headers of an IPv6 packet.
pub(super) struct Walked<'a> {
    pub protocol: u8,
    pub transport: &'a [u8],
    pub fragment: Option<FragmentHeader>,
}

/// An IPv6 fragment header.
#[derive(Clone, Copy)]
pub(super) struct FragmentHeader {
    pub named: u8,
    pub offset: usize,
    pub more_follow: bool,
    pub id: u32,
}

/// Why the headers could not be walked.
pub(super) enum WalkError {
    /// A first fragment that ends within them: too short for the ports (P-11).
    CutOffInFirstFragment,
    Malformed,
}

/// Walks the extension headers up to the transport header, or up to the fragment header of a later fragment.
pub(super) fn walk_extensions(first: u8, payload: &[u8]) -> Result<Walked<'_>, WalkError> {
    let mut walked = Walked { protocol: first, transport: payload, fragment: None };
    for count in 0.. {
        let is_extension = matches!(walked.protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140);
        let is_later = walked.fragment.is_some_and(|fragment| fragment.offset > 0);
        if !is_extension || is_later {
            break;
        }
        if count == MAX_EXTENSION_HEADERS || (walked.protocol == 44 && walked.fragment.is_some()) {
            return Err(WalkError::Malformed);
        }
        let bytes = walked.transport;
        let (Some(&next), Some(&length_field)) = (bytes.first(), bytes.get(1)) else {
            return Err(cut_off(&walked));
        };
        let length = match walked.protocol {
            // Always eight bytes; its second is reserved.
            44 => 8,
            // The authentication header counts words of four bytes, less two.
            51 => (usize::from(length_field) + 2) * 4,
            // All others count units of eight bytes, less one.
            _ => (usize::from(length_field) + 1) * 8,
        };
        let Some(rest) = bytes.get(length..) else { return Err(cut_off(&walked)) };
        if walked.protocol == 44 {
            let field = be16(bytes, 2).ok_or(WalkError::Malformed)?;
            walked.fragment = Some(FragmentHeader {
                named: next,
                offset: usize::from(field & 0xfff8),
                more_follow: field & 1 != 0,
                id: be32(bytes, 4).ok_or(WalkError::Malformed)?,
            });
        }
        walked.protocol = next;
        walked.transport = rest;
    }
    Ok(walked)
}

fn cut_off(walked: &Walked<'_>) -> WalkError {
    match walked.fragment {
        Some(fragment) if fragment.more_follow => WalkError::CutOffInFirstFragment,
        _ => WalkError::Malformed,
    }
}

/// `N` bytes at `at`, if they are there.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}
