//! The three budgets of the flow table (P-16): who displaces whom, and what happens when nobody may be displaced.

use sg_common::{
    Direction::{Egress, Ingress},
    limits::{MAX_ANSWERED_V4, MAX_ESTABLISHED_V4, MAX_PENDING_V4},
    reason::{Drop::*, Pass::*, Verdict},
};
use sg_ctl::model::{Options, Side};
use sg_tests::{
    bench::Hook,
    packet::{
        Packet, Payload,
        tcp::{ACK, RST, SYN, SYN_ACK},
    },
    rig::{Rig, Variant, dropped, passes},
};
use std::net::{IpAddr, Ipv4Addr};

fn rig() -> Rig {
    Rig::new(Variant { v6: false, hook: Hook::Tc, side: Side::Host }, Options::default())
}

/// The `n`th of many far ends.
fn far(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x6440_0000 + n))
}

fn tcp(rig: &Rig, direction: sg_common::Direction, far: IpAddr, flags: u8, numbers: (u32, u32)) -> Vec<u8> {
    let (sequence, acknowledgement) = numbers;
    let payload = Payload::Tcp { source: 22, destination: 40_000, flags, sequence, acknowledgement };
    rig.packet(direction, far, payload).frame()
}

/// A handshake of the far end with port 22; says what became of its third leg, or of its SYN if that was refused.
fn connect(rig: &Rig, far: IpAddr) -> bool {
    let run = |direction, flags, numbers| {
        rig.bench.run(rig.eni, Hook::Tc, direction, &tcp(rig, direction, far, flags, numbers)) == Some(true)
    };
    run(Ingress, SYN, (1, 0)) && run(Egress, SYN_ACK, (5, 2)) && run(Ingress, ACK, (2, 6))
}

#[test]
fn p16_t26_when_the_table_is_full_of_live_flows_new_ones_are_refused_and_live_ones_go_on() {
    let mut rig = rig();
    rig.allow("ingress", "tcp", Some("22"), "100.64.0.0/10");
    for n in 0..MAX_ESTABLISHED_V4 {
        assert!(connect(&rig, far(n)), "flow {n}");
    }
    let judge = |rig: &Rig, far, flags, numbers| -> Verdict {
        rig.judge_frame(Ingress, &tcp(rig, Ingress, far, flags, numbers))
    };
    let late = far(MAX_ESTABLISHED_V4);
    assert!(!connect(&rig, late), "its third leg finds no place");
    assert_eq!(
        judge(&rig, far(MAX_ESTABLISHED_V4 + 1), SYN, (1, 0)),
        dropped(ConntrackFull),
        "nor the next SYN"
    );
    for n in [0, 1, MAX_ESTABLISHED_V4 / 2, MAX_ESTABLISHED_V4 - 1] {
        assert_eq!(judge(&rig, far(n), ACK, (2, 6)), passes(Tracked), "flow {n}");
    }
    // Nobody sweeps: once the flows are over, their places are found all the same.
    rig.wait(432_001);
    for n in 0..1_000 {
        assert!(connect(&rig, far(MAX_ESTABLISHED_V4 + 10 + n)), "new flow {n}");
    }
}

#[test]
fn p16_trap21_trap22_a_flood_displaces_only_its_like() {
    let mut rig = rig();
    rig.allow("ingress", "tcp", Some("22"), "100.64.0.0/10");
    rig.allow("ingress", "udp", Some("5000"), "100.64.0.0/10");
    assert!(connect(&rig, far(1)));
    let udp = |rig: &Rig, direction, far| -> Packet {
        rig.packet(direction, far, Payload::Udp { source: 5000, destination: 9 })
    };
    assert_eq!(rig.judge(Ingress, &udp(&rig, Ingress, far(1))), passes(New));
    assert_eq!(rig.judge(Egress, &udp(&rig, Egress, far(1))), passes(Tracked));
    // SYNs that the host answers, and UDP that it does not: twice what the table of pending flows holds.
    for n in 10..10 + 2 * MAX_PENDING_V4 {
        for (direction, flags, numbers) in [(Ingress, SYN, (1, 0)), (Egress, SYN_ACK, (5, 2))] {
            let frame = tcp(&rig, direction, far(n), flags, numbers);
            assert_eq!(rig.bench.run(rig.eni, Hook::Tc, direction, &frame), Some(true));
        }
        let frame = udp(&rig, Ingress, far(n)).frame();
        assert_eq!(rig.bench.run(rig.eni, Hook::Tc, Ingress, &frame), Some(true));
    }
    assert_eq!(rig.judge_frame(Ingress, &tcp(&rig, Ingress, far(1), ACK, (2, 6))), passes(Tracked));
    assert_eq!(rig.judge(Ingress, &udp(&rig, Ingress, far(1))), passes(Tracked));
    // A spoofer whose datagrams are answered: more than the table of answered flows holds.
    for n in 200_000..200_000 + MAX_ANSWERED_V4 + 10_000 {
        for direction in [Ingress, Egress] {
            let frame = udp(&rig, direction, far(n)).frame();
            assert_eq!(rig.bench.run(rig.eni, Hook::Tc, direction, &frame), Some(true));
        }
    }
    assert_eq!(rig.judge_frame(Ingress, &tcp(&rig, Ingress, far(1), ACK, (2, 6))), passes(Tracked));
    assert!(connect(&rig, far(2)), "and new connections are taken");
}

#[test]
fn p16_one_client_that_reconnects_all_the_time_does_not_fill_the_table() {
    let mut rig = rig();
    rig.allow("ingress", "tcp", Some("22"), "100.64.0.0/10");
    // More handshakes of one tuple than the table has places; each ends by an RST, so that the next begins anew.
    for n in 0..MAX_ESTABLISHED_V4 + 100 {
        assert!(connect(&rig, far(1)), "handshake {n}");
        let reset = tcp(&rig, Ingress, far(1), RST, (2, 0));
        assert_eq!(rig.bench.run(rig.eni, Hook::Tc, Ingress, &reset), Some(true));
    }
    assert_eq!(rig.bench.entries(), 1);
    for n in 0..1_000 {
        assert!(connect(&rig, far(2 + n)), "another client {n}");
    }
}
