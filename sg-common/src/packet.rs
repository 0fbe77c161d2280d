//! From bytes to meaning: link layer, IP with options and extension headers, transport.
//!
//! The parser is generic over a [`Cursor`], so that the same code runs over packet pointers in the kernel and over
//! `&[u8]` in tests. It refuses what it cannot understand, with the reason (P-12): there is no way through it that
//! yields a packet of which a part was guessed.

use crate::{
    Direction,
    limits::MAX_VLAN_TAGS,
    reason::Drop,
    vlan::Vlans,
    wire::{self, Extension, Icmp, Ipv4, Ipv6, Tcp, Udp, ethertype, protocol, tcp_flag},
};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Bounds-checked reading at an offset from the start of the frame.
pub trait Cursor: Copy {
    /// The header at `offset`, or `None` where the frame ends before it does. `offset` stays below 32 KiB.
    fn read<T: FromBytes + Immutable + KnownLayout + Copy>(self, offset: usize) -> Option<T>;

    /// Bytes of the frame on the wire, whether or not they can be read here.
    fn wire_len(self) -> usize;

    /// `offset`, unchanged. The kernel's cursor hides here from the verifier how it came about, so that the paths
    /// through options and extension headers merge into one state instead of multiplying.
    #[inline(always)]
    #[must_use]
    fn settle(self, offset: usize) -> usize {
        offset
    }
}

impl Cursor for &[u8] {
    fn read<T: FromBytes + Immutable + KnownLayout + Copy>(self, offset: usize) -> Option<T> {
        T::read_from_prefix(self.get(offset..)?).ok().map(|(header, _)| header)
    }

    fn wire_len(self) -> usize {
        self.len()
    }
}

/// Where the network header begins, and which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Host order; below [`ethertype::FIRST`] a length.
    pub ethertype: u16,
    /// Offset of the network header.
    pub offset: usize,
    /// What flow keys hold of its tags; [`Vlans::NONE`] where nobody asked for them.
    pub vlans: Vlans,
}

/// Looks through the Ethernet header and up to two VLAN tags, `tags` of which are in skb metadata (P-13). `vlans` are
/// those of the tags in metadata, which stand outside the ones in the frame; without it no identifier is read.
///
/// # Errors
/// `Malformed` for a truncated header or one tag too many.
#[inline(always)]
pub fn link<C: Cursor>(cursor: C, tags: u32, vlans: Option<Vlans>) -> Result<Link, Drop> {
    let at = |offset| cursor.read::<u16>(offset).map(u16::from_be).ok_or(Drop::Malformed);
    let is_tag = |kind| kind == ethertype::VLAN || kind == ethertype::QINQ;
    let (mut kind, mut offset, mut tags, mut vlans) = (at(12)?, wire::ETHERNET_LEN, tags, vlans);
    if is_tag(kind) {
        (kind, offset, tags) = (at(16)?, offset + 4, tags + 1);
        if let Some(vlans) = &mut vlans {
            *vlans = vlans.tagged(at(14)?);
        }
        if is_tag(kind) {
            (kind, offset, tags) = (at(20)?, offset + 4, tags + 1);
            if let Some(vlans) = &mut vlans {
                *vlans = vlans.tagged(at(18)?);
            }
        }
    }
    if tags > MAX_VLAN_TAGS || is_tag(kind) {
        return Err(Drop::Malformed);
    }
    Ok(Link { ethertype: kind, offset: cursor.settle(offset), vlans: vlans.unwrap_or(Vlans::NONE) })
}

/// What a packet is of its datagram (P-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it. An IPv6 atomic fragment too.
    Whole,
    /// The first fragment: it has the ports.
    First,
    /// A later fragment: no ports.
    Later,
}

