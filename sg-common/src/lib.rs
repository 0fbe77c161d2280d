//! What the datapath (`sg-ebpf`) and its control plane (`sg-ctl`) share: map layouts, limits, reasons, the packet
//! parser and the flow state machine. `no_std`, no `unsafe`, no allocation; the same code runs in the kernel and in
//! `cargo test`.
//!
//! Byte order: addresses are kept as the bytes that stand in the packet (a `u32` or `[u32; 4]` read as it lies in
//! memory); ports, identifiers, lengths and sequence numbers are in host order. Times are the kernel's jiffies.
#![no_std]
#![deny(unsafe_code)]

pub mod adopt;
pub mod event;
pub mod flow;
pub mod hit;
pub mod index;
pub mod limits;
pub mod mark;
pub mod packet;
pub mod policy;
pub mod reason;
pub mod sweep;
pub mod track;
pub mod vlan;
pub mod wire;

/// Version of every map layout and of the meaning of every value in this crate. It is written into the pinned
/// [`policy::STATE_SCHEMA`] cell; a program that finds another number there must not touch the maps.
pub const SCHEMA_VERSION: u64 = 7;

/// The direction of a packet, always seen from the instance, on either side of its link (P-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// Towards the instance.
    Ingress = 0,
    /// From the instance.
    Egress = 1,
}

impl Direction {
    /// The other one.
    #[inline(always)]
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }

    /// Index of arrays that hold one element a direction.
    #[inline(always)]
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}
