//! Listening to what the datapath tells of single packets: [`sg_common::event`].
//!
//! Who listens takes a place with the host's lock held, and holds it without: it says every second that it is still there.
//! Who could not say so in time (it was stopped, or what reads it was slow) takes the lock again, and finds out whether the
//! place is still its own; what came meanwhile it was not told, and nobody counted.
//! Nothing has to be undone behind one that was killed. Its place is free when it has not been heard of for
//! [`LEASE_SECONDS`], and who takes the next place lets go of its ring buffer.

use super::{
    clock,
    host::{self, Host},
    map::BpfMap,
    sweep::processors,
    sys::{self, MAP_TYPE_RINGBUF},
};
use crate::error::{Refusal, Result};
use anyhow::Context as _;
use aya::maps::{Map, MapData, RingBuf};
use ipnet::IpNet;
use sg_common::{
    event::{
        ANY_PORT, ANY_SLOT, Budget, EVENTS_AT_ONCE, EVENTS_PER_SECOND, Event, LEASE_SECONDS, Listener,
        NO_PROTOCOL, PLACES, seen,
    },
    policy::STATE_HZ,
};
use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use zerocopy::FromBytes;

/// Bytes of a listener's ring buffer: what [`EVENTS_PER_SECOND`] of many processors come to between two looks into it.
const RING_BYTES: u32 = 1 << 20;

/// Which packets to hear of. The programs look at it, so that others cost next to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Bits of [`sg_common::event::what`].
    pub wants: u32,
    /// This interface's only.
    pub slot: Option<u16>,
    /// This IP protocol only.
    pub protocol: Option<u8>,
    /// A far end within.
    pub remote: Option<IpNet>,
    /// This local or remote port only.
    pub port: Option<u16>,
}

impl Filter {
    fn listener(&self, token: u64, hz: u64) -> Listener {
        let (family, remote, mask) = self.remote.map_or((0, [0; 4], [0; 4]), |net| match net {
            IpNet::V4(net) => {
                let word = |address: std::net::Ipv4Addr| [u32::from_ne_bytes(address.octets()), 0, 0, 0];
                (seen::IPV4, word(net.network()), word(net.netmask()))
            }
            IpNet::V6(net) => {
                let words = |address: std::net::Ipv6Addr| zerocopy::transmute!(address.octets());
                (seen::IPV6, words(net.network()), words(net.netmask()))
            }
        });
        Listener {
            until: 0,
            token,
            wants: self.wants,
            slot: self.slot.map_or(ANY_SLOT, u32::from),
            port: self.port.map_or(ANY_PORT, u32::from),
            rate: (u64::from(EVENTS_PER_SECOND) / hz).max(1) as u32,
            burst: EVENTS_AT_ONCE,
            protocol: self.protocol.map_or(NO_PROTOCOL, u16::from),
            family: family as u8,
            reserved: 0,
            remote,
            mask,
        }
    }
}

/// Events that a listener did not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// More than the programs tell one listener.
    pub suppressed: u64,
    /// More than it read in time.
    pub lost: u64,
    /// For how long it had not said that it listens, and was told nothing. Nobody counted what came then.
    pub unheard: Duration,
}

impl Missed {
    /// All that were counted.
    #[must_use]
    pub fn events(self) -> u64 {
        self.suppressed + self.lost
    }
}

/// Whoever holds a place. Dropping it gives the place back.
pub struct Listening {
    place: u32,
    listener: Listener,
    hz: u64,
    /// What its budgets had counted before, and what it was told of since.
    known: Missed,
    /// From which jiffy on nobody told it anything, unless it says before that it still listens.
    told_until: u64,
    /// Jiffies before that in which nobody told it anything, and which it did not ask for yet.
    unheard: u64,
    /// Nanoseconds between the epoch and the zero of the kernel's monotonic clock.
    epoch: u64,
    ring: RingBuf<MapData>,
    maps: Maps,
}

/// What it works on beside other commands, which hold the host's lock.
struct Maps {
    dir: PathBuf,
    listening: BpfMap<u32, u64>,
    listeners: BpfMap<u32, Listener>,
    budgets: BpfMap<u32, Budget>,
    rings: BpfMap<u32, u32>,
    clock: OwnedFd,
    cells: BpfMap<u32, u64>,
}

impl Maps {
    fn open(dir: &Path) -> Result<Self> {
        let at = |name: &str| dir.join("maps").join(name);
        Ok(Self {
            dir: dir.to_path_buf(),
            listening: BpfMap::open(&at("LISTENING"))?,
            listeners: BpfMap::open(&at("LISTENERS"))?,
            budgets: BpfMap::open(&at("BUDGETS"))?,
            rings: BpfMap::open(&at("RINGS"))?,
            clock: sys::open_pinned(&dir.join("clock")).context("cannot open the clock program")?,
            cells: BpfMap::open(&at("CLOCK"))?,
        })
    }

    /// A free place. Rings of those who are gone are let go of.
    fn free_place(&self, now: u64, hz: u64) -> Result<Option<u32>> {
        let mut free = None;
        for place in 0..PLACES {
            let listener = self.listeners.get(&place)?.unwrap_or_default();
            if listener.is_live(now, hz) {
                continue;
            }
            if listener.until != 0 {
                self.give_back(place)?;
            }
            free = free.or(Some(place));
        }
        Ok(free)
    }

    fn give_back(&self, place: u32) -> Result<()> {
        self.listeners.set(&place, &Listener::default())?;
        self.rings.remove(&place)?;
        Ok(())
    }

