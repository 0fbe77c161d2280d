//! The flow state machine: what a packet does to its flow. Pure functions on a [`Flow`]; the tables are elsewhere.

use crate::{
    Direction,
    flow::{Flow, KeyHead, flag, state},
    limits, packet,
    wire::{protocol, tcp_flag},
};

/// The packet's moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Jiffies.
    pub now: u64,
    /// Jiffies a second, the kernel's `CONFIG_HZ`.
    pub hz: u64,
    /// Jiffies shifted right by this are about seconds: good for "not more than once a second".
    pub second_shift: u32,
}

impl Clock {
    /// About a second, wrapping after some hours: only ever compared for being the same.
    #[inline(always)]
    #[must_use]
    pub fn second(&self) -> u16 {
        (self.now >> self.second_shift) as u16
    }

    /// Jiffies since `then`. Never wraps around: another processor may have stamped a moment later than `now`.
    #[inline(always)]
    #[must_use]
    pub fn age(&self, then: u64) -> u64 {
        let age = self.now.wrapping_sub(then);
        if age as i64 > 0 { age } else { 0 }
    }
}

/// An interface's timeouts in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Idle established TCP.
    pub tcp_established: u32,
    /// UDP up to one request and response.
    pub udp: u32,
    /// UDP beyond.
    pub udp_stream: u32,
}

/// Seconds that a flow may be silent from where it stands.
#[inline(always)]
#[must_use]
pub fn timeout(flow: &Flow, head: &KeyHead, timeouts: &Timeouts) -> u32 {
    match head.protocol {
        protocol::TCP => {
            if flow.state == state::PENDING {
                limits::TCP_HALF_OPEN_SECONDS
            } else if flow.flags & flag::RESET != 0 {
                limits::TCP_RESET_SECONDS
            } else if flow.flags & flag::FIN_BOTH == flag::FIN_BOTH {
                limits::TCP_CLOSING_SECONDS
            } else {
                timeouts.tcp_established
            }
        }
        protocol::UDP => {
            let stream = flag::REQUESTS | flag::RESPONSES;
            if flow.flags & stream == stream { timeouts.udp_stream } else { timeouts.udp }
        }
        // Queries only: in the other family ICMP's number is one protocol among others.
        _ if head.start != 0 => limits::ICMP_SECONDS,
        _ => limits::OTHER_SECONDS,
    }
}

/// Whether the flow is alive: silent for no longer than its timeout.
#[inline(always)]
#[must_use]
pub fn is_live(flow: &Flow, head: &KeyHead, timeouts: &Timeouts, clock: &Clock) -> bool {
    flow.state != state::OBSERVED
        && clock.age(flow.last) <= u64::from(timeout(flow, head, timeouts)) * clock.hz
}

/// Whether the flow has been over for so long that nothing can come of its entry any more: it may be swept away. One that
/// was only observed (P-22) is not live, but needed as long as an observation lasts.
#[inline(always)]
#[must_use]
pub fn is_long_over(flow: &Flow, head: &KeyHead, timeouts: &Timeouts, clock: &Clock) -> bool {
    let lasts = match flow.state {
        state::OBSERVED => limits::OBSERVE_SECONDS,
        _ => timeout(flow, head, timeouts),
    };
    clock.age(flow.last) > (u64::from(lasts) + u64::from(limits::SWEEP_GRACE_SECONDS)) * clock.hz
}

/// Whether a SYN that the rules admit may pass on this established flow without starting it anew (P-4).
#[inline(always)]
#[must_use]
pub fn is_open(flow: &Flow) -> bool {
    flow.flags & flag::RESET == 0 && flow.flags & flag::FIN_BOTH != flag::FIN_BOTH
}

/// Makes `flow` a new one, started by a packet in this direction. Every field is written: `flow` is scratch memory.
#[inline(always)]
pub fn start(flow: &mut Flow, direction: Direction, sequence: u32, clock: &Clock) {
    let ingress = direction as u8 == Direction::Ingress as u8;
    flow.last = clock.now;
    flow.packets = 0;
    flow.bytes = 0;
    flow.sequence[0] = if ingress { sequence } else { 0 };
    flow.sequence[1] = if ingress { 0 } else { sequence };
    flow.sequence_at[0] = 0;
    flow.sequence_at[1] = 0;
    flow.reset_at = 0;
    flow.state = state::PENDING;
    flow.flags = 0;
    flow.place = 0;
    flow.started = direction as u32;
}

