//! One transaction over store and kernel: refused means unchanged in both.
//!
//! The next generation is built beside the live one; then the store commits; then one word is flipped, which cannot
//! reasonably fail. A crash in between leaves the store ahead of the kernel, which the revision in the kernel tells,
//! and the next command puts the store's state in force before it does anything else: also one that only looks, and one
//! that is refused (because, say, the store has already what the killed one was to add).

use crate::{
    compile::{Change, Scope, compile, lost, still_lost},
    context::Context,
    device::{self, Present},
    error::{Refusal, Result},
    kernel::{BpfMap, Host, InForce, Prepared, RuleHits, links},
    model::{EniId, InterfaceTerm, Lost, Place, State},
    netns, ops,
    store::Snapshot,
    time::now,
};
use sg_common::policy::{STATE_REVISION, STATE_STORE, STATE_SWEPT, STATE_WORD, generation_of};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What a change came to.
pub struct Changed<T> {
    /// What the operation returned.
    pub value: T,
    /// Ports of TCP and UDP that were untracked before and are not any more.
    pub interrupted_ports: u32,
    /// The state that is in force now.
    pub state: State,
    /// The store's revision, before and after: equal where nothing changed.
    pub revision_before: u64,
    /// See [`Self::revision_before`].
    pub revision: u64,
}

/// Runs `op` on the state and makes store and kernel agree with what it made of it, or changes nothing. Returns once
/// every attached interface is judged by the new state.
///
/// # Errors
/// What `op` refuses, and what store or kernel refuse.
pub fn change<T>(ctx: &Context, op: impl FnOnce(&mut State) -> Result<T>) -> Result<Changed<T>> {
    let transaction = ctx.store.begin()?;
    let host = Enforced::open(ctx, transaction.snapshot())?;
    let before = transaction.snapshot().state.clone();
    let mut state = before.clone();
    prepare(&mut state);
    end_observations(&mut state, host.as_ref());
    let value = op(&mut state)?;
    state.released = released(host.as_ref(), &before, &state);

    let revision_before = transaction.snapshot().revision;
    let Some(enforced) = host else {
        // Nothing is attached, so nothing is open.
        let revision = transaction.commit(&state)?;
        return Ok(Changed { value, interrupted_ports: 0, state, revision_before, revision });
    };
    let change = enforced.change(&before, &state)?;
    let interrupted_ports = change.interrupted_ports();
    if enforced.in_step && change.is_nothing() {
        let revision = transaction.commit(&state)?;
        enforced.host.state.set(&STATE_REVISION, &revision)?;
        return Ok(Changed { value, interrupted_ports, state, revision_before, revision });
    }
    let (prepared, change) = enforced.build(change, &before, &state)?;
    enforced.add_up_hits(&before);
    let revision = transaction.commit(&state)?;
    enforced.settle(enforced.host.go_live(prepared, revision)?, &change);
    Ok(Changed { value, interrupted_ports, state, revision_before, revision })
}

/// The host as a command finds it, after whatever commands that were cut off left behind is gone.
pub(crate) struct Enforced {
    /// Its maps, and its lock.
    pub host: Host,
    /// The store's state is what is live.
    pub in_step: bool,
}

impl Enforced {
    /// Opens the host of a store; `None` where nothing is attached.
    ///
    /// # Errors
    /// `IncorrectState` where what is pinned there belongs to another store.
    pub fn open(ctx: &Context, snapshot: &Snapshot) -> Result<Option<Self>> {
        let Some(host) = Host::open(&ctx.bpffs)? else { return Ok(None) };
        claim(&host, snapshot.store_id)?;
        // Their ids alone: nothing else of most of them is needed.
        let known = BTreeSet::from_iter(snapshot.state.interfaces.keys_having(&InterfaceTerm::Attached));
        links::reap(&host, |eni| eni.parse().is_ok_and(|id| known.contains(&id)))?;
        if known.is_empty() {
            host.remove()?;
            return Ok(None);
        }
        let mut enforced = Self { in_step: host.cell(STATE_REVISION)? == snapshot.revision, host };
        if !enforced.in_step {
            // A command that makes the policy smaller must work where the kernel has no room for this one.
            match enforced.catch_up(snapshot) {
                Ok(()) => enforced.in_step = true,
                Err(error) => log::warn!("what the store says is not in force yet: {error:#}"),
            }
        } else if enforced.host.owes_sweep()? {
            enforced.host.sweep(&compile(&snapshot.state))?;
        }
        Ok(Some(enforced))
    }

