//! Security groups: create, find, list, delete.

use super::{enumerate, nearest, quota, tag, text, vpc};
use crate::{
    error::{Refusal, Result},
    model::{GroupId, Quota, RuleId, SecurityGroup, State, VpcId},
};

/// What was typed for a new group.
#[derive(Clone, Debug, Default)]
pub struct Create {
    /// Its name.
    pub name: String,
    /// `--description`
    pub description: String,
    /// `--vpc`
    pub vpc: Option<String>,
    /// `--tag`, each `KEY=VALUE`.
    pub tags: Vec<String>,
}

impl Create {
    /// A group of the default VPC without tags.
    #[must_use]
    pub fn new(name: &str, description: &str) -> Self {
        Self { name: name.to_owned(), description: description.to_owned(), ..Self::default() }
    }
}

/// Makes a group: no inbound rule, all outbound (M-26).
pub fn create(state: &mut State, request: &Create) -> Result<GroupId> {
    let name = text::group_name(&request.name)?;
    let description = text::group_description(&request.description)?;
    let vpc = vpc::find(state, request.vpc.as_deref())?;
    let tags = tag::parse(&request.tags)?;
    if by_name(state, vpc, &name).is_some() {
        return Err(Refusal::new(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        )
        .into());
    }
    refuse_beyond_quota(state)?;
    let id = GroupId::random();
    state.groups.insert(id, SecurityGroup { id, name, description, vpc, tags });
    vpc::add_outbound_rules(state, id);
    Ok(id)
}

/// M-33: no more groups than the quota, those named `default` counted.
pub(super) fn refuse_beyond_quota(state: &State) -> Result<()> {
    let limit = state.quotas.get(Quota::Groups);
    if state.groups.len() < limit as usize {
        return Ok(());
    }
    let raise = quota::how_to_raise(Quota::Groups, limit);
    let message = format!("The maximum number of security groups has been reached. {raise}");
    Err(Refusal::new("SecurityGroupLimitExceeded", message).into())
}

/// Finds a group by id, or by name in `vpc`.
pub fn find(state: &State, vpc: VpcId, given: &str) -> Result<GroupId> {
    find_or(state, vpc, given, "InvalidGroup.NotFound")
}

/// [`find`] with the code that the calling command has for a group that is not there.
pub(super) fn find_or(state: &State, vpc: VpcId, given: &str, code: &'static str) -> Result<GroupId> {
    if GroupId::is_meant_by(given) {
        let id: GroupId = given.parse()?;
        return match state.groups.contains_key(&id) {
            true => Ok(id),
            false => Err(Refusal::new(code, format!("The security group '{id}' does not exist")).into()),
        };
    }
    by_name(state, vpc, given).ok_or_else(|| {
        let elsewhere = of_other_vpcs(state, vpc, given);
        let names = state.groups.values().filter(|group| group.vpc == vpc).map(|group| group.name.as_str());
        let next = match nearest(given, names) {
            _ if !elsewhere.is_empty() => {
                format!("another VPC's goes by its id, and of that name there is {}", enumerate(&elsewhere))
            }
            Some(name) => format!("did you mean '{name}'?"),
            None => "'sg-ctl group list' shows the groups there are".to_owned(),
        };
        Refusal::new(code, format!("The security group '{given}' does not exist in VPC '{vpc}'; {next}"))
            .into()
    })
}

/// The groups of that name which VPCs other than `vpc` have, for a refusal.
fn of_other_vpcs(state: &State, vpc: VpcId, name: &str) -> Vec<String> {
    let others = state.vpcs.keys().filter(|other| **other != vpc);
    others.filter_map(|other| Some(format!("{} of {other}", by_name(state, *other, name)?))).collect()
}

/// Finds a group by id, or by name in the default VPC: the VPC at hand where a command does not name one.
pub fn find_in_default_vpc(state: &State, given: &str) -> Result<GroupId> {
    find(state, vpc::find(state, None)?, given)
}

/// The group `default` of a VPC (M-23).
pub fn default_of(state: &State, vpc: VpcId) -> Result<GroupId> {
    find(state, vpc, "default")
}

/// Groups of one VPC, or of all, by VPC and then by name.
pub fn list(state: &State, vpc: Option<&str>) -> Result<Vec<GroupId>> {
    let vpc = vpc.map(|given| vpc::find(state, Some(given))).transpose()?;
    let mut groups: Vec<_> =
        state.groups.values().filter(|group| vpc.is_none_or(|vpc| group.vpc == vpc)).collect();
    groups.sort_by_key(|group| (group.vpc, group.name.to_lowercase(), group.id));
    Ok(groups.into_iter().map(|group| group.id).collect())
}

