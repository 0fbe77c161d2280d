//! The VLANs that a frame is in, as flow keys of VLAN-aware interfaces hold them (P-13).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Identifiers of up to [`crate::limits::MAX_VLAN_TAGS`] tags: the outer one in the upper half, the inner one in the
/// lower, each with a bit that says that the tag is there. So an untagged frame, one with the priority tag (identifier
/// 0) and one with the same identifier twice all differ. Priority bits and the EtherType of a tag are not part of it:
/// they may differ between packets of one flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Vlans(u32);

/// The tag is there.
const PRESENT: u32 = 0x1000;
/// The identifier in the tag control information (IEEE 802.1Q).
const ID: u32 = 0xfff;

impl Vlans {
    /// No tag, or an interface that is not VLAN-aware.
    pub const NONE: Self = Self(0);

    /// With one more tag, the next inward. `tci`: its control information, in host order. A third tag makes no
    /// sense of it: such a frame is refused.
    #[inline(always)]
    #[must_use]
    pub fn tagged(self, tci: u16) -> Self {
        let tag = u32::from(tci) & ID | PRESENT;
        Self(if self.0 == 0 { tag << 16 } else { self.0 | tag })
    }

    /// For a hash: as a number.
    #[inline(always)]
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// From [`Self::bits`].
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The identifiers, the outer one first.
    pub fn ids(self) -> impl Iterator<Item = u16> {
        [self.0 >> 16, self.0].into_iter().filter(|tag| tag & PRESENT != 0).map(|tag| (tag & ID) as u16)
    }
}

const _: () = assert!(size_of::<Vlans>() == 4);

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn p13_untagged_priority_tagged_and_one_or_two_tags_all_differ() {
        let of = |tags: &[u16]| tags.iter().fold(Vlans::NONE, |vlans, &tci| vlans.tagged(tci));
        let all: [&[u16]; 8] = [&[], &[0], &[5], &[0, 5], &[5, 0], &[5, 5], &[0, 0], &[4095, 4094]];
        for (n, tags) in all.iter().enumerate() {
            assert_eq!(of(tags).ids().collect::<Vec<_>>(), *tags);
            assert!(all[..n].iter().all(|other| of(other) != of(tags)), "{tags:?}");
        }
    }

    #[test]
    fn p13_the_priority_of_a_tag_is_no_part_of_a_flow() {
        assert_eq!(Vlans::NONE.tagged(0xe005), Vlans::NONE.tagged(5));
    }
}
