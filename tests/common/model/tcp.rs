//! The life of a TCP entry (P-4, P-5).

use super::transport::{ACK, FIN, RST, SYN, Segment};
use sg_ctl::model::Timeouts;

/// P-5, in seconds.
const HALF_OPEN_SECONDS: u64 = 60;
const CLOSING_SECONDS: u64 = 120;
const RESET_SECONDS: u64 = 10;
/// P-5: how far from the sequence last recorded a RST may be.
const RST_WINDOW: u32 = 1 << 20;
/// P-5: how much data beside the SYN an acknowledgement of it may cover.
const ACK_WINDOW: u32 = 65_536;

/// Which end of the connection a segment comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Initiator = 0,
    Responder = 1,
}

/// A TCP entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tcp {
    HalfOpen(HalfOpen),
    Established(Established),
}

/// From the SYN to the third leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HalfOpen {
    /// When the initiator last sent its SYN: nothing else refreshes.
    last_syn: u64,
    initiator_isn: u32,
    /// Known from a SYN-ACK that acknowledges the initiator, or from a SYN that crossed.
    responder_isn: Option<u32>,
    /// Both ends sent a SYN (simultaneous open).
    crossed: bool,
    /// Which ends have acknowledged the other's initial sequence number.
    acknowledged: [bool; 2],
}

/// From the third leg on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Established {
    last_seen: u64,
    /// A FIN was seen from this end.
    finished: [bool; 2],
    /// The sequence number last recorded of each end.
    recorded: [Recorded; 2],
    /// When a RST was considered that no later segment has undone.
    reset: Option<u64>,
    /// The second in which a RST was last considered: one a second is.
    rst_considered: Option<u64>,
}

/// A sequence number and the second in which it was recorded: the first of each second is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recorded {
    sequence: u32,
    second: u64,
}

impl Tcp {
    /// The entry that an admitted SYN makes.
    pub fn half_open(syn: Segment, now: u64) -> Self {
        Self::HalfOpen(HalfOpen::new(syn, now))
    }

    /// The time from which the entry is idle, and how long it may be.
    pub fn idle_since_and_timeout(&self, timeouts: Timeouts) -> (u64, u64) {
        match self {
            Self::HalfOpen(half) => (half.last_syn, HALF_OPEN_SECONDS),
            Self::Established(open) => match open.reset {
                Some(reset) => (reset, RESET_SECONDS),
                None if open.is_closing() => (open.last_seen, CLOSING_SECONDS),
                None => (open.last_seen, timeouts.tcp_established.into()),
            },
        }
    }

    /// Any segment but a SYN, on a live entry. It passes whatever it does here (T-3).
    pub fn see(&mut self, segment: Segment, from: End, now: u64) {
        match self {
            Self::HalfOpen(half) => {
                if half.sees_handshake_complete(segment, from) {
                    *self = Self::Established(half.establish(segment, from, now));
                }
            }
            Self::Established(open) => open.see(segment, from, now),
        }
    }
}

impl HalfOpen {
    fn new(syn: Segment, now: u64) -> Self {
        Self {
            last_syn: now,
            initiator_isn: syn.sequence,
            responder_isn: None,
            crossed: false,
            acknowledged: [false; 2],
        }
    }

    /// P-4: a SYN of the initiator again. With another sequence number it is another attempt, which has no answer yet.
    pub fn retransmit(&mut self, syn: Segment, now: u64) {
        if syn.sequence == self.initiator_isn {
            self.last_syn = now;
        } else {
            *self = Self::new(syn, now);
        }
    }

    /// P-4: a SYN of the responder, in answer to the initiator's or without knowing of it. If its sequence number is not
    /// the one known before, an acknowledgement of that one no longer counts.
    pub fn cross(&mut self, syn: Segment) {
        self.crossed = true;
        if self.responder_isn != Some(syn.sequence) {
            self.responder_isn = Some(syn.sequence);
            self.acknowledged[End::Initiator as usize] = false;
        }
    }

    /// P-5: takes note of acknowledgements. What acknowledges nothing that was sent changes nothing, so a blind spoofer
    /// gets no further; nor does a RST, which refuses the connection.
    fn sees_handshake_complete(&mut self, segment: Segment, from: End) -> bool {
        if !segment.has(ACK) || segment.has(RST) {
            return false;
        }
        let other_isn = match from {
            End::Initiator => self.responder_isn,
            End::Responder => Some(self.initiator_isn),
        };
        if !other_isn.is_some_and(|isn| acknowledges(segment, isn)) {
            return false;
        }
        if self.crossed {
            self.acknowledged[from as usize] = true;
            return self.acknowledged == [true; 2];
        }
        match (from, segment.has(SYN)) {
            // The second leg. It promotes nothing.
            (End::Responder, true) => {
                self.responder_isn = Some(segment.sequence);
                self.acknowledged[End::Responder as usize] = true;
                false
            }
            // The third leg.
            (End::Initiator, false) => true,
            (End::Responder, false) | (End::Initiator, true) => false,
        }
    }

    fn establish(&self, completing: Segment, from: End, now: u64) -> Established {
        let recorded = |sequence| Recorded { sequence, second: now };
        let isns = [self.initiator_isn, self.responder_isn.unwrap_or_default()];
        let mut open = Established {
            last_seen: now,
            finished: [false; 2],
            recorded: isns.map(recorded),
            reset: None,
            rst_considered: None,
        };
        open.recorded[from as usize] = recorded(completing.sequence);
        open.finished[from as usize] = completing.has(FIN);
        open
    }
}

impl Established {
    /// Both ends are done, or one has reset the connection: an admitted SYN starts anew (P-4).
    pub fn is_ending(&self) -> bool {
        self.is_closing() || self.reset.is_some()
    }

    fn is_closing(&self) -> bool {
        self.finished == [true; 2]
    }

    fn see(&mut self, segment: Segment, from: End, now: u64) {
        let recorded = &mut self.recorded[from as usize];
        if segment.has(RST) {
            let is_near = distance(segment.sequence, recorded.sequence) <= RST_WINDOW;
            if is_near && self.rst_considered != Some(now) {
                self.rst_considered = Some(now);
                self.reset = Some(now);
            }
        } else if !segment.has(SYN) {
            if recorded.second != now {
                *recorded = Recorded { sequence: segment.sequence, second: now };
            }
            self.last_seen = now;
            self.reset = None;
            self.finished[from as usize] |= segment.has(FIN);
        }
    }
}

/// P-5: ack − ISN between 1 and 65,536.
fn acknowledges(segment: Segment, isn: u32) -> bool {
    (1..=ACK_WINDOW).contains(&segment.acknowledgement.wrapping_sub(isn))
}

/// The shorter way round between two sequence numbers.
fn distance(a: u32, b: u32) -> u32 {
    a.wrapping_sub(b).min(b.wrapping_sub(a))
}
