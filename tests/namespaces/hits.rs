//! Hits: how many new flows each rule admitted, as `counters` tells it.

use sg_common::hit::{Hit, HitKey};
use sg_ctl::kernel::BpfMap;
use sg_tests::{
    agent::Agent,
    ctl::Lab,
    net::{FAMILIES, IFACE, V4},
};
use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

/// Hits of `web`'s rules, by what a rule's description says.
fn hits(lab: &Lab) -> BTreeMap<String, u64> {
    let rules = lab.ctl.json("rule list web");
    let counted = lab.ctl.json("counters");
    let counted = counted["interfaces"][0]["rules"].as_array().expect("rules");
    let of = |rule: &serde_json::Value| {
        let mut these =
            counted.iter().filter(|hits| hits["SecurityGroupRuleId"] == rule["SecurityGroupRuleId"]);
        let hits = these.next().expect("every rule is listed")["hits"].as_u64().expect("a number");
        assert!(these.next().is_none(), "a rule is listed once: {rule}");
        hits
    };
    let rules = rules["SecurityGroupRules"].as_array().expect("rules");
    assert_eq!(rules.len(), counted.len(), "rules of the interface's groups, and no others");
    rules.iter().filter_map(|rule| Some((rule["Description"].as_str()?.to_owned(), of(rule)))).collect()
}

fn expect(lab: &Lab, expected: &[(&str, u64)]) {
    let found = hits(lab);
    let found: Vec<(&str, u64)> = expected.iter().map(|(name, _)| (*name, found[*name])).collect();
    assert_eq!(found, expected);
}

/// What the datapath counted since the last sum.
fn counted(lab: &Lab) -> usize {
    let map = BpfMap::<HitKey, Hit>::open(&lab.ctl.bpffs().join("maps/HITS")).expect("hits are pinned");
    let mut count = 0;
    map.for_each(|_, _| count += 1).expect("hits can be read");
    count
}

#[test]
fn a_hit_is_a_new_flow_and_every_rule_that_admits_it_has_it() {
    for family in FAMILIES {
        let lab = Lab::new();
        lab.ctl.json(&format!(
            "prefix-list create admins --family {} --max-entries 9 --entry {}",
            if family.host == V4.host { "ipv4" } else { "ipv6" },
            family.narrow
        ));
        lab.ctl.bare_group(
            "web",
            &[
                &format!("ingress --protocol tcp --port 22 --cidr {} --description admin", family.narrow),
                "ingress --protocol tcp --port 20-30 --prefix-list admins --description list",
                "ingress --protocol tcp --port 22 --source-group web --description members",
                &format!("ingress --protocol udp --port 22 --cidr {} --description udp", family.narrow),
                &format!("egress --protocol tcp --port 443 --cidr {} --description out", family.narrow),
            ],
        );
        lab.attach("--group web");
        let none = [("admin", 0), ("list", 0), ("members", 0), ("udp", 0), ("out", 0)];
        expect(&lab, &none);
        let mut flow = lab.connect(family.admin, family.host, 22);
        flow.goes_on();
        let once = [("admin", 1), ("list", 1), ("members", 0), ("udp", 0), ("out", 0)];
        expect(&lab, &once);
        flow.goes_on();
        lab.refuses(family.other, family.host, 22);
        expect(&lab, &once);
        lab.connect(family.admin, family.host, 25).goes_on();
        lab.connect_out(family.host, family.admin, 443).goes_on();
        let mut datagrams = lab.datagrams(family.admin, family.host, 22);
        datagrams.answers();
        datagrams.answers();
        expect(&lab, &[("admin", 1), ("list", 2), ("members", 0), ("udp", 1), ("out", 1)]);

        // A member that a group stands for.
        lab.ctl.json(&format!("interface register peer --address {} --group web", family.other));
        lab.connect(family.other, family.host, 22).goes_on();
        lab.ctl.json("interface deregister peer");
        expect(&lab, &[("admin", 1), ("list", 2), ("members", 1), ("udp", 1), ("out", 1)]);
        assert_eq!(counted(&lab), 0, "a change attributes what was counted by what was true before it");

        lab.ctl.json(&format!("counters {IFACE} --reset"));
        expect(&lab, &none);
    }
}

