//! What the kernel enforces, read back out of its maps: held against a fresh compilation of the store.
//!
//! Numbers of port sets, classes and tables are the installer's own business. What is read here has none: it is what the
//! datapath would find by following them. The maps are opened by their pins and without the host's lock, so that a test
//! can look while, or right after, a command is cut off.
#![expect(clippy::unwrap_used, reason = "test support: a failure should stop the test where it happens")]

use crate::ctl::Ctl;
use sg_common::{
    index::MAX_INDEXES,
    limits::MAX_INTERFACES,
    policy::{
        self, AddressKey4, AddressKey6, CLASS_NONE, Class, INLINE_LOCALS, LocalKey, Lookup, PORT_WORDS,
        PORTS_ALL, PORTS_NONE, Policy, PortSet, PrefixKey4, PrefixKey6, TABLE_MEMBERS, TABLE_NONE, VIEW_NONE,
        Versioned, ViewKey, generation_of, index_place, policy_row, table_number,
    },
};
use sg_ctl::{
    compile::{Family, Image, InterfacePolicy, Net, Permission, Ports, Table, compile},
    kernel::{
        BpfMap, Plain,
        index::{Coverage, Index},
        sys,
    },
    store::{self, Snapshot},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// Prefix lists by their content, each with what its addresses may do, sorted: nets that lie in tables, boundaries of what an
/// index covers.
type Lists = Vec<(Vec<Net>, Vec<u128>, Permission)>;

/// What one interface is judged by, as far as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// `[family][direction]`: the table of CIDR blocks.
    pub tables: [[Table; 2]; 2],
    /// `[family][direction]`: what members of groups may do, as far as they may anything.
    pub members: [[BTreeMap<IpAddr, Permission>; 2]; 2],
    /// `[family][direction]`: prefix lists and what their addresses may do, sorted.
    pub lists: [[Lists; 2]; 2],
    /// `[family][TCP, UDP]`
    pub open_in: [[Ports; 2]; 2],
    /// `[family][TCP, UDP]`
    pub open_out: [[Ports; 2]; 2],
    /// Its own addresses.
    pub locals: BTreeSet<IpAddr>,
    /// Bits of [`Policy::flags`] that are switches.
    pub switches: u32,
    /// Established TCP, UDP, UDP streams, in seconds.
    pub timeouts: [u32; 3],
}

impl Judgement {
    fn of(compiled: &InterfacePolicy, image: &Image, indexes: &Indexes) -> Self {
        let options = &compiled.options;
        let switches = [
            (!options.no_source_dest_check, policy::CHECK_SOURCE),
            (!options.no_exempt_dhcp, policy::EXEMPT_DHCP),
            (options.require_icmp_rules, policy::REQUIRE_ICMP_RULES),
            (options.non_ip_pass, policy::PASS_NON_IP),
        ];
        let timeouts = &compiled.timeouts;
        let members = [0, 1].map(|family| {
            [0, 1].map(|direction| {
                let groups = &compiled.access[family][direction].groups;
                let of_family = |address: &IpAddr| usize::from(address.is_ipv6()) == family;
                let members = image.members.iter().filter(|(address, _)| of_family(address));
                let may = members.map(|(address, identity)| {
                    let mut may = Permission::default();
                    identity.iter().filter_map(|group| groups.get(group)).for_each(|more| may.add(more));
                    (*address, may)
                });
                may.filter(|(_, may)| !may.is_nothing()).collect()
            })
        });
        let lists = [0, 1].map(|family| {
            [0, 1].map(|direction| {
                let lists = compiled.access[family][direction].lists.iter();
                let mut lists: Vec<_> = lists
                    .map(|(id, may)| {
                        let list = &image.lists[id];
                        let is_prefix = |net: &Net| net.length < list.family.bits();
                        let (prefixes, singles): (Vec<Net>, Vec<Net>) = list.nets().partition(is_prefix);
                        let indexed = Coverage::of(&prefixes).boundaries().to_vec();
                        match indexes.contains(&indexed) {
                            true => (singles, indexed, may.clone()),
                            false => (list.nets().collect(), Vec::new(), may.clone()),
                        }
                    })
                    .collect();
                lists.sort();
                lists
            })
        });
        Self {
            tables: [0, 1]
                .map(|family| [0, 1].map(|direction| compiled.access[family][direction].table.clone())),
            members,
            lists,
            open_in: compiled.open_in.clone(),
            open_out: compiled.open_out.clone(),
            locals: compiled.locals.iter().copied().collect(),
            switches: switches.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum(),
            timeouts: [timeouts.tcp_established, timeouts.udp, timeouts.udp_stream],
        }
    }
}

