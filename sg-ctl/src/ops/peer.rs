//! Sources and destinations of rules (M-15 to M-17, A-45, A-46, A-60).

use super::{group, prefix_list};
use crate::{
    error::{Refusal, Result},
    model::{Peer, SecurityGroup, State, VpcId},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

/// Reads a CIDR into canonical form: host bits are cleared, IPv6 is compressed. The family is the text's own.
pub fn cidr(typed: &str) -> Result<Peer> {
    Ok(match network(typed)? {
        IpNet::V4(net) => Peer::Ipv4(net),
        IpNet::V6(net) => Peer::Ipv6(net),
    })
}

/// What a CIDR looks like.
const LIKE: &str = "; write it like 10.0.0.0/8 or 2001:db8::/32";

/// Reads a CIDR into canonical form.
pub fn network(typed: &str) -> Result<IpNet> {
    let malformed = |hint: &str| Refusal::invalid(format!("CIDR block {typed} is malformed{hint}"));
    let Some((address, length)) = typed.split_once('/') else {
        let hint = match typed.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => format!("; write {typed}/32 for the single address"),
            Ok(IpAddr::V6(_)) => format!("; write {typed}/128 for the single address"),
            Err(_) => LIKE.to_owned(),
        };
        return Err(malformed(&hint).into());
    };
    let address: IpAddr = address.parse().map_err(|_| malformed(LIKE))?;
    // A sign or a leading zero is not EC2's text, though `u8` reads it.
    let is_plain = length.bytes().all(|b| b.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    let length: u8 = length.parse().ok().filter(|_| is_plain).ok_or_else(|| malformed(LIKE))?;
    let net: IpNet = match address {
        IpAddr::V4(v4) => Ipv4Net::new(v4, length).map_err(|_| malformed(LIKE))?.trunc().into(),
        IpAddr::V6(v6) => Ipv6Net::new(v6, length).map_err(|_| malformed(LIKE))?.trunc().into(),
    };
    Ok(net)
}

/// Reads what a filter takes: a CIDR, or one address alone.
pub fn network_or_address(typed: &str) -> Result<IpNet> {
    typed.parse::<IpAddr>().map_or_else(|_| network(typed), |address| Ok(address.into()))
}

/// How the group of a rule is found.
pub type FindGroup = fn(&State, &SecurityGroup, &str) -> Result<Peer>;

/// The peers of rules of `owner` as typed: prefixes, then prefix lists, then groups.
pub fn read(
    state: &State,
    owner: &SecurityGroup,
    cidrs: &[String],
    prefix_lists: &[String],
    source_groups: &[String],
    find_group: FindGroup,
) -> Result<Vec<Peer>> {
    let cidrs = cidrs.iter().map(|typed| cidr(typed));
    let lists = prefix_lists.iter().map(|typed| prefix_list::find(state, typed).map(Peer::PrefixList));
    let groups = source_groups.iter().map(|typed| find_group(state, owner, typed));
    cidrs.chain(lists).chain(groups).collect()
}

/// The group that a rule of `owner` is to name: by name or id one of its VPC, by id one of a peered VPC as well (M-17,
/// M-66).
pub fn referenced_group(state: &State, owner: &SecurityGroup, typed: &str) -> Result<Peer> {
    let id = group::find(state, owner.vpc, typed)?;
    if state.groups.get(&id).is_some_and(|group| !state.may_reference(owner.vpc, group.vpc)) {
        return Err(Refusal::new(
            "InvalidGroup.NotFound",
            "You have specified two resources that belong to different networks.",
        )
        .into());
    }
    Ok(Peer::Group(id))
}

/// The group that rules of `owner` name already: a stale rule may be removed though its group, or the peering, is gone
/// (M-69).
pub fn named_group(state: &State, owner: &SecurityGroup, typed: &str) -> Result<Peer> {
    let named = typed.parse().ok().map(Peer::Group);
    let is_named = |peer: &Peer| state.rules.of_group(owner.id).any(|rule| rule.peer == *peer);
    named.filter(is_named).map_or_else(|| referenced_group(state, owner, typed), Ok)
}

/// The VPC of the group that a rule of `owner` names, where it is another than the owner's (M-72).
#[must_use]
pub fn foreign_vpc(state: &State, owner: &SecurityGroup, peer: Peer) -> Option<VpcId> {
    let Peer::Group(id) = peer else { return None };
    state.groups.get(&id).map(|group| group.vpc).filter(|vpc| *vpc != owner.vpc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::refused;

    #[test]
    fn a45_cidrs_are_stored_in_canonical_form() {
        for (typed, stored) in [
            ("100.68.0.18/18", "100.68.0.0/18"),
            ("203.0.113.1/32", "203.0.113.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("::0/0", "::/0"),
            ("2001:DB8:0:0::1/64", "2001:db8::/64"),
            ("2001:db8:1234:1a00::123/128", "2001:db8:1234:1a00::123/128"),
        ] {
            assert_eq!(cidr(typed).unwrap().to_string(), stored);
        }
    }

    #[test]
    fn a46_a_bare_address_is_refused_with_the_way_to_write_it() {
        assert_eq!(
            refused(cidr("123.123.123.123")),
            "InvalidParameterValue: CIDR block 123.123.123.123 is malformed; write 123.123.123.123/32 for the \
             single address"
        );
        assert_eq!(
            refused(cidr("::1")),
            "InvalidParameterValue: CIDR block ::1 is malformed; write ::1/128 for the single address"
        );
    }

    #[test]
    fn a60_malformed_cidrs_are_refused() {
        for typed in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0/8/8",
            "10.0.0.0/256",
            "::/129",
            "fe80::1%eth0/64",
            " 10.0.0.0/8",
            "any",
        ] {
            assert_eq!(
                refused(cidr(typed)),
                format!(
                    "InvalidParameterValue: CIDR block {typed} is malformed; write it like 10.0.0.0/8 or 2001:db8::/32"
                )
            );
        }
    }

    #[test]
    fn filters_also_take_one_address() {
        assert_eq!(network_or_address("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network_or_address("10.0.0.1/8").unwrap().to_string(), "10.0.0.0/8");
        assert!(network_or_address("ten").is_err());
    }
}
