//! Puts a compiled image in force: builds the next generation whole beside the live one, flips one word, waits for the
//! packets that still hold the old one, and takes away what only they could see.

use super::{
    host::Host,
    ledger::{ContentHash, Ledger, content_hash},
    sys,
};
use crate::{
    compile::{Image, InterfacePolicy, Net, Permission, Ports, Table},
    error::{Refusal, Result, os_error},
};
use anyhow::Context;
use sg_common::{
    limits::{self, MAX_INTERFACES},
    policy::{
        self, AddressKey4, AddressKey6, CLASS_NONE, Class, LocalKey, Lookup, PORTS_ALL, PORTS_NONE, Policy,
        PrefixKey4, PrefixKey6, REVISION_NONE, STATE_GENERATION, STATE_QUIESCENT, STATE_REVISION,
        STATE_SWEPT, TABLE_NONE, policy_row,
    },
};
use std::{collections::HashMap, net::IpAddr};

/// A generation that lies in the maps and is not live yet.
#[must_use = "a generation that is not put in force is garbage"]
pub struct Prepared {
    generation: u64,
}

impl Host {
    /// Builds the next generation. The live one is not touched; what a failure leaves over, the next build removes.
    ///
    /// # Errors
    /// `ResourceLimitExceeded` where the policy does not fit, and where the kernel refuses.
    pub fn build(&self, image: &Image) -> Result<Prepared> {
        let live = self.generation()?;
        self.quiesce(live)?;
        let [mut sets, mut classes, mut tables] = self.ledgers()?;
        self.collect(&mut [&mut sets, &mut classes, &mut tables], live, &Image::default())?;
        let generation = live + 1;
        sets.begin(generation);
        classes.begin(generation);
        tables.begin(generation);

        let mut build = Build {
            sets,
            classes,
            tables,
            new_sets: Vec::new(),
            new_classes: Vec::new(),
            new_tables: Vec::new(),
        };
        let mut rows = vec![Policy::default(); MAX_INTERFACES as usize];
        for (slot, policy) in &image.policies {
            rows[usize::from(*slot)] = build.row(policy)?;
        }
        self.write(&mut build, generation).map_err(explain_write)?;
        self.write_rows(generation, &rows, image).map_err(explain_write)?;
        Ok(Prepared { generation })
    }

    /// Flips the word: from here on every packet of every interface is judged by the new generation.
    ///
    /// # Errors
    /// Where the kernel refuses the write, in which case the old generation stays.
    pub fn go_live(&self, prepared: Prepared, revision: u64) -> Result<()> {
        // From here to the end the host is in step with no store: after whoever is cut off in between, even before a
        // commit, the next command builds anew.
        self.state.set(&STATE_REVISION, &REVISION_NONE).context("cannot write the revision")?;
        self.state.set(&STATE_GENERATION, &prepared.generation).context("cannot put the policy in force")?;
        self.state.set(&STATE_REVISION, &revision).context("cannot write the revision")
    }