    /// What all processors have counted for the place.
    fn missed(&self, place: u32) -> Result<Missed> {
        let budgets = self.budgets.get_per_cpu(place, processors()?)?;
        let (suppressed, lost) = (budgets.iter().map(|it| it.suppressed), budgets.iter().map(|it| it.lost));
        Ok(Missed { suppressed: suppressed.sum(), lost: lost.sum(), unheard: Duration::ZERO })
    }
}

impl Listening {
    /// Takes a place. The host's lock, which `host` holds, keeps others from taking the same one.
    ///
    /// # Errors
    /// `ResourceLimitExceeded` where all places are taken, and where the kernel refuses.
    pub fn begin(host: &Host, filter: &Filter) -> Result<Self> {
        let maps = Maps::open(host.dir())?;
        let hz = host.cell(STATE_HZ)?.max(1);
        let now = clock::both(&maps.clock, &maps.cells)?.0;
        let place = maps.free_place(now, hz)?.ok_or_else(|| {
            let message =
                format!("{PLACES} commands listen to this host's packets already; end one of them first");
            Refusal::new("ResourceLimitExceeded", message)
        })?;
        let fd = sys::map_create(MAP_TYPE_RINGBUF, 0, 0, RING_BYTES, 0, "SG_EVENTS")
            .context("cannot make a ring buffer")?;
        maps.rings.set(&place, &(fd.as_fd().as_raw_fd() as u32)).context("cannot put the ring buffer in")?;
        let ring = RingBuf::try_from(Map::RingBuf(MapData::from_fd(fd)?))?;
        let listener = filter.listener(rand::random(), hz);
        let known = maps.missed(place)?;
        let mut listening =
            Self { place, listener, hz, known, told_until: u64::MAX, unheard: 0, epoch: 0, ring, maps };
        listening.say_so()?;
        Ok(listening)
    }

    /// Says that it still listens: to be called every second. False where the place is somebody else's, because this process
    /// was stopped for longer than it may be silent; then it has to begin anew, and [`Self::follow_on`] from this one.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn renew(&mut self) -> Result<bool> {
        if !self.is_its_own()? {
            return Ok(false);
        }
        // Nobody takes the place of one whose lease lasts. A lapsed one is anybody's who has the host's lock.
        let now = self.now()?.0;
        let lapsed = !self.listener.is_live(now, self.hz);
        let _lock = lapsed.then(|| host::lock(&self.maps.dir)).transpose()?;
        if lapsed && !self.is_its_own()? {
            return Ok(false);
        }
        self.say_so()?;
        Ok(true)
    }

    fn is_its_own(&self) -> Result<bool> {
        let there = self.maps.listeners.get(&self.place)?.unwrap_or_default();
        Ok(there.token == self.listener.token)
    }

    /// Goes on where another, whose place is somebody else's, was told nothing any more.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn follow_on(&mut self, before: &mut Self) -> Result<()> {
        let now = self.now()?.0;
        before.note_silence(now);
        self.unheard += std::mem::take(&mut before.unheard);
        Ok(())
    }

    /// Jiffies, and the monotonic clock.
    fn now(&self) -> Result<(u64, u64)> {
        clock::both(&self.maps.clock, &self.maps.cells)
    }

    fn note_silence(&mut self, now: u64) {
        if now >= self.told_until {
            self.unheard += now - self.told_until + 1;
            self.told_until = now + 1;
        }
    }

    fn say_so(&mut self) -> Result<()> {
        let (now, monotonic) = self.now()?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.epoch = (since_epoch.as_nanos() as u64).saturating_sub(monotonic);
        self.note_silence(now);
        self.listener.until = now + u64::from(LEASE_SECONDS) * self.hz;
        self.told_until = self.listener.until;
        self.maps.listeners.set(&self.place, &self.listener)?;
        self.keep_awake()
    }

    /// Sees to it that the programs know of the place: another listener, or a packet that found one gone, may have written the
    /// word at the same time.
    fn keep_awake(&self) -> Result<()> {
        let (word, ours) = (self.maps.listening.get(&0)?.unwrap_or(0), 1 << self.place);
        if word & ours == 0 {
            self.maps.listening.set(&0, &(word | ours))?;
        }
        Ok(())
    }

    /// Calls `hear` with what has come since the last time, for as long as it says so.
    ///
    /// # Errors
    /// Where the kernel cannot be asked, and those of `hear`.
    pub fn read(&mut self, mut hear: impl FnMut(&Event) -> Result<bool>) -> Result<()> {
        self.keep_awake()?;
        while let Some(item) = self.ring.next() {
            let event = Event::read_from_bytes(&item).ok().context("an event of another version")?;
            if !hear(&event)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What it did not get since it was last asked.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn missed(&mut self) -> Result<Missed> {
        self.note_silence(self.now()?.0);
        let jiffies = std::mem::take(&mut self.unheard);
        let now = self.maps.missed(self.place)?;
        let before = std::mem::replace(&mut self.known, now);
        Ok(Missed {
            unheard: Duration::from_millis((1_000 * jiffies).div_ceil(self.hz)),
            suppressed: now.suppressed.wrapping_sub(before.suppressed),
            lost: now.lost.wrapping_sub(before.lost),
        })
    }

    /// When an event was, since the epoch.
    #[must_use]
    pub fn time_of(&self, event: &Event) -> Duration {
        Duration::from_nanos(self.epoch.saturating_add(event.time))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.is_its_own().unwrap_or(false)
            && let Err(error) = self.maps.give_back(self.place)
        {
            log::warn!("the place of a listener falls free by itself: {error:#}");
        }
    }
}
