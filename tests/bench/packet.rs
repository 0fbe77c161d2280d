//! Nanoseconds a packet: the shipped programs by `BPF_PROG_TEST_RUN`, beside programs that do less.
//!
//! A repeated test run has one packet. So a small program in front (`sg-ebpf/bench/spread.rs`) gives each run another
//! sender and goes on, by tail call, to the pipeline or to what it is held against. Programs are measured by turns, round after
//! round. Each figure is checked: every packet must have been counted with the verdict that it is about.

mod ground;
mod outcomes;
mod runner;

use crate::{
    Run,
    results::{Axis, Bound, Cell, Curve, Samples, Section, Table, Target},
};
use ground::{Ground, Plan, Special};
use outcomes::Ends;
use runner::{Effort, Hook, Kind, Runner, Subject};
use sg_ctl::kernel::object;
use std::panic::{AssertUnwindSafe, catch_unwind};

const HOW: [&str; 7] = [
    "`BPF_PROG_TEST_RUN` of the shipped programs; nanoseconds a packet by the kernel's own clock, the mean over the packets of a round. All figures are gross: with the test run itself and with the program in front of the measured one",
    "that program (`sg-ebpf/bench/spread.rs`) gives each packet another sender and goes on by tail call. Senders go through all values before one comes again, each far from the one before: 1,048,576 of them, or as many as there are flows. Where a packet needs a certain sender all are the same",
    "*parse only* is a program with the pipeline's own parser, which uses all that it found and does nothing else; *one bare lookup* looks for the flow besides, in the very table that the pipeline has, and does not look at what it found. Both lie in one object with the *empty program*",
    "all are measured by turns; after the rounds the interface's counters must hold every packet, with the verdict that the row is about",
    "*tracked*: an ACK of one of the flows in the table, all of which take their turn. *New*: a SYN with sender and port that never came, admitted by a prefix; the table of pending flows is full and displaces one each time. *No rule*: a SYN; it is looked for among the flows before its sender is looked for among addresses and prefixes",
    "a table of flows has room for twice as many as it holds; all else is as it ships, on the host's side",
    "*interfaces*: each has its own load of the programs, and packets come to them by turns; 1,024 flows",
];

/// Programs of both hooks.
const BOTH: [&str; 2] = [object::XDP, object::TC_RECEIVE];
/// Flows where nothing else is said.
const FLOWS: u32 = 1 << 10;

/// The section.
pub fn measure(run: &Run) -> Section {
    let programs = std::fs::read(&run.programs).unwrap();
    let effort = run.choose(Effort { rounds: 21, packets: 100_000 }, Effort { rounds: 2, packets: 1_000 });
    let mut section = Section::new("packet", &HOW);
    section.how.push(format!("{} rounds of {} packets each", effort.rounds, effort.packets));
    let bench = Bench { programs, effort };
    run.note("every outcome");
    outcomes(&bench, &mut section);
    run.note("flows");
    flows(&bench, &mut section, run.choose(&[1 << 10, 10_000, 100_000, 1 << 20], &[1 << 10]));
    run.note("prefixes");
    prefixes(&bench, &mut section, run.choose(&[10, 1_000, 10_000, 100_000, 1_000_000], &[10]));
    run.note("rules");
    rules(&bench, &mut section, run.choose(&[1, 10, 100, 1_000], &[1, 10]));
    run.note("interfaces");
    interfaces(&bench, &mut section, run.choose(&[1, 32, 1024], &[1, 2]));
    section
}

/// What every part of the section needs.
struct Bench {
    programs: Vec<u8>,
    effort: Effort,
}

impl Bench {
    /// Measures kinds of packets of one family at these hooks.
    fn run(&self, ground: &Ground, hooks: &[Hook], kinds: &[(bool, Kind)]) -> Vec<Runner> {
        let mut runners: Vec<Runner> = hooks
            .iter()
            .flat_map(|hook| kinds.iter().map(|(v6, kind)| (*hook, *v6, kind)))
            .map(|(hook, v6, kind)| Runner::new(&self.programs, ground, hook, v6, kind))
            .collect();
        runner::run(ground, &mut runners, self.effort);
        runners
    }
}