/// The network header and what it says of the rest.
#[derive(Clone, Copy, Debug)]
pub struct Network<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Protocol behind the last extension header that was looked through.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Part of a datagram?
    pub fragment: Fragment,
    /// Identification, as in the packet; 0 of whole datagrams.
    pub fragment_id: u32,
    /// Protocol that all fragments of the datagram name alike.
    pub fragment_protocol: u8,
    /// Where this fragment's data lie in the datagram, in bytes.
    pub fragment_offset: u32,
    /// Offset of the transport header, or of the fragment's data.
    pub transport: usize,
    /// Offset of the first byte behind the datagram.
    pub end: usize,
}

impl<A: Copy> Network<A> {
    /// The interface's end and the far one: destination and source inward, source and destination outward.
    #[inline(always)]
    #[must_use]
    pub fn ends(&self, direction: Direction) -> (A, A) {
        match direction {
            Direction::Ingress => (self.destination, self.source),
            Direction::Egress => (self.source, self.destination),
        }
    }
}

/// The transport header, as far as verdicts need it. Zero where the protocol has no such field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// TCP and UDP.
    pub source_port: u16,
    /// TCP and UDP.
    pub destination_port: u16,
    /// TCP, see [`tcp_flag`].
    pub flags: u8,
    /// TCP.
    pub sequence: u32,
    /// TCP.
    pub acknowledgement: u32,
    /// ICMP and ICMPv6.
    pub kind: u8,
    /// ICMP and ICMPv6.
    pub code: u8,
    /// ICMP and ICMPv6 queries.
    pub id: u16,
    /// Length of the header itself; 0 where unknown.
    pub length: u32,
}

impl Transport {
    /// The local port and the remote one, of TCP and UDP.
    #[inline(always)]
    #[must_use]
    pub fn ports(&self, direction: Direction) -> (u16, u16) {
        match direction {
            Direction::Ingress => (self.destination_port, self.source_port),
            Direction::Egress => (self.source_port, self.destination_port),
        }
    }
}

/// An address family: the form of its addresses and of its network header.
pub trait Family: Copy + PartialEq {
    /// Index of arrays with one element a family.
    const INDEX: usize;
    /// The family's own ICMP.
    const ICMP: u8;

    /// Reads the network header at `offset`. With `quoted` it is the one an ICMP error quotes, whose datagram is cut
    /// off, so that its length says nothing: it ends where the error does, at this offset. `gso` is true of super-packets, whose length field may be 0 (BIG TCP).
    ///
    /// # Errors
    /// `Malformed`, or a fragment reason.
    fn network<C: Cursor>(
        cursor: C,
        offset: usize,
        gso: bool,
        quoted: Option<usize>,
    ) -> Result<Network<Self>, Drop>;
}

/// Which of the later fragments may not exist: one whose data would overwrite the TCP header of the first (RFC 1858,
/// RFC 3128), or end beyond the largest datagram.
#[inline(always)]
fn check_later(protocol: u8, offset: u32, length: usize) -> Result<(), Drop> {
    if offset as usize + length > 0xffff {
        return Err(Drop::Malformed);
    }
    if protocol == protocol::TCP && offset < size_of::<Tcp>() as u32 {
        return Err(Drop::FragmentOverlap);
    }
    Ok(())
}

impl Family for u32 {
    const INDEX: usize = 0;
    const ICMP: u8 = protocol::ICMP;

    #[inline(always)]
    fn network<C: Cursor>(
        cursor: C,
        offset: usize,
        gso: bool,
        quoted: Option<usize>,
    ) -> Result<Network<Self>, Drop> {
        let header: Ipv4 = cursor.read(offset).ok_or(Drop::Malformed)?;
        let header_len = usize::from(header.version_ihl & 15) * 4;
        if header.version_ihl >> 4 != 4 || header_len < size_of::<Ipv4>() {
            return Err(Drop::Malformed);
        }
        let total = usize::from(u16::from_be(header.total_length));
        let end = match quoted {
            Some(end) => end,
            None if gso && total == 0 => cursor.wire_len(),
            None => offset + total,
        };
        let transport = cursor.settle(offset + header_len);
        if transport > end || end > cursor.wire_len() {
            return Err(Drop::Malformed);
        }
        let field = u16::from_be(header.fragment);
        let fragment_offset = u32::from(field & 0x1fff) << 3;
        let fragment = if fragment_offset != 0 {
            Fragment::Later
        } else if field & 0x2000 != 0 {
            Fragment::First
        } else {
            Fragment::Whole
        };
        if fragment == Fragment::Later && quoted.is_none() {
            check_later(header.protocol, fragment_offset, end - transport)?;
        }
        Ok(Network {
            source: header.source,
            destination: header.destination,
            protocol: header.protocol,
            hop_limit: header.ttl,
            fragment,
            fragment_id: u32::from(header.id),
            fragment_protocol: header.protocol,
            fragment_offset,
            transport,
            end,
        })
    }
}

