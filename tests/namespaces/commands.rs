//! The contract of the command line, from outside: what is refused and how, and the shapes of the answers (`cli.md`).

use aya::programs::{NetworkInterface, Xdp, xdp::XdpMode};
use serde_json::{Value, json};
use sg_ctl::kernel::object;
use sg_tests::{
    ctl::{Ctl, Lab, binary, finish, keys, refusal, refusal_json},
    net::{IFACE, Namespace, V4},
};
use std::{
    ffi::CString,
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::Command,
};

/// The user and group `nobody`.
const NOBODY: u32 = 65_534;

#[test]
fn bad_values_are_refused_with_a_code_and_change_nothing() {
    let lab = Lab::attached(&["ingress --protocol tcp --port 22 --cidr 203.0.113.1/32"]);
    lab.ctl.json("group create spare --description test");
    let add = "rule add web ingress --protocol";
    for (line, code) in [
        // Interfaces.
        ("attach nosuch".to_owned(), "InvalidNetworkInterfaceID.NotFound"),
        ("attach a-name-that-no-device-can-have".to_owned(), "InvalidNetworkInterfaceID.NotFound"),
        ("attach lo".to_owned(), "UnsupportedDevice"),
        (format!("attach {IFACE}"), "IncorrectState"),
        (format!("attach {IFACE} --mode native"), "IncorrectState"),
        ("detach nosuch".to_owned(), "InvalidNetworkInterfaceID.NotFound"),
        ("detach eni-0123456789abcdef0".to_owned(), "InvalidNetworkInterfaceID.NotFound"),
        ("interface show nosuch".to_owned(), "InvalidNetworkInterfaceID.NotFound"),
        ("interface set-groups nosuch web".to_owned(), "InvalidNetworkInterfaceID.NotFound"),
        (format!("interface set-groups {IFACE} nosuch"), "InvalidSecurityGroupID.NotFound"),
        (format!("interface set-groups {IFACE} sg-0123456789abcdef0"), "InvalidSecurityGroupID.NotFound"),
        ("interface set-timeouts nosuch --udp 30".to_owned(), "InvalidNetworkInterfaceID.NotFound"),
        (format!("interface set-timeouts {IFACE} --tcp-established 59"), "InvalidParameterValue"),
        (format!("interface set-timeouts {IFACE} --tcp-established 432001"), "InvalidParameterValue"),
        (format!("interface set-timeouts {IFACE} --udp 60 --udp-stream 181"), "InvalidParameterValue"),
        ("counters nosuch".to_owned(), "InvalidNetworkInterfaceID.NotFound"),
        ("conntrack list nosuch".to_owned(), "InvalidNetworkInterfaceID.NotFound"),
        ("conntrack list --remote 10.0.0.0/99".to_owned(), "InvalidParameterValue"),
        ("conntrack list --protocol ipx".to_owned(), "InvalidParameterValue"),
        // Groups.
        ("group show nosuch".to_owned(), "InvalidGroup.NotFound"),
        ("group delete sg-0123456789abcdef0".to_owned(), "InvalidGroup.NotFound"),
        ("group delete web".to_owned(), "DependencyViolation"),
        ("group delete default".to_owned(), "CannotDelete"),
        ("group create web --description test".to_owned(), "InvalidGroup.Duplicate"),
        ("group create WEB --description test".to_owned(), "InvalidGroup.Duplicate"),
        ("group create x --description test --vpc nosuch".to_owned(), "InvalidVpcID.NotFound"),
        // Rules.
        (
            "rule add nosuch ingress --protocol tcp --port 22 --cidr 10.0.0.0/8".to_owned(),
            "InvalidGroup.NotFound",
        ),
        (format!("{add} tcp --port 22 --source-group nosuch"), "InvalidGroup.NotFound"),
        (format!("{add} tcp --port 22 --cidr 10.0.0.0/33"), "InvalidParameterValue"),
        (format!("{add} tcp --port 22 --cidr 10.0.0.1"), "InvalidParameterValue"),
        (format!("{add} tcp --port 22 --cidr ten"), "InvalidParameterValue"),
        (format!("{add} tcp --port 22 --cidr 2001:db8::/129"), "InvalidParameterValue"),
        (format!("{add} tcp --port 80-79 --cidr 10.0.0.0/8"), "InvalidParameterValue"),
        (format!("{add} tcp --port 65536 --cidr 10.0.0.0/8"), "InvalidParameterValue"),
        (format!("{add} tcp --port -1 --cidr 10.0.0.0/8"), "InvalidParameterValue"),
        (format!("{add} tcp --port ssh --cidr 10.0.0.0/8"), "InvalidParameterValue"),
        (format!("{add} tcp --cidr 10.0.0.0/8"), "InvalidParameterValue"),
        (format!("{add} all --port 22 --cidr 10.0.0.0/8"), "InvalidParameterValue"),
        (format!("{add} ipx --cidr 10.0.0.0/8"), "InvalidParameterValue"),
        (format!("{add} 256 --cidr 10.0.0.0/8"), "InvalidParameterValue"),
        (format!("{add} tcp --port 22 --cidr 203.0.113.1/32"), "InvalidPermission.Duplicate"),
        // All or nothing: the first source alone would do.
        (format!("{add} tcp --port 23 --cidr 10.0.0.0/8 --cidr 10.0.0.0/88"), "InvalidParameterValue"),
        (
            "rule remove web ingress --protocol tcp --port 23 --cidr 203.0.113.1/32".to_owned(),
            "InvalidPermission.NotFound",
        ),
        ("rule remove web sgr-0123456789abcdef0".to_owned(), "InvalidSecurityGroupRuleId.NotFound"),
        ("rule list nosuch".to_owned(), "InvalidGroup.NotFound"),
    ] {
        let refused = lab.ctl.refused(&line);
        assert_eq!(refused.code, code, "`sg-ctl {line}`: {}", refused.message);
    }
    lab.connect(V4.admin, V4.host, 22).goes_on();
    lab.refuses(V4.other, V4.host, 22);
}

