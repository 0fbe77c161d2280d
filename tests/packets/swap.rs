//! The swap and what lies in the maps: one word, nothing left over, nothing shared by accident.

use sg_common::{
    Direction::{Egress, Ingress},
    policy::{STATE_QUIESCENT, STATE_SWEPT},
    reason::{Drop::*, Pass::*},
};
use sg_ctl::{
    compile::{Change, Image, compile},
    model::{Options, Side},
    ops,
};
use sg_tests::{
    bench::{Bench, Hook},
    packet::{Packet, Payload, tcp::SYN},
    rig::{Rig, Variant, dropped, passes},
};
use std::net::IpAddr;

fn rig() -> Rig {
    Rig::new(Variant { v6: false, hook: Hook::Tc, side: Side::Host }, Options::default())
}

/// Everything that the policy maps hold, as counts.
fn held(bench: &Bench) -> Vec<(String, u64)> {
    bench
        .maps()
        .policy_maps()
        .expect("maps that can be read")
        .into_iter()
        .map(|map| (map.name, map.entries))
        .collect()
}

#[test]
fn what_the_old_generation_alone_referred_to_is_gone_after_a_swap() {
    let mut rig = rig();
    let empty = held(&rig.bench);
    for n in 0..25 {
        rig.allow("ingress", "tcp", Some(&format!("{n}")), &format!("10.1.{n}.0/24"));
        rig.allow("ingress", "tcp", Some(&format!("{n}")), &format!("10.2.{n}.1/32"));
        if n % 7 == 0 {
            rig.revoke("ingress", "tcp", Some(&format!("{n}")), &format!("10.1.{n}.0/24"));
        }
    }
    assert_ne!(held(&rig.bench), empty);
    rig.bench.state.rules.retain(|_, rule| rule.direction == sg_ctl::model::Direction::Egress);
    rig.bench.install();
    assert_eq!(held(&rig.bench), empty);
}

#[test]
fn a_build_that_never_went_live_is_cleared_by_the_next() {
    let mut rig = rig();
    rig.allow("ingress", "tcp", Some("22"), "10.1.0.0/16");
    let before = held(&rig.bench);
    // A command that was killed between its build and its flip.
    let mut state = rig.bench.state.clone();
    state.rules.values_mut().for_each(|rule| {
        rule.traffic = sg_ctl::model::Traffic::Tcp(sg_ctl::model::PortRange { from: 7, to: 9 });
        rule.peer = sg_ctl::model::Peer::Ipv4("10.9.0.0/17".parse().unwrap());
    });
    drop(rig.bench.maps().build(&Change::to(compile(&state))).unwrap());
    assert_ne!(held(&rig.bench), before);
    let admitted = |port| {
        let source: IpAddr = "10.9.0.1".parse().unwrap();
        let syn = Payload::Tcp { source: 1, destination: port, flags: SYN, sequence: 1, acknowledgement: 0 };
        rig.judge(Ingress, &Packet::new(source, rig.local, syn))
    };
    assert_eq!(admitted(8), dropped(NoRule), "not in force");
    rig.bench.install();
    assert_eq!(held(&rig.bench), before);
}

#[test]
fn a_flip_whose_clean_up_was_cut_off_is_finished_by_the_next_build() {
    let mut rig = rig();
    rig.allow("ingress", "tcp", Some("22"), "10.1.0.0/16");
    let before = held(&rig.bench);
    let host = rig.bench.maps();
    // Killed right after its flip: another policy is live, nothing of the old one was freed.
    let other = {
        let mut state = rig.bench.state.clone();
        state.rules.retain(|_, rule| rule.direction == sg_ctl::model::Direction::Egress);
        compile(&state)
    };
    let _ = host.go_live(host.build_whole(&Change::to(other)).unwrap(), 0).unwrap();
    assert!(host.owes_sweep().unwrap());
    let live = host.generation().unwrap();
    assert!(host.cell(STATE_QUIESCENT).unwrap() < live && host.cell(STATE_SWEPT).unwrap() < live);
    rig.bench.install();
    assert_eq!(held(&rig.bench), before);
    assert!(!rig.bench.maps().owes_sweep().unwrap());
}

