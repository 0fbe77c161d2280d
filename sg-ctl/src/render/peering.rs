//! Answers of `sg-ctl peering …`, in the shapes of EC2's `VpcPeeringConnection`.

use super::{Output, ec2, json, table::Table};
use crate::{
    model::{Peering, PeeringId, PeeringStatus, State, Vpc, VpcId},
    ops::peering::REQUEST_SECONDS,
    time::rfc3339,
};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, Write};

/// `VpcPeeringConnection`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shape<'a> {
    vpc_peering_connection_id: PeeringId,
    requester_vpc_info: VpcInfo,
    accepter_vpc_info: VpcInfo,
    status: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_time: Option<String>,
    tags: Vec<ec2::Tag<'a>>,
}

/// `VpcPeeringConnectionVpcInfo`. Of a VPC that is gone only the id is known.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct VpcInfo {
    vpc_id: VpcId,
    owner_id: &'static str,
    region: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cidr_block: Option<String>,
    cidr_block_set: Vec<Value>,
    ipv6_cidr_block_set: Vec<Value>,
}

impl VpcInfo {
    fn new(state: &State, vpc_id: VpcId) -> Self {
        let cidrs = state.vpcs.get(&vpc_id).map_or(&[][..], |vpc| &vpc.cidrs);
        let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) =
            cidrs.iter().partition(|cidr| matches!(cidr, IpNet::V4(_)));
        Self {
            vpc_id,
            owner_id: ec2::OWNER,
            region: ec2::REGION,
            cidr_block: v4.first().map(ToString::to_string),
            cidr_block_set: v4.iter().map(|cidr| json!({ "CidrBlock": cidr })).collect(),
            ipv6_cidr_block_set: v6.iter().map(|cidr| json!({ "Ipv6CidrBlock": cidr })).collect(),
        }
    }
}

impl<'a> Shape<'a> {
    fn new(state: &State, peering: &'a Peering) -> Self {
        let is_pending = peering.status == PeeringStatus::PendingAcceptance;
        Self {
            vpc_peering_connection_id: peering.id,
            requester_vpc_info: VpcInfo::new(state, peering.requester),
            accepter_vpc_info: VpcInfo::new(state, peering.accepter),
            status: json!({ "Code": peering.status.code(), "Message": message(peering.status) }),
            expiration_time: is_pending.then(|| rfc3339(peering.since.saturating_add(REQUEST_SECONDS))),
            tags: ec2::tags(&peering.tags),
        }
    }
}

fn message(status: PeeringStatus) -> String {
    let owner = ec2::OWNER;
    match status {
        PeeringStatus::PendingAcceptance => format!("Pending Acceptance by {owner}"),
        PeeringStatus::Active => "Active".to_owned(),
        PeeringStatus::Deleted => format!("Deleted by {owner}"),
        PeeringStatus::Rejected => format!("Rejected by {owner}"),
        PeeringStatus::Failed => "Failed due to overlapping CIDR range".to_owned(),
        PeeringStatus::Expired => "Expired".to_owned(),
    }
}

/// `peering list`
pub fn peerings(out: &mut impl Write, output: Output, state: &State, ids: &[PeeringId]) -> io::Result<()> {
    let peerings = ids.iter().filter_map(|id| state.peerings.get(id));
    if output == Output::Json {
        let shapes: Vec<_> = peerings.map(|peering| Shape::new(state, peering)).collect();
        return json(out, &json!({ "VpcPeeringConnections": shapes }));
    }
    let vpc = |id: VpcId| match state.vpcs.get(&id).and_then(Vpc::name) {
        Some(name) => format!("{id} ({name})"),
        None => id.to_string(),
    };
    let mut table = Table::new(&["ID", "STATUS", "SINCE", "REQUESTER", "ACCEPTER"]);
    for peering in peerings {
        table.row([
            peering.id.to_string(),
            peering.status.code().to_owned(),
            rfc3339(peering.since),
            vpc(peering.requester),
            vpc(peering.accepter),
        ]);
    }
    table.write(out)
}

/// `peering create`
pub fn peering_created(out: &mut impl Write, output: Output, state: &State, id: PeeringId) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "{id}"),
        Output::Json => one(out, state, id),
    }
}

