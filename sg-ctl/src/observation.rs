//! A guest's connections (P-22): its interface observes for some seconds before it enforces, and the datapath adopts
//! the TCP connections that it sees in use. The datapath knows when to begin to enforce; no process need live to see it.

use crate::{
    adopt::{self, Adopted},
    compile::{Change, compile},
    context::Context,
    error::{Refusal, Result},
    kernel::Host,
    model::{Attachment, EniId, State},
    transact::{Enforced, change},
};
use anyhow::Context as _;
use sg_common::{limits::OBSERVE_SECONDS, policy::REVISION_NONE};
use std::{thread, time::Duration};

/// Lets an interface observe from now on, whose programs are about to go live: the policy in force says until when.
///
/// # Errors
/// Where the kernel refuses.
pub(crate) fn begin(enforced: &Enforced, state: &mut State, id: EniId) -> Result<()> {
    let before = compile(state);
    let clock = enforced.host.clock()?;
    let attachment = attachment(state, id)?;
    attachment.observe_until = Some(clock.now + u64::from(OBSERVE_SECONDS) * clock.hz);
    // By now the host enforces what `before` says, whatever it was found to enforce.
    let change = Change::between(before, compile(state));
    let prepared = enforced.host.build_whole(&change)?;
    enforced.settle(enforced.host.go_live(prepared, REVISION_NONE)?, &change);
    Ok(())
}

/// Waits until the interface enforces, holding no lock. Returns what it adopted until then.
///
/// # Errors
/// `IncorrectState` where another command detached it meanwhile; where store or kernel cannot be read.
pub fn wait(ctx: &Context, id: EniId, until: u64) -> Result<Vec<Adopted>> {
    while let Some(left) = left(ctx, until)? {
        thread::sleep(left);
    }
    // Whatever changes the state drops what is over of observations.
    let slot = change(ctx, |state| {
        let message = format!("{id} was detached by another command while it was being attached");
        Ok(attachment(state, id).map_err(|_| Refusal::new("IncorrectState", message))?.slot)
    })?;
    let host = Host::open(&ctx.bpffs)?.context("the interface is attached and the host has no datapath")?;
    adopt::observed(&host, slot.value)
}

/// Time until that moment; `None` where it has come, or nothing is attached any more.
fn left(ctx: &Context, until: u64) -> Result<Option<Duration>> {
    let Some(host) = Host::open(&ctx.bpffs)? else { return Ok(None) };
    let clock = host.clock()?;
    let jiffies = until.saturating_sub(clock.now);
    Ok((jiffies > 0).then(|| Duration::from_millis((jiffies * 1_000).div_ceil(clock.hz))))
}

fn attachment(state: &mut State, id: EniId) -> Result<&mut Attachment> {
    let attachment = state.interfaces.get_mut(&id).and_then(|eni| eni.attachment.as_mut());
    attachment.context("the interface is not attached")
}
