//! What EC2 knows: VPCs, security groups, rules and network interfaces.
//!
//! Plain values without behaviour beyond their own invariants. The store keeps them, [`crate::ops`] changes them, and
//! [`crate::compile`] turns them into tables for the kernel. Names and shapes follow the EC2 API model (2016-11-15).

mod id;
mod interface;
mod prefix_list;
mod quota;
mod rule;
mod vpc;

pub use id::{
    EniId, EniKind, GroupId, Id, IdKind, PeeringId, PeeringKind, PrefixListId, PrefixListKind, RuleId,
    RuleKind, VpcId, VpcKind,
};
pub use interface::{Attachment, Interface, Lost, Mode, Options, Side, TimeoutSettings, Timeouts};
pub use prefix_list::{AddressFamily, Entries, EntryKey, PrefixList, PrefixListState, Span};
pub use quota::{Quota, Quotas};
pub use rule::{Direction, IcmpMatch, Peer, PortRange, Rule, Traffic};
pub use vpc::{Peering, PeeringStatus, Vpc};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The one account there is, whose everything is.
pub const OWNER: &str = "000000000000";

/// Tags by key, as EC2's `TagSet`.
pub type Tags = BTreeMap<String, String>;

/// Everything that is desired, as one value: what a command reads, changes and writes back as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// VPCs by id.
    pub vpcs: BTreeMap<VpcId, Vpc>,
    /// Security groups of all VPCs by id.
    pub groups: BTreeMap<GroupId, SecurityGroup>,
    /// Rules of all groups by id.
    pub rules: BTreeMap<RuleId, Rule>,
    /// Interfaces that groups attach to, by id.
    pub interfaces: BTreeMap<EniId, Interface>,
    /// Prefix lists by id.
    pub prefix_lists: BTreeMap<PrefixListId, PrefixList>,
    /// VPC peering connections by id, those that ended for as long as EC2 shows them.
    pub peerings: BTreeMap<PeeringId, Peering>,
    /// Quotas that were set; the others are EC2's.
    pub quotas: Quotas,
    /// What interfaces lost in the last change, whose flows end with it. In the store, so that whoever makes up for a
    /// command that was cut off knows it too.
    pub released: BTreeMap<EniId, Lost>,
}

impl State {
    /// The interfaces that this host enforces, each with how.
    pub fn attached(&self) -> impl Iterator<Item = (&Interface, &Attachment)> {
        self.interfaces.values().filter_map(|eni| Some((eni, eni.attachment.as_ref()?)))
    }

    /// Whether a rule of a group in `from` may name a group in `to`: the same VPC, or one behind a peering that is
    /// active (M-17, M-66). Not transitive.
    #[must_use]
    pub fn may_reference(&self, from: VpcId, to: VpcId) -> bool {
        from == to || self.active_peering(from, to).is_some()
    }

    /// The active peering between two VPCs.
    #[must_use]
    pub fn active_peering(&self, one: VpcId, other: VpcId) -> Option<&Peering> {
        let is_it = |peering: &&Peering| peering.joins(one, other) && peering.status == PeeringStatus::Active;
        self.peerings.values().find(is_it)
    }
}

/// A security group. Its rules are kept beside it, in [`State::rules`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// `sg-…`
    pub id: GroupId,
    /// Unique in its VPC, compared without regard to case (M-11).
    pub name: String,
    /// Required at creation, fixed from then on (M-12).
    pub description: String,
    /// The VPC it belongs to.
    pub vpc: VpcId,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}
