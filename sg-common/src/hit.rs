//! New flows that rules admitted, counted by what rules look at. Which rules those were userspace tells: several may admit
//! one flow, and the datapath has forgotten who said what.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `HITS`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HitKey {
    /// [`head`] of what is counted.
    pub head: u64,
    /// The far end as it stands in packets, two words each; IPv4 in the first. Zero where the port is open to the world, for
    /// which it does not matter.
    pub remote: [u64; 2],
}

/// Value of `HITS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Hit {
    /// How many.
    pub count: u64,
    /// Jiffies at the last.
    pub last: u64,
}

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The interface.
    pub slot: u16,
    /// The rules are outward ones.
    pub is_egress: bool,
    /// The family is IPv6.
    pub is_v6: bool,
    /// Untracked, by a port that is open to the world.
    pub is_open: bool,
    /// Of the packet.
    pub protocol: u8,
    /// Port, or type and code of ICMP: what rules look at.
    pub point: u16,
}

impl Head {
    /// As one number.
    #[inline(always)]
    #[must_use]
    pub fn number(self) -> u64 {
        let flags = u64::from(self.is_egress) | u64::from(self.is_v6) << 1 | u64::from(self.is_open) << 2;
        u64::from(self.slot) | u64::from(self.point) << 16 | u64::from(self.protocol) << 32 | flags << 40
    }

    /// The reverse.
    #[must_use]
    pub fn of(number: u64) -> Self {
        let flag = |bit: u32| number >> (40 + bit) & 1 != 0;
        Self {
            slot: number as u16,
            is_egress: flag(0),
            is_v6: flag(1),
            is_open: flag(2),
            protocol: (number >> 32) as u8,
            point: (number >> 16) as u16,
        }
    }
}

const _: () = assert!(size_of::<HitKey>() == 24 && size_of::<Hit>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_what_its_number_says() {
        for bits in 0..8 {
            let head = Head {
                slot: 1023,
                is_egress: bits & 1 != 0,
                is_v6: bits & 2 != 0,
                is_open: bits & 4 != 0,
                protocol: 255,
                point: 65_535,
            };
            assert_eq!(Head::of(head.number()), head);
        }
    }
}
