//! What `sg_adopt` is told of a connection that was open before its interface was attached (P-22), and what it answers.

use crate::flow::KeyHead;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An open TCP connection, in place of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Adoption {
    /// Interface and ports.
    pub head: KeyHead,
    /// As in packets; IPv4 in the first word, the others zero.
    pub local: [u32; 4],
    /// Likewise.
    pub remote: [u32; 4],
    /// 0 is IPv4, 1 is IPv6.
    pub family: u32,
    /// [`crate::Direction`] in which it was started.
    pub started: u32,
    /// [`crate::flow::flag`]'s `FIN_…`: which sides have ended their stream already.
    pub fins: u32,
}

/// What became of it; the program's return value. 0 is no answer: it could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Answer {
    /// It has an entry now.
    Made = 1,
    /// It had one already, which stays as it is.
    Present = 2,
    /// The table is full of live flows.
    Full = 3,
}

impl Answer {
    /// From the program's return value.
    #[must_use]
    pub fn of(value: u32) -> Option<Self> {
        [Self::Made, Self::Present, Self::Full].into_iter().find(|answer| *answer as u32 == value)
    }
}
