//! `explain` asks the kernel's program for the verdict and the compiler for the reasons: what it says of random packets
//! under random policies is held against what the datapath does, and what it foretells of a rule's removal against
//! what becomes of a flow when the rule goes.
#![expect(clippy::unwrap_used, reason = "a failure should stop the test where it happens")]

use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, RngSeed, TestRunner},
};
use sg_common::{
    event::what,
    reason::{Drop, Pass, Verdict},
};
use sg_ctl::{
    compile::{Attribution, Carried, Removal, Start, Tracking, attribute},
    explain::{agrees, asks_rules, build_frame},
    kernel::{
        self,
        events::{Filter, Listening},
        sys,
    },
    model::{Direction, EniId, PortRange, Rule, RuleId, Traffic},
};
use sg_tests::{
    bench::{Bench, Hook},
    cast::Cast,
    packet::{Packet, Payload, tcp},
    script::{INTERFACES, PeerSpec, RuleSpec, Script, address, scripts},
};
use std::{collections::BTreeMap, net::IpAddr, os::fd::AsFd, path::Path};

/// Policies, and packets under each.
const POLICIES: u32 = 120;
const PACKETS: u32 = 12;
/// Policies under which the second load is asked as well, once an interface: a load takes a quarter of a second.
const TRIALS: u32 = 4;

struct Lab {
    bench: Bench,
    cast: Cast,
    seconds: u64,
    /// How often each answer was given and each foretelling came true.
    seen: BTreeMap<String, u32>,
}

/// A packet that would start a flow, and the interface it is about.
#[derive(Clone, Copy, Debug)]
struct Case {
    interface: u8,
    start: Start,
}

fn cases() -> impl Strategy<Value = Case> {
    let ports = || select(&[22u16, 53, 80, 443, 1_023, 1_024, 40_000, 65_535][..]);
    let carried = prop_oneof![
        6 => (ports(), ports()).prop_map(|(source, destination)| Carried::Tcp { source, destination }),
        4 => (ports(), ports()).prop_map(|(source, destination)| Carried::Udp { source, destination }),
        1 => select(&[(67u16, 68u16), (68, 67), (546, 547), (547, 546)][..])
            .prop_map(|(source, destination)| Carried::Udp { source, destination }),
        3 => (select(&[8u8, 128, 0, 129, 3, 1, 13, 2, 133, 135, 143][..]), 0..3u8)
            .prop_map(|(kind, code)| Carried::Icmp { kind, code: code.saturating_sub(1) }),
        1 => select(&[2u8, 47, 50, 59][..]).prop_map(Carried::Other),
    ];
    let far = (select(&Direction::BOTH[..]), 0..12u8, any::<bool>());
    (0..INTERFACES, far, carried).prop_map(|(interface, (direction, remote, v6), carried)| Case {
        interface,
        start: Start { direction, remote: address(remote, v6), carried },
    })
}

/// A guest may be asked, where rules say so, and never answers: it is no DHCP server, whatever its rules say (P-20).
fn asks_a_guest_for_dhcp(case: &Case) -> bool {
    let asks = matches!(case.start.carried, Carried::Udp { destination: 67 | 547, .. });
    case.interface == 2 && case.start.direction == Direction::Ingress && asks
}

impl Lab {
    fn new() -> Self {
        let mut bench = Bench::new();
        let cast = Cast::new(&mut bench);
        Self { bench, cast, seconds: 1_000_000, seen: BTreeMap::new() }
    }

    /// The script's policy; where that is wanted, with the outbound rules that groups are born with and narrow inbound
    /// ones, so that much is untracked and not by one rule alone.
    fn lay(&mut self, script: &Script, wide: bool) {
        let state = &mut self.bench.state;
        self.cast.begin(state, script);
        let all = |direction, peer| RuleSpec { group: 0, direction, traffic: Traffic::All, peer };
        let (v4, v6) = (
            |text: &str| PeerSpec::V4(text.parse().unwrap()),
            |text: &str| PeerSpec::V6(text.parse().unwrap()),
        );
        let more = [
            all(Direction::Egress, v4("0.0.0.0/0")),
            all(Direction::Egress, v6("::/0")),
            all(Direction::Ingress, v4("198.51.0.0/16")),
            all(Direction::Ingress, v6("2001:db8:7::/48")),
        ];
        for spec in script.rules.iter().chain(more.iter().filter(|_| wide)) {
            let rule = self.cast.rule(spec);
            if !state.rules.values().any(|other| other.same_identity(&rule)) {
                state.rules.insert(rule.id, rule);
            }
        }
        self.install();
    }

