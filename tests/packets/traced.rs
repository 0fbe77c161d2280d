//! `sg-ctl trace`: what is said of each stage is what that stage found of that very packet.

use sg_common::{
    Direction::{self, Egress, Ingress},
    event::what::{ALLOWED, DROPPED},
    reason::{
        Drop::{Malformed, NoConnection, NoRule},
        Pass::{New, Related, Tracked, Untracked},
        Verdict,
    },
};
use sg_ctl::{
    kernel::events::{Filter, Listening},
    model::AddressFamily,
    monitor::{Line, Where, stages},
    ops,
};
use sg_tests::{
    packet::{
        Packet, Payload,
        tcp::{ACK, RST, SYN, SYN_ACK},
    },
    rig::{Rig, dropped, in_all_variants, passes},
};
use std::{collections::BTreeMap, time::Duration};

/// Judges a packet, and returns what is said of each stage.
#[track_caller]
fn trace(
    rig: &Rig,
    listening: &mut Listening,
    direction: Direction,
    packet: &Packet,
    verdict: Verdict,
) -> BTreeMap<&'static str, String> {
    assert_eq!(rig.judge(direction, packet), verdict);
    let mut heard = Vec::new();
    listening
        .read(|event| {
            heard.push(*event);
            Ok(true)
        })
        .expect("the ring can be read");
    let [event] = heard[..] else { panic!("one packet, and {heard:?}") };
    let place = Where { name: "test0".to_owned(), eni_id: "eni-1".to_owned(), vlan_aware: false };
    let line = Line::new(&event, Duration::ZERO, &place).expect("a verdict of this version");
    let told = stages(&event, &line);
    let last = told.last().expect("the verdict at least");
    let word = if verdict.passes() { "allow" } else { "drop" };
    assert_eq!((last.stage, last.decision.as_str()), ("verdict", &*format!("{word}, {}", verdict.reason())));
    let by_stage: BTreeMap<_, _> = told.iter().map(|stage| (stage.stage, stage.decision.clone())).collect();
    assert_eq!(by_stage.len(), told.len(), "each stage once");
    by_stage
}

fn listen(rig: &Rig) -> Listening {
    let all = Filter { wants: DROPPED | ALLOWED, ..Filter::default() };
    Listening::begin(rig.bench.maps(), &all).expect("a place")
}

fn segment(local: u16, remote: u16, flags: u8, sequence: u32, acknowledgement: u32) -> Payload {
    Payload::Tcp { source: local, destination: remote, flags, sequence, acknowledgement }
}

