//! Answers of `sg-ctl stale` and `sg-ctl references`.

use super::{Output, ec2, json, rule, table::Table};
use crate::{
    model::{Direction, GroupId, PeeringId, Rule, RuleId, State, Traffic, VpcId},
    ops::stale::{self, References},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// `StaleSecurityGroup`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StaleSecurityGroup<'a> {
    group_id: GroupId,
    group_name: &'a str,
    description: &'a str,
    vpc_id: VpcId,
    stale_ip_permissions: Vec<StaleIpPermission<'a>>,
    stale_ip_permissions_egress: Vec<StaleIpPermission<'a>>,
}

/// `StaleIpPermission`. What goes stale is a reference to a group: the other arrays are there, and empty.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StaleIpPermission<'a> {
    ip_protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_port: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_port: Option<i32>,
    user_id_group_pairs: Vec<ec2::UserIdGroupPair<'a>>,
    ip_ranges: [(); 0],
    prefix_list_ids: [(); 0],
}

fn stale_rules(state: &State, group: GroupId) -> Vec<&Rule> {
    let mut rules: Vec<_> =
        state.rules.values().filter(|rule| rule.group == group && stale::is_stale(state, rule)).collect();
    rules.sort_by_key(|rule| (rule.direction, rule.traffic, rule.peer));
    rules
}

/// Merges rules of equal protocol and ports, as [`ec2::SecurityGroup`] does.
fn permissions<'a>(state: &'a State, rules: &[&'a Rule], direction: Direction) -> Vec<StaleIpPermission<'a>> {
    let mut merged: BTreeMap<Traffic, StaleIpPermission<'a>> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.direction == direction) {
        let permission = merged.entry(rule.traffic).or_insert_with(|| StaleIpPermission {
            ip_protocol: rule.traffic.protocol(),
            from_port: rule.traffic.from_to().map(|(from, _)| from),
            to_port: rule.traffic.from_to().map(|(_, to)| to),
            user_id_group_pairs: Vec::new(),
            ip_ranges: [],
            prefix_list_ids: [],
        });
        permission.user_id_group_pairs.extend(ec2::UserIdGroupPair::new(state, rule));
    }
    merged.into_values().collect()
}

/// `stale`: groups with stale rules, and those rules.
pub fn stale_groups(out: &mut impl Write, output: Output, state: &State, ids: &[GroupId]) -> io::Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct StaleSecurityGroups<'a> {
        stale_security_group_set: Vec<StaleSecurityGroup<'a>>,
    }
    if output == Output::Table {
        let rules: Vec<_> = ids.iter().flat_map(|id| stale_rules(state, *id)).collect();
        return rule::table(state, &rules, true).write(out);
    }
    let groups = ids.iter().filter_map(|id| state.groups.get(id));
    let stale_security_group_set = groups
        .map(|group| {
            let rules = stale_rules(state, group.id);
            StaleSecurityGroup {
                group_id: group.id,
                group_name: &group.name,
                description: &group.description,
                vpc_id: group.vpc,
                stale_ip_permissions: permissions(state, &rules, Direction::Ingress),
                stale_ip_permissions_egress: permissions(state, &rules, Direction::Egress),
            }
        })
        .collect();
    json(out, &StaleSecurityGroups { stale_security_group_set })
}

