//! What lies around the transport header: VLAN tags, options, extension headers, fragments, lies (P-11 to P-13).

use sg_common::{
    Direction::{Egress, Ingress},
    reason::{
        Drop::{self, *},
        Pass::{self, *},
        Verdict,
    },
};
use sg_tests::{
    packet::{FragmentOf, Packet, Payload, tcp::SYN},
    rig::{Rig, dropped, in_all_variants, passes},
};

fn syn(rig: &Rig, direction: sg_common::Direction) -> Packet {
    rig.packet(
        direction,
        rig.remote,
        Payload::Tcp { source: 22, destination: 40_000, flags: SYN, sequence: 1, acknowledgement: 0 },
    )
}

#[test]
fn trap8_p13_two_vlan_tags_are_looked_through_and_a_third_is_malformed() {
    in_all_variants(|rig| {
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "tcp", Some("22"), &remote);
        for (tags, admitted) in [
            (vec![(0x8100, 5)], passes(New)),
            (vec![(0x88a8, 9), (0x8100, 5)], passes(Tracked)),
            (vec![(0x88a8, 9), (0x8100, 5), (0x8100, 6)], dropped(Malformed)),
        ] {
            let tagged = Packet { tags, ..syn(rig, Ingress) };
            assert_eq!(rig.judge(Ingress, &tagged), admitted);
        }
        let mut refused = rig.packet(Ingress, rig.stranger, syn(rig, Egress).payload);
        refused.tags = vec![(0x8100, 5)];
        assert_eq!(rig.judge(Ingress, &refused), dropped(NoRule), "a tag is no way around the rules");
    });
}

#[test]
fn trap4_trap6_options_and_extension_headers_move_the_ports() {
    in_all_variants(|rig| {
        if rig.variant.v6 {
            return extension_headers_move_the_ports(rig);
        }
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "tcp", Some("22"), &remote);
        // The options look like a TCP header to port 22; the real one says 23.
        let mut packet = syn(rig, Ingress);
        packet.options = vec![0x9c, 0x40, 0, 22, 0, 0, 0, 1];
        assert_eq!(rig.judge(Ingress, &packet), passes(New));
        if let Payload::Tcp { destination, .. } = &mut packet.payload {
            *destination = 23;
        }
        assert_eq!(rig.judge(Ingress, &packet), dropped(NoRule));
    });
}

/// Trap 4: both length formulas, and the cap of eight.
fn extension_headers_move_the_ports(rig: &mut Rig) {
    let remote = rig.host(rig.remote);
    rig.allow("ingress", "tcp", Some("22"), &remote);
    let eight = |length: u8, bytes: usize| -> Vec<u8> {
        let mut header = vec![length];
        header.resize(bytes - 1, 0);
        header
    };
    let judged = |rig: &Rig, extensions: Vec<(u8, Vec<u8>)>| {
        rig.judge(Ingress, &Packet { extensions, ..syn(rig, Ingress) })
    };
    assert_eq!(judged(rig, vec![(0, eight(0, 8))]), passes(New));
    assert_eq!(judged(rig, vec![(60, eight(2, 24)), (43, eight(0, 8))]), passes(Tracked));
    assert_eq!(judged(rig, vec![(51, eight(4, 24))]), passes(Tracked), "AH counts 4-byte words");
    assert_eq!(judged(rig, vec![(60, eight(0, 8)); 8]), passes(Tracked));
    assert_eq!(judged(rig, vec![(60, eight(0, 8)); 9]), dropped(Malformed), "nine");
    assert_eq!(judged(rig, vec![(60, eight(200, 8))]), dropped(Malformed), "longer than the packet");
}

fn fragment(rig: &Rig, id: u32, offset: u16, more: bool, payload: Payload) -> Verdict {
    let packet = rig.packet(Ingress, rig.remote, payload);
    rig.judge(Ingress, &Packet { fragment: Some(FragmentOf { id, offset, more }), ..packet })
}

#[test]
fn trap1_trap2_trap5_p11_later_fragments_follow_their_first() {
    in_all_variants(|rig| {
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "udp", Some("53"), &remote);
        let first = Payload::Udp { source: 53, destination: 9 };
        let rest = Payload::Raw { protocol: 17, bytes: vec![0; 16] };
        assert_eq!(fragment(rig, 1, 16, false, rest.clone()), dropped(Drop::Fragment), "before its first");
        assert_eq!(fragment(rig, 1, 0, true, first.clone()), passes(New));
        assert_eq!(fragment(rig, 1, 16, true, rest.clone()), passes(Pass::Fragment));
        assert_eq!(fragment(rig, 2, 16, false, rest.clone()), dropped(Drop::Fragment), "another datagram's");
        // May complete after a rule change, and for 30 seconds.
        rig.revoke("ingress", "udp", Some("53"), &remote);
        rig.wait(30);
        assert_eq!(fragment(rig, 1, 32, false, rest.clone()), passes(Pass::Fragment));
        rig.wait(1);
        assert_eq!(fragment(rig, 1, 32, false, rest), dropped(Drop::Fragment));
        assert_eq!(fragment(rig, 3, 0, true, first), dropped(NoRule));
    });
}