/// Whether the number is one of IPv6's extension headers that P-12 lets stand before the transport header; one more is
/// malformed.
#[must_use]
pub fn is_extension(next: u8) -> bool {
    matches!(
        next,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AH
            | protocol::DESTINATION
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6
    )
}

impl Family for [u32; 4] {
    const INDEX: usize = 1;
    const ICMP: u8 = protocol::ICMPV6;

    #[inline(always)]
    fn network<C: Cursor>(
        cursor: C,
        offset: usize,
        gso: bool,
        quoted: Option<usize>,
    ) -> Result<Network<Self>, Drop> {
        let header: Ipv6 = cursor.read(offset).ok_or(Drop::Malformed)?;
        if u32::from_be(header.version_class_label) >> 28 != 6 {
            return Err(Drop::Malformed);
        }
        let payload = usize::from(u16::from_be(header.payload_length));
        let first = offset + size_of::<Ipv6>();
        let end = match quoted {
            Some(end) => end,
            None if gso && payload == 0 => cursor.wire_len(),
            None => first + payload,
        };
        if first > end || end > cursor.wire_len() {
            return Err(Drop::Malformed);
        }
        let mut network = Network {
            source: header.source,
            destination: header.destination,
            protocol: header.next_header,
            hop_limit: header.hop_limit,
            fragment: Fragment::Whole,
            fragment_id: 0,
            fragment_protocol: header.next_header,
            fragment_offset: 0,
            transport: first,
            end,
        };
        // Written out eight times instead of looped: where LLVM rotates a loop, its back edge may be a plain
        // fall-through, which the control-flow check of kernel 6.1 refuses.
        macro_rules! look_through {
            ($done:lifetime) => {
                if !is_extension(network.protocol) {
                    break $done;
                }
                let cut_off = match network.fragment {
                    Fragment::First => Drop::FragmentTiny,
                    _ => Drop::Malformed,
                };
                let extension: Extension = cursor.read(network.transport).ok_or(cut_off)?;
                let length = match network.protocol {
                    protocol::FRAGMENT => 8,
                    // AH counts 32-bit words less two, the others 64-bit words less one (RFC 4302, RFC 8200).
                    protocol::AH => (usize::from(extension.length) + 2) * 4,
                    _ => (usize::from(extension.length) + 1) * 8,
                };
                let next = cursor.settle(network.transport + length);
                if next > end {
                    return Err(cut_off);
                }
                if network.protocol == protocol::FRAGMENT {
                    let field = u16::from_be(extension.fragment);
                    if network.fragment != Fragment::Whole {
                        return Err(Drop::Malformed);
                    }
                    if field & 0xfff9 != 0 {
                        network.fragment_offset = u32::from(field & 0xfff8);
                        network.fragment =
                            if network.fragment_offset != 0 { Fragment::Later } else { Fragment::First };
                        network.fragment_id = extension.id;
                        network.fragment_protocol = extension.next_header;
                    }
                }
                network.protocol = extension.next_header;
                network.transport = next;
                if network.fragment == Fragment::Later {
                    break $done;
                }
            };
        }
        'done: {
            look_through!('done);
            look_through!('done);
            look_through!('done);
            look_through!('done);
            look_through!('done);
            look_through!('done);
            look_through!('done);
            look_through!('done);
            if is_extension(network.protocol) {
                return Err(Drop::Malformed);
            }
        }
        if network.fragment == Fragment::Later && quoted.is_none() {
            check_later(network.protocol, network.fragment_offset, end - network.transport)?;
        }
        Ok(network)
    }
}

/// Reads the transport header behind `network`. Nothing is read from later fragments.
///
/// # Errors
/// `Malformed`, or `FragmentTiny` where a first fragment ends before the fields that verdicts need.
#[inline(always)]
pub fn transport<A: Family, C: Cursor>(cursor: C, network: &Network<A>) -> Result<Transport, Drop> {
    let mut transport = Transport::default();
    if network.fragment == Fragment::Later {
        return Ok(transport);
    }
    let (start, end) = (cursor.settle(network.transport), network.end);
    let cut_off = if network.fragment == Fragment::First { Drop::FragmentTiny } else { Drop::Malformed };
    match network.protocol {
        protocol::TCP => {
            if start + size_of::<Tcp>() > end {
                return Err(cut_off);
            }
            let header: Tcp = cursor.read(start).ok_or(cut_off)?;
            let length = u32::from(header.data_offset >> 4) * 4;
            let fits = network.fragment == Fragment::First || start + length as usize <= end;
            let flags = header.flags & tcp_flag::ALL;
            let impossible =
                flags == 0 || (flags & tcp_flag::SYN != 0 && flags & (tcp_flag::FIN | tcp_flag::RST) != 0);
            if length < size_of::<Tcp>() as u32 || !fits || impossible {
                return Err(Drop::Malformed);
            }
            transport.source_port = u16::from_be(header.source);
            transport.destination_port = u16::from_be(header.destination);
            transport.sequence = u32::from_be(header.sequence);
            transport.acknowledgement = u32::from_be(header.acknowledgement);
            transport.flags = flags;
            transport.length = length;
        }
        protocol::UDP => {
            if start + size_of::<Udp>() > end {
                return Err(cut_off);
            }
            let header: Udp = cursor.read(start).ok_or(cut_off)?;
            let length = usize::from(u16::from_be(header.length));
            let fits = network.fragment == Fragment::First || start + length <= end;
            if length < size_of::<Udp>() || !fits {
                return Err(Drop::Malformed);
            }
            transport.source_port = u16::from_be(header.source);
            transport.destination_port = u16::from_be(header.destination);
            transport.length = size_of::<Udp>() as u32;
        }
        number if number == A::ICMP => {
            if start + size_of::<Icmp>() > end {
                return Err(cut_off);
            }
            let header: Icmp = cursor.read(start).ok_or(cut_off)?;
            transport.kind = header.kind;
            transport.code = header.code;
            transport.id = u16::from_be(header.id);
            transport.length = size_of::<Icmp>() as u32;
        }
        _ => {}
    }
    Ok(transport)
}

/// The flow that an ICMP error quotes: enough of the transport header to name it, in eight bytes (RFC 792).
///
/// `None` where the quote holds no ports or identifier (P-8): cut off, or a later fragment.
#[inline(always)]
pub fn quoted_transport<A: Family, C: Cursor>(cursor: C, network: &Network<A>) -> Option<Transport> {
    let mut transport = Transport::default();
    if network.fragment == Fragment::Later {
        return None;
    }
    let start = cursor.settle(network.transport);
    match network.protocol {
        protocol::TCP | protocol::UDP => {
            if start + size_of::<Udp>() > network.end {
                return None;
            }
            let header: Udp = cursor.read(start)?;
            transport.source_port = u16::from_be(header.source);
            transport.destination_port = u16::from_be(header.destination);
        }
        number if number == A::ICMP => {
            if start + size_of::<Icmp>() > network.end {
                return None;
            }
            let header: Icmp = cursor.read(start)?;
            transport.kind = header.kind;
            transport.code = header.code;
            transport.id = u16::from_be(header.id);
        }
        _ => {}
    }
    Some(transport)
}
