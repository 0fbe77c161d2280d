//! Entries that change in place: members of groups and entries of prefix lists. Each is written with both what it is from
//! the next generation on and what it was, so that the flip of the word puts any number of them in force at once.

use super::{
    host::Host,
    index::{Index, Plan},
    map::{BpfMap, Plain},
    net::{address_key4, address_key6, address4, address6, prefix_key4, prefix_key6},
    sys,
};
use crate::{
    compile::{Family, List, Net},
    error::Result,
};
use anyhow::Context;
use sg_common::policy::{
    ABSENT, AddressKey4, AddressKey6, COVERED, HAS_ADDRESSES, HAS_PREFIXES, PRESENT, PrefixKey4, PrefixKey6,
    STATE_LOOSE, STATE_REMOVALS, STATE_STAGED, TABLE_MEMBERS, Versioned, generation_of, word,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
};

/// What is to be written for a generation.
#[derive(Default)]
pub struct Staged {
    addresses4: Slots<AddressKey4>,
    addresses6: Slots<AddressKey6>,
    prefixes4: Slots<PrefixKey4>,
    prefixes6: Slots<PrefixKey6>,
    indexes: Vec<(Index, Plan)>,
    /// The last generation that an entry among them changed in: it is written again only when no packet can hold an older
    /// one.
    pub newest: u64,
}

/// The same of one map.
struct Slots<K> {
    new: Vec<(K, Versioned)>,
    changed: Vec<(K, Versioned)>,
    removed: Vec<K>,
}

impl<K> Default for Slots<K> {
    fn default() -> Self {
        Self { new: Vec::new(), changed: Vec::new(), removed: Vec::new() }
    }
}

impl<K: Plain> Slots<K> {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.changed.is_empty()
    }

    fn put(&mut self, key: K, entry: Versioned, is_there: bool, is_removed: bool) {
        if is_there { &mut self.changed } else { &mut self.new }.push((key, entry));
        if is_removed {
            self.removed.push(key);
        }
    }
}

impl Staged {
    /// Bits of what tables come to hold, by table: `HAS_ADDRESSES`, `HAS_PREFIXES`.
    pub fn kinds(&self) -> BTreeMap<u32, u32> {
        let mut kinds = BTreeMap::<u32, u32>::new();
        let mut add = |table: u32, entry: &Versioned, kind: u32| {
            if table != TABLE_MEMBERS && entry.now != ABSENT {
                *kinds.entry(table).or_default() |= kind;
            }
        };
        self.addresses4.new.iter().for_each(|(key, entry)| add(key.table, entry, HAS_ADDRESSES));
        self.addresses6.new.iter().for_each(|(key, entry)| add(key.table, entry, HAS_ADDRESSES));
        self.prefixes4.new.iter().for_each(|(key, entry)| add(key.at.table, entry, HAS_PREFIXES));
        self.prefixes6.new.iter().for_each(|(key, entry)| add(key.at.table, entry, HAS_PREFIXES));
        kinds
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.addresses4.is_empty()
            && self.addresses6.is_empty()
            && self.prefixes4.is_empty()
            && self.prefixes6.is_empty()
            && self.indexes.is_empty()
    }

    /// Whether a hash map gets entries that it does not have.
    pub fn inserts(&self) -> bool {
        !self.addresses4.new.is_empty() || !self.addresses6.new.is_empty()
    }

    /// Whether a hash map has entries whose memory it gives away when they change.
    fn replaces(&self) -> bool {
        !self.addresses4.changed.is_empty() || !self.addresses6.changed.is_empty()
    }

    /// Whether entries are to go once the generation is in force.
    pub fn removes(&self) -> bool {
        !(self.addresses4.removed.is_empty()
            && self.addresses6.removed.is_empty()
            && self.prefixes4.removed.is_empty()
            && self.prefixes6.removed.is_empty())
    }

    /// A single address of a table is to have this value from that generation on.
    fn address(
        &mut self,
        host: &Host,
        table: u32,
        net: &Net,
        family: Family,
        now: u32,
        since: u64,
    ) -> Result<()> {
        let newest = match family {
            Family::V4 => exact(&host.addresses4, &mut self.addresses4, address_key4(table, net), now, since),
            Family::V6 => exact(&host.addresses6, &mut self.addresses6, address_key6(table, net), now, since),
        };
        self.newest = self.newest.max(newest.context("cannot read the address tables")?);
        Ok(())
    }

