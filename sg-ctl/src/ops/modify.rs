//! Changing a rule in place: it keeps its id, its direction and the kind of its peer (M-22).

use super::{peer, rule, text, traffic};
use crate::{
    error::{Refusal, Result},
    model::{IcmpMatch, Peer, Rule, RuleId, SecurityGroup, State, Traffic},
};
use sg_common::wire::protocol;

/// `rule modify` as typed: what is not given keeps its value.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// `--protocol`
    pub protocol: Option<String>,
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
    /// `--description`; an empty one removes it.
    pub description: Option<String>,
}

/// A rule that was changed.
#[derive(Clone, Debug)]
pub struct Modified {
    /// As it was.
    pub before: Rule,
    /// What the user should know of how the changes were read.
    pub warning: Option<String>,
}

/// Changes one rule, or nothing.
pub fn modify(state: &mut State, given: &str, changes: &Changes) -> Result<Modified> {
    let before = rule::find(state, given)?.clone();
    let owner = rule::owner(state, before.group)?;
    let reading = traffic(before.traffic, changes)?;
    let peer = new_peer(state, owner, &before, changes)?;
    let description = match &changes.description {
        Some(typed) => text::rule_description(Some(typed))?,
        None => before.description.clone(),
    };
    let peer_vpc = if peer == before.peer { before.peer_vpc } else { peer::foreign_vpc(state, owner, peer) };
    let after = Rule { traffic: reading.traffic, peer, peer_vpc, description, ..before.clone() };
    if rule::keys(state, before.group).get(&rule::Key::of(&after)).is_some_and(|other| *other != before.id) {
        return Err(rule::duplicate(&after).into());
    }
    rule::check_quota(state, before.group, Some(&before), std::slice::from_ref(&after))?;
    rule::check_references(state, Some(&before), std::slice::from_ref(&after))?;
    state.rules.insert(after.id, after);
    Ok(Modified { before, warning: reading.warning })
}

/// Replaces the description of a rule, or removes it where the text is empty.
pub fn describe(state: &mut State, given: &str, typed: &str) -> Result<RuleId> {
    let id = rule::find(state, given)?.id;
    let description = text::rule_description(Some(typed))?;
    if let Some(rule) = state.rules.get_mut(&id) {
        rule.description = description;
    }
    Ok(id)
}

/// The traffic with what was typed in place of what was there. Ports are kept from TCP to UDP and back, types and codes
/// from one ICMP to the other; where the new protocol has no use for them they go.
fn traffic(before: Traffic, changes: &Changes) -> Result<traffic::Reading> {
    let kept = match before {
        // By the word, which takes no port, so that a port alone is refused and not ignored.
        Traffic::All => "all".to_owned(),
        other => other.protocol(),
    };
    let protocol = changes.protocol.as_deref().unwrap_or(&kept);
    let number = traffic::protocol_number(protocol)?;
    let has_ports = matches!(number, Some(protocol::TCP | protocol::UDP));
    let is_icmp = matches!(number, Some(protocol::ICMP | protocol::ICMPV6));
    let kept_ports = match before {
        Traffic::Tcp(range) | Traffic::Udp(range) if has_ports => {
            Some(format!("{}-{}", range.from, range.to))
        }
        _ => None,
    };
    let (kept_type, kept_code) = match before {
        Traffic::Icmp(icmp) | Traffic::Icmpv6(icmp) if is_icmp => match icmp {
            IcmpMatch::All => (None, None),
            IcmpMatch::Type(kind) => (Some(kind.to_string()), None),
            IcmpMatch::TypeCode(kind, code) => (Some(kind.to_string()), Some(code.to_string())),
        },
        _ => (None, None),
    };
    let port = changes.port.as_deref().or(kept_ports.as_deref());
    if has_ports && port.is_none() {
        return Err(Refusal::invalid(
            "Invalid value for portRange. Must specify both from and to ports with TCP/UDP.",
        )
        .into());
    }
    let icmp_type = changes.icmp_type.as_deref().or(kept_type.as_deref());
    // All types have all codes: there is none to keep.
    let kept_code = kept_code.as_deref().filter(|_| icmp_type != Some("-1"));
    let icmp_code = changes.icmp_code.as_deref().or(kept_code);
    traffic::read(traffic::Typed { protocol, port, icmp_type, icmp_code })
}

