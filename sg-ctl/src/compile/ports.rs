//! A set of ports, or of ICMP types and codes, as sorted ranges that neither touch nor overlap.

use sg_common::policy::{PORT_WORDS, PortSet};

/// A set of 16-bit numbers. Equal sets are equal values, so that sets can be interned by content.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    ranges: Vec<(u16, u16)>,
}

impl Ports {
    /// The empty set.
    pub const NONE: Self = Self { ranges: Vec::new() };

    /// Every port.
    #[must_use]
    pub fn all() -> Self {
        Self::range(0, u16::MAX)
    }

    /// `from` to `to`, both included; nothing where `from` is beyond `to`.
    #[must_use]
    pub fn range(from: u16, to: u16) -> Self {
        Self { ranges: if from <= to { vec![(from, to)] } else { Vec::new() } }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether it holds every port.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.ranges == [(0, u16::MAX)]
    }

    /// How many ports it holds.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.ranges.iter().map(|&(from, to)| u32::from(to - from) + 1).sum()
    }

    /// Whether it holds this one.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        let next = self.ranges.partition_point(|&(from, _)| from <= port);
        next > 0 && self.ranges[next - 1].1 >= port
    }

    /// The sorted ranges.
    #[must_use]
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }

    /// Becomes the union of both.
    pub fn add(&mut self, other: &Self) {
        if other.is_empty() || self.is_all() {
            return;
        }
        let mut ranges: Vec<_> = self.ranges.iter().chain(&other.ranges).copied().collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if u32::from(from) <= u32::from(last.1) + 1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        self.ranges = merged;
    }

    /// What `self` holds and `other` does not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for &(from, to) in &self.ranges {
            let mut next = u32::from(from);
            for &(cut_from, cut_to) in &other.ranges {
                if u32::from(cut_to) < next || cut_from > to {
                    continue;
                }
                if u32::from(cut_from) > next {
                    left.push((next as u16, cut_from - 1));
                }
                next = u32::from(cut_to) + 1;
            }
            if next <= u32::from(to) {
                left.push((next as u16, to));
            }
        }
        Self { ranges: left }
    }

    /// The set as the datapath looks it up.
    #[must_use]
    pub fn bitmap(&self) -> Box<PortSet> {
        let mut words = Box::new([0; PORT_WORDS]);
        for &(from, to) in &self.ranges {
            let (first, last) = (usize::from(from >> 6), usize::from(to >> 6));
            let (head, tail) = (u64::MAX << (from & 63), u64::MAX >> (63 - (to & 63)));
            if first == last {
                words[first] |= head & tail;
            } else {
                words[first] |= head;
                words[first + 1..last].fill(u64::MAX);
                words[last] |= tail;
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u16, u16)]) -> Ports {
        let mut ports = Ports::NONE;
        ranges.iter().for_each(|&(from, to)| ports.add(&Ports::range(from, to)));
        ports
    }

    #[test]
    fn unions_merge_what_touches() {
        assert_eq!(set(&[(80, 80), (81, 90), (10, 20), (15, 30)]).ranges(), [(10, 30), (80, 90)]);
        assert!(set(&[(0, 99), (100, u16::MAX)]).is_all());
        assert_eq!(set(&[(1, 2), (u16::MAX, u16::MAX)]).len(), 3);
    }

    #[test]
    fn differences_and_bitmaps_agree_with_membership() {
        let samples = [
            set(&[]),
            set(&[(0, 0)]),
            set(&[(5, 200), (300, 65_535)]),
            set(&[(63, 64), (128, 191)]),
            Ports::all(),
        ];
        for a in &samples {
            let bitmap = a.bitmap();
            for b in &samples {
                let difference = a.without(b);
                for port in 0..=u16::MAX {
                    assert_eq!(difference.contains(port), a.contains(port) && !b.contains(port));
                }
            }
            for port in 0..=u16::MAX {
                assert_eq!(bitmap[usize::from(port >> 6)] >> (port & 63) & 1 != 0, a.contains(port));
            }
        }
    }
}
