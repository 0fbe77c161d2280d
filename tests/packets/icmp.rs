//! ICMP and ICMPv6: queries by identifier, errors by what they quote (P-7, P-8).

use sg_common::{
    Direction::{Egress, Ingress},
    reason::{Drop::*, Pass::*},
};
use sg_ctl::model::Options;
use sg_tests::{
    packet::{Payload, tcp::SYN},
    rig::{Rig, dropped, in_all_variants, in_all_variants_with, passes},
};

fn echo(rig: &Rig) -> (u8, u8) {
    if rig.variant.v6 { (128, 129) } else { (8, 0) }
}

/// An error of this kind that quotes `quoted`.
fn error(kind: u8, code: u8, mut quoted: Vec<u8>) -> Payload {
    quoted.truncate(64);
    Payload::Icmp { kind, code, id: 0, body: quoted }
}

#[test]
fn trap13_p7_a_ping_is_answered_by_its_own_reply_only() {
    in_all_variants(|rig| {
        let (request, reply) = echo(rig);
        assert_eq!(rig.message(Egress, request, 0, 7), passes(New));
        assert_eq!(rig.message(Ingress, reply, 0, 8), dropped(NoRule), "another identifier");
        assert_eq!(rig.message(Ingress, request, 0, 7), dropped(NoRule), "a request is no answer");
        assert_eq!(rig.message(Ingress, reply, 0, 7), passes(Tracked));
        rig.wait(31);
        assert_eq!(rig.message(Ingress, reply, 0, 7), dropped(NoRule));
    });
}

#[test]
fn t37_a_running_ping_outlives_its_rule() {
    in_all_variants(|rig| {
        let ((request, reply), world, icmp) = (echo(rig), rig.world(), rig.icmp());
        rig.revoke_all();
        rig.allow("ingress", icmp, None, &world);
        assert_eq!(rig.message(Ingress, request, 0, 7), passes(New), "always tracked, open or not");
        assert_eq!(rig.message(Egress, reply, 0, 7), passes(Tracked), "T-16: no outbound rule");
        rig.revoke("ingress", icmp, None, &world);
        for _ in 0..5 {
            rig.wait(20);
            assert_eq!(rig.message(Ingress, request, 0, 7), passes(Tracked));
            assert_eq!(rig.message(Egress, reply, 0, 7), passes(Tracked));
        }
        assert_eq!(rig.message(Ingress, request, 0, 8), dropped(NoRule));
        rig.wait(31);
        assert_eq!(rig.message(Ingress, request, 0, 7), dropped(NoRule));
    });
}

#[test]
fn trap10_trap11_p8_an_error_passes_for_the_flow_it_quotes_and_no_other() {
    in_all_variants(|rig| {
        let (kind, code) = if rig.variant.v6 { (2, 0) } else { (3, 4) };
        rig.handshake(Egress, (50_000, 443));
        let tcp = |local, remote| Payload::Tcp {
            source: local,
            destination: remote,
            flags: 16,
            sequence: 1,
            acknowledgement: 1,
        };
        let quoting = |rig: &Rig, ports: (u16, u16), router| {
            let sent = rig.packet(Egress, rig.remote, tcp(ports.0, ports.1));
            rig.judge(Ingress, &rig.packet(Ingress, router, error(kind, code, sent.network())))
        };
        assert_eq!(quoting(rig, (50_000, 443), rig.stranger), passes(Related), "from a router on the way");
        assert_eq!(quoting(rig, (50_001, 443), rig.stranger), dropped(NoRule));
        assert_eq!(quoting(rig, (50_000, 443), rig.remote), passes(Related));
        // The quote must be of a packet that went the other way.
        let received = rig.packet(Ingress, rig.remote, tcp(443, 50_000));
        let wrong = rig.packet(Ingress, rig.stranger, error(kind, code, received.network()));
        assert_eq!(rig.judge(Ingress, &wrong), dropped(NoRule));
        // Too short for the ports.
        let sent = rig.packet(Egress, rig.remote, tcp(50_000, 443)).network();
        let header = if rig.variant.v6 { 40 } else { 20 };
        let short = rig.packet(Ingress, rig.stranger, error(kind, code, sent[..header + 3].to_vec()));
        assert_eq!(rig.judge(Ingress, &short), dropped(NoRule));
        // Errors refresh nothing.
        rig.wait(432_001);
        assert_eq!(quoting(rig, (50_000, 443), rig.stranger), dropped(NoRule));
    });
}

