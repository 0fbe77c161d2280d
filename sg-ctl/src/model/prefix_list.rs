//! Prefix lists: named sets of prefixes with versions (M-51 to M-63).

use super::{Object, Objects, PrefixListId, Tags};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, sync::Arc};

/// A customer-managed prefix list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixList {
    /// `pl-…`
    pub id: PrefixListId,
    /// Not unique in EC2 either.
    pub name: String,
    /// Which family its entries are of; fixed (M-51).
    pub family: AddressFamily,
    /// How many entries it may have: what a rule that names it weighs (M-46).
    pub max_entries: u32,
    /// The present version; counts from 1 (M-53).
    pub version: u32,
    /// The oldest version that can still be shown and restored (M-39).
    pub oldest: u32,
    /// What was done to it last.
    #[serde(default)]
    pub state: PrefixListState,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
    /// Entries of all versions. The store keeps them in rows of their own.
    #[serde(skip)]
    pub entries: Arc<Entries>,
}

/// What was done to a list last (M-63). A command returns when it is done, so nothing is ever in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrefixListState {
    /// It was made.
    #[default]
    CreateComplete,
    /// Its entries, its size or its name changed.
    ModifyComplete,
    /// An old version's entries came back.
    RestoreComplete,
}

/// IPv4 or IPv6, as EC2 writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AddressFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl AddressFamily {
    /// EC2's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }

    /// Whether a prefix is of this family.
    #[must_use]
    pub fn holds(self, cidr: &IpNet) -> bool {
        match self {
            Self::Ipv4 => matches!(cidr, IpNet::V4(_)),
            Self::Ipv6 => matches!(cidr, IpNet::V6(_)),
        }
    }
}

/// What versions hold, as differences: each entry says since which version it is there and from which on it is not. So a
/// change costs what it changes, however long the list.
pub type Entries = Objects<EntryKey, Span>;

/// A prefix, and the version that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey {
    /// In canonical form.
    pub cidr: IpNet,
    /// The first version that holds it.
    pub since: u32,
}

/// The rest of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first version that does not hold it any more; `None` while it is there.
    pub until: Option<u32>,
    /// Free text.
    pub description: Option<String>,
}

/// What prefix lists are found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrefixListTerm {
    /// Their name, in lower case.
    Named(String),
}

impl fmt::Display for PrefixListTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Named(name) = self;
        write!(f, "name={name}")
    }
}

impl Object for PrefixList {
    type Term = PrefixListTerm;

    fn terms(&self) -> Vec<PrefixListTerm> {
        vec![PrefixListTerm::Named(self.name.to_ascii_lowercase())]
    }
}

impl Objects<PrefixListId, PrefixList> {
    /// The lists of a name, compared without case: there may be several.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<PrefixListId> {
        self.keys_having(&PrefixListTerm::Named(name.to_ascii_lowercase()))
    }
}

/// What entries are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryTerm {
    /// The present version holds them.
    Present,
    /// The first version that does not hold them any more.
    Until(u32),
}

impl fmt::Display for EntryTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("present"),
            Self::Until(version) => write!(f, "until={version}"),
        }
    }
}

impl Object for Span {
    type Term = EntryTerm;

    fn terms(&self) -> Vec<EntryTerm> {
        vec![self.until.map_or(EntryTerm::Present, EntryTerm::Until)]
    }
}

impl Entries {
    /// The entries of all versions whose prefixes lie within a prefix, itself included, in order.
    #[must_use]
    pub fn within(&self, cidr: IpNet) -> Vec<(EntryKey, &Span)> {
        // Shorter prefixes with its first address come before it, and nothing within it after its last address.
        self.range(EntryKey::first(cidr)..=EntryKey::last(cidr.broadcast().into()))
    }

    /// The entries of all versions whose prefixes begin with one of the addresses from the first to the last, in order.
    #[must_use]
    pub fn from_to(&self, first: IpAddr, last: IpAddr) -> Vec<(EntryKey, &Span)> {
        let shortest = IpNet::new(first, 0).unwrap_or(first.into());
        self.range(EntryKey::first(shortest)..=EntryKey::last(last.into()))
    }

    /// The entries of all versions whose prefixes a prefix lies within, itself included: from the shortest.
    #[must_use]
    pub fn around(&self, cidr: IpNet) -> Vec<(EntryKey, &Span)> {
        let wider = |length| IpNet::new(cidr.addr(), length).ok().map(|net| net.trunc());
        let prefixes = (0..=cidr.prefix_len()).filter_map(wider);
        prefixes.flat_map(|net| self.range(EntryKey::first(net)..=EntryKey::last(net))).collect()
    }
}

impl EntryKey {
    /// Where a prefix's entries begin.
    fn first(cidr: IpNet) -> Self {
        Self { cidr, since: 0 }
    }

    /// Where they end.
    fn last(cidr: IpNet) -> Self {
        Self { cidr, since: u32::MAX }
    }
}

impl PrefixList {
    /// The prefixes of a version, in order, each with its description.
    pub fn at(&self, version: u32) -> impl Iterator<Item = (IpNet, Option<&str>)> {
        let holds = move |key: &EntryKey, span: &Span| {
            key.since <= version && span.until.is_none_or(|until| until > version)
        };
        let entries = self.entries.iter();
        entries
            .filter(move |(key, span)| holds(key, span))
            .map(|(key, span)| (key.cidr, span.description.as_deref()))
    }

    /// The prefixes of the present version.
    pub fn current(&self) -> impl Iterator<Item = (IpNet, Option<&str>)> {
        self.at(self.version)
    }

    /// What the present version says of a prefix: the version that brought it, and its description.
    #[must_use]
    pub fn get(&self, cidr: &IpNet) -> Option<(u32, Option<&str>)> {
        let versions = EntryKey::first(*cidr)..=EntryKey { cidr: *cidr, since: self.version };
        let (key, span) = self.entries.range(versions).pop()?;
        span.until.is_none().then_some((key.since, span.description.as_deref()))
    }

    /// How many entries the present version has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.count_having(&EntryTerm::Present)
    }

    /// Whether the present version has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m53_a_version_holds_what_was_there_then() {
        let cidr = |text: &str| text.parse::<IpNet>().unwrap();
        let entry =
            |text, since, until| (EntryKey { cidr: cidr(text), since }, Span { until, description: None });
        let entries = Arc::new(Entries::from([
            entry("10.0.0.0/8", 1, Some(2)),
            entry("10.0.0.0/8", 3, None),
            entry("192.0.2.0/24", 2, None),
        ]));
        let list = PrefixList {
            id: PrefixListId::random(),
            name: "offices".to_owned(),
            family: AddressFamily::Ipv4,
            max_entries: 5,
            version: 3,
            oldest: 1,
            state: PrefixListState::default(),
            tags: Tags::new(),
            entries,
        };
        let at = |version| list.at(version).map(|(cidr, _)| cidr.to_string()).collect::<Vec<_>>();
        assert_eq!(at(1), ["10.0.0.0/8"]);
        assert_eq!(at(2), ["192.0.2.0/24"]);
        assert_eq!(at(3), ["10.0.0.0/8", "192.0.2.0/24"]);
        assert_eq!(list.len(), 2);
    }
}
