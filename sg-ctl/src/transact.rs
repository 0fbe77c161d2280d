//! One transaction over store and kernel: refused means unchanged in both.
//!
//! The next generation is built beside the live one; then the store commits; then one word is flipped, which cannot
//! reasonably fail. A crash in between leaves the store ahead of the kernel, which the revision in the kernel tells,
//! and the next command that changes anything puts the store's state in force.

use crate::{
    compile::{Image, compile},
    context::Context,
    device,
    error::Result,
    kernel::{Host, links},
    model::{Side, State},
    ops,
};
use sg_common::policy::STATE_REVISION;

/// What a change came to.
pub struct Changed<T> {
    /// What the operation returned.
    pub value: T,
    /// Ports of TCP and UDP that were untracked before and are not any more.
    pub interrupted_ports: u32,
    /// The state that is in force now.
    pub state: State,
}

/// Runs `op` on the state and makes store and kernel agree with what it made of it, or changes nothing. Returns once
/// every attached interface is judged by the new state.
///
/// # Errors
/// What `op` refuses, and what store or kernel refuse.
pub fn change<T>(ctx: &Context, op: impl FnOnce(&mut State) -> Result<T>) -> Result<Changed<T>> {
    let transaction = ctx.store.begin()?;
    let (before, revision) = (transaction.snapshot().state.clone(), transaction.snapshot().revision);
    let mut state = before.clone();
    ops::ensure_default_vpc(&mut state);
    refresh_addresses(&mut state);
    let value = op(&mut state)?;

    let (old, new) = (compile(&before), compile(&state));
    let interrupted_ports = old.interrupted_ports(&new);
    match Host::open(&ctx.bpffs)? {
        None => drop(transaction.commit(&state)?),
        Some(host) => {
            links::reap(&host, |eni| is_known(&before, eni))?;
            let in_step = host.cell(STATE_REVISION)? == revision;
            if in_step && host.owes_sweep()? {
                host.sweep(&old)?;
            }
            if in_step && old == new {
                let revision = transaction.commit(&state)?;
                host.state.set(&STATE_REVISION, &revision)?;
            } else {
                let prepared = host.build(&new)?;
                let revision = transaction.commit(&state)?;
                host.go_live(prepared, revision)?;
                settle(&host, &old, &new);
            }
        }
    }
    Ok(Changed { value, interrupted_ports, state })
}

/// Cleans up behind a flip. The new policy is in force whatever becomes of this, and the next change tries again.
pub(crate) fn settle(host: &Host, old: &Image, new: &Image) {
    if let Err(error) = host.settle(old, new) {
        log::warn!("the policy is in force; cleaning up behind the old one failed: {error:#}");
    }
}

/// Whether an interface of that id is in the state.
pub(crate) fn is_known(state: &State, eni: &str) -> bool {
    eni.parse().is_ok_and(|id| state.interfaces.contains_key(&id))
}

/// The state as the next command would see it, the default VPC included.
///
/// # Errors
/// Where the store cannot be read.
pub fn view(ctx: &Context) -> Result<State> {
    let snapshot = ctx.store.read()?;
    if ops::vpc::default_vpc(&snapshot.state).is_some() {
        return Ok(snapshot.state);
    }
    // The first use of a store makes its default VPC, so that its ids stay what they were shown as.
    Ok(change(ctx, |_| Ok(()))?.state)
}

/// Brings the addresses of attached interfaces in step with the kernel (P-17). A device that is not there now keeps
/// those it had: it may come back.
fn refresh_addresses(state: &mut State) {
    for eni in state.interfaces.values_mut().filter(|eni| eni.attachment.side == Side::Host) {
        match device::find(eni.netns.as_deref(), &eni.name) {
            Ok(Some(device)) if device.ifindex == eni.attachment.ifindex => eni.addresses = device.addresses,
            Ok(_) => {}
            Err(error) => log::warn!("the addresses of {} may be out of date: {error:#}", eni.name),
        }
    }
}
