//! Answers of `sg-ctl group …`.

use super::{
    Output, ec2, json, rule,
    table::{Table, escape},
};
use crate::model::{Direction, GroupId, Rule, SecurityGroup, State};
use serde::Serialize;
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// Rules by the group they belong to.
fn rules_by_group(state: &State) -> BTreeMap<GroupId, Vec<&Rule>> {
    let mut by_group: BTreeMap<_, Vec<&Rule>> = BTreeMap::new();
    for rule in state.rules.values() {
        by_group.entry(rule.group).or_default().push(rule);
    }
    by_group
}

fn document(out: &mut impl Write, state: &State, ids: &[GroupId]) -> io::Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct SecurityGroups<'a> {
        security_groups: Vec<ec2::SecurityGroup<'a>>,
    }
    let rules = rules_by_group(state);
    let rules_of = |id| rules.get(id).map_or(&[][..], Vec::as_slice);
    let groups = ids.iter().filter_map(|id| state.groups.get(id));
    let security_groups =
        groups.map(|group| ec2::SecurityGroup::new(state, group, rules_of(&group.id))).collect();
    json(out, &SecurityGroups { security_groups })
}

/// `group list`
pub fn groups(out: &mut impl Write, output: Output, state: &State, ids: &[GroupId]) -> io::Result<()> {
    if output == Output::Json {
        return document(out, state, ids);
    }
    let rules = rules_by_group(state);
    let mut table = Table::new(&["ID", "NAME", "VPC", "IN", "OUT", "DESCRIPTION"]);
    for group in ids.iter().filter_map(|id| state.groups.get(id)) {
        let count = |direction| {
            let own = rules.get(&group.id).into_iter().flatten();
            own.filter(|rule| rule.direction == direction).count().to_string()
        };
        table.row([
            group.id.to_string(),
            group.name.clone(),
            group.vpc.to_string(),
            count(Direction::Ingress),
            count(Direction::Egress),
            group.description.clone(),
        ]);
    }
    table.write(out)
}

/// `group show`
pub fn group_shown(out: &mut impl Write, output: Output, state: &State, id: GroupId) -> io::Result<()> {
    let Some(group) = state.groups.get(&id).filter(|_| output == Output::Table) else {
        return document(out, state, &[id]);
    };
    writeln!(out, "{}  {}", group.id, escape(&group.name))?;
    writeln!(out, "description  {}", escape(&group.description))?;
    writeln!(out, "vpc          {}", group.vpc)?;
    for (key, value) in &group.tags {
        writeln!(out, "tag          {}={}", escape(key), escape(value))?;
    }
    let carriers: Vec<_> = state
        .interfaces
        .values()
        .filter(|interface| interface.groups.contains(&id))
        .map(|interface| escape(&interface.name))
        .collect();
    if !carriers.is_empty() {
        writeln!(out, "interfaces   {}", carriers.join(", "))?;
    }
    writeln!(out)?;
    let mut rules: Vec<_> = state.rules.values().filter(|rule| rule.group == id).collect();
    rules.sort_by_key(|rule| (rule.direction, rule.traffic, rule.peer));
    rule::table(state, &rules, false).write(out)
}

/// `group create`
pub fn group_created(out: &mut impl Write, output: Output, group: &SecurityGroup) -> io::Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Created<'a> {
        group_id: GroupId,
        security_group_arn: String,
        tags: Vec<ec2::Tag<'a>>,
    }
    match output {
        Output::Table => writeln!(out, "{}", group.id),
        Output::Json => json(
            out,
            &Created {
                group_id: group.id,
                security_group_arn: ec2::arn("security-group", &group.id),
                tags: ec2::tags(&group.tags),
            },
        ),
    }
}

