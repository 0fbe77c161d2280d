//! The reference model: what must become of a packet, by the specification alone.
//!
//! Plain and slow on purpose. It is written from `semantics.md`, section P, shares no code with the datapath or with
//! the compiler, and precomputes nothing: for each packet it walks the rules of the interface's groups (T-1) and the
//! members of the groups these name (P-17). The datapath is compared with it packet by packet.
//!
//! The story of a packet, in the order of P-1; the first that decides, decides:
//!
//! 1. [`packet`]: link layer and parse. What cannot be understood is dropped (P-12); frames that are not IP are
//!    decided in [`exempt`] (P-10).
//! 2. [`source`]: source and destination check (P-20).
//! 3. [`fragments`]: a later fragment follows its first (P-11).
//! 4. [`exempt`]: what the rules do not govern (P-10).
//! 5. [`judge`]: untracked (P-2), flow entry, rules, creation, for each protocol; with [`policy`] for what the rules
//!    say, [`flows`] and [`tcp`] for entries, [`marks`] for the memory of untracked UDP (P-3), [`quote`] for what an
//!    ICMP error is about (P-8).
//!
//! Table sizes (P-16) are not modelled: [`DropClass::ConntrackFull`] is never the answer.

mod exempt;
mod flows;
mod fragments;
mod judge;
mod marks;
mod packet;
mod policy;
mod quote;
mod source;
mod tcp;
mod transport;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests_flows;
#[cfg(test)]
mod tests_packets;
#[cfg(test)]
mod tests_tcp;
#[cfg(test)]
mod tests_untracked;

use flows::{Flow, Flows};
use fragments::{FragmentKey, Fragments};
use marks::{MarkKey, Marks};
use packet::{Content, Packet, Parsed, Part, Vlans};
use policy::{Policy, Port};
use sg_ctl::model::{Direction, EniId, State};

/// One packet as the datapath meets it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// From the link-layer header on, or from the network header where [`Frame::network_ethertype`] is given.
    pub bytes: &'a [u8],
    /// As the instance sees it (P-15).
    pub direction: Direction,
    /// Control information of a VLAN tag that is in skb metadata instead of the bytes: the outermost (P-13).
    pub metadata_tag: Option<u16>,
    /// A GSO super-packet: length 0 in the IP header is allowed (P-12, BIG TCP).
    pub gso: bool,
    /// For a device without link-layer header (P-21): what the network header is.
    pub network_ethertype: Option<u16>,
}

/// What becomes of a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Pass(PassClass),
    /// It does not.
    Drop(DropClass),
}

/// Why a packet passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassClass {
    /// Not governed by rules (P-10).
    Exempt,
    /// Of a flow that is open to the world both ways (P-2).
    Untracked,
    /// Belongs to a live entry; also a SYN admitted on a live established entry, a retransmitted SYN of a half-open
    /// one, and the SYN that crosses it (P-4).
    Tracked,
    /// Rules admit it and an entry was made.
    New,
    /// Rules admit it on its own and no entry is made: TCP without SYN, ICMP that is no query, a UDP answer that a
    /// mark holds back (P-3).
    Stateless,
    /// An ICMP error about a flow that is there (P-8).
    Related,
    /// A later fragment that follows its first (P-11).
    Fragment,
    /// A frame that is not IP, let through by `--non-ip pass`.
    NonIp,
}

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropClass {
    /// No rule admits it.
    NoRule,
    /// TCP without SYN, without entry, and not admitted.
    NoConnection,
    /// It cannot be understood (P-12).
    Malformed,
    /// A frame that is not IP (P-10).
    NonIp,
    /// A later fragment without its first (P-11).
    Fragment,
    /// A first fragment that is too short for the header that rules look at (P-11).
    FragmentTiny,
    /// A later fragment that would overwrite that header (P-11).
    FragmentOverlap,
    /// Source and destination check (P-20).
    SpoofedSource,
    /// The table is full (P-16). The model never says so.
    ConntrackFull,
}

/// The model's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This and nothing else.
    Exactly(Outcome),
    /// The specification leaves it open. Twice only: a mark between 180 and 360 seconds old (P-3: it lasts until the
    /// second turn of the filter's halves), and a SYN that P-2 covers on an entry which is closing or reset (P-2
    /// says "makes no entry", P-4 says "half-open anew").
    OneOf(Vec<Outcome>),
}

/// Policy, clock, and everything remembered of earlier packets.
#[derive(Default)]
pub struct Model {
    now: u64,
    policy: Policy,
    flows: Flows,
    marks: Marks,
    fragments: Fragments,
    pending: Option<Pending>,
}

/// What [`Model::resolve`] has to settle.
struct Pending {
    alternatives: Vec<Alternative>,
    /// Set if the packet was a first fragment: the others follow if it passed.
    fragment: Option<FragmentKey>,
}

/// One of several answers, and what the model remembers if it was the one.
struct Alternative {
    outcome: Outcome,
    changes: Vec<Change>,
}

/// Something the model remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// The tuple is marked from now on (again).
    Mark(MarkKey),
    /// The tuple is known to be unmarked.
    Unmark(MarkKey),
    /// An entry exists from now on.
    Start(flows::FlowKey, Flow),
}

/// What the last stage says; the alternatives are those of [`Verdict::OneOf`].
enum Decision {
    Sure(Outcome),
    Open(Vec<Alternative>),
}

