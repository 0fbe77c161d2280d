//! Interfaces: finding one, and the groups it carries.

use super::group;
use crate::{
    error::{Refusal, Result},
    model::{EniId, GroupId, Interface, State, VpcId},
};

/// Groups of one interface at most (M-35).
pub const GROUPS_PER_INTERFACE: usize = 5;

/// Finds an interface by the name of its device in a network namespace, or by its id.
pub fn find(state: &State, netns: Option<&str>, given: &str) -> Result<EniId> {
    let same_name = || state.interfaces.values().filter(|interface| interface.name == given);
    if let Some(found) = same_name().find(|interface| same_netns(interface.netns.as_deref(), netns)) {
        return Ok(found.id);
    }
    let not_found = |next: String| {
        Refusal::new(
            "InvalidNetworkInterfaceID.NotFound",
            format!("The networkInterface ID '{given}' does not exist{next}"),
        )
    };
    if EniId::is_meant_by(given) {
        let id: EniId = given.parse()?;
        return match state.interfaces.contains_key(&id) {
            true => Ok(id),
            false => Err(not_found(String::new()).into()),
        };
    }
    let next = match same_name().next().map(|interface| interface.netns.as_deref()) {
        Some(Some(netns)) => {
            format!("; the attached one of that name is in another namespace: --netns {netns}")
        }
        Some(None) => {
            "; the attached one of that name is not in that namespace: leave --netns out".to_owned()
        }
        None => format!("; 'sg-ctl attach {given}' makes it known"),
    };
    Err(not_found(next).into())
}

/// Interfaces by namespace and name.
#[must_use]
pub fn list(state: &State) -> Vec<EniId> {
    let mut interfaces: Vec<&Interface> = state.interfaces.values().collect();
    interfaces.sort_by_key(|interface| (&interface.netns, &interface.name, interface.id));
    interfaces.into_iter().map(|interface| interface.id).collect()
}

