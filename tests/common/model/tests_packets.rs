//! P-10 to P-13, P-20 and P-21: frames, fragments, exemptions, the source check.

use super::{Frame, Verdict, testing::*};
use sg_ctl::model::Side;

const OPEN: &[&str] = &["in all far", "out all far"];

/// A frame with this EtherType and body.
fn ether(ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// An ARP request with this sender.
fn arp(sender: [u8; 4]) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, 1];
    body.extend([2; 6]);
    body.extend(sender);
    body.extend([0; 10]);
    ether(0x0806, &body)
}

#[track_caller]
fn raw(world: &mut World, direction: Direction, bytes: &[u8], expected: super::Outcome) {
    assert_eq!(world.judge_bytes(direction, bytes), Verdict::Exactly(expected));
}

#[test]
fn p10_dhcp_by_direction_and_switch() {
    let mut world = World::new(&[]);
    world.passes(&V4.udp(OUT, 68, 67).from("0.0.0.0").to("255.255.255.255"), Exempt);
    world.passes(&V4.udp(IN, 68, 67).to("255.255.255.255"), Exempt);
    world.drops(&V4.udp(IN, 67, 68), NoRule);
    world.drops(&V4.udp(OUT, 67, 68), NoRule);
    world.passes(&V6.udp(OUT, 546, 547), Exempt);
    world.passes(&V6.udp(IN, 546, 547).from("fe80::9"), Exempt);
    world.drops(&V6.udp(IN, 546, 547), NoRule);
    // Only a whole datagram is exempt.
    world.drops(&V4.udp(OUT, 68, 67).fragment(1, 0, 8, true), NoRule);
    world.options(|options| options.no_exempt_dhcp = true);
    world.drops(&V4.udp(OUT, 68, 67), NoRule);
}

#[test]
fn p10_neighbour_and_listener_discovery() {
    let mut world = World::new(&[]);
    let message = |direction, kind| V6.icmp(direction, kind, 0, 0);
    for direction in [IN, OUT] {
        for kind in [133, 135, 136] {
            world.passes(&message(direction, kind).hops(255), Exempt);
            world.drops(&message(direction, kind).hops(254), NoRule);
            world.drops(&V6.icmp(direction, kind, 1, 0).hops(255), NoRule);
            world.drops(&message(direction, kind).hops(255).fragment(1, 0, 8, true), NoRule);
        }
        for kind in [130, 131, 132, 143] {
            world.passes(&message(direction, kind).hops(1).extension(0, 8), Exempt);
            world.drops(&message(direction, kind).hops(255), NoRule);
        }
    }
    for kind in [134, 137] {
        world.passes(&message(IN, kind).from("fe80::9").hops(255), Exempt);
        world.drops(&message(IN, kind).hops(255), NoRule);
        world.drops(&message(OUT, kind).from("fe80::9").hops(255), NoRule);
    }
}

#[test]
fn p10_frames_that_are_not_ip() {
    let mut world = World::new(&[]);
    for direction in [IN, OUT] {
        raw(&mut world, direction, &arp([9; 4]), pass(Exempt));
        for ethertype in [0x88cc, 0x888e, 0x8809, 0x0026] {
            raw(&mut world, direction, &ether(ethertype, &[0; 46]), pass(Exempt));
        }
        raw(&mut world, direction, &ether(0x8863, &[0; 46]), dropped(DropClass::NonIp));
    }
    world.options(|options| options.non_ip_pass = true);
    raw(&mut world, IN, &ether(0x8863, &[0; 46]), pass(PassClass::NonIp));
    world.side(Side::Guest);
    for ethertype in [0x8863, 0x88cc, 0x0026] {
        raw(&mut world, OUT, &ether(ethertype, &[0; 46]), dropped(DropClass::NonIp));
    }
}

#[test]
fn p11_later_fragments_follow_their_first() {
    for net in BOTH {
        let mut world = World::new(&["in udp 53 far"]);
        let datagram = || net.udp(IN, 53, 5000);
        world.drops(&datagram().fragment(5, 8, 8, true), DropClass::Fragment);
        world.passes(&datagram().fragment(5, 0, 8, true), New);
        world.rules(&[]);
        world.passes(&datagram().fragment(5, 8, 8, true), PassClass::Fragment);
        world.at(30);
        world.passes(&datagram().fragment(5, 16, 8, false), PassClass::Fragment);
        world.drops(&datagram().fragment(6, 16, 8, false), DropClass::Fragment);
        world.drops(&net.udp(OUT, 53, 5000).fragment(5, 16, 8, false), DropClass::Fragment);
        world.at(31);
        world.drops(&datagram().fragment(5, 16, 8, false), DropClass::Fragment);
        // A first that was dropped lets nothing follow.
        world.drops(&net.udp(IN, 54, 5000).fragment(7, 0, 8, true), NoRule);
        world.drops(&net.udp(IN, 54, 5000).fragment(7, 8, 8, false), DropClass::Fragment);
    }
}