#[test]
fn each_stage_says_what_it_found() {
    in_all_variants(|rig| {
        let (world, far) = (rig.world(), rig.host(rig.remote));
        rig.allow("ingress", "tcp", Some("22"), &far);
        rig.allow("ingress", "tcp", Some("80"), &world);
        let mut listening = listen(rig);
        let from = |payload| rig.packet(Ingress, rig.remote, payload);
        let to = |payload| rig.packet(Egress, rig.remote, payload);
        let mut told =
            |direction, packet: &Packet, verdict| trace(rig, &mut listening, direction, packet, verdict);

        // New, by a CIDR block.
        let syn = told(Ingress, &from(segment(22, 40_000, SYN, 1_000, 0)), passes(New));
        let version = if rig.variant.v6 { "IPv6" } else { "IPv4" };
        assert_eq!(syn["parse"], format!("{version}, protocol tcp, SYN"));
        assert_eq!([&*syn["exempt"], &*syn["world_open"]], ["no", "no"]);
        assert!(
            syn["rules"].starts_with("the far end lies in a CIDR block of inbound rules (class "),
            "{syn:?}"
        );
        assert!(syn["rules"].ends_with("; admitted by its ports"), "{syn:?}");
        assert_eq!(syn["create"], "a new entry");

        // Tracked: half-open, established, and its end; no rule is asked.
        let answer = told(Egress, &to(segment(22, 40_000, SYN_ACK, 5_000, 1_001)), passes(Tracked));
        assert_eq!(answer["flow"], "a live entry (pending)");
        told(Ingress, &from(segment(22, 40_000, ACK, 1_001, 5_001)), passes(Tracked));
        let data = told(Ingress, &from(segment(22, 40_000, ACK, 1_001, 5_001)), passes(Tracked));
        assert_eq!(data["flow"], "a live entry (established)");
        assert!(!data.contains_key("rules") && !data.contains_key("create"), "{data:?}");
        let reset = told(Ingress, &from(segment(22, 40_000, RST, 1_001, 0)), passes(Tracked));
        assert_eq!(reset["flow"], "a live entry (established), which ends with this packet");

        // World-open, at sight or not.
        let open = told(Ingress, &from(segment(80, 40_000, ACK, 1, 1)), passes(Untracked));
        assert_eq!(open["world_open"], "flows that start inward to port 80: it passes untracked");
        assert!(!open.contains_key("rules"), "{open:?}");

        // Dropped: the block does not hold the port, the world has no rule for it, and nobody knows the segment.
        let port = told(Ingress, &from(segment(23, 40_000, SYN, 1, 0)), dropped(NoRule));
        assert!(
            port["rules"].contains("lies in a CIDR block") && port["rules"].ends_with("; admitted by none")
        );
        let stranger = rig.packet(Ingress, rig.stranger, segment(22, 40_000, SYN, 1, 0));
        let stranger = told(Ingress, &stranger, dropped(NoRule));
        assert!(stranger["rules"].starts_with("inbound rules name all addresses (class "), "{stranger:?}");
        let stray = rig.packet(Ingress, rig.stranger, segment(22, 40_000, ACK, 1, 1));
        let stray = told(Ingress, &stray, dropped(NoConnection));
        assert_eq!(stray["flow"], "no entry");

        // Errors, about a flow and about none.
        let (kind, code) = if rig.variant.v6 { (1, 4) } else { (3, 3) };
        let error = |quoted: &Packet| {
            let mut body = quoted.network();
            body.truncate(64);
            rig.packet(Ingress, rig.stranger, Payload::Icmp { kind, code, id: 0, body })
        };
        told(Egress, &to(segment(50_000, 443, SYN, 1, 0)), passes(New));
        let about = told(Ingress, &error(&to(segment(50_000, 443, SYN, 1, 0))), passes(Related));
        assert_eq!(about["quote"], "an error about a flow that is let through");
        let about = told(Ingress, &error(&to(segment(50_001, 443, SYN, 1, 0))), dropped(NoRule));
        assert!(about["quote"].starts_with("an error about a flow that is not let through"), "{about:?}");
        let about = told(Ingress, &error(&from(segment(443, 50_000, SYN, 1, 0))), dropped(NoRule));
        assert_eq!(about["quote"], "an error that quotes no packet of this interface");

        let cut = Packet { cut: Some(10), ..from(segment(22, 40_000, SYN, 1, 0)) };
        let cut = told(Ingress, &cut, dropped(Malformed));
        assert!(cut["parse"].starts_with("not to be understood (0x"), "{cut:?}");
        assert_eq!(cut.len(), 2, "it came to no further stage");
    });
}

#[test]
fn a_prefix_list_is_named_as_what_admits() {
    in_all_variants(|rig| {
        rig.revoke_all();
        let family = if rig.variant.v6 { AddressFamily::Ipv6 } else { AddressFamily::Ipv4 };
        let create = ops::prefix_list::Create {
            name: format!("far {:?}", rig.variant),
            family,
            max_entries: "5".to_owned(),
            entries: vec![rig.host(rig.remote)],
            tags: Vec::new(),
        };
        let list = ops::prefix_list::create(&mut rig.bench.state, &create).expect("a list");
        let rule = ops::rule::Content {
            direction: sg_ctl::model::Direction::Ingress,
            protocol: "tcp".to_owned(),
            port: Some("22".to_owned()),
            icmp_type: None,
            icmp_code: None,
            cidrs: Vec::new(),
            prefix_lists: vec![list.to_string()],
            source_groups: Vec::new(),
            description: None,
        };
        ops::rule::add(&mut rig.bench.state, "web", &rule).expect("a rule");
        rig.bench.install();
        let mut listening = listen(rig);
        let from = |far| rig.packet(Ingress, far, segment(22, 40_000, SYN, 1, 0));
        let admitted = trace(rig, &mut listening, Ingress, &from(rig.remote), passes(New));
        assert_eq!(
            admitted["rules"],
            "the far end lies in no CIDR block of inbound rules; admitted by a rule for a prefix list"
        );
        let refused = trace(rig, &mut listening, Ingress, &from(rig.stranger), dropped(NoRule));
        assert!(refused["rules"].ends_with("; admitted by none"), "{refused:?}");
    });
}
