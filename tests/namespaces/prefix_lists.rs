//! Prefix lists through the binary, with traffic (M-38 to M-63, A-25 to ).

use serde_json::{Value, json};
use sg_tests::{
    ctl::{Ctl, Lab},
    net::{FAMILIES, Family, V4},
};
use std::{fs, net::IpAddr, path::PathBuf};

/// The name of the list of a family.
fn name(family: Family) -> &'static str {
    if family.host == V4.host { "four" } else { "six" }
}

/// The one address of a client as a prefix.
fn only(family: Family, address: IpAddr) -> String {
    if family.host == V4.host { format!("{address}/32") } else { format!("{address}/128") }
}

/// A host whose port 22 is open to a list of each family, which has no entries yet.
fn lab() -> Lab {
    let lab = Lab::new();
    for (name, family) in [("four", "ipv4"), ("six", "ipv6")] {
        lab.ctl.json(&format!("prefix-list create {name} --family {family} --max-entries 5"));
    }
    lab.ctl.group("web", &["ingress --protocol tcp --port 22 --prefix-list four --prefix-list six"]);
    lab.attach("--group web");
    lab
}

/// A file beside the store.
fn file(ctl: &Ctl, text: &str) -> PathBuf {
    let path = ctl.state_dir().join("feed.txt");
    fs::write(&path, text).expect("a file can be written");
    path
}

#[test]
fn m58_a_new_entry_is_in_force_at_once_and_a_tracked_flow_outlives_it() {
    let lab = lab();
    for family in FAMILIES {
        let (list, admin) = (name(family), only(family, family.admin));
        lab.refuses(family.admin, family.host, 22);
        let added = lab.ctl.json(&format!("prefix-list add {list} {admin}=Office"));
        assert_eq!(added["PrefixList"]["Version"], 2, "{added}");
        assert_eq!(added["PrefixList"]["State"], "modify-complete", "{added}");
        let mut ssh = lab.connect(family.admin, family.host, 22);
        ssh.goes_on();
        lab.refuses(family.other, family.host, 22);

        lab.ctl.json(&format!("prefix-list remove {list} {admin}"));
        ssh.goes_on();
        lab.refuses(family.admin, family.host, 22);

        let restored = lab.ctl.json(&format!("prefix-list restore {list} --version 2"));
        assert_eq!(restored["PrefixList"]["Version"], 4, "{restored}");
        assert_eq!(restored["PrefixList"]["State"], "restore-complete", "{restored}");
        lab.connect(family.admin, family.host, 22).goes_on();
    }
}

#[test]
fn t13_a_list_of_all_addresses_admits_everybody_and_tracks() {
    let lab = lab();
    for family in FAMILIES {
        lab.ctl.json(&format!("prefix-list add {} {}", name(family), family.world));
        let mut ssh = lab.connect(family.other, family.host, 22);
        lab.ctl.json(&format!("prefix-list remove {} {}", name(family), family.world));
        ssh.goes_on();
        lab.refuses(family.other, family.host, 22);
    }
}

#[test]
fn m59_a_list_goes_when_no_rule_names_it() {
    let lab = lab();
    assert_eq!(lab.ctl.refused("prefix-list delete four").code, "DependencyViolation");
    lab.remove("ingress --protocol tcp --port 22 --prefix-list four");
    let deleted = lab.ctl.json("prefix-list delete four");
    assert_eq!(deleted["PrefixList"]["State"], "delete-complete", "{deleted}");
    assert_eq!(lab.ctl.refused("prefix-list show four").code, "InvalidPrefixListID.NotFound");
    assert_eq!(lab.ctl.json("prefix-list list")["PrefixLists"].as_array().map(Vec::len), Some(1));
}

#[test]
fn m48_m49_m56_a73_what_is_refused_changes_nothing() {
    let lab = lab();
    lab.ctl.json(&format!("prefix-list add four {}", only(V4, V4.admin)));
    let many = (0..101).map(|n| format!(" 10.0.{n}.0/24")).collect::<String>();
    let before = lab.ctl.json("prefix-list show four");
    for (line, code) in [
        ("prefix-list create x --family ipv4 --max-entries 1001".to_owned(), "InvalidParameterValue"),
        (
            "prefix-list create x --family ipv4 --max-entries 1 --entry ::/0".to_owned(),
            "InvalidParameterValue",
        ),
        (
            "prefix-list create com.amazonaws.x --family ipv4 --max-entries 1".to_owned(),
            "InvalidParameterValue",
        ),
        ("prefix-list show nosuch".to_owned(), "InvalidPrefixListID.NotFound"),
        ("prefix-list show pl-12345678".to_owned(), "InvalidPrefixListID.NotFound"),
        ("prefix-list show pl-x".to_owned(), "InvalidPrefixListId.Malformed"),
        ("prefix-list show four --version 3".to_owned(), "PrefixListVersionMismatch"),
        ("prefix-list restore four --version 3".to_owned(), "PrefixListVersionMismatch"),
        ("prefix-list add four 192.0.2.0/24 --current-version 1".to_owned(), "PrefixListVersionMismatch"),
        (format!("prefix-list add four{many}"), "InvalidParameterValue"),
        ("prefix-list add four 10.0.0.0/8 2001:db8::/32".to_owned(), "InvalidParameterValue"),
        ("prefix-list add four 10.0.0.1".to_owned(), "InvalidParameterValue"),
        (format!("prefix-list add four {}", only(V4, V4.admin)), "InvalidPrefixListModification"),
        (
            "prefix-list add four 1.0.0.0/8 2.0.0.0/8 3.0.0.0/8 4.0.0.0/8 5.0.0.0/8".to_owned(),
            "PrefixListMaxEntriesExceeded",
        ),
        ("prefix-list remove four 10.0.0.0/8".to_owned(), "InvalidPrefixListModification"),
        ("prefix-list resize four 0".to_owned(), "InvalidParameterValue"),
        ("prefix-list resize four 61".to_owned(), "RulesPerSecurityGroupLimitExceeded"),
        ("prefix-list import four nosuch.txt".to_owned(), "InvalidParameterValue"),
        (
            "rule add web ingress --protocol tcp --port 22 --prefix-list four".to_owned(),
            "InvalidPermission.Duplicate",
        ),
        (
            "rule add web ingress --protocol tcp --port 23 --prefix-list nosuch".to_owned(),
            "InvalidPrefixListID.NotFound",
        ),
    ] {
        let refused = lab.ctl.refused(&line);
        assert_eq!(refused.code, code, "`sg-ctl {line}`: {}", refused.message);
    }
    assert_eq!(lab.ctl.json("prefix-list show four"), before);
    lab.connect(V4.admin, V4.host, 22).goes_on();
    lab.refuses(V4.other, V4.host, 22);
}