#[test]
fn a_refused_first_attach_leaves_no_trace() {
    let lab = Lab::new();
    for (line, code) in [
        ("attach nosuch", "InvalidNetworkInterfaceID.NotFound"),
        ("attach lo", "UnsupportedDevice"),
        ("attach sg0 --group nosuch", "InvalidSecurityGroupID.NotFound"),
        ("attach sg0 --group sg-0123456789abcdef0", "InvalidSecurityGroupID.NotFound"),
        ("attach sg0 --vpc nosuch", "InvalidVpcID.NotFound"),
        ("attach sg0 --side guest --address ten", "InvalidParameterValue"),
        ("attach sg0 --side guest", "MissingParameter"),
        ("attach sg0 --address 10.0.0.1", "InvalidParameterCombination"),
        ("detach sg0", "InvalidNetworkInterfaceID.NotFound"),
    ] {
        let refused = lab.ctl.refused(line);
        assert_eq!(refused.code, code, "`sg-ctl {line}`: {}", refused.message);
        assert_eq!(lab.ctl.pins(), [] as [&Path; 0], "`sg-ctl {line}`");
    }
    lab.connect(V4.other, V4.host, 22).goes_on();
}

#[test]
fn an_unknown_namespace_is_named() {
    let lab = Lab::new();
    let ran = lab.ctl.in_netns("sg-t-nosuch").run("status");
    let refused = refusal(&ran);
    assert_eq!(refused.code, "InvalidNetworkNamespace.NotFound");
    assert!(refused.message.contains("sg-t-nosuch"), "{}", refused.message);
    let ran = lab.ctl.in_netns("/proc/self/ns/mnt").run("status");
    assert!(refusal(&ran).message.contains("/proc/self/ns/mnt"));
}

#[test]
fn trap40_a_foreign_xdp_program_is_not_replaced() {
    let lab = Lab::new();
    // Any program that lets everything pass will do.
    let mut foreign = object::open(&object::Constants::default(), Path::new("/nonexistent"), &[])
        .expect("the object can be opened");
    let program: &mut Xdp = object::load(&mut foreign, object::CLOCK)
        .expect("it is loaded")
        .try_into()
        .expect("it is an XDP program");
    let device = CString::new(IFACE).expect("a name without NUL");
    lab.host
        .inside(|| program.attach(NetworkInterface::Name(&device), XdpMode::Skb))
        .expect("it is attached");
    let xdp = || {
        let shown = lab.host.ip(&format!("-d -o link show {IFACE}"));
        let at = shown.find("prog/xdp").unwrap_or_else(|| panic!("no XDP program on the link: {shown}"));
        shown[at..].split_whitespace().nth(2).map(str::to_owned)
    };
    let before = xdp();
    for mode in ["native", "generic"] {
        let refused = lab.ctl.refused(&format!("attach {IFACE} --mode {mode}"));
        assert_eq!(refused.code, "ForeignProgram", "{}", refused.message);
        assert!(refused.message.contains("--mode tc"), "it says what to do: {}", refused.message);
        assert_eq!(lab.ctl.pins(), [] as [&Path; 0]);
        assert_eq!(xdp(), before);
    }
    lab.connect(V4.other, V4.host, 22).goes_on();
    // Beside it there is room.
    for mode in ["auto", "tc"] {
        lab.attach(&format!("--mode {mode}"));
        assert_eq!(lab.ctl.json("status")["interfaces"][0]["mode"], "tc");
        assert_eq!(xdp(), before);
        lab.refuses(V4.other, V4.host, 22);
        lab.ctl.json(&format!("detach {IFACE}"));
        assert_eq!(xdp(), before);
    }
}

