//! Entries that adoption makes (P-22): like those of a handshake, but for the sequence numbers, which nobody knows yet.

use sg_common::{
    Direction::{self, Egress, Ingress},
    adopt::Answer,
    flow::flag,
    limits::MAX_ESTABLISHED_V4,
    reason::{Drop::*, Pass::*},
};
use sg_ctl::{
    adopt::Adopter,
    compile::compile,
    device::{Device, Layer},
    kernel::{adopt::Program, object::Constants},
    model::{Options, Side},
    sockets::Connection,
};
use sg_tests::{
    bench::{HZ, Hook},
    packet::tcp::{ACK, RST},
    rig::{Rig, Variant, dropped, in_all_variants, passes},
};
use socket2::{Domain, Socket, Type};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

fn program(rig: &Rig) -> Program {
    let constants = Constants { hz: HZ, test_clock: true, ..Constants::default() };
    Program::load(rig.bench.maps(), &constants).expect("the program is accepted")
}

fn connection(rig: &Rig, (local, remote): (u16, u16)) -> Connection {
    Connection { local: SocketAddr::new(rig.local, local), remote: SocketAddr::new(rig.remote, remote) }
}

fn adopt(rig: &Rig, program: &Program, ports: (u16, u16), started: Direction, fins: u8) -> Answer {
    program.take_up(0, &connection(rig, ports), started, fins).expect("an answer")
}

#[test]
fn p22_an_adopted_connection_is_tracked_both_ways_without_a_rule() {
    in_all_variants(|rig| {
        rig.revoke_all();
        let program = program(rig);
        assert_eq!(rig.tcp(Ingress, (22, 40_000), ACK, 1_000, 5_000), dropped(NoConnection));
        assert_eq!(adopt(rig, &program, (22, 40_000), Ingress, 0), Answer::Made);
        assert_eq!(adopt(rig, &program, (22, 40_000), Ingress, 0), Answer::Present);
        assert_eq!(rig.tcp(Egress, (22, 40_000), ACK, 5_000, 1_000), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, (22, 40_000), ACK, 1_000, 5_000), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, (22, 40_001), ACK, 1_000, 5_000), dropped(NoConnection));
        // It lives as long as any established connection.
        rig.wait(432_000);
        assert_eq!(rig.tcp(Ingress, (22, 40_000), ACK, 1_000, 5_000), passes(Tracked));
        rig.wait(432_001);
        assert_eq!(rig.tcp(Ingress, (22, 40_000), ACK, 1_000, 5_000), dropped(NoConnection));
    });
}

#[test]
fn p22_p5_a_reset_counts_once_its_side_was_heard() {
    in_all_variants(|rig| {
        rig.revoke_all();
        let program = program(rig);
        let ports = (22, 40_000);
        assert_eq!(adopt(rig, &program, ports, Ingress, 0), Answer::Made);
        // Whatever number a blind spoofer guesses, none is known that it could be near to.
        for sequence in [0, 1, 1 << 20, 1 << 31, u32::MAX] {
            assert_eq!(rig.tcp(Ingress, ports, RST, sequence, 0), passes(Tracked));
            rig.wait(11);
            assert_eq!(rig.tcp(Egress, ports, ACK, 7_000, 9_000), passes(Tracked), "after {sequence}");
        }
        // That the other side was heard says nothing of this one's numbers.
        rig.wait(5);
        assert_eq!(rig.tcp(Ingress, ports, ACK, 3_000_000_000, 7_000), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, ports, RST, 1_000_000_000, 0), passes(Tracked));
        rig.wait(11);
        assert_eq!(rig.tcp(Egress, ports, ACK, 7_000, 9_000), passes(Tracked), "far from what was heard");
        assert_eq!(rig.tcp(Ingress, ports, RST, 3_000_000_100, 0), passes(Tracked));
        rig.wait(11);
        assert_eq!(rig.tcp(Ingress, ports, ACK, 3_000_000_100, 7_000), dropped(NoConnection));
    });
}