#[test]
fn a25_to_a30_answers_have_ec2s_shapes() {
    let lab = Lab::new();
    let created = lab.ctl.json(
        "prefix-list create offices --family ipv6 --max-entries 5 --entry 2001:DB8::1/32=Main --tag Name=Offices",
    );
    let id = created["PrefixList"]["PrefixListId"].as_str().expect("an id").to_owned();
    let list = json!({
        "PrefixListId": id,
        "AddressFamily": "IPv6",
        "State": "create-complete",
        "PrefixListArn": format!("arn:aws:ec2:local:000000000000:prefix-list/{id}"),
        "PrefixListName": "offices",
        "MaxEntries": 5,
        "Version": 1,
        "Tags": [{ "Key": "Name", "Value": "Offices" }],
        "OwnerId": "000000000000",
    });
    assert_eq!(created, json!({ "PrefixList": list }));
    assert_eq!(lab.ctl.json("prefix-list list"), json!({ "PrefixLists": [list] }));
    let rule = format!("rule add default egress --protocol all --prefix-list {id}");
    assert_eq!(lab.ctl.json(&rule)["SecurityGroupRules"][0]["PrefixListId"], id.as_str());
    let group = lab.ctl.json("group show default")["SecurityGroups"][0].clone();
    let permissions = group["IpPermissionsEgress"].as_array().expect("an array");
    assert_eq!(permissions[0]["PrefixListIds"], json!([{ "PrefixListId": id }]), "{group}");
    assert_eq!(
        lab.ctl.json("prefix-list show offices"),
        json!({
            "PrefixLists": [list],
            "Entries": [{ "Cidr": "2001:db8::/32", "Description": "Main" }],
            "PrefixListAssociations": [{ "ResourceId": group["GroupId"], "ResourceOwner": "000000000000" }],
        })
    );
}

#[test]
fn m56_a_file_is_one_version_and_a_bad_line_refuses_it_whole() {
    let lab = lab();
    let admin = only(V4, V4.admin);
    let path = file(&lab.ctl, &format!("# clients\n\n{admin} # admin\r\n198.51.100.0/33\n"));
    let line = format!("prefix-list import four {}", path.display());
    let refused = lab.ctl.refused(&line);
    assert_eq!(refused.code, "InvalidParameterValue");
    let expected = format!("{}:4: CIDR block 198.51.100.0/33 is malformed", path.display());
    assert!(refused.message.starts_with(&expected), "{}", refused.message);
    lab.refuses(V4.admin, V4.host, 22);

    file(&lab.ctl, &format!("# clients\n\n{admin} # admin\r\n198.51.100.0/24\n"));
    let imported = lab.ctl.json(&line);
    assert_eq!(imported["PrefixList"]["Version"], 2, "{imported}");
    assert_eq!([&imported["added"], &imported["removed"], &imported["repeated"]], [2, 0, 0], "{imported}");
    lab.connect(V4.admin, V4.host, 22).goes_on();
    // What was there stays; with --replace only what the file has.
    file(&lab.ctl, &format!("{}\n", only(V4, V4.other)));
    lab.ctl.json(&line);
    lab.connect(V4.admin, V4.host, 22).goes_on();
    lab.connect(V4.other, V4.host, 22).goes_on();
    let replaced = lab.ctl.json(&format!("{line} --replace"));
    assert_eq!([&replaced["added"], &replaced["removed"], &replaced["repeated"]], [0, 2, 1], "{replaced}");
    lab.refuses(V4.admin, V4.host, 22);
    lab.connect(V4.other, V4.host, 22).goes_on();
    // Standard input, which is empty here.
    assert_eq!(lab.ctl.json("prefix-list import six -")["PrefixList"]["Version"], Value::from(1));
}
