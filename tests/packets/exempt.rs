//! What security groups do not filter (P-10), and who may not be whom (P-20).

use sg_common::{
    Direction::{Egress, Ingress},
    reason::{
        Drop::{self, *},
        Pass::{self, *},
    },
};
use sg_ctl::model::{Options, Side};
use sg_tests::{
    packet::{
        Packet, Payload,
        tcp::{SYN, SYN_ACK},
    },
    rig::{Rig, dropped, in_all_variants, in_all_variants_with, passes},
};
use std::net::IpAddr;

fn ethernet(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(kind.to_be_bytes());
    frame.extend(body);
    frame.resize(frame.len().max(60), 0);
    frame
}

fn arp(sender: [u8; 4]) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1];
    body.extend(sender);
    body.extend([0; 10]);
    ethernet(0x0806, &body)
}

#[test]
fn trap44_n12_p10_arp_passes_and_a_guest_may_not_lie_in_it() {
    in_all_variants(|rig| {
        if rig.variant.v6 {
            return;
        }
        rig.revoke_all();
        assert_eq!(rig.judge_frame(Ingress, &arp([198, 51, 100, 7])), passes(Exempt));
        assert_eq!(rig.judge_frame(Egress, &arp([10, 0, 0, 1])), passes(Exempt));
        assert_eq!(rig.judge_frame(Egress, &arp([0; 4])), passes(Exempt), "a probe");
        let lie = rig.judge_frame(Egress, &arp([10, 0, 0, 9]));
        let expected = if rig.variant.side == Side::Guest { dropped(SpoofedSource) } else { passes(Exempt) };
        assert_eq!(lie, expected);
    });
}

#[test]
fn n2_p10_dhcp_by_direction_and_switchable() {
    for off in [false, true] {
        in_all_variants_with(Options { no_exempt_dhcp: off, ..Options::default() }, |rig| {
            let variant = rig.variant;
            rig.revoke_all();
            let (client, server) = if variant.v6 { (546, 547) } else { (68, 67) };
            let router: IpAddr = if variant.v6 { "fe80::1".parse().unwrap() } else { rig.remote };
            let expected = if off { dropped(NoRule) } else { passes(Exempt) };
            let query = rig.packet(Egress, rig.remote, Payload::Udp { source: client, destination: server });
            assert_eq!(rig.judge(Egress, &query), expected, "{variant:?}");
            let answer = rig.packet(Ingress, router, Payload::Udp { source: client, destination: server });
            assert_eq!(rig.judge(Ingress, &answer), expected, "{variant:?}");
            // The other way round it is a server's message: no exemption, and never a guest's.
            let serving =
                rig.packet(Egress, rig.remote, Payload::Udp { source: server, destination: client });
            let expected = if variant.side == Side::Guest { dropped(SpoofedSource) } else { dropped(NoRule) };
            assert_eq!(rig.judge(Egress, &serving), expected, "{variant:?}");
        });
    }
}

#[test]
fn trap44_n12_t40_p10_neighbour_discovery_on_the_link_only() {
    in_all_variants(|rig| {
        if !rig.variant.v6 {
            return;
        }
        rig.revoke_all();
        let local_router: IpAddr = "fe80::1".parse().unwrap();
        let message = |kind, code| Payload::Icmp { kind, code, id: 0, body: vec![0; 16] };
        let judged = |rig: &Rig, direction, far, kind, code, hop_limit| {
            rig.judge(direction, &Packet { hop_limit, ..rig.packet(direction, far, message(kind, code)) })
        };
        for kind in [133, 135, 136] {
            assert_eq!(judged(rig, Ingress, rig.remote, kind, 0, 255), passes(Exempt));
            assert_eq!(judged(rig, Egress, rig.remote, kind, 0, 255), passes(Exempt));
            assert_eq!(
                judged(rig, Ingress, rig.remote, kind, 0, 64),
                dropped(NoRule),
                "from beyond the link"
            );
            assert_eq!(judged(rig, Ingress, rig.remote, kind, 1, 255), dropped(NoRule), "code");
        }
        for kind in [134, 137] {
            assert_eq!(judged(rig, Ingress, local_router, kind, 0, 255), passes(Exempt));
            assert_eq!(judged(rig, Ingress, rig.remote, kind, 0, 255), dropped(NoRule));
            let expected =
                if rig.variant.side == Side::Guest { dropped(SpoofedSource) } else { dropped(NoRule) };
            assert_eq!(judged(rig, Egress, rig.remote, kind, 0, 255), expected);
        }
        for kind in [130, 131, 132, 143] {
            assert_eq!(judged(rig, Ingress, local_router, kind, 0, 1), passes(Exempt));
            assert_eq!(judged(rig, Ingress, local_router, kind, 0, 2), dropped(NoRule));
        }
    });
}

