//! Nanoseconds a packet: the shipped programs by `BPF_PROG_TEST_RUN`, over an empty program on the same way.
//!
//! A repeated test run has one packet. So a small program in front (`sg-ebpf/bench/spread.rs`) gives each run another
//! sender and goes on, by tail call, to the pipeline, or to a program that does nothing: what both take alike is not
//! counted. Programs are measured by turns, round after round, and a round's figure is the difference to the empty
//! program of the same round. Each figure is checked: every packet must have been counted with the verdict that the row
//! is about.

use crate::{
    Run,
    results::{Cell, Samples, Section, Table},
};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, PerCpuArray, ProgramArray},
    programs::{Program, ProgramFd, SchedClassifier, TestRun, TestRunOptions, Xdp},
};
use sg_common::{
    Direction,
    flow::{Flow, FlowKey4, KeyHead, state},
    policy::{CLOCK_JIFFIES, counter_index},
    reason::{Drop, Pass, Verdict},
    vlan::Vlans,
    wire::protocol,
};
use sg_ctl::{
    kernel::object::{self, Constants},
    model::{self, GroupId, Options, Peer, PortRange, Rule, RuleId, Side, Tags, Traffic},
    ops,
};
use sg_tests::{
    bench::Bench,
    packet::{Packet, Payload, tcp},
};
use std::net::{IpAddr, Ipv4Addr};
use zerocopy::IntoBytes;

/// Flows in the table of established ones.
const FLOWS: [u32; 2] = [1 << 10, 1 << 20];
/// Prefixes that the rules of port 22 name.
const PREFIXES: [u32; 2] = [10, 10_000];
/// Entries that the measured table of established flows has room for: the shipped one is smaller than the larger case.
const ROOM: u32 = 1 << 21;

const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Senders that rules name: this address and the other values of its lower twenty bits.
const KNOWN: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 0);
/// Senders that no rule names, likewise.
const STRANGERS: Ipv4Addr = Ipv4Addr::new(12, 0, 0, 0);
const SENDER_BITS: u8 = 20;
/// The senders' port in the table of flows. New ones come from ports below it.
const PORT: u16 = 40_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hook {
    Xdp,
    Tc,
}

impl Hook {
    const ALL: [Self; 2] = [Self::Xdp, Self::Tc];

    fn name(self) -> &'static str {
        match self {
            Self::Xdp => "XDP",
            Self::Tc => "TC",
        }
    }

    /// Names of the program in front, the empty one and the pipeline.
    fn programs(self) -> [&'static str; 3] {
        match self {
            Self::Xdp => ["spread_xdp", "empty_xdp", object::XDP],
            Self::Tc => ["spread_tc", "empty_tc", object::TC_RECEIVE],
        }
    }

    fn answer(self, passes: bool) -> u32 {
        match (self, passes) {
            (Self::Xdp, false) => 1,
            (Self::Xdp, true) => 2,
            (Self::Tc, false) => 2,
            (Self::Tc, true) => u32::MAX,
        }
    }
}

/// A kind of packet.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    base: Ipv4Addr,
    /// Senders, a power of two; none: as many as there are flows.
    senders: Option<u32>,
    fresh: bool,
    port: u16,
    flags: u8,
    /// None: the empty program.
    verdict: Option<Verdict>,
}

fn kinds() -> [Kind; 5] {
    let all = Some(1 << SENDER_BITS);
    let kind = |name, base, senders, fresh, port, flags, verdict| Kind {
        name,
        base,
        senders,
        fresh,
        port,
        flags,
        verdict,
    };
    [
        kind("empty program, in all", KNOWN, all, false, 80, tcp::ACK, None),
        kind(
            "untracked, open to the world",
            KNOWN,
            all,
            false,
            80,
            tcp::ACK,
            Some(Verdict::Pass(Pass::Untracked)),
        ),
        kind("tracked, entry found", KNOWN, None, false, 22, tcp::ACK, Some(Verdict::Pass(Pass::Tracked))),
        kind("new flow by prefix", KNOWN, all, true, 22, tcp::SYN, Some(Verdict::Pass(Pass::New))),
        kind("dropped, no rule", STRANGERS, all, false, 22, tcp::SYN, Some(Verdict::Drop(Drop::NoRule))),
    ]
}

/// A kind of packet at a hook, ready to run.
struct Runner {
    hook: Hook,
    kind: Kind,
    spread: Ebpf,
    frame: Vec<u8>,
    /// Nanoseconds a packet, by round.
    took: Vec<f64>,
}

/// Rounds of each measurement, and packets of one.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    packets: u32,
}