#[test]
fn trap3_a_large_ping_passes_in_fragments() {
    in_all_variants(|rig| {
        let (kind, protocol) = if rig.variant.v6 { (129, 58) } else { (0, 1) };
        let request = if rig.variant.v6 { 128 } else { 8 };
        assert_eq!(rig.message(Egress, request, 0, 7), passes(New));
        let first = Payload::Icmp { kind, code: 0, id: 7, body: vec![0; 1_400] };
        assert_eq!(fragment(rig, 9, 0, true, first), passes(Tracked));
        let rest = Payload::Raw { protocol, bytes: vec![0; 600] };
        assert_eq!(fragment(rig, 9, 1_408, false, rest), passes(Pass::Fragment));
    });
}

#[test]
fn p11_tiny_and_overlapping_fragments_are_refused() {
    in_all_variants(|rig| {
        let remote = rig.host(rig.remote);
        rig.allow("ingress", "tcp", Some("0-65535"), &remote);
        let mut tiny =
            Packet { fragment: Some(FragmentOf { id: 1, offset: 0, more: true }), ..syn(rig, Ingress) };
        tiny.cut = Some(8);
        assert_eq!(rig.judge(Ingress, &tiny), dropped(FragmentTiny));
        tiny.cut = None;
        assert_eq!(rig.judge(Ingress, &tiny), passes(New));
        let flags = Payload::Raw { protocol: 6, bytes: vec![0; 16] };
        assert_eq!(fragment(rig, 1, 8, true, flags.clone()), dropped(FragmentOverlap));
        assert_eq!(fragment(rig, 1, 24, false, flags), passes(Pass::Fragment));
        let beyond = Payload::Raw { protocol: 17, bytes: vec![0; 64] };
        assert_eq!(fragment(rig, 1, 65_528, false, beyond), dropped(Malformed));
    });
}

#[test]
fn p11_an_atomic_fragment_is_a_whole_packet() {
    in_all_variants(|rig| {
        if !rig.variant.v6 {
            return;
        }
        let packet = syn(rig, Egress);
        let atomic = Packet { fragment: Some(FragmentOf { id: 1, offset: 0, more: false }), ..packet };
        assert_eq!(rig.judge(Egress, &atomic), passes(New));
    });
}

#[test]
fn trap7_p12_truncated_and_lying_headers_are_malformed() {
    in_all_variants(|rig| {
        let frame = syn(rig, Egress).frame();
        let network = if rig.variant.v6 { 40 } else { 20 };
        // Cut short anywhere behind the network header: its length lies now.
        for length in 14 + network..frame.len() {
            assert_eq!(rig.judge_frame(Egress, &frame[..length]), dropped(Malformed), "{length} bytes");
        }
        // A length that covers less than the transport header.
        let mut short = frame.clone();
        let (at, value) = if rig.variant.v6 { (18, 12u16) } else { (16, 32u16) };
        short[at..at + 2].copy_from_slice(&value.to_be_bytes());
        assert_eq!(rig.judge_frame(Egress, &short), dropped(Malformed));
        // A TCP header that says it is longer than the packet, or shorter than it can be.
        for offset in [4u8, 6] {
            let mut lying = frame.clone();
            lying[14 + network + 12] = offset << 4;
            assert_eq!(rig.judge_frame(Egress, &lying), dropped(Malformed), "data offset {offset}");
        }
        // Trailing bytes are padding.
        let mut padded = frame.clone();
        padded.extend([0; 6]);
        assert_eq!(rig.judge_frame(Egress, &padded), passes(New));
        let mut version = frame;
        version[14] = 0x75;
        assert_eq!(rig.judge_frame(Egress, &version), dropped(Malformed));
    });
}

#[test]
fn p12_no_next_header_is_protocol_59() {
    in_all_variants(|rig| {
        let nothing = Payload::Raw { protocol: 59, bytes: vec![] };
        assert_eq!(rig.judge(Egress, &rig.packet(Egress, rig.remote, nothing.clone())), passes(New));
        assert_eq!(rig.judge(Ingress, &rig.packet(Ingress, rig.stranger, nothing)), dropped(NoRule));
    });
}