/// The peer that was typed, of the kind that the rule has; its own where none was.
fn new_peer(state: &State, owner: &SecurityGroup, rule: &Rule, changes: &Changes) -> Result<Peer> {
    let peers = peer::read(
        state,
        owner,
        &changes.cidrs,
        &changes.prefix_lists,
        &changes.source_groups,
        peer::referenced_group,
    )?;
    let peer = match peers[..] {
        [] => return Ok(rule.peer),
        [only] => only,
        _ => {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                "Only one of cidrIp, cidrIpv6, prefixListId, or referencedGroupId can be specified",
            )
            .into());
        }
    };
    if std::mem::discriminant(&peer) != std::mem::discriminant(&rule.peer) {
        return Err(Refusal::invalid(format!(
            "Invalid rule type for security group rule '{}'. You may not specify {} for an existing {} rule.",
            rule.id,
            field(peer),
            kind(rule.peer)
        ))
        .into());
    }
    Ok(peer)
}

/// EC2's name of the field that such a peer is given in (A-69d).
fn field(peer: Peer) -> &'static str {
    match peer {
        Peer::Ipv4(_) => "CidrIpv4",
        Peer::Ipv6(_) => "CidrIpv6",
        Peer::PrefixList(_) => "PrefixListId",
        Peer::Group(_) => "ReferencedGroupId",
    }
}

