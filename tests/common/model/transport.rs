//! Transport headers: TCP, UDP, and ICMP of both families (P-12).

use super::{
    DropClass,
    packet::{Content, ICMP, ICMPV6, Part, TCP, UDP, be16, be32},
};

/// TCP flags.
pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;
/// Those that decide: the low six bits.
const FLAGS: u8 = 0x3f;

const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ICMP_HEADER: usize = 8;

/// A TCP header, as far as anything is decided by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub source: u16,
    pub destination: u16,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
}

impl Segment {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// P-4: a SYN without ACK asks for a new connection.
    pub fn is_syn(&self) -> bool {
        self.has(SYN) && !self.has(ACK)
    }
}

/// An ICMP message.
#[derive(Clone, Copy)]
pub(super) struct Icmp<'a> {
    pub kind: u8,
    pub code: u8,
    /// Of queries and their answers; of other messages it means something else.
    pub identifier: u16,
    /// What follows the eight bytes of header: of an error, the packet that it is about.
    pub body: &'a [u8],
}

/// Reads the transport header of a whole datagram or of its first fragment.
pub(super) fn read(protocol: u8, bytes: &[u8], part: Part, is_ipv6: bool) -> Result<Content<'_>, DropClass> {
    let is_first = part == Part::First;
    let too_short = if is_first { DropClass::FragmentTiny } else { DropClass::Malformed };
    match protocol {
        TCP => tcp(bytes, is_first).ok_or(too_short)?.map(Content::Tcp),
        UDP => udp(bytes, is_first).ok_or(too_short)?,
        ICMP if !is_ipv6 => icmp(bytes).map(Content::Icmp).ok_or(too_short),
        ICMPV6 if is_ipv6 => icmp(bytes).map(Content::Icmp).ok_or(too_short),
        _ => Ok(Content::Other),
    }
}

/// `None`: too short for the header.
fn tcp(bytes: &[u8], is_first: bool) -> Option<Result<Segment, DropClass>> {
    if bytes.len() < TCP_HEADER {
        return None;
    }
    let header_length = usize::from(bytes[12] >> 4) * 4;
    let segment = Segment {
        source: be16(bytes, 0)?,
        destination: be16(bytes, 2)?,
        sequence: be32(bytes, 4)?,
        acknowledgement: be32(bytes, 8)?,
        flags: bytes[13] & FLAGS,
    };
    // A first fragment may end within the options.
    let bad_length = header_length < TCP_HEADER || (!is_first && header_length > bytes.len());
    let impossible = segment.has(SYN) && (segment.has(FIN) || segment.has(RST));
    Some(match bad_length || impossible || segment.flags == 0 {
        true => Err(DropClass::Malformed),
        false => Ok(segment),
    })
}

/// `None`: too short for the header.
fn udp(bytes: &[u8], is_first: bool) -> Option<Result<Content<'_>, DropClass>> {
    if bytes.len() < UDP_HEADER {
        return None;
    }
    let length = usize::from(be16(bytes, 4)?);
    // The length is that of the whole datagram, of which a first fragment holds a part.
    if length < UDP_HEADER || (!is_first && length > bytes.len()) {
        return Some(Err(DropClass::Malformed));
    }
    Some(Ok(Content::Udp { source: be16(bytes, 0)?, destination: be16(bytes, 2)? }))
}

/// `None`: too short for the header.
fn icmp(bytes: &[u8]) -> Option<Icmp<'_>> {
    let body = bytes.get(ICMP_HEADER..)?;
    Some(Icmp { kind: bytes[0], code: bytes[1], identifier: be16(bytes, 4)?, body })
}

/// The request type of a query that `kind` is, or answers; and whether it is the answer (P-7).
pub(super) fn query(kind: u8, is_ipv6: bool) -> Option<(u8, IsAnswer)> {
    match (is_ipv6, kind) {
        (false, 8 | 13 | 15 | 17) | (true, 128) => Some((kind, IsAnswer(false))),
        (false, 0) => Some((8, IsAnswer(true))),
        (false, 14 | 16 | 18) | (true, 129) => Some((kind - 1, IsAnswer(true))),
        _ => None,
    }
}

/// Whether a query message is the answer and not the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IsAnswer(pub bool);

/// P-8: the types that report on another packet. Redirects are none.
pub(super) fn is_error(kind: u8, is_ipv6: bool) -> bool {
    if is_ipv6 { matches!(kind, 1..=4) } else { matches!(kind, 3 | 11 | 12) }
}
