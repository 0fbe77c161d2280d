//! What the programs tell of packets to those who listen: every verdict, filters, limits, and nothing where nobody does.

use sg_common::{
    Direction::{self, Egress, Ingress},
    event::{
        EVENTS_AT_ONCE, Event, LEASE_SECONDS, NO_PROTOCOL, PLACES,
        what::{ALLOWED, CLOSED, DROPPED, NEW},
    },
    reason::{
        Drop::{Malformed, NoRule, NonIp},
        Pass::{Exempt, New, Related, Stateless, Tracked, Untracked},
        Verdict,
    },
};
use sg_ctl::{
    kernel::{
        BpfMap,
        events::{Filter, Listening, Missed},
    },
    model::{Options, Side},
};
use sg_tests::{
    bench::Hook,
    packet::{
        Packet, Payload,
        tcp::{ACK, FIN, RST, SYN, SYN_ACK},
    },
    rig::{Rig, Variant, dropped, in_all_variants, passes},
};
use std::net::IpAddr;

fn rig() -> Rig {
    Rig::new(Variant { v6: false, hook: Hook::Tc, side: Side::Host }, Options::default())
}

fn listen(rig: &Rig, filter: Filter) -> Listening {
    Listening::begin(rig.bench.maps(), &filter).expect("a place")
}

fn everything() -> Filter {
    Filter { wants: DROPPED | ALLOWED, ..Filter::default() }
}

fn hear(listening: &mut Listening) -> Vec<Event> {
    let mut heard = Vec::new();
    listening
        .read(|event| {
            heard.push(*event);
            Ok(true)
        })
        .expect("the ring can be read");
    heard
}

/// What was said of the one packet that came since.
#[track_caller]
fn one(listening: &mut Listening) -> Event {
    let heard = hear(listening);
    let [event] = heard[..] else { panic!("one packet, and {heard:?}") };
    event
}

fn udp(local: u16, remote: u16) -> Payload {
    Payload::Udp { source: local, destination: remote }
}

fn segment(local: u16, remote: u16, flags: u8, sequence: u32, acknowledgement: u32) -> Payload {
    Payload::Tcp { source: local, destination: remote, flags, sequence, acknowledgement }
}

/// The word that says that somebody listens.
fn word(rig: &Rig) -> u64 {
    let map: BpfMap<u32, u64> = BpfMap::open(&rig.bench.maps().maps().join("LISTENING")).expect("the map");
    map.get(&0).expect("an array").expect("its element")
}

#[test]
fn every_verdict_is_told_with_what_is_known_of_the_packet() {
    in_all_variants(|rig| {
        let (world, far) = (rig.world(), rig.host(rig.remote));
        rig.allow("ingress", "tcp", Some("22"), &far);
        rig.allow("ingress", "tcp", Some("80"), &world);
        let mut listening = listen(rig, everything());
        let mut told = |direction, packet: &Packet, verdict: Verdict, what: u32| {
            let frame = packet.frame();
            assert_eq!(rig.judge_frame(direction, &frame), verdict);
            let event = one(&mut listening);
            assert_eq!(Verdict::of(event.verdict.into()), Some(verdict));
            assert_eq!((event.what, event.direction), (what, direction as u8), "{verdict:?}");
            assert_eq!((event.segments, event.bytes), (1, frame.len() as u64), "{verdict:?}");
            event
        };

        let refused = told(
            Ingress,
            &rig.packet(Ingress, rig.stranger, segment(22, 40_000, SYN, 1, 0)),
            dropped(NoRule),
            DROPPED,
        );
        assert_eq!(refused.ends(), Some((rig.local, rig.stranger)));
        assert_eq!((refused.protocol, refused.local_port, refused.remote_port), (6, 22, 40_000));
        assert_eq!((refused.tcp_flags, refused.slot, refused.fragment), (SYN, 0, 0));

        let from = |far: IpAddr, payload| rig.packet(Ingress, far, payload);
        let syn =
            told(Ingress, &from(rig.remote, segment(22, 40_001, SYN, 1, 0)), passes(New), ALLOWED | NEW);
        assert_eq!((syn.local_port, syn.remote_port), (22, 40_001));
        let to = |payload| rig.packet(Egress, rig.remote, payload);
        let answer = told(Egress, &to(segment(22, 40_001, SYN_ACK, 5, 2)), passes(Tracked), ALLOWED);
        assert_eq!((answer.ends(), answer.local_port), (Some((rig.local, rig.remote)), 22));
        told(Ingress, &from(rig.remote, segment(22, 40_002, ACK, 7, 7)), passes(Stateless), ALLOWED);

        // Open to the world: told though nothing of it is remembered.
        told(Ingress, &from(rig.stranger, segment(80, 9, SYN, 1, 0)), passes(Untracked), ALLOWED | NEW);
        let segment80 =
            told(Ingress, &from(rig.stranger, segment(80, 9, ACK, 2, 2)), passes(Untracked), ALLOWED);
        assert_eq!((segment80.local_port, segment80.tcp_flags), (80, ACK));

        let (request, kind) = if rig.variant.v6 { (128, 1) } else { (8, 3) };
        let ping = Payload::Icmp { kind: request, code: 0, id: 77, body: vec![0; 8] };
        let ping = told(Egress, &to(ping), passes(New), ALLOWED | NEW);
        assert_eq!((ping.icmp_type, ping.icmp_id, ping.has_ports()), (request, 77, false));
        let mut quoted = to(segment(22, 40_001, ACK, 6, 2)).network();
        quoted.truncate(64);
        let error = Payload::Icmp { kind, code: 1, id: 0, body: quoted };
        let error = told(Ingress, &from(rig.stranger, error), passes(Related), ALLOWED);
        assert_eq!(
            (error.icmp_type, error.icmp_code, error.ends()),
            (kind, 1, Some((rig.local, rig.stranger)))
        );
    });
}