fn took(runners: &[Runner], hook: Hook, v6: bool, name: &str) -> Samples {
    let is_it = |runner: &&Runner| runner.hook == hook && runner.v6 == v6 && runner.kind.name == name;
    runners.iter().find(is_it).unwrap().took()
}

/// Every verdict, both hooks and families; and the target of the open port.
fn outcomes(bench: &Bench, section: &mut Section) {
    let columns = ["packet", "XDP IPv4, ns", "TC IPv4, ns", "XDP IPv6, ns", "TC IPv6, ns"];
    let mut gross = Table::new("Every outcome", &columns);
    let ratios = ["packet", "XDP IPv4, ×", "TC IPv4, ×", "XDP IPv6, ×", "TC IPv6, ×"];
    let mut over = Table::new("Every outcome, over parsing the same kind of packet", &ratios);
    let places = [false, true].into_iter().flat_map(|v6| Hook::ALL.map(|hook| (hook, v6)));
    let places: Vec<(Hook, bool)> = places.collect();
    let states = [Special::None, Special::NonIpPass, Special::Observing, Special::Full, Special::NoPolicy];
    for state in states {
        let ground = Ground::new(Plan { state, ..Plan::new(FLOWS) }, &BOTH);
        let kinds = |v6| {
            let ends = Ends::new(v6);
            let mut kinds = vec![ends.parse()];
            match ends.special(state) {
                Some(kind) => kinds.push(kind),
                None => {
                    kinds.extend([ends.empty(), ends.lookup(FLOWS)]);
                    kinds.extend(ends.ordinary(FLOWS));
                }
            }
            kinds.into_iter().map(move |kind| (v6, kind))
        };
        let all: Vec<(bool, Kind)> = [false, true].into_iter().flat_map(kinds).collect();
        let runners = bench.run(&ground, &Hook::ALL, &all);
        let parse = |(hook, v6)| took(&runners, hook, v6, "parse only");
        // Both families have the same kinds of packets.
        for (_, kind) in all.iter().filter(|(v6, _)| !v6) {
            if state != Special::None && kind.subject == Subject::Parse {
                continue;
            }
            let row = |of: &dyn Fn((Hook, bool), Samples) -> Samples| -> Vec<Cell> {
                let cell =
                    |place: &(Hook, bool)| of(*place, took(&runners, place.0, place.1, kind.name)).into();
                places.iter().map(cell).collect()
            };
            gross.row(kind.name, row(&|_, took| took));
            over.row(kind.name, row(&|place, took| took.over(&parse(place))));
        }
        if state == Special::None {
            let ratio =
                |hook, kind: &Kind| took(&runners, hook, false, kind.name).over(&parse((hook, false)));
            let ends = Ends::new(false);
            for hook in Hook::ALL {
                let beside = format!(
                    "random ports {} ×, UDP {} ×",
                    ratio(hook, &ends.untracked_ports()),
                    ratio(hook, &ends.untracked_udp())
                );
                let what = format!("untracked TCP, one open port, over parsing only: {}, IPv4", hook.name());
                let measured = ratio(hook, &ends.untracked());
                section.targets.push(Target::new(&what, Bound::AtMost(1.3), measured, beside));
            }
        }
    }
    section.tables.extend([gross, over]);
}

fn curve(name: &str, title: &str, x: &str) -> Curve {
    Curve::new(name, title, Axis::logarithmic(x), Axis::linear("ns a packet"))
}

/// A tracked packet by the number of flows, beside a bare lookup.
fn flows(bench: &Bench, section: &mut Section, sizes: &[u32]) {
    let mut curve = curve("packet-flows", "A tracked packet, by flows", "flows");
    for flows in sizes {
        // A power of two: senders are told by bits.
        let flows = flows.next_power_of_two();
        let ground = Ground::new(Plan::new(flows), &BOTH);
        let ends = Ends::new(false);
        let kinds = [ends.lookup(flows), ends.tracked(flows)];
        let runners = bench.run(&ground, &Hook::ALL, &kinds.clone().map(|kind| (false, kind)));
        for hook in Hook::ALL {
            let [bare, tracked] = [0, 1].map(|n: usize| took(&runners, hook, false, kinds[n].name));
            if [sizes[0], sizes[sizes.len() - 1]].contains(&flows) {
                let what = format!(
                    "tracked, {flows} flows, over parsing and one bare lookup: {}, IPv4",
                    hook.name()
                );
                section.targets.push(Target::new(&what, Bound::AtMost(1.3), tracked.over(&bare), ""));
            }
            curve.add(&format!("{}, tracked", hook.name()), f64::from(flows), tracked);
            curve.add(&format!("{}, parse and one bare lookup", hook.name()), f64::from(flows), bare);
        }
    }
    section.curves.push(curve);
}