    /// Puts in force what the store says.
    fn catch_up(&self, snapshot: &Snapshot) -> Result<()> {
        let change = Change::to(compile(&snapshot.state));
        self.settle(self.host.go_live(self.host.build_whole(&change)?, snapshot.revision)?, &change);
        Ok(())
    }

    /// What a change of the state comes to, in part where that can be told.
    fn change(&self, before: &State, after: &State) -> Result<Change> {
        if self.in_step
            && !self.host.wants_whole_change()?
            && let Some(part) = Change::part(before, after)
        {
            return Ok(part);
        }
        Ok(Change::between(compile(before), compile(after)))
    }

    /// Builds the next generation for it. Returns what it was built for, which is the whole where a part did not do.
    fn build(&self, change: Change, before: &State, after: &State) -> Result<(Prepared, Change)> {
        let change = self.known(change);
        match self.host.build(&change) {
            Ok(Some(prepared)) => return Ok((prepared, change)),
            Ok(None) => {}
            // What earlier changes in part left behind takes room until one of everything.
            Err(error) if change.scope == Scope::Part => log::debug!("everything is built anew: {error:#}"),
            Err(error) => return Err(error),
        }
        let change = Change::between(compile(before), compile(after));
        Ok((self.host.build_whole(&change)?, change))
    }

    /// Of a change from what the store had before, what is known here: a host that is out of step enforces something else.
    pub fn known(&self, change: Change) -> Change {
        if self.in_step { change } else { Change::to(change.after) }
    }

    /// Attributes what was counted to the rules that were in force.
    fn add_up_hits(&self, before: &State) {
        if let Err(error) = self.host.add_up_hits(before) {
            log::warn!("new flows since the last look are not counted as hits of rules: {error:#}");
        }
    }

    /// Cleans up behind a flip. The new policy is in force whatever becomes of this, and the next change tries again.
    pub fn settle(&self, in_force: InForce, change: &Change) {
        if let Err(error) = self.host.settle(&in_force, change) {
            log::warn!("the policy is in force; cleaning up behind the old one failed: {error:#}");
        }
    }
}

/// What a change releases: also what the store released before, where the kernel could not follow it yet.
pub(crate) fn released(enforced: Option<&Enforced>, before: &State, after: &State) -> BTreeMap<EniId, Lost> {
    match enforced.is_none_or(|enforced| enforced.in_step) {
        true => lost(before, after),
        false => still_lost(before, after),
    }
}

/// Makes sure that the host belongs to this store, and gives it one where it is new: interfaces that another store knows
/// must not be taken for left over.
pub(crate) fn claim(host: &Host, store_id: u64) -> Result<()> {
    match host.cell(STATE_STORE)? {
        0 => Ok(host.state.set(&STATE_STORE, &store_id)?),
        _ => check_store(host, store_id),
    }
}

/// Refuses a host of another store.
fn check_store(host: &Host, store_id: u64) -> Result<()> {
    match host.cell(STATE_STORE)? {
        owner if owner == store_id || owner == 0 => Ok(()),
        _ => {
            let message = format!(
                "what is pinned in {} belongs to another store; give the --state-dir that it was attached with, or \
                 another --bpffs",
                host.dir().display()
            );
            Err(Refusal::new("IncorrectState", message).into())
        }
    }
}

/// Tells whether an interface of that id is in the state, to be enforced on this host.
pub(crate) fn is_known(state: &State) -> impl Fn(&str) -> bool + use<> {
    let attached = state.interfaces.keys_having(&InterfaceTerm::Attached);
    move |eni| eni.parse().is_ok_and(|id: EniId| attached.binary_search(&id).is_ok())
}