#[test]
fn an_unchanged_policy_writes_nothing_anew() {
    let mut rig = rig();
    rig.allow("ingress", "tcp", Some("22"), "10.1.0.0/16");
    let before = held(&rig.bench);
    for _ in 0..5 {
        rig.bench.install();
        assert_eq!(held(&rig.bench), before);
    }
    let remote: IpAddr = "10.1.2.3".parse().unwrap();
    let syn = Payload::Tcp { source: 22, destination: 9, flags: SYN, sequence: 1, acknowledgement: 0 };
    assert_eq!(rig.judge(Ingress, &rig.packet(Ingress, remote, syn)), passes(New));
}

#[test]
fn trap30_one_flip_reaches_every_interface() {
    let mut bench = Bench::new();
    ops::group::create(&mut bench.state, &ops::group::Create::new("web", "test")).unwrap();
    let address = |last| IpAddr::from([10, 0, 0, last]);
    let enis: Vec<_> =
        (1..=5).map(|n| bench.interface(Side::Host, &["web"], &[address(n)], Options::default())).collect();
    bench.install();
    let group = bench.state.groups.values().find(|group| group.name == "web").unwrap().id;
    for (n, &eni) in (1..).zip(&enis) {
        let udp = Payload::Udp { source: 9, destination: 53 };
        let packet = Packet::new(address(99), address(n), udp).frame();
        assert_eq!(bench.judge(eni, Hook::Tc, Ingress, &packet), Some(dropped(NoRule)));
    }
    let id = sg_ctl::model::RuleId::random();
    let peer = sg_ctl::model::Peer::Ipv4("10.0.0.99/32".parse().unwrap());
    let inward = sg_ctl::model::Direction::Ingress;
    let rule = sg_ctl::model::Rule::new(id, group, inward, sg_ctl::model::Traffic::All, peer);
    bench.state.rules.insert(id, rule);
    let before = bench.maps().generation().unwrap();
    bench.install();
    assert_eq!(bench.maps().generation().unwrap(), before + 1);
    for (n, &eni) in (1..).zip(&enis) {
        let packet =
            Packet::new(address(99), address(n), Payload::Udp { source: 9, destination: 53 }).frame();
        assert_eq!(bench.judge(eni, Hook::Xdp, Ingress, &packet), Some(passes(New)));
    }
}

#[test]
fn trap32_two_interfaces_never_share_a_flow() {
    let mut bench = Bench::new();
    let address = IpAddr::from([10, 0, 0, 1]);
    ops::group::create(&mut bench.state, &ops::group::Create::new("web", "test")).unwrap();
    let [a, b] = [(); 2].map(|()| bench.interface(Side::Host, &["web"], &[address], Options::default()));
    bench.install();
    let remote = IpAddr::from([198, 51, 100, 7]);
    let query = Packet::new(address, remote, Payload::Udp { source: 9, destination: 53 }).frame();
    let answer = Packet::new(remote, address, Payload::Udp { source: 53, destination: 9 }).frame();
    assert_eq!(bench.judge(a, Hook::Tc, Egress, &query), Some(passes(New)));
    assert_eq!(bench.judge(b, Hook::Tc, Ingress, &answer), Some(dropped(NoRule)));
    assert_eq!(bench.judge(a, Hook::Tc, Ingress, &answer), Some(passes(Tracked)));
}

#[test]
fn trap36_an_interface_without_a_policy_drops_everything() {
    let mut rig = rig();
    rig.bench.state.interfaces.clear();
    rig.bench.install();
    assert_eq!(rig.udp(Egress, (9, 53)), dropped(NoPolicy));
    assert_eq!(rig.tcp(Ingress, (22, 9), SYN, 1, 0), dropped(NoPolicy));
    assert_eq!(compile(&rig.bench.state), Image::default());
}

#[test]
fn p20_more_addresses_than_a_row_holds_are_still_checked() {
    let mut bench = Bench::new();
    let locals: Vec<IpAddr> = (1..=9)
        .flat_map(|n| [IpAddr::from([10, 0, 0, n]), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)])])
        .collect();
    let eni = bench.interface(Side::Host, &[], &locals, Options::default());
    for _ in 0..3 {
        bench.install();
        for &local in &locals {
            let far = if local.is_ipv4() {
                IpAddr::from([10, 9, 9, 9])
            } else {
                IpAddr::from([0xfd99, 0, 0, 0, 0, 0, 0, 1])
            };
            let spoofed = Packet::new(local, local, Payload::Udp { source: 9, destination: 53 }).frame();
            assert_eq!(
                bench.judge(eni, Hook::Tc, Ingress, &spoofed),
                Some(dropped(SpoofedSource)),
                "{local}"
            );
            let honest = Packet::new(far, local, Payload::Udp { source: 9, destination: 53 }).frame();
            assert_eq!(bench.judge(eni, Hook::Tc, Ingress, &honest), Some(dropped(NoRule)));
        }
    }
}

