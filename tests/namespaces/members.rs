//! Who is a member of a group, and what becomes of flows when an address changes hands (P-17, T-32).

use serde_json::Value;
use sg_tests::{
    ctl::{Ctl, Lab},
    net::{IFACE, Namespace, OTHER4, PEER, V4},
};
use std::{fs, os::unix::fs::symlink};

const NONE: [Value; 0] = [];
const FROM_DB: [&str; 2] = [
    "ingress --protocol tcp --port 22 --source-group db",
    "ingress --protocol udp --port 53 --source-group db",
];

/// A host whose group `web` admits members of `db`.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.ctl.group("db", &[]);
    lab.ctl.group("web", &FROM_DB);
    lab.attach("--group web");
    lab
}

fn register(ctl: &Ctl, name: &str, group: &str) -> Value {
    ctl.json(&format!("interface register {name} --address {} --group {group}", V4.admin))
}

/// A command that has nothing to do with what is enforced.
fn unrelated(lab: &Lab, name: &str) {
    lab.ctl.json(&format!("group create {name} --description test"));
}

#[test]
fn p17_a_registered_interface_is_a_member_and_its_flows_end_with_it() {
    let lab = lab();
    lab.refuses(V4.admin, V4.host, 22);
    let registered = register(&lab.ctl, "db1", "db");
    assert_eq!(registered["NetworkInterface"]["Status"], "available");
    assert_eq!(registered["NetworkInterface"]["PrivateIpAddress"], V4.admin.to_string());
    let mut session = lab.connect(V4.admin, V4.host, 22);
    let mut dns = lab.datagrams(V4.admin, V4.host, 53);
    dns.answers();
    lab.refuses(V4.other, V4.host, 22);

    // T-32: neither another group nor the end of the rule cuts what is tracked.
    lab.ctl.json("interface set-groups db1 default");
    session.goes_on();
    dns.answers();
    lab.refuses(V4.admin, V4.host, 22);
    lab.ctl.json("interface set-groups db1 db");
    lab.remove(FROM_DB[0]);
    session.goes_on();

    // The address is somebody else's now, and was let in as db1's. What rules admit for the address itself goes on.
    lab.ctl.add_rules("web", &["ingress --protocol tcp --port 443 --cidr 203.0.113.1/32"]);
    let mut admitted = lab.connect(V4.admin, V4.host, 443);
    let gone = lab.ctl.json("interface deregister db1");
    assert_eq!((&gone["Return"], &gone["name"]), (&true.into(), &"db1".into()));
    let flows = lab.ctl.flows();
    assert_eq!((flows.len(), &flows[0]["local_port"]), (1, &443.into()));
    admitted.goes_on();
    session.is_cut_forward();
    dns.refused();
    register(&lab.ctl, "other", "default");
    dns.refused();
    lab.refuses(V4.admin, V4.host, 22);
}

#[test]
fn p17_a_member_that_gains_an_address_admits_more_and_one_that_loses_it_ends_its_flows() {
    let lab = lab();
    let clients = lab.ctl.in_netns(lab.client.name());
    clients.json(&format!("attach {PEER} --adopt none --group db"));
    let third = [203, 0, 113, 3].into();
    lab.client.ip(&format!("address add 203.0.113.3/24 dev {PEER}"));
    unrelated(&lab, "first");
    lab.connect(third, V4.host, 22).goes_on();

    let (mut lost, mut kept) = (lab.connect(OTHER4, V4.host, 22), lab.connect(V4.admin, V4.host, 22));
    // The address moves to a device that is no member.
    lab.client.ip(&format!("address del {OTHER4}/24 dev {PEER}"));
    lab.client.ip(&format!("address add {OTHER4}/32 dev lo"));
    lost.goes_on();
    unrelated(&lab, "second");
    lost.is_cut_forward();
    kept.goes_on();
    lab.refuses(OTHER4, V4.host, 22);

    // Its own flows stay when it is detached elsewhere; those of its members do not.
    clients.json(&format!("detach {PEER}"));
    assert_eq!(lab.ctl.flows(), NONE);
    kept.is_cut_forward();
}

#[test]
fn p17_attach_and_detach_look_at_addresses_as_any_change_does() {
    let lab = Lab::new();
    lab.ctl.group("db", &[]);
    lab.ctl.group("web", &FROM_DB);
    let clients = lab.ctl.in_netns(lab.client.name());
    clients.json(&format!("attach {PEER} --adopt none --group db"));
    let third = [203, 0, 113, 3].into();
    lab.client.ip(&format!("address add 203.0.113.3/24 dev {PEER}"));
    lab.attach("--group web");
    let mut open = lab.connect(third, V4.host, 22);

    lab.host.ip("link add further type veth peer name end");
    lab.ctl.json("attach further --adopt none");
    open.goes_on();
    lab.client.ip(&format!("address del 203.0.113.3/24 dev {PEER}"));
    lab.client.ip("address add 203.0.113.3/32 dev lo");
    lab.ctl.json("detach further");
    open.is_cut_forward();
    lab.refuses(third, V4.host, 22);
}