/// A packet that is looked for among prefixes and refused, by their number.
fn prefixes(bench: &Bench, section: &mut Section, sizes: &[u32]) {
    let mut curve = curve("packet-prefixes", "A packet that no rule admits, by prefixes", "prefixes");
    for prefixes in sizes {
        let ground = Ground::new(Plan { prefixes: *prefixes, ..Plan::new(FLOWS) }, &BOTH);
        let runners = bench.run(&ground, &Hook::ALL, &[(false, Ends::new(false).refused())]);
        for runner in &runners {
            curve.add(runner.hook.name(), f64::from(*prefixes), runner.took());
        }
    }
    section.curves.push(curve);
}

/// The same, by the number of rules that name the same prefixes.
fn rules(bench: &Bench, section: &mut Section, sizes: &[u32]) {
    let mut curve =
        curve("packet-rules", "A packet that no rule admits, by rules of the same prefixes", "rules");
    // Side by side, so that a ratio is one of the same rounds.
    let grounds: Vec<Ground> =
        sizes.iter().map(|rules| Ground::new(Plan { rules: *rules, ..Plan::new(FLOWS) }, &BOTH)).collect();
    let mut runners: Vec<Vec<Runner>> = grounds
        .iter()
        .map(|ground| {
            let kind = Ends::new(false).refused();
            Hook::ALL.map(|hook| Runner::new(&bench.programs, ground, hook, false, &kind)).into()
        })
        .collect();
    for _ in 0..bench.effort.rounds {
        for (ground, runners) in grounds.iter().zip(&mut runners) {
            runners.iter_mut().for_each(|runner| runner.round(ground, bench.effort.packets));
        }
    }
    for (ground, runners) in grounds.iter().zip(&runners) {
        runner::verify(ground, runners, bench.effort);
    }
    for (n, hook) in Hook::ALL.into_iter().enumerate() {
        for (rules, runners) in sizes.iter().zip(&runners) {
            curve.add(hook.name(), f64::from(*rules), runners[n].took());
        }
        let (few, many) = (runners[0][n].took(), runners[runners.len() - 1][n].took());
        let (first, last) = (sizes[0], sizes[sizes.len() - 1]);
        let what = format!("decision, {last} rules over {first}, same prefixes: {}, IPv4", hook.name());
        section.targets.push(Target::new(&what, Bound::AtMost(1.1), many.over(&few), ""));
    }
    section.curves.push(curve);
}

/// Packets that come to one interface after the other, at XDP.
fn interfaces(bench: &Bench, section: &mut Section, sizes: &[u32]) {
    let mut curve = curve("packet-interfaces", "A packet to one of many interfaces, XDP", "interfaces");
    let kinds = [Ends::new(false).untracked(), Ends::new(false).tracked(FLOWS)];
    for interfaces in sizes {
        let plan = Plan { interfaces: *interfaces, ..Plan::new(FLOWS) };
        let measured = catch_unwind(AssertUnwindSafe(|| {
            let ground = Ground::new(plan, &[object::XDP]);
            let runners = bench.run(&ground, &[Hook::Xdp], &kinds.clone().map(|kind| (false, kind)));
            runners.iter().map(Runner::took).collect::<Vec<_>>()
        }));
        // Where a host cannot have so many, that is what is to be said.
        let measured = measured.map_err(|panic| crate::said(panic.as_ref()));
        for (n, kind) in kinds.iter().enumerate() {
            curve.add(kind.name, f64::from(*interfaces), measured.clone().map(|took| took[n].clone()));
        }
    }
    section.curves.push(curve);
}