/// All interfaces of a host, by slot.
pub type Judgements = BTreeMap<u16, Judgement>;

/// What each index covers. Which lists have one is theirs to say who fill the kernel: it depends on what was before.
pub type Indexes = BTreeSet<Vec<u128>>;

/// What a compiled image would have the kernel judge by, lists with these indexes by them.
#[must_use]
pub fn judgements(image: &Image, indexes: &Indexes) -> Judgements {
    image.policies.iter().map(|(slot, compiled)| (*slot, Judgement::of(compiled, image, indexes))).collect()
}

/// The policy maps as they were at one moment, and what of them the live generation reaches.
pub struct Enforced {
    /// What every interface is judged by.
    pub judgements: Judgements,
    word: u64,
    generation: u64,
    cells: Vec<u64>,
    contents: Contents,
    reached: Reached,
    dir: PathBuf,
}

/// Maps whose entries refer to each other by number.
struct Contents {
    classes: BpfMap<u32, Class>,
    port_sets: BpfMap<u32, PortSet>,
    /// By family and table: what is looked up, and its class as the live generation has it.
    addresses: [BTreeMap<u32, Vec<(Net, u32)>>; 2],
    prefixes: [BTreeMap<u32, Vec<(Net, u32)>>; 2],
    indexes: BTreeMap<u32, Coverage>,
    views: BTreeMap<ViewKey, u32>,
    locals: BTreeMap<u32, BTreeSet<[u32; 4]>>,
}

/// Numbers that the live generation refers to.
#[derive(Default)]
struct Reached {
    sets: BTreeSet<u32>,
    classes: BTreeSet<u32>,
    tables: [BTreeSet<u32>; 2],
    indexes: BTreeSet<u32>,
    views: BTreeSet<u32>,
    identities: BTreeSet<u32>,
}

fn open<K: Plain, V: Plain>(dir: &Path, name: &str) -> BpfMap<K, V> {
    BpfMap::open(&dir.join("maps").join(name)).unwrap_or_else(|error| panic!("{name}: {error:#}"))
}

fn all<K: Plain + Ord, V: Plain>(dir: &Path, name: &str) -> BTreeMap<K, V> {
    let mut found = BTreeMap::new();
    open::<K, V>(dir, name).for_each(|key, value| _ = found.insert(*key, *value)).unwrap();
    found
}

/// The address whose words those are, as they stand in packets.
fn address(words: &[u32]) -> IpAddr {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    match <[u8; 4]>::try_from(&*bytes) {
        Ok(v4) => v4.into(),
        Err(_) => <[u8; 16]>::try_from(bytes).unwrap().into(),
    }
}

