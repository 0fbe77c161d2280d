//! Interfaces: finding one, and the groups it carries.

use super::{group, nearest};
use crate::{
    error::{Refusal, Result},
    model::{Attachment, EniId, GroupId, Interface, Quota, State, TimeoutSettings, VpcId},
};
use std::ops::RangeInclusive;

/// `interface set-timeouts` as typed, in seconds.
#[derive(Clone, Debug, Default)]
pub struct GivenTimeouts {
    /// `TcpEstablishedTimeout`
    pub tcp_established: Option<String>,
    /// `UdpTimeout`
    pub udp: Option<String>,
    /// `UdpStreamTimeout`
    pub udp_stream: Option<String>,
}

/// Finds an interface by the name of its device in a network namespace, by the name it is registered under, or by its id.
pub fn find(state: &State, netns: Option<&str>, given: &str) -> Result<EniId> {
    if let Some(found) = by_name(state, netns, given) {
        return Ok(found);
    }
    let same_name = || state.interfaces.named(given);
    // One that is enforced elsewhere has no namespace here.
    if let Some(registered) = same_name().find(|interface| interface.is_registered()) {
        return Ok(registered.id);
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
        None => {
            let here = state.interfaces.values().filter(|eni| same_netns(eni.netns.as_deref(), netns));
            let near = nearest(given, here.map(|eni| eni.name.as_str()));
            let near = near.map_or(String::new(), |name| format!("; or did you mean '{name}'?"));
            format!("; 'sg-ctl attach {given}' makes it known{near}")
        }
    };
    Err(not_found(next).into())
}

/// The interface of that name in a network namespace.
pub(crate) fn by_name(state: &State, netns: Option<&str>, name: &str) -> Option<EniId> {
    let mut named = state.interfaces.named(name);
    named.find(|eni| same_netns(eni.netns.as_deref(), netns)).map(|eni| eni.id)
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
    let quota = Quota::GroupsPerInterface;
    let limit = state.quotas.get(quota);
    if groups.len() > limit as usize {
        let message = format!(
            "The maximum number of security groups per interface has been reached. It is {limit}; 'sg-ctl quota \
             {quota}={}' raises it",
            groups.len()
        );
        return Err(Refusal::new("SecurityGroupsPerInterfaceLimitExceeded", message).into());
    }
    Ok(groups)
}

