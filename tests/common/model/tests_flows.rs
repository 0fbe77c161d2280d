//! P-1, P-6 to P-10, P-14, P-17: rules, UDP, ICMP, other protocols, service addresses.

use super::testing::*;

#[test]
fn p1_nothing_passes_without_a_rule() {
    for net in BOTH {
        let mut world = World::new(&[]);
        for direction in [IN, OUT] {
            world.drops(&net.tcp(direction, 80, 5000, SYN, 1, 0), NoRule);
            world.drops(&net.udp(direction, 80, 5000), NoRule);
            world.drops(&net.echo(direction, false, 1), NoRule);
            world.drops(&net.packet(direction, 47, vec![]), NoRule);
        }
    }
}

#[test]
fn p6_udp_is_a_stream_from_the_second_packet_each_way() {
    for net in BOTH {
        let mut world = World::new(&["in udp 53 far"]);
        let (request, answer) = (net.udp(IN, 53, 5000), net.udp(OUT, 53, 5000));
        world.passes(&request, New);
        world.at(30);
        world.passes(&answer, Tracked);
        world.at(60);
        world.passes(&answer, Tracked);
        world.at(91);
        world.drops(&answer, NoRule);

        world.passes(&request, New);
        world.passes(&answer, Tracked);
        world.passes(&request, Tracked);
        world.passes(&answer, Tracked);
        world.at(91 + 180);
        world.passes(&answer, Tracked);
        world.at(91 + 180 + 181);
        world.drops(&answer, NoRule);
    }
}

#[test]
fn p7_an_answer_is_the_matching_type_the_other_way() {
    for net in BOTH {
        let mut world = World::new(&["out icmp far", "out icmpv6 far"]);
        world.passes(&net.echo(OUT, false, 7), New);
        world.passes(&net.echo(OUT, false, 7), Tracked);
        world.drops(&net.echo(IN, false, 7), NoRule);
        world.drops(&net.echo(IN, true, 8), NoRule);
        world.passes(&net.echo(IN, true, 7), Tracked);
        // An answer of its own, without request.
        world.passes(&net.echo(OUT, true, 7), Stateless);
        world.at(30);
        world.passes(&net.echo(IN, true, 7), Tracked);
        world.at(61);
        world.drops(&net.echo(IN, true, 7), NoRule);
    }
    let mut world = World::new(&["out icmp far"]);
    world.passes(&V4.icmp(OUT, 13, 0, 7), New);
    world.drops(&V4.icmp(IN, 0, 0, 7), NoRule);
    world.passes(&V4.icmp(IN, 14, 0, 7), Tracked);
    // Neither query nor error: by the rules each time.
    world.passes(&V4.icmp(OUT, 10, 0, 7), Stateless);
    world.drops(&V4.icmp(IN, 9, 0, 7), NoRule);
}

#[test]
fn p7_rules_name_type_and_code_of_their_own_family() {
    let mut world = World::new(&["in icmp 3/4 world", "in icmp 8 world", "in icmpv6 1 world"]);
    world.passes(&V4.icmp(IN, 3, 4, 0), Stateless);
    world.drops(&V4.icmp(IN, 3, 3, 0), NoRule);
    world.passes(&V4.icmp(IN, 8, 3, 0), New);
    world.passes(&V6.icmp(IN, 1, 5, 0), Stateless);
    world.drops(&V6.icmp(IN, 3, 4, 0), NoRule);
    world.drops(&V6.icmp(IN, 8, 0, 0), NoRule);
    // The other family's number is a number.
    let stray = V6.packet(IN, 1, vec![8, 0, 0, 0, 0, 0, 0, 0]);
    world.drops(&stray, NoRule);
    world.rules(&["in icmp world"]);
    world.passes(&stray, New);
    world.at(600);
    world.passes(&stray, Tracked);
}

#[test]
fn p8_an_error_about_a_live_flow_is_related() {
    for net in BOTH {
        let mut world = World::new(&["out udp 53 far", "out icmp far", "out icmpv6 far", "out 47 far"]);
        let sent = [net.udp(OUT, 5000, 53), net.echo(OUT, false, 9), net.packet(OUT, 47, vec![])];
        for packet in sent {
            world.drops(&net.error(IN, &packet), NoRule);
            world.passes(&packet, New);
            world.passes(&net.error(IN, &packet), Related);
        }
        // Another flow; our own packets as if they had come in; an outer destination that is not the quote's source.
        world.drops(&net.error(IN, &net.udp(OUT, 5001, 53)), NoRule);
        world.drops(&net.error(IN, &net.udp(IN, 5000, 53)), NoRule);
        let elsewhere = if net.v6 { "2001:db8::9" } else { "10.0.0.9" };
        world.drops(&net.error(IN, &net.udp(OUT, 5000, 53)).to(elsewhere), NoRule);
        // The quote is cut off within the ports' eight bytes.
        let mut short = net.error(IN, &net.udp(OUT, 5000, 53));
        short.payload.pop();
        world.drops(&short, NoRule);
        // Errors refresh nothing.
        world.at(31);
        world.drops(&net.error(IN, &net.udp(OUT, 5000, 53)), NoRule);
    }
}

#[test]
fn p8_outward_errors_and_quoted_fragments() {
    for net in BOTH {
        let mut world = World::new(&["in udp 53 far"]);
        world.passes(&net.udp(IN, 53, 5000), New);
        world.passes(&net.error(OUT, &net.udp(IN, 53, 5000)), Related);
        world.passes(&net.error(OUT, &net.udp(IN, 53, 5000).fragment(5, 0, 8, true)), Related);
        world.drops(&net.error(OUT, &net.udp(IN, 53, 5000).fragment(5, 8, 8, true)), NoRule);
    }
}