impl Contents {
    fn read(dir: &Path, word: u64) -> Self {
        type Tables = BTreeMap<u32, Vec<(Net, u32)>>;
        fn sorted(entries: impl Iterator<Item = (u32, Net, u32)>) -> Tables {
            let mut tables = Tables::new();
            entries.for_each(|(table, net, class)| tables.entry(table).or_default().push((net, class)));
            tables.values_mut().for_each(|entries| entries.sort());
            tables
        }
        let live = |entry: Versioned| entry.at(word);
        let v4 = all::<AddressKey4, Versioned>(dir, "ADDRESSES4").into_iter();
        let v6 = all::<AddressKey6, Versioned>(dir, "ADDRESSES6").into_iter();
        let addresses = [
            sorted(v4.map(|(key, class)| (key.table, Net::host(address(&[key.address])), live(class)))),
            sorted(v6.map(|(key, class)| (key.table, Net::host(address(&key.address)), live(class)))),
        ];
        let net = |bits: u32, words: &[u32]| Net::new(address(words), u8::try_from(bits - 32).unwrap());
        let v4 = all::<PrefixKey4, Versioned>(dir, "PREFIXES4").into_iter();
        let v6 = all::<PrefixKey6, Versioned>(dir, "PREFIXES6").into_iter();
        let prefixes = [
            sorted(v4.map(|(key, class)| (key.at.table, net(key.bits, &[key.at.address]), live(class)))),
            sorted(v6.map(|(key, class)| (key.at.table, net(key.bits, &key.at.address), live(class)))),
        ];
        let mut locals = BTreeMap::<u32, BTreeSet<[u32; 4]>>::new();
        for key in all::<LocalKey, u32>(dir, "LOCALS").into_keys() {
            locals.entry(key.row).or_default().insert(key.address);
        }
        let places: BpfMap<u32, u32> = open(dir, "INDEXES");
        let placed = (0..MAX_INDEXES).filter_map(|place| Some((place, places.get(&place).unwrap()?)));
        let indexes = placed
            .map(|(place, id)| (place, Index::open(sys::map_by_id(id).unwrap()).unwrap().coverage(word)))
            .collect();
        let views = all(dir, "VIEWS");
        Self {
            classes: open(dir, "CLASSES"),
            port_sets: open(dir, "PORT_SETS"),
            addresses,
            prefixes,
            indexes,
            views,
            locals,
        }
    }

    fn ports(&self, number: u32, reached: &mut Reached) -> Ports {
        match number {
            PORTS_NONE => return Ports::NONE,
            PORTS_ALL => return Ports::all(),
            _ => reached.sets.insert(number),
        };
        let bits: PortSet = self.port_sets.get(&number).unwrap().unwrap_or([0; PORT_WORDS]);
        let mut ports = Ports::NONE;
        let mut from = None;
        for port in 0..=u16::MAX {
            match (bits[usize::from(port >> 6)] >> (port & 63) & 1 != 0, from) {
                (true, None) => from = Some(port),
                (false, Some(first)) => {
                    ports.add(&Ports::range(first, port - 1));
                    from = None;
                }
                _ => {}
            }
        }
        if let Some(first) = from {
            ports.add(&Ports::range(first, u16::MAX));
        }
        ports
    }

    fn permission(&self, number: u32, reached: &mut Reached) -> Permission {
        if number == CLASS_NONE {
            return Permission::default();
        }
        reached.classes.insert(number);
        let class = self.classes.get(&number).unwrap().unwrap_or_default();
        Permission {
            tcp: self.ports(class.tcp, reached),
            udp: self.ports(class.udp, reached),
            icmp: self.ports(class.icmp, reached),
            protocols: class.protocols,
        }
    }

    /// What a table holds in the live generation.
    fn entries(&self, family: usize, table: u32, reached: &mut Reached) -> [Vec<(Net, u32)>; 2] {
        let number = table_number(table);
        if number != TABLE_NONE {
            reached.tables[family].insert(number);
        }
        [(&self.addresses, policy::HAS_ADDRESSES), (&self.prefixes, policy::HAS_PREFIXES)].map(
            |(map, holds)| {
                let found = map[family].get(&number).cloned().unwrap_or_default();
                assert!(
                    table & holds != 0 || found.is_empty(),
                    "table {number} of family {family} is not looked at"
                );
                found
            },
        )
    }

    fn table(&self, family: usize, lookup: &Lookup, reached: &mut Reached) -> Table {
        let [addresses, prefixes] = self.entries(family, lookup.table, reached).map(|entries| {
            entries.into_iter().map(|(net, class)| (net, self.permission(class, reached))).collect()
        });
        Table { world: self.permission(lookup.world, reached), addresses, prefixes }
    }

    fn members(&self, family: usize, lookup: &Lookup, reached: &mut Reached) -> BTreeMap<IpAddr, Permission> {
        if lookup.view == VIEW_NONE {
            return BTreeMap::new();
        }
        reached.views.insert(lookup.view);
        let of_family =
            |net: &Net| if family == 0 { net.cidr(Family::V4).addr() } else { net.cidr(Family::V6).addr() };
        let members = self.addresses[family].get(&TABLE_MEMBERS).into_iter().flatten();
        let may = members.map(|(net, identity)| {
            let class = self.views.get(&ViewKey { view: lookup.view, identity: *identity });
            (of_family(net), self.permission(class.copied().unwrap_or(CLASS_NONE), reached))
        });
        may.filter(|(_, may)| !may.is_nothing()).collect()
    }

