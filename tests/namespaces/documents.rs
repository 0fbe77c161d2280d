//! Whole documents on a host with traffic: one swap, or nothing (`export`, `apply`).

use serde_json::{Value, json};
use sg_ctl::store;
use sg_tests::{
    ctl::{Ctl, Lab, binary, refusal},
    net::{IFACE, V4, V6},
};
use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

const SSH: &str = "ingress --protocol tcp --port 22 --cidr 203.0.113.1/32";

/// Keeps a document where a command line can name it.
fn keep(ctl: &Ctl, name: &str, text: &str) -> String {
    let path = ctl.state_dir().join(name);
    fs::write(&path, text).expect("a file in a temporary directory");
    path.to_str().expect("a plain path").to_owned()
}

/// The revision of the store, and the generation that the kernel enforces.
fn revisions(ctl: &Ctl) -> (u64, Value) {
    let store = store::open(None, ctl.state_dir()).expect("a store");
    let revision = store.read().expect("it can be read").revision;
    (revision, ctl.json("status")["interfaces"][0]["generation"].clone())
}

/// Groups that exchange their roles: what was admitted is not any more, and the reverse.
fn exchanged(lab: &Lab) -> String {
    let netns = lab.host.name();
    format!(
        "\
vpcs:
- default: true
  groups:
  - name: web
    ingress: []
    egress: []
  - name: mail
    description: What web was
    ingress:
    - {{protocol: tcp, ports: 25, group: clients}}
    - {{protocol: tcp, ports: 80, cidr: \"::/0\"}}
    egress: []
  - name: clients
    description: Those who may send
  interfaces:
  - {{name: {IFACE}, netns: {netns}, groups: [mail]}}
  - {{name: laptop, registered: true, addresses: [{}], groups: [clients]}}
",
        V4.other
    )
}

#[test]
fn a_document_is_one_swap_of_all_that_it_changes() {
    let lab = Lab::attached(&[SSH, "ingress --protocol tcp --port 80 --cidr 0.0.0.0/0"]);
    let mut tracked = lab.connect(V4.admin, V4.host, 22);
    let mut untracked = lab.connect(V4.other, V4.host, 80);
    tracked.goes_on();
    untracked.goes_on();
    lab.refuses(V4.other, V4.host, 25);
    let before = lab.ctl.text("export");
    let (_, generation) = revisions(&lab.ctl);

    let file = keep(&lab.ctl, "sg.yaml", &exchanged(&lab));
    let applied = lab.ctl.json(&format!("apply -f {file} --prune"));
    assert_eq!(applied["applied"], true, "{applied}");
    let one = json!({
        "change": "~", "object": format!("interface {}/{IFACE}", lab.host.name()), "what": "groups web -> mail",
    });
    assert!(applied["changes"].as_array().expect("an array").contains(&one), "{applied}");
    let (revision, after) = revisions(&lab.ctl);
    assert_eq!(after.as_u64(), generation.as_u64().map(|generation| generation + 1), "one swap");

    untracked.is_cut_forward();
    tracked.goes_on();
    drop(tracked);
    lab.refuses(V4.admin, V4.host, 22);
    lab.connect(V4.other, V4.host, 25).goes_on();
    lab.refuses(V4.admin, V4.host, 25);
    lab.connect(V6.other, V6.host, 80).goes_on();

    // What it made is a document that changes nothing.
    let exported = keep(&lab.ctl, "export.yaml", &lab.ctl.text("export"));
    for flags in ["", "--prune"] {
        let unchanged = lab.ctl.json(&format!("apply -f {exported} {flags}"));
        assert_eq!(unchanged, json!({ "changes": [], "applied": true }));
    }
    assert_eq!(revisions(&lab.ctl), (revision, after));
    // And the one of before brings back what was.
    let before_file = keep(&lab.ctl, "before.yaml", &before);
    lab.ctl.text(&format!("apply -f {before_file} --prune"));
    assert_eq!(lab.ctl.text("export"), before);
    lab.connect(V4.admin, V4.host, 22).goes_on();
    lab.refuses(V4.other, V4.host, 25);
}

#[test]
fn a_dry_run_prints_the_difference_and_changes_nothing() {
    let lab = Lab::attached(&[SSH]);
    let (picture, revision) = (lab.ctl.picture(), revisions(&lab.ctl));
    let file = keep(&lab.ctl, "sg.yaml", &exchanged(&lab));
    let said = lab.ctl.text(&format!("apply -f {file} --prune --dry-run"));
    let planned = lab.ctl.json(&format!("apply -f {file} --prune --dry-run"));
    assert_eq!(planned["applied"], false);
    assert_eq!(planned["changes"].as_array().expect("an array").len(), said.lines().count());
    for line in [
        "+ group default/mail: What web was",
        "- rule default/web ingress tcp 22 from 203.0.113.1/32",
        "+ rule default/mail ingress tcp 25 from group clients",
    ] {
        assert!(said.lines().any(|said| said == line), "{line} in {said}");
    }
    assert!(said.lines().all(|line| line.starts_with(['+', '-', '~'])), "{said}");
    assert_eq!((lab.ctl.picture(), revisions(&lab.ctl)), (picture, revision));
    lab.connect(V4.admin, V4.host, 22).goes_on();
    // What was announced is what happens.
    assert_eq!(lab.ctl.text(&format!("apply -f {file} --prune")), said);
    lab.refuses(V4.admin, V4.host, 22);
}

#[test]
fn a_dry_run_on_an_empty_store_does_not_even_make_it() {
    let lab = Lab::new();
    let file = keep(&lab.ctl, "sg.yaml", "vpcs: [{default: true, groups: [{name: a, description: d}]}]");
    assert!(lab.ctl.text(&format!("apply -f {file} --dry-run")).starts_with("+ group default/a: d\n"));
    assert!(!lab.ctl.state_dir().join("state.db").exists());
}

#[test]
fn a_document_with_one_error_changes_nothing() {
    let lab = Lab::attached(&[SSH]);
    let good = exchanged(&lab);
    for (wrong, code, place) in [
        (
            good.replace("ports: 25", "ports: 70000"),
            "InvalidParameterValue",
            ":10: field 'vpcs[0].groups[1].ingress[0].ports': ",
        ),
        (
            good.replace("group: clients", "group: client"),
            "InvalidGroup.NotFound",
            ":10: field 'vpcs[0].groups[1].ingress[0].group': ",
        ),
        (
            good.replace("egress: []", "outgress: []"),
            "UnknownParameter",
            ":6: field 'vpcs[0].groups[0].outgress': ",
        ),
        (
            good.replace(&format!("name: {IFACE}"), "name: sg9"),
            "InvalidNetworkInterfaceID.NotFound",
            ":16: field 'vpcs[0].interfaces[0].name': ",
        ),
        (good.replace("laptop", IFACE), "InvalidParameterValue", ":17: field 'vpcs[0].interfaces[1].name': "),
        (good.replace("[mail]", "[mail"), "InvalidParameterValue", ":1"),
        (String::new(), "InvalidParameterValue", ": the document is empty"),
    ] {
        let file = keep(&lab.ctl, "wrong.yaml", &wrong);
        for flags in ["", "--prune", "--dry-run"] {
            let refused = lab.ctl.refused(&format!("apply -f {file} {flags}"));
            assert_eq!(refused.code, code, "{}", refused.message);
            assert!(refused.message.starts_with(&format!("{file}{place}")), "{}", refused.message);
        }
    }
    assert_eq!(lab.ctl.refused("apply -f /nonexistent/sg.yaml").code, "InvalidParameterValue");
    lab.connect(V4.admin, V4.host, 22).goes_on();
    lab.refuses(V4.other, V4.host, 25);
}

#[test]
fn standard_input_and_json_are_taken_as_well() {
    let lab = Lab::attached(&[SSH]);
    let apply = |document: &[u8]| {
        let mut command = Command::new(binary());
        lab.ctl.prepare(&mut command).args(["apply", "-f", "-", "--prune"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("sg-ctl starts");
        child.stdin.take().expect("a pipe").write_all(document).expect("it reads its standard input");
        let output = child.wait_with_output().expect("it ends");
        sg_tests::ctl::Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    };
    let exported = lab.ctl.json("export");
    let applied = apply(exported.to_string().as_bytes());
    assert_eq!((applied.code, applied.stdout.as_str()), (Some(0), ""), "{applied:?}");
    let wrong = refusal(&apply(b"vpcs:\n- name: x\n  nmae: y\n"));
    assert!(wrong.message.starts_with("stdin:3: field 'vpcs[0].nmae': unknown field"), "{}", wrong.message);
    assert_eq!(refusal(&apply(b"\xff")).code, "InvalidParameterValue");
}