#[test]
fn what_was_not_understood_says_nothing_of_the_packet_before_it() {
    in_all_variants(|rig| {
        let mut listening = listen(rig, everything());
        let whole = rig.packet(Ingress, rig.stranger, segment(22, 40_000, SYN, 1, 0));
        let blank = |event: &Event| {
            assert_eq!((event.ends(), event.protocol, event.has_ports()), (None, NO_PROTOCOL, false));
            assert_eq!(
                (event.local, event.remote, event.local_port, event.tcp_flags),
                ([0; 4], [0; 4], 0, 0)
            );
        };
        for (frame, verdict, kind) in [
            (
                Packet { cut: Some(10), ..whole.clone() }.frame(),
                dropped(Malformed),
                if rig.variant.v6 { 0x86dd } else { 0x0800 },
            ),
            ([&[2; 12][..], &[0x88, 0xb5], &[0; 46]].concat(), dropped(NonIp), 0x88b5),
        ] {
            assert_eq!(rig.judge(Ingress, &whole), dropped(NoRule));
            assert!(one(&mut listening).ends().is_some());
            assert_eq!(rig.judge_frame(Ingress, &frame), verdict);
            let event = one(&mut listening);
            blank(&event);
            assert_eq!((event.ethertype, event.bytes), (kind, frame.len() as u64));
        }
        // ARP, which is exempt.
        let sender = match rig.local {
            IpAddr::V4(local) => local.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        let arp = [
            &[2; 12][..],
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &[2; 6],
            &sender,
            &[0; 6],
            &[10, 0, 0, 9],
            &[0; 18],
        ]
        .concat();
        assert_eq!(rig.judge_frame(Egress, &arp), passes(Exempt));
        let event = one(&mut listening);
        blank(&event);
        assert_eq!((event.ethertype, event.what), (0x0806, ALLOWED));
    });
}

#[test]
fn the_end_of_a_connection_is_told_once_with_what_it_was() {
    in_all_variants(|rig| {
        let far = rig.host(rig.remote);
        rig.allow("ingress", "tcp", Some("22"), &far);
        let mut listening = listen(rig, Filter { wants: CLOSED, ..Filter::default() });
        rig.handshake(Ingress, (22, 40_000));
        assert_eq!(rig.tcp(Ingress, (22, 40_000), FIN | ACK, 1_001, 5_001), passes(Tracked));
        assert_eq!(hear(&mut listening), [], "half of it is open");
        assert_eq!(rig.tcp(Egress, (22, 40_000), FIN | ACK, 5_001, 1_002), passes(Tracked));
        let end = one(&mut listening);
        assert_eq!((end.what, end.flow_packets, end.direction), (ALLOWED | CLOSED, 5, Egress as u8));
        assert_eq!(end.flow_bytes, 5 * end.bytes, "five segments of one length");
        assert_eq!(
            rig.tcp(Egress, (22, 40_000), FIN | ACK, 5_001, 1_002),
            passes(Tracked),
            "the same FIN again"
        );
        assert_eq!(rig.tcp(Ingress, (22, 40_000), ACK, 1_002, 5_002), passes(Tracked));
        assert_eq!(hear(&mut listening), []);

        rig.handshake(Ingress, (22, 40_001));
        assert_eq!(rig.tcp(Ingress, (22, 40_001), RST, 1_001 + (1 << 21), 0), passes(Tracked));
        assert_eq!(hear(&mut listening), [], "a reset that nobody believes");
        rig.wait(1);
        assert_eq!(rig.tcp(Ingress, (22, 40_001), RST, 1_001, 0), passes(Tracked));
        let end = one(&mut listening);
        assert_eq!((end.tcp_flags, end.flow_packets), (RST, 5));
        rig.wait(1);
        assert_eq!(rig.tcp(Ingress, (22, 40_001), RST, 1_001, 0), passes(Tracked));
        assert_eq!(hear(&mut listening), [], "it is over already");
    });
}

#[test]
fn the_programs_tell_each_listener_what_its_filter_names() {
    let rig = rig();
    let net = |text: &str| Some(text.parse().expect("a prefix"));
    let dropped_only = Filter { wants: DROPPED, ..Filter::default() };
    let filters = [
        (dropped_only, vec![(22, "198.51.100.7"), (23, "198.51.100.7"), (22, "203.0.113.9")]),
        (Filter { port: Some(23), ..dropped_only }, vec![(23, "198.51.100.7")]),
        (
            Filter { port: Some(40_000), ..dropped_only },
            vec![(22, "198.51.100.7"), (23, "198.51.100.7"), (22, "203.0.113.9")],
        ),
        (
            Filter { remote: net("198.51.100.0/24"), ..dropped_only },
            vec![(22, "198.51.100.7"), (23, "198.51.100.7")],
        ),
        (Filter { remote: net("203.0.113.9/32"), ..dropped_only }, vec![(22, "203.0.113.9")]),
        (Filter { remote: net("::/0"), ..dropped_only }, vec![]),
        (Filter { protocol: Some(17), ..dropped_only }, vec![]),
        (Filter { slot: Some(1), ..everything() }, vec![]),
    ];
    let mut listeners: Vec<_> = filters.iter().map(|(filter, _)| listen(&rig, *filter)).collect();
    for (port, far) in [(22, "198.51.100.7"), (23, "198.51.100.7"), (22, "203.0.113.9")] {
        let packet = rig.packet(Ingress, far.parse().expect("an address"), segment(port, 40_000, SYN, 1, 0));
        assert_eq!(rig.judge(Ingress, &packet), dropped(NoRule));
    }
    assert_eq!(rig.udp(Egress, (5_000, 53)), passes(New), "which nobody of them asked for");
    for ((filter, expected), listening) in filters.iter().zip(&mut listeners) {
        let heard: Vec<_> = hear(listening)
            .iter()
            .map(|event| (event.local_port, event.ends().expect("an address").1.to_string()))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(port, far)| (*port, (*far).to_owned())).collect();
        assert_eq!(heard, expected, "{filter:?}");
        assert_eq!(
            listening.missed().expect("its budget"),
            Missed::default(),
            "what it does not want is not missed"
        );
    }
}

