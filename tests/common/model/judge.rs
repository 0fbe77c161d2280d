//! Untracked, flow entry, rules, creation (P-1): the last stages, protocol by protocol.

use super::{
    Alternative, Change, Decision, DropClass, Model, Outcome, PassClass,
    flows::{Flow, FlowKey, FlowState},
    marks::{Mark, MarkKey},
    opposite,
    packet::Packet,
    policy::Port,
    quote::{Detail, Quote},
    tcp::Tcp,
    transport::{Icmp, IsAnswer, Segment, is_error},
};
use sg_ctl::model::{Direction, EniId, Timeouts};

const TRACKED: Outcome = Outcome::Pass(PassClass::Tracked);
const UNTRACKED: Outcome = Outcome::Pass(PassClass::Untracked);
const NEW: Outcome = Outcome::Pass(PassClass::New);
const STATELESS: Outcome = Outcome::Pass(PassClass::Stateless);
const NO_RULE: Outcome = Outcome::Drop(DropClass::NoRule);

impl Model {
    pub(super) fn judge_tcp(&mut self, interface: EniId, packet: &Packet<'_>, segment: Segment) -> Decision {
        let key = FlowKey::of_ports(interface, packet, segment.source, segment.destination);
        if segment.is_syn() {
            return self.judge_syn(key, packet, segment);
        }
        let (now, timeouts) = (self.now, self.timeouts(interface));
        // T-3: what belongs to an entry passes, whatever the rules say now (T-32).
        if let Some(flow) = self.flows.live(&key, now, timeouts) {
            let end = flow.end(packet.direction);
            if let FlowState::Tcp(tcp) = &mut flow.state {
                tcp.see(segment, end, now);
            }
            return Decision::Sure(TRACKED);
        }
        // P-2, by (a) or by (b): without an entry, this belongs to a flow that P-2 let in, or to none that counts.
        if self.covers(&key, Direction::Ingress) || self.covers(&key, Direction::Egress) {
            return Decision::Sure(UNTRACKED);
        }
        // P-3: statelessly, and never creating anything.
        Decision::Sure(match self.policy.admits(interface, packet) {
            true => STATELESS,
            false => Outcome::Drop(DropClass::NoConnection),
        })
    }

    /// P-4: a SYN is judged by the rules of its direction, even where an entry exists.
    fn judge_syn(&mut self, key: FlowKey, packet: &Packet<'_>, syn: Segment) -> Decision {
        let (now, timeouts) = (self.now, self.timeouts(key.interface));
        let direction = packet.direction;
        let covered = self.covers(&key, direction);
        let admitted = self.policy.admits(key.interface, packet);
        let new = Flow { start: direction, state: FlowState::Tcp(Tcp::half_open(syn, now)) };
        let Some(flow) = self.flows.live(&key, now, timeouts) else {
            return Decision::Sure(match (covered, admitted) {
                (true, _) => UNTRACKED,
                (false, true) => self.start(key, new),
                (false, false) => NO_RULE,
            });
        };
        let crosses = flow.start != direction;
        let FlowState::Tcp(tcp) = &mut flow.state else { return Decision::Sure(NO_RULE) };
        match tcp {
            // The one exception of P-4.
            Tcp::HalfOpen(half) if crosses => half.cross(syn),
            // A SYN that the rules refuse leaves the entry untouched.
            _ if !admitted => return Decision::Sure(NO_RULE),
            Tcp::HalfOpen(half) => half.retransmit(syn, now),
            Tcp::Established(open) if !open.is_ending() => {}
            // P-2: a covered start makes no entry; P-4: it makes one, which P-3a voids at once. Both pass, and either
            // way nothing is left of the old entry.
            Tcp::Established(_) if covered => {
                self.flows.remove(&key);
                let either = |outcome| Alternative { outcome, changes: Vec::new() };
                return Decision::Open(vec![either(UNTRACKED), either(NEW)]);
            }
            // Port reuse while closing.
            Tcp::Established(_) => return Decision::Sure(self.start(key, new)),
        }
        Decision::Sure(TRACKED)
    }

    /// P-2, P-3 and P-6. Without an entry, a packet is the first of its flow, unless a mark says that the other end
    /// has started it.
    pub(super) fn judge_udp(
        &mut self,
        interface: EniId,
        packet: &Packet<'_>,
        source: u16,
        destination: u16,
    ) -> Decision {
        let key = FlowKey::of_ports(interface, packet, source, destination);
        if self.follows_entry(&key, packet.direction) {
            return Decision::Sure(TRACKED);
        }
        let (this, other) = (packet.direction, opposite(packet.direction));
        let of_other = MarkKey::of(&key, other);
        let admitted = self.policy.admits(interface, packet);
        let first = Flow { start: this, state: FlowState::Udp { last_seen: self.now, packets: [1, 0] } };
        let as_start = if self.covers(&key, this) {
            (UNTRACKED, Some(Change::Mark(MarkKey::of(&key, this))))
        } else if admitted {
            (NEW, Some(Change::Start(key, first)))
        } else {
            (NO_RULE, None)
        };
        // P-3: the flow is held back until this end has been silent for long enough. A packet that is refused is not
        // silence.
        let renewed = Some(Change::Mark(of_other));
        let as_answer = if self.covers(&key, other) {
            (UNTRACKED, renewed)
        } else if as_start.0 == UNTRACKED {
            as_start.clone()
        } else {
            (if admitted { STATELESS } else { NO_RULE }, renewed)
        };
        match self.marks.read(&of_other, self.now) {
            Mark::Holds => Decision::Sure(self.follow(as_answer)),
            Mark::Gone => Decision::Sure(self.follow(as_start)),
            Mark::Open => self.answer_or_start(of_other, as_answer, as_start),
        }
    }

