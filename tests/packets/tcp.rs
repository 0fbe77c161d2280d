//! TCP: handshake, states, and what a SYN is judged by (P-4, P-5).

use sg_common::{
    Direction::{Egress, Ingress},
    reason::{Drop::*, Pass::*},
};
use sg_tests::{
    packet::tcp::{ACK, FIN, RST, SYN, SYN_ACK},
    rig::{dropped, in_all_variants, passes},
};

const PORTS: (u16, u16) = (22, 40_000);

#[test]
fn t3_default_deny_inward_and_answers_to_what_started_outward() {
    in_all_variants(|rig| {
        assert_eq!(rig.tcp(Ingress, PORTS, SYN, 1, 0), dropped(NoRule));
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 1, 1), dropped(NoConnection));
        rig.handshake(Egress, (50_000, 443));
        assert_eq!(rig.tcp(Ingress, (50_000, 443), ACK, 5_001, 1_001), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, (50_000, 444), ACK, 5_001, 1_001), dropped(NoConnection));
    });
}

#[test]
fn t5_without_outbound_rules_nothing_starts_outward_but_answers_leave() {
    in_all_variants(|rig| {
        rig.revoke_all();
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "tcp", Some("22"), &remote);
        assert_eq!(rig.tcp(Egress, (50_000, 443), SYN, 1, 0), dropped(NoRule));
        rig.handshake(Ingress, PORTS);
        assert_eq!(rig.tcp(Egress, PORTS, ACK, 5_001, 1_001), passes(Tracked));
        assert_eq!(rig.tcp(Egress, (22, 40_001), ACK, 1, 1), dropped(NoConnection));
    });
}

#[test]
fn t32_a_tracked_connection_outlives_its_rule_and_p4_its_port_is_no_way_back_in() {
    in_all_variants(|rig| {
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "tcp", Some("22"), &remote);
        rig.handshake(Ingress, PORTS);
        rig.revoke("ingress", "tcp", Some("22"), &remote);
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 1_001, 5_001), passes(Tracked));
        assert_eq!(rig.tcp(Egress, PORTS, ACK, 5_001, 1_001), passes(Tracked));
        // A revoked client may not come back by reusing its port, and its attempt leaves the entry untouched.
        assert_eq!(rig.tcp(Ingress, PORTS, SYN, 9_000, 0), dropped(NoRule));
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 1_001, 5_001), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, (22, 40_001), SYN, 1, 0), dropped(NoRule));
    });
}

#[test]
fn trap18_p4_an_admitted_syn_on_a_live_connection_passes_and_changes_nothing() {
    in_all_variants(|rig| {
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "tcp", Some("22"), &remote);
        rig.handshake(Ingress, PORTS);
        assert_eq!(rig.tcp(Ingress, PORTS, SYN, 77, 0), passes(Tracked));
        rig.wait(432_000);
        assert_eq!(
            rig.tcp(Egress, PORTS, ACK, 5_001, 1_001),
            passes(Tracked),
            "still the five days' timeout"
        );
    });
}

#[test]
fn trap17_p4_a_closing_connection_makes_way_for_a_new_one() {
    in_all_variants(|rig| {
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "tcp", Some("22"), &remote);
        rig.handshake(Ingress, PORTS);
        assert_eq!(rig.tcp(Ingress, PORTS, FIN | ACK, 1_001, 5_001), passes(Tracked));
        assert_eq!(rig.tcp(Egress, PORTS, FIN | ACK, 5_001, 1_002), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 1_002, 5_002), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, PORTS, SYN, 9_000, 0), passes(New));
        assert_eq!(rig.tcp(Egress, PORTS, SYN_ACK, 70_000, 9_001), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 9_001, 70_001), passes(Tracked));
        rig.wait(1_000);
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 9_001, 70_001), passes(Tracked), "established, not closing");
    });
}

#[test]
fn p5_half_open_lives_60_seconds_and_a_retransmitted_syn_refreshes_it() {
    in_all_variants(|rig| {
        assert_eq!(rig.tcp(Egress, PORTS, SYN, 1_000, 0), passes(New));
        rig.wait(50);
        assert_eq!(rig.tcp(Egress, PORTS, SYN, 1_000, 0), passes(Tracked));
        rig.wait(60);
        assert_eq!(rig.tcp(Ingress, PORTS, SYN_ACK, 5_000, 1_001), passes(Tracked));
        rig.wait(1);
        assert_eq!(rig.tcp(Ingress, PORTS, SYN_ACK, 5_000, 1_001), dropped(NoConnection));
    });
}

