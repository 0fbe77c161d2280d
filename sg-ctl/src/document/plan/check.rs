//! What the state at the end must be: nothing names what is gone, and no quota is exceeded. What was beyond a quota
//! before, and is no further now, stays.

use super::Planner;
use crate::{
    document::{names, place::Place},
    error::{Refusal, Result},
    model::{
        AddressFamily, Direction, GroupId, Interface, Peer, PeeringStatus, PrefixListId, Quota, Rule, State,
        VpcId,
    },
    ops::{prefix_list, rule},
};
use std::collections::BTreeMap;

/// How much there is of something, by what it is counted for.
type Counts<K> = BTreeMap<K, u64>;

impl Planner<'_> {
    /// Checks the state as a whole.
    pub(super) fn check(&self, root: &Place<'_>) -> Result<()> {
        self.check_named(root)?;
        self.check_addresses(root)?;
        self.check_numbers(root)?;
        self.check_rules(root)?;
        self.check_references(root)?;
        self.check_peerings(root)
    }

    /// Groups and prefix lists that are gone may not be carried or named any more; a rule of a peer VPC turns stale
    /// (M-28, M-31, M-59).
    fn check_named(&self, root: &Place<'_>) -> Result<()> {
        let vpcs = root.field("vpcs");
        for eni in self.state.interfaces.values() {
            if let Some(id) = eni.groups.iter().find(|id| !self.state.groups.contains_key(id)) {
                let refusal =
                    self.depended_on(*id, &format!("interface {} ({}) carries it", eni.name, eni.id));
                return Err(match self.interfaces.get(&eni.id) {
                    Some((vpc, item)) => {
                        let vpc = vpcs.item(*vpc);
                        vpc.field("interfaces").item(*item).field("groups").refuse(refusal)
                    }
                    None => vpcs.refuse(refusal),
                });
            }
        }
        for rule in self.state.rules.values() {
            match rule.peer {
                Peer::Group(id) if self.is_gone_beside(id, rule) => {
                    let refusal = self.depended_on(id, &self.words(rule));
                    return Err(match self.groups.get(&rule.group) {
                        Some((vpc, item)) => {
                            let field = direction_field(rule.direction);
                            let vpc = vpcs.item(*vpc);
                            vpc.field("groups").item(*item).field(field).refuse(refusal)
                        }
                        None => vpcs.refuse(refusal),
                    });
                }
                Peer::PrefixList(id) if !self.state.prefix_lists.contains_key(&id) => {
                    let (rule, list) = (self.words(rule), names::list(self.before, id));
                    let message = format!(
                        "resource {id} has a dependent object: {rule}, and the document lacks the prefix list '{list}'"
                    );
                    return Err(root
                        .field("prefix-lists")
                        .refuse(Refusal::new("DependencyViolation", message)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// An address has one owner in a VPC: two members of which one is new or has other addresses may not share one.
    fn check_addresses(&self, root: &Place<'_>) -> Result<()> {
        let mut owners = BTreeMap::new();
        for eni in self.state.interfaces.values() {
            for address in &eni.addresses {
                owners.entry((eni.vpc, *address)).or_insert_with(Vec::new).push(eni);
            }
        }
        let is_new = |eni: &Interface| {
            let was = self.before.interfaces.get(&eni.id);
            eni.is_registered() && was.is_none_or(|was| was.addresses != eni.addresses)
        };
        for ((_, address), owners) in owners.iter().filter(|(_, owners)| owners.len() > 1) {
            let Some(new) = owners.iter().find(|eni| is_new(eni)) else { continue };
            let Some((vpc, item)) = self.interfaces.get(&new.id) else { continue };
            let names: Vec<&str> = owners.iter().map(|eni| eni.name.as_str()).collect();
            let message = format!("Address {address} has one owner in a VPC, not {}", names.join(" and "));
            let vpcs = root.field("vpcs");
            let vpc = vpcs.item(*vpc);
            let place = vpc.field("interfaces");
            return Err(place
                .item(*item)
                .field("addresses")
                .refuse(Refusal::new("InvalidIPAddress.InUse", message)));
        }
        Ok(())
    }

    /// Whether a group was there, is not any more, and was in the VPC of a rule.
    fn is_gone_beside(&self, id: GroupId, rule: &Rule) -> bool {
        let owner = self.state.groups.get(&rule.group).map(|group| group.vpc);
        let gone = self.before.groups.get(&id).filter(|_| !self.state.groups.contains_key(&id));
        gone.is_some_and(|group| Some(group.vpc) == owner)
    }

    fn depended_on(&self, id: GroupId, holder: &str) -> Refusal {
        let message = format!(
            "resource {id} has a dependent object: {holder}, and the document lacks the group '{}'",
            names::full_group(self.before, id)
        );
        Refusal::new("DependencyViolation", message)
    }

    fn words(&self, rule: &Rule) -> String {
        format!("rule {} of group {} names it", rule.id, names::full_group(&self.state, rule.group))
    }

    /// M-33, M-37, M-38.
    fn check_numbers(&self, root: &Place<'_>) -> Result<()> {
        let count = |state: &State| [state.vpcs.len(), state.groups.len(), state.prefix_lists.len()];
        let limits = [
            (Quota::Vpcs, "vpcs", "VpcLimitExceeded"),
            (Quota::Groups, "vpcs", "SecurityGroupLimitExceeded"),
            (Quota::PrefixLists, "prefix-lists", "PrefixListLimitExceeded"),
        ];
        for ((was, is), (quota, field, code)) in
            count(self.before).into_iter().zip(count(&self.state)).zip(limits)
        {
            self.within(quota, code, &root.field(field), was as u64, is as u64)?;
        }
        Ok(())
    }

    /// M-34: rules in each direction and family. A prefix list that grows counts for more (M-49).
    fn check_rules(&self, root: &Place<'_>) -> Result<()> {
        let (code, quota) = ("RulesPerSecurityGroupLimitExceeded", Quota::RulesPerGroup);
        let before = weights(self.before);
        for (key, is) in weights(&self.state) {
            let (group, direction, _) = key;
            let was = before.get(&key).copied().unwrap_or(0);
            let (vpcs, lists) = (root.field("vpcs"), root.field("prefix-lists"));
            match (self.grown_list(group, direction), self.groups.get(&group)) {
                (Some(list), _) => {
                    self.within(quota, code, &lists.item(list).field("max-entries"), was, is)?;
                }
                (None, Some((vpc, item))) => {
                    let (vpc, field) = (vpcs.item(*vpc), direction_field(direction));
                    self.within(quota, code, &vpc.field("groups").item(*item).field(field), was, is)?;
                }
                (None, None) => self.within(quota, code, &vpcs, was, is)?,
            }
        }
        Ok(())
    }

    /// A list that grows and that rules of the group named before: which item it is.
    fn grown_list(&self, group: GroupId, direction: Direction) -> Option<usize> {
        let size = |state: &State, id| state.prefix_lists.get(&id).map_or(0, |list| list.max_entries);
        let grown = self.lists.iter().filter(|(id, _)| {
            let was = size(self.before, **id);
            was > 0 && size(&self.state, **id) > was
        });
        let names_it = |id: PrefixListId| {
            prefix_list::references(self.before, id)
                .any(|rule| (rule.group, rule.direction) == (group, direction))
        };
        grown.map(|(id, item)| (*id, *item)).find(|(id, _)| names_it(*id)).map(|(_, item)| item)
    }

    /// M-41.
    fn check_references(&self, root: &Place<'_>) -> Result<()> {
        let (code, quota) = ("PrefixListReferenceLimitExceeded", Quota::ReferencesPerPrefixList);
        let before = references(self.before);
        for (id, is) in references(&self.state) {
            let was = before.get(&id).copied().unwrap_or(0);
            self.within(quota, code, &root.field("vpcs"), was, is)?;
        }
        Ok(())
    }

    /// M-43.
    fn check_peerings(&self, root: &Place<'_>) -> Result<()> {
        for (status, quota, code) in [
            (PeeringStatus::Active, Quota::PeeringsPerVpc, "ActiveVpcPeeringConnectionPerVpcLimitExceeded"),
            (
                PeeringStatus::PendingAcceptance,
                Quota::PeeringRequestsPerVpc,
                "OutstandingVpcPeeringConnectionLimitExceeded",
            ),
        ] {
            let before = peerings(self.before, status);
            for (id, is) in peerings(&self.state, status) {
                let was = before.get(&id).copied().unwrap_or(0);
                self.within(quota, code, &root.field("peerings"), was, is)?;
            }
        }
        Ok(())
    }

    /// Refuses what is beyond a quota and more than it was.
    fn within(&self, quota: Quota, code: &'static str, place: &Place<'_>, was: u64, is: u64) -> Result<()> {
        let limit = self.state.quotas.get(quota);
        if is <= was || is <= u64::from(limit) {
            return Ok(());
        }
        let message = format!("That would be {is}, and the quota {quota} is {limit}");
        Err(place.refuse(Refusal::new(code, message)))
    }
}

/// The fields of the two directions.
fn direction_field(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

fn weights(state: &State) -> Counts<(GroupId, Direction, &'static str)> {
    let mut weights = Counts::new();
    for rule in state.rules.values() {
        for family in [AddressFamily::Ipv4, AddressFamily::Ipv6] {
            *weights.entry((rule.group, rule.direction, family.name())).or_default() +=
                rule::weight(state, rule, family);
        }
    }
    weights
}

fn references(state: &State) -> Counts<PrefixListId> {
    let mut references = Counts::new();
    for rule in state.rules.values() {
        if let Peer::PrefixList(id) = rule.peer {
            *references.entry(id).or_default() += 1;
        }
    }
    references
}

/// Peerings in that status by VPC: requests are the requester's, active ones count for both (M-43).
fn peerings(state: &State, status: PeeringStatus) -> Counts<VpcId> {
    let mut counts = Counts::new();
    for peering in state.peerings.values().filter(|peering| peering.status == status) {
        *counts.entry(peering.requester).or_default() += 1;
        if status == PeeringStatus::Active {
            *counts.entry(peering.accepter).or_default() += 1;
        }
    }
    counts
}
