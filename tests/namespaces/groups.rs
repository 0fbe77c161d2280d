//! Groups through the command line: copies, filters, tags, recipes.

use serde_json::{Value, json};
use sg_tests::{
    ctl::{Ctl, Lab, binary, finish, refusal},
    net::{IFACE, V4},
};
use std::process::Command;

const SSH: &str = "ingress --protocol tcp --port 22 --cidr 203.0.113.1/32";

fn group(ctl: &Ctl, name: &str) -> Value {
    ctl.json(&format!("group show {name}"))["SecurityGroups"][0].clone()
}

fn id(ctl: &Ctl, name: &str) -> String {
    group(ctl, name)["GroupId"].as_str().expect("an id").to_owned()
}

/// Names of the groups that `group list` with these flags prints.
fn listed(ctl: &Ctl, flags: &str) -> Vec<String> {
    let groups = ctl.json(&format!("group list {flags}"));
    let groups = groups["SecurityGroups"].as_array().expect("an array");
    groups.iter().map(|group| group["GroupName"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn m77_a_copy_is_enforced_as_the_original_is() {
    let lab = Lab::attached_bare(&[
        &format!("{SSH} --description office"),
        "ingress --protocol all --source-group web",
    ]);
    let copied = lab.ctl.json("group copy web twin");
    let (web, twin) = (id(&lab.ctl, "web"), id(&lab.ctl, "twin"));
    assert_eq!(copied["GroupId"], twin);
    assert_eq!(copied["Tags"], json!([]));
    let (original, copy) = (group(&lab.ctl, "web"), group(&lab.ctl, "twin"));
    assert_eq!(copy["Description"], original["Description"]);
    for member in ["IpPermissions", "IpPermissionsEgress"] {
        let renamed = original[member].to_string().replace(&web, &twin);
        assert_eq!(copy[member].to_string(), renamed);
    }
    let ids = |name: &str| {
        let rules = lab.ctl.json(&format!("rule list {name}"));
        let rules = rules["SecurityGroupRules"].as_array().expect("an array").clone();
        rules.iter().map(|rule| rule["SecurityGroupRuleId"].clone()).collect::<Vec<_>>()
    };
    assert!(ids("twin").iter().all(|rule| !ids("web").contains(rule)), "each rule has a new id");
    lab.ctl.json(&format!("interface set-groups {IFACE} twin"));
    lab.ctl.json("group delete web");
    lab.connect(V4.admin, V4.host, 22).goes_on();
    lab.refuses(V4.other, V4.host, 22);

    for (line, code) in [
        ("group copy nosuch x", "InvalidGroup.NotFound"),
        ("group copy twin Twin", "InvalidGroup.Duplicate"),
        ("group copy twin sg-x", "InvalidParameterValue"),
        ("group copy twin x --vpc vpc-12345678", "InvalidVpcID.NotFound"),
    ] {
        let refused = lab.ctl.refused(line);
        assert_eq!(refused.code, code, "`sg-ctl {line}`: {}", refused.message);
    }
}

#[test]
fn a35_a13_lists_are_filtered() {
    let lab = Lab::new();
    lab.ctl.group("web", &["ingress --protocol tcp --port 80 --cidr 0.0.0.0/0", SSH]);
    lab.ctl.group("db", &["ingress --protocol tcp --port 5432 --source-group web"]);
    let web = id(&lab.ctl, "web");
    for (flags, expected) in [
        ("", &["db", "default", "web"][..]),
        ("--filter group-name=w*,db", &["db", "web"]),
        ("--filter group-name=* --filter ip-permission.to-port=22", &["web"]),
        (&format!("--filter ip-permission.group-id={web}"), &["db"]),
        ("--filter egress.ip-permission.protocol=-1", &["db", "default", "web"]),
        ("--filter description=nosuch", &[]),
    ] {
        assert_eq!(listed(&lab.ctl, flags), expected, "{flags}");
    }
    let rules = lab.ctl.json(&format!("rule list --filter group-id={web}"));
    assert_eq!(rules, lab.ctl.json("rule list web"));
    for line in
        ["group list --filter colour=red", "rule list --filter group-name=web", "group list --filter x"]
    {
        assert_eq!(lab.ctl.refused(line).code, "InvalidParameterValue", "{line}");
    }
    let unknown = lab.ctl.refused("group list --filter colour=red");
    assert_eq!(unknown.message, "The filter 'colour' is invalid");
}

#[test]
fn a34_m44_tags_are_set_changed_and_taken_away() {
    let lab = Lab::attached(&[SSH]);
    let web = id(&lab.ctl, "web");
    assert_eq!(lab.ctl.json(&format!("tag {web} env=test Name=Web")), json!({ "Return": true }));
    lab.ctl.json(&format!("tag {web} env=prod"));
    let tags = json!([{ "Key": "Name", "Value": "Web" }, { "Key": "env", "Value": "prod" }]);
    assert_eq!(group(&lab.ctl, "web")["Tags"], tags);
    assert_eq!(listed(&lab.ctl, "--filter tag:env=prod"), ["web"]);
    lab.ctl.json(&format!("untag {web} Name never-there"));
    assert_eq!(group(&lab.ctl, "web")["Tags"], json!([{ "Key": "env", "Value": "prod" }]));

    let rule = lab.ctl.json("rule list web")["SecurityGroupRules"][0]["SecurityGroupRuleId"].clone();
    let rule = rule.as_str().expect("an id");
    lab.ctl.json(&format!("tag {rule} env=prod"));
    let found = lab.ctl.json("rule list --filter tag:env=prod");
    assert_eq!(found["SecurityGroupRules"].as_array().map(Vec::len), Some(1));
    assert_eq!(found["SecurityGroupRules"][0]["Tags"], json!([{ "Key": "env", "Value": "prod" }]));

    let interface = lab.ctl.json(&format!("interface show {IFACE}"))["NetworkInterfaces"][0].clone();
    let eni = interface["NetworkInterfaceId"].as_str().expect("an id");
    assert_eq!(interface["TagSet"], json!([]));
    lab.ctl.json(&format!("tag {eni} role=uplink"));
    let shown = lab.ctl.json(&format!("interface show {IFACE}"));
    assert_eq!(shown["NetworkInterfaces"][0]["TagSet"], json!([{ "Key": "role", "Value": "uplink" }]));

    let many: Vec<String> = (0..50).map(|n| format!("k{n}=v")).collect();
    for (line, code) in [
        (format!("tag {web} {}", many.join(" ")), "TagLimitExceeded"),
        (format!("tag {web} aws:x=y"), "InvalidTagKey.Malformed"),
        (format!("tag {web} plain"), "InvalidParameterValue"),
        ("tag web k=v".to_owned(), "InvalidID"),
        ("tag sg-12345678 k=v".to_owned(), "InvalidGroup.NotFound"),
        ("untag sgr-12345678 k".to_owned(), "InvalidSecurityGroupRuleId.NotFound"),
        (format!("untag {web} env=prod"), "InvalidTagKey.Malformed"),
    ] {
        let refused = lab.ctl.refused(&line);
        assert_eq!(refused.code, code, "`sg-ctl {line}`: {}", refused.message);
    }
    // A value with blanks, as a shell hands it over.
    let mut command = Command::new(binary());
    let ran = finish(lab.ctl.prepare(&mut command).args(["tag", &web, "owner=the web team"]));
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("tagged {web}\n")));
    assert_eq!(group(&lab.ctl, "web")["Tags"][1]["Value"], "the web team");
    lab.connect(V4.admin, V4.host, 22).goes_on();
}

#[test]
fn r1_to_r4_a_group_made_by_recipe_is_enforced() {
    let lab = Lab::new();
    let created = lab.ctl.json("group create web --description test --recipe web --tag env=prod");
    assert_eq!(created["GroupId"], id(&lab.ctl, "web"));
    assert_eq!(group(&lab.ctl, "web")["Tags"], json!([{ "Key": "env", "Value": "prod" }]));
    lab.attach("--group web");
    for port in [80, 443] {
        lab.connect(V4.other, V4.host, port).goes_on();
    }
    lab.refuses(V4.other, V4.host, 22);
    assert_eq!(lab.ctl.flows(), [] as [Value; 0], "open to everybody both ways is untracked");
}

#[test]
fn r11_ssh_from_here_is_where_the_session_comes_from() {
    let lab = Lab::new();
    let create = |name: &str, environment: &[(&str, &str)]| {
        let mut command = Command::new(binary());
        let line = ["group", "create", name, "--description", "test", "--recipe", "ssh-from-here"];
        finish(lab.ctl.prepare(&mut command).args(line).envs(environment.iter().copied()))
    };
    let connection = ("SSH_CONNECTION", "203.0.113.1 50000 203.0.113.10 22");
    let client = ("SSH_CLIENT", "203.0.113.2 50000 22");
    for (name, environment, source) in
        [("both", &[client, connection][..], "203.0.113.1/32"), ("client", &[client], "203.0.113.2/32")]
    {
        let ran = create(name, environment);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(group(&lab.ctl, name)["IpPermissions"][0]["IpRanges"], json!([{ "CidrIp": source }]));
    }
    lab.attach("--group both");
    lab.connect(V4.admin, V4.host, 22).goes_on();
    lab.refuses(V4.other, V4.host, 22);

    // Where nothing tells it, the refusal says what does.
    let refused = refusal(&create("neither", &[]));
    assert_eq!(refused.code, "MissingParameter");
    for word in ["--from", "SSH_CONNECTION", "sudo"] {
        assert!(refused.message.contains(word), "{}", refused.message);
    }
    assert_eq!(lab.ctl.refused("group show neither").code, "InvalidGroup.NotFound");
    lab.ctl.json("group create neither --description test --recipe ssh-from-here --from 192.0.2.0/24");
}

#[test]
fn r26_a_refused_recipe_leaves_no_group() {
    let lab = Lab::new();
    for (line, code) in [
        ("--recipe database-client", "MissingParameter"),
        ("--recipe database-client --to nosuch", "InvalidGroup.NotFound"),
        ("--recipe web --from 10.0.0.0/8", "InvalidParameterCombination"),
        ("--recipe nfs --from 10.0.0.0/99", "InvalidParameterValue"),
        ("--recipe load-balancer --port -1", "InvalidParameterValue"),
        ("--recipe ping --from ::/0", "InvalidParameterValue"),
    ] {
        let refused = lab.ctl.refused(&format!("group create x --description test {line}"));
        assert_eq!(refused.code, code, "{line}: {}", refused.message);
    }
    // A word that no recipe is, and flags of a recipe without one, are wrong usage.
    for line in ["--recipe nosuch", "--from 10.0.0.0/8", "--port 80"] {
        let ran = lab.ctl.run(&format!("group create x --description test {line}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{line}: {ran:?}");
    }
    let ran = lab.ctl.run("group create x --description test --recipe databse-mysql");
    assert!(ran.stderr.contains("database-mysql"), "a near miss is told: {ran:?}");
    assert_eq!(listed(&lab.ctl, ""), ["default"]);
}
