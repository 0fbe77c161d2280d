//! One host's datapath: its pinned maps, and the lock that lets one command at a time change them.

use super::{
    build::Ledgers,
    clock,
    hits::{RuleKey, Sum},
    identities::Identities,
    ledger::{self, Builds, Ledger},
    map::{BpfMap, Plain},
    object,
};
use crate::{
    error::{Refusal, Result},
    model::Attachment,
    observe::MapStatus,
};
use anyhow::Context;
use sg_common::{
    SCHEMA_VERSION,
    flow::{Flow, FlowKey4, FlowKey6},
    hit::{Hit, HitKey},
    index::MAX_INDEXES,
    limits,
    mark::MarkBlock,
    policy::{
        AddressKey4, AddressKey6, Class, Counter, LocalKey, OBSERVES, Policy, PortSet, PrefixKey4,
        PrefixKey6, STATE_HZ, STATE_SCHEMA, STATE_WHOLE, STATE_WORD, Versioned, ViewKey, generation_of,
    },
    track::Clock,
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// The host's maps, open, and its lock, held.
pub struct Host {
    dir: PathBuf,
    /// Cells of [`sg_common::policy`]'s `STATE_…`.
    pub state: BpfMap<u32, u64>,
    pub(super) policies: BpfMap<u32, Policy>,
    pub(super) classes: BpfMap<u32, Class>,
    pub(super) port_sets: BpfMap<u32, PortSet>,
    pub(super) addresses4: BpfMap<AddressKey4, Versioned>,
    pub(super) addresses6: BpfMap<AddressKey6, Versioned>,
    pub(super) prefixes4: BpfMap<PrefixKey4, Versioned>,
    pub(super) prefixes6: BpfMap<PrefixKey6, Versioned>,
    pub(super) views: BpfMap<ViewKey, u32>,
    /// Arrays: their descriptors when they are written, their ids when they are read.
    pub(super) indexes: BpfMap<u32, u32>,
    pub(super) identities: Identities,
    pub(super) locals: BpfMap<LocalKey, u32>,
    /// Established, answered, pending.
    pub flows4: [BpfMap<FlowKey4, Flow>; 3],
    /// Established, answered, pending.
    pub flows6: [BpfMap<FlowKey6, Flow>; 3],
    pub(super) marks: BpfMap<u32, MarkBlock>,
    pub(super) hits: BpfMap<HitKey, Hit>,
    pub(super) rule_hits: BpfMap<RuleKey, Sum>,
    /// By [`sg_common::policy::counter_index`].
    pub counters: BpfMap<u32, Counter>,
    pub(super) clock: BpfMap<u32, u64>,
    /// `None` where it was opened by [`Host::glance`].
    _lock: Option<File>,
}

/// Takes the lock of a host, whose directory exists.
pub(super) fn lock(dir: &Path) -> Result<File> {
    let file = File::open(dir).with_context(|| format!("cannot open {}", dir.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", dir.display()))?;
    Ok(file)
}

impl Host {
    /// The host whose datapath is pinned in `dir`; `None` where there is none.
    ///
    /// # Errors
    /// `IncompatibleDatapath` where it is of another version.
    pub fn open(dir: &Path) -> Result<Option<Self>> {
        use std::io::ErrorKind;
        match fs::metadata(dir.join("clock")) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                if !dir.join("maps").exists() && !dir.join("interfaces").exists() {
                    return Ok(None);
                }
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let message = format!("cannot read {}; run sg-ctl as root", dir.display());
                return Err(Refusal::new("UnauthorizedOperation", message).into());
            }
            Err(error) => return Err(error).with_context(|| dir.display().to_string()),
        }
        super::bpffs::check_owner(dir)?;
        let lock = lock(dir)?;
        // The clock is pinned last and removed first: what lacks it was cut off while it was made or taken away, and
        // nothing is attached. (Or another command took it away while this one waited.)
        if !dir.join("clock").exists() {
            remove_pins(&dir.join("maps"))?;
            remove_pins(&dir.join("interfaces"))?;
            return Ok(None);
        }
        Self::from_pins(dir, Some(lock)).map(Some)
    }

    /// The same without the lock, to look at what lies in the maps while commands may be at work: nothing can be written
    /// through it. `None` also where it is only being made or taken away.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn glance(dir: &Path) -> Result<Option<Self>> {
        let is_whole =
            || ["clock", "maps/IDENTITIES", "maps/RULE_HITS"].iter().all(|pin| dir.join(pin).exists());
        if !is_whole() {
            return Ok(None);
        }
        super::bpffs::check_owner(dir)?;
        match Self::from_pins(dir, None) {
            Err(_) if !is_whole() => Ok(None),
            host => host.map(Some),
        }
    }

    /// The same, made where there is none.
    ///
    /// # Errors
    /// Where there is no bpffs, or the kernel refuses the maps.
    pub fn open_or_create(dir: &Path) -> Result<Self> {
        let is_new = super::bpffs::prepare(dir)?;
        let lock = lock(dir)?;
        // The clock is pinned last: what lacks it was cut off while it was made, and holds nothing yet.
        if !dir.join("clock").exists()
            && let Err(error) = Self::make(dir)
        {
            let gone = remove_pins(&dir.join("maps")).and_then(|()| remove_pins(&dir.join("interfaces")));
            if is_new && gone.is_ok() {
                // Whatever keeps it from going is not ours.
                let _ = fs::remove_dir(dir);
            }
            return Err(error);
        }
        Self::from_pins(dir, Some(lock))
    }

    /// Makes and pins the maps, and then the clock.
    fn make(dir: &Path) -> Result<()> {
        let (maps, interfaces) = (dir.join("maps"), dir.join("interfaces"));
        remove_pins(&maps)?;
        fs::create_dir_all(&interfaces).with_context(|| interfaces.display().to_string())?;
        fs::create_dir(&maps).with_context(|| maps.display().to_string())?;
        let mut object =
            object::open(&object::Constants::default(), &maps, &[object::POLICY_MAPS, object::FLOW_MAPS])?;
        let state: BpfMap<u32, u64> = BpfMap::open(&maps.join("STATE"))?;
        state.set(&STATE_SCHEMA, &SCHEMA_VERSION)?;
        let program = object::load(&mut object, object::CLOCK)?;
        let hz = clock::find_hz(program.fd()?, &BpfMap::open(&maps.join("CLOCK"))?)?;
        state.set(&STATE_HZ, &u64::from(hz))?;
        program.pin(dir.join("clock")).with_context(|| format!("cannot pin in {}", dir.display()))
    }

    fn from_pins(dir: &Path, lock: Option<File>) -> Result<Self> {
        let maps = dir.join("maps");
        let at = |name: &str| maps.join(name);
        let to_read = lock.is_none();
        let state: BpfMap<u32, u64> = open(&at("STATE"), to_read)?;
        let schema = state.get(&STATE_SCHEMA)?.unwrap_or(0);
        if schema != SCHEMA_VERSION {
            return Err(Refusal::new(
                "IncompatibleDatapath",
                format!(
                    "the datapath pinned in {} has map layout {schema}, and this sg-ctl has {SCHEMA_VERSION}; use the \
                     sg-ctl that made it, or detach its interfaces with that one first",
                    dir.display()
                ),
            )
            .into());
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            state,
            policies: open(&at("POLICIES"), to_read)?,
            classes: open(&at("CLASSES"), to_read)?,
            port_sets: open(&at("PORT_SETS"), to_read)?,
            addresses4: open(&at("ADDRESSES4"), to_read)?,
            addresses6: open(&at("ADDRESSES6"), to_read)?,
            prefixes4: open(&at("PREFIXES4"), to_read)?,
            prefixes6: open(&at("PREFIXES6"), to_read)?,
            views: open(&at("VIEWS"), to_read)?,
            indexes: open(&at("INDEXES"), to_read)?,
            identities: match to_read || at("IDENTITIES").exists() {
                true => open(&at("IDENTITIES"), to_read)?,
                false => {
                    BpfMap::create_hash(&at("IDENTITIES"), limits::MAX_IDENTITY_GROUPS, "SG_IDENTITIES")?
                }
            },
            locals: open(&at("LOCALS"), to_read)?,
            flows4: [
                open(&at("ESTABLISHED4"), to_read)?,
                open(&at("ANSWERED4"), to_read)?,
                open(&at("PENDING4"), to_read)?,
            ],
            flows6: [
                open(&at("ESTABLISHED6"), to_read)?,
                open(&at("ANSWERED6"), to_read)?,
                open(&at("PENDING6"), to_read)?,
            ],
            marks: open(&at("MARKS"), to_read)?,
            hits: open(&at("HITS"), to_read)?,
            rule_hits: match to_read || at("RULE_HITS").exists() {
                true => open(&at("RULE_HITS"), to_read)?,
                false => BpfMap::create_hash(&at("RULE_HITS"), limits::MAX_RULE_HITS, "SG_RULE_HITS")?,
            },
            counters: open(&at("COUNTERS"), to_read)?,
            clock: open(&at("CLOCK"), to_read)?,
            _lock: lock,
        })
    }

    /// Where it is pinned.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its maps are pinned.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.dir.join("maps")
    }

    /// A cell of the state map.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn cell(&self, cell: u32) -> Result<u64> {
        Ok(self.state.get(&cell)?.unwrap_or(0))
    }

    /// The word that packets read: the live generation, and the bank of its rows.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn word(&self) -> Result<u64> {
        self.cell(STATE_WORD)
    }

    /// The live generation.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn generation(&self) -> Result<u64> {
        Ok(generation_of(self.word()?))
    }

    pub(super) fn ledgers(&self) -> Result<Ledgers> {
        let builds = Builds { whole: self.cell(STATE_WHOLE)?, live: self.generation()? };
        let open = |name: &str, capacity, reserved, what| {
            Ledger::open_or_create(&self.maps().join(name), capacity, reserved, builds, what)
        };
        Ok(Ledgers {
            sets: open("LEDGER_SETS", limits::MAX_PORT_SETS, 2, "port sets")?,
            classes: open("LEDGER_CLASSES", limits::MAX_CLASSES, 1, "classes")?,
            tables: open("LEDGER_TABLES", limits::MAX_TABLES, 2, "address tables")?,
            indexes: open("LEDGER_INDEXES", MAX_INDEXES, 1, "indexes of prefix lists")?,
            views: open("LEDGER_VIEWS", limits::MAX_VIEWS, 1, "views of groups")?,
            identities: open("LEDGER_MEMBERS", limits::MAX_IDENTITIES, 1, "combinations of groups")?,
        })
    }

    /// How full the policy maps are. Of those that share by content, entries are distinct contents.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn policy_maps(&self) -> Result<Vec<MapStatus>> {
        let used = |name: &str| ledger::count(&self.maps().join(name));
        let one = |name: &str, entries: u64, max_entries: u32, memory: std::io::Result<u64>| {
            let max_entries = u64::from(max_entries);
            anyhow::Ok(MapStatus { name: name.to_owned(), entries, max_entries, memory_bytes: memory? })
        };
        macro_rules! whole {
            ($name:literal, $map:expr) => {
                one($name, $map.count()?, $map.max_entries(), $map.memory())?
            };
        }
        Ok(vec![
            whole!("addresses4", self.addresses4),
            whole!("addresses6", self.addresses6),
            whole!("prefixes4", self.prefixes4),
            whole!("prefixes6", self.prefixes6),
            one("prefix_indexes", used("LEDGER_INDEXES")?, MAX_INDEXES - 1, self.indexes_memory())?,
            one("classes", used("LEDGER_CLASSES")?, self.classes.max_entries(), self.classes.memory())?,
            one("port_sets", used("LEDGER_SETS")?, self.port_sets.max_entries(), self.port_sets.memory())?,
        ])
    }

    /// Jiffies now, and jiffies a second. Where a test moves the clock, its cell is the time here as well.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn now(&self) -> Result<(u64, u64)> {
        let hz = self.cell(STATE_HZ)?.max(1);
        Ok((clock::now(&self.dir, &self.clock)?, hz))
    }

    /// The same as the datapath has it, but for its seconds.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn clock(&self) -> Result<Clock> {
        let (now, hz) = self.now()?;
        Ok(Clock { now, hz, second_shift: 0 })
    }

    /// Whether an interface only observes now, and does not enforce yet (P-22). Where the clock cannot be read, nobody knows
    /// that it enforces.
    #[must_use]
    pub fn observes(&self, attachment: &Attachment) -> bool {
        let Some(observe_until) = attachment.observe_until else { return false };
        let row = Policy { flags: OBSERVES, observe_until, ..Policy::default() };
        self.clock().map_or(true, |clock| row.observes(&clock))
    }

    /// Removes everything of the host: nothing may be attached any more.
    ///
    /// # Errors
    /// Where a pin cannot be removed.
    pub fn remove(self) -> Result<()> {
        // The clock goes first: without it the rest counts as never finished.
        let clock = self.dir.join("clock");
        fs::remove_file(&clock).with_context(|| clock.display().to_string())?;
        remove_pins(&self.maps())?;
        remove_pins(&self.dir.join("interfaces"))?;
        super::bpffs::remove(&self.dir)
    }
}

fn open<K: Plain, V: Plain>(path: &Path, to_read: bool) -> Result<BpfMap<K, V>> {
    if to_read { BpfMap::open_to_read(path) } else { BpfMap::open(path) }
}

/// Removes a directory of pins with the directories in it. (bpffs is no place for `remove_dir_all`, which opens files.)
pub(super) fn remove_pins(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| dir.display().to_string()),
    };
    for entry in entries {
        let entry = entry.with_context(|| dir.display().to_string())?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_pins(&path)?;
        } else {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    fs::remove_dir(dir).with_context(|| dir.display().to_string())
}
