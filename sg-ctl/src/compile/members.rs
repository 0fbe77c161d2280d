//! Whose addresses are meant by groups and prefix lists.

use super::{Family, Net};
use crate::model::{AddressFamily, Entries, EntryKey, EntryTerm, GroupId, PrefixList, Span, State};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// All groups that an address is a member of, sorted. Addresses with the same groups are one to the datapath.
pub type Identity = Vec<GroupId>;

/// The members of all groups: the addresses of interfaces, each with the groups of every interface that has it (P-17).
#[must_use]
pub fn members(state: &State) -> BTreeMap<IpAddr, Identity> {
    let mut members = BTreeMap::<IpAddr, Identity>::new();
    for eni in state.interfaces.values() {
        for address in &eni.addresses {
            members.entry(*address).or_default().extend(&eni.groups);
        }
    }
    members.values_mut().for_each(normalise);
    members
}

/// The same of one address; nothing where it is no member.
#[must_use]
pub fn identity(state: &State, address: IpAddr) -> Identity {
    let owners = state.interfaces.with_address(address);
    let mut identity: Identity = owners.flat_map(|eni| eni.groups.iter().copied()).collect();
    normalise(&mut identity);
    identity
}

fn normalise(identity: &mut Identity) {
    identity.sort_unstable();
    identity.dedup();
}

/// The newest version of a prefix list (M-58).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Which family its entries are of.
    pub family: Family,
    /// The newest version.
    version: u32,
    entries: Arc<Entries>,
}

impl From<&PrefixList> for List {
    fn from(list: &PrefixList) -> Self {
        let family = match list.family {
            AddressFamily::Ipv4 => Family::V4,
            AddressFamily::Ipv6 => Family::V6,
        };
        Self { family, version: list.version, entries: Arc::clone(&list.entries) }
    }
}

impl List {
    /// The prefixes that are there, sorted.
    pub fn nets(&self) -> impl Iterator<Item = Net> {
        self.current().map(|cidr| Net::new(cidr.addr(), cidr.prefix_len()))
    }

    fn current(&self) -> impl Iterator<Item = IpNet> {
        let is_there = |(key, span): &(&EntryKey, &Span)| self.is_there(key, span);
        self.entries.iter().filter(is_there).map(|(key, _)| key.cidr)
    }

    fn is_there(&self, key: &EntryKey, span: &Span) -> bool {
        key.since <= self.version && span.until.is_none_or(|until| until > self.version)
    }

    /// Whether there are single addresses, and whether there are shorter prefixes. Reads all of them.
    #[must_use]
    pub fn kinds(&self) -> [bool; 2] {
        let is_address = |cidr: IpNet| cidr.prefix_len() == cidr.max_prefix_len();
        [self.current().any(is_address), self.current().any(|cidr| !is_address(cidr))]
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.count_having(&EntryTerm::Present)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nets that hold addresses between two, both left-aligned ([`Net::address`]).
    #[must_use]
    pub fn between(&self, first: u128, last: u128) -> Vec<Net> {
        let address = |address| Net { address, length: self.family.bits() }.cidr(self.family).addr();
        let (first, last) = (address(first), address(last));
        let around = self.entries.around(first.into());
        let found = around.into_iter().chain(self.entries.from_to(first, last));
        let there = found.filter(|(key, span)| self.is_there(key, span));
        there.map(|(key, _)| Net::new(key.cidr.addr(), key.cidr.prefix_len())).collect()
    }

    /// Whether this prefix is there.
    #[must_use]
    pub fn holds(&self, net: &Net) -> bool {
        let cidr = net.cidr(self.family);
        let key = |since| EntryKey { cidr, since };
        self.entries.range(key(0)..=key(u32::MAX)).into_iter().any(|(key, span)| self.is_there(&key, span))
    }

    /// Whether some prefix covers the address.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        Family::of(&address) == self.family
            && (0..=self.family.bits()).any(|length| self.holds(&Net::new(address, length)))
    }

    /// Whether a shorter prefix covers this one.
    #[must_use]
    pub fn covers_around(&self, net: &Net) -> bool {
        let address = net.cidr(self.family).addr();
        (0..net.length).any(|length| self.holds(&Net::new(address, length)))
    }

    /// The prefixes that are in one of two states of a list only.
    #[must_use]
    pub fn differing(&self, other: &Self) -> BTreeSet<Net> {
        let changes = other.entries.changes_from(&self.entries);
        let nets = changes.into_iter().map(|(key, ..)| Net::new(key.cidr.addr(), key.cidr.prefix_len()));
        nets.filter(|net| self.holds(net) != other.holds(net)).collect()
    }
}