    /// Only the datapath knows whether the mark is still there. If the verdict is the same, it does not show either.
    fn answer_or_start(
        &mut self,
        mark: MarkKey,
        as_answer: (Outcome, Option<Change>),
        as_start: (Outcome, Option<Change>),
    ) -> Decision {
        if as_answer.0 != as_start.0 {
            let answer = Alternative { outcome: as_answer.0, changes: as_answer.1.into_iter().collect() };
            let unmark = Some(Change::Unmark(mark));
            let start =
                Alternative { outcome: as_start.0, changes: unmark.into_iter().chain(as_start.1).collect() };
            return Decision::Open(vec![answer, start]);
        }
        if as_answer.1 == as_start.1 {
            return Decision::Sure(self.follow(as_start));
        }
        for change in [as_answer.1, as_start.1].into_iter().flatten() {
            if let Change::Mark(key) = change {
                self.marks.perhaps_set(key, self.now);
            }
        }
        Decision::Sure(as_start.0)
    }

    /// P-7 and P-8. ICMP is never untracked.
    pub(super) fn judge_icmp(&mut self, interface: EniId, packet: &Packet<'_>, icmp: Icmp<'_>) -> Outcome {
        let query = FlowKey::of_query(interface, packet, icmp);
        if let Some((key, _)) = query
            && self.follows_entry(&key, packet.direction)
        {
            return TRACKED;
        }
        if is_error(icmp.kind, packet.is_ipv6()) && self.is_related(interface, packet, icmp.body) {
            return Outcome::Pass(PassClass::Related);
        }
        if !self.policy.admits(interface, packet) {
            return NO_RULE;
        }
        match query {
            Some((key, IsAnswer(false))) => {
                let state = FlowState::Icmp { last_seen: self.now };
                self.start(key, Flow { start: packet.direction, state })
            }
            // An answer without its request, an error about nothing known, and everything else.
            Some((_, IsAnswer(true))) | None => STATELESS,
        }
    }

    /// P-8: whether an error is about a packet that went the other way, of a flow that is there.
    fn is_related(&mut self, interface: EniId, packet: &Packet<'_>, quoted: &[u8]) -> bool {
        let settings = self.policy.interface(interface);
        let needs_rules = settings.is_none_or(|settings| settings.options().require_icmp_rules);
        let Some(quote) = Quote::read(quoted, packet.is_ipv6()) else { return false };
        if needs_rules || quote.source != packet.destination {
            return false;
        }
        let key = FlowKey::of_quote(interface, packet, &quote);
        let is_untracked = matches!(quote.detail, Detail::Ports { .. })
            && (self.covers(&key, Direction::Ingress) || self.covers(&key, Direction::Egress));
        let (now, timeouts) = (self.now, self.timeouts(interface));
        is_untracked || self.flows.live(&key, now, timeouts).is_some()
    }

    /// P-9.
    pub(super) fn judge_other(&mut self, interface: EniId, packet: &Packet<'_>) -> Outcome {
        let key = FlowKey::of_protocol(interface, packet);
        if self.follows_entry(&key, packet.direction) {
            TRACKED
        } else if self.policy.admits(interface, packet) {
            let state = FlowState::Other { last_seen: self.now };
            self.start(key, Flow { start: packet.direction, state })
        } else {
            NO_RULE
        }
    }

    /// Whether a packet belongs to a live entry, of a protocol without handshake; if so it refreshes it.
    fn follows_entry(&mut self, key: &FlowKey, direction: Direction) -> bool {
        let (now, timeouts) = (self.now, self.timeouts(key.interface));
        let flow = self.flows.live(key, now, timeouts);
        flow.map(|flow| flow.refresh(direction, now)).is_some()
    }

    /// P-2, for a flow of TCP or UDP if it was started in direction `start`.
    fn covers(&self, key: &FlowKey, start: Direction) -> bool {
        let (Some(settings), Some((local, remote))) = (self.policy.interface(key.interface), key.ports())
        else {
            return false;
        };
        settings.covers(start, key.protocol, key.remote.is_ipv6(), Port { local, remote })
    }

    fn start(&mut self, key: FlowKey, flow: Flow) -> Outcome {
        self.flows.start(key, flow);
        NEW
    }

    fn follow(&mut self, (outcome, change): (Outcome, Option<Change>)) -> Outcome {
        if let Some(change) = change {
            self.apply(change);
        }
        outcome
    }

    fn timeouts(&self, interface: EniId) -> Timeouts {
        self.policy.interface(interface).map_or_else(Timeouts::default, |settings| settings.timeouts())
    }
}
