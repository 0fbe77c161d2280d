//! VPCs: the default one, and finding one.

use super::name;
use crate::{
    error::{Refusal, Result},
    model::{Direction, GroupId, Peer, Rule, RuleId, SecurityGroup, State, Tags, Traffic, Vpc, VpcId},
};
use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// `0.0.0.0/0`
const ANY_IPV4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
/// `::/0`
const ANY_IPV6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0);

/// The default VPC; the first use makes it, with its `default` group.
pub fn ensure_default_vpc(state: &mut State) -> VpcId {
    if let Some(vpc) = default_vpc(state) {
        return vpc;
    }
    let id = VpcId::random();
    state.vpcs.insert(id, Vpc { id, is_default: true, cidrs: Vec::new(), tags: Tags::new() });
    add_default_group(state, id);
    id
}

/// The default VPC, where there is one already.
#[must_use]
pub fn default_vpc(state: &State) -> Option<VpcId> {
    state.vpcs.values().find(|vpc| vpc.is_default).map(|vpc| vpc.id)
}

/// The VPC of that id or name, or the default one.
pub fn find(state: &State, given: Option<&str>) -> Result<VpcId> {
    let Some(given) = given else {
        return default_vpc(state).ok_or_else(|| {
            Refusal::new(
                "VPCIdNotSpecified",
                "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.",
            )
            .into()
        });
    };
    if !VpcId::is_meant_by(given) {
        let sought = name::Sought {
            not_found: "InvalidVpcID.NotFound",
            noun: "vpc ID",
            list: "sg-ctl vpc list",
            typed: given,
        };
        let names = state.vpcs.values().filter_map(|vpc| Some((vpc.id, vpc.name()?)));
        return name::only(sought, names);
    }
    let id: VpcId = given.parse()?;
    if state.vpcs.contains_key(&id) {
        return Ok(id);
    }
    Err(Refusal::new("InvalidVpcID.NotFound", format!("The vpc ID '{id}' does not exist")).into())
}

/// The group `default` of a VPC (M-23): inbound everything from itself, outbound everything.
fn add_default_group(state: &mut State, vpc: VpcId) {
    let id = GroupId::random();
    state.groups.insert(
        id,
        SecurityGroup {
            id,
            name: "default".to_owned(),
            description: "default VPC security group".to_owned(),
            vpc,
            tags: Tags::new(),
        },
    );
    add_open_rule(state, id, Direction::Ingress, Peer::Group(id));
    add_outbound_rules(state, id);
}

/// The outbound rules that every group is born with: to all addresses of each family that its VPC has (M-23, M-26).
pub(super) fn add_outbound_rules(state: &mut State, group: GroupId) {
    add_open_rule(state, group, Direction::Egress, Peer::Ipv4(ANY_IPV4));
    let vpc = state.groups.get(&group).and_then(|group| state.vpcs.get(&group.vpc));
    if vpc.is_some_and(Vpc::has_ipv6) {
        add_open_rule(state, group, Direction::Egress, Peer::Ipv6(ANY_IPV6));
    }
}

fn add_open_rule(state: &mut State, group: GroupId, direction: Direction, peer: Peer) {
    let id = RuleId::random();
    state.rules.insert(id, Rule::new(id, group, direction, Traffic::All, peer));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{refused, state};

    #[test]
    fn m23_the_default_group_admits_itself_and_lets_everything_out() {
        let (state, vpc) = state();
        let group = state.groups.values().next().unwrap();
        assert_eq!((group.name.as_str(), group.vpc), ("default", vpc));
        let mut rules: Vec<_> = state.rules.values().map(|r| (r.direction, r.traffic, r.peer)).collect();
        rules.sort_unstable();
        assert_eq!(
            rules,
            [
                (Direction::Ingress, Traffic::All, Peer::Group(group.id)),
                (Direction::Egress, Traffic::All, Peer::Ipv4("0.0.0.0/0".parse().unwrap())),
                (Direction::Egress, Traffic::All, Peer::Ipv6("::/0".parse().unwrap())),
            ]
        );
    }

    #[test]
    fn the_default_vpc_is_made_once() {
        let (mut state, vpc) = state();
        let before = state.clone();
        assert_eq!(ensure_default_vpc(&mut state), vpc);
        assert_eq!(state, before);
    }

    #[test]
    fn a75_an_unknown_vpc_is_refused() {
        let (state, vpc) = state();
        assert_eq!(find(&state, None).unwrap(), vpc);
        assert_eq!(find(&state, Some(&vpc.to_string())).unwrap(), vpc);
        assert_eq!(
            refused(find(&state, Some("vpc-12345678"))),
            "InvalidVpcID.NotFound: The vpc ID 'vpc-12345678' does not exist"
        );
        assert_eq!(
            refused(find(&state, Some("prod"))),
            "InvalidVpcID.NotFound: The vpc ID 'prod' does not exist; 'sg-ctl vpc list' shows what there is"
        );
        assert_eq!(
            refused(find(&state, Some("vpc-x"))),
            "InvalidVpcID.Malformed: The vpc ID 'vpc-x' is malformed"
        );
    }

    #[test]
    fn a70b_without_a_default_vpc_one_must_be_named() {
        assert_eq!(
            refused(find(&State::default(), None)),
            "VPCIdNotSpecified: No default VPC for this user. GroupName is only supported for EC2-Classic and \
             default VPC."
        );
    }
}
