//! Answers of `sg-ctl rule …`.

use super::{Output, ec2, json, table::Table};
use crate::model::{Direction, IcmpMatch, Peer, Rule, RuleId, State, Traffic};
use serde::Serialize;
use std::io::{self, Write};

/// Rules as people read them; the column of groups only where there may be several.
pub(super) fn table(state: &State, rules: &[&Rule], with_group: bool) -> Table {
    let name = |id| state.groups.get(&id).map_or("", |group| group.name.as_str());
    let mut table = match with_group {
        true => Table::new(&["RULE", "GROUP", "DIRECTION", "PROTOCOL", "PORTS", "PEER", "DESCRIPTION"]),
        false => Table::new(&["RULE", "DIRECTION", "PROTOCOL", "PORTS", "PEER", "DESCRIPTION"]),
    };
    for rule in rules {
        let id = rule.id.to_string();
        let [direction, protocol, ports, peer] = content(state, rule);
        let description = rule.description.clone().unwrap_or_default();
        match with_group {
            true => {
                table.row([id, name(rule.group).to_owned(), direction, protocol, ports, peer, description])
            }
            false => table.row([id, direction, protocol, ports, peer, description]),
        }
    }
    table
}

/// Direction, protocol, ports and peer of a rule.
pub(super) fn content(state: &State, rule: &Rule) -> [String; 4] {
    let direction = match rule.direction {
        Direction::Ingress => "ingress".to_owned(),
        Direction::Egress => "egress".to_owned(),
    };
    let protocol = match rule.traffic {
        Traffic::All => "all".to_owned(),
        traffic => traffic.protocol(),
    };
    let peer = match rule.peer {
        Peer::Group(id) => {
            let name = state.groups.get(&id).map_or("gone", |group| group.name.as_str());
            format!("{id} ({name})")
        }
        Peer::PrefixList(id) => {
            let name = state.prefix_lists.get(&id).map_or("", |list| list.name.as_str());
            format!("{id} ({name})")
        }
        peer => peer.to_string(),
    };
    [direction, protocol, ports(rule.traffic), peer]
}

fn ports(traffic: Traffic) -> String {
    match traffic {
        Traffic::Tcp(range) | Traffic::Udp(range) if range.from == range.to => range.from.to_string(),
        Traffic::Tcp(range) | Traffic::Udp(range) => format!("{}-{}", range.from, range.to),
        Traffic::Icmp(IcmpMatch::Type(kind)) | Traffic::Icmpv6(IcmpMatch::Type(kind)) => {
            format!("type {kind}")
        }
        Traffic::Icmp(IcmpMatch::TypeCode(kind, code)) | Traffic::Icmpv6(IcmpMatch::TypeCode(kind, code)) => {
            format!("type {kind} code {code}")
        }
        Traffic::All | Traffic::Other(_) | Traffic::Icmp(_) | Traffic::Icmpv6(_) => "all".to_owned(),
    }
}

/// `rule list`
pub fn rules(out: &mut impl Write, output: Output, state: &State, ids: &[RuleId]) -> io::Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct SecurityGroupRules<'a> {
        security_group_rules: Vec<ec2::SecurityGroupRule<'a>>,
    }
    let rules = ids.iter().filter_map(|id| state.rules.get(id));
    match output {
        Output::Table => table(state, &rules.collect::<Vec<_>>(), true).write(out),
        Output::Json => json(
            out,
            &SecurityGroupRules {
                security_group_rules: rules.map(|rule| ec2::SecurityGroupRule::new(state, rule)).collect(),
            },
        ),
    }
}

