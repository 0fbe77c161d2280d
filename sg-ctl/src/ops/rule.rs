//! Rules of security groups: add, list, remove. To change one is [`super::modify`].

use super::{group, peer, prefix_list, text, traffic};
use crate::{
    error::{Refusal, Result},
    model::{AddressFamily, Direction, GroupId, Peer, Quota, Rule, RuleId, SecurityGroup, State, Traffic},
};
use std::collections::{BTreeMap, BTreeSet};

/// What was typed for rules: one kind of traffic, one rule for each peer.
#[derive(Clone, Debug)]
pub struct Content {
    /// Inbound or outbound.
    pub direction: Direction,
    /// `--protocol`
    pub protocol: String,
    /// `--port`
    pub port: Option<String>,
    /// `--icmp-type`
    pub icmp_type: Option<String>,
    /// `--icmp-code`
    pub icmp_code: Option<String>,
    /// `--cidr`, of either family.
    pub cidrs: Vec<String>,
    /// `--prefix-list`, ids or names.
    pub prefix_lists: Vec<String>,
    /// `--source-group`, ids or names.
    pub source_groups: Vec<String>,
    /// `--description`; no part of what a rule is (M-19).
    pub description: Option<String>,
}

/// Rules that were added.
#[derive(Clone, Debug)]
pub struct Added {
    /// Their ids, in the order of the peers.
    pub rules: Vec<RuleId>,
    /// What the user should know of how the rules were read.
    pub warnings: Vec<String>,
}

/// Which rules to remove.
#[derive(Clone, Debug)]
pub enum Which {
    /// By their ids.
    Ids(Vec<String>),
    /// By what they say.
    Content(Content),
}

/// Adds one rule for each peer, or none.
pub fn add(state: &mut State, group: &str, content: &Content) -> Result<Added> {
    let id = group::find_in_default_vpc(state, group)?;
    let description = text::rule_description(content.description.as_deref())?;
    let owner = owner(state, id)?;
    let (rules, warnings) = read(state, id, content, peer::referenced_group)?;
    let rules: Vec<Rule> = rules
        .into_iter()
        .map(|key| Rule {
            peer_vpc: peer::foreign_vpc(state, owner, key.peer),
            description: description.clone(),
            ..Rule::new(RuleId::random(), id, key.direction, key.traffic, key.peer)
        })
        .collect();
    let present = keys(state, id);
    if let Some(rule) = rules.iter().find(|rule| present.contains_key(&Key::of(rule))) {
        return Err(duplicate(rule).into());
    }
    check_quota(state, id, None, &rules)?;
    check_references(state, None, &rules)?;
    let ids = rules.iter().map(|rule| rule.id).collect();
    state.rules.extend(rules.into_iter().map(|rule| (rule.id, rule)));
    Ok(Added { rules: ids, warnings })
}

/// Removes rules, all that are named or none. Returns them as they were.
pub fn remove(state: &mut State, group: &str, which: &Which) -> Result<Vec<Rule>> {
    let group = group::find_in_default_vpc(state, group)?;
    let ids = match which {
        Which::Ids(given) => given.iter().map(|given| own_rule(state, group, given)).collect(),
        Which::Content(content) => matching(state, group, content),
    }?;
    // A set, since an id may have been given twice.
    let ids = BTreeSet::from_iter(ids);
    Ok(ids.iter().filter_map(|id| state.rules.remove(id)).collect())
}

/// Rules of one group, or of all, in the order in which people read them.
pub fn list(state: &State, group: Option<&str>) -> Result<Vec<RuleId>> {
    let group = group.map(|given| group::find_in_default_vpc(state, given)).transpose()?;
    let mut rules: Vec<_> = match group {
        Some(group) => state.rules.of_group(group).collect(),
        None => state.rules.values().collect(),
    };
    rules.sort_by_key(|rule| (rule.group, rule.direction, rule.traffic, rule.peer, rule.id));
    Ok(rules.into_iter().map(|rule| rule.id).collect())
}

/// What makes a rule of one group the same as another (M-19).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    direction: Direction,
    traffic: Traffic,
    peer: Peer,
}

