//! UDP and protocols without ports: timeouts and answers (P-6, P-9, T-17, T-18).

use sg_common::{
    Direction::{Egress, Ingress},
    reason::{Drop::*, Pass::*},
};
use sg_tests::{
    packet::Payload,
    rig::{dropped, in_all_variants, passes},
};

const PORTS: (u16, u16) = (50_000, 53);

#[test]
fn p6_one_way_lives_30_seconds() {
    in_all_variants(|rig| {
        assert_eq!(rig.udp(Ingress, PORTS), dropped(NoRule));
        assert_eq!(rig.udp(Egress, PORTS), passes(New));
        rig.wait(30);
        assert_eq!(rig.udp(Ingress, PORTS), passes(Tracked));
        rig.wait(31);
        assert_eq!(rig.udp(Ingress, PORTS), dropped(NoRule));
    });
}

#[test]
fn p6_one_request_and_response_live_30_seconds_a_stream_180() {
    in_all_variants(|rig| {
        assert_eq!(rig.udp(Egress, PORTS), passes(New));
        assert_eq!(rig.udp(Ingress, PORTS), passes(Tracked));
        assert_eq!(rig.udp(Egress, PORTS), passes(Tracked));
        rig.wait(31);
        assert_eq!(rig.udp(Ingress, PORTS), dropped(NoRule), "two requests, one response");
        assert_eq!(rig.udp(Egress, PORTS), passes(New));
        assert_eq!(rig.udp(Ingress, PORTS), passes(Tracked));
        assert_eq!(rig.udp(Egress, PORTS), passes(Tracked));
        assert_eq!(rig.udp(Ingress, PORTS), passes(Tracked));
        rig.wait(180);
        assert_eq!(rig.udp(Ingress, PORTS), passes(Tracked));
        rig.wait(181);
        assert_eq!(rig.udp(Ingress, PORTS), dropped(NoRule));
    });
}

#[test]
fn p9_t17_t18_another_protocol_is_tracked_by_addresses_and_number_for_600_seconds() {
    in_all_variants(|rig| {
        let gre = Payload::Raw { protocol: 47, bytes: vec![0; 16] };
        let from = |rig: &sg_tests::rig::Rig, far| rig.judge(Ingress, &rig.packet(Ingress, far, gre.clone()));
        rig.revoke_all();
        let remote = rig.host(rig.remote);
        rig.allow("egress", "47", None, &remote);
        assert_eq!(from(rig, rig.remote), dropped(NoRule));
        assert_eq!(rig.judge(Egress, &rig.packet(Egress, rig.remote, gre.clone())), passes(New));
        assert_eq!(from(rig, rig.stranger), dropped(NoRule), "only host B");
        rig.wait(599);
        assert_eq!(from(rig, rig.remote), passes(Tracked));
        rig.wait(601);
        assert_eq!(from(rig, rig.remote), dropped(NoRule));
    });
}

#[test]
fn t1_overlapping_rules_add_up_and_the_longest_prefix_does_not_hide_the_shorter() {
    in_all_variants(|rig| {
        let (wide, narrow) = if rig.variant.v6 {
            ("2001:db8::/32", "2001:db8:7::/48")
        } else {
            ("198.51.100.0/24", "198.51.100.0/29")
        };
        rig.allow("ingress", "udp", Some("1000-1999"), wide);
        rig.allow("ingress", "udp", Some("3000"), narrow);
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "udp", Some("4000"), &remote);
        for (port, expected) in [
            (999, dropped(NoRule)),
            (1000, passes(New)),
            (1999, passes(New)),
            (2000, dropped(NoRule)),
            (3000, passes(New)),
            (4000, passes(New)),
        ] {
            assert_eq!(rig.udp(Ingress, (port, 7)), expected, "port {port}");
        }
        let stranger = rig.packet(Ingress, rig.stranger, Payload::Udp { source: 4000, destination: 7 });
        assert_eq!(rig.judge(Ingress, &stranger), dropped(NoRule));
    });
}

#[test]
fn t15_a_flow_is_its_protocol_addresses_and_ports() {
    in_all_variants(|rig| {
        let (local, remote) = PORTS;
        assert_eq!(rig.udp(Egress, PORTS), passes(New));
        for ports in [(local, remote + 1), (local + 1, remote), (remote, local)] {
            assert_eq!(rig.udp(Ingress, ports), dropped(NoRule), "{ports:?}");
        }
        let answer = Payload::Udp { source: local, destination: remote };
        let stranger = rig.packet(Ingress, rig.stranger, answer);
        assert_eq!(rig.judge(Ingress, &stranger), dropped(NoRule), "another address");
        assert_eq!(rig.tcp(Ingress, PORTS, 16, 1, 1), dropped(NoConnection), "another protocol");
        assert_eq!(rig.udp(Ingress, PORTS), passes(Tracked));
    });
}
