//! Puts a change in force: builds the next generation beside the live one, flips one word, and takes away what only packets
//! of older ones could see.

use super::{
    build::{Build, Ledgers, NewTable, list_hash, lists, long_list_hash, table_hash},
    host::Host,
    ledger::{ContentHash, Ledger, content_hash},
    net::{address_key4, address_key6, prefix_key4, prefix_key6, words},
    stage::{Content, Staged},
    sys,
};
use crate::{
    compile::{Change, Identity, Image, List, Net, Scope},
    error::{Refusal, Result, os_error},
    model::PrefixListId,
    time::now,
};
use anyhow::Context;
use sg_common::{
    limits::{self, MAX_INTERFACES},
    policy::{
        self, BANKS, LocalKey, Policy, REVISION_NONE, STATE_BANKS, STATE_LOOSE, STATE_QUIESCENT,
        STATE_REVISION, STATE_SWAPPED, STATE_SWEPT, STATE_WHOLE, STATE_WORD, Versioned, bank_of,
        generation_of, policy_row, table_number,
    },
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

/// Changes in part between two of everything.
const PARTS: u64 = 512;

/// A generation that lies in the maps and is not live yet.
#[must_use = "a generation that is not put in force is garbage"]
pub struct Prepared {
    word: u64,
    before: u64,
    scope: Scope,
    staged: Staged,
}

/// A generation that is live, and what has yet to be cleaned up behind it.
#[must_use = "flows and entries that end with a change are seen to by `Host::settle`"]
pub struct InForce {
    before: u64,
    staged: Staged,
}

impl Host {
    /// Builds the next generation. The live one is not touched; what a failure leaves over, the next build removes. `None`
    /// where a change in part does not do: somebody is to be a member of groups of which nobody had been one together,
    /// or a prefix list gets its first single address or its first prefix.
    ///
    /// # Errors
    /// `ResourceLimitExceeded` where the policy does not fit, and where the kernel refuses.
    pub fn build(&self, change: &Change) -> Result<Option<Prepared>> {
        let word = self.word()?;
        let live = generation_of(word);
        self.revert(word)?;
        let rows = change.scope != Scope::Part || !change.after.policies.is_empty();
        let bank = (bank_of(word) + u32::from(rows)) % BANKS;
        let next = policy::word(live + 1, bank);
        let mut ledgers = self.ledgers()?;
        if change.scope != Scope::Part {
            self.quiesce(live)?;
            self.collect(&mut ledgers, &Image::default())?;
        } else if rows && self.cell(STATE_BANKS + bank)? > self.cell(STATE_QUIESCENT)? {
            // Packets may still be reading the bank that is to be written.
            self.quiesce(live)?;
        }
        ledgers.each().into_iter().for_each(Ledger::begin);

        let stays = |slot: u32| !change.after.policies.contains_key(&(slot as u16));
        let (mut there, mut known) = (Vec::new(), BTreeMap::new());
        if change.scope == Scope::Part && (rows || !change.lists.is_empty()) {
            there =
                self.policies.range(policy_row(word, 0), MAX_INTERFACES).context("cannot read the rows")?;
            known = self.identities()?;
        }
        let mut build = Build::new(ledgers, &there, known);
        let content = match change.scope {
            Scope::Unknown => Some(self.content().context("cannot read the address tables")?),
            Scope::Whole | Scope::Part => None,
        };
        if change.scope == Scope::Whole {
            // Their tables, where there are any, were last kept up when rules named them.
            let unnamed = change.after.lists.keys().filter(|id| !change.before.lists.contains_key(id));
            unnamed.for_each(|id| build.ledgers.forget_list(*id));
        }
        let mut staged = Staged::default();
        if !self.stage_indexes(change, &mut build, &mut staged, word)?
            || !self.stage_members(change, content.as_ref(), &mut build, &mut staged, live + 1)?
        {
            return Ok(None);
        }
        let mut written = BTreeMap::new();
        for (slot, policy) in &change.after.policies {
            written.insert(u32::from(*slot), build.row(policy, &change.after)?);
        }
        self.stage_lists(change, content.as_ref(), &build, &mut staged, live + 1)?;
        let kinds = staged.kinds();
        let mut staying = (0..).zip(&there).filter(|(slot, _)| stays(*slot)).map(|(_, row)| row);
        if staying.any(|row| misses(row, &kinds)) || written.values().any(|row| misses(row, &kinds)) {
            // The first single address of a list, or its first prefix: rows that look it up have to know.
            return Ok(None);
        }
        self.make_room(&build, &staged, live)?;
        self.write(&mut build, live + 1).map_err(explain_write)?;
        if rows {
            self.write_rows(change, there, &written, (word, next)).map_err(explain_write)?;
        }
        self.write_staged(&staged, live + 1).map_err(explain_write)?;
        Ok(Some(Prepared { word: next, before: word, scope: change.scope, staged }))
    }

    /// The same of everything, which can always be told.
    ///
    /// # Errors
    /// As [`Host::build`].
    pub fn build_whole(&self, change: &Change) -> Result<Prepared> {
        self.build(change)?.context("a change of everything speaks of all identities")
    }

    /// Whether so many changes in part came after the last of everything that what they left is to be collected.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn wants_whole_change(&self) -> Result<bool> {
        Ok(self.generation()? - self.cell(STATE_WHOLE)? >= PARTS)
    }

    /// Flips the word: from here on every packet of every interface is judged by the new generation.
    ///
    /// # Errors
    /// Where the kernel refuses the write, in which case the old generation stays.
    pub fn go_live(&self, prepared: Prepared, revision: u64) -> Result<InForce> {
        let Prepared { word, before, scope, staged } = prepared;
        let (before, bank) = (generation_of(before), bank_of(before));
        // From here to the end the host is in step with no store: after whoever is cut off in between, even before a
        // commit, the next command builds anew.
        self.state.set(&STATE_REVISION, &REVISION_NONE).context("cannot write the revision")?;
        if bank != bank_of(word) {
            self.state.set(&(STATE_BANKS + bank), &generation_of(word)).context("cannot leave the bank")?;
        }
        self.state.set(&STATE_WORD, &word).context("cannot put the policy in force")?;
        if scope != Scope::Part {
            self.state.set(&STATE_WHOLE, &generation_of(word)).context("cannot write the generation")?;
        }
        self.state.set(&STATE_SWAPPED, &now()).context("cannot write the time")?;
        self.state.set(&STATE_REVISION, &revision).context("cannot write the revision")?;
        Ok(InForce { before, staged })
    }

    /// After a flip: voids the entries of flows that are untracked now (P-3a), ends the flows of released addresses, and
    /// frees what older generations alone referred to. What a failure leaves undone, a later build does.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn settle(&self, in_force: &InForce, change: &Change) -> Result<()> {
        let live = self.generation()?;
        let InForce { before, staged } = in_force;
        // A sweep that an earlier change owes is made up for by one that knows all policies.
        let whole = change.scope != Scope::Part;
        let owed = self.cell(STATE_SWEPT)? != *before;
        let opens = change.opens_ports() || owed && whole;
        let sweeps = opens || !change.after.released.is_empty();
        if sweeps || staged.removes() || whole {
            self.quiesce(live)?;
        }
        if opens {
            super::sweep::untracked(self, &change.after).context("cannot sweep the flow table")?;
        }
        let released = &change.after.released;
        super::sweep::released(self, released, || change.whole()).context("cannot sweep the flow table")?;
        if whole || !owed {
            self.state.set(&STATE_SWEPT, &live)?;
        }
        self.remove_staged(staged).context("cannot remove old entries")?;
        if whole {
            self.collect(&mut self.ledgers()?, &change.before)?;
        }
        Ok(())
    }

    /// Whether the sweep of the live generation was cut off.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn owes_sweep(&self) -> Result<bool> {
        Ok(self.cell(STATE_SWEPT)? != self.generation()?)
    }

    /// Makes up for that: voids the entries of flows that the live generation, compiled as `image`, lets through
    /// untracked, and ends those of the addresses released by it.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn sweep(&self, image: &Image) -> Result<()> {
        self.quiesce(self.generation()?)?;
        super::sweep::untracked(self, image).context("cannot sweep the flow table")?;
        let whole = || Cow::Borrowed(image);
        super::sweep::released(self, &image.released, whole).context("cannot sweep the flow table")?;
        Ok(self.state.set(&STATE_SWEPT, &self.generation()?)?)
    }

    /// Waits until no packet holds a generation older than `live`.
    pub(super) fn quiesce(&self, live: u64) -> Result<()> {
        if self.cell(STATE_QUIESCENT)? != live || self.cell(STATE_LOOSE)? != 0 {
            sys::wait_for_grace_period().context("cannot wait for a grace period")?;
            self.state.set(&STATE_QUIESCENT, &live)?;
            self.state.set(&STATE_LOOSE, &0)?;
        }
        Ok(())
    }

    /// Waits where a packet could be reading what is about to be written.
    fn make_room(&self, build: &Build, staged: &Staged, live: u64) -> Result<()> {
        let inserts = staged.inserts() || build.new_tables.iter().any(|table| !table.addresses.is_empty());
        if staged.newest > self.cell(STATE_QUIESCENT)? || inserts && self.cell(STATE_LOOSE)? != 0 {
            self.quiesce(live)?;
        }
        Ok(())
    }

    /// False where an identity is none that every view knows.
    fn stage_members(
        &self,
        change: &Change,
        content: Option<&Content>,
        build: &mut Build,
        staged: &mut Staged,
        generation: u64,
    ) -> Result<bool> {
        if change.scope == Scope::Whole {
            // Also those that stay: what nobody refers to goes.
            let all: BTreeSet<&Identity> = change.after.members.values().collect();
            all.into_iter().try_for_each(|identity| build.identity(identity).map(drop))?;
        }
        for (address, groups) in &change.members {
            let identity = match change.scope {
                Scope::Part if !groups.is_empty() => {
                    match build.ledgers.identities.number(content_hash(groups)) {
                        Some(identity) => identity,
                        None => return Ok(false),
                    }
                }
                _ => build.identity(groups)?,
            };
            staged.member(self, *address, identity, generation)?;
        }
        let known = content.iter().flat_map(|content| &content.members);
        for address in known.filter(|address| !change.members.contains_key(address)) {
            staged.member(self, *address, policy::IDENTITY_NONE, generation)?;
        }
        Ok(true)
    }

    fn stage_lists(
        &self,
        change: &Change,
        content: Option<&Content>,
        build: &Build,
        staged: &mut Staged,
        generation: u64,
    ) -> Result<()> {
        let new: BTreeSet<u32> = build.new_tables.iter().map(|table| table.number).collect();
        for (id, list) in &change.after.lists {
            // One that has a table already, whether or not rules name it at present.
            let Some((table, place)) = build.ledgers.list(*id) else { continue };
            if new.contains(&table) {
                continue;
            }
            let nothing = BTreeSet::new();
            // Of a list with an index the prefixes are there.
            let is_here = |net: &&Net| place.is_none() || net.length == list.family.bits();
            match content {
                Some(content) => {
                    let there = content.tables.get(&table).unwrap_or(&nothing);
                    let nets: BTreeSet<Net> = list.nets().collect();
                    for net in there.symmetric_difference(&nets).filter(is_here) {
                        staged.entry(self, table, list, net, there.contains(net), generation)?;
                    }
                }
                None => {
                    for net in change.lists.get(id).unwrap_or(&nothing).iter().filter(is_here) {
                        staged.entry(self, table, list, net, !list.holds(net), generation)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Frees what the live generation does not refer to. `before` is what the last one was compiled from, if known: it
    /// spares a walk over the whole address maps.
    fn collect(&self, ledgers: &mut Ledgers, before: &Image) -> Result<()> {
        let garbage = ledgers.tables.garbage();
        if !garbage.is_empty() {
            let numbers: HashMap<u32, Option<ContentHash>> =
                garbage.iter().map(|&number| (number, ledgers.tables.hash_of(number))).collect();
            self.clear_tables(&numbers, &known_tables(before)).context("cannot remove old address tables")?;
            ledgers.tables.release(&garbage)?;
        }
        let garbage = ledgers.indexes.garbage();
        self.remove_indexes(&garbage).context("cannot remove old indexes of prefix lists")?;
        ledgers.indexes.release(&garbage)?;
        let (views, identities) = (ledgers.views.garbage(), ledgers.identities.garbage());
        if !views.is_empty() || !identities.is_empty() {
            let mut over = Vec::new();
            self.views.for_each(|key, _| {
                if views.contains(&key.view) || identities.contains(&key.identity) {
                    over.push(*key);
                }
            })?;
            self.views.remove_all(&over)?;
            ledgers.views.release(&views)?;
            self.forget_identities(&identities)?;
            ledgers.identities.release(&identities)?;
        }
        let garbage = ledgers.classes.garbage();
        ledgers.classes.release(&garbage)?;
        let garbage = ledgers.sets.garbage();
        ledgers.sets.release(&garbage)
    }

    fn clear_tables(
        &self,
        numbers: &HashMap<u32, Option<ContentHash>>,
        known: &HashMap<ContentHash, (usize, Vec<Net>)>,
    ) -> Result<()> {
        let mut unknown = Vec::new();
        for (&number, hash) in numbers {
            let Some((family, nets)) = hash.and_then(|hash| known.get(&hash)) else {
                unknown.push(number);
                continue;
            };
            let bits = if *family == 0 { 32 } else { 128 };
            let (hosts, prefixes): (Vec<Net>, Vec<Net>) = nets.iter().partition(|net| net.length == bits);
            if *family == 0 {
                self.addresses4.remove_all(&keys(&hosts, |net| address_key4(number, net)))?;
                self.prefixes4.remove_all(&keys(&prefixes, |net| prefix_key4(number, net)))?;
            } else {
                self.addresses6.remove_all(&keys(&hosts, |net| address_key6(number, net)))?;
                self.prefixes6.remove_all(&keys(&prefixes, |net| prefix_key6(number, net)))?;
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        macro_rules! clear {
            ($map:expr, $key:ident => $table:expr) => {{
                let mut found = Vec::new();
                $map.for_each(|$key, _| {
                    if unknown.contains(&$table) {
                        found.push(*$key);
                    }
                })?;
                $map.remove_all(&found)?;
            }};
        }
        clear!(self.addresses4, key => key.table);
        clear!(self.addresses6, key => key.table);
        clear!(self.prefixes4, key => key.at.table);
        clear!(self.prefixes6, key => key.at.table);
        Ok(())
    }

    fn write(&self, build: &mut Build, number: u64) -> Result<()> {
        build.ledgers.each().into_iter().try_for_each(|ledger| ledger.reserve(number))?;
        for (number, ports) in &build.new_sets {
            self.port_sets.set(number, &*ports.bitmap())?;
        }
        self.classes.set_all(&build.new_classes)?;
        for NewTable { number, family, addresses, prefixes } in &build.new_tables {
            if *family == 0 {
                self.addresses4.set_all(&entries(addresses, |net| address_key4(*number, net)))?;
                self.prefixes4.set_all(&entries(prefixes, |net| prefix_key4(*number, net)))?;
            } else {
                self.addresses6.set_all(&entries(addresses, |net| address_key6(*number, net)))?;
                self.prefixes6.set_all(&entries(prefixes, |net| prefix_key6(*number, net)))?;
            }
        }
        self.put_indexes(&build.new_indexes)?;
        self.views.set_all(&build.new_views)?;
        self.write_identities(build.new_identities())?;
        build.ledgers.each().into_iter().try_for_each(Ledger::finish)
    }

    /// Writes the bank of rows of a generation, all of it: a slot that nobody has any more must not keep an old row. `rows`
    /// are those of the live generation that a change in part does not speak of.
    fn write_rows(
        &self,
        change: &Change,
        mut rows: Vec<Policy>,
        written: &BTreeMap<u32, Policy>,
        (live, next): (u64, u64),
    ) -> Result<()> {
        rows.resize(MAX_INTERFACES as usize, Policy::default());
        written.iter().for_each(|(slot, row)| rows[*slot as usize] = *row);

        let (first, end) = (policy_row(next, 0), policy_row(next, MAX_INTERFACES - 1));
        let (mut stale, mut locals) = (Vec::new(), Vec::new());
        self.locals.for_each(|key, _| {
            if (first..=end).contains(&key.row) {
                stale.push(*key);
            }
            let slot = key.row.wrapping_sub(policy_row(live, 0));
            if change.scope == Scope::Part && slot < MAX_INTERFACES && !written.contains_key(&slot) {
                locals.push((LocalKey { row: first + slot, ..*key }, 1));
            }
        })?;
        self.locals.remove_all(&stale)?;
        for (slot, policy) in &change.after.policies {
            let row = policy_row(next, u32::from(*slot));
            let further = |v4: bool| {
                policy.locals.iter().filter(move |a| a.is_ipv4() == v4).skip(policy::INLINE_LOCALS)
            };
            locals.extend(
                further(true).chain(further(false)).map(|a| (LocalKey { row, address: words(*a) }, 1)),
            );
        }
        self.locals.set_all(&locals)?;
        let rows: Vec<_> = (first..).zip(rows).collect();
        self.policies.set_all(&rows)?;
        Ok(())
    }
}

/// A map that is full has its own sentence.
fn explain_write(error: anyhow::Error) -> anyhow::Error {
    match os_error(&error) {
        Some(libc::E2BIG | libc::ENOSPC | libc::ENOMEM) => {
            let message = format!(
                "the policy of this host holds more addresses or prefixes than the kernel's maps: of each family {} \
                 single addresses and {} prefixes, over all interfaces, groups' members and prefix lists, the old policy \
                 and the new one together; make the prefix lists shorter",
                limits::MAX_ADDRESSES,
                limits::MAX_PREFIXES
            );
            Refusal::new("ResourceLimitExceeded", message).into()
        }
        _ => error.context("cannot write the policy into the kernel"),
    }
}

/// The tables of an image by content, with their family.
fn known_tables(image: &Image) -> HashMap<ContentHash, (usize, Vec<Net>)> {
    let accesses = image.policies.values().flat_map(|policy| policy.access.iter().enumerate());
    let tables = accesses
        .flat_map(|(family, directions)| directions.iter().map(move |access| (family, &access.table)));
    let tables = tables.map(|(family, table)| {
        let nets = table.addresses.iter().chain(&table.prefixes).map(|(net, _)| *net).collect();
        (table_hash(family, table), (family, nets))
    });
    let lists = image.lists.iter().flat_map(|(id, list): (&PrefixListId, &List)| {
        let (family, bits) = (list.family as usize, list.family.bits());
        let addresses = list.nets().filter(|net| net.length == bits).collect();
        [(list_hash(*id), (family, list.nets().collect())), (long_list_hash(*id), (family, addresses))]
    });
    tables.chain(lists).collect()
}

/// Whether the row looks up a table without knowing what it comes to hold.
fn misses(row: &Policy, kinds: &BTreeMap<u32, u32>) -> bool {
    lists(std::slice::from_ref(row)).any(|list| {
        let kinds = kinds.get(&table_number(list.table)).copied().unwrap_or(0);
        kinds & !list.table != 0
    })
}

fn entries<K>(nets: &[(Net, u32)], key: impl Fn(&Net) -> K) -> Vec<(K, Versioned)> {
    nets.iter().map(|(net, value)| (key(net), Versioned::fixed(*value))).collect()
}

fn keys<K>(nets: &[Net], key: impl Fn(&Net) -> K) -> Vec<K> {
    nets.iter().map(key).collect()
}
