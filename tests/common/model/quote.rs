//! What an ICMP error is about: the packet that it quotes (P-8).

use super::{
    packet::{ICMP, ICMPV6, IPV6_HEADER, Ipv4, Ipv6, TCP, UDP, be16, walk_extensions},
    transport::{IsAnswer, query},
};
use std::net::IpAddr;

/// The flow that a quoted packet belongs to.
pub(super) struct Quote {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub detail: Detail,
}

/// What tells the flow from others between the same addresses.
pub(super) enum Detail {
    Ports {
        source: u16,
        destination: u16,
    },
    Query {
        request: u8,
        identifier: u16,
        is_answer: IsAnswer,
    },
    /// Addresses and protocol suffice (P-9).
    Protocol,
}

/// A quote holds at least this much of a transport header (RFC 792), or is of no use.
const TRANSPORT: usize = 8;

impl Quote {
    /// `None`: it cannot be read, is a later fragment, is too short, or is an ICMP message that makes no entry.
    ///
    /// The quoted length field is not looked at: a quote is cut off by nature, and only bytes that are there count.
    pub fn read(bytes: &[u8], is_ipv6: bool) -> Option<Self> {
        let (source, destination, protocol, transport) = if is_ipv6 { ipv6(bytes)? } else { ipv4(bytes)? };
        let detail = match protocol {
            TCP | UDP => {
                let header = transport.get(..TRANSPORT)?;
                Detail::Ports { source: be16(header, 0)?, destination: be16(header, 2)? }
            }
            ICMP if !is_ipv6 => quoted_query(transport, is_ipv6)?,
            ICMPV6 if is_ipv6 => quoted_query(transport, is_ipv6)?,
            _ => Detail::Protocol,
        };
        Some(Self { source, destination, protocol, detail })
    }
}

type Network<'a> = (IpAddr, IpAddr, u8, &'a [u8]);

fn ipv4(bytes: &[u8]) -> Option<Network<'_>> {
    let header = Ipv4::read(bytes)?;
    let transport = &bytes[header.length..];
    (header.offset == 0).then_some((
        header.source.into(),
        header.destination.into(),
        header.protocol,
        transport,
    ))
}

fn ipv6(bytes: &[u8]) -> Option<Network<'_>> {
    let header = Ipv6::read(bytes)?;
    let walked = walk_extensions(header.next_header, &bytes[IPV6_HEADER..]).ok()?;
    let is_later = walked.fragment.is_some_and(|fragment| fragment.offset > 0);
    (!is_later).then_some((
        header.source.into(),
        header.destination.into(),
        walked.protocol,
        walked.transport,
    ))
}

fn quoted_query(transport: &[u8], is_ipv6: bool) -> Option<Detail> {
    let header = transport.get(..TRANSPORT)?;
    let (request, is_answer) = query(header[0], is_ipv6)?;
    Some(Detail::Query { request, identifier: be16(header, 4)?, is_answer })
}
