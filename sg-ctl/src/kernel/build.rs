//! One build of rows: what policies become in the maps, by number.

use super::{
    index::Index,
    ledger::{ContentHash, Ledger, content_hash},
    long_lists,
    net::words,
};
use crate::{
    compile::{Access, Identity, Image, InterfacePolicy, List, Net, Permission, Ports, Table},
    error::Result,
    model::{GroupId, PrefixListId},
};
use sg_common::policy::{
    self, CLASS_NONE, Class, HAS_ADDRESSES, HAS_PREFIXES, IDENTITY_NONE, ListUse, Lookup, PORTS_ALL,
    PORTS_NONE, PRESENT, Policy, TABLE_NONE, VIEW_NONE, ViewKey, indexed_at, table_number,
};
use std::collections::{BTreeMap, BTreeSet};

/// The ledgers of a host.
pub struct Ledgers {
    /// Of `PORT_SETS`.
    pub sets: Ledger,
    /// Of `CLASSES`.
    pub classes: Ledger,
    /// Of the tables in `ADDRESSES` and `PREFIXES`, prefix lists among them.
    pub tables: Ledger,
    /// Of `INDEXES`.
    pub indexes: Ledger,
    /// Of `VIEWS`.
    pub views: Ledger,
    /// Of sets of groups.
    pub identities: Ledger,
}

impl Ledgers {
    /// All of them.
    pub fn each(&mut self) -> [&mut Ledger; 6] {
        let Self { sets, classes, tables, indexes, views, identities } = self;
        [sets, classes, tables, indexes, views, identities]
    }

    /// The table of a prefix list, and the place of its index, where it has one.
    pub fn list(&self, id: PrefixListId) -> Option<(u32, Option<u32>)> {
        match self.indexes.number(list_hash(id)) {
            Some(place) => Some((self.tables.number(long_list_hash(id))?, Some(place))),
            None => Some((self.tables.number(list_hash(id))?, None)),
        }
    }

    /// Gives the list a table of its own, and an index if it is long: what there is of it is not up to date, or has no room.
    pub fn forget_list(&mut self, id: PrefixListId) {
        self.tables.forget(list_hash(id));
        self.tables.forget(long_list_hash(id));
        self.indexes.forget(list_hash(id));
    }
}

/// Content of an address table of CIDR blocks.
pub fn table_hash(family: usize, table: &Table) -> ContentHash {
    content_hash(&("cidrs", family, &table.addresses, &table.prefixes))
}

/// A prefix list is the same table whatever its entries are.
pub fn list_hash(id: PrefixListId) -> ContentHash {
    content_hash(&("list", id.bits()))
}

/// The same of a list with an index, whose table has its single addresses only.
pub fn long_list_hash(id: PrefixListId) -> ContentHash {
    content_hash(&("long list", id.bits()))
}

/// An address table to be written: prefixes with their classes.
pub struct NewTable {
    /// Its number.
    pub number: u32,
    /// 0 for IPv4.
    pub family: usize,
    /// Single addresses.
    pub addresses: Vec<(Net, u32)>,
    /// Shorter prefixes.
    pub prefixes: Vec<(Net, u32)>,
}

/// What a new generation needs that is not in the maps yet.
pub struct Build {
    /// Where numbers are given out.
    pub ledgers: Ledgers,
    /// Port sets to be written.
    pub new_sets: Vec<(u32, Ports)>,
    /// Classes to be written.
    pub new_classes: Vec<(u32, Class)>,
    /// Address tables to be written.
    pub new_tables: Vec<NewTable>,
    /// Indexes of long lists to be put into their places.
    pub new_indexes: Vec<(u32, Index)>,
    /// Entries of views to be written.
    pub new_views: Vec<(ViewKey, u32)>,
    /// Tables of lists that policies name, with what they hold in the upper bits.
    pub lists: BTreeMap<PrefixListId, u32>,
    /// What live rows say that tables hold, where these rows stay.
    held: BTreeMap<u32, u32>,
    /// Every identity that a view may be asked about.
    identities: BTreeMap<u32, Identity>,
    /// Those that no view knows yet.
    new_identities: BTreeSet<u32>,
    views: BTreeSet<u32>,
}