/// The store's state, which is in force when this returns, as far as this user may see to it.
///
/// # Errors
/// Where the store cannot be read.
pub fn read(ctx: &Context) -> Result<State> {
    let snapshot = ctx.store.read()?;
    if is_in_step(ctx, &snapshot) {
        return Ok(snapshot.state);
    }
    match change(ctx, |_| Ok(())) {
        Ok(changed) => Ok(changed.state),
        Err(error) => {
            log::warn!("what the store says is not in force: {error:#}");
            Ok(snapshot.state)
        }
    }
}

/// The store's state where it is in force, or nothing is; takes no lock.
///
/// # Errors
/// Where the store cannot be read.
pub(crate) fn in_force(ctx: &Context) -> Result<Option<State>> {
    let snapshot = ctx.store.read()?;
    Ok(is_in_step(ctx, &snapshot).then_some(snapshot.state))
}

/// Looks at store and host as they are, while commands may be at work: nothing is locked or mended. `look` is called anew
/// where the store has changed before it was done, so that a slot is whose the store says.
///
/// # Errors
/// `IncorrectState` where what is pinned there belongs to another store; where store or host cannot be read; those of
/// `look`.
pub(crate) fn glance<T>(ctx: &Context, look: impl Fn(&Snapshot, Option<&Host>) -> Result<T>) -> Result<T> {
    /// Commands do not come this fast.
    const TRIES: usize = 5;
    let mut tries = 1;
    loop {
        let snapshot = ctx.store.read()?;
        let host = Host::glance(&ctx.bpffs)?;
        host.as_ref().map_or(Ok(()), |host| check_store(host, snapshot.store_id))?;
        let seen = look(&snapshot, host.as_ref());
        if tries == TRIES || ctx.store.revision()? == snapshot.revision {
            return seen;
        }
        tries += 1;
    }
}

/// The host with the store as it is for as long as the host is locked: no command comes between a commit and its flip, and
/// a slot stays whose it is. What a command that was cut off left behind is made up for before.
///
/// # Errors
/// `IncorrectState` where what is pinned there belongs to another store; where store or host cannot be read.
pub(crate) fn locked(ctx: &Context) -> Result<(Snapshot, Option<Host>)> {
    read(ctx)?;
    // The host before the store, which whoever changes it holds until its commit.
    let host = Host::open(&ctx.bpffs)?;
    let snapshot = ctx.store.read()?;
    if let Some(host) = &host {
        claim(host, snapshot.store_id)?;
    }
    Ok((snapshot, host))
}

/// Adds up the hits of rules, as every change does of its own accord. Returns the state, and every rule's hits.
///
/// # Errors
/// As for [`locked`].
pub(crate) fn add_up_hits(ctx: &Context) -> Result<(State, RuleHits)> {
    let (Snapshot { state, .. }, host) = locked(ctx)?;
    let Some(host) = host else { return Ok((state, RuleHits::new())) };
    host.add_up_hits(&state)?;
    let hits = host.rule_hits(&state)?;
    Ok((state, hits))
}

/// Whether what is live was compiled from this revision of the store, and the flow tables were swept for it. True where
/// nothing is live, or where that is not this user's to know. (A change by another command that is under way looks like one
/// that was cut off: who takes the write lock then finds out.)
fn is_in_step(ctx: &Context, snapshot: &Snapshot) -> bool {
    let Ok(state) = BpfMap::<u32, u64>::open(&ctx.bpffs.join("maps").join("STATE")) else { return true };
    let cell = |cell: u32| state.get(&cell).ok().flatten();
    let is_swept = || cell(STATE_SWEPT) == cell(STATE_WORD).map(generation_of);
    cell(STATE_REVISION).is_none_or(|revision| revision == snapshot.revision && is_swept())
}