    fn lists(&self, family: usize, lookup: &Lookup, reached: &mut Reached) -> Lists {
        let used = lookup.lists.iter().take_while(|list| list.class != CLASS_NONE);
        let mut lists: Vec<_> = used
            .map(|list| {
                let entries = self.entries(family, list.table, reached);
                let mut nets: Vec<Net> = entries.concat().into_iter().map(|(net, _)| net).collect();
                nets.sort();
                let place = index_place(list.table);
                let indexed = match place {
                    0 => Vec::new(),
                    place => self.indexes[&place].boundaries().to_vec(),
                };
                reached.indexes.extend((place != 0).then_some(place));
                (nets, indexed, self.permission(list.class, reached))
            })
            .collect();
        lists.sort();
        lists
    }

    fn locals(&self, index: u32, row: &Policy) -> BTreeSet<IpAddr> {
        let further = self.locals.get(&index).cloned().unwrap_or_default();
        // IPv4 stands in the first word. Families are told apart by the flag; no test uses IPv6 addresses of that form.
        let (v4, v6): (Vec<[u32; 4]>, Vec<[u32; 4]>) =
            further.iter().copied().partition(|words| words[1..] == [0; 3]);
        for (more, flag) in [(&v4, policy::MORE_LOCALS_V4), (&v6, policy::MORE_LOCALS_V6)] {
            assert_eq!(row.flags & flag != 0, !more.is_empty(), "locals of row {index}");
        }
        let inline4 = row.locals_v4.iter().filter(|word| **word != 0).map(|word| address(&[*word]));
        let inline6 = row.locals_v6.iter().filter(|words| **words != [0; 4]).map(|words| address(words));
        let locals: BTreeSet<IpAddr> = inline4
            .chain(inline6)
            .chain(v4.iter().map(|words| address(&words[..1])))
            .chain(v6.iter().map(|words| address(&words[..])))
            .collect();
        assert!(further.is_empty() || locals.len() > INLINE_LOCALS, "locals of row {index}: {locals:?}");
        locals
    }

    fn judgement(&self, index: u32, row: &Policy, reached: &mut Reached) -> Judgement {
        let switches =
            policy::CHECK_SOURCE | policy::EXEMPT_DHCP | policy::REQUIRE_ICMP_RULES | policy::PASS_NON_IP;
        Judgement {
            tables: [0, 1].map(|family| {
                [0, 1].map(|direction| self.table(family, &row.lookup[family][direction], reached))
            }),
            members: [0, 1].map(|family| {
                [0, 1].map(|direction| self.members(family, &row.lookup[family][direction], reached))
            }),
            lists: [0, 1].map(|family| {
                [0, 1].map(|direction| self.lists(family, &row.lookup[family][direction], reached))
            }),
            open_in: row.open_in.map(|sets| sets.map(|number| self.ports(number, reached))),
            open_out: row.open_out.map(|sets| sets.map(|number| self.ports(number, reached))),
            locals: self.locals(index, row),
            switches: row.flags & switches,
            timeouts: [row.tcp_established, row.udp, row.udp_stream],
        }
    }
}

impl Enforced {
    /// What the indexes of prefix lists cover.
    #[must_use]
    pub fn indexes(&self) -> Indexes {
        self.contents.indexes.values().map(|coverage| coverage.boundaries().to_vec()).collect()
    }

