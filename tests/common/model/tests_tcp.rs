//! P-4 and P-5: TCP, as scripts of packets.

use super::testing::*;

/// Inward from one address only, nothing outward: every flow is tracked.
const NARROW: &[&str] = &["in tcp 22 far"];

#[test]
fn p5_third_leg_makes_it_established_and_nothing_else_does() {
    for net in BOTH {
        let mut world = World::new(NARROW);
        world.passes(&net.tcp(IN, 22, 5000, SYN, 1000, 0), New);
        world.passes(&net.tcp(OUT, 22, 5000, SYN | ACK, 2000, 1001), Tracked);
        // Acknowledges nothing that was sent; acknowledges too much.
        world.passes(&net.tcp(IN, 22, 5000, ACK, 1001, 2000), Tracked);
        world.passes(&net.tcp(IN, 22, 5000, ACK, 1001, 2000 + 65_537), Tracked);
        world.at(61);
        world.drops(&net.tcp(OUT, 22, 5000, ACK, 2001, 1001), NoConnection);

        world.connect(net, IN, 22, 5000);
        world.at(61 + 432_000);
        world.passes(&net.tcp(OUT, 22, 5000, ACK, 2001, 1001), Tracked);
        world.at(61 + 432_000 + 432_001);
        world.drops(&net.tcp(OUT, 22, 5000, ACK, 2001, 1001), NoConnection);
    }
}

#[test]
fn p5_a_syn_ack_counts_only_if_it_acknowledges_the_syn() {
    let mut world = World::new(NARROW);
    world.passes(&V4.tcp(IN, 22, 5000, SYN, 1000, 0), New);
    world.passes(&V4.tcp(OUT, 22, 5000, SYN | ACK, 2000, 1000), Tracked);
    world.passes(&V4.tcp(IN, 22, 5000, ACK, 1001, 2001), Tracked);
    world.at(61);
    world.drops(&V4.tcp(OUT, 22, 5000, ACK, 2001, 1001), NoConnection);
}

#[test]
fn p5_half_open_is_refreshed_by_the_initiators_syn_only() {
    let mut world = World::new(NARROW);
    world.passes(&V4.tcp(IN, 22, 5000, SYN, 1000, 0), New);
    world.at(50);
    world.passes(&V4.tcp(IN, 22, 5000, SYN, 1000, 0), Tracked);
    world.at(110);
    world.passes(&V4.tcp(OUT, 22, 5000, SYN | ACK, 2000, 1001), Tracked);
    world.at(111);
    world.drops(&V4.tcp(OUT, 22, 5000, SYN | ACK, 2000, 1001), NoConnection);
}

#[test]
fn p5_another_sequence_number_forgets_the_answer() {
    let mut world = World::new(NARROW);
    world.passes(&V4.tcp(IN, 22, 5000, SYN, 1000, 0), New);
    world.passes(&V4.tcp(OUT, 22, 5000, SYN | ACK, 2000, 1001), Tracked);
    world.passes(&V4.tcp(IN, 22, 5000, SYN, 9_000_000, 0), Tracked);
    world.passes(&V4.tcp(IN, 22, 5000, ACK, 9_000_001, 2001), Tracked);
    world.at(61);
    world.drops(&V4.tcp(OUT, 22, 5000, ACK, 2001, 1001), NoConnection);
}

#[test]
fn p4_p5_simultaneous_open() {
    for net in BOTH {
        let mut world = World::new(&["out tcp 22 far"]);
        world.passes(&net.tcp(OUT, 5000, 22, SYN, 1000, 0), New);
        // The rules would refuse it.
        world.passes(&net.tcp(IN, 5000, 22, SYN, 2000, 0), Tracked);
        world.passes(&net.tcp(OUT, 5000, 22, SYN | ACK, 1000, 2001), Tracked);
        world.at(60);
        world.passes(&net.tcp(IN, 5000, 22, SYN | ACK, 2000, 1001), Tracked);
        world.at(500);
        world.passes(&net.tcp(IN, 5000, 22, ACK, 2001, 1001), Tracked);
    }
}

#[test]
fn p5_a_crossing_syn_does_not_refresh_and_is_no_acknowledgement() {
    let mut world = World::new(&["out tcp 22 far"]);
    world.passes(&V4.tcp(OUT, 5000, 22, SYN, 1000, 0), New);
    world.at(60);
    world.passes(&V4.tcp(IN, 5000, 22, SYN, 2000, 0), Tracked);
    world.passes(&V4.tcp(OUT, 5000, 22, ACK, 1001, 2001), Tracked);
    world.at(61);
    world.drops(&V4.tcp(IN, 5000, 22, SYN, 2000, 0), NoRule);
}

#[test]
fn p4_every_syn_is_judged_by_the_rules() {
    let mut world = World::new(NARROW);
    world.connect(V4, IN, 22, 5000);
    world.passes(&V4.tcp(IN, 22, 5000, SYN, 1, 0), Tracked);
    world.rules(&[]);
    // A revoked client does not come back by reusing its port, nor does it disturb the entry (T-32).
    world.drops(&V4.tcp(IN, 22, 5000, SYN, 1, 0), NoRule);
    world.passes(&V4.tcp(IN, 22, 5000, ACK, 1001, 2001), Tracked);
    world.drops(&V4.tcp(OUT, 22, 5000, SYN, 1, 0), NoRule);
    world.passes(&V4.tcp(OUT, 22, 5000, ACK, 2001, 1001), Tracked);
}

