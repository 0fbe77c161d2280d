//! `sg-ctl stale`, `sg-ctl references`

use super::{Global, run::context};
use crate::{error::Result, ops, render, transact::view};

/// `stale`
#[derive(Debug, clap::Args)]
pub struct Stale {
    /// Groups of this VPC only
    #[arg(long, value_name = "V")]
    vpc: Option<String>,
}

/// `references`
#[derive(Debug, clap::Args)]
pub struct References {
    /// Id or name of the group
    #[arg(value_name = "G")]
    group: String,
}

/// Shows the groups that have stale rules.
pub fn run_stale(global: &Global, typed: &Stale, out: &mut Vec<u8>) -> Result<()> {
    let state = view(&context(global)?)?;
    let groups = ops::stale::stale(&state, typed.vpc.as_deref())?;
    render::stale_groups(out, global.output, &state, &groups)?;
    Ok(())
}

/// Shows who names a group.
pub fn run_references(global: &Global, typed: &References, out: &mut Vec<u8>) -> Result<()> {
    let state = view(&context(global)?)?;
    let references = ops::stale::references(&state, &typed.group)?;
    render::references(out, global.output, &state, &references)?;
    Ok(())
}