    /// Reads the maps pinned below a host's `--bpffs`; `None` where there is no finished host.
    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        if !dir.join("clock").exists() {
            return None;
        }
        let cells = open::<u32, u64>(dir, "STATE").head(policy::STATE_CELLS).unwrap();
        let word = cells[policy::STATE_WORD as usize];
        let generation = generation_of(word);
        let rows = open::<u32, Policy>(dir, "POLICIES").head(policy::POLICY_ROWS).unwrap();
        let contents = Contents::read(dir, word);
        let mut reached = Reached::default();
        let members = contents.addresses.iter().filter_map(|tables| tables.get(&TABLE_MEMBERS)).flatten();
        reached.identities.extend(members.map(|(_, identity)| *identity));
        let mut judgements = Judgements::new();
        for slot in 0..MAX_INTERFACES {
            let index = policy_row(word, slot);
            let row = &rows[index as usize];
            // Generation 0 is no policy at all, whatever its rows hold.
            if generation != 0 && row.flags & policy::POLICY_PRESENT != 0 {
                let judgement = contents.judgement(index, row, &mut reached);
                judgements.insert(u16::try_from(slot).unwrap(), judgement);
            }
        }
        // Of the identities of either family, whoever has an address of the other.
        for (key, class) in &contents.views {
            if reached.views.contains(&key.view) && reached.identities.contains(&key.identity) {
                contents.permission(*class, &mut reached);
            }
        }
        Some(Self { judgements, word, generation, cells, contents, reached, dir: dir.to_path_buf() })
    }

    /// What no generation refers to and is there all the same: nothing, once a change has cleaned up behind itself.
    #[must_use]
    pub fn garbage(&self) -> Vec<String> {
        let mut garbage = Vec::new();
        let cell = |index: u32| self.cells[index as usize];
        for (what, owed) in [
            ("a sweep", cell(policy::STATE_SWEPT) != self.generation),
            ("a removal", cell(policy::STATE_REMOVALS) != 0),
            ("a generation that was staged", cell(policy::STATE_STAGED) > self.generation),
        ] {
            if owed {
                garbage.push(format!("{what} is owed: {:?}", self.cells));
            }
        }
        // Changes in part leave what they no longer refer to for the next change of everything.
        let everything = self.generation == cell(policy::STATE_WHOLE);
        let tables: BTreeSet<u32> = self.reached.tables.iter().flatten().copied().collect();
        for (what, name, reached) in [
            ("port sets", "LEDGER_SETS", &self.reached.sets),
            ("classes", "LEDGER_CLASSES", &self.reached.classes),
            ("address tables", "LEDGER_TABLES", &tables),
            ("indexes", "LEDGER_INDEXES", &self.reached.indexes),
            ("views", "LEDGER_VIEWS", &self.reached.views),
            ("identities", "LEDGER_MEMBERS", &self.reached.identities),
        ] {
            let booked = self.booked(name);
            if everything {
                compare(&mut garbage, &format!("{what} that are booked"), &booked, reached);
            } else if !booked.is_superset(reached) {
                garbage.push(format!("{what} that are booked: {booked:?}, and not {reached:?}"));
            }
        }
        for family in 0..2 {
            let maps = [&self.contents.addresses[family], &self.contents.prefixes[family]];
            let mut filled: BTreeSet<u32> = maps.iter().flat_map(|map| map.keys().copied()).collect();
            filled.remove(&TABLE_MEMBERS);
            let mut reached = self.reached.tables[family].clone();
            reached.retain(|number| filled.contains(number));
            if everything {
                compare(
                    &mut garbage,
                    &format!("tables of family {family} that are filled"),
                    &filled,
                    &reached,
                );
            }
        }
        if everything {
            let filled = self.contents.indexes.keys().copied().collect();
            compare(&mut garbage, "places of indexes that are filled", &filled, &self.reached.indexes);
        }
        let (first, end) = (policy_row(self.word, 0), policy_row(self.word, MAX_INTERFACES - 1) + 1);
        for row in self.contents.locals.keys().filter(|row| (first..end).contains(row)) {
            if !self.judgements.contains_key(&u16::try_from(row - first).unwrap()) {
                garbage.push(format!("locals of the empty row {row}"));
            }
        }
        garbage
    }

    /// Numbers that a ledger has given out; each must be finished and bear the stamp of the last build of everything or a
    /// later one.
    fn booked(&self, name: &str) -> BTreeSet<u32> {
        // As `sg_ctl::kernel`'s ledger lays them out: two words of hash, two stamps.
        let map: BpfMap<u32, [u64; 4]> = open(&self.dir, name);
        let used = u32::try_from(map.get(&0).unwrap().unwrap_or_default()[2]).unwrap();
        let entries = map.head(used.max(1)).unwrap();
        let booked = (0..).zip(entries).skip(1).filter(|(_, entry)| *entry != [0; 4]);
        booked
            .filter_map(|(number, [hash, more, one, other])| {
                let whole = self.cells[policy::STATE_WHOLE as usize];
                let is_live = [one, other].iter().any(|stamp| (whole..=self.generation).contains(stamp));
                // What was cut off before a change in part is left for the next change of everything.
                assert!(is_live || whole != self.generation, "{name}: {number} is not the live generation's");
                assert!(!is_live || [hash, more] != [0, 0], "{name}: {number} was never finished");
                is_live.then_some(number)
            })
            .collect()
    }
}