    /// An address is to be a member with that identity from a generation on.
    ///
    /// # Errors
    /// Where the kernel cannot be read.
    pub fn member(&mut self, host: &Host, address: IpAddr, identity: u32, since: u64) -> Result<()> {
        self.address(host, TABLE_MEMBERS, &Net::host(address), Family::of(&address), identity, since)
    }

    /// An index is to change as planned.
    pub fn index(&mut self, index: Index, plan: Plan) {
        if !plan.is_empty() {
            self.newest = self.newest.max(generation_of(plan.after()));
            self.indexes.push((index, plan));
        }
    }

    /// A net of a list is to be what the list says from a generation on; `was` says whether the table has it.
    ///
    /// # Errors
    /// Where the kernel cannot be read.
    pub fn entry(
        &mut self,
        host: &Host,
        table: u32,
        list: &List,
        net: &Net,
        was: bool,
        since: u64,
    ) -> Result<()> {
        if net.length == list.family.bits() {
            let now = if list.holds(net) { PRESENT } else { ABSENT };
            return self.address(host, table, net, list.family, now, since);
        }
        let now = match list.holds(net) {
            true => PRESENT,
            false if list.covers_around(net) => COVERED,
            false => ABSENT,
        };
        let newest = match list.family {
            Family::V4 => {
                longest(&host.prefixes4, &mut self.prefixes4, prefix_key4(table, net), was, now, since)
            }
            Family::V6 => {
                longest(&host.prefixes6, &mut self.prefixes6, prefix_key6(table, net), was, now, since)
            }
        };
        self.newest = self.newest.max(newest.context("cannot read the prefix tables")?);
        Ok(())
    }
}

/// An entry of a hash map. Returns since when it is what it is.
fn exact<K: Plain>(
    map: &BpfMap<K, Versioned>,
    slots: &mut Slots<K>,
    key: K,
    now: u32,
    since: u64,
) -> io::Result<u64> {
    let there = map.get(&key)?;
    let before = there.map_or(0, |entry| entry.now);
    if before != now {
        slots.put(key, Versioned { since: word(since, 0), now, before }, there.is_some(), now == 0);
    }
    Ok(there.map_or(0, |entry| generation_of(entry.since)))
}

/// An entry of a trie, which finds the longest prefix and not this one only. Returns since when that is what it is.
fn longest<K: Plain>(
    map: &BpfMap<K, Versioned>,
    slots: &mut Slots<K>,
    key: K,
    was: bool,
    now: u32,
    since: u64,
) -> io::Result<u64> {
    let around = map.get(&key)?;
    let before = match (was, around.map_or(ABSENT, |entry| entry.now)) {
        (true, _) => PRESENT,
        (false, ABSENT) => ABSENT,
        (false, _) => COVERED,
    };
    if was != (now == PRESENT) {
        slots.put(key, Versioned { since: word(since, 0), now, before }, was, now != PRESENT);
    }
    Ok(around.map_or(0, |entry| generation_of(entry.since)))
}

/// Changes elements of a hash map. The kernel gives an element's memory to the next one that it allocates, also while a
/// packet reads it: so a few wait for each other. Of many that would take too long, and a packet that is held up between
/// finding an entry and reading it, for as long as two system calls take, may read another's.
fn replace<K: Plain>(map: &BpfMap<K, Versioned>, changed: &[(K, Versioned)]) -> Result<()> {
    const FEW: usize = 8;
    if changed.len() > FEW {
        return Ok(map.set_all(changed)?);
    }
    for (count, entry) in changed.iter().enumerate() {
        if count > 0 {
            sys::wait_for_grace_period().context("cannot wait for a grace period")?;
        }
        map.set_all(std::slice::from_ref(entry))?;
    }
    Ok(())
}

/// What the maps hold of members and lists.
#[derive(Default)]
pub struct Content {
    /// Everybody who is a member.
    pub members: BTreeSet<IpAddr>,
    /// By table, the nets of prefix lists; of other tables everything as well.
    pub tables: BTreeMap<u32, BTreeSet<Net>>,
}