/// The groups that an interface of `vpc` is to carry; none given is the VPC's `default` (M-25). A group given twice
/// counts once.
pub fn resolve_groups(state: &State, vpc: VpcId, given: &[String]) -> Result<Vec<GroupId>> {
    if given.is_empty() {
        return Ok(vec![group::default_of(state, vpc)?]);
    }
    let mut groups = Vec::with_capacity(given.len());
    for text in given {
        let id = group::find_or(state, vpc, text, "InvalidSecurityGroupID.NotFound")?;
        if state.groups.get(&id).is_some_and(|group| group.vpc != vpc) {
            return Err(Refusal::new(
                "InvalidGroup.NotFound",
                "You have specified two resources that belong to different networks.",
            )
            .into());
        }
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    if groups.len() > GROUPS_PER_INTERFACE {
        return Err(Refusal::new(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        )
        .into());
    }
    Ok(groups)
}

/// Replaces the whole set of groups of an interface.
pub fn set_groups(state: &mut State, netns: Option<&str>, given: &str, groups: &[String]) -> Result<EniId> {
    let id = find(state, netns, given)?;
    if groups.is_empty() {
        return Err(
            Refusal::new("MissingParameter", "An interface carries at least one security group").into()
        );
    }
    let Some(vpc) = state.interfaces.get(&id).map(|interface| interface.vpc) else {
        return Ok(id);
    };
    let groups = resolve_groups(state, vpc, groups)?;
    if let Some(interface) = state.interfaces.get_mut(&id) {
        interface.groups = groups;
    }
    Ok(id)
}

/// Whether two ways to name a namespace mean one: `ip netns` names are files below /run/netns.
fn same_netns(one: Option<&str>, other: Option<&str>) -> bool {
    fn plain(name: &str) -> &str {
        name.strip_prefix("/var").unwrap_or(name).strip_prefix("/run/netns/").unwrap_or(name)
    }
    one.map(plain) == other.map(plain)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        model::{Attachment, Mode, Options, Side, Timeouts, Vpc},
        ops::testing::{group, refused, state},
    };

    /// Records an attached interface with the group `default`.
    pub fn attached(state: &mut State, name: &str, netns: Option<&str>) -> EniId {
        let vpc = super::super::ensure_default_vpc(state);
        let groups = resolve_groups(state, vpc, &[]).unwrap();
        let id = EniId::random();
        let attachment = Attachment {
            slot: 0,
            ifindex: 2,
            mac: [2, 0, 0, 0, 0, 1],
            side: Side::Host,
            mode: Mode::Generic,
            mode_reason: "test".to_owned(),
            options: Options::default(),
            timeouts: Timeouts::default(),
            attached_since: 0,
        };
        let interface = Interface {
            id,
            name: name.to_owned(),
            netns: netns.map(str::to_owned),
            vpc,
            groups,
            addresses: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            attachment,
        };
        state.interfaces.insert(id, interface);
        id
    }

    fn names(given: &[&str]) -> Vec<String> {
        given.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_interface_is_found_by_name_in_its_namespace_or_by_id() {
        let (mut state, _) = state();
        let here = attached(&mut state, "eth0", None);
        let there = attached(&mut state, "eth0", Some("blue"));
        assert_eq!(find(&state, None, "eth0").unwrap(), here);
        assert_eq!(find(&state, Some("blue"), "eth0").unwrap(), there);
        assert_eq!(find(&state, Some("/run/netns/blue"), "eth0").unwrap(), there);
        assert_eq!(find(&state, Some("/var/run/netns/blue"), "eth0").unwrap(), there);
        assert_eq!(find(&state, None, &there.to_string()).unwrap(), there);
    }

    #[test]
    fn a75_an_unknown_interface_is_refused_with_the_next_step() {
        let (mut state, _) = state();
        attached(&mut state, "eth0", Some("blue"));
        for (given, message) in [
            ("eni-12345678", ""),
            ("eth9", "; 'sg-ctl attach eth9' makes it known"),
            ("eth0", "; the attached one of that name is in another namespace: --netns blue"),
        ] {
            assert_eq!(
                refused(find(&state, None, given)),
                format!(
                    "InvalidNetworkInterfaceID.NotFound: The networkInterface ID '{given}' does not exist{message}"
                )
            );
        }
        assert_eq!(
            refused(find(&state, None, "eni-x")),
            "InvalidNetworkInterfaceId.Malformed: The networkInterface ID 'eni-x' is malformed"
        );
    }

    #[test]
    fn a32_set_groups_replaces_the_whole_set() {
        let (mut state, _) = state();
        let eni = attached(&mut state, "eth0", None);
        let (web, db) = (group(&mut state, "web"), group(&mut state, "db"));
        set_groups(&mut state, None, "eth0", &names(&["web", "db", "WEB"])).unwrap();
        assert_eq!(state.interfaces[&eni].groups, [web, db]);
        let before = state.clone();
        assert!(refused(set_groups(&mut state, None, "eth0", &[])).starts_with("MissingParameter: "));
        assert_eq!(state, before);
    }

    #[test]
    fn m25_without_a_group_the_default_one_is_meant() {
        let (state, vpc) = state();
        assert_eq!(resolve_groups(&state, vpc, &[]).unwrap(), [group::default_of(&state, vpc).unwrap()]);
    }

    #[test]
    fn a71c_m35_five_groups_at_most() {
        let (mut state, vpc) = state();
        let all: Vec<String> = (0..6).map(|n| group(&mut state, &format!("g{n}")).to_string()).collect();
        assert_eq!(resolve_groups(&state, vpc, &all[..5]).unwrap().len(), 5);
        assert_eq!(
            refused(resolve_groups(&state, vpc, &all)),
            "SecurityGroupsPerInterfaceLimitExceeded: The maximum number of security groups per interface has been \
             reached."
        );
    }

    #[test]
    fn a72_an_unknown_group_on_an_interface_has_its_own_code() {
        let (state, vpc) = state();
        assert_eq!(
            refused(resolve_groups(&state, vpc, &names(&["sg-12345678"]))),
            "InvalidSecurityGroupID.NotFound: The security group 'sg-12345678' does not exist"
        );
    }

    #[test]
    fn p18_a_group_of_another_vpc_is_not_found() {
        let (mut state, vpc) = state();
        let id = VpcId::random();
        state.vpcs.insert(id, Vpc { id, is_default: false, tags: Default::default() });
        let create = group::Create { vpc: Some(id.to_string()), ..group::Create::new("far", "test") };
        let far = group::create(&mut state, &create).unwrap();
        assert_eq!(
            refused(resolve_groups(&state, vpc, &[far.to_string()])),
            "InvalidGroup.NotFound: You have specified two resources that belong to different networks."
        );
    }
}