#[test]
fn p11_untracked_fragments_follow_too() {
    for net in BOTH {
        let mut world = World::new(&["in udp 53 world", "out all world"]);
        world.passes(&net.udp(IN, 53, 5000).fragment(5, 0, 16, true), Untracked);
        world.passes(&net.udp(IN, 53, 5000).fragment(5, 16, 8, false), PassClass::Fragment);
    }
}

#[test]
fn p11_tiny_and_overlapping() {
    for net in BOTH {
        let mut world = World::new(OPEN);
        let segment = || net.tcp(IN, 22, 5000, SYN, 1, 0);
        world.drops(&segment().fragment(5, 0, 16, true), FragmentTiny);
        world.passes(&segment().fragment(5, 0, 24, true), New);
        world.drops(&segment().fragment(5, 8, 8, true), FragmentOverlap);
        world.drops(&segment().fragment(5, 16, 8, true), FragmentOverlap);
        world.passes(&segment().fragment(5, 24, 8, true), PassClass::Fragment);
        world.drops(&net.udp(IN, 53, 5000).fragment(6, 0, 4, true), FragmentTiny);
        world.drops(&net.echo(IN, false, 1).fragment(7, 0, 4, true), FragmentTiny);
        // Past the largest datagram.
        world.drops(&net.udp(IN, 53, 5000).fragment(6, 65_528, 8, true), Malformed);
        world.drops(&segment().fragment(5, 24, 8, true).from(&net.own().to_string()), SpoofedSource);
    }
}

#[test]
fn p11_atomic_fragments_are_whole() {
    let mut world = World::new(&["in udp 53 far"]);
    world.passes(&V6.udp(IN, 53, 5000).fragment(5, 0, 8, false), New);
    world.drops(&V6.udp(IN, 53, 5000).fragment(5, 8, 8, false), DropClass::Fragment);
    world.drops(&V6.udp(IN, 53, 5000).fragment(5, 0, 4, false), Malformed);
}

#[test]
fn p11_a_first_fragment_cut_off_within_extension_headers_is_tiny() {
    let mut world = World::new(OPEN);
    let mut first = V6.packet(IN, 60, vec![17, 1, 0, 0, 0, 0, 0, 0]);
    first.fragment = Some((5, 0, true));
    world.drops(&first, FragmentTiny);
    first.fragment = Some((5, 0, false));
    world.drops(&first, Malformed);
}

#[test]
fn p12_extension_headers_are_walked_up_to_eight() {
    let mut world = World::new(&["in tcp 22 far"]);
    let mut packet = V6.tcp(IN, 22, 5000, ACK, 1, 1);
    for (number, length) in [(0, 8), (43, 24), (51, 12), (60, 16), (135, 8), (139, 8), (140, 8)] {
        packet = packet.extension(number, length);
    }
    packet = packet.fragment(5, 0, 20, false);
    world.passes(&packet, Stateless);
    world.drops(&packet.clone().extension(60, 8), Malformed);
    // Runs beyond the payload.
    let mut lying = V6.tcp(IN, 22, 5000, ACK, 1, 1).extension(60, 8);
    lying.extensions[0].1[1] = 9;
    world.drops(&lying, Malformed);
    // "No next header" is protocol 59; AH of IPv4 is protocol 51.
    world.rules(&["in 59 far", "in 51 far"]);
    world.passes(&V6.packet(IN, 59, vec![]), New);
    world.passes(&V4.packet(IN, 51, vec![6, 1, 0, 0]), New);
}