    fn install(&mut self) {
        self.bench.install();
        self.forget();
    }

    /// So much later that no flow and no mark is left.
    fn forget(&mut self) {
        self.seconds += 1_000_000;
        self.bench.set_time(self.seconds);
    }

    fn saw(&mut self, what: impl std::fmt::Debug) {
        *self.seen.entry(format!("{what:?}")).or_default() += 1;
    }

    fn eni(&self, case: &Case) -> EniId {
        self.cast.enis[usize::from(case.interface)]
    }

    fn local(case: &Case) -> IpAddr {
        address(case.interface, case.start.remote.is_ipv6())
    }

    fn attribute(&self, case: &Case) -> Attribution {
        let eni = &self.bench.state.interfaces[&self.eni(case)];
        attribute(&self.bench.state, eni, &eni.attachment.as_ref().unwrap().options, &case.start)
    }

    fn frame(case: &Case) -> Vec<u8> {
        build_frame(&case.start, Self::local(case), [0; 6]).unwrap()
    }

    /// What the datapath says of the packet.
    fn verdict(&self, case: &Case) -> Verdict {
        let direction = case.start.direction.into();
        self.bench.judge(self.eni(case), Hook::Tc, direction, &Self::frame(case)).unwrap()
    }

    /// Both answers, which must agree wherever it is the rules that decide.
    fn explain(&mut self, case: &Case) -> Option<(Verdict, Attribution)> {
        let verdict = self.verdict(case);
        self.forget();
        self.saw(verdict);
        if !asks_rules(verdict) {
            return None;
        }
        let attribution = self.attribute(case);
        assert!(
            agrees(verdict, &attribution),
            "{case:?}\n{verdict:?}\n{attribution:?}\n{:#?}",
            self.bench.state.rules
        );
        Some((verdict, attribution))
    }

    /// Whether a packet of the flow passes.
    fn passes(&self, case: &Case, direction: Direction, leg: (u8, u32, u32)) -> bool {
        let forth = direction == case.start.direction;
        let turned = |source, destination| if forth { (source, destination) } else { (destination, source) };
        let payload = match case.start.carried {
            Carried::Tcp { source, destination } => {
                let ((source, destination), (flags, sequence, acknowledgement)) =
                    (turned(source, destination), leg);
                Payload::Tcp { source, destination, flags, sequence, acknowledgement }
            }
            Carried::Udp { source, destination } => {
                let (source, destination) = turned(source, destination);
                Payload::Udp { source, destination }
            }
            Carried::Icmp { kind, code } => Payload::Icmp { kind, code, id: 7, body: vec![0; 8] },
            Carried::Other(protocol) => Payload::Raw { protocol, bytes: vec![0; 24] },
        };
        let (local, remote) = (Self::local(case), case.start.remote);
        let (from, to) = if direction == Direction::Ingress { (remote, local) } else { (local, remote) };
        let frame = Packet::new(from, to, payload).frame();
        self.bench.judge(self.eni(case), Hook::Tc, direction.into(), &frame).unwrap().passes()
    }

    /// The flow begins, and its answer comes.
    fn open(&self, case: &Case) {
        let (forth, back) = (case.start.direction, case.start.direction.opposite());
        let legs = [
            (forth, tcp::SYN, 1_000, 0),
            (back, tcp::SYN_ACK, 5_000, 1_001),
            (forth, tcp::ACK, 1_001, 5_001),
        ];
        let legs = match case.start.carried {
            Carried::Tcp { .. } => &legs[..],
            Carried::Udp { .. } => &legs[..2],
            Carried::Icmp { .. } | Carried::Other(_) => &legs[..1],
        };
        for &(direction, flags, sequence, acknowledgement) in legs {
            assert!(self.passes(case, direction, (flags, sequence, acknowledgement)), "{case:?} opens");
        }
    }