fn compare<T: Debug + PartialEq>(into: &mut Vec<String>, what: &str, found: &T, expected: &T) {
    if found != expected {
        into.push(format!("{what}: {found:?}, and the live generation refers to {expected:?}"));
    }
}

/// How far a look goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// What is enforced is what the store says, and what is pinned is whole.
    Agreement,
    /// And nothing is left over of anything before: what holds after a change of what is enforced.
    Settled,
}

/// The store of a host.
#[must_use]
pub fn stored(ctl: &Ctl) -> Snapshot {
    store::open(None, ctl.state_dir()).unwrap().read().unwrap()
}

/// Holds the kernel of a host against its store: maps, revision and pins. Returns what the store says.
#[track_caller]
pub fn agree(ctl: &Ctl, look: Look) -> Snapshot {
    let snapshot = stored(ctl);
    let enis: Vec<String> = snapshot.state.attached().map(|(eni, _)| eni.id.to_string()).collect();
    let Some(enforced) = Enforced::read(ctl.bpffs()) else {
        assert!(enis.is_empty(), "the store has {enis:?}, and nothing is pinned");
        // The first attach that is cut off first of all leaves an empty directory, which the next one takes.
        let left: Vec<_> = ctl.pins().into_iter().filter(|path| path != ctl.bpffs()).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "nothing is attached");
        return snapshot;
    };
    assert!(!enis.is_empty(), "nothing is attached, and the host is still there");
    expect_same(&enforced.judgements, &judgements(&compile(&snapshot.state), &enforced.indexes()));
    let revision = enforced.cells[policy::STATE_REVISION as usize];
    assert_eq!(revision, snapshot.revision, "the kernel's revision, and the store's");
    assert_eq!(ctl.pins(), pins(ctl.bpffs(), &enis), "what is pinned, and what should be");
    if look == Look::Settled {
        assert_eq!(enforced.garbage(), Vec::<String>::new(), "left over");
    }
    snapshot
}

/// What differs, without the thousands of entries of a long list that do not.
#[track_caller]
fn expect_same(kernel: &Judgements, store: &Judgements) {
    const SHOWN: usize = 2_000;
    if kernel == store {
        return;
    }
    let [kernel, store] = [kernel, store].map(|judgements| format!("{judgements:?}"));
    let same = kernel.bytes().zip(store.bytes()).take_while(|(one, other)| one == other).count();
    let from = |text: &str| text.chars().skip(same.saturating_sub(SHOWN / 2)).take(SHOWN).collect::<String>();
    panic!("the kernel: …{}…\nthe store compiled: …{}…", from(&kernel), from(&store));
}

/// Everything that is pinned for a host with these interfaces.
fn pins(dir: &Path, enis: &[String]) -> Vec<PathBuf> {
    use sg_ctl::kernel::object::{FLOW_MAPS, POLICY_MAPS};
    let ledgers = [
        "LEDGER_SETS",
        "LEDGER_CLASSES",
        "LEDGER_TABLES",
        "LEDGER_INDEXES",
        "LEDGER_VIEWS",
        "LEDGER_MEMBERS",
        "IDENTITIES",
        "RULE_HITS",
    ];
    let maps = POLICY_MAPS.iter().chain(FLOW_MAPS).chain(&ledgers).map(|name| format!("maps/{name}"));
    let links =
        enis.iter().flat_map(|eni| ["", "/receive", "/send"].map(|pin| format!("interfaces/{eni}{pin}")));
    let directories = ["maps", "interfaces", "clock"].map(str::to_owned);
    let mut pins: Vec<PathBuf> =
        maps.chain(links).chain(directories).map(|name| dir.join(name)).chain([dir.to_path_buf()]).collect();
    pins.sort();
    pins
}