#[test]
fn p4_port_reuse_while_closing_is_new() {
    let mut world = World::new(NARROW);
    world.connect(V4, IN, 22, 5000);
    world.passes(&V4.tcp(IN, 22, 5000, FIN | ACK, 1001, 2001), Tracked);
    world.passes(&V4.tcp(IN, 22, 5000, SYN, 1, 0), Tracked);
    world.passes(&V4.tcp(OUT, 22, 5000, FIN | ACK, 2001, 1002), Tracked);
    world.passes(&V4.tcp(IN, 22, 5000, SYN, 1, 0), New);
    world.at(61);
    world.drops(&V4.tcp(OUT, 22, 5000, ACK, 2002, 1002), NoConnection);
}

#[test]
fn p5_closing_is_120_seconds_after_a_fin_each_way() {
    let mut world = World::new(NARROW);
    world.connect(V4, IN, 22, 5000);
    world.passes(&V4.tcp(IN, 22, 5000, FIN | ACK, 1001, 2001), Tracked);
    world.at(1000);
    world.passes(&V4.tcp(OUT, 22, 5000, FIN | ACK, 2001, 1002), Tracked);
    world.at(1120);
    world.passes(&V4.tcp(IN, 22, 5000, ACK, 1002, 2002), Tracked);
    world.at(1240);
    world.passes(&V4.tcp(IN, 22, 5000, ACK, 1002, 2002), Tracked);
    world.at(1361);
    world.drops(&V4.tcp(OUT, 22, 5000, ACK, 2002, 1002), NoConnection);
}

#[test]
fn p5_a_near_rst_shortens_to_ten_seconds_and_data_restores() {
    for net in BOTH {
        let mut world = World::new(NARROW);
        world.connect(net, IN, 22, 5000);
        world.at(10);
        world.passes(&net.tcp(OUT, 22, 5000, RST, 2000 + (1 << 20), 0), Tracked);
        world.at(20);
        world.passes(&net.tcp(IN, 22, 5000, ACK, 1001, 2001), Tracked);
        world.at(100);
        world.passes(&net.tcp(IN, 22, 5000, RST, 1001, 0), Tracked);
        // A SYN-ACK restores nothing.
        world.passes(&net.tcp(OUT, 22, 5000, SYN | ACK, 2000, 1001), Tracked);
        world.at(111);
        world.drops(&net.tcp(OUT, 22, 5000, ACK, 2001, 1001), NoConnection);
    }
}

#[test]
fn p5_a_far_rst_has_no_effect() {
    let mut world = World::new(NARROW);
    world.connect(V4, IN, 22, 5000);
    world.passes(&V4.tcp(OUT, 22, 5000, RST, 2000 + (1 << 20) + 1, 0), Tracked);
    world.passes(&V4.tcp(OUT, 22, 5000, RST, 2000_u32.wrapping_sub((1 << 20) + 1), 0), Tracked);
    world.at(11);
    world.passes(&V4.tcp(OUT, 22, 5000, ACK, 2001, 1001), Tracked);
    // What was recorded is the first of the second, not the latest.
    world.passes(&V4.tcp(OUT, 22, 5000, ACK, 50_000_000, 1001), Tracked);
    world.passes(&V4.tcp(OUT, 22, 5000, RST, 50_000_000, 1001), Tracked);
    world.at(22);
    world.passes(&V4.tcp(OUT, 22, 5000, ACK, 2001, 1001), Tracked);
}

#[test]
fn p5_one_rst_a_second_is_considered() {
    let mut world = World::new(NARROW);
    world.connect(V4, IN, 22, 5000);
    world.passes(&V4.tcp(OUT, 22, 5000, RST, 2001, 0), Tracked);
    world.passes(&V4.tcp(IN, 22, 5000, ACK, 1001, 2001), Tracked);
    // The second one of this second.
    world.passes(&V4.tcp(OUT, 22, 5000, RST, 2001, 0), Tracked);
    world.at(11);
    world.passes(&V4.tcp(OUT, 22, 5000, RST, 2001, 0), Tracked);
    world.at(22);
    world.drops(&V4.tcp(OUT, 22, 5000, ACK, 2001, 1001), NoConnection);
}

#[test]
fn p3_tcp_without_syn_and_entry_goes_by_the_rules_and_makes_none() {
    for net in BOTH {
        let mut world = World::new(&["in tcp 22 far"]);
        world.passes(&net.tcp(IN, 22, 5000, ACK, 1, 1), Stateless);
        world.drops(&net.tcp(OUT, 22, 5000, ACK, 1, 1), NoConnection);
        world.drops(&net.tcp(OUT, 22, 5000, SYN | ACK, 1, 1), NoConnection);
        world.drops(&net.tcp(IN, 23, 5000, ACK, 1, 1), NoConnection);
        world.drops(&net.tcp(IN, 23, 5000, SYN, 1, 0), NoRule);
    }
}

#[test]
fn t19_the_established_timeout_is_the_interfaces() {
    let mut world = World::new(NARROW);
    world.change(|interface| interface.attachment.as_mut().unwrap().timeouts.tcp_established = Some(60));
    world.connect(V4, IN, 22, 5000);
    world.at(60);
    world.passes(&V4.tcp(OUT, 22, 5000, ACK, 2001, 1001), Tracked);
    world.at(121);
    world.drops(&V4.tcp(OUT, 22, 5000, ACK, 2001, 1001), NoConnection);
}