/// Replaces the whole set of groups of an interface.
pub fn set_groups(state: &mut State, netns: Option<&str>, given: &str, groups: &[String]) -> Result<EniId> {
    let id = find(state, netns, given)?;
    if groups.is_empty() {
        return Err(Refusal::new(
            "MissingParameter",
            "An interface carries at least one security group; name one or more",
        )
        .into());
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

/// Sets the timeouts that are given and leaves the others as they are (T-19). All are checked before one is set.
pub fn set_timeouts(
    state: &mut State,
    netns: Option<&str>,
    given: &str,
    timeouts: &GivenTimeouts,
) -> Result<EniId> {
    let id = find(state, netns, given)?;
    let tcp_established =
        seconds("TcpEstablishedTimeout", timeouts.tcp_established.as_deref(), 60..=432_000)?;
    let udp = seconds("UdpTimeout", timeouts.udp.as_deref(), 30..=60)?;
    let udp_stream = seconds("UdpStreamTimeout", timeouts.udp_stream.as_deref(), 60..=180)?;
    if [tcp_established, udp, udp_stream] == [None; 3] {
        let message = "The request must contain one of: --tcp-established, --udp, --udp-stream";
        return Err(Refusal::new("MissingParameter", message).into());
    }
    if let Some(attachment) = attachment_mut(state, id)? {
        let set = &mut attachment.timeouts;
        *set = TimeoutSettings {
            tcp_established: tcp_established.or(set.tcp_established),
            udp: udp.or(set.udp),
            udp_stream: udp_stream.or(set.udp_stream),
        };
    }
    Ok(id)
}

/// How an interface is enforced, for a change to it. One that is only registered is enforced elsewhere, and changed there.
fn attachment_mut(state: &mut State, id: EniId) -> Result<Option<&mut Attachment>> {
    let Some(interface) = state.interfaces.get_mut(&id) else { return Ok(None) };
    if interface.is_registered() {
        let message = format!(
            "{} is registered as a member only; set its timeouts where it is enforced",
            interface.name
        );
        return Err(Refusal::new("OperationNotPermitted", message).into());
    }
    Ok(interface.attachment.as_mut())
}

/// A timeout as typed, in the range that EC2 takes for this field (T-25).
fn seconds(field: &str, given: Option<&str>, range: RangeInclusive<u32>) -> Result<Option<u32>> {
    let Some(text) = given else { return Ok(None) };
    match text.parse() {
        Ok(seconds) if range.contains(&seconds) => Ok(Some(seconds)),
        _ => {
            let (least, most) = range.into_inner();
            let message =
                format!("Value ({text}) for {field} is invalid. It must be from {least} to {most} seconds.");
            Err(Refusal::invalid(message).into())
        }
    }
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
        model::{Attachment, Mode, Options, Side, Vpc},
        ops::testing::{group, refused, state},
    };

    /// Records an attached interface of a VPC, with its group `default`.
    pub fn attached_in(state: &mut State, vpc: VpcId, name: &str) -> EniId {
        let id = attached(state, name, None);
        let groups = resolve_groups(state, vpc, &[]).unwrap();
        let interface = state.interfaces.get_mut(&id).unwrap();
        (interface.vpc, interface.groups) = (vpc, groups);
        id
    }

    /// Records an attached interface of the default VPC, with its group `default`.
    pub fn attached(state: &mut State, name: &str, netns: Option<&str>) -> EniId {
        let vpc = super::super::ensure_default_vpc(state);
        let groups = resolve_groups(state, vpc, &[]).unwrap();
        let id = EniId::random();
        let attachment = Attachment {
            slot: 0,
            ifindex: 2,
            namespace: 0,
            mac: [2, 0, 0, 0, 0, 1],
            side: Side::Host,
            mode: Mode::Generic,
            mode_reason: "test".to_owned(),
            options: Options::default(),
            timeouts: TimeoutSettings::default(),
            attached_since: 0,
            observe_until: None,
        };
        let interface = Interface {
            id,
            name: name.to_owned(),
            netns: netns.map(str::to_owned),
            vpc,
            groups,
            addresses: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            attachment: Some(attachment),
            tags: Default::default(),
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
        attached(&mut state, "uplink", None);
        for (given, message) in [
            ("eni-12345678", ""),
            ("eth9", "; 'sg-ctl attach eth9' makes it known"),
            ("uplnk", "; 'sg-ctl attach uplnk' makes it known; or did you mean 'uplink'?"),
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

    fn given(field: usize, seconds: &str) -> GivenTimeouts {
        let of = |n| (n == field).then(|| seconds.to_owned());
        GivenTimeouts { tcp_established: of(0), udp: of(1), udp_stream: of(2) }
    }

    #[test]
    fn t25_timeouts_are_taken_within_ec2s_ranges_only() {
        let (mut state, _) = state();
        let eni = attached(&mut state, "eth0", None);
        for (field, name, range, refusals) in [
            (0, "TcpEstablishedTimeout", [60, 432_000], ["59", "432001"]),
            (1, "UdpTimeout", [30, 60], ["29", "61"]),
            (2, "UdpStreamTimeout", [60, 180], ["59", "181"]),
        ] {
            let before = state.clone();
            for text in refusals.into_iter().chain(["0", "-1", "", "1m", "4294967297"]) {
                assert_eq!(
                    refused(set_timeouts(&mut state, None, "eth0", &given(field, text))),
                    format!(
                        "InvalidParameterValue: Value ({text}) for {name} is invalid. It must be from {} to {} \
                         seconds.",
                        range[0], range[1]
                    )
                );
            }
            assert_eq!(state, before);
            for seconds in range {
                set_timeouts(&mut state, None, "eth0", &given(field, &seconds.to_string())).unwrap();
                let set = state.interfaces[&eni].attachment.as_ref().unwrap().timeouts;
                assert_eq!([set.tcp_established, set.udp, set.udp_stream][field], Some(seconds));
            }
        }
    }

    #[test]
    fn t19_a_timeout_that_is_not_given_stays_as_it_is() {
        let (mut state, _) = state();
        let eni = attached(&mut state, "eth0", None);
        set_timeouts(&mut state, None, "eth0", &given(0, "350")).unwrap();
        set_timeouts(&mut state, None, "eth0", &given(2, "60")).unwrap();
        let before = state.clone();
        let set = before.interfaces[&eni].attachment.as_ref().unwrap().timeouts;
        assert_eq!(set, TimeoutSettings { tcp_established: Some(350), udp: None, udp_stream: Some(60) });
        let in_force = set.in_force();
        assert_eq!((in_force.tcp_established, in_force.udp, in_force.udp_stream), (350, 30, 60));
        // All or nothing, and nothing is no request.
        let half = GivenTimeouts { udp: Some("29".to_owned()), ..given(0, "60") };
        refused(set_timeouts(&mut state, None, "eth0", &half));
        let none = refused(set_timeouts(&mut state, None, "eth0", &GivenTimeouts::default()));
        assert!(none.starts_with("MissingParameter: "), "{none}");
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
             reached. It is 5; 'sg-ctl quota groups-per-interface=6' raises it"
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
        state.vpcs.insert(id, Vpc { id, is_default: false, cidrs: Vec::new(), tags: Default::default() });
        let create = group::Create { vpc: Some(id.to_string()), ..group::Create::new("far", "test") };
        let far = group::create(&mut state, &create).unwrap();
        assert_eq!(
            refused(resolve_groups(&state, vpc, &[far.to_string()])),
            "InvalidGroup.NotFound: You have specified two resources that belong to different networks."
        );
    }
}