/// Deletes a group and its rules. Refused while an interface carries it or another group of its VPC names it (M-28). Its
/// own naming of itself does not hold it (P-18), nor do rules of a peer VPC, which turn stale (M-31).
pub fn delete(state: &mut State, given: &str) -> Result<GroupId> {
    let id = find_in_default_vpc(state, given)?;
    if state.groups.get(&id).is_some_and(|group| group.name == "default") {
        return Err(Refusal::new(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        )
        .into());
    }
    let holders = holders(state, id);
    if !holders.is_empty() {
        return Err(Refusal::new(
            "DependencyViolation",
            format!("resource {id} has a dependent object: {}; change these first", enumerate(&holders)),
        )
        .into());
    }
    state.groups.remove(&id);
    let rules: Vec<RuleId> = state.rules.of_group(id).map(|rule| rule.id).collect();
    rules.iter().for_each(|rule| drop(state.rules.remove(rule)));
    Ok(id)
}

/// What holds a group, in words (U-4).
fn holders(state: &State, id: GroupId) -> Vec<String> {
    let interfaces = state.interfaces.in_group(id);
    let interfaces = interfaces.map(|interface| format!("interface {} ({})", interface.name, interface.id));
    let vpc_of = |id| state.groups.get(&id).map(|group| group.vpc);
    let rules = state
        .rules
        .naming_group(id)
        .filter(|rule| rule.group != id)
        .filter(|rule| vpc_of(rule.group) == vpc_of(id))
        .map(|rule| {
            let name = state.groups.get(&rule.group).map_or("", |group| group.name.as_str());
            format!("rule {} of group {name} ({})", rule.id, rule.group)
        });
    interfaces.chain(rules).collect()
}

