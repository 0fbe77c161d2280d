//! Several VPCs on one host, the peerings between them, and quotas, as a user meets them.

use serde_json::{Value, json};
use sg_tests::{
    ctl::{Ctl, Lab},
    net::{IFACE, PEER, V4},
};

/// What stands at that path of an answer, as text.
fn text(answer: &Value, pointer: &str) -> String {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{pointer} of {answer}"))
        .to_owned()
}

/// A new group of a VPC, by its id.
fn group(ctl: &Ctl, vpc: &str, name: &str) -> String {
    text(&ctl.json(&format!("group create {name} --description test --vpc {vpc}")), "/GroupId")
}

/// A peering of `near` and `far` that is active.
fn peer(ctl: &Ctl) -> String {
    let asked = ctl.json("peering create near far");
    assert_eq!(asked["VpcPeeringConnection"]["Status"]["Code"], "pending-acceptance");
    let id = text(&asked, "/VpcPeeringConnection/VpcPeeringConnectionId");
    let accepted = ctl.json(&format!("peering accept {id}"));
    assert_eq!(accepted["VpcPeeringConnection"]["Status"]["Code"], "active");
    id
}

#[test]
fn m17_m66_to_m70_a_group_behind_a_peering_admits_its_members_while_it_lasts() {
    let lab = Lab::new();
    let ctl = &lab.ctl;
    ctl.json("vpc create near --cidr 10.1.0.0/16");
    ctl.json("vpc create far --cidr 10.2.0.0/16");
    let (web, clients) = (group(ctl, "near", "web"), group(ctl, "far", "clients"));
    ctl.json(&format!("attach {IFACE} --adopt none --vpc near --group web"));
    ctl.in_netns(lab.client.name()).json(&format!("attach {PEER} --adopt none --vpc far --group clients"));

    let rule = format!("ingress --protocol tcp --port 22 --source-group {clients}");
    let refused = ctl.refused(&format!("rule add {web} {rule}"));
    assert_eq!(refused.code, "InvalidGroup.NotFound");
    assert!(refused.message.contains("belong to different networks"), "{refused:?}");
    let pcx = peer(ctl);
    ctl.json(&format!("rule add {web} {rule}"));
    let mut session = lab.connect(V4.admin, V4.host, 22);
    session.goes_on();
    lab.refuses(V4.admin, V4.host, 23);
    let listed = ctl.json(&format!("references {clients}"));
    assert_eq!(listed["SecurityGroupReferenceSet"][0]["VpcPeeringConnectionId"], pcx.as_str());
    assert_eq!(ctl.json("stale"), json!({ "StaleSecurityGroupSet": [] }));

    // The rule stays and matches nobody; what it had let in is tracked, and lives on.
    ctl.json(&format!("peering delete {pcx}"));
    lab.refuses(V4.admin, V4.host, 22);
    session.goes_on();
    let stale = ctl.json("stale --vpc near");
    assert_eq!(stale["StaleSecurityGroupSet"][0]["GroupId"], web.as_str());
    let pair = &stale["StaleSecurityGroupSet"][0]["StaleIpPermissions"][0]["UserIdGroupPairs"][0];
    assert_eq!((&pair["GroupId"], &pair["PeeringStatus"]), (&clients.as_str().into(), &"deleted".into()));

    peer(ctl);
    lab.connect(V4.admin, V4.host, 22).goes_on();
    assert_eq!(ctl.json("stale"), json!({ "StaleSecurityGroupSet": [] }));
}

#[test]
fn m32_m37_a74_vpcs_and_quotas_are_refused_as_ec2_does() {
    let ctl = &Lab::new().ctl;
    for name in ["a", "b", "c", "d"] {
        ctl.json(&format!("vpc create {name}"));
    }
    assert_eq!(ctl.refused("vpc create e").code, "VpcLimitExceeded");
    let quotas = ctl.json("quota vpcs=6");
    assert_eq!(quotas["quotas"][4], json!({ "name": "vpcs", "value": 6, "default": 5 }));
    ctl.json("vpc create e");
    let web = group(ctl, "e", "web");
    let refused = ctl.refused("vpc delete e");
    assert_eq!(refused.code, "DependencyViolation");
    assert!(refused.message.contains(&format!("group web ({web})")), "{refused:?}");
    ctl.json(&format!("group delete {web}"));
    assert_eq!(ctl.json("vpc delete e")["Return"], true);
    for (line, code) in [
        ("vpc create f --cidr 10.0.0.0/8", "InvalidVpc.Range"),
        ("vpc delete f", "InvalidVpcID.NotFound"),
        ("peering create a f", "InvalidVpcID.NotFound"),
        ("peering accept pcx-12345678", "InvalidVpcPeeringConnectionID.NotFound"),
        ("peering accept pcx-1", "InvalidVpcPeeringConnectionId.Malformed"),
        ("quota rules-per-group=1001", "InvalidParameterValue"),
        ("quota vpcs=6 groups-per-interface=17", "InvalidParameterValue"),
        ("references nobody", "InvalidGroup.NotFound"),
        ("stale --vpc f", "InvalidVpcID.NotFound"),
    ] {
        assert_eq!(ctl.refused(line).code, code, "{line}");
    }
    let id = text(&ctl.json("peering create a b"), "/VpcPeeringConnection/VpcPeeringConnectionId");
    assert_eq!(ctl.refused("peering create b a").code, "VpcPeeringConnectionAlreadyExists");
    ctl.json(&format!("peering reject {id}"));
    assert_eq!(ctl.refused(&format!("peering delete {id}")).code, "InvalidStateTransition");
    assert_eq!(ctl.json("peering list")["VpcPeeringConnections"][0]["Status"]["Code"], "rejected");
}
