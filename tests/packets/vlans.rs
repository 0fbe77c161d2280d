//! VLAN-aware interfaces: the tags of a frame name its flow (P-13).

use sg_common::{
    Direction::{self, Egress, Ingress},
    reason::{
        Drop::{self, *},
        Pass::{self, *},
        Verdict,
    },
};
use sg_ctl::model::Options;
use sg_tests::{
    packet::{FragmentOf, Packet, Payload, tcp::SYN, tcp::SYN_ACK},
    rig::{Rig, dropped, in_all_variants, in_all_variants_with, passes},
};

/// Tags as they stand in a frame: none, the priority tag, one, two in either order, one twice.
const VLANS: [&[u16]; 7] = [&[], &[0], &[5], &[6], &[5, 6], &[6, 5], &[5, 5]];

fn vlan_aware(script: impl Fn(&mut Rig)) {
    in_all_variants_with(Options { vlan_aware: true, ..Options::default() }, script);
}

/// A packet of the far end or to it, in these VLANs.
fn judge(rig: &Rig, direction: Direction, ids: &[u16], payload: Payload) -> Verdict {
    let tags = ids.iter().map(|id| (0x8100, *id)).collect();
    rig.judge(direction, &Packet { tags, ..rig.packet(direction, rig.remote, payload) })
}

/// A segment between port 22 here and port 40000 there.
fn tcp(rig: &Rig, direction: Direction, ids: &[u16], flags: u8) -> Verdict {
    let (source, destination) = (22, 40_000);
    judge(rig, direction, ids, Payload::Tcp { source, destination, flags, sequence: 1, acknowledgement: 2 })
}

fn udp(rig: &Rig, direction: Direction, ids: &[u16]) -> Verdict {
    judge(rig, direction, ids, Payload::Udp { source: 53, destination: 40_000 })
}

/// Nothing but this comes in, and nothing goes out but answers.
fn admit_only(rig: &mut Rig, protocol: &str, port: Option<&str>) {
    let remote = rig.host(rig.remote);
    rig.revoke_all();
    rig.allow("ingress", protocol, port, &remote);
}

#[test]
fn p13_vlan_aware_the_same_addresses_and_ports_in_two_vlans_are_two_flows() {
    vlan_aware(|rig| {
        admit_only(rig, "tcp", Some("22"));
        for (before, ids) in VLANS.into_iter().enumerate() {
            assert_eq!(tcp(rig, Egress, ids, SYN_ACK), dropped(NoConnection), "{ids:?}");
            assert_eq!(tcp(rig, Ingress, ids, SYN), passes(New), "{ids:?}");
            assert_eq!(rig.bench.entries(), before as u64 + 1);
        }
        for ids in VLANS {
            assert_eq!(tcp(rig, Egress, ids, SYN_ACK), passes(Tracked), "{ids:?}");
        }
        assert_eq!(tcp(rig, Egress, &[7], SYN_ACK), dropped(NoConnection));
        // Neither priority bits nor the kind of a tag name a VLAN.
        assert_eq!(tcp(rig, Egress, &[0xa005], SYN_ACK), passes(Tracked));
        let payload =
            Payload::Tcp { source: 22, destination: 40_000, flags: SYN_ACK, sequence: 1, acknowledgement: 2 };
        let provider =
            Packet { tags: vec![(0x88a8, 5), (0x8100, 6)], ..rig.packet(Egress, rig.remote, payload) };
        assert_eq!(rig.judge(Egress, &provider), passes(Tracked));
    });
}

#[test]
fn p13_without_vlan_aware_all_vlans_are_one() {
    in_all_variants(|rig| {
        admit_only(rig, "tcp", Some("22"));
        assert_eq!(tcp(rig, Ingress, &[5], SYN), passes(New));
        for ids in VLANS {
            assert_eq!(tcp(rig, Egress, ids, SYN_ACK), passes(Tracked), "{ids:?}");
        }
        assert_eq!(rig.bench.entries(), 1);
    });
}

#[test]
fn p13_vlan_aware_rules_do_not_look_at_the_vlan() {
    vlan_aware(|rig| {
        admit_only(rig, "udp", Some("53"));
        for ids in VLANS {
            assert_eq!(udp(rig, Ingress, ids), passes(New), "{ids:?}");
            let stranger = rig.packet(Ingress, rig.stranger, Payload::Udp { source: 53, destination: 9 });
            let tags = ids.iter().map(|id| (0x8100, *id)).collect();
            assert_eq!(rig.judge(Ingress, &Packet { tags, ..stranger }), dropped(NoRule), "{ids:?}");
        }
        assert_eq!(udp(rig, Ingress, &[5, 6, 7]), dropped(Malformed), "a third tag");
    });
}