#[test]
fn where_no_bpffs_can_be_there_is_a_clear_refusal() {
    let lab = Lab::new();
    let file = lab.ctl.state_dir().join("file");
    fs::write(&file, "no directory").expect("a file");
    for place in [Path::new("/proc/sg-t-nosuch"), &file, &file.join("below")] {
        let ctl = lab.ctl.at_bpffs(place);
        let attach = format!("attach {IFACE}");
        let plain = refusal(&ctl.run(&attach));
        assert_eq!(refusal_json(&ctl.run(&format!("-o json {attach}"))), plain);
        assert_eq!(plain.code, "BpffsUnavailable", "{}", plain.message);
    }
    assert_eq!(lab.ctl.json("interface list")["NetworkInterfaces"], json!([]));
    lab.connect(V4.other, V4.host, 22).goes_on();
}

/// Where the bpffs lets every user make directories, another must not have made ours: who can rename what is pinned
/// decides what is enforced.
#[test]
fn a_directory_of_another_user_is_refused() {
    let lab = Lab::new();
    let place = Path::new("/sys/fs/bpf").join(format!("sg-t-{}-foreign", std::process::id()));
    fs::create_dir(&place).expect("a directory");
    std::os::unix::fs::chown(&place, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    let ctl = lab.ctl.at_bpffs(&place);
    let refused = refusal(&ctl.run(&format!("attach {IFACE}")));
    fs::remove_dir(&place).expect("nothing was left in it");
    assert_eq!(refused.code, "UnsafeDirectory", "{}", refused.message);
    lab.connect(V4.other, V4.host, 22).goes_on();
}

/// In a mount namespace of its own sg-ctl would have to mount a bpffs that vanishes with it. It refuses where it knows
/// that; where process 1's namespace cannot be read it does not know.
#[test]
fn a_bpffs_that_would_vanish_is_refused_where_that_is_known() {
    let lab = Lab::new();
    let place = lab.ctl.state_dir().join("bpf");
    let ctl = lab.ctl.at_bpffs(&place);
    let before = ctl.json("interface list");
    let mut command = Command::new("unshare");
    command.args(["-m".as_ref(), binary().as_os_str()]);
    let ran = finish(ctl.prepare(&mut command).args(["attach", IFACE, "--adopt", "none"]));
    if fs::read_link("/proc/1/ns/mnt").is_ok() {
        let refused = refusal(&ran);
        assert_eq!(refused.code, "BpffsUnavailable", "{}", refused.message);
        assert!(refused.message.contains("mount -t bpf bpf"), "it names the fix: {}", refused.message);
        assert_eq!(ctl.json("interface list"), before);
    } else {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        // It vanished with the command, and nothing claims otherwise.
        assert_eq!(ctl.json("status")["interfaces"][0]["enforcing"], false);
        ctl.json(&format!("detach {IFACE}"));
    }
    lab.connect(V4.other, V4.host, 22).goes_on();
}

/// Runs the binary as `nobody` from inside the lab's namespace.
fn as_nobody(lab: &Lab, ctl: &Ctl, line: &str) -> sg_tests::ctl::Ran {
    lab.host.inside(|| {
        let mut command = Command::new(binary());
        ctl.prepare(&mut command).args(line.split_whitespace());
        finish(command.uid(NOBODY).gid(NOBODY))
    })
}

#[test]
fn without_root_an_attach_is_refused_and_leaves_no_trace() {
    let lab = Lab::new();
    // Everything but the privilege is there.
    chown(lab.ctl.state_dir(), Some(NOBODY), Some(NOBODY)).expect("root gives a directory away");
    let own = lab.ctl.without_netns();
    for mode in ["auto", "native"] {
        let attach = format!("attach {IFACE} --mode {mode}");
        let plain = refusal(&as_nobody(&lab, &own, &attach));
        assert_eq!(refusal_json(&as_nobody(&lab, &own, &format!("-o json {attach}"))), plain);
        assert_eq!(plain.code, "UnauthorizedOperation", "{}", plain.message);
        assert!(plain.message.contains("root"), "it says what to do: {}", plain.message);
        assert_eq!(lab.ctl.pins(), [] as [&Path; 0]);
    }
    assert_eq!(lab.ctl.json("interface list")["NetworkInterfaces"], json!([]));
    lab.connect(V4.other, V4.host, 22).goes_on();
}

#[test]
fn without_root_another_namespace_is_refused() {
    let lab = Lab::new();
    chown(lab.ctl.state_dir(), Some(NOBODY), Some(NOBODY)).expect("root gives a directory away");
    let refused = refusal(&as_nobody(&lab, &lab.ctl, &format!("attach {IFACE}")));
    assert_eq!(refused.code, "UnauthorizedOperation", "{}", refused.message);
    assert!(refused.message.contains("root"), "it says what to do: {}", refused.message);
}

#[test]
fn without_root_roots_store_and_datapath_are_refused() {
    let lab = Lab::attached(&["ingress --protocol tcp --port 22 --cidr 203.0.113.1/32"]);
    let own = lab.ctl.without_netns();
    let before = lab.ctl.picture();
    for line in [
        "status".to_owned(),
        "group list".to_owned(),
        "rule add web ingress --protocol tcp --port 80 --cidr 0.0.0.0/0".to_owned(),
        format!("detach {IFACE}"),
    ] {
        let refused = refusal(&as_nobody(&lab, &own, &line));
        assert_eq!(refused.code, "UnauthorizedOperation", "`sg-ctl {line}`: {}", refused.message);
        assert!(refused.message.contains("root"), "it says what to do: {}", refused.message);
    }
    // A store of one's own does not open root's datapath.
    let store = tempfile::tempdir().expect("a directory");
    chown(store.path(), Some(NOBODY), Some(NOBODY)).expect("root gives a directory away");
    let url = format!("--store sqlite:{}", store.path().join("own.db").display());
    for line in ["status", "counters", "conntrack list", "group create mine --description test"] {
        let refused = refusal(&as_nobody(&lab, &own, &format!("{url} {line}")));
        assert_eq!(refused.code, "UnauthorizedOperation", "`sg-ctl {line}`: {}", refused.message);
    }
    assert_eq!(lab.ctl.picture(), before);
}

#[test]
fn wrong_usage_is_exit_2_and_prints_nothing_on_stdout() {
    let lab = Lab::new();
    for line in [
        "",
        "nonsense",
        "attach",
        "attach sg0 --frobnicate",
        "attach sg0 --mode fast",
        "attach sg0 --side left",
        "status --output yaml",
        "group create web",
        "rule add web sideways --protocol tcp --port 22 --cidr 10.0.0.0/8",
        "rule add web ingress --port 22 --cidr 10.0.0.0/8",
        "rule add web ingress --protocol tcp --port 22",
        "rule remove web",
        "interface set-groups sg0",
    ] {
        let ran = lab.ctl.run(line);
        assert_eq!(ran.code, Some(2), "`sg-ctl {line}`: {ran:?}");
        assert_eq!(ran.stdout, "", "`sg-ctl {line}`");
        assert!(
            ran.stderr.starts_with("error: ") || ran.stderr.contains("Usage"),
            "`sg-ctl {line}`: {ran:?}"
        );
    }
    assert_eq!(lab.ctl.json("interface list")["NetworkInterfaces"], json!([]));
}

#[test]
fn the_environment_sets_what_flags_do_not() {
    let lab = Lab::attached(&[]);
    let mut command = Command::new(binary());
    command
        .env_remove("RUST_LOG")
        .env("SG_OUTPUT", "json")
        .env("SG_STATE_DIR", lab.ctl.state_dir())
        .env("SG_BPFFS", lab.ctl.bpffs())
        .env("SG_NETNS", lab.host.name())
        .args(["interface", "show", IFACE]);
    let ran = finish(&mut command);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let printed: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(printed, lab.ctl.json(&format!("interface show {IFACE}")));
}

#[test]
fn cli_an_empty_variable_counts_as_one_that_is_not_set() {
    let netns = Namespace::new("host");
    let ctl = Ctl::new(&netns);
    let mut command = Command::new(binary());
    let ran = finish(ctl.prepare(&mut command).args(["group", "list"]).env("SG_OUTPUT", ""));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("ID "), "{ran:?}");
}