/// What EC2 calls a rule with such a peer (A-69d).
fn kind(peer: Peer) -> &'static str {
    match peer {
        Peer::Ipv4(_) => "IPv4 CIDR",
        Peer::Ipv6(_) => "IPv6 CIDR",
        Peer::PrefixList(_) => "prefix list",
        Peer::Group(_) => "security group",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AddressFamily, Direction, PortRange, Quota},
        ops::{
            prefix_list,
            rule::{Content, add},
            testing::{group, refusal, refused, state},
        },
    };

    /// A group `web` with that one rule beside those it is born with.
    fn with_rule(content: &Content) -> (State, RuleId) {
        let (mut state, _) = state();
        group(&mut state, "web");
        let added = add(&mut state, "web", content).unwrap();
        (state, added.rules[0])
    }

    fn ssh() -> (State, RuleId) {
        let mut content = Content::tcp("22").with_cidr("10.0.0.0/8");
        content.description = Some("office".to_owned());
        with_rule(&content)
    }

    fn icmp(icmp_type: Option<&str>, icmp_code: Option<&str>) -> (State, RuleId) {
        let mut content = Content::tcp("0").with_cidr("10.0.0.0/8");
        (content.protocol, content.port) = ("icmp".to_owned(), None);
        content.icmp_type = icmp_type.map(str::to_owned);
        content.icmp_code = icmp_code.map(str::to_owned);
        with_rule(&content)
    }

    /// Flags as they are typed.
    fn changes(flags: &[(&str, &str)]) -> Changes {
        let mut changes = Changes::default();
        for (flag, value) in flags {
            let value = (*value).to_owned();
            match *flag {
                "protocol" => changes.protocol = Some(value),
                "port" => changes.port = Some(value),
                "icmp-type" => changes.icmp_type = Some(value),
                "icmp-code" => changes.icmp_code = Some(value),
                "cidr" => changes.cidrs.push(value),
                "prefix-list" => changes.prefix_lists.push(value),
                "source-group" => changes.source_groups.push(value),
                "description" => changes.description = Some(value),
                other => panic!("{other}"),
            }
        }
        changes
    }

    fn modified(state: &mut State, id: RuleId, flags: &[(&str, &str)]) -> Rule {
        modify(state, &id.to_string(), &changes(flags)).unwrap();
        state.rules[&id].clone()
    }

    /// Asserts that the call is refused so and changes nothing.
    fn refuses(state: &mut State, id: RuleId, flags: &[(&str, &str)], expected: &str) {
        let before = state.clone();
        assert_eq!(refused(modify(state, &id.to_string(), &changes(flags))), expected);
        assert_eq!(*state, before);
    }

    fn ports(from: u16, to: u16) -> PortRange {
        PortRange { from, to }
    }

    #[test]
    fn m22_a_rule_keeps_its_id_and_what_is_not_given() {
        let (mut state, id) = ssh();
        let before = state.rules[&id].clone();
        let after = modified(&mut state, id, &[("port", "80-81")]);
        assert_eq!(after, Rule { traffic: Traffic::Tcp(ports(80, 81)), ..before.clone() });
        let after = modified(&mut state, id, &[("protocol", "udp")]);
        assert_eq!(after.traffic, Traffic::Udp(ports(80, 81)), "the ports stay");
        let after = modified(&mut state, id, &[("cidr", "10.9.8.7/16")]);
        assert_eq!(after.peer.to_string(), "10.9.0.0/16");
        assert_eq!(after.description.as_deref(), Some("office"));
        let after = modified(&mut state, id, &[("protocol", "all"), ("description", "")]);
        assert_eq!((after.traffic, after.description), (Traffic::All, None));
        assert_eq!((after.id, after.group, after.direction), (id, before.group, Direction::Ingress));
    }

    #[test]
    fn m22_types_and_codes_are_kept_as_ports_are() {
        let (mut state, id) = icmp(Some("3"), Some("4"));
        let after = modified(&mut state, id, &[("icmp-code", "1")]);
        assert_eq!(after.traffic, Traffic::Icmp(IcmpMatch::TypeCode(3, 1)));
        let after = modified(&mut state, id, &[("icmp-type", "11")]);
        assert_eq!(after.traffic, Traffic::Icmp(IcmpMatch::TypeCode(11, 1)));
        let after = modified(&mut state, id, &[("icmp-type", "-1")]);
        assert_eq!(after.traffic, Traffic::Icmp(IcmpMatch::All));
        refuses(
            &mut state,
            id,
            &[("icmp-code", "0")],
            "InvalidParameterValue: Invalid value 'Must specify both from and to ports with ICMP.' for portRange. Give --icmp-type as well.",
        );
        let after = modified(&mut state, id, &[("protocol", "47")]);
        assert_eq!(after.traffic, Traffic::Other(47));
    }

    #[test]
    fn a62_tcp_and_udp_need_ports_from_somewhere() {
        let (mut state, id) = icmp(None, None);
        for protocol in ["tcp", "udp", "6"] {
            refuses(
                &mut state,
                id,
                &[("protocol", protocol)],
                "InvalidParameterValue: Invalid value for portRange. Must specify both from and to ports with TCP/UDP.",
            );
        }
        let after = modified(&mut state, id, &[("protocol", "tcp"), ("port", "22")]);
        assert_eq!(after.traffic, Traffic::Tcp(ports(22, 22)));
    }

    #[test]
    fn a41_a_port_does_not_narrow_all_protocols() {
        let (mut state, id) = with_rule(&Content::all(Direction::Ingress).with_cidr("10.0.0.0/8"));
        refuses(
            &mut state,
            id,
            &[("port", "22")],
            "InvalidParameterValue: When protocol is ALL, you cannot specify from-port. Leave --port out.",
        );
        let typed = changes(&[("protocol", "47"), ("port", "22")]);
        let warning = modify(&mut state, &id.to_string(), &typed).unwrap().warning;
        assert_eq!(warning.as_deref(), Some("protocol 47 has no ports to EC2; --port is ignored"));
    }

    #[test]
    fn a64_a_bad_value_changes_nothing() {
        let (mut state, id) = ssh();
        for (flag, value, message) in [
            ("port", "-1", "TCP/UDP (from) port (-1) out of range; ports are 0 to 65535"),
            (
                "cidr",
                "10.0.0.0/99",
                "CIDR block 10.0.0.0/99 is malformed; write it like 10.0.0.0/8 or 2001:db8::/32",
            ),
            (
                "protocol",
                "ipx",
                "Invalid value 'ipx' for IP protocol. Unknown protocol. Use tcp, udp, icmp, icmpv6, all, or a number from 0 to \
                 255.",
            ),
            ("icmp-type", "8", "--icmp-type and --icmp-code go with protocol icmp or icmpv6, not with 'tcp'"),
        ] {
            refuses(&mut state, id, &[(flag, value)], &format!("InvalidParameterValue: {message}"));
        }
    }

    #[test]
    fn m22_m49_another_list_takes_the_place_of_a_list() {
        let (mut state, _) = state();
        group(&mut state, "web");
        for (name, max_entries) in [("small", "10"), ("large", "60"), ("larger", "61")] {
            let create = prefix_list::Create {
                name: name.to_owned(),
                family: AddressFamily::Ipv4,
                max_entries: max_entries.to_owned(),
                entries: Vec::new(),
                tags: Vec::new(),
            };
            prefix_list::create(&mut state, &create).unwrap();
        }
        let id = add(&mut state, "web", &Content::tcp("22").with_list("small")).unwrap().rules[0];
        let after = modified(&mut state, id, &[("prefix-list", "large")]);
        assert_eq!(after.peer, Peer::PrefixList(prefix_list::find(&state, "large").unwrap()));
        let full = "RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group has been reached. It is 60 \
         for each direction and family; 'sg-ctl quota rules-per-group=N' raises it";
        refuses(&mut state, id, &[("prefix-list", "larger")], full);
        state.quotas.0.insert(Quota::ReferencesPerPrefixList, 1);
        modified(&mut state, id, &[("prefix-list", "large"), ("port", "23")]);
        let kind = format!(
            "InvalidParameterValue: Invalid rule type for security group rule '{id}'. You may not specify CidrIpv4 for \
             an existing prefix list rule."
        );
        refuses(&mut state, id, &[("cidr", "10.0.0.0/8")], &kind);
    }

    #[test]
    fn a69c_one_peer_at_most() {
        let (mut state, id) = ssh();
        for second in [("cidr", "10.2.0.0/16"), ("source-group", "web")] {
            refuses(
                &mut state,
                id,
                &[("cidr", "10.1.0.0/16"), second],
                "InvalidParameterCombination: Only one of cidrIp, cidrIpv6, prefixListId, or referencedGroupId can be \
                 specified",
            );
        }
    }

    #[test]
    fn a69d_the_kind_of_peer_stays() {
        let (mut state, id) = ssh();
        for (flag, value, field) in
            [("cidr", "::/0", "CidrIpv6"), ("source-group", "web", "ReferencedGroupId")]
        {
            refuses(
                &mut state,
                id,
                &[(flag, value)],
                &format!(
                    "InvalidParameterValue: Invalid rule type for security group rule '{id}'. You may not specify \
                     {field} for an existing IPv4 CIDR rule."
                ),
            );
        }
        let (mut state, id) = with_rule(&Content::tcp("22").with_group("web"));
        let db = group(&mut state, "db");
        assert_eq!(modified(&mut state, id, &[("source-group", "db")]).peer, Peer::Group(db));
        let refusal = refusal(modify(&mut state, &id.to_string(), &changes(&[("cidr", "10.0.0.0/8")])));
        assert!(
            refusal.message.ends_with("You may not specify CidrIpv4 for an existing security group rule.")
        );
    }

    #[test]
    fn a66_another_rule_may_not_be_said_twice() {
        let (mut state, id) = ssh();
        add(&mut state, "web", &Content::tcp("80").with_cidr("10.0.0.0/8")).unwrap();
        refuses(
            &mut state,
            id,
            &[("port", "80")],
            "InvalidPermission.Duplicate: the specified rule \"peer: 10.0.0.0/8, TCP, from port: 80, to port: 80, \
             ALLOW\" already exists",
        );
        // It is no duplicate of itself.
        let before = state.rules[&id].clone();
        assert_eq!(modified(&mut state, id, &[("port", "22-22")]), before);
    }

    #[test]
    fn m34_a_change_that_takes_no_more_room_passes_a_full_group() {
        let (mut state, id) = ssh();
        state.quotas.0.insert(Quota::RulesPerGroup, 1);
        assert_eq!(modified(&mut state, id, &[("port", "23")]).traffic, Traffic::Tcp(ports(23, 23)));
    }

    #[test]
    fn a68_an_unknown_rule_is_refused() {
        let (mut state, _) = ssh();
        let port = changes(&[("port", "23")]);
        assert_eq!(
            refused(modify(&mut state, "sgr-12345678", &port)),
            "InvalidSecurityGroupRuleId.NotFound: The security group rule ID 'sgr-12345678' does not exist"
        );
        assert_eq!(refusal(modify(&mut state, "web", &port)).code, "InvalidSecurityGroupRuleId.Malformed");
        assert_eq!(
            refusal(describe(&mut state, "sgr-12345678", "x")).code,
            "InvalidSecurityGroupRuleId.NotFound"
        );
    }

    #[test]
    fn a19_a_description_is_replaced_and_removed() {
        let (mut state, id) = ssh();
        let before = state.rules[&id].clone();
        describe(&mut state, &id.to_string(), "home & office").unwrap();
        assert_eq!(
            state.rules[&id],
            Rule { description: Some("home & office".to_owned()), ..before.clone() }
        );
        describe(&mut state, &id.to_string(), "").unwrap();
        assert_eq!(state.rules[&id], Rule { description: None, ..before });
    }

    #[test]
    fn a59_a_description_outside_the_set_changes_nothing() {
        let (mut state, id) = ssh();
        let before = state.clone();
        let expected = "InvalidParameterValue: Invalid rule description.";
        assert!(refused(describe(&mut state, &id.to_string(), "Grüße")).starts_with(expected));
        let typed = changes(&[("port", "80"), ("description", "a\nb")]);
        assert!(refused(modify(&mut state, &id.to_string(), &typed)).starts_with(expected));
        assert_eq!(state, before);
    }
}