#[test]
fn p8_an_error_about_an_untracked_flow_is_related() {
    for net in BOTH {
        let mut world = World::new(&["in tcp 80 world", "out tcp 0-65535 world"]);
        let answer = net.tcp(OUT, 80, 5000, ACK, 1, 1);
        world.passes(&net.error(IN, &answer), Related);
        world.options(|options| options.require_icmp_rules = true);
        world.drops(&net.error(IN, &answer), NoRule);
    }
}

#[test]
fn p8_redirects_are_never_related() {
    for net in BOTH {
        let mut world = World::new(&["out udp 53 far"]);
        let sent = net.udp(OUT, 5000, 53);
        world.passes(&sent, New);
        let mut redirect = net.error(IN, &sent);
        redirect.payload[0] = if net.v6 { 137 } else { 5 };
        world.drops(&redirect, NoRule);
    }
}

#[test]
fn p9_t18_other_protocols_for_600_seconds() {
    for net in BOTH {
        let mut world = World::new(&["out 47 far"]);
        let (sent, answer) = (net.packet(OUT, 47, vec![1]), net.packet(IN, 47, vec![2]));
        world.drops(&answer, NoRule);
        world.passes(&sent, New);
        world.at(600);
        world.passes(&answer, Tracked);
        world.at(1200);
        world.passes(&answer, Tracked);
        world.at(1801);
        world.drops(&answer, NoRule);
        world.passes(&sent, New);
        world.drops(&answer.from(if net.v6 { "2001:db8:f::9" } else { "203.0.113.9" }), NoRule);
    }
}

#[test]
fn p10_n_service_addresses_are_an_implied_outward_rule() {
    let mut world = World::new(&[]);
    let query = |net: Net, address: &str| net.udp(OUT, 5000, 53).to(address);
    world.passes(&query(V4, "169.254.169.253"), New);
    world.passes(&V4.udp(IN, 5000, 53).from("169.254.169.253"), Tracked);
    world.passes(&query(V6, "fd00:ec2::253"), New);
    world.passes(&V4.tcp(OUT, 5000, 80, SYN, 1, 0).to("169.254.169.254"), New);
    world.passes(&V6.tcp(OUT, 5000, 80, SYN, 1, 0).to("fd00:ec2::254"), New);
    world.passes(&V4.tcp(OUT, 5000, 80, SYN, 1, 0).to("169.254.170.2"), New);
    world.passes(&V4.tcp(OUT, 5000, 1688, SYN, 1, 0).to("169.254.169.251"), New);
    world.passes(&V4.udp(OUT, 5000, 123).to("169.254.169.123"), New);
    world.passes(&V6.udp(OUT, 5000, 123).to("fd00:ec2::123"), New);
    world.drops(&query(V4, "169.254.169.254"), NoRule);
    world.drops(&V4.tcp(OUT, 5000, 443, SYN, 1, 0).to("169.254.169.254"), NoRule);
    // Nothing that starts inward from them is exempt.
    world.drops(&V4.udp(IN, 53, 53).from("169.254.169.253"), NoRule);
    world.options(|options| options.no_exempt_link_local = true);
    world.drops(&V4.udp(OUT, 5001, 53).to("169.254.169.253"), NoRule);
}

#[test]
fn p14_multicast_is_judged_by_the_remote_address() {
    let mut world = World::new(&["out udp 5353 224.0.0.0/4", "out 2 224.0.0.0/4", "in udp 5353 far"]);
    world.passes(&V4.udp(OUT, 5353, 5353).to("224.0.0.251"), New);
    world.passes(&V4.packet(OUT, 2, vec![0; 8]).to("224.0.0.22"), New);
    world.passes(&V4.udp(IN, 5353, 5353).to("224.0.0.251"), New);
    world.drops(&V4.udp(IN, 5353, 5353).to("224.0.0.251").from("10.0.0.7"), NoRule);
}

#[test]
fn p15_rules_look_at_the_destination_port() {
    for net in BOTH {
        let mut world = World::new(&["in udp 53 world", "out udp 123 far"]);
        world.passes(&net.udp(IN, 53, 9), New);
        world.drops(&net.udp(IN, 9, 53), NoRule);
        world.passes(&net.udp(OUT, 9, 123), New);
        world.drops(&net.udp(OUT, 123, 9), NoRule);
    }
}

#[test]
fn p17_group_members_are_the_addresses_of_its_interfaces() {
    for net in BOTH {
        let mut world = World::new(&["in tcp 22 sg2", "in tcp 23 sg9"]);
        let member = if net.v6 { "2001:db8::2" } else { "10.0.0.2" };
        world.passes(&net.tcp(IN, 22, 5000, SYN, 1, 0).from(member), New);
        world.drops(&net.tcp(IN, 22, 5000, SYN, 1, 0), NoRule);
        // A group without members admits nobody, and membership alone grants nothing (T-4).
        world.drops(&net.tcp(IN, 23, 5000, SYN, 1, 0).from(member), NoRule);
        // Link-local addresses are never members.
        let link_local = if net.v6 { "fe80::2" } else { "169.254.0.2" };
        for interface in world.state.interfaces.values_mut() {
            interface.addresses.push(link_local.parse().unwrap());
        }
        world.model.set_policy(&world.state);
        world.change(|interface| interface.addresses.truncate(2));
        world.drops(&net.tcp(IN, 22, 5000, SYN, 1, 0).from(link_local), NoRule);
    }
}