/// The object has these members and may have others.
#[track_caller]
fn has(value: &Value, members: &[&str]) {
    let found = keys(value);
    for member in members {
        assert!(found.contains(member), "no `{member}` in {value:#}");
    }
}

#[track_caller]
fn only(value: &Value) -> &Value {
    let list = value.as_array().expect("an array");
    assert_eq!(list.len(), 1, "{value:#}");
    &list[0]
}

const GROUP: [&str; 7] =
    ["GroupId", "GroupName", "Description", "VpcId", "IpPermissions", "IpPermissionsEgress", "Tags"];
const RULE: [&str; 7] =
    ["SecurityGroupRuleId", "GroupId", "IsEgress", "IpProtocol", "FromPort", "ToPort", "Tags"];

#[test]
fn the_shapes_of_an_empty_host() {
    let lab = Lab::new();
    let groups = lab.ctl.json("group list");
    let default = only(&groups["SecurityGroups"]);
    has(default, &GROUP);
    assert_eq!(default["GroupName"], "default");
    assert_eq!(lab.ctl.json("interface list"), json!({ "NetworkInterfaces": [] }));
    assert_eq!(lab.ctl.json("conntrack list"), json!({ "flows": [] }));
    let status = lab.ctl.json("status");
    assert_eq!(keys(&status), ["datapath_version", "interfaces", "maps"]);
    assert_eq!((&status["interfaces"], &status["maps"]), (&json!([]), &json!([])));
    assert!(status["datapath_version"].is_u64());
    let counters = lab.ctl.json("counters");
    assert_eq!(counters["interfaces"], json!([]));
    has(&counters["conntrack"], &["tracked", "untracked_packets", "allowance_exceeded"]);
    assert_eq!(lab.ctl.pins(), [] as [&Path; 0], "looking makes nothing");
}