/// Makes `flow` what a pending one is when it settles.
#[inline(always)]
fn settle(flow: &mut Flow, pending: &Flow, state: u8, flags: u8, clock: &Clock) {
    flow.last = clock.now;
    flow.packets = pending.packets;
    flow.bytes = pending.bytes;
    flow.sequence[0] = pending.sequence[0];
    flow.sequence[1] = pending.sequence[1];
    flow.sequence_at[0] = clock.second();
    flow.sequence_at[1] = clock.second();
    flow.reset_at = clock.second().wrapping_sub(1);
    flow.state = state;
    flow.flags = flags;
    flow.place = 0;
    flow.started = pending.started;
}

/// What becomes of a pending TCP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Handshake {
    /// It stays half-open.
    Pending,
    /// The third leg came: it belongs into the table of established flows.
    Complete,
}

/// Whether `acknowledgement` acknowledges the SYN with this initial sequence number (P-5).
#[inline(always)]
fn acknowledges(acknowledgement: u32, initial: u32) -> bool {
    let beyond = acknowledgement.wrapping_sub(initial);
    (1..=limits::HANDSHAKE_ACK_WINDOW).contains(&beyond)
}

/// A SYN of the initiator again, which the rules admitted again (P-4): the half-open flow begins anew.
#[inline(always)]
pub fn tcp_retransmitted_syn(flow: &mut Flow, direction: Direction, sequence: u32, clock: &Clock) {
    if flow.sequence[direction.index()] != sequence {
        flow.sequence[direction.index()] = sequence;
        flow.flags = 0;
    }
    flow.last = clock.now;
}

/// The responder's SYN crosses the initiator's (P-4): its answer, not a new flow.
#[inline(always)]
pub fn tcp_crossing_syn(flow: &mut Flow, direction: Direction, sequence: u32) {
    let (here, there) =
        (flag::ACKED_INGRESS << direction as u8, flag::ACKED_INGRESS << direction.opposite() as u8);
    if flow.flags & flag::CROSSED == 0 && flow.flags & flag::ANSWER_SEEN != 0 {
        // Its SYN-ACK came first, and has acknowledged the initiator's SYN.
        flow.flags |= here;
    }
    if flow.sequence[direction.index()] != sequence {
        flow.sequence[direction.index()] = sequence;
        flow.flags &= !there;
    }
    flow.flags |= flag::CROSSED;
}

/// Any segment but a SYN on a half-open flow.
///
/// Only an acknowledgement of the responder's initial sequence number *by the initiator* completes the handshake: a
/// blind spoofer does not know it, and the SYN-ACK proves nothing, since the kernel sends one to every SYN of a
/// flood (P-5).
#[inline(always)]
pub fn tcp_pending(flow: &mut Flow, direction: Direction, segment: &packet::Transport) -> Handshake {
    let from_initiator = flow.started == direction as u32;
    // A reset acknowledges nothing.
    let has_ack = segment.flags & (tcp_flag::ACK | tcp_flag::RST) == tcp_flag::ACK;
    let other = flow.sequence[direction.opposite().index()];
    if flow.flags & flag::CROSSED != 0 {
        if has_ack && acknowledges(segment.acknowledgement, other) {
            flow.flags |= flag::ACKED_INGRESS << direction as u8;
        }
        return if flow.flags & flag::ACKED_BOTH == flag::ACKED_BOTH {
            Handshake::Complete
        } else {
            Handshake::Pending
        };
    }
    if !from_initiator {
        if segment.flags & tcp_flag::SYN != 0 && has_ack && acknowledges(segment.acknowledgement, other) {
            flow.sequence[direction.index()] = segment.sequence;
            flow.flags |= flag::ANSWER_SEEN;
        }
        return Handshake::Pending;
    }
    let plain = segment.flags & tcp_flag::SYN == 0;
    if plain && has_ack && flow.flags & flag::ANSWER_SEEN != 0 && acknowledges(segment.acknowledgement, other)
    {
        Handshake::Complete
    } else {
        Handshake::Pending
    }
}