#[test]
fn in_a_flood_a_listener_is_told_what_it_is_not_told() {
    let mut rig = rig();
    let mut listening = listen(&rig, everything());
    let frame = rig.packet(Ingress, rig.stranger, udp(9, 9)).frame();
    let flood = |rig: &Rig, packets: u32| {
        for _ in 0..packets {
            assert_eq!(rig.bench.run(rig.eni, Hook::Tc, Ingress, &frame), Some(false));
        }
    };
    // No time passes: no more than the burst from each processor.
    let processors = sg_ctl::kernel::processors().expect("their number") as u64;
    let sent = 3 * EVENTS_AT_ONCE;
    flood(&rig, sent);
    let heard = hear(&mut listening).len() as u64;
    let missed = listening.missed().expect("its budget");
    assert!((u64::from(EVENTS_AT_ONCE)..=processors * u64::from(EVENTS_AT_ONCE)).contains(&heard), "{heard}");
    assert_eq!((heard + missed.suppressed, missed.lost), (sent.into(), 0), "each is told of or counted");
    assert_eq!(listening.missed().expect("its budget"), Missed::default(), "and said once");

    // A ring that nobody reads fills; a second lets as many through as a listener may get.
    for _ in 0..6 {
        rig.wait(1);
        assert!(listening.renew().expect("the kernel answers"));
        flood(&rig, sent);
    }
    let heard = hear(&mut listening).len() as u64;
    let missed = listening.missed().expect("its budget");
    assert!(missed.lost > 0, "{missed:?}");
    assert_eq!(heard + missed.events(), 6 * u64::from(sent), "{missed:?}");
}