    /// Whether it goes on, though the end that answers talks first.
    fn goes_on(&self, case: &Case) -> bool {
        let (forth, back) = (case.start.direction, case.start.direction.opposite());
        let answer = || self.passes(case, back, (tcp::ACK, 5_001, 1_001));
        let request = || self.passes(case, forth, (tcp::ACK, 1_001, 5_001));
        match case.start.carried {
            Carried::Icmp { .. } | Carried::Other(_) => request(),
            Carried::Tcp { .. } => answer() && request(),
            Carried::Udp { .. } => {
                answer();
                request() && answer()
            }
        }
    }

    /// Opens the flow, takes the rule away, and looks.
    fn foretold(&mut self, case: &Case, rule: RuleId, removal: Removal, verdict: Verdict) {
        self.open(case);
        let taken: Rule = self.bench.state.rules.remove(&rule).unwrap();
        self.bench.install();
        let goes_on = self.goes_on(case);
        assert_eq!(goes_on, removal != Removal::Interrupts, "{case:?} without {taken:?}: {removal:?}");
        self.saw(removal);
        self.forget();
        let anew = self.verdict(case);
        match removal {
            Removal::Nothing => assert_eq!(anew, verdict, "{case:?} without {taken:?}"),
            Removal::KeepsTracked => {
                assert_eq!(anew, Verdict::Drop(Drop::NoRule), "{case:?} without {taken:?}")
            }
            Removal::ChangesTracking | Removal::Interrupts => {
                assert_ne!(anew, verdict, "{case:?} without {taken:?}")
            }
        }
        self.bench.state.rules.insert(rule, taken);
        self.install();
    }
}

#[test]
fn trap34_explain_and_the_datapath_never_disagree() {
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
    println!("seed {seed}");
    let config = Config { rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let mut lab = Lab::new();
    for number in 0..POLICIES {
        let script = scripts(2).new_tree(&mut runner).unwrap().current();
        lab.lay(&script, number % 2 == 0);
        let mut admitted = Vec::new();
        for _ in 0..PACKETS {
            let case = cases().new_tree(&mut runner).unwrap().current();
            if let Some((verdict, attribution)) = lab.explain(&case)
                && verdict.passes()
                // Nobody answers from the interface's own address (P-20).
                && case.start.remote != Lab::local(&case)
                && !asks_a_guest_for_dhcp(&case)
            {
                admitted.push((case, verdict, attribution));
            }
        }
        // Few are untracked: they go first.
        admitted.sort_by_key(|(_, _, attribution)| attribution.tracking != Tracking::Untracked);
        for (case, verdict, attribution) in admitted.into_iter().take(3) {
            for &(rule, removal) in
                attribution.rules.iter().take(2).chain(attribution.return_rules.iter().take(2))
            {
                lab.foretold(&case, rule, removal, verdict);
            }
        }
        if number < TRIALS {
            for interface in 0..INTERFACES {
                let case = Case { interface, ..cases().new_tree(&mut runner).unwrap().current() };
                let eni = &lab.bench.state.interfaces[&lab.eni(&case)];
                let (how, direction) = (eni.attachment.as_ref().unwrap(), case.start.direction);
                let aside = kernel::judge(lab.bench.maps(), how, direction, &Lab::frame(&case)).unwrap();
                assert_eq!(aside, lab.verdict(&case), "{case:?} judged aside");
                lab.forget();
            }
        }
    }
    println!("{:#?}", lab.seen);
    let verdicts = [Pass::New, Pass::Untracked, Pass::Stateless, Pass::Exempt].map(Verdict::Pass);
    let drops = [Drop::NoRule, Drop::SpoofedSource].map(Verdict::Drop);
    let removals = [Removal::Nothing, Removal::ChangesTracking, Removal::KeepsTracked, Removal::Interrupts];
    let wanted = verdicts.iter().chain(&drops).map(|verdict| format!("{verdict:?}"));
    for wanted in wanted.chain(removals.map(|removal| format!("{removal:?}"))) {
        assert!(lab.seen.contains_key(&wanted), "{wanted} never happened");
    }
}

/// Every pinned map with its keys and its values, one after the other.
fn held(dir: &Path) -> BTreeMap<String, (Vec<u8>, Vec<u8>)> {
    let processors = kernel::processors().unwrap();
    let mut maps = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let map = sys::open_pinned(&path).unwrap();
        let (key, value, max_entries) = sys::map_sizes(map.as_fd()).unwrap();
        let (name, key) = (path.file_name().unwrap().to_string_lossy().into_owned(), key as usize);
        // A per-CPU map has a value a processor, each of a multiple of eight bytes.
        let value = match name.as_str() {
            "COUNTERS" | "BUDGETS" => value.next_multiple_of(8) as usize * processors,
            _ => value as usize,
        };
        let room = max_entries.min(4_096);
        let (mut keys, mut values) = (vec![0; key * room as usize], vec![0; value * room as usize]);
        let (mut from, mut next, mut all) = (None, [0; 64], (Vec::new(), Vec::new()));
        loop {
            let at = from.as_ref();
            let (count, last) =
                sys::map_lookup_batch(map.as_fd(), at, &mut next, &mut keys, &mut values, room).unwrap();
            all.0.extend(&keys[..count as usize * key]);
            all.1.extend(&values[..count as usize * value]);
            if last {
                break;
            }
            from = Some(next);
        }
        maps.insert(name, all);
    }
    maps
}

