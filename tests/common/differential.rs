//! The comparison: one script through the shipped programs and through the reference model.
#![expect(clippy::unwrap_used, reason = "test support: a failure should stop the test where it happens")]

use crate::{
    bench::{Bench, Hook},
    cast::Cast,
    model::{DropClass, Frame, Model, Outcome, PassClass, Verdict as Expected},
    packet::tcp,
    script::{INTERFACES, Kind, LISTS, PacketSpec, RuleSpec, Script, Step, Twist},
};
use sg_common::reason::{Drop, Pass, Verdict};
use sg_ctl::model::{self, Direction, EniId, Options, Rule};
use std::collections::HashMap;

/// Where datapath and model part.
#[derive(Debug)]
pub struct Divergence {
    /// Index of the step.
    pub step: usize,
    /// The packet, and what either said.
    pub what: String,
}

/// Three interfaces, four groups, two prefix lists, and the model beside them. Scripts run one after the other.
pub struct Lab {
    bench: Bench,
    cast: Cast,
    /// Every script begins this much later than the last, so that nothing is left of it.
    seconds: u64,
    packets: u64,
    /// Counters as they were when the script began, and as the model wants them since.
    counted: HashMap<(EniId, bool, u32), u64>,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// Loads the programs.
    #[must_use]
    pub fn new() -> Self {
        let mut bench = Bench::new();
        let cast = Cast::new(&mut bench);
        Self { bench, cast, seconds: 1_000_000, packets: 0, counted: HashMap::new() }
    }

    /// Packets compared so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Puts the script's state in force on both sides.
    fn install(&mut self, model: &mut Model) {
        self.bench.install();
        model.set_policy(&self.bench.state);
    }

    fn wait(&mut self, model: &mut Model, seconds: u32) {
        self.seconds += u64::from(seconds);
        self.bench.set_time(self.seconds);
        model.set_time(self.seconds);
    }

    /// Runs a script. Verdicts are compared packet by packet; reasons by the counters at the end, and if those differ,
    /// packet by packet in a second run.
    ///
    /// # Errors
    /// The first divergence.
    pub fn run(&mut self, script: &Script) -> Result<(), Divergence> {
        self.run_as(script, false)?;
        let after = self.counters();
        let differs = after.iter().any(|(key, count)| self.counted.get(key) != Some(count));
        if differs {
            self.run_as(script, true)?;
            let step = script.steps.len();
            let what = "counters differ, and no packet alone explains it".to_owned();
            return Err(Divergence { step, what });
        }
        Ok(())
    }

    /// The same, looking at the reason of each packet.
    ///
    /// # Errors
    /// The first divergence.
    pub fn run_precisely(&mut self, script: &Script) -> Result<(), Divergence> {
        self.run_as(script, true)
    }

    fn counters(&self) -> HashMap<(EniId, bool, u32), u64> {
        let mut counts = HashMap::new();
        for &eni in &self.cast.enis {
            for outward in [false, true] {
                let direction =
                    if outward { sg_common::Direction::Egress } else { sg_common::Direction::Ingress };
                for verdict in Verdict::all() {
                    let count = self.bench.count(eni, direction, verdict);
                    counts.insert((eni, outward, verdict.number()), count);
                }
            }
        }
        counts
    }

