//! VPCs and the peerings between them.

use super::{NoTerm, Object, PeeringId, Tags, VpcId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A virtual private cloud: the space in which group names are unique and groups may name each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// `vpc-…`
    pub id: VpcId,
    /// True of the one VPC that is used where none is named.
    pub is_default: bool,
    /// The blocks given when it was made, in that order. None given is none claimed: it holds both families and overlaps
    /// with nothing.
    #[serde(default)]
    pub cidrs: Vec<IpNet>,
    /// Tags. Its name is the tag `Name`, as in EC2.
    #[serde(default)]
    pub tags: Tags,
}

impl Vpc {
    /// The name that it was given.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.tags.get("Name").map(String::as_str)
    }

    /// Whether its groups are born with outbound to `::/0` (M-26): it has an IPv6 block, or none was said at all (P-18).
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.cidrs.is_empty() || self.cidrs.iter().any(|cidr| matches!(cidr, IpNet::V6(_)))
    }
}

/// A peering between two VPCs: while it is active, rules of either may name groups of the other (M-66).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peering {
    /// `pcx-…`
    pub id: PeeringId,
    /// The VPC that asked.
    pub requester: VpcId,
    /// The VPC that was asked.
    pub accepter: VpcId,
    /// Where it stands.
    pub status: PeeringStatus,
    /// When it came to stand there, in seconds since the Unix epoch.
    pub since: u64,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl Peering {
    /// Whether it is between these two, whichever of them asked.
    #[must_use]
    pub fn joins(&self, one: VpcId, other: VpcId) -> bool {
        (self.requester, self.accepter) == (one, other) || (self.requester, self.accepter) == (other, one)
    }
}

/// EC2's status codes of a peering (M-64), but for those that last no time here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeeringStatus {
    /// Asked for, not accepted yet.
    PendingAcceptance,
    /// Rules may name groups across it.
    Active,
    /// Ended by either side.
    Deleted,
    /// Refused by the VPC that was asked.
    Rejected,
    /// Could not be: the blocks of the two overlap.
    Failed,
    /// Not accepted in time.
    Expired,
}

impl PeeringStatus {
    /// EC2's word.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::PendingAcceptance => "pending-acceptance",
            Self::Active => "active",
            Self::Deleted => "deleted",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

impl Object for Vpc {
    type Term = NoTerm;

    fn terms(&self) -> Vec<NoTerm> {
        Vec::new()
    }
}

impl Object for Peering {
    type Term = NoTerm;

    fn terms(&self) -> Vec<NoTerm> {
        Vec::new()
    }
}