    /// After a flip: voids the entries of flows that are untracked now (P-3a), ends the flows of released addresses, and
    /// frees what the old generation alone referred to. What a failure leaves undone, the next build does.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn settle(&self, before: &Image, after: &Image) -> Result<()> {
        let live = self.generation()?;
        self.quiesce(live)?;
        // Generations count up by one: another distance says that an earlier clean-up was cut off.
        if self.cell(STATE_SWEPT)? + 1 != live || before.is_opened_by(after) {
            super::sweep::untracked(self, after).context("cannot sweep the flow table")?;
        }
        super::sweep::released(self, after).context("cannot sweep the flow table")?;
        self.state.set(&STATE_SWEPT, &live)?;
        let [mut sets, mut classes, mut tables] = self.ledgers()?;
        self.collect(&mut [&mut sets, &mut classes, &mut tables], live, before)
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
        super::sweep::untracked(self, image).context("cannot sweep the flow table")?;
        super::sweep::released(self, image).context("cannot sweep the flow table")?;
        Ok(self.state.set(&STATE_SWEPT, &self.generation()?)?)
    }

    /// Waits until no packet holds a generation older than `live`.
    fn quiesce(&self, live: u64) -> Result<()> {
        if self.cell(STATE_QUIESCENT)? != live {
            sys::wait_for_grace_period().context("cannot wait for a grace period")?;
            self.state.set(&STATE_QUIESCENT, &live)?;
        }
        Ok(())
    }

    /// Frees what the live generation does not refer to. `before` is what the last one was compiled from, if known: it
    /// spares a walk over the whole address maps.
    fn collect(&self, ledgers: &mut [&mut Ledger; 3], live: u64, before: &Image) -> Result<()> {
        let [sets, classes, tables] = ledgers;
        let garbage = tables.garbage(live);
        if !garbage.is_empty() {
            let known = known_tables(before);
            let numbers: HashMap<u32, Option<ContentHash>> =
                garbage.iter().map(|&number| (number, tables.hash_of(number))).collect();
            self.clear_tables(&numbers, &known).context("cannot remove old address tables")?;
            tables.release(&garbage)?;
        }
        let garbage = classes.garbage(live);
        classes.release(&garbage)?;
        let garbage = sets.garbage(live);
        sets.release(&garbage)
    }

    fn clear_tables(
        &self,
        numbers: &HashMap<u32, Option<ContentHash>>,
        known: &HashMap<ContentHash, (usize, &Table)>,
    ) -> Result<()> {
        let mut unknown = Vec::new();
        for (&number, hash) in numbers {
            match hash.and_then(|hash| known.get(&hash)) {
                Some((0, table)) => {
                    self.addresses4.remove_all(&keys(&table.addresses, |net| address_key4(number, net)))?;
                    self.prefixes4.remove_all(&keys(&table.prefixes, |net| prefix_key4(number, net)))?;
                }
                Some((_, table)) => {
                    self.addresses6.remove_all(&keys(&table.addresses, |net| address_key6(number, net)))?;
                    self.prefixes6.remove_all(&keys(&table.prefixes, |net| prefix_key6(number, net)))?;
                }
                None => unknown.push(number),
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

    fn write(&self, build: &mut Build<'_>, generation: u64) -> Result<()> {
        build.sets.reserve(generation)?;
        build.classes.reserve(generation)?;
        build.tables.reserve(generation)?;
        for (number, ports) in &build.new_sets {
            self.port_sets.set(number, &*ports.bitmap())?;
        }
        self.classes.set_all(&build.new_classes)?;
        for (number, family, addresses, prefixes) in &build.new_tables {
            if *family == 0 {
                self.addresses4.set_all(&entries(addresses, |net| address_key4(*number, net)))?;
                self.prefixes4.set_all(&entries(prefixes, |net| prefix_key4(*number, net)))?;
            } else {
                self.addresses6.set_all(&entries(addresses, |net| address_key6(*number, net)))?;
                self.prefixes6.set_all(&entries(prefixes, |net| prefix_key6(*number, net)))?;
            }
        }
        build.sets.finish()?;
        build.classes.finish()?;
        build.tables.finish()
    }

    /// Writes the rows of a generation, all of them: a slot that nobody has any more must not keep an old row.
    fn write_rows(&self, generation: u64, rows: &[Policy], image: &Image) -> Result<()> {
        let (first, end) = (policy_row(generation, 0), policy_row(generation, MAX_INTERFACES));
        let mut stale = Vec::new();
        self.locals.for_each(|key, _| {
            if (first..end).contains(&key.row) {
                stale.push(*key);
            }
        })?;
        self.locals.remove_all(&stale)?;
        let mut locals = Vec::new();
        for (slot, policy) in &image.policies {
            let row = policy_row(generation, u32::from(*slot));
            let further = |v4: bool| {
                policy.locals.iter().filter(move |a| a.is_ipv4() == v4).skip(policy::INLINE_LOCALS)
            };
            locals.extend(
                further(true).chain(further(false)).map(|a| (LocalKey { row, address: words(*a) }, 1)),
            );
        }
        self.locals.set_all(&locals)?;
        let rows: Vec<_> = (first..).zip(rows.iter().copied()).collect();
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
fn known_tables(image: &Image) -> HashMap<ContentHash, (usize, &Table)> {
    let tables = image.policies.values().flat_map(|policy| policy.tables.iter().enumerate());
    tables
        .flat_map(|(family, directions)| directions.iter().map(move |table| (family, table)))
        .map(|(family, table)| (table_hash(family, table), (family, table)))
        .collect()
}

fn table_hash(family: usize, table: &Table) -> ContentHash {
    content_hash(&(family, &table.addresses, &table.prefixes))
}

/// An address table to be written: its number, family, addresses and prefixes with their classes.
type NewTable = (u32, usize, Vec<(Net, u32)>, Vec<(Net, u32)>);

/// What a new generation needs that is not in the maps yet.
struct Build<'a> {
    sets: Ledger,
    classes: Ledger,
    tables: Ledger,
    new_sets: Vec<(u32, &'a Ports)>,
    new_classes: Vec<(u32, Class)>,
    new_tables: Vec<NewTable>,
}

impl<'a> Build<'a> {
    fn ports(&mut self, ports: &'a Ports) -> Result<u32> {
        if ports.is_empty() {
            return Ok(PORTS_NONE);
        }
        if ports.is_all() {
            return Ok(PORTS_ALL);
        }
        let (number, is_new) = self.sets.intern(content_hash(ports))?;
        if is_new {
            self.new_sets.push((number, ports));
        }
        Ok(number)
    }

    fn class(&mut self, permission: &'a Permission) -> Result<u32> {
        if permission.is_nothing() {
            return Ok(CLASS_NONE);
        }
        // Also where the class is known: its sets must be stamped for this generation.
        let class = Class {
            tcp: self.ports(&permission.tcp)?,
            udp: self.ports(&permission.udp)?,
            icmp: self.ports(&permission.icmp)?,
            reserved: 0,
            protocols: permission.protocols,
        };
        let (number, is_new) = self.classes.intern(content_hash(permission))?;
        if is_new {
            self.new_classes.push((number, class));
        }
        Ok(number)
    }

    fn lookup(&mut self, family: usize, table: &'a Table) -> Result<Lookup> {
        let world = self.class(&table.world)?;
        // Neighbours are mostly of one class, which is then looked up once.
        let mut last: Option<(&Permission, u32)> = None;
        let mut classified = |entries: &'a [(Net, Permission)]| {
            let class = |(net, permission): &'a (Net, Permission)| {
                let class = match last {
                    Some((known, class)) if known == permission => class,
                    _ => self.class(permission)?,
                };
                last = Some((permission, class));
                Ok((*net, class))
            };
            entries.iter().map(class).collect::<Result<Vec<_>>>()
        };
        let (addresses, prefixes) = (classified(&table.addresses)?, classified(&table.prefixes)?);
        let mut holds = 0;
        if !addresses.is_empty() {
            holds |= policy::HAS_ADDRESSES;
        }
        if !prefixes.is_empty() {
            holds |= policy::HAS_PREFIXES;
        }
        let mut number = TABLE_NONE;
        if holds != 0 {
            let is_new;
            (number, is_new) = self.tables.intern(table_hash(family, table))?;
            if is_new {
                self.new_tables.push((number, family, addresses, prefixes));
            }
        }
        Ok(Lookup { table: number, holds, world, reserved: 0 })
    }

    fn row(&mut self, policy: &'a InterfacePolicy) -> Result<Policy> {
        let options = &policy.options;
        let mut flags = policy::POLICY_PRESENT;
        for (set, flag) in [
            (!options.no_source_dest_check, policy::CHECK_SOURCE),
            (!options.no_exempt_dhcp, policy::EXEMPT_DHCP),
            (options.require_icmp_rules, policy::REQUIRE_ICMP_RULES),
            (options.non_ip_pass, policy::PASS_NON_IP),
            (policy.observe_until.is_some(), policy::OBSERVES),
        ] {
            if set {
                flags |= flag;
            }
        }
        let mut row = Policy {
            flags,
            tcp_established: policy.timeouts.tcp_established,
            udp: policy.timeouts.udp,
            udp_stream: policy.timeouts.udp_stream,
            observe_until: policy.observe_until.unwrap_or(0),
            ..Policy::default()
        };
        for family in 0..policy::FAMILIES {
            for protocol in 0..2 {
                row.open_in[family][protocol] = self.ports(&policy.open_in[family][protocol])?;
                row.open_out[family][protocol] = self.ports(&policy.open_out[family][protocol])?;
            }
            for direction in 0..2 {
                row.lookup[family][direction] = self.lookup(family, &policy.tables[family][direction])?;
            }
        }
        let mut places = [0, 0];
        for address in &policy.locals {
            let family = usize::from(address.is_ipv6());
            let more = if family == 0 { policy::MORE_LOCALS_V4 } else { policy::MORE_LOCALS_V6 };
            match (places[family], family) {
                (policy::INLINE_LOCALS.., _) => row.flags |= more,
                (place, 0) => row.locals_v4[place] = words(*address)[0],
                (place, _) => row.locals_v6[place] = words(*address),
            }
            places[family] += 1;
        }
        Ok(row)
    }
}

/// The address as it stands in packets.
pub(super) fn words(address: IpAddr) -> [u32; 4] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes = v6.octets(),
    }
    [0, 4, 8, 12].map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

fn net_words(net: &Net) -> [u32; 4] {
    words(IpAddr::V6(net.address.into()))
}

fn address_key4(table: u32, net: &Net) -> AddressKey4 {
    AddressKey4 { table, address: net_words(net)[0] }
}

fn address_key6(table: u32, net: &Net) -> AddressKey6 {
    AddressKey6 { table, address: net_words(net) }
}

fn prefix_key4(table: u32, net: &Net) -> PrefixKey4 {
    PrefixKey4 { bits: 32 + u32::from(net.length), at: address_key4(table, net) }
}

fn prefix_key6(table: u32, net: &Net) -> PrefixKey6 {
    PrefixKey6 { bits: 32 + u32::from(net.length), at: address_key6(table, net) }
}

fn entries<K>(nets: &[(Net, u32)], key: impl Fn(&Net) -> K) -> Vec<(K, u32)> {
    nets.iter().map(|(net, class)| (key(net), *class)).collect()
}

fn keys<K>(nets: &[(Net, Permission)], key: impl Fn(&Net) -> K) -> Vec<K> {
    nets.iter().map(|(net, _)| key(net)).collect()
}
