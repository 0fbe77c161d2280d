//! VPCs: the default one, creating, finding, listing and deleting.

use super::{enumerate, group, name, peer, peering, quota, tag};
use crate::{
    error::{Refusal, Result},
    model::{Direction, GroupId, Peer, Quota, Rule, RuleId, SecurityGroup, State, Tags, Traffic, Vpc, VpcId},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

/// Prefix lengths of an IPv4 block of a VPC, as in EC2.
const IPV4_LENGTHS: RangeInclusive<u8> = 16..=28;

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

/// Makes a VPC of that name with its group `default` (M-23). Its blocks are kept in canonical form.
pub fn create(state: &mut State, name: &str, cidrs: &[String]) -> Result<VpcId> {
    let tags = named(name)?;
    let cidrs = blocks(cidrs)?;
    let limit = state.quotas.get(Quota::Vpcs);
    if state.vpcs.len() >= limit as usize {
        let message = format!(
            "The maximum number of VPCs has been reached. {}",
            quota::how_to_raise(Quota::Vpcs, limit)
        );
        return Err(Refusal::new("VpcLimitExceeded", message).into());
    }
    group::refuse_beyond_quota(state)?;
    let id = VpcId::random();
    state.vpcs.insert(id, Vpc { id, is_default: false, cidrs, tags });
    add_default_group(state, id);
    Ok(id)
}

/// The tag that holds a name.
pub(crate) fn named(name: &str) -> Result<Tags> {
    let name = name.trim_end_matches(' ');
    if name.is_empty() || VpcId::is_meant_by(name) {
        let message = format!("'{name}' is no name for a VPC: it must not be empty nor begin with 'vpc-'");
        return Err(Refusal::invalid(message).into());
    }
    tag::parse(&[format!("Name={name}")])
}

/// Reads the blocks of a VPC. IPv6 ones may have any length but 0: EC2 hands them out itself, and here they are what
/// the networks of the hosts have.
pub(crate) fn blocks(given: &[String]) -> Result<Vec<IpNet>> {
    let mut blocks: Vec<IpNet> = Vec::with_capacity(given.len());
    for typed in given {
        let block = peer::network(typed)?;
        let (fits, hint) = match block {
            IpNet::V4(net) => (IPV4_LENGTHS.contains(&net.prefix_len()), "an IPv4 block has /16 to /28"),
            IpNet::V6(net) => (net.prefix_len() > 0, "an IPv6 block is not all addresses"),
        };
        if !fits {
            let message = format!("The CIDR '{block}' is invalid: {hint}.");
            return Err(Refusal::new("InvalidVpc.Range", message).into());
        }
        if let Some(other) = blocks.iter().find(|other| overlap(other, &block)) {
            let message = format!("The CIDR '{block}' is invalid: it overlaps with '{other}'.");
            return Err(Refusal::new("InvalidVpc.Range", message).into());
        }
        blocks.push(block);
    }
    Ok(blocks)
}

/// Whether two blocks have an address in common.
pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// VPCs, the default one first, then by name.
#[must_use]
pub fn list(state: &State) -> Vec<VpcId> {
    let mut vpcs: Vec<&Vpc> = state.vpcs.values().collect();
    vpcs.sort_by_key(|vpc| (!vpc.is_default, vpc.name(), vpc.id));
    vpcs.into_iter().map(|vpc| vpc.id).collect()
}

/// Deletes a VPC with its group `default`, and ends its peerings. Refused while it has other groups, or interfaces
/// (M-32). `now` is in seconds since the Unix epoch.
pub fn delete(state: &mut State, given: &str, now: u64) -> Result<VpcId> {
    let id = find(state, Some(given))?;
    if state.vpcs.get(&id).is_some_and(|vpc| vpc.is_default) {
        // EC2 deletes it when asked. Here the next command would make another.
        let message = format!(
            "{id} is the default VPC, which every command falls back on; delete its groups and leave it empty"
        );
        return Err(Refusal::new("OperationNotPermitted", message).into());
    }
    let holders = holders(state, id);
    if !holders.is_empty() {
        let message =
            format!("The vpc '{id}' has dependencies and cannot be deleted: {}", enumerate(&holders));
        return Err(Refusal::new("DependencyViolation", message).into());
    }
    state.vpcs.remove(&id);
    state.groups.retain(|_, group| group.vpc != id);
    let State { groups, rules, .. } = state;
    rules.retain(|_, rule| groups.contains_key(&rule.group));
    peering::end_all_of(&mut state.peerings, id, now);
    Ok(id)
}

/// What holds a VPC, in words (U-4).
fn holders(state: &State, id: VpcId) -> Vec<String> {
    let groups = state.groups.values().filter(|group| group.vpc == id && group.name != "default");
    let groups = groups.map(|group| format!("group {} ({})", group.name, group.id));
    let interfaces = state.interfaces.values().filter(|interface| interface.vpc == id);
    groups.chain(interfaces.map(|eni| format!("interface {} ({})", eni.name, eni.id))).collect()
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
pub(crate) fn add_default_group(state: &mut State, vpc: VpcId) -> GroupId {
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
    id
}

/// The outbound rules that every group is born with: to all addresses of each family that its VPC has (M-23, M-26).
pub(crate) fn add_outbound_rules(state: &mut State, group: GroupId) {
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
    use crate::{
        model::PeeringStatus,
        ops::{
            group::Create,
            interface::tests::attached_in,
            rule::{self, Content},
            testing::{refusal, refused, state},
        },
    };

    fn create_with(state: &mut State, name: &str, cidrs: &[&str]) -> Result<VpcId> {
        create(state, name, &cidrs.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn m23_m26_a_vpc_is_born_with_its_default_group() {
        let (mut state, _) = state();
        let both = create_with(&mut state, "prod ", &["10.1.2.3/16", "2001:DB8::1/56"]).unwrap();
        let v4 = create_with(&mut state, "dev", &["10.2.0.0/28"]).unwrap();
        let none = create_with(&mut state, "lab", &[]).unwrap();
        assert_eq!(state.vpcs[&both].name(), Some("prod"));
        assert_eq!(
            state.vpcs[&both].cidrs,
            ["10.1.0.0/16".parse().unwrap(), "2001:db8::/56".parse().unwrap()]
        );
        for (vpc, outbound) in [(both, 2), (v4, 1), (none, 2)] {
            let default = group::default_of(&state, vpc).unwrap();
            let rules: Vec<_> = state.rules.values().filter(|rule| rule.group == default).collect();
            assert_eq!(rules.iter().filter(|rule| rule.direction == Direction::Egress).count(), outbound);
            let inbound: Vec<_> = rules.iter().filter(|rule| rule.direction == Direction::Ingress).collect();
            assert_eq!((inbound.len(), inbound[0].peer), (1, Peer::Group(default)));
            // Groups made later are born the same way.
            let create = Create { vpc: Some(vpc.to_string()), ..Create::new("web", "test") };
            let web = group::create(&mut state, &create).unwrap();
            assert_eq!(state.rules.values().filter(|rule| rule.group == web).count(), outbound);
        }
        assert_eq!(find(&state, Some("PROD")).unwrap(), both);
        assert_eq!(list(&state)[1..], [v4, none, both]);
    }

    #[test]
    fn vpc_blocks_are_checked() {
        let (mut state, _) = state();
        let before = state.clone();
        for (cidrs, expected) in [
            (
                &["10.0.0.0/15"][..],
                "InvalidVpc.Range: The CIDR '10.0.0.0/15' is invalid: an IPv4 block has /16 to /28.",
            ),
            (
                &["10.0.0.0/29"],
                "InvalidVpc.Range: The CIDR '10.0.0.0/29' is invalid: an IPv4 block has /16 to /28.",
            ),
            (&["::/0"], "InvalidVpc.Range: The CIDR '::/0' is invalid: an IPv6 block is not all addresses."),
            (
                &["10.0.0.0/16", "10.0.255.0/24"],
                "InvalidVpc.Range: The CIDR '10.0.255.0/24' is invalid: it overlaps with '10.0.0.0/16'.",
            ),
            (
                &["fd00:1::/64", "fd00::/16"],
                "InvalidVpc.Range: The CIDR 'fd00::/16' is invalid: it overlaps with 'fd00:1::/64'.",
            ),
            (&["10.0.0.0"], "InvalidParameterValue: CIDR block 10.0.0.0 is malformed"),
        ] {
            let refused = refused(create_with(&mut state, "prod", cidrs));
            assert!(refused.starts_with(expected), "{refused}");
        }
        for name in ["", "  ", "vpc-prod"] {
            assert_eq!(refusal(create_with(&mut state, name, &[])).code, "InvalidParameterValue");
        }
        assert_eq!(state, before);
    }

    #[test]
    fn m37_five_vpcs_unless_the_quota_is_raised() {
        let (mut state, _) = state();
        for name in ["a", "b", "c", "d"] {
            create_with(&mut state, name, &[]).unwrap();
        }
        let reached = |limit: u32| {
            let next = limit + 1;
            format!(
                "VpcLimitExceeded: The maximum number of VPCs has been reached. It is {limit}; 'sg-ctl quota vpcs={next}' \
                 raises it"
            )
        };
        assert_eq!(refused(create_with(&mut state, "e", &[])), reached(5));
        state.quotas.0.insert(Quota::Vpcs, 6);
        create_with(&mut state, "e", &[]).unwrap();
        assert_eq!(refused(create_with(&mut state, "f", &[])), reached(6));
    }

    #[test]
    fn m32_a_vpc_goes_with_its_default_group_and_not_before_the_others() {
        let (mut state, _) = state();
        let empty = state.clone();
        let vpc = create_with(&mut state, "prod", &[]).unwrap();
        let create = Create { vpc: Some("prod".to_owned()), ..Create::new("web", "test") };
        let web = group::create(&mut state, &create).unwrap();
        let eni = attached_in(&mut state, vpc, "eth0");
        assert_eq!(
            refused(delete(&mut state, "prod", 0)),
            format!(
                "DependencyViolation: The vpc '{vpc}' has dependencies and cannot be deleted: group web ({web}), \
                 interface eth0 ({eni})"
            )
        );
        group::delete(&mut state, &web.to_string()).unwrap();
        assert_eq!(refusal(delete(&mut state, "prod", 0)).code, "DependencyViolation");
        state.interfaces.remove(&eni);
        assert_eq!(delete(&mut state, "prod", 0).unwrap(), vpc);
        assert_eq!(state, empty);
    }

    #[test]
    fn m32_the_default_vpc_stays() {
        let (mut state, vpc) = state();
        assert_eq!(refusal(delete(&mut state, &vpc.to_string(), 0)).code, "OperationNotPermitted");
    }

    #[test]
    fn m31_m32_references_from_a_peer_do_not_hold_a_vpc_and_its_peerings_end() {
        let (mut state, _) = state();
        let prod = create_with(&mut state, "prod", &[]).unwrap();
        let dev = create_with(&mut state, "dev", &[]).unwrap();
        let peering = peering::create(&mut state, "prod", "dev", 10).unwrap().id;
        peering::accept(&mut state, &peering.to_string(), 11).unwrap();
        let [from, to] = [prod, dev].map(|vpc| group::default_of(&state, vpc).unwrap().to_string());
        rule::add(&mut state, &from, &Content::tcp("22").with_group(&to)).unwrap();
        delete(&mut state, "dev", 12).unwrap();
        let ended = &state.peerings[&peering];
        assert_eq!((ended.status, ended.since), (PeeringStatus::Deleted, 12));
        assert!(state.rules.values().any(|rule| rule.peer_vpc == Some(dev)), "it turns stale, and stays");
    }

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
