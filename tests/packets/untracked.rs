//! Flows that are open to the world both ways (P-2), and what becomes of them when their rule goes (P-3).

use sg_common::{
    Direction::{Egress, Ingress},
    reason::{Drop::*, Pass::*},
};
use sg_tests::{
    packet::tcp::{ACK, SYN, SYN_ACK},
    rig::{dropped, in_all_variants, passes},
};

const WEB: (u16, u16) = (80, 40_000);
const DNS: (u16, u16) = (53, 40_000);

#[test]
fn t8_t27_open_both_ways_is_untracked_and_makes_no_entry() {
    in_all_variants(|rig| {
        let world = rig.world();
        rig.allow("ingress", "tcp", Some("80"), &world);
        for (direction, flags) in [(Ingress, SYN), (Egress, SYN_ACK), (Ingress, ACK), (Egress, ACK)] {
            assert_eq!(rig.tcp(direction, WEB, flags, 1, 1), passes(Untracked));
        }
        assert_eq!(rig.bench.entries(), 0);
        assert_eq!(rig.tcp(Ingress, (81, 40_000), SYN, 1, 1), dropped(NoRule));
    });
}

#[test]
fn t31_an_untracked_connection_is_cut_at_once_and_its_server_cannot_revive_it() {
    in_all_variants(|rig| {
        let world = rig.world();
        rig.allow("ingress", "tcp", Some("80"), &world);
        assert_eq!(rig.tcp(Ingress, WEB, SYN, 1, 0), passes(Untracked));
        rig.revoke("ingress", "tcp", Some("80"), &world);
        for _ in 0..3 {
            assert_eq!(rig.tcp(Ingress, WEB, ACK, 2, 2), dropped(NoConnection));
            assert_eq!(rig.tcp(Egress, WEB, ACK, 2, 2), passes(Stateless), "may leave, opens nothing");
            rig.wait(100);
        }
        assert_eq!(rig.bench.entries(), 0);
    });
}

#[test]
fn p3_removing_the_outbound_rule_cuts_an_untracked_inbound_connection_too() {
    in_all_variants(|rig| {
        let world = rig.world();
        rig.allow("ingress", "tcp", Some("80"), &world);
        assert_eq!(rig.tcp(Ingress, WEB, SYN, 1, 0), passes(Untracked));
        rig.revoke("egress", "all", None, &world);
        assert_eq!(rig.tcp(Ingress, WEB, ACK, 2, 2), passes(Stateless), "its own rule still admits it");
        assert_eq!(rig.tcp(Egress, WEB, ACK, 2, 2), dropped(NoConnection));
        // New connections are tracked from now on (T-11, fifth line).
        rig.handshake(Ingress, (80, 40_001));
        assert_eq!(rig.tcp(Egress, (80, 40_001), ACK, 5_001, 1_001), passes(Tracked));
    });
}

#[test]
fn p2_the_hosts_own_connections_are_tracked_and_outlive_an_open_range_of_ports() {
    in_all_variants(|rig| {
        let world = rig.world();
        for protocol in ["tcp", "udp"] {
            rig.allow("ingress", protocol, Some("1024-65535"), &world);
        }
        rig.handshake(Egress, (50_000, 443));
        assert_eq!(rig.udp(Egress, (50_000, 53)), passes(New));
        assert_eq!(rig.udp(Ingress, (50_000, 53)), passes(Tracked));
        // Strangers to the same port are untracked all the while.
        assert_eq!(rig.tcp(Ingress, (50_000, 999), SYN, 1, 0), passes(Untracked));
        assert_eq!(rig.udp(Ingress, (50_000, 999)), passes(Untracked));
        for protocol in ["tcp", "udp"] {
            rig.revoke("ingress", protocol, Some("1024-65535"), &world);
        }
        assert_eq!(rig.tcp(Ingress, (50_000, 443), ACK, 5_001, 1_001), passes(Tracked));
        assert_eq!(rig.udp(Ingress, (50_000, 53)), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, (50_000, 999), ACK, 1, 1), dropped(NoConnection));
        assert_eq!(rig.udp(Ingress, (50_000, 999)), dropped(NoRule));
    });
}