impl Build {
    /// With the rows that stay, and the identities that there are, by number.
    pub fn new(ledgers: Ledgers, rows: &[Policy], identities: BTreeMap<u32, Identity>) -> Self {
        let mut held = BTreeMap::new();
        for list in lists(rows) {
            *held.entry(table_number(list.table)).or_default() |= list.table;
        }
        Self {
            ledgers,
            new_sets: Vec::new(),
            new_classes: Vec::new(),
            new_tables: Vec::new(),
            new_indexes: Vec::new(),
            new_views: Vec::new(),
            lists: BTreeMap::new(),
            held,
            identities,
            new_identities: BTreeSet::new(),
            views: BTreeSet::new(),
        }
    }

    /// The number of an identity, which no view need know yet.
    pub fn identity(&mut self, groups: &Identity) -> Result<u32> {
        if groups.is_empty() {
            return Ok(IDENTITY_NONE);
        }
        let (number, is_new) = self.ledgers.identities.intern(content_hash(groups))?;
        if is_new {
            self.new_identities.insert(number);
        }
        self.identities.entry(number).or_insert_with(|| groups.clone());
        Ok(number)
    }

    /// Identities to be written down.
    pub fn new_identities(&self) -> impl Iterator<Item = (u32, &Identity)> {
        self.new_identities.iter().filter_map(|number| Some((*number, self.identities.get(number)?)))
    }

    fn ports(&mut self, ports: &Ports) -> Result<u32> {
        if ports.is_empty() {
            return Ok(PORTS_NONE);
        }
        if ports.is_all() {
            return Ok(PORTS_ALL);
        }
        let (number, is_new) = self.ledgers.sets.intern(content_hash(ports))?;
        if is_new {
            self.new_sets.push((number, ports.clone()));
        }
        Ok(number)
    }

    fn class(&mut self, permission: &Permission) -> Result<u32> {
        if permission.is_nothing() {
            return Ok(CLASS_NONE);
        }
        // Also where the class is known: its sets must be stamped for this build.
        let class = Class {
            tcp: self.ports(&permission.tcp)?,
            udp: self.ports(&permission.udp)?,
            icmp: self.ports(&permission.icmp)?,
            reserved: 0,
            protocols: permission.protocols,
        };
        let (number, is_new) = self.ledgers.classes.intern(content_hash(permission))?;
        if is_new {
            self.new_classes.push((number, class));
        }
        Ok(number)
    }

    /// The number of a table of CIDR blocks, with what it holds in the upper bits.
    fn table(&mut self, family: usize, table: &Table) -> Result<u32> {
        // Neighbours are mostly of one class, which is then looked up once.
        let mut last: Option<(&Permission, u32)> = None;
        let mut classified = [Vec::new(), Vec::new()];
        for (entries, classified) in [&table.addresses, &table.prefixes].into_iter().zip(&mut classified) {
            for (net, permission) in entries {
                let class = match last {
                    Some((known, class)) if known == permission => class,
                    _ => self.class(permission)?,
                };
                last = Some((permission, class));
                classified.push((*net, class));
            }
        }
        let [addresses, prefixes] = classified;
        let holds = holds(!addresses.is_empty(), !prefixes.is_empty());
        if holds == 0 {
            return Ok(TABLE_NONE);
        }
        let (number, is_new) = self.ledgers.tables.intern(table_hash(family, table))?;
        if is_new {
            self.new_tables.push(NewTable { number, family, addresses, prefixes });
        }
        Ok(number | holds)
    }

    /// The number of a list's table, with what it holds and the place of its index in the upper bits.
    fn list(&mut self, id: PrefixListId, list: &List) -> Result<u32> {
        if let Some(&table) = self.lists.get(&id) {
            return Ok(table);
        }
        let place = self.place(id, list)?.unwrap_or(0);
        let hash = if place == 0 { list_hash(id) } else { long_list_hash(id) };
        let (number, is_new) = self.ledgers.tables.intern(hash)?;
        let bits = list.family.bits();
        let table = match self.held.get(&number) {
            // Whoever looks it up knows what it holds, so none of it need be read.
            Some(&table) if !is_new => table,
            _ => {
                let [has_addresses, has_prefixes] = list.kinds();
                number | holds(has_addresses, has_prefixes && place == 0) | indexed_at(place)
            }
        };
        if is_new {
            let entries = |host: bool| {
                list.nets().filter(move |net| (net.length == bits) == host).map(|net| (net, PRESENT))
            };
            let addresses = entries(true).collect();
            let prefixes = if place == 0 { entries(false).collect() } else { Vec::new() };
            self.new_tables.push(NewTable { number, family: list.family as usize, addresses, prefixes });
        }
        self.lists.insert(id, table);
        Ok(table)
    }