#[test]
fn p17_an_address_that_the_interface_itself_loses_ends_its_flows() {
    let lab = lab();
    lab.ctl.add_rules("web", &["ingress --protocol tcp --port 443 --cidr 203.0.113.0/24"]);
    lab.host.ip(&format!("address add 203.0.113.11/24 dev {IFACE}"));
    unrelated(&lab, "first");
    let _second = lab.connect(V4.admin, [203, 0, 113, 11].into(), 443);
    let mut kept = lab.connect(V4.admin, V4.host, 443);
    assert_eq!(lab.ctl.flows().len(), 2);
    lab.host.ip(&format!("address del 203.0.113.11/24 dev {IFACE}"));
    unrelated(&lab, "second");
    let flows = lab.ctl.flows();
    assert_eq!((flows.len(), &flows[0]["local"]), (1, &V4.host.to_string().into()));
    kept.goes_on();
}

#[test]
fn p17_what_has_the_namespaces_path_by_now_lends_the_interface_no_address() {
    let lab = lab();
    let path = lab.ctl.state_dir().join("clients");
    symlink(lab.client.path(), &path).expect("a link can be made");
    lab.ctl.in_netns(&path).json(&format!("attach {PEER} --adopt none --group db"));
    lab.connect(V4.admin, V4.host, 22).goes_on();

    // As of `/proc/PID/ns/net`, when the number is another process's: its device may have the same name and index.
    let other = Namespace::new("other");
    let shown = lab.client.ip(&format!("-o link show dev {PEER}"));
    let (index, _) = shown.split_once(':').expect("an index");
    other.ip(&format!("link add name {PEER} index {index} type veth peer name far"));
    other.ip(&format!("address add {OTHER4}/24 dev {PEER}"));
    fs::remove_file(&path).expect("the link can be removed");
    symlink(other.path(), &path).expect("a link can be made");
    unrelated(&lab, "next");
    let status = lab.ctl.json("status");
    let all = status["interfaces"].as_array().expect("interfaces");
    let member = all.iter().find(|eni| eni["name"] == PEER).expect("it is there");
    assert_eq!(member["addresses"], Value::from(NONE.to_vec()));
    lab.refuses(V4.admin, V4.host, 22);
    lab.refuses(OTHER4, V4.host, 22);
}

#[test]
fn a_name_and_an_address_mean_one_interface() {
    let lab = lab();
    register(&lab.ctl, "db1", "db");
    for (line, code, next) in [
        ("interface register db1 --address 10.0.0.1 --group db", "IncorrectState", "deregister db1"),
        ("interface register sg0 --address 10.0.0.1 --group db", "IncorrectState", "under another name"),
        ("interface register db2 --address 203.0.113.1 --group db", "InvalidIPAddress.InUse", "db1"),
        ("interface register db2 --address 203.0.113.10 --group db", "InvalidIPAddress.InUse", IFACE),
        ("interface register db2 --address 169.254.0.1 --group db", "InvalidParameterValue", "link-local"),
        ("interface register db2 --address fe80::1 --group db", "InvalidParameterValue", "link-local"),
        ("interface register db2 --address 10.0.0.1 --group x", "InvalidSecurityGroupID.NotFound", "x"),
        ("interface deregister db2", "InvalidNetworkInterfaceID.NotFound", "db2"),
        ("interface deregister sg0", "IncorrectState", "detach sg0"),
        ("detach db1", "IncorrectState", "interface deregister db1"),
        ("group delete db", "DependencyViolation", "interface db1"),
    ] {
        let refused = lab.ctl.refused(line);
        assert_eq!(refused.code, code, "{line}");
        assert!(refused.message.contains(next), "{line}: {refused:?}");
    }
    // A registered interface is known in every namespace, as it is in none.
    let listed = lab.ctl.json("interface list");
    let listed = listed["NetworkInterfaces"].as_array().expect("an array");
    assert_eq!(listed.iter().filter(|eni| eni["Status"] == "available").count(), 1);
    assert_eq!(
        lab.ctl.in_netns(lab.client.name()).json("interface show db1"),
        lab.ctl.json("interface show db1")
    );
    // Nothing is attached: nothing of the kernel is asked.
    lab.ctl.json(&format!("detach {IFACE}"));
    lab.ctl.json("interface register db2 --address 10.0.0.1 fd00::1 --group db default");
    assert_eq!(lab.ctl.pins(), [] as [&std::path::Path; 0]);
}
