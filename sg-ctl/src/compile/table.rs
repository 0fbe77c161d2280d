//! An address table: which permission an address has, by longest match.

use super::{Family, Permission};
use ipnet::IpNet;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A prefix: the address in the upper bits of a `u128` for both families, so that order is the order of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net {
    /// Left-aligned; bits behind the prefix are zero.
    pub address: u128,
    /// Length of the prefix.
    pub length: u8,
}

impl Net {
    /// A prefix, whose host bits are cleared.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Self {
        let address = match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
            IpAddr::V6(v6) => u128::from(v6),
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Self { address: address & mask, length }
    }

    /// The single address as a prefix.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self::new(address, Family::of(&address).bits())
    }

    /// As a prefix of its family.
    #[must_use]
    pub fn cidr(&self, family: Family) -> IpNet {
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits((self.address >> 96) as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(self.address)),
        };
        IpNet::new_assert(address, self.length)
    }

    /// Whether every address of `other` is one of `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
        self.length <= other.length && other.address & mask == self.address
    }
}

/// What the addresses of one family may do in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Table {
    /// Addresses that nothing below covers: what `0.0.0.0/0` or `::/0` permits.
    pub world: Permission,
    /// Single addresses, sorted; each with all that it may do.
    pub addresses: Vec<(Net, Permission)>,
    /// Prefixes longer than /0 and shorter than an address, sorted; each with all that its addresses may do.
    pub prefixes: Vec<(Net, Permission)>,
}

impl Table {
    /// Builds the table from what rules say of prefixes. Every entry receives what the prefixes around it permit, and
    /// one that adds nothing to the prefix around it is left out.
    #[must_use]
    pub fn new(family: Family, said: &BTreeMap<Net, Permission>) -> Self {
        let mut table = Self::default();
        // The prefixes around the one at hand, the widest first.
        let mut around: Vec<(Net, Permission)> = Vec::new();
        for (net, permission) in said {
            while around.last().is_some_and(|(outer, _)| !outer.covers(net)) {
                around.pop();
            }
            let outer = around.last().map(|(_, permission)| permission);
            let mut whole = permission.clone();
            if let Some(outer) = outer {
                whole.add(outer);
            }
            if net.length == 0 {
                table.world = whole.clone();
            } else if outer != Some(&whole) && !(outer.is_none() && whole.is_nothing()) {
                let entries =
                    if net.length == family.bits() { &mut table.addresses } else { &mut table.prefixes };
                entries.push((*net, whole.clone()));
            }
            around.push((*net, whole));
        }
        table
    }

    /// What this address may do: the same answer as the datapath's lookups.
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> &Permission {
        let host = Net::host(address);
        if let Ok(found) = self.addresses.binary_search_by_key(&host, |(net, _)| *net) {
            return &self.addresses[found].1;
        }
        let longest =
            self.prefixes.iter().filter(|(net, _)| net.covers(&host)).max_by_key(|(net, _)| net.length);
        longest.map_or(&self.world, |(_, permission)| permission)
    }
}
