//! Addresses and prefixes as keys of maps, and back.

use crate::compile::Net;
use sg_common::policy::{AddressKey4, AddressKey6, PrefixKey4, PrefixKey6};
use std::net::IpAddr;

/// The address as it stands in packets.
pub fn words(address: IpAddr) -> [u32; 4] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes = v6.octets(),
    }
    [0, 4, 8, 12].map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

fn net_words(net: &Net) -> [u32; 4] {
    words(IpAddr::V6(net.address.into()))
}

/// Key of a single IPv4 address.
pub fn address_key4(table: u32, net: &Net) -> AddressKey4 {
    AddressKey4 { table, address: net_words(net)[0] }
}

/// Key of a single IPv6 address.
pub fn address_key6(table: u32, net: &Net) -> AddressKey6 {
    AddressKey6 { table, address: net_words(net) }
}

/// Key of an IPv4 prefix.
pub fn prefix_key4(table: u32, net: &Net) -> PrefixKey4 {
    PrefixKey4 { bits: 32 + u32::from(net.length), at: address_key4(table, net) }
}

/// Key of an IPv6 prefix.
pub fn prefix_key6(table: u32, net: &Net) -> PrefixKey6 {
    PrefixKey6 { bits: 32 + u32::from(net.length), at: address_key6(table, net) }
}

/// The address whose words those are.
pub fn address4(word: u32) -> IpAddr {
    IpAddr::from(word.to_ne_bytes())
}

/// The address whose words those are.
pub fn address6(words: [u32; 4]) -> IpAddr {
    let mut bytes = [0; 16];
    bytes.as_chunks_mut::<4>().0.iter_mut().zip(words).for_each(|(bytes, word)| *bytes = word.to_ne_bytes());
    IpAddr::from(bytes)
}