#[test]
fn the_shapes_of_groups_and_rules() {
    let lab = Lab::new();
    let created = lab.ctl.json("group create web --description test --tag env=prod");
    has(&created, &["GroupId", "Tags"]);
    assert_eq!(created["Tags"], json!([{ "Key": "env", "Value": "prod" }]));
    let id = created["GroupId"].as_str().expect("an id");
    assert!(id.len() == 20 && id.starts_with("sg-"), "{id}");

    // By id, by name, in any order of flags: the same.
    let shown = lab.ctl.json("group show web");
    assert_eq!(lab.ctl.json(&format!("group show {id}")), shown);
    let group = only(&shown["SecurityGroups"]);
    has(group, &GROUP);
    assert_eq!((&group["GroupId"], &group["Description"]), (&id.into(), &"test".into()));
    assert_eq!(group["IpPermissions"], json!([]), "M-23: no inbound rule");
    assert_eq!(
        group["IpPermissionsEgress"],
        json!([{
            "IpProtocol": "-1", "IpRanges": [{ "CidrIp": "0.0.0.0/0" }], "Ipv6Ranges": [{ "CidrIpv6": "::/0" }],
            "PrefixListIds": [], "UserIdGroupPairs": [],
        }]),
        "M-26: all outbound, both families"
    );

    let added = lab.ctl.json(
        "rule add web ingress --protocol tcp --port 80-81 --cidr 10.1.2.3/8 --cidr 2001:DB8::/32 --source-group web \
         --description http",
    );
    assert_eq!(added["Return"], true);
    let rules = added["SecurityGroupRules"].as_array().expect("an array");
    assert_eq!(rules.len(), 3);
    for rule in rules {
        has(rule, &RULE);
        assert_eq!((&rule["IsEgress"], &rule["IpProtocol"]), (&false.into(), &"tcp".into()));
        assert_eq!((&rule["FromPort"], &rule["ToPort"]), (&80.into(), &81.into()));
        assert_eq!((&rule["GroupId"], &rule["Description"]), (&id.into(), &"http".into()));
    }
    assert_eq!(rules[0]["CidrIpv4"], "10.0.0.0/8", "A-45");
    assert_eq!(rules[1]["CidrIpv6"], "2001:db8::/32");
    assert_eq!(rules[2]["ReferencedGroupInfo"]["GroupId"], id);

    let listed = lab.ctl.json("rule list web");
    assert_eq!(keys(&listed), ["SecurityGroupRules"]);
    let listed = listed["SecurityGroupRules"].as_array().expect("an array");
    assert_eq!(listed.len(), 5);
    assert!(rules.iter().all(|rule| listed.contains(rule)));
    assert_eq!(lab.ctl.json("rule list")["SecurityGroupRules"].as_array().map(Vec::len), Some(8));

    let rule = rules[2]["SecurityGroupRuleId"].as_str().expect("an id");
    let removed = lab.ctl.json(&format!("rule remove web {rule}"));
    has(&removed, &["Return", "interrupted_ports"]);
    assert_eq!(removed["interrupted_ports"], 0);

    let deleted = lab.ctl.json("group delete web");
    assert_eq!(deleted["Return"], true);
    assert_eq!(lab.ctl.json("group list")["SecurityGroups"].as_array().map(Vec::len), Some(1));
}