/// `references`: EC2's answer, which knows peered VPCs only, and the rules of the group's own VPC that name it (U-4).
pub fn references(
    out: &mut impl Write,
    output: Output,
    state: &State,
    references: &References,
) -> io::Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct SecurityGroupReferences<'a> {
        security_group_reference_set: Vec<SecurityGroupReference>,
        #[serde(rename = "referencing_rules")]
        rules: Vec<ReferencingRule<'a>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct SecurityGroupReference {
        group_id: GroupId,
        referencing_vpc_id: VpcId,
        vpc_peering_connection_id: PeeringId,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct ReferencingRule<'a> {
        security_group_rule_id: RuleId,
        group_id: GroupId,
        group_name: &'a str,
        is_egress: bool,
    }
    let name = |id| state.groups.get(&id).map_or("", |group| group.name.as_str());
    let rules = references.rules.iter().filter_map(|id| state.rules.get(id));
    if output == Output::Table {
        let mut table = Table::new(&["REFERENCED BY", "GROUP", "PEERING"]);
        for rule in rules {
            table.row([rule.id.to_string(), name(rule.group).to_owned(), String::new()]);
        }
        for (vpc, peering) in &references.peers {
            table.row([vpc.to_string(), String::new(), peering.to_string()]);
        }
        return table.write(out);
    }
    let reference =
        |(referencing_vpc_id, vpc_peering_connection_id): &(VpcId, PeeringId)| SecurityGroupReference {
            group_id: references.group,
            referencing_vpc_id: *referencing_vpc_id,
            vpc_peering_connection_id: *vpc_peering_connection_id,
        };
    let rule = |rule: &Rule| ReferencingRule {
        security_group_rule_id: rule.id,
        group_id: rule.group,
        group_name: name(rule.group),
        is_egress: rule.direction == Direction::Egress,
    };
    json(
        out,
        &SecurityGroupReferences {
            security_group_reference_set: references.peers.iter().map(reference).collect(),
            rules: rules.map(rule).collect(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ops::{self, group, peering, stale::tests::peered},
        render::testing::{document, written},
    };
    use serde_json::json;

    #[test]
    fn m69_m72_a20_stale_groups_as_ec2_prints_them() {
        let (mut state, [web, other], pcx) = peered();
        assert_eq!(
            document(|out| stale_groups(out, Output::Json, &state, &[])),
            json!({ "StaleSecurityGroupSet": [] })
        );
        let [own, far] = [web, other].map(|id| state.groups[&id].vpc);
        peering::delete(&mut state, &pcx.to_string(), 0).unwrap();
        let printed = |state: &State| document(|out| stale_groups(out, Output::Json, state, &[web]));
        let mut pair = json!({
            "GroupId": other, "UserId": "000000000000", "VpcId": far,
            "VpcPeeringConnectionId": pcx, "PeeringStatus": "deleted",
        });
        let stale = |pair: &serde_json::Value| {
            json!({ "StaleSecurityGroupSet": [{
                "GroupId": web, "GroupName": "web", "Description": "test", "VpcId": own,
                "StaleIpPermissions": [{
                    "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
                    "UserIdGroupPairs": [pair], "IpRanges": [], "PrefixListIds": [],
                }],
                "StaleIpPermissionsEgress": [],
            }] })
        };
        assert_eq!(printed(&state), stale(&pair));
        // The peering is forgotten, and the group gone.
        peering::let_time_pass(&mut state, 1_000_000);
        group::delete(&mut state, &other.to_string()).unwrap();
        let pair_fields = pair.as_object_mut().unwrap();
        pair_fields.remove("VpcPeeringConnectionId");
        pair_fields.remove("PeeringStatus");
        assert_eq!(printed(&state), stale(&pair));
        let table = written(|out| stale_groups(out, Output::Table, &state, &[web]));
        assert!(table.lines().nth(1).unwrap().contains(&format!("{other} (gone)")), "{table}");
    }

    #[test]
    fn a21_m71_references_as_ec2_prints_them() {
        let (mut state, [web, other], pcx) = peered();
        let own = state.groups[&web].vpc;
        let content = ops::rule::Content::tcp("80").with_group("web");
        let rule = ops::rule::add(&mut state, &other.to_string(), &content).unwrap().rules[0];
        let found = stale::references(&state, &other.to_string()).unwrap();
        assert_eq!(
            document(|out| references(out, Output::Json, &state, &found)),
            json!({
                "SecurityGroupReferenceSet": [
                    { "GroupId": other, "ReferencingVpcId": own, "VpcPeeringConnectionId": pcx },
                ],
                "referencing_rules": [
                    { "SecurityGroupRuleId": rule, "GroupId": other, "GroupName": "web", "IsEgress": false },
                ],
            })
        );
        assert_eq!(
            written(|out| references(out, Output::Table, &state, &found)),
            format!("REFERENCED BY          GROUP  PEERING\n{rule}  web    -\n{own}  -      {pcx}\n")
        );
    }
}
