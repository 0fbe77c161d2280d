//! `sg-ctl monitor` and `trace`: what the datapath says of single packets, as it says it.

mod shape;
mod stages;

pub use shape::{Flow, Line, Where};
pub use stages::{Stage, Traced, stages};

use crate::{
    context::Context,
    error::{Refusal, Result},
    kernel::{
        Host,
        events::{Filter, Listening, Missed},
        links,
    },
    model::{EniId, State},
    ops, transact,
};
use anyhow::Context as _;
use ipnet::IpNet;
use sg_common::event::Event;
use std::{collections::HashMap, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval},
};

/// How often a listener looks into its ring: often enough to be live, and seldom enough to cost nothing.
const LOOK: Duration = Duration::from_millis(50);
/// How often it says that it still listens, and looks whether its interface is still there.
const RENEWAL: Duration = Duration::from_secs(1);

/// Which packets somebody wants to see.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Device name or interface id; none is all of the host's.
    pub interface: Option<String>,
    /// Bits of [`sg_common::event::what`].
    pub wants: u32,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// A far end within.
    pub remote: Option<IpNet>,
    /// Local or remote port.
    pub port: Option<u16>,
    /// Ends after so many.
    pub count: Option<u64>,
}

/// What the one who listens is told.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A packet, its time since the epoch, and its interface.
    Packet(&'a Event, Duration, &'a Where),
    /// It was not told of everything.
    Missed(Missed),
    /// Nothing more for the moment: what was said should be seen.
    Pause,
}

/// Why it ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The user, or whoever read it, has seen enough.
    Enough,
    /// This interface is not enforced any more.
    Detached(String),
    /// Nothing is attached any more.
    NothingAttached,
}