#[test]
fn the_shapes_of_an_attached_interface() {
    let lab = Lab::new();
    lab.ctl.group("web", &["ingress --protocol tcp --port 22 --cidr 203.0.113.1/32"]);
    let attached = lab.ctl.json(&format!("attach {IFACE} --adopt none --group web"));
    let status = lab.ctl.json("status");
    assert_eq!(attached["interfaces"], status["interfaces"]);
    assert_eq!(keys(&status), ["datapath_version", "interfaces", "maps"]);
    let interface = only(&status["interfaces"]);
    assert_eq!(
        keys(interface),
        [
            "addresses",
            "attached_since",
            "enforcing",
            "eni_id",
            "generation",
            "groups",
            "ifindex",
            "mode",
            "mode_reason",
            "name",
            "netns",
            "side",
        ]
    );
    assert_eq!((&interface["name"], &interface["netns"]), (&IFACE.into(), &lab.host.name().into()));
    assert_eq!((&interface["side"], &interface["enforcing"]), (&"host".into(), &true.into()));
    assert_eq!(interface["addresses"], json!(["203.0.113.10", "2001:db8::10"]), "P-17: no link-local one");
    let web = lab.ctl.json("group show web")["SecurityGroups"][0]["GroupId"].clone();
    assert_eq!(interface["groups"], json!([web]));
    let maps = status["maps"].as_array().expect("an array");
    assert!(maps.len() > 5);
    for map in maps {
        assert_eq!(keys(map), ["entries", "max_entries", "memory_bytes", "name"]);
        assert!(map["entries"].as_u64() <= map["max_entries"].as_u64(), "{map}");
        assert!(map["memory_bytes"].is_u64(), "{map}");
    }

    let eni = interface["eni_id"].as_str().expect("an id");
    let shown = lab.ctl.json(&format!("interface show {IFACE}"));
    assert_eq!(lab.ctl.json(&format!("interface show {eni}")), shown);
    assert_eq!(lab.ctl.json("interface list"), shown);
    let shown = only(&shown["NetworkInterfaces"]);
    has(shown, &["NetworkInterfaceId", "VpcId", "Groups", "PrivateIpAddresses", "Ipv6Addresses", "TagSet"]);
    assert_eq!(shown["NetworkInterfaceId"], eni);
    assert_eq!(shown["Groups"], json!([{ "GroupId": web, "GroupName": "web" }]));
    let set = lab.ctl.json(&format!("interface set-groups {IFACE} default web"));
    assert_eq!(only(&set["NetworkInterfaces"])["Groups"].as_array().map(Vec::len), Some(2));

    let _ssh = lab.connect(V4.admin, V4.host, 22);
    lab.refuses(V4.other, V4.host, 22);
    let counters = lab.ctl.json("counters");
    let counted = only(&counters["interfaces"]);
    has(counted, &["name", "eni_id", "ingress", "egress", "rules"]);
    assert!(counted["rules"].is_array());
    for direction in ["ingress", "egress"] {
        let members = ["allowed_packets", "allowed_bytes", "dropped_packets", "dropped_bytes", "dropped"];
        has(&counted[direction], &members);
    }
    // A SYN of Linux with its options: 14 + 20 + 40 bytes.
    assert_eq!(counted["ingress"]["dropped"], json!({ "no_rule": { "packets": 1, "bytes": 74 } }));
    assert_eq!(counted["ingress"]["dropped_packets"], 1);
    assert_eq!(counted["ingress"]["dropped_bytes"], 74);
    has(&counters["conntrack"], &["tracked", "untracked_packets", "allowance_exceeded"]);
    assert_eq!(counters["conntrack"]["tracked"], 1);
    t28_stats_agree(&lab.ctl);
    // Neighbour discovery goes on meanwhile: what is compared is what it does not touch.
    let (by_id, by_name) =
        (lab.ctl.json(&format!("counters {eni}")), lab.ctl.json(&format!("counters {IFACE}")));
    let dropped = |counters: &serde_json::Value| only(&counters["interfaces"])["ingress"]["dropped"].clone();
    assert_eq!(dropped(&by_id), dropped(&by_name));

    let flows = lab.ctl.json("conntrack list");
    assert_eq!(keys(&flows), ["flows"]);
    has(
        only(&flows["flows"]),
        &[
            "interface",
            "protocol",
            "local",
            "local_port",
            "remote",
            "remote_port",
            "initiated",
            "state",
            "idle_seconds",
            "expires_in_seconds",
            "packets",
            "bytes",
        ],
    );
    for (filter, found) in [
        ("sg0", 1),
        ("--protocol tcp", 1),
        ("--protocol 6", 1),
        ("--protocol udp", 0),
        ("--remote 203.0.113.1", 1),
        ("--remote 203.0.113.0/30", 1),
        ("--remote 203.0.113.2/32", 0),
        ("--remote ::/0", 0),
        ("sg0 --protocol tcp --remote 203.0.113.1/32", 1),
    ] {
        let flows = lab.ctl.json(&format!("conntrack list {filter}"));
        assert_eq!(flows["flows"].as_array().map(Vec::len), Some(found), "{filter}");
    }
}

