//! Which rules admitted a new flow that the datapath counted.

use super::{
    Family, List, Permission,
    interface::{is_in_reach, is_world},
    members::identity,
};
use crate::model::{Direction, Interface, Peer, Rule, RuleId, State, VpcId};
use sg_common::hit::Head;
use std::net::IpAddr;

/// The rules of an attached interface that admit a flow with this head. Without a far end it is one that is open to the
/// world, and only rules that open the port to everybody count.
pub fn admitting<'a>(
    state: &'a State,
    eni: &'a Interface,
    head: &'a Head,
    remote: Option<IpAddr>,
) -> impl Iterator<Item = RuleId> + 'a {
    let direction = if head.is_egress { Direction::Egress } else { Direction::Ingress };
    let family = if head.is_v6 { Family::V6 } else { Family::V4 };
    let rules = eni.groups.iter().flat_map(|group| state.rules.of_group(*group));
    let admits = move |rule: &&Rule| {
        rule.direction == direction
            && Permission::of(rule.traffic, family).admits(family, head.protocol, head.point)
            && match remote {
                Some(remote) => means(state, eni.vpc, rule.peer, remote),
                None => is_world(rule, family),
            }
    };
    rules.filter(admits).map(|rule| rule.id)
}

/// Whether a peer in rules of a VPC's groups means this address. (`interface::meant` names all that a peer means.)
fn means(state: &State, vpc: VpcId, peer: Peer, remote: IpAddr) -> bool {
    match (peer, remote) {
        (Peer::Ipv4(net), IpAddr::V4(remote)) => net.contains(&remote),
        (Peer::Ipv6(net), IpAddr::V6(remote)) => net.contains(&remote),
        (Peer::Group(group), _) => is_in_reach(state, vpc, group) && identity(state, remote).contains(&group),
        (Peer::PrefixList(list), _) => {
            state.prefix_lists.get(&list).is_some_and(|list| List::from(list).covers(remote))
        }
        (Peer::Ipv4(_) | Peer::Ipv6(_), _) => false,
    }
}
