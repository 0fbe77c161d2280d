//! The sweep of the flow tables: what is over goes, what lives stays, and the kernel has the last word.

use sg_common::{
    Direction::{Egress, Ingress},
    reason::{Drop::*, Pass::*},
    sweep::SWEEP_FLOWS,
};
use sg_ctl::{
    kernel::{Step, Suspects, Sweeper, object::Constants},
    model::{Options, Side},
};
use sg_tests::{
    bench::{HZ, Hook},
    packet::tcp::{ACK, SYN},
    rig::{Rig, Variant, dropped, in_all_variants, passes},
};

fn sweeper(rig: &Rig) -> Sweeper {
    let constants = Constants { hz: HZ, test_clock: true, ..Constants::default() };
    Sweeper::new(rig.bench.maps(), &constants).expect("the program is accepted")
}

/// One walk round all tables: how many entries it saw, and removed.
fn round(sweeper: &mut Sweeper) -> (usize, usize) {
    let (mut looked, mut removed) = (0, 0);
    loop {
        let step = sweeper.step().expect("a step");
        looked += step.looked;
        removed += step.removed;
        if step.is_last {
            return (looked, removed);
        }
    }
}

#[test]
fn what_is_over_goes_and_what_lives_stays() {
    in_all_variants(|rig| {
        let mut sweeper = sweeper(rig);
        assert_eq!(round(&mut sweeper), (0, 0));
        let everybody = rig.world();
        rig.revoke_all();
        rig.allow("ingress", "all", None, &everybody);
        rig.handshake(Ingress, (22, 40_000));
        assert_eq!(rig.udp(Ingress, (53, 40_000)), passes(New));
        assert_eq!(rig.udp(Egress, (53, 40_000)), passes(Tracked));
        assert_eq!(rig.udp(Ingress, (53, 40_001)), passes(New));
        assert_eq!(rig.tcp(Ingress, (22, 40_001), SYN, 1, 0), passes(New));
        assert_eq!(round(&mut sweeper), (4, 0), "all are live");

        // UDP is over after 30 seconds, and spared for two more.
        rig.wait(32);
        assert_eq!(round(&mut sweeper), (4, 0));
        rig.wait(1);
        assert_eq!(round(&mut sweeper), (4, 2));
        assert_eq!(rig.bench.entries(), 2);
        // The half-open one after 60.
        rig.wait(30);
        assert_eq!(round(&mut sweeper), (2, 1));
        assert_eq!(
            rig.tcp(Ingress, (22, 40_000), ACK, 1_001, 5_001),
            passes(Tracked),
            "it was live all along"
        );
        rig.wait(432_000);
        assert_eq!(round(&mut sweeper), (1, 0));
        rig.wait(3);
        assert_eq!(round(&mut sweeper), (1, 1));
        assert_eq!(rig.bench.entries(), 0);
    });
}

#[test]
fn what_goes_on_between_the_look_and_the_removal_survives() {
    in_all_variants(|rig| {
        let everybody = rig.world();
        rig.revoke_all();
        rig.allow("ingress", "all", None, &everybody);
        for port in [1, 2, 3] {
            assert_eq!(rig.udp(Ingress, (53, port)), passes(New));
        }
        rig.wait(40);
        let mut sweeper = sweeper(rig);
        let mut suspects = Vec::new();
        loop {
            let found = sweeper.look().expect("a look");
            let is_last = found.is_last;
            suspects.push(found);
            if is_last {
                break;
            }
        }
        assert_eq!(suspects.iter().map(Suspects::count).sum::<usize>(), 3);
        // One begins anew under the same key; of another somebody else has removed the entry.
        assert_eq!(rig.udp(Ingress, (53, 2)), passes(New));
        rig.revoke_all();
        assert_eq!(rig.udp(Ingress, (53, 3)), dropped(NoRule));
        assert_eq!(rig.bench.entries(), 2);
        let removed: usize =
            suspects.iter().map(|found| sweeper.remove(found).expect("the kernel judges")).sum();
        assert_eq!((removed, rig.bench.entries()), (1, 1));
        assert_eq!(rig.udp(Egress, (53, 2)), passes(Tracked), "no rule, only its entry, admits this answer");
    });
}

#[test]
fn the_timeouts_of_this_moment_count() {
    let mut rig = Rig::new(Variant { v6: false, hook: Hook::Tc, side: Side::Host }, Options::default());
    rig.allow("ingress", "udp", Some("53"), "198.51.100.0/24");
    assert_eq!(rig.udp(Ingress, (53, 1)), passes(New));
    rig.wait(50);
    let mut sweeper = sweeper(&rig);
    let mut found = Vec::new();
    while found.last().is_none_or(|last: &Suspects| !last.is_last) {
        found.push(sweeper.look().expect("a look"));
    }
    // What was over when it was looked at lives by the longer timeout that is put in force now.
    let eni = rig.bench.state.interfaces.get_mut(&rig.eni).expect("the interface");
    eni.attachment.as_mut().expect("it is attached").timeouts.udp = Some(60);
    rig.bench.install();
    let removed: usize = found.iter().map(|found| sweeper.remove(found).expect("the kernel judges")).sum();
    assert_eq!(removed, 0);
    rig.wait(13);
    assert_eq!(round(&mut sweeper), (1, 1));
}

#[test]
fn a_walk_comes_round_in_steps_however_much_there_is() {
    let mut rig = Rig::new(Variant { v6: true, hook: Hook::Tc, side: Side::Host }, Options::default());
    rig.allow("ingress", "udp", Some("53"), "2001:db8:7::/64");
    // The table is least recently used, and shared out among processors: far from full it displaces nothing.
    let many = 6_000 + SWEEP_FLOWS + 1;
    for port in 0..many {
        let port = u16::try_from(port).expect("a port");
        assert_eq!(rig.udp(Ingress, (53, port)), passes(New));
    }
    let mut sweeper = sweeper(&rig);
    rig.wait(33);
    assert_eq!(rig.udp(Ingress, (53, 0)), passes(New));
    let mut steps = Vec::new();
    while steps.last().is_none_or(|last: &Step| !last.is_last) {
        steps.push(sweeper.step().expect("a step"));
    }
    assert!(steps.iter().all(|step| step.looked <= 4_096), "{steps:?}");
    assert!(steps.len() > 6, "{steps:?}");
    assert_eq!(steps.iter().map(|step| step.removed).sum::<usize>(), many - 1);
    assert_eq!(rig.bench.entries(), 1);
}
