//! What documents do to states.

use super::*;

#[path = "error_tests.rs"]
mod errors;
#[path = "object_tests.rs"]
mod objects;
#[path = "property_tests.rs"]
mod properties;

use crate::{
    model::{AddressFamily, Direction, PeeringStatus, Rule, RuleId, State, VpcId},
    ops::{
        self, group,
        interface::tests::attached,
        peering, prefix_list,
        rule::{self, Content},
        testing::{refused, state},
        vpc,
    },
};

/// When the documents of these tests are applied.
const NOW: u64 = 1_000;

fn source(text: &str) -> Source {
    Source { name: "sg.yaml".to_owned(), text: text.to_owned() }
}

/// The state by a document, and the lines that `apply` prints.
fn try_apply(state: &State, text: &str, prune: bool) -> crate::error::Result<(State, Vec<String>)> {
    let source = source(text);
    let document = source.read()?;
    let how = How { prune, netns: None, now: NOW };
    let planned = plan(state, &document, &how).map_err(|error| source.locate(error))?;
    let line = |change: Change| format!("{} {}: {}", change.change, change.object, change.what);
    let lines = diff(state, &planned.state).into_iter().map(line).collect();
    Ok((planned.state, lines))
}

#[track_caller]
fn apply(state: &mut State, text: &str, prune: bool) -> Vec<String> {
    let (after, lines) = try_apply(state, text, prune).unwrap();
    *state = after;
    lines
}

#[track_caller]
fn refusal(state: &State, text: &str, prune: bool) -> String {
    refused(try_apply(state, text, prune))
}

fn yaml(state: &State) -> String {
    to_yaml(&export(state, None)).unwrap()
}

fn rules_of(state: &State, vpc: VpcId, name: &str) -> Vec<Rule> {
    let id = group::find(state, vpc, name).unwrap();
    state.rules.values().filter(|rule| rule.group == id).cloned().collect()
}

/// Two groups that name each other, on an attached interface, and the rest of what there is.
const WHOLE: &str = "\
quotas:
  vpcs: 6
prefix-lists:
- name: offices
  family: ipv4
  max-entries: 5
  tags:
    team: net
  entries:
  - {cidr: 198.51.100.0/24, description: Berlin}
  - {cidr: 203.0.113.0/24}