#[test]
fn p12_truncated_and_lying() {
    for net in BOTH {
        let mut world = World::new(OPEN);
        for packet in [net.tcp(IN, 22, 5000, SYN, 1, 0), net.udp(IN, 53, 5000), net.echo(IN, false, 1)] {
            let bytes = packet.bytes();
            for length in 0..bytes.len() {
                raw(&mut world, IN, &bytes[..length], dropped(Malformed));
            }
            let mut shorter = packet.clone();
            shorter.payload.pop();
            world.drops(&shorter, Malformed);
        }
        for flags in [0, SYN | FIN, SYN | RST, 0x40] {
            world.drops(&net.tcp(IN, 22, 5000, flags, 1, 0), Malformed);
        }
        for data_offset in [0x40, 0x60] {
            let mut packet = net.tcp(IN, 22, 5000, SYN, 1, 0);
            packet.payload[12] = data_offset;
            world.drops(&packet, Malformed);
        }
        for length in [7, 9] {
            let mut packet = net.udp(IN, 53, 5000);
            packet.payload[5] = length;
            world.drops(&packet, Malformed);
        }
        let mut bytes = net.udp(IN, 53, 5000).bytes();
        bytes[14] ^= 0x20;
        raw(&mut world, IN, &bytes, dropped(Malformed));
    }
    let mut bytes = V4.udp(IN, 53, 5000).bytes();
    bytes[14] = 0x44;
    raw(&mut World::new(OPEN), IN, &bytes, dropped(Malformed));
}

#[test]
fn p12_ipv4_options_are_skipped_and_padding_ignored() {
    let mut world = World::new(&["in udp 53 far"]);
    let mut bytes = V4.udp(IN, 53, 5000).bytes();
    bytes[14] = 0x46;
    bytes[17] += 4;
    bytes.splice(34..34, [1; 4]);
    bytes.extend([0; 14]);
    raw(&mut world, IN, &bytes, pass(New));
}

#[test]
fn p12_length_zero_on_gso() {
    for net in BOTH {
        let mut world = World::new(OPEN);
        let mut bytes = net.tcp(OUT, 22, 5000, SYN, 1, 0).bytes();
        let at = 14 + if net.v6 { 4 } else { 2 };
        bytes[at..at + 2].fill(0);
        let big = Frame { gso: true, ..frame(OUT, &bytes) };
        assert_eq!(world.model.judge(eth1(), &big), Verdict::Exactly(pass(New)));
        raw(&mut world, OUT, &bytes, dropped(Malformed));
    }
}

#[test]
fn p13_two_tags_are_looked_through() {
    for net in BOTH {
        let mut world = World::new(OPEN);
        let mut bytes = net.tcp(IN, 22, 5000, ACK, 1, 1).bytes();
        for (tags, expected) in
            [(0, pass(Stateless)), (1, pass(Stateless)), (2, pass(Stateless)), (3, dropped(Malformed))]
        {
            raw(&mut world, IN, &bytes, expected);
            for metadata_tag in [None, Some(7)] {
                let tagged = Frame { metadata_tag, ..frame(IN, &bytes) };
                let fits = tags + usize::from(metadata_tag.is_some()) <= 2;
                let expected = if fits { pass(Stateless) } else { dropped(Malformed) };
                assert_eq!(world.model.judge(eth1(), &tagged), Verdict::Exactly(expected));
            }
            bytes.splice(12..12, if tags == 0 { [0x81, 0, 0, 5] } else { [0x88, 0xa8, 0, 6] });
        }
    }
}

#[test]
fn p13_flows_of_two_vlans_are_two_flows_where_the_interface_is_vlan_aware() {
    for net in BOTH {
        let mut world = World::new(&["in udp 53 0.0.0.0/0", "in udp 53 ::/0"]);
        world.options(|options| options.vlan_aware = true);
        let tagged = |direction, tags: &[u16]| {
            let mut bytes = net.udp(direction, 53, 5000).bytes();
            let tags = tags.iter().flat_map(|tag| [0x81, 0, (tag >> 8) as u8, *tag as u8]);
            bytes.splice(12..12, tags.collect::<Vec<_>>());
            bytes
        };
        let vlans: [&[u16]; 6] = [&[], &[0], &[5], &[6], &[5, 6], &[6, 5]];
        for tags in vlans {
            raw(&mut world, OUT, &tagged(OUT, tags), dropped(NoRule));
            raw(&mut world, IN, &tagged(IN, tags), pass(New));
        }
        for tags in vlans {
            raw(&mut world, OUT, &tagged(OUT, tags), pass(Tracked));
        }
        // The priority is no part of it; a tag in metadata is the outer one.
        raw(&mut world, OUT, &tagged(OUT, &[0xa005]), pass(Tracked));
        let inner = tagged(OUT, &[5]);
        for (metadata_tag, expected) in [(6, pass(Tracked)), (7, dropped(NoRule))] {
            let frame = Frame { metadata_tag: Some(metadata_tag), ..frame(OUT, &inner) };
            assert_eq!(world.model.judge(eth1(), &frame), Verdict::Exactly(expected));
        }
        world.options(|options| options.vlan_aware = false);
        raw(&mut world, OUT, &tagged(OUT, &[9]), pass(Tracked));
    }
}

