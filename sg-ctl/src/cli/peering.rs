//! `sg-ctl peering …`

use super::{Global, run::context, tell};
use crate::{
    error::Result,
    model::{PeeringId, PeeringStatus, State},
    ops, render,
    time::now,
    transact::{Changed, change, view},
};

/// Commands on peerings of VPCs.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Ask for a peering between two VPCs
    Create(Create),
    /// Accept a request, within seven days
    Accept(One),
    /// Refuse a request
    Reject(One),
    /// List peerings, those that ended lately too
    List,
    /// End a peering, or take a request back
    Delete(One),
}

/// `peering create`
#[derive(Debug, clap::Args)]
pub struct Create {
    /// The VPC that asks, by id or name
    #[arg(value_name = "V1")]
    requester: String,
    /// The VPC that is asked, by id or name
    #[arg(value_name = "V2")]
    accepter: String,
}

/// One peering.
#[derive(Debug, clap::Args)]
pub struct One {
    /// Id of the peering
    #[arg(value_name = "PCX")]
    id: String,
}

/// Runs the command and writes its answer.
pub fn run(global: &Global, command: &Command, out: &mut Vec<u8>) -> Result<()> {
    let ctx = context(global)?;
    let output = global.output;
    let step = |step: fn(&mut State, &str, u64) -> Result<PeeringId>, typed: &One| {
        change(&ctx, |state| step(state, &typed.id, now()))
    };
    match command {
        Command::Create(typed) => {
            let Changed { value: created, state, .. } =
                change(&ctx, |state| ops::peering::create(state, &typed.requester, &typed.accepter, now()))?;
            if created.status == PeeringStatus::Failed {
                tell(
                    "warning",
                    "the blocks of the two VPCs overlap: the peering has failed, and nothing can become of it",
                );
            }
            render::peering_created(out, output, &state, created.id)?;
        }
        Command::Accept(typed) => {
            let accepted = step(ops::peering::accept, typed)?;
            render::peering_accepted(out, output, &accepted.state, accepted.value)?;
        }
        Command::Reject(typed) => {
            render::peering_ended(out, output, "rejected", step(ops::peering::reject, typed)?.value)?;
        }
        Command::List => {
            let state = view(&ctx)?;
            render::peerings(out, output, &state, &ops::peering::list(&state))?;
        }
        Command::Delete(typed) => {
            render::peering_ended(out, output, "deleted", step(ops::peering::delete, typed)?.value)?;
        }
    }
    Ok(())
}
