//! What `sg_sweep` is told of flows that may be over.

use crate::flow::KeyHead;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Flows that one run looks at, at most.
pub const SWEEP_FLOWS: usize = 32;

/// What comes first, in place of a frame; up to [`SWEEP_FLOWS`] of [`Suspect`] follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SweepHead {
    /// [`Table`] that they lie in.
    pub table: u32,
    /// 0 is IPv4, 1 is IPv6.
    pub family: u32,
    /// How many follow.
    pub count: u32,
    /// Explicit padding: a test run takes no less than an Ethernet header.
    pub reserved: u32,
}

/// Tables of flows, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Table {
    /// Established TCP.
    Established = 0,
    /// Answered UDP, ICMP and others.
    Answered = 1,
    /// Half-open and unanswered.
    Pending = 2,
}

impl Table {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Established, Self::Answered, Self::Pending];
}

/// Key of a flow whose entry seemed to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Suspect {
    /// Interface and ports.
    pub head: KeyHead,
    /// As in packets; IPv4 in the first word, the others zero.
    pub local: [u32; 4],
    /// Likewise.
    pub remote: [u32; 4],
}

/// The program's return value where it could not read what it was given; else how many entries it removed.
pub const SWEEP_UNREAD: u32 = u32::MAX;

const _: () = assert!(size_of::<SweepHead>() == 16 && size_of::<Suspect>() == 44);
// What a test run takes in one piece: a page, less room for headers before and for an skb's own data behind.
const _: () = assert!(size_of::<SweepHead>() + SWEEP_FLOWS * size_of::<Suspect>() < 3_000);
