//! Answers of `sg-ctl vpc …`, in the shapes of EC2's `Vpc`.

use super::{Output, ec2, json, table::Table};
use crate::model::{State, Vpc, VpcId};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, Write};

/// `Vpc`. A VPC without blocks has no `CidrBlock`, and empty sets.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shape<'a> {
    vpc_id: VpcId,
    state: &'static str,
    owner_id: &'static str,
    is_default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cidr_block: Option<String>,
    cidr_block_association_set: Vec<Value>,
    ipv6_cidr_block_association_set: Vec<Value>,
    tags: Vec<ec2::Tag<'a>>,
}

impl<'a> Shape<'a> {
    fn new(vpc: &'a Vpc) -> Self {
        let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) =
            vpc.cidrs.iter().partition(|cidr| matches!(cidr, IpNet::V4(_)));
        let associated = json!({ "State": "associated" });
        Self {
            vpc_id: vpc.id,
            state: "available",
            owner_id: ec2::OWNER,
            is_default: vpc.is_default,
            cidr_block: v4.first().map(ToString::to_string),
            cidr_block_association_set: v4
                .iter()
                .map(|cidr| json!({ "CidrBlock": cidr, "CidrBlockState": associated }))
                .collect(),
            ipv6_cidr_block_association_set: v6
                .iter()
                .map(|cidr| json!({ "Ipv6CidrBlock": cidr, "Ipv6CidrBlockState": associated }))
                .collect(),
            tags: ec2::tags(&vpc.tags),
        }
    }
}

/// `vpc list`
pub fn vpcs(out: &mut impl Write, output: Output, state: &State, ids: &[VpcId]) -> io::Result<()> {
    let vpcs = ids.iter().filter_map(|id| state.vpcs.get(id));
    if output == Output::Json {
        return json(out, &json!({ "Vpcs": vpcs.map(Shape::new).collect::<Vec<_>>() }));
    }
    let mut table = Table::new(&["ID", "NAME", "DEFAULT", "CIDRS", "GROUPS", "INTERFACES"]);
    for vpc in vpcs {
        let cidrs: Vec<_> = vpc.cidrs.iter().map(ToString::to_string).collect();
        table.row([
            vpc.id.to_string(),
            vpc.name().unwrap_or_default().to_owned(),
            if vpc.is_default { "yes" } else { "no" }.to_owned(),
            cidrs.join(", "),
            state.groups.values().filter(|group| group.vpc == vpc.id).count().to_string(),
            state.interfaces.values().filter(|interface| interface.vpc == vpc.id).count().to_string(),
        ]);
    }
    table.write(out)
}

/// `vpc create`
pub fn vpc_created(out: &mut impl Write, output: Output, vpc: &Vpc) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "{}", vpc.id),
        Output::Json => json(out, &json!({ "Vpc": Shape::new(vpc) })),
    }
}

/// `vpc delete`
pub fn vpc_deleted(out: &mut impl Write, output: Output, id: VpcId) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "deleted {id}"),
        Output::Json => json(out, &json!({ "Return": true, "VpcId": id })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::testing::{document, fixture, written};

    fn with_prod() -> (State, VpcId) {
        let (mut state, ..) = fixture();
        let id: VpcId = "vpc-00000000000000002".parse().unwrap();
        let cidrs = ["10.0.0.0/16", "2001:db8::/56", "10.1.0.0/16"].map(|cidr| cidr.parse().unwrap());
        let tags = [("Name".to_owned(), "prod".to_owned())].into();
        state.vpcs.insert(id, Vpc { id, is_default: false, cidrs: cidrs.into(), tags });
        (state, id)
    }

    #[test]
    fn vpcs_as_ec2_prints_them() {
        let (state, prod) = with_prod();
        let default: VpcId = "vpc-00000000000000001".parse().unwrap();
        let associated = json!({ "State": "associated" });
        assert_eq!(
            document(|out| vpcs(out, Output::Json, &state, &[default, prod])),
            json!({ "Vpcs": [
                { "VpcId": "vpc-00000000000000001", "State": "available", "OwnerId": "000000000000",
                  "IsDefault": true, "CidrBlockAssociationSet": [], "Ipv6CidrBlockAssociationSet": [], "Tags": [] },
                { "VpcId": "vpc-00000000000000002", "State": "available", "OwnerId": "000000000000",
                  "IsDefault": false, "CidrBlock": "10.0.0.0/16",
                  "CidrBlockAssociationSet": [
                      { "CidrBlock": "10.0.0.0/16", "CidrBlockState": associated },
                      { "CidrBlock": "10.1.0.0/16", "CidrBlockState": associated },
                  ],
                  "Ipv6CidrBlockAssociationSet": [
                      { "Ipv6CidrBlock": "2001:db8::/56", "Ipv6CidrBlockState": associated },
                  ],
                  "Tags": [{ "Key": "Name", "Value": "prod" }] },
            ] })
        );
        let created = document(|out| vpc_created(out, Output::Json, &state.vpcs[&prod]));
        assert_eq!(created["Vpc"]["CidrBlock"], "10.0.0.0/16");
    }

    #[test]
    fn vpcs_as_a_table() {
        let (state, prod) = with_prod();
        let default = "vpc-00000000000000001".parse().unwrap();
        assert_eq!(
            written(|out| vpcs(out, Output::Table, &state, &[default, prod])),
            "\
ID                     NAME  DEFAULT  CIDRS                                    GROUPS  INTERFACES
vpc-00000000000000001  -     yes      -                                        2       1
vpc-00000000000000002  prod  no       10.0.0.0/16, 2001:db8::/56, 10.1.0.0/16  0       0
"
        );
        assert_eq!(
            written(|out| vpc_created(out, Output::Table, &state.vpcs[&prod])),
            "vpc-00000000000000002\n"
        );
        assert_eq!(written(|out| vpc_deleted(out, Output::Table, prod)), "deleted vpc-00000000000000002\n");
    }
}
