//! The addresses that prefixes cover together.

use crate::compile::Net;

/// A set of addresses, as the addresses at which membership changes, in order: the first of each range, and the first behind
/// it. A range that reaches to the last address has no end. Equal sets are equal values.
///
/// Addresses are left-aligned in 128 bits for both families; one of IPv4 stands for all 2^96 values with its upper bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    boundaries: Vec<u128>,
}

/// A range of addresses, both of them in it.
pub type Range = (u128, u128);

/// First and last address of a prefix.
#[must_use]
pub fn range(net: &Net) -> Range {
    (net.address, net.address | u128::MAX.checked_shr(u32::from(net.length)).unwrap_or(0))
}

impl Coverage {
    /// What the prefixes cover: in any order, nested, neighbouring or the same.
    pub fn of<'a>(prefixes: impl IntoIterator<Item = &'a Net>) -> Self {
        Self::of_ranges(prefixes.into_iter().map(range).collect())
    }

    /// What ranges cover, likewise.
    #[must_use]
    pub fn of_ranges(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable();
        let mut coverage = Self::default();
        let mut ranges = ranges.into_iter();
        let Some(mut open) = ranges.next() else { return coverage };
        for (first, last) in ranges {
            if open.1 == u128::MAX || first <= open.1 + 1 {
                open.1 = open.1.max(last);
            } else {
                coverage.push(open);
                open = (first, last);
            }
        }
        coverage.push(open);
        coverage
    }

    fn push(&mut self, (first, last): Range) {
        self.boundaries.push(first);
        self.boundaries.extend(last.checked_add(1));
    }

    /// Says that from here on addresses are in the set or not; calls come in the order of addresses.
    pub(super) fn becomes(&mut self, address: u128, inside: bool) {
        if inside == (self.boundaries.len() % 2 == 1) {
            return;
        }
        if self.boundaries.last() == Some(&address) {
            self.boundaries.pop();
        } else {
            self.boundaries.push(address);
        }
    }

    /// The addresses at which membership changes.
    #[must_use]
    pub fn boundaries(&self) -> &[u128] {
        &self.boundaries
    }

    /// The ranges, in order, with gaps between them.
    pub fn ranges(&self) -> impl Iterator<Item = Range> {
        self.boundaries.chunks(2).map(|pair| (pair[0], pair.get(1).map_or(u128::MAX, |end| end - 1)))
    }

    /// Whether this address is in the set.
    #[must_use]
    pub fn holds(&self, address: u128) -> bool {
        self.boundaries.partition_point(|boundary| *boundary <= address) % 2 == 1
    }

    /// What is in this set or the other.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::of_ranges(self.ranges().chain(other.ranges()).collect())
    }

    /// The set between two addresses: whether it holds the first one, and the boundaries behind that.
    #[must_use]
    pub fn between(&self, (first, last): Range) -> (bool, &[u128]) {
        let from = self.boundaries.partition_point(|boundary| *boundary <= first);
        let to = self.boundaries.partition_point(|boundary| *boundary <= last);
        (from % 2 == 1, &self.boundaries[from..to])
    }

    /// The part of the set that is between two addresses.
    #[must_use]
    pub fn clip(&self, within: Range) -> Self {
        let (inside, boundaries) = self.between(within);
        let mut clipped = Self::default();
        clipped.becomes(within.0, inside);
        clipped.boundaries.extend(boundaries);
        if let Some(behind) = within.1.checked_add(1) {
            clipped.becomes(behind, false);
        }
        clipped
    }
}
