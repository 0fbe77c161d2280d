//! Prefix lists: named sets of prefixes with versions (M-51 to M-63).

use super::{PrefixListId, Tags};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

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
pub type Entries = BTreeMap<EntryKey, Span>;

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

impl PrefixList {
    /// The prefixes of a version, in order, each with its description.
    pub fn at(&self, version: u32) -> impl Iterator<Item = (IpNet, Option<&str>)> {
        let holds = move |key: &EntryKey, span: &Span| {
            key.since <= version && span.until.is_none_or(|until| until > version)
        };
        self.entries
            .iter()
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
        let of = |since| EntryKey { cidr: *cidr, since };
        let (key, span) = self.entries.range(of(0)..=of(self.version)).next_back()?;
        span.until.is_none().then_some((key.since, span.description.as_deref()))
    }

    /// How many entries the present version has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.current().count()
    }

    /// Whether the present version has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.current().next().is_none()
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