/// `group delete`
pub fn group_deleted(out: &mut impl Write, output: Output, id: GroupId) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "deleted {id}"),
        Output::Json => json(out, &json!({ "Return": true, "GroupId": id })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ops,
        render::testing::{document, fixture, written},
    };

    #[test]
    fn groups_as_a_table() {
        let (state, ..) = fixture();
        let ids = ops::group::list(&state, None).unwrap();
        assert_eq!(
            written(|out| groups(out, Output::Table, &state, &ids)),
            "\
ID                    NAME     VPC                    IN  OUT  DESCRIPTION
sg-00000000000000001  default  vpc-00000000000000001  1   2    default VPC security group
sg-00000000000000002  web      vpc-00000000000000001  4   2    Web servers
"
        );
    }

    #[test]
    fn a36_a37_groups_as_ec2_prints_them() {
        let (state, web, _) = fixture();
        assert_eq!(
            document(|out| groups(out, Output::Json, &state, &[web])),
            json!({ "SecurityGroups": [{
                "GroupId": "sg-00000000000000002",
                "GroupName": "web",
                "Description": "Web servers",
                "OwnerId": "000000000000",
                "VpcId": "vpc-00000000000000001",
                "SecurityGroupArn": "arn:aws:ec2:local:000000000000:security-group/sg-00000000000000002",
                "IpPermissions": [
                    { "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
                      "UserIdGroupPairs": [{ "GroupId": "sg-00000000000000002", "UserId": "000000000000" }],
                      "IpRanges": [{ "CidrIp": "0.0.0.0/0" }],
                      "Ipv6Ranges": [{ "CidrIpv6": "::/0" }],
                      "PrefixListIds": [] },
                    { "IpProtocol": "icmp", "FromPort": 8, "ToPort": -1,
                      "UserIdGroupPairs": [],
                      "IpRanges": [{ "CidrIp": "10.0.0.0/8", "Description": "ping" }],
                      "Ipv6Ranges": [],
                      "PrefixListIds": [] },
                ],
                "IpPermissionsEgress": [
                    { "IpProtocol": "-1",
                      "UserIdGroupPairs": [],
                      "IpRanges": [{ "CidrIp": "0.0.0.0/0" }],
                      "Ipv6Ranges": [{ "CidrIpv6": "::/0" }],
                      "PrefixListIds": [] },
                ],
                "Tags": [{ "Key": "Name", "Value": "Web tier" }],
            }] })
        );
    }

    #[test]
    fn arrays_are_there_even_when_empty() {
        let (state, ..) = fixture();
        assert_eq!(document(|out| groups(out, Output::Json, &state, &[])), json!({ "SecurityGroups": [] }));
    }

    #[test]
    fn one_group_as_a_table() {
        let (state, web, _) = fixture();
        assert_eq!(
            written(|out| group_shown(out, Output::Table, &state, web)),
            "\
sg-00000000000000002  web
description  Web servers
vpc          vpc-00000000000000001
tag          Name=Web tier
interfaces   eth0

RULE                   DIRECTION  PROTOCOL  PORTS   PEER                        DESCRIPTION
sgr-00000000000000004  ingress    tcp       80      0.0.0.0/0                   -
sgr-00000000000000005  ingress    tcp       80      ::/0                        -
sgr-00000000000000006  ingress    tcp       80      sg-00000000000000002 (web)  -
sgr-00000000000000007  ingress    icmp      type 8  10.0.0.0/8                  ping
sgr-00000000000000008  egress     all       all     0.0.0.0/0                   -
sgr-00000000000000009  egress     all       all     ::/0                        -
"
        );
    }

    #[test]
    fn creation_and_deletion() {
        let (state, web, _) = fixture();
        let group = &state.groups[&web];
        assert_eq!(written(|out| group_created(out, Output::Table, group)), "sg-00000000000000002\n");
        assert_eq!(
            document(|out| group_created(out, Output::Json, group)),
            json!({
                "GroupId": "sg-00000000000000002",
                "SecurityGroupArn": "arn:aws:ec2:local:000000000000:security-group/sg-00000000000000002",
                "Tags": [{ "Key": "Name", "Value": "Web tier" }],
            })
        );
        assert_eq!(written(|out| group_deleted(out, Output::Table, web)), "deleted sg-00000000000000002\n");
        assert_eq!(
            document(|out| group_deleted(out, Output::Json, web)),
            json!({ "Return": true, "GroupId": "sg-00000000000000002" })
        );
    }
}
