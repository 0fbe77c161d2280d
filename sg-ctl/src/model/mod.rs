//! What EC2 knows: VPCs, security groups, rules and network interfaces.
//!
//! Plain values without behaviour beyond their own invariants. The store keeps them, [`crate::ops`] changes them, and
//! [`crate::compile`] turns them into tables for the kernel. Names and shapes follow the EC2 API model (2016-11-15).

mod id;
mod interface;
mod objects;
mod prefix_list;
mod quota;
mod rule;
mod vpc;

pub use id::{
    EniId, EniKind, GroupId, Id, IdKind, PeeringId, PeeringKind, PrefixListId, PrefixListKind, RuleId,
    RuleKind, VpcId, VpcKind,
};
pub use interface::{
    Attachment, Interface, InterfaceTerm, Lost, Mode, Options, Place, Side, TimeoutSettings, Timeouts,
};
pub use objects::{Change, Key, NoTerm, Object, Objects, Source};
pub use prefix_list::{
    AddressFamily, Entries, EntryKey, EntryTerm, PrefixList, PrefixListState, PrefixListTerm, Span,
};
pub use quota::{Quota, Quotas};
pub use rule::{Direction, IcmpMatch, Peer, PortRange, Rule, RuleTerm, Traffic};
pub use vpc::{Peering, PeeringStatus, Vpc};

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The one account there is, whose everything is.
pub const OWNER: &str = "000000000000";

/// Tags by key, as EC2's `TagSet`.
pub type Tags = BTreeMap<String, String>;

/// Everything that is desired, as one value: what a command reads, changes and writes back. Of what comes from a store,
/// only what is asked for is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// VPCs by id.
    pub vpcs: Objects<VpcId, Vpc>,
    /// Security groups of all VPCs by id.
    pub groups: Objects<GroupId, SecurityGroup>,
    /// Rules of all groups by id.
    pub rules: Objects<RuleId, Rule>,
    /// Interfaces that groups attach to, by id.
    pub interfaces: Objects<EniId, Interface>,
    /// Prefix lists by id.
    pub prefix_lists: Objects<PrefixListId, PrefixList>,
    /// VPC peering connections by id, those that ended for as long as EC2 shows them.
    pub peerings: Objects<PeeringId, Peering>,
    /// Quotas that were set; the others are EC2's.
    pub quotas: Quotas,
    /// What interfaces lost in the last change, whose flows end with it. In the store, so that whoever makes up for a
    /// command that was cut off knows it too.
    pub released: BTreeMap<EniId, Lost>,
}

impl State {
    /// The interfaces that this host enforces, each with how.
    pub fn attached(&self) -> impl Iterator<Item = (&Interface, &Attachment)> {
        self.interfaces.attached().filter_map(|eni| Some((eni, eni.attachment.as_ref()?)))
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

/// What groups are found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupTerm {
    /// A name in a VPC, in lower case.
    Named(VpcId, String),
}

impl fmt::Display for GroupTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Named(vpc, name) = self;
        write!(f, "name={vpc}/{name}")
    }
}

impl Object for SecurityGroup {
    type Term = GroupTerm;

    fn terms(&self) -> Vec<GroupTerm> {
        vec![GroupTerm::Named(self.vpc, self.name.to_ascii_lowercase())]
    }
}

impl Objects<GroupId, SecurityGroup> {
    /// The group of that name in a VPC: names are compared without case, and unique so (M-11).
    #[must_use]
    pub fn named(&self, vpc: VpcId, name: &str) -> Option<GroupId> {
        self.keys_having(&GroupTerm::Named(vpc, name.to_ascii_lowercase())).first().copied()
    }
}