/// Makes `flow` the established one that this segment completes.
#[inline(always)]
pub fn tcp_complete(
    flow: &mut Flow,
    pending: &Flow,
    direction: Direction,
    segment: &packet::Transport,
    clock: &Clock,
) {
    let fin = if segment.flags & tcp_flag::FIN != 0 { flag::FIN_INGRESS << direction as u8 } else { 0 };
    settle(flow, pending, state::ESTABLISHED, fin, clock);
    flow.sequence[direction.index()] = segment.sequence;
}

/// Makes `flow` an established one whose handshake nobody saw, because the connection is older than the programs (P-22).
/// The sequence numbers of its sides are unknown until each has spoken; `fins` tells which have said their last.
#[inline(always)]
pub fn adopt(flow: &mut Flow, started: u32, fins: u8, clock: &Clock) {
    flow.last = clock.now;
    flow.packets = 0;
    flow.bytes = 0;
    flow.sequence[0] = 0;
    flow.sequence[1] = 0;
    flow.sequence_at[0] = 0;
    flow.sequence_at[1] = 0;
    flow.reset_at = clock.second().wrapping_sub(1);
    flow.state = state::ESTABLISHED;
    flow.flags = (fins & flag::FIN_BOTH) | flag::UNHEARD_BOTH | flag::ADOPTED;
    flow.place = 0;
    flow.started = started;
}

/// Who started a connection that nobody saw begin: whoever has the higher port, since servers wait on lower ones.
#[inline(always)]
#[must_use]
pub fn likely_start(local_port: u16, remote_port: u16) -> Direction {
    if local_port <= remote_port { Direction::Ingress } else { Direction::Egress }
}

/// A segment with ACK and without SYN and RST on a flow in [`state::OBSERVED`]. True where it acknowledges what the other
/// side was seen to send: so both sides have spoken, and to each other.
#[inline(always)]
pub fn observe(flow: &mut Flow, direction: Direction, segment: &packet::Transport, clock: &Clock) -> bool {
    let there = direction.opposite();
    let is_known = flow.flags & (flag::UNHEARD_INGRESS << there as u8) == 0;
    let beyond = segment.acknowledgement.wrapping_sub(flow.sequence[there.index()]);
    tcp_established(flow, direction, segment, clock);
    is_known && beyond <= limits::HANDSHAKE_ACK_WINDOW
}

/// Any segment but a SYN on an established flow. True where the flow is over with it: the second FIN, or a believable RST.
#[inline(always)]
pub fn tcp_established(
    flow: &mut Flow,
    direction: Direction,
    segment: &packet::Transport,
    clock: &Clock,
) -> bool {
    let second = clock.second();
    let side = direction.index();
    // A SYN-ACK come late says nothing new.
    if segment.flags & tcp_flag::SYN != 0 {
        return false;
    }
    let unheard = flag::UNHEARD_INGRESS << direction as u8;
    let is_known = flow.flags & unheard == 0;
    if segment.flags & tcp_flag::RST != 0 {
        let distance = segment.sequence.wrapping_sub(flow.sequence[side]);
        let near = distance.wrapping_add(limits::RST_WINDOW) <= 2 * limits::RST_WINDOW;
        // Where no number is recorded there is none to be near to: a blind spoofer must not guess right.
        if !is_known || !near || flow.reset_at == second {
            return false;
        }
        let was_open = is_open(flow);
        flow.reset_at = second;
        flow.flags |= flag::RESET;
        flow.last = clock.now;
        return was_open;
    }
    if flow.sequence_at[side] != second || !is_known {
        flow.sequence_at[side] = second;
        flow.sequence[side] = segment.sequence;
    }
    let fin = if segment.flags & tcp_flag::FIN != 0 { flag::FIN_INGRESS << direction as u8 } else { 0 };
    let flags = (flow.flags & !(flag::RESET | unheard)) | fin;
    if flags != flow.flags {
        let closes = fin != 0 && flow.flags & flag::FIN_BOTH != flag::FIN_BOTH;
        flow.flags = flags;
        flow.last = clock.now;
        return closes && !is_open(flow);
    }
    if clock.age(flow.last) >= clock.hz {
        flow.last = clock.now;
    }
    false
}