#[test]
fn p22_a_connection_whose_sides_have_both_ended_is_adopted_as_closing() {
    in_all_variants(|rig| {
        rig.revoke_all();
        let program = program(rig);
        for (ports, fins, lives) in [
            ((22, 1), flag::FIN_BOTH, false),
            ((22, 2), flag::FIN_INGRESS, true),
            ((22, 3), flag::FIN_EGRESS, true),
        ] {
            assert_eq!(adopt(rig, &program, ports, Ingress, fins), Answer::Made);
            rig.wait(120);
            assert_eq!(rig.tcp(Ingress, ports, RST | ACK, 1, 1), passes(Tracked));
            rig.wait(1);
            let expected = if lives { passes(Tracked) } else { dropped(NoConnection) };
            assert_eq!(rig.tcp(Ingress, ports, ACK, 1, 1), expected, "{fins}");
        }
    });
}

#[test]
fn p22_p2_an_adopted_connection_is_asked_for_where_its_ports_are_open() {
    in_all_variants(|rig| {
        let (world, program) = (rig.world(), program(rig));
        rig.allow("ingress", "tcp", Some("1024-65535"), &world);
        // The host's own, from an ephemeral port: what is open is open to those who come in.
        let ports = (50_000, 443);
        assert_eq!(rig.tcp(Ingress, ports, ACK, 1, 1), passes(Untracked));
        assert_eq!(adopt(rig, &program, ports, Egress, 0), Answer::Made);
        assert_eq!(rig.tcp(Ingress, ports, ACK, 1, 1), passes(Tracked));
        rig.revoke("ingress", "tcp", Some("1024-65535"), &world);
        assert_eq!(rig.tcp(Ingress, ports, ACK, 1, 1), passes(Tracked));
    });
}

#[test]
fn p22_p16_adoption_displaces_nobody_and_its_places_are_found_again() {
    let mut rig = Rig::new(Variant { v6: false, hook: Hook::Tc, side: Side::Host }, Options::default());
    rig.allow("ingress", "tcp", Some("22"), "198.51.100.0/24");
    rig.handshake(Ingress, (22, 9));
    let program = program(&rig);
    let far = |n: u32| Connection {
        local: SocketAddr::new(rig.local, 22),
        remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x6440_0000 + n)), 40_000),
    };
    let take_up = |n| program.take_up(0, &far(n), Ingress, 0).expect("an answer");
    for n in 1..MAX_ESTABLISHED_V4 {
        assert_eq!(take_up(n), Answer::Made, "connection {n}");
    }
    assert_eq!(take_up(MAX_ESTABLISHED_V4), Answer::Full);
    assert_eq!(take_up(1), Answer::Present);
    assert_eq!(rig.tcp(Ingress, (22, 9), ACK, 1_001, 5_001), passes(Tracked));
    let mut rig = rig;
    rig.wait(432_001);
    for port in 1_000..2_000 {
        rig.handshake(Ingress, (22, port));
    }
}

#[test]
fn p22_what_opens_or_ends_while_the_programs_go_live_is_followed() {
    let rig = Rig::new(Variant { v6: false, hook: Hook::Tc, side: Side::Host }, Options::default());
    // Sockets of this machine's own; no program is on any device.
    let [ours, theirs] = [1, 2].map(|last| IpAddr::from([127, 82, 0, last]));
    let device = Device {
        ifindex: 0,
        mac: [0; 6],
        layer: Layer::Ethernet,
        kind: None,
        xdp_program: None,
        addresses: BTreeSet::new(),
        all_addresses: [ours].into(),
    };
    let policy = compile(&rig.bench.state).policies.remove(&0).expect("the interface has a policy");
    let constants = Constants { hz: HZ, test_clock: true, ..Constants::default() };
    let mut adopter =
        Adopter::new(rig.bench.maps(), &constants, &policy, &device).expect("the program is accepted");

    let server = TcpListener::bind((ours, 0)).expect("a listener");
    let to = server.local_addr().expect("an address");
    let connect = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(theirs, 0).into()).expect("an address of its own");
        socket.connect(&to.into()).expect("a connection");
        (socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address").port(), socket)
    };
    let (first, second) = (connect(), connect());
    adopter.follow().expect("the sockets can be read");
    assert_eq!(rig.bench.entries(), 2);
    let third = connect();
    // Reset and gone, on both ends.
    first.1.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    drop(first);
    drop(server.accept().expect("the first"));
    adopter.follow().expect("the sockets can be read");
    let (adopted, unfit) = adopter.finish();
    let ports: BTreeSet<_> = adopted.iter().map(|one| one.remote_port).collect();
    assert_eq!(ports, [second.0, third.0].into());
    assert_eq!((rig.bench.entries(), unfit), (2, 0));
}