    /// The place of a list's index, which is made where the list is new and long enough for one.
    fn place(&mut self, id: PrefixListId, list: &List) -> Result<Option<u32>> {
        if self.ledgers.indexes.number(list_hash(id)).is_some() {
            return Ok(Some(self.ledgers.indexes.intern(list_hash(id))?.0));
        }
        // Its prefixes are in the trie, and `Host::stage_indexes` has left them there.
        if self.ledgers.tables.number(list_hash(id)).is_some() {
            return Ok(None);
        }
        self.give_index(id, list)
    }

    /// Makes a new index of a list and gives it a place. A list that gets none stays in the kernel's trie: it is not long
    /// enough, there is no place left, or its prefixes lie too close together. Its table of single addresses, if it had an
    /// index before, stays what it is.
    pub fn give_index(&mut self, id: PrefixListId, list: &List) -> Result<Option<u32>> {
        self.ledgers.indexes.forget(list_hash(id));
        if !self.ledgers.indexes.has_room() {
            return Ok(None);
        }
        let Some(index) = long_lists::index(list)? else { return Ok(None) };
        self.ledgers.tables.forget(list_hash(id));
        let (place, _) = self.ledgers.indexes.intern(list_hash(id))?;
        self.new_indexes.push((place, index));
        Ok(Some(place))
    }

    /// The number of what an interface's rules permit to groups. Identities that policies are built after are not in it.
    fn view(&mut self, groups: &BTreeMap<GroupId, Permission>) -> Result<u32> {
        if groups.is_empty() {
            return Ok(VIEW_NONE);
        }
        let (view, is_new) = self.ledgers.views.intern(content_hash(groups))?;
        if !self.views.insert(view) {
            return Ok(view);
        }
        let identities = std::mem::take(&mut self.identities);
        for (&identity, members) in &identities {
            let mut permission = Permission::default();
            members.iter().filter_map(|group| groups.get(group)).for_each(|more| permission.add(more));
            let class = self.class(&permission)?;
            if class != CLASS_NONE && (is_new || self.new_identities.contains(&identity)) {
                self.new_views.push((ViewKey { view, identity }, class));
            }
        }
        self.identities = identities;
        Ok(view)
    }

    fn lookup(&mut self, family: usize, access: &Access, image: &Image) -> Result<Lookup> {
        let mut lists = [ListUse::default(); policy::INLINE_LISTS];
        for (place, (id, permission)) in lists.iter_mut().zip(&access.lists) {
            let Some(list) = image.lists.get(id) else { continue };
            *place = ListUse { table: self.list(*id, list)?, class: self.class(permission)? };
        }
        Ok(Lookup {
            table: self.table(family, &access.table)?,
            world: self.class(&access.table.world)?,
            view: self.view(&access.groups)?,
            reserved: 0,
            lists,
        })
    }

    /// The row of an interface, whose lists are those of the image.
    pub fn row(&mut self, policy: &InterfacePolicy, image: &Image) -> Result<Policy> {
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
                row.lookup[family][direction] =
                    self.lookup(family, &policy.access[family][direction], image)?;
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

fn holds(addresses: bool, prefixes: bool) -> u32 {
    (u32::from(addresses) * HAS_ADDRESSES) | (u32::from(prefixes) * HAS_PREFIXES)
}

/// What rows look up of prefix lists.
pub fn lists(rows: &[Policy]) -> impl Iterator<Item = &ListUse> {
    let lookups = rows.iter().flat_map(|row| row.lookup.iter().flatten());
    lookups.flat_map(|lookup| &lookup.lists).filter(|list| list.class != CLASS_NONE)
}