#[test]
fn a_packet_that_is_judged_aside_changes_no_map() {
    let mut lab = Lab::new();
    let world = PeerSpec::V4("0.0.0.0/0".parse().unwrap());
    let rule = |direction, traffic| RuleSpec { group: 0, direction, traffic, peer: world.clone() };
    let inward = rule(Direction::Ingress, Traffic::Udp(PortRange { from: 53, to: 53 }));
    let rules = [inward, rule(Direction::Egress, Traffic::All)].map(|spec| lab.cast.rule(&spec));
    lab.bench.state.rules = rules.into_iter().map(|rule| (rule.id, rule)).collect();
    for eni in lab.bench.state.interfaces.values_mut() {
        eni.groups = vec![lab.cast.groups[0]];
    }
    lab.install();
    let case = |direction, carried| {
        let start = Start { direction, remote: address(3, false), carried };
        Case { interface: 0, start }
    };
    // What is untracked writes a mark, what is tracked an entry and a hint, all of them a counter.
    let cases = [
        (
            case(Direction::Ingress, Carried::Udp { source: 9, destination: 53 }),
            Verdict::Pass(Pass::Untracked),
        ),
        (case(Direction::Egress, Carried::Tcp { source: 9, destination: 80 }), Verdict::Pass(Pass::New)),
        (case(Direction::Ingress, Carried::Other(47)), Verdict::Drop(Drop::NoRule)),
    ];

    // Somebody who listens hears nothing of it either.
    let everything = Filter { wants: what::DROPPED | what::ALLOWED, ..Filter::default() };
    let mut listening = Listening::begin(lab.bench.maps(), &everything).unwrap();
    let mut heard = || {
        let mut events = 0;
        listening
            .read(|_| {
                Ok({
                    events += 1;
                    true
                })
            })
            .unwrap();
        events
    };
    let dir = lab.bench.maps().maps();
    let before = held(&dir);
    for (case, verdict) in &cases {
        let how = lab.bench.state.interfaces[&lab.eni(case)].attachment.as_ref().unwrap();
        let aside = kernel::judge(lab.bench.maps(), how, case.start.direction, &Lab::frame(case)).unwrap();
        assert_eq!(aside, *verdict);
    }
    let after = held(&dir);
    assert!(before.keys().eq(after.keys()));
    for (name, held) in &before {
        assert!(after[name] == *held, "{name} changed");
    }
    assert_eq!(heard(), 0);
    // The interface's own programs leave their traces of the same packets where they are looked for.
    for (case, verdict) in &cases {
        assert_eq!(lab.verdict(case), *verdict);
    }
    let after = held(&dir);
    for name in ["COUNTERS", "MARKS", "HINTS", "PENDING4"] {
        assert!(after[name] != before[name], "{name}");
    }
    assert_eq!(heard(), cases.len());
}
