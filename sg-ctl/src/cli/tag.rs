//! `sg-ctl tag`, `sg-ctl untag`

use super::{Global, run::context};
use crate::{error::Result, ops, render, transact::change};

/// `tag`
#[derive(Debug, clap::Args)]
pub struct Tag {
    /// Id of a group, rule, VPC, prefix list, peering or interface
    #[arg(value_name = "ID")]
    id: String,
    /// Tags; one that is there gets the new value
    #[arg(value_name = "K=V", required = true)]
    tags: Vec<String>,
}

/// `untag`
#[derive(Debug, clap::Args)]
pub struct Untag {
    /// Id of a group, rule, VPC, prefix list, peering or interface
    #[arg(value_name = "ID")]
    id: String,
    /// Keys of the tags to take away
    #[arg(value_name = "K", required = true)]
    keys: Vec<String>,
}

/// Runs `tag`.
pub fn tag(global: &Global, typed: &Tag, out: &mut Vec<u8>) -> Result<()> {
    change(&context(global)?, |state| ops::tag::set(state, &typed.id, &typed.tags))?;
    Ok(render::done(out, global.output, "tagged", &typed.id)?)
}

/// Runs `untag`.
pub fn untag(global: &Global, typed: &Untag, out: &mut Vec<u8>) -> Result<()> {
    change(&context(global)?, |state| ops::tag::remove(state, &typed.id, &typed.keys))?;
    Ok(render::done(out, global.output, "untagged", &typed.id)?)
}