/// The section.
pub fn measure(run: &Run) -> Section {
    let spread = std::fs::read(&run.programs).unwrap();
    let effort = run.choose(Effort { rounds: 21, packets: 100_000 }, Effort { rounds: 2, packets: 1_000 });
    let mut section = Section::new(
        "packet",
        &[
            "`BPF_PROG_TEST_RUN` of the shipped programs, IPv4 and TCP; nanoseconds over an empty program in the same round",
            "each packet has another sender, which a small program in front writes (`sg-ebpf/bench/spread.rs`)",
        ],
    );
    section.how.push(format!("{} rounds of {} packets each", effort.rounds, effort.packets));
    for prefixes in run.choose(&PREFIXES[..], &PREFIXES[..1]) {
        let bench = policy(*prefixes);
        for flows in run.choose(&FLOWS[..], &FLOWS[..1]) {
            let mut pipeline = pipeline(&bench, *flows);
            fill(&mut pipeline, *flows);
            let mut runners = runners(&spread, &pipeline, *flows);
            for _ in 0..effort.rounds {
                runners.iter_mut().for_each(|runner| runner.round(effort.packets));
            }
            verify(&pipeline, &runners, effort);
            section.tables.push(table(&runners, *flows, *prefixes));
        }
    }
    section
}

/// A host with one interface: port 80 is open to the world both ways, port 22 to that many prefixes, which cover all
/// [`KNOWN`] senders.
fn policy(prefixes: u32) -> Bench {
    let mut bench = Bench::new();
    let group = ops::group::create(&mut bench.state, &ops::group::Create::new("web", "bench")).unwrap();
    bench.interface(Side::Host, &["web"], &[IpAddr::V4(LOCAL)], Options::default());
    let mut admit = |port, peer| {
        let rule = rule(group, port, peer);
        bench.state.rules.insert(rule.id, rule);
    };
    admit(80, Peer::Ipv4(ipnet::Ipv4Net::default()));
    // As many prefixes of two neighbouring lengths as it takes: first the shorter ones, then the longer.
    let bits = prefixes.next_power_of_two().ilog2() as u8;
    let (short, mut at) = ((1 << bits) - prefixes, u32::from(KNOWN));
    for n in 0..prefixes {
        let free = SENDER_BITS - bits + u8::from(n < short);
        admit(22, Peer::Ipv4(ipnet::Ipv4Net::new(at.into(), 32 - free).unwrap()));
        at += 1 << free;
    }
    assert_eq!(at, u32::from(KNOWN) + (1 << SENDER_BITS), "the prefixes cover all senders");
    bench.install();
    let maps = bench.maps().policy_maps().unwrap();
    let trie = maps.iter().find(|map| map.name == "prefixes4").unwrap();
    assert_eq!(trie.entries, u64::from(prefixes), "each prefix is in the trie");
    bench
}

fn rule(group: GroupId, port: u16, peer: Peer) -> Rule {
    Rule {
        id: RuleId::random(),
        group,
        direction: model::Direction::Ingress,
        traffic: Traffic::Tcp(PortRange { from: port, to: port }),
        peer,
        peer_vpc: None,
        description: None,
        tags: Tags::new(),
    }
}

/// The shipped programs over the policy, with flow tables of their own.
fn pipeline(bench: &Bench, flows: u32) -> Ebpf {
    let constants = Constants { hz: bench.kernel_hz, ..Constants::default() };
    let sizes = [("ESTABLISHED4", ROOM.max(flows))];
    let maps = bench.maps().maps();
    let mut object = object::open_sized(&constants, &maps, &[object::POLICY_MAPS], &sizes).unwrap();
    for program in [object::XDP, object::TC_RECEIVE, object::CLOCK] {
        object::load(&mut object, program).unwrap();
    }
    object
}

/// Establishes that many flows, of as many senders.
fn fill(object: &mut Ebpf, flows: u32) {
    let clock: &Xdp = object.program(object::CLOCK).unwrap().try_into().unwrap();
    clock.test_run(TestRunOptions { data_in: Some(&[0; 64]), ..TestRunOptions::default() }).unwrap();
    let cells: Array<_, u64> = object.map("CLOCK").unwrap().try_into().unwrap();
    let last = cells.get(&CLOCK_JIFFIES, 0).unwrap();
    let flow =
        Flow { last, state: state::ESTABLISHED, started: Direction::Ingress as u32, ..Flow::default() };
    let mut table: HashMap<_, [u8; 20], [u8; 48]> =
        object.map_mut("ESTABLISHED4").unwrap().try_into().unwrap();
    for n in 0..flows {
        let remote = Ipv4Addr::from(u32::from(KNOWN) + n);
        let head = KeyHead {
            slot: 0,
            protocol: protocol::TCP,
            start: 0,
            local_port: 22,
            remote_port: PORT,
            vlans: Vlans::NONE,
        };
        let address = |address: Ipv4Addr| u32::from_ne_bytes(address.octets());
        let key = FlowKey4 { head, local: address(LOCAL), remote: address(remote) };
        let key: [u8; 20] = key.as_bytes().try_into().unwrap();
        let value: [u8; 48] = flow.as_bytes().try_into().unwrap();
        table.insert(&key, &value, 0).unwrap();
    }
}