#[test]
fn t2_each_interface_has_its_own_set_of_groups() {
    let mut bench = Bench::new();
    for name in ["web", "db"] {
        ops::group::create(&mut bench.state, &ops::group::Create::new(name, "test")).unwrap();
        let port = if name == "web" { "80" } else { "5432" };
        let content = ops::rule::Content {
            direction: sg_ctl::model::Direction::Ingress,
            protocol: "tcp".to_owned(),
            port: Some(port.to_owned()),
            icmp_type: None,
            icmp_code: None,
            cidrs: vec!["198.51.100.0/24".to_owned()],
            prefix_lists: Vec::new(),
            source_groups: Vec::new(),
            description: None,
        };
        ops::rule::add(&mut bench.state, name, &content).unwrap();
    }
    let locals = [1, 2, 3].map(|n| IpAddr::from([10, 0, 0, n]));
    let sets: [&[&str]; 3] = [&["web"], &["db"], &["web", "db"]];
    let enis = [0, 1, 2].map(|n| bench.interface(Side::Host, sets[n], &[locals[n]], Options::default()));
    bench.install();
    for (n, eni) in enis.into_iter().enumerate() {
        for (port, group) in [(80, "web"), (5432, "db")] {
            let (sequence, acknowledgement) = (1, 0);
            let tcp = Payload::Tcp { source: 9, destination: port, flags: SYN, sequence, acknowledgement };
            let packet = Packet::new(IpAddr::from([198, 51, 100, 7]), locals[n], tcp).frame();
            let expected = if sets[n].contains(&group) { passes(New) } else { dropped(NoRule) };
            assert_eq!(bench.judge(eni, Hook::Tc, Ingress, &packet), Some(expected), "{n} {port}");
        }
    }
}

#[test]
fn m58_a_list_that_rules_name_again_is_what_it_is_by_then() {
    let mut rig = rig();
    let list = list(&mut rig.bench.state, &["10.9.0.0/16", "10.8.0.0/16"]);
    let group = rig.bench.state.interfaces.values().next().unwrap().groups[0];
    let id = sg_ctl::model::RuleId::random();
    let peer = sg_ctl::model::Peer::PrefixList(list);
    let (inward, traffic) = (sg_ctl::model::Direction::Ingress, sg_ctl::model::Traffic::All);
    let rule = sg_ctl::model::Rule::new(id, group, inward, traffic, peer);
    rig.bench.state.rules.insert(id, rule.clone());
    rig.bench.install();
    let local = rig.local;
    let from = |net, last| {
        let udp = Payload::Udp { source: 9, destination: 53 };
        Packet::new(IpAddr::from([10, net, 0, last]), local, udp)
    };
    assert_eq!(rig.judge(Ingress, &from(9, 1)), passes(New));

    // The rule goes in a change in part, which leaves the table.
    let named = rig.bench.state.clone();
    rig.bench.state.rules.remove(&id);
    let part = Change::part(&named, &rig.bench.state).expect("a change in part");
    rig.bench.put(&part);
    // It comes back with one of everything, and the list has an entry less.
    ops::entry::remove(&mut rig.bench.state, &list.to_string(), &["10.9.0.0/16".to_owned()], None).unwrap();
    rig.bench.state.rules.insert(id, rule);
    rig.bench.install();
    assert_eq!(rig.judge(Ingress, &from(9, 2)), dropped(NoRule));
    assert_eq!(rig.judge(Ingress, &from(8, 2)), passes(New));
}

/// A prefix list of these entries.
fn list(state: &mut sg_ctl::model::State, entries: &[&str]) -> sg_ctl::model::PrefixListId {
    let create = ops::prefix_list::Create {
        name: "offices".to_owned(),
        family: sg_ctl::model::AddressFamily::Ipv4,
        max_entries: "9".to_owned(),
        entries: entries.iter().map(ToString::to_string).collect(),
        tags: Vec::new(),
    };
    ops::prefix_list::create(state, &create).expect("a list")
}
