//! `sg-ctl vpc …`

use super::{Global, run::context};
use crate::{
    error::Result,
    ops, render,
    time::now,
    transact::{Changed, change, view},
};
use anyhow::Context as _;

/// Commands on VPCs.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a VPC with its group 'default'
    Create(Create),
    /// List VPCs
    List,
    /// Delete a VPC that has neither interfaces nor groups beside 'default'
    Delete(Named),
}

/// `vpc create`
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Name, kept as the tag 'Name'
    name: String,
    /// Address block, IPv4 (/16 to /28) or IPv6; may be repeated [default: none, both families]
    #[arg(long = "cidr", value_name = "C")]
    cidrs: Vec<String>,
}

/// One VPC.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// Id or name of the VPC
    #[arg(value_name = "V")]
    vpc: String,
}

/// Runs the command and writes its answer.
pub fn run(global: &Global, command: &Command, out: &mut Vec<u8>) -> Result<()> {
    let ctx = context(global)?;
    let output = global.output;
    match command {
        Command::Create(typed) => {
            let Changed { value: id, state, .. } =
                change(&ctx, |state| ops::vpc::create(state, &typed.name, &typed.cidrs))?;
            let created =
                state.vpcs.get(&id).with_context(|| format!("{id} is made and not in the state"))?;
            render::vpc_created(out, output, created)?;
        }
        Command::List => {
            let state = view(&ctx)?;
            render::vpcs(out, output, &state, &ops::vpc::list(&state))?;
        }
        Command::Delete(typed) => {
            let deleted = change(&ctx, |state| ops::vpc::delete(state, &typed.vpc, now()))?;
            render::vpc_deleted(out, output, deleted.value)?;
        }
    }
    Ok(())
}
