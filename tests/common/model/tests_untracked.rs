//! P-2, P-3, P-3a and P-19: untracked flows, and what becomes of them when their rule goes.

use super::{Verdict, testing::*};

const OPEN_WEB: &[&str] = &["in tcp 80 world", "in udp 53 world", "out all world"];

/// Resolves an open verdict.
#[track_caller]
fn one_of(world: &mut World, packet: &Built, classes: [PassClass; 2], actual: PassClass) {
    assert_eq!(world.judge(packet), Verdict::OneOf(classes.map(pass).to_vec()));
    world.model.resolve(pass(actual));
}

#[test]
fn p19_t11_the_table_of_the_founding_document() {
    let inward = ["in tcp 22 203.0.113.1/32", "in tcp 80 world4", "in tcp 80 world6", "in icmp world4"];
    let with = |outward: &[&'static str]| [&inward, outward].concat();
    let mut world = World::new(&with(&["out all world4", "out all world6"]));
    world.passes(&V4.tcp(IN, 22, 5000, SYN, 1, 0), New);
    world.passes(&V4.tcp(IN, 80, 5000, SYN, 1, 0), Untracked);
    world.passes(&V6.tcp(IN, 80, 5000, SYN, 1, 0), Untracked);
    world.passes(&V4.echo(IN, false, 1), New);
    world.rules(&with(&["out all world6"]));
    world.passes(&V4.tcp(IN, 80, 5000, SYN, 1, 0), New);
    world.passes(&V6.tcp(IN, 80, 5000, SYN, 1, 0), Untracked);
}

#[test]
fn p2_both_ends_of_an_untracked_flow_pass_without_entry() {
    for net in BOTH {
        let mut world = World::new(OPEN_WEB);
        world.passes(&net.tcp(IN, 80, 5000, SYN, 1, 0), Untracked);
        world.passes(&net.tcp(OUT, 80, 5000, SYN | ACK, 1, 2), Untracked);
        world.passes(&net.udp(IN, 53, 5000), Untracked);
        world.passes(&net.udp(OUT, 53, 5000), Untracked);
        // Not open inward: started outward, tracked.
        world.passes(&net.tcp(OUT, 5000, 443, SYN, 1000, 0), New);
        world.passes(&net.tcp(IN, 5000, 443, SYN | ACK, 2000, 1001), Tracked);
    }
}

#[test]
fn p2_mirrored_for_outward_starts() {
    for net in BOTH {
        let mut world = World::new(&["out tcp 443 world", "in tcp 0-65535 world"]);
        world.passes(&net.tcp(OUT, 5000, 443, SYN, 1, 0), Untracked);
        world.passes(&net.tcp(IN, 5000, 443, SYN | ACK, 1, 2), Untracked);
        // UDP is not all open inward.
        world.rules(&["out udp 443 world", "in tcp 0-65535 world"]);
        world.passes(&net.udp(OUT, 5000, 443), New);
    }
}

#[test]
fn p2_all_ports_takes_one_rule_and_all_addresses_the_written_ones() {
    for rules in [
        &["in tcp 80 world", "out tcp 0-1000 world", "out tcp 1001-65535 world"][..],
        &["in tcp 80 world", "out tcp 1-65535 world"],
        &["in tcp 80 0.0.0.0/1", "in tcp 80 128.0.0.0/1", "out all world"],
        &["in tcp 80 world", "out udp 0-65535 world"],
        &["in all far", "out all world"],
    ] {
        World::new(rules).passes(&V4.tcp(IN, 80, 5000, SYN, 1, 0), New);
    }
    World::new(&["in all world", "out tcp 0-65535 world"])
        .passes(&V4.tcp(IN, 80, 5000, SYN, 1, 0), Untracked);
}

#[test]
fn p2_t14_force_track() {
    let mut world = World::new(OPEN_WEB);
    world.options(|options| options.force_track = true);
    world.connect(V4, IN, 80, 5000);
}

#[test]
fn p2_own_connections_are_tracked_and_outlive_a_rule_that_covers_their_port() {
    for net in BOTH {
        let mut world = World::new(&["in tcp 1024-65535 world", "out all world"]);
        world.connect(net, OUT, 5000, 443);
        world.passes(&net.tcp(IN, 5000, 443, ACK, 2001, 1001), Tracked);
        world.rules(&[]);
        world.passes(&net.tcp(IN, 5000, 443, ACK, 2001, 1001), Tracked);
        world.passes(&net.tcp(OUT, 5000, 443, ACK, 1001, 2001), Tracked);
    }
}

#[test]
fn p2_a_covered_syn_on_a_closing_entry_leaves_nothing() {
    for actual in [Untracked, New] {
        let mut world = World::new(&["in tcp 80 world", "out all world"]);
        world.connect(V4, OUT, 80, 443);
        world.passes(&V4.tcp(IN, 80, 443, SYN, 1, 0), Tracked);
        world.passes(&V4.tcp(IN, 80, 443, RST, 2001, 0), Tracked);
        one_of(&mut world, &V4.tcp(IN, 80, 443, SYN, 1, 0), [Untracked, New], actual);
        world.rules(&[]);
        world.drops(&V4.tcp(OUT, 80, 443, ACK, 1, 0), NoConnection);
    }
}

#[test]
fn p3_tcp_cut_at_once_and_not_revived_by_its_server() {
    for net in BOTH {
        let mut world = World::new(OPEN_WEB);
        world.passes(&net.tcp(IN, 80, 5000, SYN, 1, 0), Untracked);
        world.rules(&["out all world"]);
        for second in 1..600 {
            world.at(second);
            world.passes(&net.tcp(OUT, 80, 5000, ACK, 1, 1), Stateless);
            world.drops(&net.tcp(IN, 80, 5000, ACK, 1, 1), NoConnection);
        }
        // T-33: removing the outward rule cuts an inward flow, whose answers have no entry.
        world.rules(&["in tcp 80 world"]);
        world.passes(&net.tcp(IN, 80, 5000, ACK, 1, 1), Stateless);
        world.drops(&net.tcp(OUT, 80, 5000, ACK, 1, 1), NoConnection);
    }
}

#[test]
fn p3_udp_is_not_carried_on_by_its_answering_end() {
    for net in BOTH {
        let mut world = World::new(OPEN_WEB);
        world.passes(&net.udp(IN, 53, 5000), Untracked);
        world.rules(&["out all world"]);
        for second in (100..2000).step_by(100) {
            world.at(second);
            world.passes(&net.udp(OUT, 53, 5000), Stateless);
            world.drops(&net.udp(IN, 53, 5000), NoRule);
        }
        // Silent for longer than the mark can live: a flow of its own.
        world.at(1900 + 361);
        world.passes(&net.udp(OUT, 53, 5000), New);
        world.passes(&net.udp(IN, 53, 5000), Tracked);
    }
}

#[test]
fn p3_a_refused_answer_is_not_silence() {
    let mut world = World::new(OPEN_WEB);
    world.passes(&V4.udp(IN, 53, 5000), Untracked);
    world.rules(&[]);
    for second in (100..1000).step_by(100) {
        world.at(second);
        world.drops(&V4.udp(OUT, 53, 5000), NoRule);
    }
    world.rules(&["out all world"]);
    world.passes(&V4.udp(OUT, 53, 5000), Stateless);
}

#[test]
fn p3_between_the_times_the_datapath_says() {
    for (actual, then) in [(Stateless, Stateless), (New, Tracked)] {
        let mut world = World::new(OPEN_WEB);
        world.passes(&V4.udp(IN, 53, 5000), Untracked);
        world.rules(&["out all world"]);
        world.at(181);
        one_of(&mut world, &V4.udp(OUT, 53, 5000), [Stateless, New], actual);
        world.at(182);
        world.passes(&V4.udp(OUT, 53, 5000), then);
    }
}

#[test]
fn p3_new_flows_are_unaffected() {
    for net in BOTH {
        let mut world = World::new(&["in udp 0-65535 world", "out all world"]);
        world.passes(&net.udp(OUT, 5000, 53), Untracked);
        world.rules(&["out all world"]);
        world.passes(&net.udp(OUT, 5001, 53), New);
        world.passes(&net.udp(IN, 5001, 53), Tracked);
        // The starting end of an untracked flow starts it anew.
        world.passes(&net.udp(OUT, 5000, 53), New);
        world.passes(&net.udp(IN, 5000, 53), Tracked);
    }
}

#[test]
fn p3a_containment() {
    for net in BOTH {
        let mut world = World::new(&["in tcp 22 far", "in udp 53 far"]);
        world.connect(net, IN, 22, 5000);
        world.passes(&net.udp(IN, 53, 5000), New);
        world.rules(&["in all world", "out all world"]);
        world.rules(&[]);
        world.drops(&net.tcp(IN, 22, 5000, ACK, 1001, 2001), NoConnection);
        world.drops(&net.tcp(OUT, 22, 5000, ACK, 2001, 1001), NoConnection);
        world.drops(&net.udp(IN, 53, 5000), NoRule);
        world.drops(&net.udp(OUT, 53, 5000), NoRule);
    }
}

#[test]
fn p3a_a_voided_udp_flow_keeps_its_start() {
    for net in BOTH {
        let mut world = World::new(&["in udp 53 far"]);
        world.passes(&net.udp(IN, 53, 5000), New);
        world.rules(OPEN_WEB);
        // Its server goes on sending: that is no start of its own.
        world.passes(&net.udp(OUT, 53, 5000), Untracked);
        world.rules(&["out all world"]);
        world.passes(&net.udp(OUT, 53, 5000), Stateless);
        world.drops(&net.udp(IN, 53, 5000), NoRule);
    }
}

#[test]
fn t32_t34_tracked_flows_outlive_their_rules() {
    for net in BOTH {
        let mut world = World::new(&["in tcp 22 far", "in udp 53 far", "in icmp far", "in icmpv6 far"]);
        world.connect(net, IN, 22, 5000);
        world.passes(&net.udp(IN, 53, 5000), New);
        world.passes(&net.echo(IN, false, 7), New);
        world.rules(&[]);
        world.passes(&net.tcp(OUT, 22, 5000, ACK, 2001, 1001), Tracked);
        world.passes(&net.udp(OUT, 53, 5000), Tracked);
        world.passes(&net.echo(OUT, true, 7), Tracked);
        // T-37: a running ping refreshes itself.
        world.at(30);
        world.passes(&net.echo(IN, false, 7), Tracked);
        world.at(61);
        world.drops(&net.echo(IN, false, 7), NoRule);
    }
}

#[test]
fn p3_an_interface_that_is_gone_is_forgotten() {
    let mut world = World::new(&["in tcp 22 far"]);
    world.connect(V4, IN, 22, 5000);
    let interface = world.state.interfaces.remove(&eth1()).unwrap();
    world.model.set_policy(&world.state);
    world.drops(&V4.tcp(OUT, 22, 5000, ACK, 2001, 1001), NoRule);
    world.state.interfaces.insert(interface.id, interface);
    world.model.set_policy(&world.state);
    world.drops(&V4.tcp(OUT, 22, 5000, ACK, 2001, 1001), NoConnection);
}