fn runners(spread: &[u8], pipeline: &Ebpf, flows: u32) -> Vec<Runner> {
    let hooks = Hook::ALL.into_iter();
    hooks.flat_map(|hook| kinds().map(|kind| Runner::new(spread, pipeline, flows, hook, kind))).collect()
}

impl Runner {
    fn new(spread: &[u8], pipeline: &Ebpf, flows: u32, hook: Hook, kind: Kind) -> Self {
        let [front, empty, measured] = hook.programs();
        let (base, mask) = (u32::from(kind.base), kind.senders.unwrap_or(flows) - 1);
        let mut loader = EbpfLoader::new();
        loader.override_global("BASE", &base, true).override_global("MASK", &mask, true);
        let fresh = u32::from(kind.fresh);
        loader.override_global("FRESH", &fresh, true);
        let mut spread = loader.load(spread).unwrap();
        for name in [front, empty] {
            object::load(&mut spread, name).unwrap();
        }
        let target: ProgramFd = match kind.verdict {
            None => object::program_fd(&spread, empty).unwrap().try_clone().unwrap(),
            Some(_) => object::program_fd(pipeline, measured).unwrap().try_clone().unwrap(),
        };
        let mut targets: ProgramArray<_> = spread.map_mut("TARGET").unwrap().try_into().unwrap();
        targets.set(0, &target, 0).unwrap();
        // Senders of the two hooks never have the same new flow.
        let mut turn: Array<_, u64> = spread.map_mut("TURN").unwrap().try_into().unwrap();
        turn.set(0, &((hook as u64) << 34), 0).unwrap();
        let payload = Payload::Tcp {
            source: PORT,
            destination: kind.port,
            flags: kind.flags,
            sequence: 1,
            acknowledgement: 1,
        };
        let frame = Packet::new(kind.base.into(), LOCAL.into(), payload).frame();
        Self { hook, kind, spread, frame, took: Vec::new() }
    }

    fn round(&mut self, packets: u32) {
        let options =
            TestRunOptions { data_in: Some(&self.frame), repeat: packets, ..TestRunOptions::default() };
        let ran = match self.spread.program(self.hook.programs()[0]).unwrap() {
            Program::Xdp(program) => Xdp::test_run(program, options),
            Program::SchedClassifier(program) => SchedClassifier::test_run(program, options),
            _ => unreachable!("the programs in front are of these two kinds"),
        }
        .unwrap();
        let passes = self.kind.verdict.is_none_or(Verdict::passes);
        assert_eq!(ran.return_value, self.hook.answer(passes), "{} at {}", self.kind.name, self.hook.name());
        self.took.push(ran.duration.as_nanos() as f64);
    }
}

/// Every packet was counted, with the verdict of its row.
fn verify(pipeline: &Ebpf, runners: &[Runner], effort: Effort) {
    let counters: PerCpuArray<_, [u64; 2]> = pipeline.map("COUNTERS").unwrap().try_into().unwrap();
    for verdict in kinds().into_iter().filter_map(|kind| kind.verdict) {
        let index = counter_index(0, Direction::Ingress, verdict.number());
        let counted: u64 = counters.get(&index, 0).unwrap().iter().map(|counter| counter[0]).sum();
        let hooks = runners.iter().filter(|runner| runner.kind.verdict == Some(verdict)).count();
        assert_eq!(counted, hooks as u64 * effort.rounds as u64 * u64::from(effort.packets), "{verdict:?}");
    }
}

/// A row for each kind, a column for each hook.
fn table(runners: &[Runner], flows: u32, prefixes: u32) -> Table {
    let took = |hook, name| {
        let runner = runners.iter().find(|runner| runner.hook == hook && runner.kind.name == name).unwrap();
        Samples::new("ns", runner.took.clone())
    };
    let empty = kinds()[0].name;
    let cell = |hook, kind: Kind| -> Cell {
        match kind.verdict {
            None => took(hook, kind.name).into(),
            Some(_) => took(hook, kind.name).minus(&took(hook, empty)).into(),
        }
    };
    let mut table =
        Table::new(format!("{flows} flows, {prefixes} prefixes"), &["packet", "XDP, ns", "TC, ns"]);
    for kind in kinds() {
        table.row(kind.name, Hook::ALL.map(|hook| cell(hook, kind)).into());
    }
    table
}