#[test]
fn p13_vlan_aware_a_ping_is_answered_in_its_own_vlan() {
    vlan_aware(|rig| {
        let (request, reply) = if rig.variant.v6 { (128, 129) } else { (8, 0) };
        let message = |kind| Payload::Icmp { kind, code: 0, id: 7, body: vec![0; 8] };
        assert_eq!(judge(rig, Egress, &[5], message(request)), passes(New));
        assert_eq!(judge(rig, Ingress, &[6], message(reply)), dropped(NoRule));
        assert_eq!(judge(rig, Ingress, &[], message(reply)), dropped(NoRule));
        assert_eq!(judge(rig, Ingress, &[5], message(reply)), passes(Tracked));
    });
}

#[test]
fn p11_p13_vlan_aware_a_fragment_follows_the_first_of_its_own_vlan() {
    let fragment = |rig: &Rig, ids: &[u16], offset: u16, payload: &Payload| {
        let tags = ids.iter().map(|id| (0x8100, *id)).collect();
        let fragment = Some(FragmentOf { id: 1, offset, more: offset == 0 });
        let packet = rig.packet(Ingress, rig.remote, payload.clone());
        rig.judge(Ingress, &Packet { tags, fragment, ..packet })
    };
    let first = Payload::Udp { source: 53, destination: 9 };
    let rest = Payload::Raw { protocol: 17, bytes: vec![0; 16] };
    vlan_aware(|rig| {
        admit_only(rig, "udp", Some("53"));
        assert_eq!(fragment(rig, &[5], 0, &first), passes(New));
        for ids in VLANS {
            let verdict = if ids == [5] { passes(Pass::Fragment) } else { dropped(Drop::Fragment) };
            assert_eq!(fragment(rig, ids, 16, &rest), verdict, "{ids:?}");
        }
    });
    in_all_variants(|rig| {
        admit_only(rig, "udp", Some("53"));
        assert_eq!(fragment(rig, &[5], 0, &first), passes(New));
        assert_eq!(fragment(rig, &[6], 16, &rest), passes(Pass::Fragment), "one VLAN as good as another");
    });
}

#[test]
fn p8_p13_vlan_aware_an_error_is_about_a_flow_of_its_own_vlan() {
    vlan_aware(|rig| {
        let (kind, code) = if rig.variant.v6 { (1, 4) } else { (3, 3) };
        for tracked in
            [Payload::Udp { source: 53, destination: 9 }, Payload::Raw { protocol: 47, bytes: vec![0; 8] }]
        {
            let sent = rig.packet(Egress, rig.remote, tracked);
            let error = Payload::Icmp { kind, code, id: 0, body: sent.network() };
            assert_eq!(rig.judge(Egress, &Packet { tags: vec![(0x8100, 5)], ..sent }), passes(New));
            for ids in VLANS {
                let verdict = if ids == [5] { passes(Related) } else { dropped(NoRule) };
                assert_eq!(judge(rig, Ingress, ids, error.clone()), verdict, "{ids:?}");
            }
        }
    });
}

#[test]
fn p3_p13_vlan_aware_an_untracked_flow_that_lost_its_rule_is_held_back_in_its_own_vlan_only() {
    vlan_aware(|rig| {
        let world = rig.world();
        rig.allow("ingress", "udp", Some("53"), &world);
        assert_eq!(udp(rig, Ingress, &[5]), passes(Untracked));
        assert_eq!(udp(rig, Egress, &[5]), passes(Untracked));
        rig.revoke("ingress", "udp", Some("53"), &world);
        assert_eq!(udp(rig, Egress, &[5]), passes(Stateless), "its answers make no entry");
        assert_eq!(udp(rig, Egress, &[6]), passes(New), "the same ports in another VLAN are another flow");
        assert_eq!(udp(rig, Ingress, &[6]), passes(Tracked));
        assert_eq!(udp(rig, Ingress, &[5]), dropped(NoRule));
    });
}

#[test]
fn p3a_p13_vlan_aware_a_voided_flow_leaves_its_mark_in_its_own_vlan() {
    vlan_aware(|rig| {
        let (remote, world) = (rig.host(rig.remote), rig.world());
        rig.allow("ingress", "udp", Some("53"), &remote);
        assert_eq!(udp(rig, Ingress, &[5]), passes(New));
        // Open to the world, the entry is void; closed again, nobody revives the flow.
        rig.allow("ingress", "udp", Some("53"), &world);
        rig.revoke("ingress", "udp", Some("53"), &world);
        rig.revoke("ingress", "udp", Some("53"), &remote);
        assert_eq!(udp(rig, Egress, &[5]), passes(Stateless));
        assert_eq!(udp(rig, Egress, &[6]), passes(New));
    });
}
