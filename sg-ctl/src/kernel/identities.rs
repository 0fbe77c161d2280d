//! Which groups an identity stands for, in a pinned map of userspace's own: so that a change of an interface's rules knows
//! what its view has to say without a walk over all members.

use super::{host::Host, map::BpfMap};
use crate::{compile::Identity, error::Result, model::GroupId};
use std::collections::BTreeMap;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `IDENTITIES`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct IdentityKey {
    /// Its number.
    pub identity: u32,
    /// Counts its groups from 0.
    pub place: u32,
}

/// A group, by the two halves of its id's number, the upper one first.
pub type GroupBits = [u64; 2];

/// The map.
pub type Identities = BpfMap<IdentityKey, GroupBits>;

impl Host {
    /// All identities by number.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub(super) fn identities(&self) -> Result<BTreeMap<u32, Identity>> {
        let mut identities = BTreeMap::<u32, Identity>::new();
        self.identities.for_each(|key, [upper, lower]| {
            let group = GroupId::from_bits(u128::from(*upper) << 64 | u128::from(*lower));
            identities.entry(key.identity).or_default().push(group);
        })?;
        Ok(identities)
    }

    /// Writes down new ones.
    ///
    /// # Errors
    /// Where the map is full.
    pub(super) fn write_identities<'a>(&self, new: impl Iterator<Item = (u32, &'a Identity)>) -> Result<()> {
        let entries = new.flat_map(|(identity, groups)| {
            let key = move |place: usize| IdentityKey { identity, place: place as u32 };
            let bits = |group: &GroupId| [(group.bits() >> 64) as u64, group.bits() as u64];
            groups.iter().enumerate().map(move |(place, group)| (key(place), bits(group)))
        });
        Ok(self.identities.set_all(&entries.collect::<Vec<_>>())?)
    }

    /// Forgets some.
    ///
    /// # Errors
    /// Where the map cannot be written.
    pub(super) fn forget_identities(&self, numbers: &[u32]) -> Result<()> {
        let mut over = Vec::new();
        self.identities.for_each(|key, _| {
            if numbers.contains(&key.identity) {
                over.push(*key);
            }
        })?;
        Ok(self.identities.remove_all(&over)?)
    }
}
