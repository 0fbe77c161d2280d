//! An interface that observes before it enforces (P-22): everything passes, and connections in use are adopted.

use sg_common::{
    Direction::{Egress, Ingress},
    limits::OBSERVE_SECONDS,
    reason::{
        Drop::{Malformed, NoConnection, NoRule, NonIp, SpoofedSource},
        Pass::{Observed, Tracked, Untracked},
        Verdict,
    },
};
use sg_tests::{
    packet::{
        Packet, Payload,
        tcp::{ACK, FIN, RST, SYN, SYN_ACK},
    },
    rig::{Rig, dropped, in_all_variants, passes},
};

const SSH: (u16, u16) = (22, 40_000);

/// The far end sends a hundred bytes, which the instance acknowledges.
fn talk(rig: &Rig, ports: (u16, u16)) -> [Verdict; 2] {
    [rig.tcp(Ingress, ports, ACK, 1_000, 5_000), rig.tcp(Egress, ports, ACK, 5_000, 1_100)]
}

fn begin_to_enforce(rig: &mut Rig) {
    rig.wait(OBSERVE_SECONDS.into());
}

#[test]
fn p22_while_an_interface_observes_everything_passes_and_is_counted_apart() {
    in_all_variants(|rig| {
        rig.revoke_all();
        rig.observe();
        let spoofed = Packet::new(rig.local, rig.remote, Payload::Udp { source: 1, destination: 2 });
        let strange = [[2; 12].as_slice(), &[0x88, 0x47], &[0; 60]].concat();
        let judge = |rig: &Rig| {
            let cut = Packet {
                cut: Some(4),
                ..rig.packet(Ingress, rig.remote, Payload::Udp { source: 1, destination: 2 })
            };
            [
                rig.tcp(Ingress, SSH, SYN, 1, 0),
                rig.tcp(Ingress, SSH, ACK, 1, 1),
                rig.udp(Ingress, (53, 9)),
                rig.udp(Egress, (9, 53)),
                rig.judge(Ingress, &spoofed),
                rig.judge(Ingress, &cut),
                rig.judge_frame(Ingress, &strange),
            ]
        };
        assert_eq!(judge(rig), [passes(Observed); 7]);
        rig.wait(u64::from(OBSERVE_SECONDS) - 1);
        // Another change of the policy changes nothing of that.
        rig.allow("ingress", "tcp", Some("80"), "198.51.100.7/32");
        assert_eq!(judge(rig), [passes(Observed); 7]);
        rig.wait(1);
        let expected = [NoRule, NoConnection, NoRule, NoRule, SpoofedSource, Malformed, NonIp];
        assert_eq!(judge(rig), expected.map(dropped));
    });
}

#[test]
fn p22_a_connection_that_was_seen_both_ways_goes_on() {
    in_all_variants(|rig| {
        rig.revoke_all();
        rig.observe();
        assert_eq!(talk(rig, SSH), [passes(Observed); 2]);
        // It goes on talking, and its numbers are followed.
        rig.wait(2);
        assert_eq!(rig.tcp(Ingress, SSH, ACK, 2_000_000_000, 5_000), passes(Observed));
        begin_to_enforce(rig);
        assert_eq!(rig.tcp(Egress, SSH, ACK, 5_000, 2_000_000_000), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, SSH, RST, 1_000, 0), passes(Tracked), "far from its last number");
        rig.wait(11);
        assert_eq!(rig.tcp(Ingress, SSH, ACK, 2_000_000_000, 5_000), passes(Tracked));
        assert_eq!(rig.tcp(Ingress, SSH, RST, 2_000_000_000, 0), passes(Tracked));
        rig.wait(11);
        assert_eq!(rig.tcp(Ingress, SSH, ACK, 2_000_000_000, 5_000), dropped(NoConnection));
    });
}

#[test]
fn p22_a_connection_is_adopted_with_its_end_in_sight() {
    in_all_variants(|rig| {
        rig.revoke_all();
        rig.observe();
        assert_eq!(rig.tcp(Egress, SSH, FIN | ACK, 5_000, 1_000), passes(Observed));
        assert_eq!(rig.tcp(Ingress, SSH, FIN | ACK, 1_000, 5_001), passes(Observed));
        begin_to_enforce(rig);
        assert_eq!(rig.tcp(Egress, SSH, ACK, 5_001, 1_001), passes(Tracked));
        rig.wait(121);
        assert_eq!(rig.tcp(Egress, SSH, ACK, 5_001, 1_001), dropped(NoConnection));
    });
}

#[test]
fn p22_what_only_one_side_says_is_not_adopted() {
    in_all_variants(|rig| {
        rig.revoke_all();
        rig.observe();
        let judge = |direction, ports, flags, sequence, acknowledgement| {
            assert_eq!(rig.tcp(direction, ports, flags, sequence, acknowledgement), passes(Observed));
        };
        // Segments in another's name, as many as there may be.
        for n in 0..100 {
            judge(Ingress, (22, 1), ACK, n * 1_000, n);
        }
        // Answered, but not by somebody who has seen them: a reset, and what acknowledges other bytes.
        judge(Ingress, (22, 2), ACK, 1_000, 5_000);
        judge(Egress, (22, 2), RST, 5_000, 0);
        judge(Ingress, (22, 3), ACK, 1_000, 5_000);
        judge(Egress, (22, 3), RST | ACK, 5_000, 1_000);
        judge(Ingress, (22, 4), ACK, 1_000, 5_000);
        judge(Egress, (22, 4), ACK, 9_000, 900);
        judge(Egress, (22, 4), ACK, 9_000, 1_000_000);
        // The answer to a SYN acknowledges no segment.
        judge(Ingress, (22, 5), SYN, 1_000, 0);
        judge(Egress, (22, 5), SYN_ACK, 5_000, 1_001);
        begin_to_enforce(rig);
        for port in 1..=5 {
            for direction in [Ingress, Egress] {
                assert_eq!(
                    rig.tcp(direction, (22, port), ACK, 1_000, 1_000),
                    dropped(NoConnection),
                    "{port}"
                );
            }
        }
    });
}

#[test]
fn p22_t31_what_the_rules_let_through_untracked_is_not_adopted() {
    in_all_variants(|rig| {
        let world = rig.world();
        rig.allow("ingress", "tcp", Some("22"), &world);
        rig.observe();
        assert_eq!(talk(rig, SSH), [passes(Observed); 2]);
        begin_to_enforce(rig);
        assert_eq!(talk(rig, SSH), [passes(Untracked); 2]);
        rig.revoke("ingress", "tcp", Some("22"), &world);
        assert_eq!(rig.tcp(Ingress, SSH, ACK, 1_100, 5_000), dropped(NoConnection));
    });
}

#[test]
fn p22_p2_a_guests_own_connection_is_asked_for_where_its_ports_are_open() {
    in_all_variants(|rig| {
        let world = rig.world();
        rig.allow("ingress", "tcp", Some("1024-65535"), &world);
        rig.observe();
        let own = (50_000, 443);
        assert_eq!(talk(rig, own), [passes(Observed); 2]);
        begin_to_enforce(rig);
        assert_eq!(talk(rig, own), [passes(Tracked); 2]);
        rig.revoke("ingress", "tcp", Some("1024-65535"), &world);
        assert_eq!(talk(rig, own), [passes(Tracked); 2]);
    });
}
