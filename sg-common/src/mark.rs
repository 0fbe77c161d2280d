//! Marks of untracked UDP flows: what lets the answering end of a flow that lost its rule go on talking without its
//! reviving the flow (P-3).
//!
//! A blocked Bloom filter: a tuple's four bits lie in one 64-byte block, so that a look costs one cache line. A block
//! holds the bits of the current and of the previous period and shifts itself when first touched in a new one;
//! nothing sweeps it. A mark lasts at least one and at most two periods of [`crate::limits::MARK_SECONDS`] after it
//! was last set.
//!
//! With 100,000 flows in both periods a block holds about three flows a period (12 of 192 bits), and a new tuple is
//! taken for a marked one with a probability of some 1 in 10,000.

use crate::{limits::MARK_SECONDS, vlan::Vlans};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Blocks of one filter; 64 bytes each, 2 MiB together.
pub const MARK_BLOCKS: u32 = 32_768;

/// Words of bits for one period in a block.
const WORDS: u64 = 3;

/// One block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MarkBlock {
    /// Period that `current` belongs to.
    pub period: u64,
    /// Bits set in that period.
    pub current: [u64; WORDS as usize],
    /// Bits set in the period before.
    pub previous: [u64; WORDS as usize],
    /// Explicit padding to a cache line.
    pub reserved: u64,
}

const _: () = assert!(size_of::<MarkBlock>() == 64);

/// A tuple's place: its block and the bits in it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Block of the filter.
    pub block: u32,
    bits: [u64; WORDS as usize],
}

/// The place of a tuple with this 64-bit hash. Two bits fall into the first word, one into each of the others.
#[inline(always)]
#[must_use]
pub fn place(hash: u64) -> Place {
    let first = 1 << (hash >> 16 & 63) | 1 << (hash >> 22 & 63);
    Place {
        block: hash as u32 & (MARK_BLOCKS - 1),
        bits: [first, 1 << (hash >> 28 & 63), 1 << (hash >> 34 & 63)],
    }
}

impl MarkBlock {
    /// Whether the tuple was marked in this period or the one before.
    #[inline(always)]
    #[must_use]
    pub fn holds(&self, place: &Place, period: u64) -> bool {
        let all = |bits: &[u64; 3]| {
            (bits[0] & place.bits[0] == place.bits[0])
                & (bits[1] & place.bits[1] == place.bits[1])
                & (bits[2] & place.bits[2] == place.bits[2])
        };
        match period.wrapping_sub(self.period) {
            0 => all(&self.current) || all(&self.previous),
            1 => all(&self.current),
            _ => false,
        }
    }

    /// Marks the tuple; writes only where something changes. Two processors that turn the same block over at the same
    /// instant can lose a mark, which the flow's next packet sets again.
    #[inline(always)]
    pub fn set(&mut self, place: &Place, period: u64) {
        if self.period != period {
            // Word by word: a memset would become a loop of bytes in BPF.
            let keep = if period.wrapping_sub(self.period) == 1 { u64::MAX } else { 0 };
            self.previous[0] = self.current[0] & keep;
            self.previous[1] = self.current[1] & keep;
            self.previous[2] = self.current[2] & keep;
            self.current[0] = place.bits[0];
            self.current[1] = place.bits[1];
            self.current[2] = place.bits[2];
            self.period = period;
            return;
        }
        if self.current[0] & place.bits[0] != place.bits[0] {
            self.current[0] |= place.bits[0];
        }
        if self.current[1] & place.bits[1] != place.bits[1] {
            self.current[1] |= place.bits[1];
        }
        if self.current[2] & place.bits[2] != place.bits[2] {
            self.current[2] |= place.bits[2];
        }
    }
}

/// The period that it is now, from jiffies and jiffies a second.
#[inline(always)]
#[must_use]
pub fn period(now: u64, hz: u64) -> u64 {
    // Checked, because a panic path would end up in the program.
    now.checked_div(MARK_SECONDS as u64 * hz).unwrap_or(0)
}

/// Index into `MARKS` of a block in the filter for flows that started in this direction.
#[inline(always)]
#[must_use]
pub fn block_index(start: crate::Direction, place: &Place) -> u32 {
    start as u32 * MARK_BLOCKS + place.block
}

/// The place of a tuple: a hash of its addresses, the interface, the VLANs and the ports.
#[inline(always)]
#[must_use]
pub fn tuple_place(addresses: u64, slot: u32, vlans: Vlans, local_port: u16, remote_port: u16) -> Place {
    // Spread over all bits: otherwise one VLAN's addresses would fall on the next ones' of another.
    let network = addresses ^ u64::from(vlans.bits()).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    place(mix(network, (slot as u64) << 32 | (local_port as u64) << 16 | remote_port as u64))
}

/// A hash of an IPv4 flow's addresses.
#[inline(always)]
#[must_use]
pub fn addresses4(local: u32, remote: u32) -> u64 {
    (local as u64) << 32 | remote as u64
}

/// A hash of an IPv6 flow's addresses.
#[inline(always)]
#[must_use]
pub fn addresses6(local: [u32; 4], remote: [u32; 4]) -> u64 {
    let local = mix(addresses4(local[0], local[1]), addresses4(local[2], local[3]));
    mix(local, mix(addresses4(remote[0], remote[1]), addresses4(remote[2], remote[3])))
}

/// Mixes two words into a well-spread hash (the finaliser of SplitMix64).
#[inline(always)]
#[must_use]
pub fn mix(a: u64, b: u64) -> u64 {
    let x = a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ b;
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn a_mark_lasts_one_to_two_periods() {
        let (mut block, place) = (MarkBlock::default(), place(mix(1, 2)));
        assert!(!block.holds(&place, 5));
        block.set(&place, 5);
        assert!(block.holds(&place, 5) && block.holds(&place, 6) && !block.holds(&place, 7));
        block.set(&super::place(mix(3, 4)), 6);
        assert!(block.holds(&place, 6), "a neighbour that turns the block over must not unmark it");
        assert!(!block.holds(&place, 7));
    }

    #[test]
    fn p13_a_tuple_has_a_place_of_its_own_in_each_vlan() {
        let at = |vlans| {
            let place = tuple_place(addresses4(1, 2), 0, vlans, 53, 40_000);
            (place.block, place.bits)
        };
        let places: std::collections::BTreeSet<_> =
            (0..=4095).map(|id| at(Vlans::NONE.tagged(id))).chain([at(Vlans::NONE)]).collect();
        assert_eq!(places.len(), 4097);
    }

    #[test]
    fn p3_fewer_than_one_in_a_thousand_new_flows_are_mistaken() {
        let mut filter = std::vec![MarkBlock::default(); MARK_BLOCKS as usize];
        for period in [7, 8] {
            for flow in 0..100_000u64 {
                let place = place(mix(flow, period));
                filter[place.block as usize].set(&place, period);
            }
        }
        let trials = 1_000_000u64;
        let mistaken = (0..trials)
            .map(|n| place(mix(n, 99)))
            .filter(|place| filter[place.block as usize].holds(place, 8))
            .count() as u64;
        assert!(mistaken * 1000 < trials, "{mistaken} of {trials}");
    }
}
