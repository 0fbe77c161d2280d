//! Rules that name a group which is gone or out of reach, and who names a group (M-68 to M-71, U-4).

use super::group;
use crate::{
    error::Result,
    model::{GroupId, Peer, PeeringId, Rule, RuleId, State, VpcId},
};
use std::collections::BTreeSet;

/// Whether the rule names a group that does not exist, or one of a VPC without an active peering (M-68). Such a rule
/// matches nobody (M-69), until a peering is made anew (M-70).
#[must_use]
pub fn is_stale(state: &State, rule: &Rule) -> bool {
    let Peer::Group(peer) = rule.peer else { return false };
    let vpc_of = |id| state.groups.get(&id).map(|group| group.vpc);
    match (vpc_of(rule.group), vpc_of(peer)) {
        (Some(own), Some(other)) => !state.may_reference(own, other),
        _ => true,
    }
}

/// The groups of one VPC, or of all, that have stale rules, by VPC and then by name.
pub fn stale(state: &State, vpc: Option<&str>) -> Result<Vec<GroupId>> {
    let stale: BTreeSet<GroupId> =
        state.rules.values().filter(|rule| is_stale(state, rule)).map(|rule| rule.group).collect();
    Ok(group::list(state, vpc)?.into_iter().filter(|id| stale.contains(id)).collect())
}

/// Who names a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct References {
    /// The group.
    pub group: GroupId,
    /// Peered VPCs with a rule that names it, and the peering.
    pub peers: Vec<(VpcId, PeeringId)>,
    /// Rules of its own VPC that name it, its own among them.
    pub rules: Vec<RuleId>,
}