#[test]
fn p10_link_control_is_the_hosts_and_other_ethertypes_are_non_ip() {
    in_all_variants(|rig| {
        let is_host = rig.variant.side == Side::Host;
        let control = if is_host { passes(Exempt) } else { dropped(Drop::NonIp) };
        for kind in [0x88cc, 0x888e, 0x8809, 0x0026] {
            assert_eq!(rig.judge_frame(Ingress, &ethernet(kind, &[0; 46])), control, "{kind:#x}");
            assert_eq!(rig.judge_frame(Egress, &ethernet(kind, &[0; 46])), control, "{kind:#x}");
        }
        assert_eq!(rig.judge_frame(Ingress, &ethernet(0x88b5, &[0; 46])), dropped(Drop::NonIp));
    });
}

#[test]
fn p10_non_ip_pass_admits_other_ethertypes_on_the_host_side() {
    in_all_variants_with(Options { non_ip_pass: true, ..Options::default() }, |rig| {
        let is_host = rig.variant.side == Side::Host;
        let expected = if is_host { passes(Pass::NonIp) } else { dropped(Drop::NonIp) };
        assert_eq!(rig.judge_frame(Ingress, &ethernet(0x88b5, &[0; 46])), expected);
    });
}

/// Every service address with its protocol (P-10).
const SERVICES: [(&str, Service, u16); 13] = [
    ("169.254.169.253", Service::Udp, 53),
    ("169.254.169.253", Service::Tcp, 53),
    ("fd00:ec2::253", Service::Udp, 53),
    ("fd00:ec2::253", Service::Tcp, 53),
    ("169.254.169.254", Service::Tcp, 80),
    ("fd00:ec2::254", Service::Tcp, 80),
    ("169.254.170.2", Service::Tcp, 80),
    ("169.254.169.250", Service::Tcp, 1688),
    ("169.254.169.251", Service::Tcp, 1688),
    ("169.254.169.123", Service::Udp, 123),
    ("fd00:ec2::123", Service::Udp, 123),
    // Neighbours that are none.
    ("169.254.169.252", Service::Nobody, 53),
    ("fd00:ec2::252", Service::Nobody, 53),
];

#[derive(Clone, Copy, PartialEq)]
enum Service {
    Tcp,
    Udp,
    Nobody,
}