/// Names are compared without case, and unique so (M-11).
pub(crate) fn by_name(state: &State, vpc: VpcId, name: &str) -> Option<GroupId> {
    state.groups.named(vpc, name.trim_end_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Direction, Vpc},
        ops::{
            rule,
            testing::{group, refusal, refused, state},
        },
    };

    fn create_named(state: &mut State, name: &str) -> Result<GroupId> {
        create(state, &Create::new(name, "test"))
    }

    #[test]
    fn m11_names_compare_without_case_and_after_trimming() {
        let (mut state, vpc) = state();
        let web = create_named(&mut state, "Web ").unwrap();
        assert_eq!(find(&state, vpc, "wEB").unwrap(), web);
        assert_eq!(
            refused(create_named(&mut state, "WEB  ")),
            format!("InvalidGroup.Duplicate: The security group 'WEB' already exists for VPC '{vpc}'")
        );
    }

    #[test]
    fn m11_another_vpc_may_use_the_name_again() {
        let (mut state, _) = state();
        let web = create_named(&mut state, "web").unwrap();
        let id = VpcId::random();
        state.vpcs.insert(id, Vpc { id, is_default: false, cidrs: Vec::new(), tags: Default::default() });
        let other = Create { vpc: Some(id.to_string()), ..Create::new("web", "test") };
        let twin = create(&mut state, &other).unwrap();
        assert_ne!(web, twin);
        assert_eq!(find(&state, id, "web").unwrap(), twin);
        assert_eq!(find_in_default_vpc(&state, "web").unwrap(), web);
        assert_eq!(list(&state, Some(&id.to_string())).unwrap(), [twin]);
        assert_eq!(list(&state, None).unwrap().len(), 3);
    }

    #[test]
    fn m26_a_new_group_has_no_inbound_and_all_outbound() {
        let (mut state, _) = state();
        let web = group(&mut state, "web");
        let rules: Vec<_> = state.rules.values().filter(|rule| rule.group == web).collect();
        assert_eq!(rules.len(), 2);
        assert!(rules.iter().all(|rule| rule.direction == Direction::Egress));
    }

    #[test]
    fn a_refused_creation_changes_nothing() {
        let (mut state, _) = state();
        let before = state.clone();
        let bad = Create { tags: vec!["no-equals-sign".to_owned()], ..Create::new("web", "test") };
        assert!(create(&mut state, &bad).is_err());
        assert_eq!(state, before);
    }

    #[test]
    fn a58_the_default_group_stays() {
        let (mut state, vpc) = state();
        let id = default_of(&state, vpc).unwrap();
        assert_eq!(
            refused(delete(&mut state, "default")),
            format!(
                "CannotDelete: the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"
            )
        );
    }

    #[test]
    fn a58b_what_holds_a_group_is_named() {
        let (mut state, _) = state();
        let (web, db) = (group(&mut state, "web"), group(&mut state, "db"));
        let added = rule::add(&mut state, "db", &rule::Content::tcp("5432").with_group("web")).unwrap();
        let held = refusal(delete(&mut state, "web"));
        assert_eq!(held.code, "DependencyViolation");
        assert_eq!(
            held.message,
            format!(
                "resource {web} has a dependent object: rule {} of group db ({db}); change these first",
                added.rules[0]
            )
        );
        delete(&mut state, "db").unwrap();
        delete(&mut state, "web").unwrap();
        assert!(state.rules.values().all(|rule| rule.group != web && rule.group != db));
    }

    #[test]
    fn m33_no_more_groups_than_the_quota() {
        let (mut state, _) = state();
        state.quotas.0.insert(Quota::Groups, 2);
        create_named(&mut state, "a").unwrap();
        let reached = |limit: u32| {
            let next = limit + 1;
            format!(
                "SecurityGroupLimitExceeded: The maximum number of security groups has been reached. It is {limit}; 'sg-ctl \
                 quota groups={next}' raises it"
            )
        };
        assert_eq!(refused(create_named(&mut state, "b")), reached(2));
        // A VPC brings one along.
        assert_eq!(refused(vpc::create(&mut state, "prod", &[])), reached(2));
        state.quotas.0.insert(Quota::Groups, 3);
        create_named(&mut state, "b").unwrap();
        // Lowered below what there is, it leaves that alone.
        state.quotas.0.insert(Quota::Groups, 1);
        delete(&mut state, "b").unwrap();
        assert_eq!(refused(create_named(&mut state, "b")), reached(1));
        state.quotas.0.remove(&Quota::Groups);
        create_named(&mut state, "b").unwrap();
    }

    #[test]
    fn m30_self_reference_does_not_block_deletion() {
        let (mut state, _) = state();
        let web = group(&mut state, "web");
        rule::add(&mut state, "web", &rule::Content::tcp("22").with_group("web")).unwrap();
        assert_eq!(delete(&mut state, &web.to_string()).unwrap(), web);
    }

    #[test]
    fn a67_an_unknown_id_is_refused_with_ec2s_text() {
        let (state, _) = state();
        assert_eq!(
            refused(find_in_default_vpc(&state, "sg-12345678")),
            "InvalidGroup.NotFound: The security group 'sg-12345678' does not exist"
        );
    }

    #[test]
    fn a67_a_near_name_is_offered() {
        let (mut state, vpc) = state();
        group(&mut state, "database");
        assert_eq!(
            refused(find_in_default_vpc(&state, "databse")),
            format!(
                "InvalidGroup.NotFound: The security group 'databse' does not exist in VPC '{vpc}'; did you mean \
                 'database'?"
            )
        );
        assert_eq!(
            refused(find_in_default_vpc(&state, "mail")),
            format!(
                "InvalidGroup.NotFound: The security group 'mail' does not exist in VPC '{vpc}'; 'sg-ctl group list' \
                 shows the groups there are"
            )
        );
    }

    #[test]
    fn a67_a_name_of_another_vpc_is_answered_with_the_id() {
        let (mut state, vpc) = state();
        create_named(&mut state, "db1").unwrap();
        let other = vpc::create(&mut state, "prod", &[]).unwrap();
        let there = create(&mut state, &Create { vpc: Some(other.to_string()), ..Create::new("DB", "test") })
            .unwrap();
        assert_eq!(
            refused(find(&state, vpc, "db")),
            format!(
                "InvalidGroup.NotFound: The security group 'db' does not exist in VPC '{vpc}'; another VPC's goes by its \
                 id, and of that name there is {there} of {other}"
            )
        );
    }

    #[test]
    fn a67c_a_malformed_id_is_refused() {
        let (state, _) = state();
        assert_eq!(
            refused(find_in_default_vpc(&state, "sg-xyz")),
            "InvalidGroupId.Malformed: The security group ID 'sg-xyz' is malformed"
        );
    }
}