impl Key {
    pub(super) fn of(rule: &Rule) -> Self {
        Self { direction: rule.direction, traffic: rule.traffic, peer: rule.peer }
    }
}

/// The rules of a group by what they say.
pub(super) fn keys(state: &State, group: GroupId) -> BTreeMap<Key, RuleId> {
    state.rules.of_group(group).map(|rule| (Key::of(rule), rule.id)).collect()
}

pub(super) fn owner(state: &State, group: GroupId) -> Result<&SecurityGroup> {
    state.groups.get(&group).ok_or_else(|| {
        Refusal::new("InvalidGroup.NotFound", format!("The security group '{group}' does not exist")).into()
    })
}

/// What was typed, as one key for each peer, and warnings.
fn read(
    state: &State,
    group: GroupId,
    content: &Content,
    find_group: peer::FindGroup,
) -> Result<(Vec<Key>, Vec<String>)> {
    let owner = owner(state, group)?;
    let reading = traffic::read(traffic::Typed {
        protocol: &content.protocol,
        port: content.port.as_deref(),
        icmp_type: content.icmp_type.as_deref(),
        icmp_code: content.icmp_code.as_deref(),
    })?;
    let peers =
        peer::read(state, owner, &content.cidrs, &content.prefix_lists, &content.source_groups, find_group)?;
    if peers.is_empty() {
        return Err(Refusal::new(
            "MissingParameter",
            "A rule needs a source or destination: give --cidr, --prefix-list or --source-group",
        )
        .into());
    }
    if BTreeSet::from_iter(&peers).len() < peers.len() {
        return Err(Refusal::invalid(
            "The same permission must not appear multiple times; give each source once",
        )
        .into());
    }
    let key = |peer| Key { direction: content.direction, traffic: reading.traffic, peer };
    Ok((peers.into_iter().map(key).collect(), reading.warning.into_iter().collect()))
}

/// EC2's words for a rule that is there already.
pub(super) fn duplicate(rule: &Rule) -> Refusal {
    let (peer, protocol) = (rule.peer, rule.traffic.protocol().to_uppercase());
    let what = match (rule.traffic, rule.traffic.from_to()) {
        (Traffic::All, _) => format!("{peer}, ALL"),
        (_, None) => format!("{peer}, {protocol}"),
        (_, Some((from, to))) => format!("{peer}, {protocol}, from port: {from}, to port: {to}"),
    };
    Refusal::new(
        "InvalidPermission.Duplicate",
        format!("the specified rule \"peer: {what}, ALLOW\" already exists"),
    )
}

/// M-34: each direction and family has its own count. Refuses what adds to a count that is beyond its limit then; a rule
/// that is replaced makes room for the new ones.
pub(super) fn check_quota(
    state: &State,
    group: GroupId,
    replaced: Option<&Rule>,
    new: &[Rule],
) -> Result<()> {
    let quota = Quota::RulesPerGroup;
    let limit = u64::from(state.quotas.get(quota));
    for direction in Direction::BOTH {
        for family in [AddressFamily::Ipv4, AddressFamily::Ipv6] {
            let of = |rule: &Rule| if rule.direction == direction { weight(state, rule, family) } else { 0 };
            let more: u64 = new.iter().map(of).sum();
            let less = replaced.map_or(0, of);
            let total = weight_of_group(state, group, direction, family) + more - less;
            if more > less && total > limit {
                let message = format!(
                    "The maximum number of rules per security group has been reached. It is {limit} for each direction \
                     and family; 'sg-ctl quota {quota}=N' raises it"
                );
                return Err(Refusal::new("RulesPerSecurityGroupLimitExceeded", message).into());
            }
        }
    }
    Ok(())
}

/// What the rules of a group count, in one direction and family.
pub(super) fn weight_of_group(
    state: &State,
    group: GroupId,
    direction: Direction,
    family: AddressFamily,
) -> u64 {
    let rules = state.rules.of_group(group).filter(|rule| rule.direction == direction);
    rules.map(|rule| weight(state, rule, family)).sum()
}

