//! Quotas: EC2's limits, adjustable (M-33 to M-46).

use crate::error::{Refusal, Result};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// What is limited. EC2's own numbers are the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quota {
    /// Rules of one group, in each direction and family apart (M-34).
    RulesPerGroup,
    /// Groups of one interface (M-35).
    GroupsPerInterface,
    /// Rules per group times groups per interface (M-36).
    RulesPerInterface,
    /// Groups altogether (M-33).
    Groups,
    /// VPCs (M-37).
    Vpcs,
    /// Prefix lists (M-38).
    PrefixLists,
    /// What a prefix list may have as its maximum of entries (M-40).
    EntriesPerPrefixList,
    /// Versions of a prefix list that are kept; the oldest is dropped (M-39).
    VersionsPerPrefixList,
    /// Rules that name one prefix list (M-41).
    ReferencesPerPrefixList,
    /// Active peerings of one VPC (M-43).
    PeeringsPerVpc,
    /// Peering requests of one VPC that nobody has accepted yet (M-43).
    PeeringRequestsPerVpc,
}

impl Quota {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::RulesPerGroup,
        Self::GroupsPerInterface,
        Self::RulesPerInterface,
        Self::Groups,
        Self::Vpcs,
        Self::PrefixLists,
        Self::EntriesPerPrefixList,
        Self::VersionsPerPrefixList,
        Self::ReferencesPerPrefixList,
        Self::PeeringsPerVpc,
        Self::PeeringRequestsPerVpc,
    ];

    /// As it is typed and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RulesPerGroup => "rules-per-group",
            Self::GroupsPerInterface => "groups-per-interface",
            Self::RulesPerInterface => "rules-per-interface",
            Self::Groups => "groups",
            Self::Vpcs => "vpcs",
            Self::PrefixLists => "prefix-lists",
            Self::EntriesPerPrefixList => "entries-per-prefix-list",
            Self::VersionsPerPrefixList => "versions-per-prefix-list",
            Self::ReferencesPerPrefixList => "references-per-prefix-list",
            Self::PeeringsPerVpc => "peerings-per-vpc",
            Self::PeeringRequestsPerVpc => "peering-requests-per-vpc",
        }
    }

    /// EC2's own.
    #[must_use]
    pub fn default_value(self) -> u32 {
        match self {
            Self::RulesPerGroup => 60,
            Self::GroupsPerInterface | Self::Vpcs => 5,
            Self::RulesPerInterface | Self::EntriesPerPrefixList | Self::VersionsPerPrefixList => 1_000,
            Self::Groups => 2_500,
            Self::PrefixLists => 100,
            Self::ReferencesPerPrefixList => 5_000,
            Self::PeeringsPerVpc => 50,
            Self::PeeringRequestsPerVpc => 25,
        }
    }

    /// How far EC2 raises it, where it says so.
    #[must_use]
    pub fn most(self) -> Option<u32> {
        match self {
            Self::GroupsPerInterface => Some(16),
            Self::PeeringsPerVpc => Some(125),
            _ => None,
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Quota {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|quota| quota.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Refusal::invalid(format!("There is no quota '{text}'; there are: {names}"))
        })
    }
}

/// Quotas that were set to something else than EC2's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quotas(pub BTreeMap<Quota, u32>);

impl Quotas {
    /// What is in force.
    #[must_use]
    pub fn get(&self, quota: Quota) -> u32 {
        self.0.get(&quota).copied().unwrap_or_else(|| quota.default_value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m33_to_m43_defaults_are_ec2s() {
        let quotas = Quotas::default();
        let values: Vec<_> = Quota::ALL.iter().map(|quota| quotas.get(*quota)).collect();
        assert_eq!(values, [60, 5, 1_000, 2_500, 5, 100, 1_000, 1_000, 5_000, 50, 25]);
        for quota in Quota::ALL {
            assert_eq!(quota.name().parse::<Quota>().unwrap(), quota);
            assert_eq!(serde_json::to_string(&quota).unwrap(), format!("\"{quota}\""));
        }
        assert!("rules".parse::<Quota>().unwrap_err().message.contains("rules-per-group"));
    }
}
