//! `sg-ctl quota`

use super::{Global, run::context};
use crate::{
    error::Result,
    ops, render,
    transact::{change, view},
};

/// `quota`
#[derive(Debug, clap::Args)]
pub struct Quota {
    /// Quotas to set, all or none [default: show them]
    #[arg(value_name = "NAME=VALUE")]
    given: Vec<String>,
}

/// Sets what is given, and shows what is in force.
pub fn run(global: &Global, typed: &Quota, out: &mut Vec<u8>) -> Result<()> {
    let ctx = context(global)?;
    let state = match typed.given.is_empty() {
        true => view(&ctx)?,
        false => change(&ctx, |state| ops::quota::set(state, &typed.given))?.state,
    };
    render::quotas(out, global.output, &state.quotas)?;
    Ok(())
}
