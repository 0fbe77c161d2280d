//! Idle timeouts as each interface has them (T-19, T-20): in force at once, for flows that are open as well.

use sg_common::{
    Direction::{Egress, Ingress},
    reason::{Drop::*, Pass::*},
};
use sg_ctl::model::TimeoutSettings;
use sg_tests::{
    packet::tcp::{ACK, SYN},
    rig::{Rig, dropped, in_all_variants, passes},
};

const SSH: (u16, u16) = (22, 40_000);

fn set(rig: &mut Rig, timeouts: TimeoutSettings) {
    let interface = rig.bench.state.interfaces.get_mut(&rig.eni).expect("the rig's interface");
    interface.attachment.as_mut().expect("it is attached").timeouts = timeouts;
    rig.bench.install();
}

/// An inward connection whose rule is gone: what passes, passes by its entry.
fn connection(rig: &mut Rig) {
    let remote = rig.host(rig.remote);
    rig.allow("ingress", "tcp", Some("22"), &remote);
    rig.handshake(Ingress, SSH);
    rig.revoke("ingress", "tcp", Some("22"), &remote);
}

#[test]
fn t19_t20_an_established_connection_idles_as_long_as_its_interface_says() {
    in_all_variants(|rig| {
        set(rig, TimeoutSettings { tcp_established: Some(60), ..TimeoutSettings::default() });
        connection(rig);
        rig.wait(60);
        assert_eq!(rig.tcp(Ingress, SSH, ACK, 1_001, 5_001), passes(Tracked), "60 s are not more than 60 s");
        rig.wait(61);
        assert_eq!(rig.tcp(Ingress, SSH, ACK, 1_001, 5_001), dropped(NoConnection));
        set(rig, TimeoutSettings::default());
    });
}

#[test]
fn t19_a_changed_timeout_is_in_force_at_once_for_live_flows() {
    in_all_variants(|rig| {
        connection(rig);
        rig.wait(61);
        let short = TimeoutSettings { tcp_established: Some(60), ..TimeoutSettings::default() };
        set(rig, short);
        assert_eq!(rig.tcp(Ingress, SSH, ACK, 1_001, 5_001), dropped(NoConnection), "idle for 61 s already");
        // And the other way round: what is over by the old time and not by the new one lives.
        connection(rig);
        rig.wait(59);
        set(rig, TimeoutSettings { tcp_established: Some(120), ..short });
        rig.wait(61);
        assert_eq!(rig.tcp(Ingress, SSH, ACK, 1_001, 5_001), passes(Tracked));
        set(rig, TimeoutSettings::default());
    });
}

#[test]
fn t21_a_connection_that_ends_unseen_stays_for_the_whole_time() {
    in_all_variants(|rig| {
        set(rig, TimeoutSettings { tcp_established: Some(350), ..TimeoutSettings::default() });
        connection(rig);
        // Keepalives at less than the timeout keep it for good.
        for _ in 0..5 {
            rig.wait(300);
            assert_eq!(rig.tcp(Egress, SSH, ACK, 5_000, 1_001), passes(Tracked));
        }
        rig.wait(350);
        assert_eq!(rig.tcp(Ingress, SSH, ACK, 1_001, 5_001), passes(Tracked));
        rig.wait(351);
        assert_eq!(rig.tcp(Ingress, SSH, ACK, 1_001, 5_001), dropped(NoConnection));
        set(rig, TimeoutSettings::default());
    });
}

#[test]
fn t19_t20_both_udp_timeouts_and_no_other_protocols() {
    in_all_variants(|rig| {
        set(rig, TimeoutSettings { udp: Some(60), udp_stream: Some(70), ..TimeoutSettings::default() });
        let (dns, stream) = ((50_000, 53), (50_001, 5_000));
        assert_eq!(rig.udp(Egress, dns), passes(New));
        rig.wait(60);
        assert_eq!(rig.udp(Ingress, dns), passes(Tracked), "UdpTimeout");
        rig.wait(61);
        assert_eq!(rig.udp(Ingress, dns), dropped(NoRule));
        assert_eq!(rig.udp(Egress, stream), passes(New));
        for direction in [Ingress, Egress, Ingress] {
            assert_eq!(rig.udp(direction, stream), passes(Tracked));
        }
        rig.wait(70);
        assert_eq!(rig.udp(Ingress, stream), passes(Tracked), "UdpStreamTimeout");
        rig.wait(71);
        assert_eq!(rig.udp(Ingress, stream), dropped(NoRule));
        // T-23: the others cannot be set.
        let request = if rig.variant.v6 { 128 } else { 8 };
        assert_eq!(rig.message(Egress, request, 0, 7), passes(New));
        assert_eq!(rig.tcp(Egress, (50_000, 443), SYN, 1, 0), passes(New));
        rig.wait(31);
        assert_eq!(rig.message(Ingress, if rig.variant.v6 { 129 } else { 0 }, 0, 7), dropped(NoRule));
        set(rig, TimeoutSettings::default());
    });
}