/// The state as the next command would see it, the default VPC included.
///
/// # Errors
/// Where the store cannot be read.
pub fn view(ctx: &Context) -> Result<State> {
    let mut state = read(ctx)?;
    if ops::vpc::default_vpc(&state).is_some() {
        ops::peering::let_time_pass(&mut state, now());
        return Ok(state);
    }
    // The first use of a store makes its default VPC, so that its ids stay what they were shown as.
    Ok(change(ctx, |_| Ok(()))?.state)
}

/// Forgets of interfaces that observed (P-22) when that was: they enforce by now.
fn end_observations(state: &mut State, enforced: Option<&Enforced>) {
    for id in state.interfaces.keys_having(&InterfaceTerm::Observing) {
        let eni = state.interfaces.get_mut(&id);
        let Some(attachment) = eni.and_then(|eni| eni.attachment.as_mut()) else { continue };
        if !enforced.is_some_and(|enforced| enforced.host.observes(attachment)) {
            attachment.observe_until = None;
        }
    }
}

/// The state as a change would find it, without changing anything: what a change that is not to be made is tried on.
///
/// # Errors
/// Where the store cannot be read.
pub fn foresee(ctx: &Context) -> Result<State> {
    let mut state = ctx.store.read()?.state;
    prepare(&mut state);
    Ok(state)
}

/// Brings the state in step with the world: the default VPC is there, time has passed, addresses are those of now.
pub(crate) fn prepare(state: &mut State) {
    ops::ensure_default_vpc(state);
    ops::peering::let_time_pass(state, now());
    refresh_addresses(state);
}

/// Brings the addresses of attached interfaces in step with the kernel (P-17). Where the device is gone or is another by
/// now, nobody is a member by its addresses any more: somebody else may have them.
fn refresh_addresses(state: &mut State) {
    let places = state.interfaces.places();
    let mut by_namespace = BTreeMap::<_, Vec<&(EniId, Place)>>::new();
    for known in &places {
        by_namespace.entry((known.1.netns.as_deref(), known.1.namespace)).or_default().push(known);
    }
    for ((netns, inode), members) in by_namespace {
        for (id, addresses) in moved(netns, inode, &members) {
            if let Some(eni) = state.interfaces.get_mut(&id) {
                eni.addresses = addresses;
            }
        }
    }
}

/// The interfaces, attached in one namespace, that have other addresses than the state says, and these.
fn moved(netns: Option<&str>, inode: u64, members: &[&(EniId, Place)]) -> Vec<(EniId, Vec<IpAddr>)> {
    let devices = match netns::inode(netns) {
        Some(namespace) if namespace == inode => find(netns, members),
        // Another namespace goes by that name or path now, with a device that may have the same name and index.
        Some(_) if netns.is_some() => Some(BTreeMap::new()),
        // It is gone, and its devices with it.
        None if netns.is_some_and(|name| matches!(netns::path(name).try_exists(), Ok(false))) => {
            Some(BTreeMap::new())
        }
        // One that cannot be looked at is asked for, for what is wrong with it.
        None if netns.is_some() => find(netns, members),
        // Called from another namespace: what has its name here is not it.
        _ => None,
    };
    let Some(devices) = devices else { return Vec::new() };
    let others = members.iter().filter_map(|(id, place)| {
        let device = devices.get(place.name.as_str()).filter(|device| device.ifindex == place.ifindex);
        let addresses = device.map_or(&[][..], |device| &device.addresses);
        (addresses != place.addresses).then(|| (*id, addresses.to_vec()))
    });
    others.collect()
}

/// The devices of these interfaces, by name; `None` where the kernel does not tell.
fn find<'a>(netns: Option<&str>, members: &[&'a (EniId, Place)]) -> Option<BTreeMap<&'a str, Present>> {
    let names: Vec<&str> = members.iter().map(|(_, place)| place.name.as_str()).collect();
    let found = device::present(netns, &names);
    let warn = |error: &anyhow::Error| {
        log::warn!("the addresses of {} may be out of date: {error:#}", names.join(", "));
    };
    found.inspect_err(warn).ok()
}