impl Model {
    /// A model without policy, at second 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `state` in force for every packet from now on (P-3).
    ///
    /// Interfaces are known by their id: what was remembered of one that is gone is forgotten. An entry whose start
    /// the new policy covers is void for good (P-3a). A UDP flow that becomes untracked this way is remembered as any
    /// untracked UDP flow, by a mark of who started it: otherwise the answering end's next packet would pass for the
    /// start of a flow of its own, and outlive the containment procedure of T-34. Other marks stay.
    pub fn set_policy(&mut self, state: &State) {
        self.settle();
        self.policy = Policy::copy_of(state);
        let Self { now, policy, flows, marks, fragments, .. } = self;
        let lives = |interface| policy.interface(interface).is_some();
        marks.retain(|mark| lives(mark.interface));
        fragments.retain(|key| lives(key.interface));
        flows.retain(|key, flow| {
            let Some(interface) = policy.interface(key.interface) else { return false };
            let Some((local, remote)) = key.ports() else { return true };
            let port = Port { local, remote };
            let covered = interface.covers(flow.start, key.protocol, key.remote.is_ipv6(), port);
            if covered && key.is_udp() && flow.is_live(*now, interface.timeouts()) {
                marks.set(MarkKey::of(key, flow.start), *now);
            }
            !covered
        });
    }

    /// Sets the clock, in whole seconds. It never goes backwards.
    pub fn set_time(&mut self, seconds: u64) {
        self.settle();
        self.now = self.now.max(seconds);
    }

    /// Judges one packet, and remembers what follows from it. A packet of an interface that the policy does not know
    /// is dropped as [`DropClass::NoRule`].
    pub fn judge(&mut self, interface: EniId, frame: &Frame<'_>) -> Verdict {
        self.settle();
        let (decision, fragment) = self.decide(interface, frame);
        match decision {
            Decision::Sure(outcome) => {
                self.remember_first(fragment, outcome);
                Verdict::Exactly(outcome)
            }
            Decision::Open(alternatives) => {
                let outcomes = alternatives.iter().map(|alternative| alternative.outcome).collect();
                self.pending = Some(Pending { alternatives, fragment });
                Verdict::OneOf(outcomes)
            }
        }
    }

    /// Says which of [`Verdict::OneOf`] it was, so that the model's memory follows. Without this call before the next
    /// packet the first is taken. An outcome that was none of them changes nothing.
    pub fn resolve(&mut self, actual: Outcome) {
        let Some(Pending { alternatives, fragment }) = self.pending.take() else { return };
        let Some(chosen) = alternatives.into_iter().find(|alternative| alternative.outcome == actual) else {
            return;
        };
        self.remember_first(fragment, chosen.outcome);
        for change in chosen.changes {
            self.apply(change);
        }
    }

    /// The story of P-1. Beside the decision: the key under which later fragments will look for this one.
    fn decide(&mut self, interface: EniId, frame: &Frame<'_>) -> (Decision, Option<FragmentKey>) {
        let sure = |outcome| (Decision::Sure(outcome), None);
        let drop = |class| sure(Outcome::Drop(class));
        let Some(settings) = self.policy.interface(interface) else { return drop(DropClass::NoRule) };
        let packet = match packet::parse(frame) {
            Ok(Parsed::Ip(packet)) if settings.options().vlan_aware => packet,
            // P-13: without the switch all VLANs are one.
            Ok(Parsed::Ip(packet)) => Packet { vlans: Vlans::default(), ..packet },
            Ok(Parsed::NonIp(frame)) => return sure(exempt::judge_non_ip(settings, &frame)),
            Err(class) => return drop(class),
        };
        if source::is_spoofed(settings, &packet) {
            return drop(DropClass::SpoofedSource);
        }
        let fragment = FragmentKey::of(interface, &packet);
        if let (Part::Later, Some(key)) = (packet.part, &fragment) {
            return sure(match self.fragments.first_passed(key, self.now) {
                true => Outcome::Pass(PassClass::Fragment),
                false => Outcome::Drop(DropClass::Fragment),
            });
        }
        if exempt::is_exempt(settings, &packet) {
            return sure(Outcome::Pass(PassClass::Exempt));
        }
        (self.judge_content(interface, &packet), fragment)
    }

    /// Without entry and exemption a protocol decides how a packet is judged.
    fn judge_content(&mut self, interface: EniId, packet: &Packet<'_>) -> Decision {
        match packet.content {
            Content::Tcp(segment) => self.judge_tcp(interface, packet, segment),
            Content::Udp { source, destination } => self.judge_udp(interface, packet, source, destination),
            Content::Icmp(icmp) => Decision::Sure(self.judge_icmp(interface, packet, icmp)),
            Content::Other => Decision::Sure(self.judge_other(interface, packet)),
        }
    }

    fn remember_first(&mut self, fragment: Option<FragmentKey>, outcome: Outcome) {
        if let (Some(key), Outcome::Pass(_)) = (fragment, outcome) {
            self.fragments.remember(key, self.now);
        }
    }

    /// Takes the first of the alternatives where nobody said which it was.
    fn settle(&mut self) {
        if let Some(first) = self.pending.as_ref().and_then(|pending| pending.alternatives.first()) {
            self.resolve(first.outcome);
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Mark(key) => self.marks.set(key, self.now),
            Change::Unmark(key) => self.marks.forget(&key),
            Change::Start(key, flow) => self.flows.start(key, flow),
        }
    }
}

/// The other direction.
const fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    }
}