/// What a rule counts in a family: a group one in both, a prefix list its maximum of entries in its own (M-45, M-46).
pub(crate) fn weight(state: &State, rule: &Rule, family: AddressFamily) -> u64 {
    match rule.peer {
        Peer::Ipv4(_) => u64::from(family == AddressFamily::Ipv4),
        Peer::Ipv6(_) => u64::from(family == AddressFamily::Ipv6),
        Peer::Group(_) => 1,
        Peer::PrefixList(id) => {
            let list = state.prefix_lists.get(&id).filter(|list| list.family == family);
            list.map_or(0, |list| list.max_entries.into())
        }
    }
}

/// M-41: how many rules may name one prefix list. A rule that is replaced makes room for its successor.
pub(super) fn check_references(state: &State, replaced: Option<&Rule>, new: &[Rule]) -> Result<()> {
    let quota = Quota::ReferencesPerPrefixList;
    let limit = state.quotas.get(quota);
    let named = |rule: &Rule| match rule.peer {
        Peer::PrefixList(id) => Some(id),
        _ => None,
    };
    for id in BTreeSet::from_iter(new.iter().filter_map(named)) {
        let more = new.iter().filter(|rule| named(rule) == Some(id)).count();
        let less = usize::from(replaced.and_then(named) == Some(id));
        let total = prefix_list::references(state, id).count() + more - less;
        if more > less && total > limit as usize {
            let message = format!(
                "{total} rules would name the prefix list {id}, more than the quota of {limit}; 'sg-ctl quota \
                 {quota}={total}' raises it"
            );
            return Err(Refusal::new("PrefixListReferenceLimitExceeded", message).into());
        }
    }
    Ok(())
}

/// The rule of that id.
pub(super) fn find<'a>(state: &'a State, given: &str) -> Result<&'a Rule> {
    let id: RuleId = given.parse()?;
    state.rules.get(&id).ok_or_else(|| not_found(id).into())
}

/// The rule of that id, which must be one of this group.
fn own_rule(state: &State, group: GroupId, given: &str) -> Result<RuleId> {
    let rule = find(state, given)?;
    if rule.group == group { Ok(rule.id) } else { Err(not_found(rule.id).into()) }
}

fn not_found(id: RuleId) -> Refusal {
    Refusal::new(
        "InvalidSecurityGroupRuleId.NotFound",
        format!("The security group rule ID '{id}' does not exist"),
    )
}

/// The rules that say exactly that. One that is not there refuses them all, in every VPC (P-18).
fn matching(state: &State, group: GroupId, content: &Content) -> Result<Vec<RuleId>> {
    let present = keys(state, group);
    let (wanted, _) = read(state, group, content, peer::named_group)?;
    wanted
        .iter()
        .map(|key| {
            present.get(key).copied().ok_or_else(|| {
                let message = format!(
                    "The specified rule does not exist in this security group; 'sg-ctl rule list {group}' shows those \
                     that do"
                );
                Refusal::new("InvalidPermission.NotFound", message).into()
            })
        })
        .collect()
}

#[cfg(test)]
impl Content {
    /// Inbound TCP, for tests.
    pub(crate) fn tcp(port: &str) -> Self {
        Self {
            direction: Direction::Ingress,
            protocol: "tcp".to_owned(),
            port: Some(port.to_owned()),
            icmp_type: None,
            icmp_code: None,
            cidrs: Vec::new(),
            prefix_lists: Vec::new(),
            source_groups: Vec::new(),
            description: None,
        }
    }

    /// From one more prefix.
    pub(crate) fn with_cidr(mut self, cidr: &str) -> Self {
        self.cidrs.push(cidr.to_owned());
        self
    }

    /// From one more prefix list.
    pub(crate) fn with_list(mut self, list: &str) -> Self {
        self.prefix_lists.push(list.to_owned());
        self
    }

    /// From one more group.
    pub(crate) fn with_group(mut self, group: &str) -> Self {
        self.source_groups.push(group.to_owned());
        self
    }

    /// All protocols.
    pub(crate) fn all(direction: Direction) -> Self {
        Self { direction, protocol: "-1".to_owned(), port: None, ..Self::tcp("0") }
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
