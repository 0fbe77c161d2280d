//! Prefix lists that are so long that the kernel's trie is slow: their prefixes lie in an index ([`super::index`]), each in a
//! place of `INDEXES`, and only their single addresses in a table.

use super::{
    build::Build,
    host::Host,
    index::{Change as IndexChange, Coverage, Index, TooDense},
    stage::Staged,
    sys,
};
use crate::{
    compile::{Change, List, Net, Scope},
    error::Result,
};
use anyhow::Context;
use sg_common::{
    index::MAX_INDEXES,
    policy::{generation_of, word},
};
use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Entries from which on a list has an index. From about here on the kernel's trie is slower at random addresses, and an
/// index of 1 MiB is no longer much larger (`cargo xtask bench lists`).
const LONG: usize = 16_384;

/// Whether a list should have an index: of its prefixes, its single addresses lie in a hash table in any case.
fn is_long(list: &List) -> bool {
    list.len() >= LONG && prefixes(list).count() >= LONG
}

fn prefixes(list: &List) -> impl Iterator<Item = Net> {
    list.nets().filter(|net| net.length < list.family.bits())
}

/// The index of a list's prefixes; `None` where it is not long, or they lie too close together for one.
///
/// # Errors
/// Where the kernel refuses the map.
pub fn index(list: &List) -> Result<Option<Index>> {
    if !is_long(list) {
        return Ok(None);
    }
    match Index::build(list.family, &coverage(list)) {
        Ok(index) => Ok(Some(index)),
        Err(error) if error.is::<TooDense>() => Ok(None),
        Err(error) => Err(error),
    }
}

fn coverage(list: &List) -> Coverage {
    Coverage::of(&prefixes(list).collect::<Vec<_>>())
}

/// Whether a change makes a list long that was not: `touched` are the nets that came or went.
fn becomes_long(list: &List, touched: &BTreeSet<Net>) -> bool {
    let came = touched.iter().filter(|net| list.holds(net)).count();
    let len = list.len();
    len >= LONG && len + touched.len() < LONG + 2 * came
}

impl Host {
    /// The index in a place.
    fn index_at(&self, place: u32) -> Result<Option<Index>> {
        let Some(id) = self.indexes.get(&place).context("cannot read the indexes")? else { return Ok(None) };
        let map = sys::map_by_id(id).context("cannot open the index of a prefix list")?;
        Index::open(map).map(Some)
    }

    /// Kernel memory that all indexes hold, in bytes.
    pub(super) fn indexes_memory(&self) -> io::Result<u64> {
        let indexes = (1..MAX_INDEXES).filter_map(|place| self.index_at(place).transpose());
        let bytes = indexes.map(|index| index.map(|index| index.bytes() as u64));
        bytes.sum::<Result<u64>>().map_err(io::Error::other)
    }

    /// Puts indexes into places that no packet looks at yet.
    pub(super) fn put_indexes(&self, indexes: &[(u32, Index)]) -> Result<()> {
        for (place, index) in indexes {
            self.indexes.set(place, &(index.fd().as_fd().as_raw_fd() as u32))?;
        }
        Ok(())
    }

    /// Removes those in places that no packet looks at any more.
    pub(super) fn remove_indexes(&self, places: &[u32]) -> Result<()> {
        for place in places {
            self.indexes.remove(place)?;
        }
        Ok(())
    }

    /// Stages what changes in lists that have an index, and has one made anew where a list should have one, or its own has
    /// no room for the change. False where a change in part does not do for that.
    pub(super) fn stage_indexes(
        &self,
        change: &Change,
        build: &mut Build,
        staged: &mut Staged,
        live: u64,
    ) -> Result<bool> {
        let nothing = BTreeSet::new();
        for (id, list) in &change.after.lists {
            let touched = change.lists.get(id).unwrap_or(&nothing);
            let is_as_it_should_be = match build.ledgers.list(*id) {
                None => true,
                Some((_, Some(place))) if change.scope == Scope::Unknown => {
                    self.index_at(place)?.is_some_and(|index| index.coverage(live) == coverage(list))
                }
                Some((_, Some(place))) => self.stage_index(place, list, touched, staged, live)?,
                Some((_, None)) if change.scope == Scope::Part => {
                    touched.is_empty() || !becomes_long(list, touched)
                }
                Some((_, None)) => false,
            };
            if !is_as_it_should_be {
                if change.scope == Scope::Part {
                    return Ok(false);
                }
                build.give_index(*id, list)?;
            }
        }
        Ok(true)
    }

    /// False where the index has no room for the change.
    fn stage_index(
        &self,
        place: u32,
        list: &List,
        touched: &BTreeSet<Net>,
        staged: &mut Staged,
        live: u64,
    ) -> Result<bool> {
        let is_prefix = |net: &Net| net.length < list.family.bits();
        let prefixes = touched.iter().copied().filter(is_prefix);
        let (added, removed): (Vec<Net>, Vec<Net>) = prefixes.partition(|net| list.holds(net));
        if added.is_empty() && removed.is_empty() {
            return Ok(true);
        }
        let Some(index) = self.index_at(place)? else { return Ok(false) };
        let since = word(generation_of(live) + 1, 0);
        let change = IndexChange { added: &added, removed: &removed, live, since };
        let others = |(first, last)| Ok(list.between(first, last).into_iter().filter(is_prefix).collect());
        let Some(plan) = index.plan(&change, others)? else { return Ok(false) };
        staged.index(index, plan);
        Ok(true)
    }

    /// Takes back what was staged for a generation that never went live.
    pub(super) fn revert_indexes(&self, live: u64) -> Result<()> {
        for place in 1..MAX_INDEXES {
            if let Some(index) = self.index_at(place)? {
                index.revert(live);
            }
        }
        Ok(())
    }
}