#[test]
fn what_people_read_is_on_stdout_and_has_no_json() {
    let lab = Lab::attached(&["ingress --protocol tcp --port 22 --cidr 203.0.113.1/32"]);
    let _ssh = lab.connect(V4.admin, V4.host, 22);
    for (line, word) in [
        ("group list", "web"),
        ("group show web", "203.0.113.1/32"),
        ("rule list web", "203.0.113.1/32"),
        ("interface list", IFACE),
        ("status", "enforcing"),
        ("counters", IFACE),
        ("conntrack list", "203.0.113.1"),
    ] {
        let text = lab.ctl.text(line);
        assert!(text.contains(word), "`sg-ctl {line}`: {text}");
        assert!(serde_json::from_str::<Value>(&text).is_err());
        assert!(text.ends_with('\n') && !text.contains('\x1b'), "`sg-ctl {line}`: {text:?}");
    }
}

/// T-28: with one tracked connection there is room for one less than the tables hold.
fn t28_stats_agree(ctl: &Ctl) {
    let stats = ctl.json("conntrack stats");
    assert_eq!(keys(&stats), ["conntrack", "tables"]);
    let most = |name: &str| {
        let tables = stats["tables"].as_array().expect("tables");
        let table = tables.iter().find(|table| table["name"] == name).expect("a table of that name");
        table["max_entries"].as_u64().expect("a number")
    };
    let of = &stats["conntrack"];
    assert_eq!(of["tracked"], 1);
    assert_eq!(of["allowance_available"], most("established4") + most("established6") - 1);
    assert_eq!(of["allowance_exceeded"], 0);
}

#[test]
fn counters_can_be_set_to_zero_for_one_interface() {
    let lab = Lab::attached(&["ingress --protocol tcp --port 22 --cidr 203.0.113.1/32"]);
    lab.refuses(V4.other, V4.host, 22);
    let dropped = |line: &str| {
        only(&lab.ctl.json(line)["interfaces"])["ingress"]["dropped_packets"].as_u64().expect("a number")
    };
    assert_eq!(dropped(&format!("counters {IFACE} --reset")), 1, "what was there is printed");
    assert_eq!(dropped("counters"), 0);
    lab.refuses(V4.other, V4.host, 22);
    assert_eq!(dropped("counters"), 1);
    assert_eq!(lab.ctl.refused("counters sg9 --reset").code, "InvalidNetworkInterfaceID.NotFound");
}