#[test]
fn trap19_p5_only_the_third_leg_makes_a_long_lived_entry() {
    in_all_variants(|rig| {
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "tcp", Some("22"), &remote);
        // A blind spoofer's SYN is answered by the kernel; without the answer's number nothing lasts.
        assert_eq!(rig.tcp(Ingress, PORTS, SYN, 1_000, 0), passes(New));
        assert_eq!(rig.tcp(Egress, PORTS, SYN_ACK, 5_000_000, 1_001), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 1_001, 1), passes(Tracked));
        rig.wait(61);
        rig.revoke("ingress", "tcp", Some("22"), &remote);
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 1_001, 5_000_001), dropped(NoConnection));
    });
}

#[test]
fn p4_p5_simultaneous_open() {
    in_all_variants(|rig| {
        assert_eq!(rig.tcp(Egress, PORTS, SYN, 1_000, 0), passes(New));
        assert_eq!(
            rig.tcp(Ingress, PORTS, SYN, 7_000, 0),
            passes(Tracked),
            "no inbound rule, yet our SYN's answer"
        );
        assert_eq!(rig.tcp(Egress, PORTS, SYN_ACK, 1_000, 7_001), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, PORTS, SYN_ACK, 7_000, 1_001), passes(Tracked));
        rig.wait(3_600);
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 7_001, 1_001), passes(Tracked));
    });
}

#[test]
fn trap16_p5_rst_shortens_to_10_seconds_and_later_data_restores() {
    in_all_variants(|rig| {
        rig.handshake(Egress, PORTS);
        rig.wait(5);
        assert_eq!(rig.tcp(Ingress, PORTS, RST, 5_001 + (3 << 20), 0), passes(Tracked), "far off: no effect");
        rig.wait(11);
        assert_eq!(rig.tcp(Ingress, PORTS, RST, 5_001, 0), passes(Tracked));
        rig.wait(10);
        assert_eq!(rig.tcp(Egress, PORTS, ACK, 1_001, 5_001), passes(Tracked), "restored");
        rig.wait(100);
        assert_eq!(rig.tcp(Ingress, PORTS, RST, 5_001, 0), passes(Tracked));
        rig.wait(11);
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 5_001, 1_001), dropped(NoConnection));
    });
}

#[test]
fn t19_established_lives_432000_seconds_and_closing_120() {
    in_all_variants(|rig| {
        rig.handshake(Egress, PORTS);
        rig.wait(432_000);
        assert_eq!(rig.tcp(Ingress, PORTS, FIN | ACK, 5_001, 1_001), passes(Tracked));
        assert_eq!(rig.tcp(Egress, PORTS, FIN | ACK, 1_001, 5_002), passes(Tracked));
        rig.wait(120);
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 5_002, 1_002), passes(Tracked));
        rig.wait(121);
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 5_002, 1_002), dropped(NoConnection));
    });
}

#[test]
fn trap15_p3_a_segment_without_an_entry_is_judged_alone_and_makes_none() {
    in_all_variants(|rig| {
        let before = rig.bench.entries();
        assert_eq!(rig.tcp(Egress, PORTS, ACK, 1, 1), passes(Stateless), "outbound is open");
        assert_eq!(rig.tcp(Egress, PORTS, SYN_ACK, 1, 1), passes(Stateless), "no SYN");
        assert_eq!(rig.tcp(Ingress, PORTS, ACK, 1, 1), dropped(NoConnection));
        assert_eq!(rig.bench.entries(), before);
    });
}

#[test]
fn p12_impossible_flags_are_malformed() {
    in_all_variants(|rig| {
        for flags in [0, SYN | FIN, SYN | RST, SYN | FIN | ACK] {
            assert_eq!(rig.tcp(Egress, PORTS, flags, 1, 1), dropped(Malformed), "{flags:#x}");
            assert_eq!(rig.tcp(Ingress, PORTS, flags, 1, 1), dropped(Malformed), "{flags:#x}");
        }
    });
}