#[test]
fn of_what_is_untracked_a_syn_is_a_hit_and_any_packet_of_udp() {
    for family in FAMILIES {
        let lab = Lab::attached_bare(&[
            &format!("ingress --protocol tcp --port 80 --cidr {} --description web", family.world),
            &format!("ingress --protocol tcp --port 80 --cidr {} --description narrow", family.narrow),
            &format!("ingress --protocol udp --port 53 --cidr {} --description dns", family.world),
            &format!("egress --protocol all --cidr {} --description out", family.world),
        ]);
        let mut flow = lab.connect(family.admin, family.host, 80);
        flow.goes_on();
        flow.goes_on();
        lab.connect(family.other, family.host, 80).goes_on();
        let mut datagrams = lab.datagrams(family.admin, family.host, 53);
        datagrams.answers();
        datagrams.answers();
        let found = hits(&lab);
        // Of a flow that everybody may open nobody asks what the far end may in particular.
        assert_eq!((found["web"], found["narrow"]), (2, 0), "{found:?}");
        assert!(found["dns"] >= 2, "{found:?}");
        assert_eq!(found["out"], 0, "answers are no new flows: {found:?}");
        lab.connect_out(family.host, family.admin, 9_000).goes_on();
        assert_eq!(hits(&lab)["out"], 1);
    }
}

#[test]
fn hits_outlive_rules_beside_them_and_the_agent_adds_them_up() {
    let lab = Lab::attached_bare(&[
        "ingress --protocol tcp --port 22 --cidr 203.0.113.1/32 --description narrow",
        "ingress --protocol tcp --port 23 --cidr 203.0.113.1/32 --description other",
    ]);
    lab.connect(V4.admin, V4.host, 22).goes_on();
    lab.connect(V4.admin, V4.host, 23).goes_on();
    lab.remove("ingress --protocol tcp --port 23 --cidr 203.0.113.1/32");
    expect(&lab, &[("narrow", 1)]);
    assert_eq!(counted(&lab), 0);

    lab.connect(V4.admin, V4.host, 22).goes_on();
    assert_eq!(counted(&lab), 1);
    expect(&lab, &[("narrow", 2)]);
    let agent = Agent::start(&lab.ctl);
    let start = Instant::now();
    while counted(&lab) > 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "the agent adds up every ten seconds");
        thread::sleep(Duration::from_millis(100));
    }
    expect(&lab, &[("narrow", 2)]);
    drop(agent);
}

#[test]
fn rules_that_nobody_uses_are_told_from_the_agents_record() {
    let lab = Lab::attached_bare(&[
        "ingress --protocol tcp --port 22 --cidr 203.0.113.1/32 --description narrow",
        "ingress --protocol tcp --port 23 --cidr 203.0.113.1/32 --description other",
    ]);
    let none = lab.ctl.refused("rule list --unused-for 1s");
    assert_eq!(none.code, "IncorrectState");
    assert!(none.message.contains("start `sg-ctl agent`"), "{}", none.message);
    assert_eq!(lab.ctl.run("rule list --unused-for soon").code, Some(2));

    let unused = |length: &str| {
        let listed = lab.ctl.json(&format!("rule list web --unused-for {length}"));
        let listed = listed["SecurityGroupRules"].as_array().expect("rules").clone();
        listed.iter().filter_map(|rule| Some(rule["Description"].as_str()?.to_owned())).collect::<Vec<_>>()
    };
    let look = || Agent::start(&lab.ctl).stop();
    // The agent writes when it looks, and when it stops.
    look();
    assert_eq!(unused("30d"), Vec::<String>::new(), "nobody has looked for so long");
    // Had it looked first forty days ago:
    age(&lab, "known");
    assert_eq!(unused("30d"), ["narrow", "other"]);
    lab.connect(V4.admin, V4.host, 22).goes_on();
    look();
    assert_eq!(unused("30d"), ["other"]);
    assert_eq!(unused("50d"), Vec::<String>::new());

    // It outlives the kernel's own, which goes with the interface.
    lab.ctl.json(&format!("detach {IFACE}"));
    look();
    assert_eq!(unused("30d"), ["other"]);
    age(&lab, "used");
    assert_eq!(unused("30d"), ["narrow", "other"]);
    fs::write(lab.ctl.state_dir().join("rule-usage.json"), "{").expect("the record can be written");
    assert_eq!(lab.ctl.refused("rule list --unused-for 30d").code, "StoreError");
}

/// Puts these times of the agent's record forty days back.
fn age(lab: &Lab, what: &str) {
    let path = lab.ctl.state_dir().join("rule-usage.json");
    let mut record: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("a record")).expect("JSON");
    for of in record["rules"].as_object_mut().expect("rules").values_mut() {
        if let Some(time) = of[what].as_u64() {
            of[what] = (time - 40 * 86_400).into();
        }
    }
    fs::write(path, record.to_string()).expect("the record can be written");
}