#[test]
fn t39_p8_an_error_about_an_untracked_flow_passes_while_the_flow_is_open() {
    in_all_variants(|rig| {
        let world = rig.world();
        let kind = if rig.variant.v6 { 1 } else { 3 };
        rig.allow("ingress", "udp", Some("53"), &world);
        let answer = rig.packet(Egress, rig.remote, Payload::Udp { source: 53, destination: 9 });
        let unreachable = rig.packet(Ingress, rig.stranger, error(kind, 1, answer.network()));
        assert_eq!(rig.judge(Ingress, &unreachable), passes(Related));
        rig.revoke("ingress", "udp", Some("53"), &world);
        assert_eq!(rig.judge(Ingress, &unreachable), dropped(NoRule));
    });
}

#[test]
fn t38_require_icmp_rules_turns_relatedness_off() {
    in_all_variants_with(Options { require_icmp_rules: true, ..Options::default() }, |rig| {
        let (kind, code) = if rig.variant.v6 { (2, 0) } else { (3, 4) };
        assert_eq!(rig.tcp(Egress, (50_000, 443), SYN, 1, 0), passes(New));
        let sent = rig.packet(
            Egress,
            rig.remote,
            Payload::Tcp { source: 50_000, destination: 443, flags: SYN, sequence: 1, acknowledgement: 0 },
        );
        let too_big = rig.packet(Ingress, rig.stranger, error(kind, code, sent.network()));
        assert_eq!(rig.judge(Ingress, &too_big), dropped(NoRule));
        let (icmp, world) = (rig.icmp(), rig.world());
        rig.allow("ingress", icmp, None, &world);
        assert_eq!(rig.judge(Ingress, &too_big), passes(Stateless));
    });
}

#[test]
fn p8_redirects_are_never_related() {
    in_all_variants(|rig| {
        rig.handshake(Egress, (50_000, 443));
        let sent = rig.packet(
            Egress,
            rig.remote,
            Payload::Tcp { source: 50_000, destination: 443, flags: 16, sequence: 1, acknowledgement: 1 },
        );
        let kind = if rig.variant.v6 { 137 } else { 5 };
        let redirect = rig.packet(Ingress, rig.stranger, error(kind, 1, sent.network()));
        assert_eq!(rig.judge(Ingress, &redirect), dropped(NoRule));
    });
}

#[test]
fn trap12_types_and_codes_are_told_apart() {
    in_all_variants(|rig| {
        let world = rig.world();
        let (kind, number) = if rig.variant.v6 { (1, "icmpv6") } else { (3, "icmp") };
        let content = |icmp_type: &str, code: Option<&str>| sg_ctl::ops::rule::Content {
            direction: sg_ctl::model::Direction::Ingress,
            protocol: number.to_owned(),
            port: None,
            icmp_type: Some(icmp_type.to_owned()),
            icmp_code: code.map(str::to_owned),
            cidrs: vec![world.clone()],
            prefix_lists: Vec::new(),
            source_groups: Vec::new(),
            description: None,
        };
        sg_ctl::ops::rule::add(&mut rig.bench.state, "web", &content(&kind.to_string(), Some("4"))).unwrap();
        rig.bench.install();
        assert_eq!(rig.message(Ingress, kind, 4, 0), passes(Stateless));
        assert_eq!(rig.message(Ingress, kind, 3, 0), dropped(NoRule));
        sg_ctl::ops::rule::add(&mut rig.bench.state, "web", &content(&kind.to_string(), None)).unwrap();
        rig.bench.install();
        assert_eq!(rig.message(Ingress, kind, 3, 0), passes(Stateless));
        assert_eq!(rig.message(Ingress, kind + 1, 0, 0), dropped(NoRule));
    });
}
