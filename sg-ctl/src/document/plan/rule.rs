//! Rules of a document.

use super::Planner;
use crate::{
    document::{names, place::Place, types},
    error::{Refusal, Result},
    model::{Direction, GroupId, Peer, Rule, RuleId, Traffic, VpcId},
    ops::{peer, prefix_list, text, traffic},
};
use std::collections::{BTreeMap, BTreeSet};

/// What makes a rule of one group and direction the same as another (M-19).
type Key = (Traffic, Peer);

/// Rules by group and direction, and there by what they are.
type Index = BTreeMap<(GroupId, Direction), BTreeMap<Key, RuleId>>;

impl Planner<'_> {
    /// Adds and changes rules, and removes those that are lacked.
    pub(super) fn rules(&mut self, place: &Place<'_>, vpcs: &[types::Vpc]) -> Result<()> {
        let mut index = Index::new();
        for rule in self.state.rules.values() {
            index.entry((rule.group, rule.direction)).or_default().insert((rule.traffic, rule.peer), rule.id);
        }
        // As they are written, so that of several errors it is the first that is told.
        let mut groups: Vec<_> = self.groups.iter().map(|(id, at)| (*at, *id)).collect();
        groups.sort_unstable();
        for ((vpc_item, item), id) in groups {
            let Some(vpc) = vpcs.get(vpc_item) else { continue };
            let Some(written) = vpc.groups.iter().flatten().nth(item) else { continue };
            let (vpc_place, owner) = (place.item(vpc_item), self.vpcs.get(vpc_item).copied());
            let groups_place = vpc_place.field("groups");
            let group_place = groups_place.item(item);
            let Some(owner) = owner else { continue };
            let directions = [
                (Direction::Ingress, "ingress", &written.ingress),
                (Direction::Egress, "egress", &written.egress),
            ];
            for (direction, field, written) in directions {
                let Some(written) = written else { continue };
                let present = index.remove(&(id, direction)).unwrap_or_default();
                let of = Of { group: id, vpc: owner, direction, present: &present };
                self.rules_of(&group_place.field(field), &of, written)?;
            }
        }
        Ok(())
    }

    fn rules_of(&mut self, place: &Place<'_>, of: &Of<'_>, written: &[types::Rule]) -> Result<()> {
        let mut listed = BTreeSet::new();
        for (n, written) in written.iter().enumerate() {
            let place = place.item(n);
            let key = self.key(&place, of, written)?;
            if !listed.insert(key) {
                return Err(place.invalid("The same permission must not appear multiple times"));
            }
            let description =
                place.field("description").check(text::rule_description(written.description.as_deref()))?;
            let present = of.present.get(&key).and_then(|id| self.state.rules.get(id));
            let mut rule = present.cloned().unwrap_or_else(|| of.rule(key));
            if present.is_none() {
                let owner = self.state.groups.get(&of.group);
                rule.peer_vpc = owner.and_then(|owner| peer::foreign_vpc(&self.state, owner, key.1));
            }
            rule.description = description;
            rule.tags = self.tags(&place.field("tags"), &rule.tags, &written.tags)?;
            self.state.rules.insert(rule.id, rule);
        }
        // A new group has the rules that are written down and no others.
        if self.how.prune || self.fresh.contains(&of.group) {
            for (_, id) in of.present.iter().filter(|(key, _)| !listed.contains(key)) {
                self.state.rules.remove(id);
            }
        }
        Ok(())
    }

    fn key(&mut self, place: &Place<'_>, of: &Of<'_>, written: &types::Rule) -> Result<Key> {
        let traffic = self.traffic(place, written)?;
        let peer = match (&written.cidr, &written.group, &written.prefix_list) {
            (Some(cidr), None, None) => place.field("cidr").check(peer::cidr(cidr))?,
            (None, None, Some(list)) => {
                Peer::PrefixList(place.field("prefix-list").check(prefix_list::find(&self.state, list))?)
            }
            (None, Some(group), None) => self.peer_group(&place.field("group"), of, traffic, group)?,
            (None, None, None) => {
                let message = "The rule must contain exactly one of: cidr, group, prefix-list";
                return Err(place.refuse(Refusal::new("MissingParameter", message)));
            }
            _ => {
                let message = "Only one of cidr, group, prefix-list can be specified";
                return Err(place.refuse(Refusal::new("InvalidParameterCombination", message)));
            }
        };
        Ok((traffic, peer))
    }

    fn traffic(&mut self, place: &Place<'_>, written: &types::Rule) -> Result<Traffic> {
        let text = |word: &'_ Option<types::Word>| word.as_ref().map(|word| word.0.clone());
        let (ports, icmp_type, icmp_code) =
            (text(&written.ports), text(&written.icmp_type), text(&written.icmp_code));
        let protocol = written.protocol.0.as_str();
        place.field("protocol").check(traffic::protocol_number(protocol))?;
        let typed = traffic::Typed {
            protocol,
            port: ports.as_deref(),
            icmp_type: icmp_type.as_deref(),
            icmp_code: icmp_code.as_deref(),
        };
        // The field whose absence makes it right is the wrong one.
        let without_code = traffic::Typed { icmp_code: None, ..typed };
        let field = match (icmp_code.is_some(), icmp_type.is_some()) {
            (true, _) if traffic::read(without_code).is_ok() => "icmp-code",
            (true, true) | (false, true) => "icmp-type",
            (true, false) => "icmp-code",
            (false, false) => "ports",
        };
        let reading = place.field(field).check(traffic::read(typed))?;
        self.warnings.extend(reading.warning);
        Ok(reading.traffic)
    }

    /// A rule that is there stays as it is, whatever has become of the group that it names (M-69).
    fn peer_group(&self, place: &Place<'_>, of: &Of<'_>, traffic: Traffic, written: &str) -> Result<Peer> {
        let is_present = |id: GroupId| of.present.contains_key(&(traffic, Peer::Group(id)));
        if let Some(id) = written.parse::<GroupId>().ok().filter(|id| is_present(*id)) {
            return Ok(Peer::Group(id));
        }
        let id = place.check(names::find_group(&self.state, of.vpc, written))?;
        let vpc = self.state.groups.get(&id).map(|group| group.vpc);
        if is_present(id) || vpc.is_some_and(|vpc| self.state.may_reference(of.vpc, vpc)) {
            return Ok(Peer::Group(id));
        }
        let message = "You have specified two resources that belong to different networks.";
        Err(place.refuse(Refusal::new("InvalidGroup.NotFound", message)))
    }
}

/// The rules that a list of the document is about.
struct Of<'a> {
    group: GroupId,
    vpc: VpcId,
    direction: Direction,
    present: &'a BTreeMap<Key, RuleId>,
}

impl Of<'_> {
    fn rule(&self, (traffic, peer): Key) -> Rule {
        Rule::new(RuleId::random(), self.group, self.direction, traffic, peer)
    }
}
