//! `sg-ctl explain`: what would become of a packet that starts a flow, and why.
//!
//! The verdict is that of the kernel's own program, which judges the packet aside ([`crate::kernel::judge`]); the rules
//! behind it and what they hold up are the compiler's ([`crate::compile::attribute`]).

mod frame;
mod question;

pub use frame::build as build_frame;
pub use question::Question;

use crate::{
    compile::{Attribution, Family, Start, Tracking, attribute},
    context::Context,
    error::{Refusal, Result},
    kernel::{self, links},
    model::{Attachment, Interface, State},
    ops, transact,
};
use sg_common::{
    policy::STATE_REVISION,
    reason::{Drop, Pass, Verdict},
};
use std::net::IpAddr;

/// The answer.
#[derive(Debug)]
pub struct Explanation {
    /// Device name.
    pub interface: String,
    /// The interface's end.
    pub local: IpAddr,
    /// The packet.
    pub start: Start,
    /// What the kernel's program says.
    pub verdict: Verdict,
    /// What the rules say; `None` where the program decided before it came to them.
    pub attribution: Option<Attribution>,
    /// The state whose rules those are.
    pub state: State,
    /// What the user should know of how the question was read.
    pub warning: Option<String>,
}

/// Asks. Nothing of the host changes: neither policy nor flows nor counters.
///
/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`; `IncorrectState` where the interface is not enforced here; what names no packet.
pub fn explain(ctx: &Context, question: &Question) -> Result<Explanation> {
    let (start, warning) = question.start()?;
    let (snapshot, host) = transact::locked(ctx)?;
    let state = snapshot.state;
    let id = ops::interface::find(&state, ctx.netns.as_deref(), &question.interface)?;
    let Some(eni) = state.interfaces.get(&id) else { anyhow::bail!("{id} was just found and is gone") };
    let how = attachment(eni)?;
    let host =
        host.filter(|host| links::is_attached(host, id, how.ifindex)).ok_or_else(|| not_enforced(eni))?;
    if host.cell(STATE_REVISION)? != snapshot.revision {
        let message = "what is enforced is not what the store says, and cannot be brought in step; run again with -v, \
                       which says why";
        return Err(Refusal::new("IncorrectState", message).into());
    }
    let local = local_address(eni, &start)?;
    let verdict = kernel::judge(&host, how, start.direction, &build_frame(&start, local, how.mac)?)?;
    let attribution = asks_rules(verdict).then(|| attribute(&state, eni, &how.options, &start));
    if let Some(attribution) = &attribution
        && !agrees(verdict, attribution)
    {
        anyhow::bail!("the kernel's program says {verdict:?} where the rules say {attribution:?}");
    }
    let (interface, local) = (eni.name.clone(), local);
    Ok(Explanation { interface, local, start, verdict, attribution, state, warning })
}

fn attachment(eni: &Interface) -> Result<&Attachment> {
    eni.attachment.as_ref().ok_or_else(|| {
        let message = format!(
            "{} is registered as a member only; explain its packets on the host that enforces it",
            eni.name
        );
        Refusal::new("IncorrectState", message).into()
    })
}

fn not_enforced(eni: &Interface) -> Refusal {
    let message = format!(
        "{} is not enforced at the moment, so that nothing judges its packets; see `sg-ctl status`, and attach it again",
        eni.name
    );
    Refusal::new("IncorrectState", message)
}

/// The interface's end of the packet: the first address of the far end's family.
fn local_address(eni: &Interface, start: &Start) -> Result<IpAddr> {
    let (family, version) = match Family::of(&start.remote) {
        Family::V4 => (Family::V4, 4),
        Family::V6 => (Family::V6, 6),
    };
    eni.addresses.iter().copied().find(|address| Family::of(address) == family).ok_or_else(|| {
        let message = format!(
            "{} has no IPv{version} address that a packet from or to {} could have; addresses are read when something \
             changes, those of guests are given to attach with --address",
            eni.name, start.remote
        );
        Refusal::new("InvalidParameterCombination", message).into()
    })
}

/// Whether a verdict on a packet that starts a flow comes from the rules; else a stage before them decided.
#[must_use]
pub fn asks_rules(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Pass(Pass::New | Pass::Stateless | Pass::Untracked) | Verdict::Drop(Drop::NoRule)
    )
}

/// Whether the rules say what the kernel's program says.
#[must_use]
pub fn agrees(verdict: Verdict, attribution: &Attribution) -> bool {
    let tracking = match verdict {
        Verdict::Pass(Pass::New) => Some(Tracking::Tracked),
        Verdict::Pass(Pass::Untracked) => Some(Tracking::Untracked),
        Verdict::Pass(Pass::Stateless) => Some(Tracking::Stateless),
        Verdict::Pass(_) | Verdict::Drop(_) => None,
    };
    tracking == attribution.admits().then_some(attribution.tracking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_enforced_elsewhere_is_explained_there() {
        let mut state = State::default();
        ops::ensure_default_vpc(&mut state);
        let id = ops::interface::tests::attached(&mut state, "far", None);
        let eni = state.interfaces.get_mut(&id).unwrap();
        eni.attachment = None;
        let refused = ops::testing::refused(attachment(eni));
        assert!(refused.starts_with("IncorrectState: far is registered as a member only"), "{refused}");
    }
}