/// `rule add`
pub fn rules_added(out: &mut impl Write, output: Output, state: &State, ids: &[RuleId]) -> io::Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Authorized<'a> {
        r#return: bool,
        security_group_rules: Vec<ec2::SecurityGroupRule<'a>>,
    }
    match output {
        Output::Table => ids.iter().try_for_each(|id| writeln!(out, "{id}")),
        Output::Json => {
            let rules = ids.iter().filter_map(|id| state.rules.get(id));
            let security_group_rules = rules.map(|rule| ec2::SecurityGroupRule::new(state, rule)).collect();
            json(out, &Authorized { r#return: true, security_group_rules })
        }
    }
}

/// What a change of rules closed and what it left open, with keys of ours.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Closed {
    /// Ports of TCP and UDP that were untracked before and are not any more.
    pub interrupted_ports: u32,
    /// Tracked flows that live on though no rule admits them any more; `None` where nobody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surviving_flows: Option<u64>,
}

impl Closed {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "interrupted_ports {}", self.interrupted_ports)?;
        self.surviving_flows.map_or(Ok(()), |flows| writeln!(out, "surviving_flows {flows}"))
    }
}

/// `rule remove`: the rules as they were, and what came of it.
pub fn rules_removed(
    out: &mut impl Write,
    output: Output,
    removed: &[Rule],
    closed: Closed,
) -> io::Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Revoked<'a> {
        r#return: bool,
        revoked_security_group_rules: Vec<ec2::RevokedSecurityGroupRule<'a>>,
        #[serde(flatten)]
        closed: Closed,
    }
    match output {
        Output::Table => {
            for rule in removed {
                writeln!(out, "removed {}", rule.id)?;
            }
            closed.write(out)
        }
        Output::Json => {
            let revoked_security_group_rules =
                removed.iter().map(ec2::RevokedSecurityGroupRule::new).collect();
            json(out, &Revoked { r#return: true, revoked_security_group_rules, closed })
        }
    }
}

/// `rule modify`
pub fn rule_modified(out: &mut impl Write, output: Output, id: RuleId, closed: Closed) -> io::Result<()> {
    #[derive(Serialize)]
    struct Modified {
        #[serde(rename = "Return")]
        r#return: bool,
        #[serde(flatten)]
        closed: Closed,
    }
    match output {
        Output::Table => {
            writeln!(out, "modified {id}")?;
            closed.write(out)
        }
        Output::Json => json(out, &Modified { r#return: true, closed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ops,
        render::testing::{document, fixture, written},
    };
    use serde_json::json;

    #[test]
    fn rules_as_a_table() {
        let (state, ..) = fixture();
        let ids = ops::rule::list(&state, Some("default")).unwrap();
        assert_eq!(
            written(|out| rules(out, Output::Table, &state, &ids)),
            "\
RULE                   GROUP    DIRECTION  PROTOCOL  PORTS  PEER                            DESCRIPTION
sgr-00000000000000001  default  ingress    all       all    sg-00000000000000001 (default)  -
sgr-00000000000000002  default  egress     all       all    0.0.0.0/0                       -
sgr-00000000000000003  default  egress     all       all    ::/0                            -
"
        );
    }

    #[test]
    fn a37_rules_as_ec2_prints_them() {
        let (state, ..) = fixture();
        let ids = ops::rule::list(&state, Some("web")).unwrap();
        let printed = document(|out| rules(out, Output::Json, &state, &ids));
        let printed = printed["SecurityGroupRules"].as_array().unwrap();
        let arn = |id: &str| format!("arn:aws:ec2:local:000000000000:security-group-rule/{id}");
        assert_eq!(
            printed[2],
            json!({
                "SecurityGroupRuleId": "sgr-00000000000000006",
                "GroupId": "sg-00000000000000002", "GroupOwnerId": "000000000000", "IsEgress": false,
                "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
                "ReferencedGroupInfo": { "GroupId": "sg-00000000000000002", "UserId": "000000000000" },
                "Tags": [], "SecurityGroupRuleArn": arn("sgr-00000000000000006"),
            })
        );
        assert_eq!(
            printed[3],
            json!({
                "SecurityGroupRuleId": "sgr-00000000000000007",
                "GroupId": "sg-00000000000000002", "GroupOwnerId": "000000000000", "IsEgress": false,
                "IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "CidrIpv4": "10.0.0.0/8",
                "Description": "ping",
                "Tags": [], "SecurityGroupRuleArn": arn("sgr-00000000000000007"),
            })
        );
        assert_eq!(
            printed[5],
            json!({
                "SecurityGroupRuleId": "sgr-00000000000000009",
                "GroupId": "sg-00000000000000002", "GroupOwnerId": "000000000000", "IsEgress": true,
                "IpProtocol": "-1", "FromPort": -1, "ToPort": -1, "CidrIpv6": "::/0",
                "Tags": [], "SecurityGroupRuleArn": arn("sgr-00000000000000009"),
            })
        );
    }

    #[test]
    fn m72_a_reference_to_a_peered_vpc_says_where_the_group_is() {
        let (state, [web, other], pcx) = ops::stale::tests::peered();
        let ids = ops::rule::list(&state, Some(&web.to_string())).unwrap();
        let printed = document(|out| rules(out, Output::Json, &state, &ids));
        assert_eq!(
            printed["SecurityGroupRules"][0]["ReferencedGroupInfo"],
            json!({
                "GroupId": other, "UserId": "000000000000", "VpcId": state.groups[&other].vpc,
                "VpcPeeringConnectionId": pcx, "PeeringStatus": "active",
            })
        );
    }

    #[test]
    fn added_rules() {
        let (state, ..) = fixture();
        let id = "sgr-00000000000000004".parse().unwrap();
        assert_eq!(written(|out| rules_added(out, Output::Table, &state, &[id])), "sgr-00000000000000004\n");
        let printed = document(|out| rules_added(out, Output::Json, &state, &[id]));
        assert_eq!(printed["Return"], true);
        assert_eq!(printed["SecurityGroupRules"][0]["CidrIpv4"], "0.0.0.0/0");
    }

    #[test]
    fn removed_rules_and_the_ports_they_closed() {
        let (state, ..) = fixture();
        let removed = [state.rules[&"sgr-00000000000000006".parse().unwrap()].clone()];
        let closed = Closed { interrupted_ports: 1, surviving_flows: None };
        assert_eq!(
            written(|out| rules_removed(out, Output::Table, &removed, closed)),
            "removed sgr-00000000000000006\ninterrupted_ports 1\n"
        );
        assert_eq!(
            document(|out| rules_removed(out, Output::Json, &removed, closed)),
            json!({
                "Return": true,
                "RevokedSecurityGroupRules": [{
                    "SecurityGroupRuleId": "sgr-00000000000000006",
                    "GroupId": "sg-00000000000000002", "IsEgress": false,
                    "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
                    "ReferencedGroupId": "sg-00000000000000002",
                }],
                "interrupted_ports": 1,
            })
        );
    }

    #[test]
    fn what_a_change_left_open_is_told_where_it_was_asked_for() {
        let id = "sgr-00000000000000006".parse().unwrap();
        let closed = Closed { interrupted_ports: 0, surviving_flows: Some(2) };
        assert_eq!(
            written(|out| rule_modified(out, Output::Table, id, closed)),
            "modified sgr-00000000000000006\ninterrupted_ports 0\nsurviving_flows 2\n"
        );
        assert_eq!(
            document(|out| rule_modified(out, Output::Json, id, closed)),
            json!({ "Return": true, "interrupted_ports": 0, "surviving_flows": 2 })
        );
        assert_eq!(
            document(|out| rules_removed(out, Output::Json, &[], closed)),
            json!({
                "Return": true, "RevokedSecurityGroupRules": [], "interrupted_ports": 0, "surviving_flows": 2,
            })
        );
    }

    #[test]
    fn ports_in_words() {
        let range = |from, to| Traffic::Udp(crate::model::PortRange { from, to });
        assert_eq!(ports(range(53, 53)), "53");
        assert_eq!(ports(range(0, 65535)), "0-65535");
        assert_eq!(ports(Traffic::Icmpv6(IcmpMatch::TypeCode(1, 4))), "type 1 code 4");
        assert_eq!(ports(Traffic::Icmp(IcmpMatch::All)), "all");
        assert_eq!(ports(Traffic::Other(47)), "all");
    }
}