    fn run_as(&mut self, script: &Script, precisely: bool) -> Result<(), Divergence> {
        self.bench.flush();
        let mut model = Model::new();
        self.wait(&mut model, 1_000_000);
        self.cast.begin(&mut self.bench.state, script);
        let mut live: Vec<Rule> = Vec::new();
        for spec in &script.rules {
            self.add(&mut live, spec);
        }
        self.install(&mut model);
        self.counted = self.counters();
        for (step, what) in script.steps.iter().enumerate() {
            match what {
                Step::Packet(packet) => self.compare(&mut model, script, step, packet, precisely)?,
                Step::Open { conversation, start } => {
                    for packet in handshake(*conversation, *start) {
                        self.compare(&mut model, script, step, &packet, precisely)?;
                    }
                }
                Step::Wait(seconds) => self.wait(&mut model, *seconds),
                Step::Add(spec) => {
                    self.add(&mut live, spec);
                    self.install(&mut model);
                }
                Step::Remove(place) if !live.is_empty() => {
                    let rule = live.remove(usize::from(*place) % live.len());
                    self.bench.state.rules.remove(&rule.id);
                    self.install(&mut model);
                }
                Step::Remove(_) => {}
                Step::SetGroups(interface, bits) => {
                    self.cast.set_groups(&mut self.bench.state, *interface, *bits);
                    self.install(&mut model);
                }
                Step::SetEntries(list, entries) => {
                    self.cast.set_entries(&mut self.bench.state, *list, entries);
                    self.install(&mut model);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, live: &mut Vec<Rule>, spec: &RuleSpec) {
        let rule = self.cast.rule(spec);
        if !live.iter().any(|other| other.same_identity(&rule)) {
            self.bench.state.rules.insert(rule.id, rule.clone());
            live.push(rule);
        }
    }

    fn compare(
        &mut self,
        model: &mut Model,
        script: &Script,
        step: usize,
        packet: &PacketSpec,
        precisely: bool,
    ) -> Result<(), Divergence> {
        let (interface, bytes) = packet.build(script);
        let received = (interface == 2) == (packet.direction == Direction::Egress);
        let vlan_aware = script.options[usize::from(interface)].vlan_aware;
        let hook = if packet.xdp && received && !vlan_aware { Hook::Xdp } else { Hook::Tc };
        if !takes(hook, &bytes) {
            return Ok(());
        }
        let eni = self.cast.enis[usize::from(interface)];
        let direction = match packet.direction {
            Direction::Ingress => sg_common::Direction::Ingress,
            Direction::Egress => sg_common::Direction::Egress,
        };
        let frame = Frame {
            bytes: &bytes,
            direction: packet.direction,
            metadata_tag: None,
            gso: false,
            network_ethertype: None,
        };
        let expected = model.judge(eni, &frame);
        let (actual, agree) = match &expected {
            Expected::Exactly(outcome) if !precisely => {
                let passed = self.bench.run(eni, hook, direction, &bytes);
                let wanted = matches!(outcome, Outcome::Pass(_));
                let key = (eni, packet.direction == Direction::Egress, verdict_of(*outcome).number());
                *self.counted.entry(key).or_default() += 1;
                (None, passed == Some(wanted))
            }
            expected => {
                let actual = self.bench.judge(eni, hook, direction, &bytes).unwrap();
                let outcome = outcome_of(actual);
                let key = (eni, packet.direction == Direction::Egress, actual.number());
                *self.counted.entry(key).or_default() += 1;
                let agree = match expected {
                    Expected::Exactly(only) => Some(*only) == outcome,
                    Expected::OneOf(some) => outcome.is_some_and(|outcome| some.contains(&outcome)),
                };
                if let (Expected::OneOf(_), Some(outcome)) = (expected, outcome) {
                    model.resolve(outcome);
                }
                (Some(actual), agree)
            }
        };
        self.packets += 1;
        if agree {
            return Ok(());
        }
        let what = format!(
            "{packet:?} at {hook:?} of {:?} interface {interface}\n  frame {bytes:02x?}\n  model    {expected:?}\n  \
             datapath {actual:?} (none: its reason was not looked at)",
            model::Side::Host
        );
        Err(Divergence { step, what })
    }
}

/// What is left of a diverging script when everything is taken away that does not matter: steps first in large pieces
/// and then in small ones, then rules, conversations' worth of members, and switches. (proptest's own shrinking takes
/// one step at a time, and a script has thousands.)
pub fn minimise(lab: &mut Lab, script: &Script) -> Script {
    let mut smallest = script.clone();
    let mut diverges = |candidate: &Script| lab.run_precisely(candidate).err();
    let Some(first) = diverges(&smallest) else { return smallest };
    smallest.steps.truncate(first.step + 1);
    for _ in 0..2 {
        let mut size = smallest.steps.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < smallest.steps.len() {
                let mut candidate = smallest.clone();
                candidate.steps.drain(at..(at + size).min(candidate.steps.len()));
                match diverges(&candidate) {
                    Some(divergence) => {
                        candidate.steps.truncate(divergence.step + 1);
                        smallest = candidate;
                    }
                    None => at += size,
                }
            }
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
        for at in (0..smallest.rules.len()).rev() {
            let mut candidate = smallest.clone();
            candidate.rules.remove(at);
            if diverges(&candidate).is_some() {
                smallest = candidate;
            }
        }
    }
    for list in 0..usize::from(LISTS) {
        let mut candidate = smallest.clone();
        candidate.lists[list].clear();
        if diverges(&candidate).is_some() {
            smallest = candidate;
        }
    }
    for interface in 0..usize::from(INTERFACES) {
        let mut candidate = smallest.clone();
        candidate.options[interface] = Options::default();
        if diverges(&candidate).is_some() {
            smallest = candidate;
        }
    }
    smallest
}

/// Whether the kernel takes such a frame for a test run: TC wants the whole IP header that the EtherType promises.
fn takes(hook: Hook, frame: &[u8]) -> bool {
    let kind = frame.get(12..14).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let needs = match (hook, kind) {
        (Hook::Tc, Some(0x0800)) => 34,
        (Hook::Tc, Some(0x86dd)) => 54,
        // One byte behind the header, or the kernel finds nothing to test.
        _ => 15,
    };
    frame.len() >= needs
}

/// SYN, SYN-ACK, ACK.
fn handshake(conversation: u8, start: Direction) -> [PacketSpec; 3] {
    let back = if start == Direction::Ingress { Direction::Egress } else { Direction::Ingress };
    let legs =
        [(start, tcp::SYN, 1_000, 0), (back, tcp::SYN_ACK, 5_000, 1_001), (start, tcp::ACK, 1_001, 5_001)];
    legs.map(|(direction, flags, sequence, acknowledgement)| PacketSpec {
        conversation,
        direction,
        xdp: false,
        kind: Kind::Tcp { flags, sequence, acknowledgement },
        twist: Twist::Plain,
    })
}

/// The datapath's word for the model's.
fn verdict_of(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Pass(class) => Verdict::Pass(match class {
            PassClass::Exempt => Pass::Exempt,
            PassClass::Untracked => Pass::Untracked,
            PassClass::Tracked => Pass::Tracked,
            PassClass::New => Pass::New,
            PassClass::Stateless => Pass::Stateless,
            PassClass::Related => Pass::Related,
            PassClass::Fragment => Pass::Fragment,
            PassClass::NonIp => Pass::NonIp,
        }),
        Outcome::Drop(class) => Verdict::Drop(match class {
            DropClass::NoRule => Drop::NoRule,
            DropClass::NoConnection => Drop::NoConnection,
            DropClass::Malformed => Drop::Malformed,
            DropClass::NonIp => Drop::NonIp,
            DropClass::Fragment => Drop::Fragment,
            DropClass::FragmentTiny => Drop::FragmentTiny,
            DropClass::FragmentOverlap => Drop::FragmentOverlap,
            DropClass::SpoofedSource => Drop::SpoofedSource,
            DropClass::ConntrackFull => Drop::ConntrackFull,
        }),
    }
}

/// The model's word for the datapath's; none for what the model never says.
fn outcome_of(verdict: Verdict) -> Option<Outcome> {
    use PassClass as P;
    let passes =
        [P::Exempt, P::Untracked, P::Tracked, P::New, P::Stateless, P::Related, P::Fragment, P::NonIp];
    use DropClass as D;
    let drops = [
        D::NoRule,
        D::NoConnection,
        D::Malformed,
        D::NonIp,
        D::Fragment,
        D::FragmentTiny,
        D::FragmentOverlap,
        D::SpoofedSource,
        D::ConntrackFull,
    ];
    let outcomes = passes.map(Outcome::Pass).into_iter().chain(drops.map(Outcome::Drop));
    outcomes.into_iter().find(|outcome| verdict_of(*outcome) == verdict)
}