#[test]
fn one_who_was_killed_holds_its_place_no_longer_than_its_lease() {
    let mut rig = rig();
    let refused = |rig: &Rig| Listening::begin(rig.bench.maps(), &everything()).is_err();
    let mut listeners: Vec<_> = (0..PLACES).map(|_| listen(&rig, everything())).collect();
    assert!(refused(&rig), "all places are taken");
    drop(listeners.pop());
    listeners.push(listen(&rig, everything()));
    assert!(refused(&rig));

    // As if by SIGKILL: nobody says anything any more, and nobody gives anything back.
    let mut killed = listeners.pop().expect("one of eight");
    for survivor in &mut listeners {
        assert!(survivor.renew().expect("the kernel answers"));
    }
    rig.wait(u64::from(LEASE_SECONDS) - 1);
    assert!(refused(&rig), "its lease lasts");
    for survivor in &mut listeners {
        assert!(survivor.renew().expect("the kernel answers"));
    }
    rig.wait(1);
    assert_eq!(rig.udp(Ingress, (9, 9)), dropped(NoRule));
    assert_eq!(hear(&mut killed), [], "the programs have let go of it");
    assert_eq!(hear(&mut listeners[0]).len(), 1);
    let mut next = listen(&rig, everything());
    assert!(!killed.renew().expect("the kernel answers"), "its place is another's");
    drop(killed);
    assert_eq!(rig.udp(Ingress, (9, 9)), dropped(NoRule));
    assert_eq!(hear(&mut next).len(), 1, "and stays that one's");
}

#[test]
fn while_nobody_listens_nothing_is_told_and_the_programs_find_that_out_themselves() {
    in_all_variants(|rig| {
        let world = rig.world();
        rig.allow("ingress", "tcp", Some("80"), &world);
        let judge = |rig: &Rig| {
            assert_eq!(rig.tcp(Ingress, (80, 9), SYN, 1, 0), passes(Untracked));
            assert_eq!(rig.tcp(Egress, (80, 9), ACK, 1, 1), passes(Untracked));
            assert_eq!(rig.tcp(Ingress, (22, 9), SYN, 1, 0), dropped(NoRule));
        };
        judge(rig);
        assert_eq!(word(rig), 0);
        let mut listening = listen(rig, everything());
        assert_eq!(hear(&mut listening), [], "of what was before");
        assert_eq!(word(rig), 1);
        judge(rig);
        assert_eq!(hear(&mut listening).len(), 3);
        drop(listening);
        judge(rig);
        assert_eq!(word(rig), 0, "taken back by the first packet");
        // The same where nobody gave the place back.
        std::mem::forget(listen(rig, everything()));
        rig.wait(u64::from(LEASE_SECONDS));
        judge(rig);
        assert_eq!(word(rig), 0);
    });
}

#[test]
fn a_direction_is_the_instances_on_either_side() {
    for side in [Side::Host, Side::Guest] {
        let rig = Rig::new(Variant { v6: true, hook: Hook::Xdp, side }, Options::default());
        let mut listening = listen(&rig, everything());
        let far = |direction: Direction| rig.packet(direction, rig.remote, udp(7, 9));
        for direction in [Ingress, Egress] {
            let _ = rig.judge(direction, &far(direction));
            let event = one(&mut listening);
            assert_eq!((event.direction, event.local_port), (direction as u8, 7));
            assert_eq!(event.ends(), Some((rig.local, rig.remote)));
        }
    }
}
