//! A copy of a group under another name (M-77).

use super::{enumerate, group, peer, rule, vpc};
use crate::{
    error::{Refusal, Result},
    model::{GroupId, Peer, Rule, RuleId, State, VpcId},
};

/// `group copy` as typed.
#[derive(Clone, Debug, Default)]
pub struct Copy {
    /// The group to copy, by id or name.
    pub group: String,
    /// Name of the copy.
    pub name: String,
    /// `--description`; without one the copy has the original's.
    pub description: Option<String>,
    /// `--vpc`; without one the copy is in the original's.
    pub vpc: Option<String>,
}

/// Makes a group with the rules of another, their descriptions and tags, each rule under a new id. Rules that name the
/// original name the copy. Tags of the group itself are not copied.
pub fn copy(state: &mut State, request: &Copy) -> Result<GroupId> {
    let source = group::find_in_default_vpc(state, &request.group)?;
    let original = rule::owner(state, source)?;
    let vpc = match &request.vpc {
        Some(given) => vpc::find(state, Some(given))?,
        None => original.vpc,
    };
    let create = group::Create {
        name: request.name.clone(),
        description: request.description.clone().unwrap_or_else(|| original.description.clone()),
        vpc: Some(vpc.to_string()),
        tags: Vec::new(),
    };
    let rules: Vec<Rule> = state.rules.values().filter(|rule| rule.group == source).cloned().collect();
    refuse_out_of_reach(state, source, vpc, &rules)?;

    // Made beside the state, so that a refusal further down leaves it as it was.
    let mut next = state.clone();
    let copy = group::create(&mut next, &create)?;
    // It is born with outbound rules, which the original may have lost.
    next.rules.retain(|_, rule| rule.group != copy);
    let owner = rule::owner(&next, copy)?;
    let rules: Vec<Rule> = rules
        .into_iter()
        .map(|rule| {
            let peer = if rule.peer == Peer::Group(source) { Peer::Group(copy) } else { rule.peer };
            let peer_vpc = peer::foreign_vpc(&next, owner, peer);
            Rule { id: RuleId::random(), group: copy, peer, peer_vpc, ..rule }
        })
        .collect();
    rule::check_quota(&next, copy, None, &rules)?;
    rule::check_references(&next, None, &rules)?;
    next.rules.extend(rules.into_iter().map(|rule| (rule.id, rule)));
    *state = next;
    Ok(copy)
}