/// What becomes of a pending flow that is not TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Exchange {
    /// Still no answer.
    Unanswered,
    /// The first answer came: it belongs into the table of answered flows.
    Answered,
}

/// A packet on a pending flow of UDP, ICMP or another protocol.
#[inline(always)]
pub fn pending(flow: &mut Flow, direction: Direction, clock: &Clock) -> Exchange {
    if flow.started == direction as u32 {
        flow.flags |= flag::REQUESTS;
        if clock.age(flow.last) >= clock.hz {
            flow.last = clock.now;
        }
        Exchange::Unanswered
    } else {
        Exchange::Answered
    }
}

/// Makes `flow` the answered one that its first answer makes it.
#[inline(always)]
pub fn answered(flow: &mut Flow, pending: &Flow, clock: &Clock) {
    settle(flow, pending, state::ANSWERED, pending.flags | flag::RESPONSE, clock);
}

/// A packet on an answered flow.
#[inline(always)]
pub fn exchange(flow: &mut Flow, direction: Direction, clock: &Clock) {
    let seen = if flow.started == direction as u32 { flag::REQUESTS } else { flag::RESPONSES };
    if flow.flags & seen == 0 {
        flow.flags |= seen;
        flow.last = clock.now;
    } else if clock.age(flow.last) >= clock.hz {
        flow.last = clock.now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vlan::Vlans;
    use Direction::{Egress, Ingress};
    use packet::Transport;
    use tcp_flag::{ACK, FIN, RST, SYN};

    const TIMEOUTS: Timeouts = Timeouts { tcp_established: 432_000, udp: 30, udp_stream: 180 };

    fn head(protocol: u8) -> KeyHead {
        KeyHead { slot: 0, protocol, start: 0, local_port: 0, remote_port: 0, vlans: Vlans::NONE }
    }

    fn at(seconds: u64) -> Clock {
        Clock { now: seconds * 250, hz: 250, second_shift: 8 }
    }

    fn segment(flags: u8, sequence: u32, acknowledgement: u32) -> Transport {
        Transport { flags, sequence, acknowledgement, ..Transport::default() }
    }

    fn started(direction: Direction, sequence: u32, clock: &Clock) -> Flow {
        let mut flow = Flow::default();
        start(&mut flow, direction, sequence, clock);
        flow
    }

    fn established() -> Flow {
        let mut flow = started(Ingress, 1000, &at(0));
        assert_eq!(tcp_pending(&mut flow, Egress, &segment(SYN | ACK, 5000, 1001)), Handshake::Pending);
        let third = segment(ACK, 1001, 5001);
        assert_eq!(tcp_pending(&mut flow, Ingress, &third), Handshake::Complete);
        let mut established = Flow::default();
        tcp_complete(&mut established, &flow, Ingress, &third, &at(0));
        established
    }

    #[test]
    fn p5_the_third_leg_must_acknowledge_the_responder() {
        for (ack, expected) in [
            (5000, Handshake::Pending),
            (5001, Handshake::Complete),
            (5000 + 65_536, Handshake::Complete),
            (5000 + 65_537, Handshake::Pending),
        ] {
            let mut flow = started(Ingress, 1000, &at(0));
            let _ = tcp_pending(&mut flow, Egress, &segment(SYN | ACK, 5000, 1001));
            assert_eq!(tcp_pending(&mut flow, Ingress, &segment(ACK, 1001, ack)), expected, "{ack}");
        }
    }

    #[test]
    fn a_flow_is_swept_only_when_it_has_been_over_for_a_while() {
        let flow = established();
        let (live, over) = (432_000, 432_001);
        let head = head(protocol::TCP);
        assert!(is_live(&flow, &head, &TIMEOUTS, &at(live)) && !is_live(&flow, &head, &TIMEOUTS, &at(over)));
        let grace = u64::from(limits::SWEEP_GRACE_SECONDS);
        assert!(!is_long_over(&flow, &head, &TIMEOUTS, &at(live + grace)));
        assert!(is_long_over(&flow, &head, &TIMEOUTS, &at(over + grace)));
        let observed = Flow { state: state::OBSERVED, ..flow };
        let lasts = u64::from(limits::OBSERVE_SECONDS) + grace;
        assert!(!is_live(&observed, &head, &TIMEOUTS, &at(0)), "nothing passes by it");
        assert!(!is_long_over(&observed, &head, &TIMEOUTS, &at(lasts)));
        assert!(is_long_over(&observed, &head, &TIMEOUTS, &at(lasts + 1)));
    }

    #[test]
    fn p5_no_third_leg_without_an_answer_and_none_from_the_responder() {
        let mut flow = started(Ingress, 1000, &at(0));
        assert_eq!(tcp_pending(&mut flow, Ingress, &segment(ACK, 1001, 1)), Handshake::Pending);
        let _ = tcp_pending(&mut flow, Egress, &segment(SYN | ACK, 5000, 1001));
        assert_eq!(tcp_pending(&mut flow, Egress, &segment(ACK, 5001, 1001)), Handshake::Pending);
        assert_eq!(timeout(&flow, &head(protocol::TCP), &TIMEOUTS), 60);
    }

    #[test]
    fn p5_simultaneous_open_needs_an_acknowledgement_from_each_side() {
        let mut flow = started(Egress, 1000, &at(0));
        tcp_crossing_syn(&mut flow, Ingress, 7000);
        assert_eq!(tcp_pending(&mut flow, Egress, &segment(SYN | ACK, 1000, 7001)), Handshake::Pending);
        assert_eq!(tcp_pending(&mut flow, Egress, &segment(ACK, 1001, 7001)), Handshake::Pending);
        assert_eq!(tcp_pending(&mut flow, Ingress, &segment(SYN | ACK, 7000, 1001)), Handshake::Complete);
    }

    #[test]
    fn p5_closing_after_a_fin_each_way() {
        let mut flow = established();
        tcp_established(&mut flow, Ingress, &segment(FIN | ACK, 1001, 5001), &at(10));
        assert_eq!(timeout(&flow, &head(protocol::TCP), &TIMEOUTS), 432_000);
        tcp_established(&mut flow, Egress, &segment(FIN | ACK, 5001, 1002), &at(11));
        assert_eq!(timeout(&flow, &head(protocol::TCP), &TIMEOUTS), 120);
        assert!(!is_open(&flow));
        assert!(is_live(&flow, &head(protocol::TCP), &TIMEOUTS, &at(131)));
        assert!(!is_live(&flow, &head(protocol::TCP), &TIMEOUTS, &at(132)));
    }

    #[test]
    fn p5_a_near_rst_shortens_and_later_data_restores() {
        let mut flow = established();
        tcp_established(&mut flow, Ingress, &segment(RST, 1001 + (1 << 20) + 1, 0), &at(100));
        assert_eq!((flow.flags & flag::RESET, flow.last), (0, 0), "a far RST has no effect");
        tcp_established(&mut flow, Ingress, &segment(RST, 1001, 0), &at(100));
        assert_eq!(timeout(&flow, &head(protocol::TCP), &TIMEOUTS), 10);
        tcp_established(&mut flow, Egress, &segment(ACK, 5001, 1001), &at(105));
        assert_eq!(timeout(&flow, &head(protocol::TCP), &TIMEOUTS), 432_000);
    }

    #[test]
    fn p5_at_most_one_rst_a_second() {
        let mut flow = established();
        tcp_established(&mut flow, Ingress, &segment(RST, 1001, 0), &at(100));
        tcp_established(&mut flow, Egress, &segment(ACK, 5001, 1001), &at(100));
        tcp_established(&mut flow, Ingress, &segment(RST, 1001, 0), &at(100));
        assert_eq!(flow.flags & flag::RESET, 0);
    }

    #[test]
    fn p6_a_stream_is_more_than_one_request_and_response() {
        let mut flow = started(Egress, 0, &at(0));
        assert_eq!(pending(&mut flow, Ingress, &at(1)), Exchange::Answered);
        let pending = flow;
        answered(&mut flow, &pending, &at(1));
        assert_eq!(timeout(&flow, &head(protocol::UDP), &TIMEOUTS), 30);
        exchange(&mut flow, Egress, &at(2));
        assert_eq!(
            timeout(&flow, &head(protocol::UDP), &TIMEOUTS),
            30,
            "second request, no second response yet"
        );
        exchange(&mut flow, Ingress, &at(2));
        assert_eq!(timeout(&flow, &head(protocol::UDP), &TIMEOUTS), 180);
    }

    #[test]
    fn t18_another_protocol_lives_600_seconds() {
        let flow = started(Egress, 0, &at(0));
        assert!(is_live(&flow, &head(47), &TIMEOUTS, &at(599)));
        assert!(is_live(&flow, &head(47), &TIMEOUTS, &at(600)));
        assert!(!is_live(&flow, &head(47), &TIMEOUTS, &at(601)));
    }

    #[test]
    fn p7_a_query_lives_30_seconds_and_icmp_of_the_other_family_600() {
        let flow = started(Egress, 0, &at(0));
        let query = KeyHead { start: 1, ..head(protocol::ICMP) };
        assert_eq!(timeout(&flow, &query, &TIMEOUTS), 30);
        assert_eq!(timeout(&flow, &head(protocol::ICMP), &TIMEOUTS), 600);
    }

    #[test]
    fn p22_p5_of_an_adopted_flow_a_side_is_known_from_its_first_segment_on() {
        let mut flow = Flow::default();
        adopt(&mut flow, Ingress as u32, flag::FIN_EGRESS, &at(0));
        assert_eq!(
            (flow.state, timeout(&flow, &head(protocol::TCP), &TIMEOUTS)),
            (state::ESTABLISHED, 432_000)
        );
        tcp_established(&mut flow, Ingress, &segment(RST, 0, 0), &at(1));
        assert_eq!(flow.flags & flag::RESET, 0, "nothing is known of its side");
        // In the very second of its adoption too.
        tcp_established(&mut flow, Egress, &segment(ACK, 7_000, 1), &at(0));
        assert_eq!((flow.sequence[1], flow.flags & flag::UNHEARD_BOTH), (7_000, flag::UNHEARD_INGRESS));
        tcp_established(&mut flow, Ingress, &segment(FIN | ACK, 9_000, 1), &at(1));
        assert_eq!((flow.sequence[0], flow.flags), (9_000, flag::FIN_BOTH | flag::ADOPTED));
        tcp_established(&mut flow, Ingress, &segment(RST, 9_001, 1), &at(2));
        assert_eq!(flow.flags, flag::FIN_BOTH | flag::RESET | flag::ADOPTED);
    }

    #[test]
    fn p22_an_observed_flow_is_one_when_a_side_acknowledges_the_other() {
        let fresh = || {
            let mut flow = Flow::default();
            adopt(&mut flow, Ingress as u32, 0, &at(0));
            flow.state = state::OBSERVED;
            flow
        };
        let mut flow = fresh();
        assert!(!is_live(&flow, &head(protocol::TCP), &TIMEOUTS, &at(0)), "nothing passes by it");
        for sequence in [0, 1_000, u32::MAX] {
            assert!(!observe(&mut flow, Ingress, &segment(ACK, sequence, 0), &at(0)), "one side alone");
        }
        for (acknowledgement, is_answer) in
            [(999, false), (1_000, true), (66_536, true), (66_537, false), (0x8000_0000, false)]
        {
            let mut flow = fresh();
            assert!(!observe(&mut flow, Ingress, &segment(ACK, 1_000, 77), &at(1)));
            assert_eq!(observe(&mut flow, Egress, &segment(ACK, 5, acknowledgement), &at(1)), is_answer);
        }
        // Who was stepped over is looked at anew a second later.
        let mut flow = fresh();
        assert!(!observe(&mut flow, Ingress, &segment(ACK, 1_000, 77), &at(1)));
        assert!(!observe(&mut flow, Ingress, &segment(ACK, 900_000, 77), &at(3)));
        assert!(observe(&mut flow, Egress, &segment(ACK, 5, 901_000), &at(3)));
    }

    #[test]
    fn a_stamp_from_the_future_does_not_expire_a_flow() {
        let flow = started(Egress, 0, &at(10));
        assert!(is_live(&flow, &head(protocol::UDP), &TIMEOUTS, &at(9)));
    }
}