impl Host {
    /// Writes what is staged. No packet sees it before its generation is live.
    ///
    /// # Errors
    /// Where the kernel refuses; what was written then is taken back by [`Host::revert`].
    pub(super) fn write_staged(&self, staged: &Staged, generation: u64) -> Result<()> {
        if staged.is_empty() {
            return Ok(());
        }
        self.state.set(&STATE_STAGED, &generation)?;
        if staged.removes() {
            self.state.set(&STATE_REMOVALS, &1)?;
        }
        staged.indexes.iter().for_each(|(index, plan)| index.stage(plan));
        self.addresses4.set_all(&staged.addresses4.new)?;
        self.addresses6.set_all(&staged.addresses6.new)?;
        self.prefixes4.set_all(&staged.prefixes4.new)?;
        self.prefixes4.set_all(&staged.prefixes4.changed)?;
        self.prefixes6.set_all(&staged.prefixes6.new)?;
        self.prefixes6.set_all(&staged.prefixes6.changed)?;
        // Last: what these take the place of may be given to whatever is inserted next.
        if staged.replaces() {
            self.state.set(&STATE_LOOSE, &1)?;
            replace(&self.addresses4, &staged.addresses4.changed)?;
            replace(&self.addresses6, &staged.addresses6.changed)?;
        }
        Ok(())
    }

    /// Removes what went with a generation that every packet holds by now.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(super) fn remove_staged(&self, staged: &Staged) -> Result<()> {
        if !staged.removes() {
            return Ok(());
        }
        self.state.set(&STATE_LOOSE, &1)?;
        self.addresses4.remove_all(&staged.addresses4.removed)?;
        self.addresses6.remove_all(&staged.addresses6.removed)?;
        self.prefixes4.remove_all(&staged.prefixes4.removed)?;
        self.prefixes6.remove_all(&staged.prefixes6.removed)?;
        Ok(self.state.set(&STATE_REMOVALS, &0)?)
    }

    /// Takes back what was staged for a generation that never went live, and removes what a generation that did was to
    /// remove. Only after a command that was cut off is there anything to do.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(super) fn revert(&self, word: u64) -> Result<()> {
        let live = generation_of(word);
        let is_ahead = self.cell(STATE_STAGED)? > live;
        if !is_ahead && self.cell(STATE_REMOVALS)? == 0 {
            return Ok(());
        }
        self.quiesce(live)?;
        self.state.set(&STATE_LOOSE, &1)?;
        fn mend<K: Plain>(map: &BpfMap<K, Versioned>, word: u64, least: u32) -> io::Result<()> {
            let (mut back, mut gone) = (Vec::new(), Vec::new());
            map.for_each(|key, entry| {
                let is = entry.at(word);
                if entry.since != 0 && is < least {
                    gone.push(*key);
                } else if entry.since > word {
                    back.push((*key, Versioned::fixed(is)));
                }
            })?;
            map.set_all(&back)?;
            map.remove_all(&gone)
        }
        mend(&self.addresses4, word, 1)?;
        mend(&self.addresses6, word, 1)?;
        mend(&self.prefixes4, word, PRESENT)?;
        mend(&self.prefixes6, word, PRESENT)?;
        self.revert_indexes(word)?;
        self.state.set(&STATE_REMOVALS, &0)?;
        self.state.set(&STATE_STAGED, &live)?;
        Ok(())
    }

    /// Reads back what lies in the address tables, where nothing is staged.
    ///
    /// # Errors
    /// Where the kernel cannot be read.
    pub(super) fn content(&self) -> io::Result<Content> {
        let mut content = Content::default();
        let mut add = |table: u32, address: IpAddr, length: u8| {
            if table == TABLE_MEMBERS {
                content.members.insert(address);
            } else {
                content.tables.entry(table).or_default().insert(Net::new(address, length));
            }
        };
        self.addresses4.for_each(|key, _| add(key.table, address4(key.address), 32))?;
        self.addresses6.for_each(|key, _| add(key.table, address6(key.address), 128))?;
        self.prefixes4
            .for_each(|key, _| add(key.at.table, address4(key.at.address), (key.bits - 32) as u8))?;
        self.prefixes6
            .for_each(|key, _| add(key.at.table, address6(key.at.address), (key.bits - 32) as u8))?;
        Ok(content)
    }
}