/// Refuses where rules name groups that groups of that VPC may not name, or that are gone.
fn refuse_out_of_reach(state: &State, source: GroupId, vpc: VpcId, rules: &[Rule]) -> Result<()> {
    let out_of_reach = |rule: &Rule| match rule.peer {
        Peer::Group(named) if named != source => match state.groups.get(&named) {
            Some(group) if state.may_reference(vpc, group.vpc) => None,
            Some(group) => Some(format!("rule {} names group {} ({named})", rule.id, group.name)),
            None => Some(format!("rule {} names {named}, which is gone", rule.id)),
        },
        _ => None,
    };
    let named: Vec<String> = rules.iter().filter_map(out_of_reach).collect();
    if named.is_empty() {
        return Ok(());
    }
    let message = format!(
        "You have specified two resources that belong to different networks. Out of reach of {vpc}: {}",
        enumerate(&named)
    );
    Err(Refusal::new("InvalidGroup.NotFound", message).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Direction, Quota, Tags, Vpc},
        ops::{
            rule::{Content, Which, add, remove},
            testing::{group, refused, state},
        },
    };

    fn request(group: &str, name: &str) -> Copy {
        Copy { group: group.to_owned(), name: name.to_owned(), ..Copy::default() }
    }

    /// What the rules of a group say, in order, its own id written as `itself`.
    fn said(state: &State, of: GroupId) -> Vec<String> {
        let mut said: Vec<String> = state
            .rules
            .values()
            .filter(|rule| rule.group == of)
            .map(|rule| {
                let peer = rule.peer.to_string().replace(&of.to_string(), "itself");
                format!(
                    "{:?} {:?} {peer} {:?} {:?}",
                    rule.direction, rule.traffic, rule.description, rule.tags
                )
            })
            .collect();
        said.sort();
        said
    }

    /// A group `web` with a rule from itself, one from `db` with a description and a tag, and no outbound IPv6.
    fn with_web() -> (State, GroupId) {
        let (mut state, _) = state();
        let web = group(&mut state, "web");
        group(&mut state, "db");
        add(&mut state, "web", &Content::tcp("22").with_group("web")).unwrap();
        let mut described = Content::tcp("80").with_group("db");
        described.description = Some("databases".to_owned());
        let added = add(&mut state, "web", &described).unwrap();
        state.rules.get_mut(&added.rules[0]).unwrap().tags = Tags::from([("k".into(), "v".into())]);
        let ipv6 = Which::Content(Content::all(Direction::Egress).with_cidr("::/0"));
        remove(&mut state, "web", &ipv6).unwrap();
        (state, web)
    }

    /// Another VPC, not peered with anything.
    fn far_vpc(state: &mut State) -> VpcId {
        let id = VpcId::random();
        state.vpcs.insert(id, Vpc { id, is_default: false, cidrs: Vec::new(), tags: Tags::new() });
        id
    }

    #[test]
    fn m77_a_copy_has_the_same_rules_under_new_ids_and_names_itself() {
        let (mut state, web) = with_web();
        state.groups.get_mut(&web).unwrap().tags = Tags::from([("Name".into(), "Web".into())]);
        let before = state.clone();
        let twin = copy(&mut state, &request("WEB", "twin ")).unwrap();
        assert_ne!(twin, web);
        assert_eq!(said(&state, twin), said(&state, web));
        assert_eq!(said(&state, twin).len(), 3);
        let made = state.groups.remove(&twin).unwrap();
        assert_eq!((made.name.as_str(), made.description.as_str()), ("twin", "test"));
        assert_eq!(made.vpc, before.groups[&web].vpc);
        assert!(made.tags.is_empty(), "a copied tag Name would be the original's");
        state.rules.retain(|_, rule| rule.group != twin);
        assert_eq!(state, before, "nothing else changed, and no id was taken over");
    }

    #[test]
    fn m77_a_copy_may_have_another_description() {
        let (mut state, _) = with_web();
        let described = Copy { description: Some("second".to_owned()), ..request("web", "twin") };
        let twin = copy(&mut state, &described).unwrap();
        assert_eq!(state.groups[&twin].description, "second");
    }

    #[test]
    fn m77_a67b_into_another_vpc_only_without_rules_that_name_groups_of_this_one() {
        let (mut state, web) = with_web();
        let vpc = far_vpc(&mut state);
        let far = Copy { vpc: Some(vpc.to_string()), ..request("web", "web") };
        let before = state.clone();
        let by_db = state.rules.values().find(|rule| rule.description.is_some()).unwrap();
        let Peer::Group(db) = by_db.peer else { panic!("{by_db:?}") };
        assert_eq!(
            refused(copy(&mut state.clone(), &far)),
            format!(
                "InvalidGroup.NotFound: You have specified two resources that belong to different networks. Out of \
                 reach of {vpc}: rule {} names group db ({db})",
                by_db.id
            )
        );
        let id = by_db.id.to_string();
        assert!(copy(&mut state, &far).is_err());
        assert_eq!(state, before);
        remove(&mut state, "web", &Which::Ids(vec![id])).unwrap();
        let twin = copy(&mut state, &far).unwrap();
        assert_eq!(state.groups[&twin].vpc, vpc);
        assert_eq!(said(&state, twin), said(&state, web));
        assert!(state.rules.values().all(|rule| rule.peer_vpc.is_none()));
    }

    #[test]
    fn m77_a_refused_copy_changes_nothing() {
        let (mut state, _) = with_web();
        let before = state.clone();
        for (name, code) in [("db", "InvalidGroup.Duplicate"), ("sg-1", "InvalidParameterValue")] {
            assert!(refused(copy(&mut state, &request("web", name))).starts_with(code));
        }
        assert!(refused(copy(&mut state, &request("nosuch", "x"))).starts_with("InvalidGroup.NotFound"));
        state.quotas.0.insert(Quota::RulesPerGroup, 1);
        let full = refused(copy(&mut state, &request("web", "x")));
        assert!(full.starts_with("RulesPerSecurityGroupLimitExceeded"), "{full}");
        state.quotas.0.clear();
        assert_eq!(state, before);
    }
}