#[test]
fn p2_mirrored_an_outward_start_is_untracked_where_everything_may_come_in() {
    in_all_variants(|rig| {
        let world = rig.world();
        rig.revoke("egress", "all", None, &world);
        rig.allow("ingress", "all", None, &world);
        rig.allow("egress", "tcp", Some("443"), &world);
        for (direction, flags) in [(Egress, SYN), (Ingress, SYN_ACK), (Egress, ACK)] {
            assert_eq!(rig.tcp(direction, (50_000, 443), flags, 1, 1), passes(Untracked));
        }
        // An inward start from port 443 is not covered, is tracked, and is found before the open port.
        rig.handshake(Ingress, (22, 443));
        assert_eq!(rig.tcp(Egress, (22, 443), ACK, 5_001, 1_001), passes(Tracked));
        rig.revoke("egress", "tcp", Some("443"), &world);
        assert_eq!(rig.tcp(Egress, (50_000, 443), ACK, 1, 1), dropped(NoConnection));
        assert_eq!(rig.tcp(Egress, (22, 443), ACK, 5_001, 1_001), passes(Tracked));
    });
}

#[test]
fn p3_untracked_udp_that_lost_its_rule_is_not_revived_by_its_answers_until_silent() {
    in_all_variants(|rig| {
        let world = rig.world();
        rig.allow("ingress", "udp", Some("53"), &world);
        assert_eq!(rig.udp(Ingress, DNS), passes(Untracked));
        assert_eq!(rig.udp(Egress, DNS), passes(Untracked));
        rig.revoke("ingress", "udp", Some("53"), &world);
        for _ in 0..20 {
            assert_eq!(rig.udp(Ingress, DNS), dropped(NoRule));
            assert_eq!(rig.udp(Egress, DNS), passes(Stateless));
            rig.wait(100);
        }
        assert_eq!(rig.bench.entries(), 0);
        // Long silent, it is a flow like any other.
        rig.wait(400);
        assert_eq!(rig.udp(Egress, DNS), passes(New));
        assert_eq!(rig.udp(Ingress, DNS), passes(Tracked));
    });
}

#[test]
fn p3_after_closing_all_ports_the_hosts_own_query_is_answered_at_once() {
    in_all_variants(|rig| {
        let world = rig.world();
        rig.allow("ingress", "udp", Some("0-65535"), &world);
        assert_eq!(rig.udp(Ingress, DNS), passes(Untracked));
        rig.revoke("ingress", "udp", Some("0-65535"), &world);
        assert_eq!(rig.udp(Egress, (50_001, 53)), passes(New));
        assert_eq!(rig.udp(Ingress, (50_001, 53)), passes(Tracked));
    });
}

#[test]
fn t33_untracked_udp_that_becomes_tracked_goes_on_by_its_next_packet() {
    in_all_variants(|rig| {
        let world = rig.world();
        rig.allow("ingress", "udp", Some("53"), &world);
        assert_eq!(rig.udp(Ingress, DNS), passes(Untracked));
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "udp", Some("53"), &remote);
        rig.revoke("ingress", "udp", Some("53"), &world);
        assert_eq!(rig.udp(Ingress, DNS), passes(New));
        assert_eq!(rig.udp(Egress, DNS), passes(Tracked));
    });
}

#[test]
fn p3a_t34_a_tracked_flow_that_became_untracked_has_no_claim_on_its_entry() {
    in_all_variants(|rig| {
        let (world, remote) = (rig.world(), rig.host(rig.remote));
        rig.allow("ingress", "tcp", Some("22"), &remote);
        rig.allow("ingress", "udp", Some("22"), &remote);
        rig.handshake(Ingress, (22, 40_000));
        assert_eq!(rig.udp(Ingress, (22, 40_000)), passes(New));
        assert_eq!(rig.udp(Egress, (22, 40_000)), passes(Tracked));
        // Containment: open to the world both ways, then nothing at all.
        rig.allow("ingress", "all", None, &world);
        rig.revoke_all();
        assert_eq!(rig.tcp(Ingress, (22, 40_000), ACK, 1_001, 5_001), dropped(NoConnection));
        assert_eq!(rig.tcp(Egress, (22, 40_000), ACK, 5_001, 1_001), dropped(NoConnection));
        assert_eq!(rig.udp(Ingress, (22, 40_000)), dropped(NoRule));
        assert_eq!(rig.udp(Egress, (22, 40_000)), dropped(NoRule));
    });
}

#[test]
fn t34_replacing_the_rules_leaves_tracked_connections_alone() {
    in_all_variants(|rig| {
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "tcp", Some("22"), &remote);
        rig.handshake(Ingress, (22, 40_000));
        rig.revoke_all();
        assert_eq!(rig.tcp(Ingress, (22, 40_000), ACK, 1_001, 5_001), passes(Tracked));
        assert_eq!(rig.tcp(Egress, (22, 40_000), ACK, 5_001, 1_001), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, (22, 40_001), SYN, 1, 0), dropped(NoRule));
    });
}