/// Who names a group, of any VPC where it is given by its id.
pub fn references(state: &State, given: &str) -> Result<References> {
    let id = group::find_in_default_vpc(state, given)?;
    let own = state.groups.get(&id).map(|group| group.vpc);
    let vpc_of = |rule: &&Rule| state.groups.get(&rule.group).map(|group| group.vpc);
    let naming = || state.rules.naming_group(id);
    let vpcs: BTreeSet<VpcId> = naming().filter_map(|rule| vpc_of(&rule)).collect();
    let peering = |vpc| state.active_peering(own?, vpc).map(|peering| (vpc, peering.id));
    let mut rules: Vec<&Rule> = naming().filter(|rule| vpc_of(rule) == own).collect();
    rules.sort_by_key(|rule| (rule.group, rule.direction, rule.traffic, rule.id));
    Ok(References {
        group: id,
        peers: vpcs.into_iter().filter_map(peering).collect(),
        rules: rules.into_iter().map(|rule| rule.id).collect(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ops::{
        group::Create,
        peering,
        rule::{self, Content},
        testing::{refused, state},
        vpc,
    };

    /// VPCs `a` and `b` with a peering that is active, and in each a group `web`; `a`'s names that of `b`.
    pub fn peered() -> (State, [GroupId; 2], PeeringId) {
        let (mut state, _) = state();
        let groups = ["a", "b"].map(|name| {
            vpc::create(&mut state, name, &[]).unwrap();
            let create = Create { vpc: Some(name.to_owned()), ..Create::new("web", "test") };
            group::create(&mut state, &create).unwrap()
        });
        let pcx = peer(&mut state);
        let content = Content::tcp("80").with_group(&groups[1].to_string());
        rule::add(&mut state, &groups[0].to_string(), &content).unwrap();
        (state, groups, pcx)
    }

    fn peer(state: &mut State) -> PeeringId {
        let id = peering::create(state, "a", "b", 0).unwrap().id;
        peering::accept(state, &id.to_string(), 0).unwrap()
    }

    #[test]
    fn m17_m66_a67b_a_rule_names_groups_behind_an_active_peering_only() {
        let (mut state, [web, other], pcx) = peered();
        let [a, b] = ["a", "b"].map(|name| vpc::find(&state, Some(name)).unwrap());
        let rule = state.rules.values().find(|rule| rule.peer == Peer::Group(other)).unwrap();
        assert_eq!((rule.group, rule.peer_vpc), (web, Some(b)));
        assert!(state.may_reference(b, a));
        let content = Content::tcp("443").with_group(&other.to_string());
        let different =
            "InvalidGroup.NotFound: You have specified two resources that belong to different networks.";
        // Two VPCs that nobody has peered; and a peering that is asked for is not active yet.
        let default = group::find_in_default_vpc(&state, "default").unwrap().to_string();
        assert_eq!(refused(rule::add(&mut state, &default, &content)), different);
        peering::delete(&mut state, &pcx.to_string(), 0).unwrap();
        peering::create(&mut state, "b", "a", 0).unwrap();
        assert_eq!(refused(rule::add(&mut state, &web.to_string(), &content)), different);
        // Within the VPC a name is enough, and is not the peer's.
        let own = rule::add(&mut state, &web.to_string(), &Content::tcp("443").with_group("web")).unwrap();
        let own = &state.rules[&own.rules[0]];
        assert_eq!((own.peer, own.peer_vpc), (Peer::Group(web), None));
    }

    #[test]
    fn m68_m70_a_rule_is_stale_while_its_peering_is_gone() {
        let (mut state, [web, _], pcx) = peered();
        assert_eq!(stale(&state, None).unwrap(), []);
        peering::delete(&mut state, &pcx.to_string(), 0).unwrap();
        assert_eq!(stale(&state, None).unwrap(), [web]);
        assert_eq!(stale(&state, Some("a")).unwrap(), [web]);
        assert_eq!(stale(&state, Some("b")).unwrap(), []);
        peer(&mut state);
        assert_eq!(stale(&state, None).unwrap(), []);
    }

    #[test]
    fn m31_m68_m69_a_group_that_a_peer_names_can_be_deleted_and_the_rule_removed() {
        for by_id in [true, false] {
            let (mut state, [web, other], _) = peered();
            group::delete(&mut state, &other.to_string()).unwrap();
            assert_eq!(stale(&state, None).unwrap(), [web]);
            let rule = state.rules.values().find(|rule| rule.peer == Peer::Group(other)).unwrap().id;
            let which = match by_id {
                true => rule::Which::Ids(vec![rule.to_string()]),
                false => rule::Which::Content(Content::tcp("80").with_group(&other.to_string())),
            };
            let removed = rule::remove(&mut state, &web.to_string(), &which).unwrap();
            assert_eq!(removed[0].id, rule);
            assert_eq!(stale(&state, None).unwrap(), []);
            assert!(refused(rule::remove(&mut state, &web.to_string(), &which)).contains("does not exist"));
        }
    }

    #[test]
    fn m71_a21_who_names_a_group() {
        let (mut state, [web, other], pcx) = peered();
        let a = vpc::find(&state, Some("a")).unwrap();
        let none = References { group: web, peers: vec![], rules: vec![] };
        assert_eq!(references(&state, &web.to_string()).unwrap(), none);
        let default = group::default_of(&state, vpc::find(&state, Some("b")).unwrap()).unwrap();
        let content = Content::tcp("80").with_group("web");
        let own = rule::add(&mut state, &other.to_string(), &content).unwrap().rules[0];
        let near = rule::add(&mut state, &default.to_string(), &content).unwrap().rules[0];
        let of = |state: &State| references(state, &other.to_string()).unwrap();
        let mut rules = [(other, own), (default, near)];
        rules.sort();
        let rules = rules.map(|(_, rule)| rule).to_vec();
        assert_eq!(of(&state), References { group: other, peers: vec![(a, pcx)], rules: rules.clone() });
        // Behind a peering that has ended nobody is seen.
        peering::delete(&mut state, &pcx.to_string(), 0).unwrap();
        assert_eq!(of(&state), References { group: other, peers: vec![], rules });
    }
}