/// Tells `hear` what comes, until a signal, until so many packets as were asked for, until `hear` says that it is enough, or
/// until what is listened to is gone.
///
/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`; `IncorrectState` where the interface is not enforced or nothing is attached;
/// `ResourceLimitExceeded` where too many listen already; those of `hear`.
pub fn run(ctx: &Context, request: &Request, hear: impl FnMut(Heard<'_>) -> Result<bool>) -> Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(follow(ctx, request, hear))
}

async fn follow(
    ctx: &Context,
    request: &Request,
    mut hear: impl FnMut(Heard<'_>) -> Result<bool>,
) -> Result<End> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut monitor = Monitor::begin(ctx, request)?;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewed = Instant::now();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = looks.tick() => {}
        }
        if !monitor.look(&mut hear)? {
            return Ok(End::Enough);
        }
        if renewed.elapsed() >= RENEWAL {
            renewed = Instant::now();
            if let Some(end) = monitor.keep(&mut hear)? {
                return Ok(end);
            }
        }
    }
    // What came before the signal counts.
    if monitor.look(&mut hear)? {
        monitor.say_missed(&mut hear)?;
    }
    Ok(End::Enough)
}

/// One that listens.
pub(crate) struct Monitor<'a> {
    ctx: &'a Context,
    request: &'a Request,
    /// The one interface that is listened to, with the index of its device.
    only: Option<(EniId, u32, String)>,
    listening: Listening,
    /// Attached interfaces by slot.
    places: HashMap<u16, Where>,
    /// The store's revision that they are of.
    revision: u64,
    left: Option<u64>,
}

impl<'a> Monitor<'a> {
    /// Takes a place. Waits for the host's lock.
    ///
    /// # Errors
    /// As for [`run`].
    pub(crate) fn begin(ctx: &'a Context, request: &'a Request) -> Result<Self> {
        let (snapshot, host) = transact::locked(ctx)?;
        let (only, listening) = listen(ctx, request, &snapshot.state, host.as_ref())?;
        let places = places(&snapshot.state);
        let left = request.count;
        Ok(Self { ctx, request, only, listening, places, revision: snapshot.revision, left })
    }

    /// Tells what has come. False where it is enough.
    pub(crate) fn look(&mut self, hear: &mut impl FnMut(Heard<'_>) -> Result<bool>) -> Result<bool> {
        let mut came = Vec::new();
        self.listening.read(|event| {
            came.push(*event);
            Ok(self.left.is_none_or(|left| (came.len() as u64) < left))
        })?;
        if came.is_empty() {
            return Ok(true);
        }
        // The slot of an interface that was detached may be another's by now.
        let before = self.learn()?;
        for event in &came {
            // One that was detached while this came is known by what it was; one that is only being attached, not at all.
            let Some(place) = self.places.get(&event.slot).or_else(|| before.get(&event.slot)) else {
                continue;
            };
            if !hear(Heard::Packet(event, self.listening.time_of(event), place))? {
                return Ok(false);
            }
            if let Some(left) = &mut self.left {
                *left -= 1;
            }
        }
        Ok(hear(Heard::Pause)? && self.left != Some(0))
    }

    /// Says that it still listens, if what it listens to is still there: to be called every second. Tells also what it was not
    /// told.
    pub(crate) fn keep(&mut self, hear: &mut impl FnMut(Heard<'_>) -> Result<bool>) -> Result<Option<End>> {
        if let Some((id, ifindex, name)) = &self.only
            && !links::is_attached_at(&self.ctx.bpffs, *id, *ifindex)
        {
            return Ok(Some(End::Detached(name.clone())));
        }
        if !self.ctx.bpffs.join("clock").exists() {
            return Ok(Some(End::NothingAttached));
        }
        if !self.listening.renew()? {
            let (snapshot, host) = transact::locked(self.ctx)?;
            let (only, mut listening) = listen(self.ctx, self.request, &snapshot.state, host.as_ref())?;
            listening.follow_on(&mut self.listening)?;
            (self.only, self.listening) = (only, listening);
        }
        self.learn()?;
        Ok((!self.say_missed(hear)?).then_some(End::Enough))
    }

    fn say_missed(&mut self, hear: &mut impl FnMut(Heard<'_>) -> Result<bool>) -> Result<bool> {
        let missed = self.listening.missed()?;
        Ok(missed == Missed::default() || hear(Heard::Missed(missed))?)
    }

    /// Reads of the store which interfaces there are, where it has changed. Returns those that there were.
    fn learn(&mut self) -> Result<HashMap<u16, Where>> {
        if self.ctx.store.revision()? == self.revision {
            return Ok(HashMap::new());
        }
        let snapshot = self.ctx.store.read()?;
        self.revision = snapshot.revision;
        Ok(std::mem::replace(&mut self.places, places(&snapshot.state)))
    }
}

type Only = Option<(EniId, u32, String)>;

fn listen(ctx: &Context, request: &Request, state: &State, host: Option<&Host>) -> Result<(Only, Listening)> {
    let mut filter = Filter {
        wants: request.wants,
        slot: None,
        protocol: request.protocol,
        remote: request.remote,
        port: request.port,
    };
    let mut only = None;
    if let Some(name) = &request.interface {
        let id = ops::interface::find(state, ctx.netns.as_deref(), name)?;
        let enforced = state.attached().find(|(eni, _)| eni.id == id);
        let enforced = enforced.filter(|(_, how)| links::is_attached_at(&ctx.bpffs, id, how.ifindex));
        let Some((eni, how)) = enforced else {
            let message = format!(
                "{name} is not enforced on this host at the moment, so that nothing judges its packets; see `sg-ctl status`"
            );
            return Err(Refusal::new("IncorrectState", message).into());
        };
        filter.slot = Some(how.slot);
        only = Some((id, how.ifindex, eni.name.clone()));
    }
    let Some(host) = host else {
        let message =
            "no interface is attached on this host, so that nothing judges packets; attach one first";
        return Err(Refusal::new("IncorrectState", message).into());
    };
    Ok((only, Listening::begin(host, &filter)?))
}

fn places(state: &State) -> HashMap<u16, Where> {
    let place = |(eni, how): (&crate::model::Interface, &crate::model::Attachment)| {
        let place =
            Where { name: eni.name.clone(), eni_id: eni.id.to_string(), vlan_aware: how.options.vlan_aware };
        (how.slot, place)
    };
    state.attached().map(place).collect()
}