vpcs:
- default: true
  groups:
  - name: default
    ingress: []
    egress: []
  - name: lb
    description: Load balancer
    ingress:
    - {protocol: tcp, ports: 443, cidr: 0.0.0.0/0}
    - {protocol: icmp, icmp-type: 8, prefix-list: offices}
    egress:
    - {protocol: tcp, ports: 8000-8010, group: web}
  - name: web
    description: \"Web: servers\"
    tags:
      Name: \"no\"
    ingress:
    - {protocol: tcp, ports: 22, group: shared/admins, description: maintenance}
    - {protocol: tcp, ports: 8000-8010, group: lb, tags: {ticket: \"12\"}}
    egress: []
  interfaces:
  - name: elsewhere
    groups:
    - lb
    registered: true
    addresses:
    - \"10.0.0.9\"
  - name: eth0
    tags:
      rack: b7
    groups:
    - web
    - lb
    timeouts:
      udp: 40
- name: shared
  cidrs:
  - 10.9.0.0/16
  groups:
  - name: default
    ingress:
    - {protocol: all, group: default}
    egress:
    - {protocol: all, cidr: 0.0.0.0/0}
  - name: admins
    description: People
    ingress: []
    egress:
    - {protocol: all, cidr: \"::/0\"}
    - {protocol: 47, cidr: 10.0.0.0/8}
  interfaces: []
peerings:
- requester: default
  accepter: shared
  tags:
    why: \"yes\"
";

#[test]
fn a_document_is_exported_as_it_was_applied() {
    let (mut state, _) = state();
    attached(&mut state, "eth0", None);
    let lines = apply(&mut state, WHOLE, true);
    assert_eq!(yaml(&state), WHOLE);
    assert_eq!(apply(&mut state, WHOLE, true), [] as [&str; 0]);
    assert_eq!(apply(&mut state, WHOLE, false), [] as [&str; 0]);
    for line in [
        "~ quota vpcs: value 5 -> 6",
        "+ prefix-list offices: IPv4, 5 entries at most",
        "+ prefix-list offices: entry 198.51.100.0/24 (Berlin)",
        "+ vpc shared: 10.9.0.0/16",
        "+ group default/web: Web: servers",
        "+ group default/web: tag Name=no",
        "- rule default/default ingress all from group default: ",
        "+ rule default/web ingress tcp 22 from group shared/admins: maintenance",
        "+ rule default/lb ingress icmp type 8 from prefix-list offices: ",
        "+ rule shared/admins egress 47 to 10.0.0.0/8: ",
        "~ interface eth0: groups default -> web, lb",
        "~ interface eth0: udp default -> 40 s",
        "+ interface elsewhere: registered, 10.0.0.9, groups lb",
        "+ peering default shared: active",
    ] {
        assert!(lines.iter().any(|printed| printed == line), "{line} in {lines:#?}");
    }
    // The same document in JSON, which is YAML.
    let json = serde_json::to_string(&export(&state, None)).unwrap();
    assert_eq!(apply(&mut state, &json, true), [] as [&str; 0]);
}

#[test]
fn one_vpc_is_exported_with_the_lists_that_its_rules_name() {
    let (mut state, default) = state();
    attached(&mut state, "eth0", None);
    apply(&mut state, WHOLE, true);
    let spare = prefix_list::Create {
        name: "spare".to_owned(),
        family: AddressFamily::Ipv6,
        max_entries: "1".to_owned(),
        entries: Vec::new(),
        tags: Vec::new(),
    };
    let of = |name: &str| {
        let vpc = find_vpc(&state, name).unwrap();
        to_yaml(&export(&state, Some(vpc))).unwrap()
    };
    let (shared, own) = (of("shared"), of("default"));
    assert!(shared.starts_with("only-vpc: shared\nvpcs:\n- name: shared\n"), "{shared}");
    assert!(own.starts_with("only-vpc: default\nprefix-lists:\n- name: offices\n"), "{own}");
    assert!(!own.contains("name: shared") && !own.contains("quotas"), "{own}");
    prefix_list::create(&mut state, &spare).unwrap();
    for text in [&own, &shared] {
        for prune in [false, true] {
            let (unchanged, lines) = try_apply(&state, text, prune).unwrap();
            assert_eq!((unchanged, lines), (state.clone(), Vec::new()));
        }
    }
    assert!(
        refusal(&state, &own.replace("only-vpc: default", "only-vpc: shared"), true)
            .contains(": field 'vpcs[0]': The document is about shared only")
    );
    let lines =
        apply(&mut state, &own.replace("  - name: lb\n", "  - name: lb\n    tags: {only: this}\n"), true);
    assert_eq!(lines, ["+ group default/lb: tag only=this"]);
    assert_eq!(state.vpcs[&default].name(), None);
}

#[test]
fn m19_what_is_there_keeps_its_id_and_a_new_description_is_a_change() {
    let (mut state, vpc) = state();
    ops::testing::group(&mut state, "web");
    let mut content = Content::tcp("22").with_cidr("10.0.0.0/8").with_cidr("10.9.0.0/16");
    content.description = Some("old".to_owned());
    rule::add(&mut state, "web", &content).unwrap();
    let before = state.clone();
    let text = "
vpcs:
- default: true
  groups:
  - name: WEB
    ingress:
    - {protocol: TCP, ports: 22-22, cidr: 10.1.2.3/8, description: new}
    - {protocol: 6, ports: 22, cidr: 10.9.0.0/16}
";
    assert_eq!(
        apply(&mut state, text, false),
        [
            "~ rule default/web ingress tcp 22 from 10.0.0.0/8: description 'old' -> 'new'",
            "~ rule default/web ingress tcp 22 from 10.9.0.0/16: description 'old' -> none",
        ]
    );
    assert!(before.rules.keys().eq(state.rules.keys()));
    assert_eq!(rules_of(&state, vpc, "web").len(), 4);
}

#[test]
fn without_prune_nothing_goes_and_with_it_what_is_lacked() {
    let (mut state, vpc) = state();
    attached(&mut state, "eth0", None);
    apply(&mut state, WHOLE, true);
    let text = "
quotas: {}
prefix-lists: []
vpcs:
- default: true
  groups:
  - name: lb
    ingress:
    - {protocol: tcp, ports: 80, cidr: 0.0.0.0/0}
    egress: []
  interfaces:
  - name: eth0
    groups: [lb]
peerings: []
";
    let mut kept = state.clone();
    assert_eq!(
        apply(&mut kept, text, false),
        ["+ rule default/lb ingress tcp 80 from 0.0.0.0/0: ", "~ interface eth0: groups web, lb -> lb",]
    );
    let default_rules = rules_of(&state, vpc, "default");
    let mut lines = apply(&mut state, text, true);
    lines.sort();
    assert_eq!(
        lines,
        [
            "+ rule default/lb ingress tcp 80 from 0.0.0.0/0: ",
            "- group default/web: Web: servers",
            "- group shared/admins: People",
            "- group shared/default: default VPC security group",
            "- interface elsewhere: registered",
            "- interface eth0: tag rack",
            "- peering default shared: ",
            "- prefix-list offices: 2 entries",
            "- rule default/lb egress tcp 8000-8010 to group web: ",
            "- rule default/lb ingress icmp type 8 from prefix-list offices: ",
            "- rule default/lb ingress tcp 443 from 0.0.0.0/0: ",
            "- rule default/web ingress tcp 22 from group shared/admins: ",
            "- rule default/web ingress tcp 8000-8010 from group lb: ",
            "- rule shared/admins egress 47 to 10.0.0.0/8: ",
            "- rule shared/admins egress all to ::/0: ",
            "- rule shared/default egress all to 0.0.0.0/0: ",
            "- rule shared/default ingress all from group default: ",
            "- vpc shared: 10.9.0.0/16",
            "~ interface eth0: groups web, lb -> lb",
            "~ interface eth0: udp 40 s -> default",
            "~ quota vpcs: value 6 -> 5",
        ]
    );
    // The default VPC and its default group stay, and so does what is attached.
    assert_eq!(rules_of(&state, vpc, "default"), default_rules);
    let everything = "quotas: {}\nprefix-lists: []\nvpcs: []\npeerings: []\n";
    let still_carried = refusal(&state, everything, true);
    assert!(
        still_carried.starts_with("DependencyViolation: sg.yaml:3: field 'vpcs': resource sg-"),
        "{still_carried}"
    );
    assert!(still_carried.contains("interface eth0"), "{still_carried}");
    ops::interface::set_groups(&mut state, None, "eth0", &["default".to_owned()]).unwrap();
    apply(&mut state, everything, true);
    assert_eq!((state.vpcs.len(), state.groups.len(), state.interfaces.len()), (1, 1, 1));
}

#[test]
fn a_list_that_is_left_out_says_nothing() {
    let (mut state, _) = state();
    attached(&mut state, "eth0", None);
    apply(&mut state, WHOLE, true);
    let before = state.clone();
    let names_only =
        "vpcs:\n- {default: true}\n- {name: shared, groups: [{name: admins}, {name: default}]}\n";
    assert_eq!(apply(&mut state, names_only, true), [] as [&str; 0]);
    assert_eq!(state, before);
    assert_eq!(
        refusal(&state, "# nothing\n", true),
        "InvalidParameterValue: sg.yaml: the document is empty; 'sg-ctl export' prints a whole one"
    );
}

#[test]
fn m26_a_new_group_has_the_rules_that_are_written_and_else_those_it_is_born_with() {
    let (mut state, vpc) = state();
    let text = "
vpcs:
- default: true
  groups:
  - {name: born, description: d}
  - {name: closed, description: d, ingress: [], egress: []}
  - name: narrow
    description: d
    egress:
    - {protocol: all, cidr: 0.0.0.0/0, description: kept}
";
    apply(&mut state, text, false);
    let summary = |name: &str| {
        let rules = rules_of(&state, vpc, name);
        (rules.len(), rules.iter().filter(|rule| rule.direction == Direction::Egress).count())
    };
    assert_eq!([summary("born"), summary("closed"), summary("narrow")], [(2, 2), (0, 0), (1, 1)]);
    assert_eq!(rules_of(&state, vpc, "narrow")[0].description.as_deref(), Some("kept"));
}

#[test]
fn m28_m59_what_is_still_named_does_not_go() {
    let (mut state, _) = state();
    attached(&mut state, "eth0", None);
    apply(&mut state, WHOLE, true);
    let lines = |text: &str| refusal(&state, text, true);
    let without_list = lines("prefix-lists: []\n");
    assert!(
        without_list.starts_with("DependencyViolation: sg.yaml:1: field 'prefix-lists': resource pl-"),
        "{without_list}"
    );
    assert!(
        without_list
            .ends_with("of group default/lb names it, and the document lacks the prefix list 'offices'"),
        "{without_list}"
    );
    let without_web = lines(
        "vpcs:\n- default: true\n  groups:\n  - name: lb\n  interfaces:\n  - name: eth0\n    groups:\n    - lb\n- name: shared\n",
    );
    assert!(
        without_web
            .starts_with("DependencyViolation: sg.yaml:4: field 'vpcs[0].groups[0].egress': resource sg-"),
        "{without_web}"
    );
    // A reference from a peer VPC turns stale instead (M-31), stays through exports, and may not be made anew.
    let text = "vpcs:\n- default: true\n- {name: shared, groups: []}\n";
    let default = vpc::default_vpc(&state).unwrap();
    apply(&mut state, text, true);
    let stale: Vec<RuleId> = rules_of(&state, default, "web")
        .iter()
        .filter(|rule| rule.peer_vpc.is_some())
        .map(|rule| rule.id)
        .collect();
    assert_eq!(stale.len(), 1);
    let exported = yaml(&state);
    assert_eq!(apply(&mut state, &exported, true), [] as [&str; 0]);
    assert!(state.rules.contains_key(&stale[0]));
    state.rules.remove(&stale[0]);
    assert!(refusal(&state, &exported, true).starts_with("InvalidGroup.NotFound: "));
}

#[test]
fn m69_a_rule_across_a_peering_that_ended_stays() {
    let (mut state, _) = state();
    attached(&mut state, "eth0", None);
    apply(&mut state, WHOLE, true);
    let peering = *state.peerings.keys().next().unwrap();
    peering::delete(&mut state, &peering.to_string(), NOW).unwrap();
    let exported = yaml(&state);
    assert!(exported.contains("group: shared/admins") && exported.contains("peerings: []"), "{exported}");
    assert_eq!(apply(&mut state, &exported, true), [] as [&str; 0]);
    // The document of before makes a new peering, beside what is left of the old one.
    assert_eq!(
        apply(&mut state, WHOLE, true),
        ["+ peering default shared: active", "+ peering default shared: tag why=yes"]
    );
    assert_eq!(state.peerings.values().filter(|peering| peering.status == PeeringStatus::Active).count(), 1);
    assert_eq!(apply(&mut state, "peerings: []", true), ["- peering default shared: "]);
}

#[test]
fn a31_a_request_is_accepted_and_not_taken_back() {
    let (mut state, _) = state();
    let ask =
        "vpcs: [{name: a}]\npeerings:\n- {requester: default, accepter: a, status: pending-acceptance}\n";
    apply(&mut state, ask, false);
    let accept = ask.replace("pending-acceptance", "active");
    assert_eq!(
        apply(&mut state, &accept, false),
        ["~ peering default a: status pending-acceptance -> active"]
    );
    assert!(
        refusal(&state, ask, false)
            .starts_with("InvalidStateTransition: sg.yaml:3: field 'peerings[0].status': ")
    );
}

#[test]
fn the_schema_that_is_kept_is_that_of_the_types() {
    let kept = include_str!("../../../docs/sg-document.schema.json");
    assert!(kept == schema().unwrap(), "write it anew: sg-ctl schema > docs/sg-document.schema.json");
}

#[test]
fn the_example_of_the_docs_can_be_applied() {
    let page = include_str!("../../../docs/documents.md");
    let examples: Vec<&str> =
        page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let (mut state, _) = state();
        attached(&mut state, "eth0", None);
        assert!(!apply(&mut state, example, true).is_empty());
        assert_eq!(apply(&mut state, example, true), [] as [&str; 0]);
    }
}