#[test]
fn p20_host_an_inward_source_is_not_our_own() {
    for net in BOTH {
        let mut world = World::new(&["in all 0.0.0.0/1", "in all 2000::/3"]);
        let own = net.own().to_string();
        world.drops(&net.udp(IN, 53, 5000).from(&own), SpoofedSource);
        world.side(Side::Guest);
        world.drops(&net.udp(IN, 53, 5000).from(&own), SpoofedSource);
        world.options(|options| options.no_source_dest_check = true);
        world.passes(&net.udp(IN, 53, 5000).from(&own), New);
    }
}

#[test]
fn p20_guest_sends_as_itself() {
    let mut world = World::new(&["out all world", "in all far"]);
    world.side(Side::Guest);
    for net in BOTH {
        world.passes(&net.udp(OUT, 5000, 53), New);
        world.drops(
            &net.udp(OUT, 5000, 53).from(if net.v6 { "2001:db8::9" } else { "10.0.0.9" }),
            SpoofedSource,
        );
        world.drops(&net.udp(OUT, 5000, 53).from(if net.v6 { "::" } else { "0.0.0.0" }), SpoofedSource);
    }
    world.passes(&V4.udp(OUT, 68, 67).from("0.0.0.0").to("255.255.255.255"), Exempt);
    for kind in [133, 135] {
        world.passes(&V6.icmp(OUT, kind, 0, 0).from("::").to("ff02::2").hops(255), Exempt);
    }
    world.passes(&V6.udp(OUT, 546, 547).from("fe80::ff:fe00:1").to("ff02::1:2"), Exempt);
    world.drops(&V6.udp(OUT, 546, 547).from("fe80::ff:fe00:9").to("ff02::1:2"), SpoofedSource);
    // Not a guest's to send.
    world.drops(&V4.udp(OUT, 67, 68), SpoofedSource);
    world.drops(&V6.udp(OUT, 547, 546), SpoofedSource);
    for packet in
        [V4.icmp(OUT, 5, 0, 0), V4.icmp(OUT, 9, 0, 0), V6.icmp(OUT, 134, 0, 0), V6.icmp(OUT, 137, 0, 0)]
    {
        world.drops(&packet, SpoofedSource);
    }
    raw(&mut world, OUT, &arp([10, 0, 0, 1]), pass(Exempt));
    raw(&mut world, OUT, &arp([0; 4]), pass(Exempt));
    raw(&mut world, OUT, &arp([10, 0, 0, 9]), dropped(SpoofedSource));
    raw(&mut world, OUT, &arp([10, 0, 0, 1])[..30], dropped(Malformed));
    raw(&mut world, IN, &arp([10, 0, 0, 9]), pass(Exempt));
}

#[test]
fn p20_guest_receives_what_is_for_it() {
    let mut world = World::new(&["in all far"]);
    world.side(Side::Guest);
    for (packet, others) in [
        (V4.udp(IN, 53, 5000), ["224.0.0.1", "255.255.255.255"]),
        (V6.udp(IN, 53, 5000), ["ff02::1", "fe80::ff:fe00:1"]),
    ] {
        world.passes(&packet, New);
        for other in others {
            world.passes(&packet.clone().to(other), New);
        }
    }
    world.drops(&V4.udp(IN, 53, 5000).to("10.0.0.9"), SpoofedSource);
    world.drops(&V6.udp(IN, 53, 5000).to("fe80::9"), SpoofedSource);
}

#[test]
fn p21_devices_without_link_layer_header() {
    for net in BOTH {
        let mut world = World::new(OPEN);
        let bytes = net.udp(IN, 53, 5000).bytes();
        let ethertype = Some(if net.v6 { 0x86dd } else { 0x0800 });
        let bare = Frame { network_ethertype: ethertype, ..frame(IN, &bytes[14..]) };
        assert_eq!(world.model.judge(eth1(), &bare), Verdict::Exactly(pass(New)));
        let swapped = Frame { network_ethertype: Some(if net.v6 { 0x0800 } else { 0x86dd }), ..bare };
        assert_eq!(world.model.judge(eth1(), &swapped), Verdict::Exactly(dropped(Malformed)));
    }
}