#[test]
fn n1_n3_n4_n5_n6_service_addresses_are_reached_without_a_rule_and_start_nothing() {
    in_all_variants(|rig| {
        rig.revoke_all();
        for (port, (address_text, service, open)) in (50_000..).zip(SERVICES) {
            let address: IpAddr = address_text.parse().unwrap();
            if address.is_ipv6() != rig.variant.v6 {
                continue;
            }
            let udp = |remote| Payload::Udp { source: port, destination: remote };
            let tcp = |remote, flags| Payload::Tcp {
                source: port,
                destination: remote,
                flags,
                sequence: 1,
                acknowledgement: 1,
            };
            let judge = |direction, payload| rig.judge(direction, &rig.packet(direction, address, payload));
            // The resolver is in the list twice, and answers by both.
            let is_open = |by| SERVICES.contains(&(address_text, by, open));
            let admitted = |yes| if yes { passes(New) } else { dropped(NoRule) };
            assert_eq!(judge(Ingress, udp(open)), dropped(NoRule), "{address}: nothing starts inward");
            assert_eq!(judge(Ingress, tcp(open, SYN)), dropped(NoRule), "{address}");
            assert_eq!(judge(Egress, udp(open)), admitted(is_open(Service::Udp)), "{address}");
            assert_eq!(judge(Egress, tcp(open, SYN)), admitted(is_open(Service::Tcp)), "{address}");
            for other in [open - 1, open + 1] {
                assert_eq!(judge(Egress, udp(other)), dropped(NoRule), "{address} port {other}");
                assert_eq!(judge(Egress, tcp(other, SYN)), dropped(NoRule), "{address} port {other}");
            }
            // Tracked like any flow: the answer comes in through the table.
            match service {
                Service::Udp => assert_eq!(judge(Ingress, udp(open)), passes(Tracked), "{address}"),
                Service::Tcp => assert_eq!(judge(Ingress, tcp(open, SYN_ACK)), passes(Tracked), "{address}"),
                Service::Nobody => {}
            }
        }
    });
}

#[test]
fn n11_the_exemption_of_service_addresses_can_be_switched_off() {
    in_all_variants_with(Options { no_exempt_link_local: true, ..Options::default() }, |rig| {
        rig.revoke_all();
        for (address, _, port) in SERVICES {
            let address: IpAddr = address.parse().unwrap();
            if address.is_ipv6() != rig.variant.v6 {
                continue;
            }
            let udp = Payload::Udp { source: 50_000, destination: port };
            let (flags, sequence, acknowledgement) = (SYN, 1, 0);
            let tcp = Payload::Tcp { source: 50_000, destination: port, flags, sequence, acknowledgement };
            for payload in [udp, tcp] {
                let packet = rig.packet(Egress, address, payload);
                assert_eq!(rig.judge(Egress, &packet), dropped(NoRule), "{address}");
            }
        }
    });
}

#[test]
fn p20_nobody_may_use_the_instances_address_nor_the_guest_another() {
    for off in [false, true] {
        in_all_variants_with(Options { no_source_dest_check: off, ..Options::default() }, |rig| {
            let variant = rig.variant;
            let world = rig.world();
            rig.allow("ingress", "udp", Some("53"), &world);
            let is_guest = variant.side == Side::Guest;
            let udp = || Payload::Udp { source: 9, destination: 53 };
            let own = Packet::new(rig.local, rig.local, udp());
            let foreign = Packet::new(rig.stranger, rig.remote, udp());
            let checked = |spoofed: bool, else_| if spoofed && !off { dropped(SpoofedSource) } else { else_ };
            assert_eq!(rig.judge(Ingress, &own), checked(true, passes(Untracked)), "{variant:?} {off}");
            assert_eq!(rig.judge(Egress, &foreign), checked(is_guest, passes(New)), "{variant:?} {off}");
            let past = Packet::new(rig.remote, rig.stranger, udp());
            assert_eq!(rig.judge(Ingress, &past), checked(is_guest, passes(Untracked)), "{variant:?} {off}");
        });
    }
}

#[test]
fn p14_multicast_is_judged_by_the_remote_address() {
    in_all_variants(|rig| {
        rig.revoke_all();
        let (group, net) =
            if rig.variant.v6 { ("ff05::fb", "ff00::/8") } else { ("224.0.0.251", "224.0.0.0/4") };
        let mdns =
            rig.packet(Egress, group.parse().unwrap(), Payload::Udp { source: 5353, destination: 5353 });
        assert_eq!(rig.judge(Egress, &mdns), dropped(NoRule));
        rig.allow("egress", "udp", Some("5353"), net);
        assert_eq!(rig.judge(Egress, &mdns), passes(New));
        let igmp =
            rig.packet(Egress, group.parse().unwrap(), Payload::Raw { protocol: 2, bytes: vec![0; 8] });
        assert_eq!(rig.judge(Egress, &igmp), dropped(NoRule), "IGMP needs a rule");
    });
}