/// `peering accept`
pub fn peering_accepted(
    out: &mut impl Write,
    output: Output,
    state: &State,
    id: PeeringId,
) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "accepted {id}"),
        Output::Json => one(out, state, id),
    }
}

fn one(out: &mut impl Write, state: &State, id: PeeringId) -> io::Result<()> {
    let shape = state.peerings.get(&id).map(|peering| Shape::new(state, peering));
    json(out, &json!({ "VpcPeeringConnection": shape }))
}

/// `peering reject` and `peering delete`
pub fn peering_ended(out: &mut impl Write, output: Output, how: &str, id: PeeringId) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "{how} {id}"),
        Output::Json => json(out, &json!({ "Return": true, "VpcPeeringConnectionId": id })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::testing::{document, fixture, written};

    fn with_peering(status: PeeringStatus) -> (State, PeeringId) {
        let (mut state, ..) = fixture();
        let accepter: VpcId = "vpc-00000000000000002".parse().unwrap();
        let cidrs = ["10.0.0.0/16", "2001:db8::/56"].map(|cidr| cidr.parse().unwrap());
        let tags = [("Name".to_owned(), "prod".to_owned())].into();
        state.vpcs.insert(accepter, Vpc { id: accepter, is_default: false, cidrs: cidrs.into(), tags });
        let id: PeeringId = "pcx-00000000000000001".parse().unwrap();
        let requester = "vpc-00000000000000001".parse().unwrap();
        let tags = Default::default();
        state.peerings.insert(id, Peering { id, requester, accepter, status, since: 0, tags });
        (state, id)
    }

    #[test]
    fn m64_peerings_as_ec2_prints_them() {
        let (state, id) = with_peering(PeeringStatus::PendingAcceptance);
        let shape = json!({
            "VpcPeeringConnectionId": "pcx-00000000000000001",
            "RequesterVpcInfo": { "VpcId": "vpc-00000000000000001", "OwnerId": "000000000000", "Region": "local",
                                  "CidrBlockSet": [], "Ipv6CidrBlockSet": [] },
            "AccepterVpcInfo": { "VpcId": "vpc-00000000000000002", "OwnerId": "000000000000", "Region": "local",
                                 "CidrBlock": "10.0.0.0/16",
                                 "CidrBlockSet": [{ "CidrBlock": "10.0.0.0/16" }],
                                 "Ipv6CidrBlockSet": [{ "Ipv6CidrBlock": "2001:db8::/56" }] },
            "Status": { "Code": "pending-acceptance", "Message": "Pending Acceptance by 000000000000" },
            "ExpirationTime": "1970-01-08T00:00:00Z",
            "Tags": [],
        });
        assert_eq!(
            document(|out| peerings(out, Output::Json, &state, &[id])),
            json!({ "VpcPeeringConnections": [shape] })
        );
        assert_eq!(
            document(|out| peering_created(out, Output::Json, &state, id)),
            json!({ "VpcPeeringConnection": shape })
        );
        let (state, id) = with_peering(PeeringStatus::Active);
        let accepted = document(|out| peering_accepted(out, Output::Json, &state, id));
        let accepted = &accepted["VpcPeeringConnection"];
        assert_eq!(accepted["Status"], json!({ "Code": "active", "Message": "Active" }));
        assert!(accepted.get("ExpirationTime").is_none(), "{accepted}");
        assert_eq!(
            document(|out| peering_ended(out, Output::Json, "deleted", id)),
            json!({ "Return": true, "VpcPeeringConnectionId": "pcx-00000000000000001" })
        );
    }

    #[test]
    fn peerings_as_a_table() {
        let (state, id) = with_peering(PeeringStatus::Active);
        assert_eq!(
            written(|out| peerings(out, Output::Table, &state, &[id])),
            "\
ID                     STATUS  SINCE                 REQUESTER              ACCEPTER
pcx-00000000000000001  active  1970-01-01T00:00:00Z  vpc-00000000000000001  vpc-00000000000000002 (prod)
"
        );
        assert_eq!(written(|out| peering_created(out, Output::Table, &state, id)), "pcx-00000000000000001\n");
        assert_eq!(
            written(|out| peering_accepted(out, Output::Table, &state, id)),
            "accepted pcx-00000000000000001\n"
        );
        assert_eq!(
            written(|out| peering_ended(out, Output::Table, "rejected", id)),
            "rejected pcx-00000000000000001\n"
        );
    }
}
