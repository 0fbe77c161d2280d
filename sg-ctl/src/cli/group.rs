//! `sg-ctl group …`

use super::{Global, run::context};
use crate::{
    error::Result,
    model::GroupId,
    ops::{self, filter::Filters},
    render::{self, Output},
    transact::{Changed, change, view},
};
use anyhow::Context as _;

/// Commands on groups.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a group: no inbound rule, all outbound
    Create(Create),
    /// List groups
    List(List),
    /// Show one group with its rules
    Show(Named),
    /// Delete a group that nothing uses
    Delete(Named),
    /// Make a group with the rules of another
    Copy(Copy),
}

/// `group create`
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Name, unique in the VPC without regard to case
    name: String,
    /// What the group is for
    #[arg(long, value_name = "TEXT")]
    description: String,
    /// VPC to make it in [default: the default VPC]
    #[arg(long, value_name = "V")]
    vpc: Option<String>,
    /// Tag of the group; may be repeated
    #[arg(long = "tag", value_name = "K=V")]
    tags: Vec<String>,
}

impl From<&Create> for ops::group::Create {
    fn from(typed: &Create) -> Self {
        Self {
            name: typed.name.clone(),
            description: typed.description.clone(),
            vpc: typed.vpc.clone(),
            tags: typed.tags.clone(),
        }
    }
}

/// `group list`
#[derive(Debug, clap::Args)]
pub struct List {
    /// Groups of this VPC only
    #[arg(long, value_name = "V")]
    vpc: Option<String>,
    /// EC2's filters, such as group-name, tag:KEY, ip-permission.cidr; several values with commas, * and ? stand for
    /// any text
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

/// `group copy`
#[derive(Debug, clap::Args)]
pub struct Copy {
    /// Id or name of the group to copy
    #[arg(value_name = "G")]
    group: String,
    /// Name of the copy
    #[arg(value_name = "NEW-NAME")]
    name: String,
    /// What the copy is for [default: what the group is for]
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// VPC to make it in [default: the group's]
    #[arg(long, value_name = "V")]
    vpc: Option<String>,
}

impl From<&Copy> for ops::copy::Copy {
    fn from(typed: &Copy) -> Self {
        Self {
            group: typed.group.clone(),
            name: typed.name.clone(),
            description: typed.description.clone(),
            vpc: typed.vpc.clone(),
        }
    }
}

/// One group.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// Id or name of the group
    #[arg(value_name = "G")]
    pub group: String,
}

/// Runs one of them.
pub fn run(global: &Global, command: &Command, out: &mut Vec<u8>) -> Result<()> {
    let ctx = context(global)?;
    let output = global.output;
    match command {
        Command::Create(typed) => {
            let made = change(&ctx, |state| ops::group::create(state, &typed.into()))?;
            print_made(out, output, &made)?;
        }
        Command::List(typed) => {
            let filters = Filters::read(&typed.filters)?;
            let state = view(&ctx)?;
            let ids = ops::group::list(&state, typed.vpc.as_deref())?;
            let ids = ops::group_filter::groups(&state, ids, &filters);
            render::groups(out, output, &state, &ids)?;
        }
        Command::Show(typed) => {
            let state = view(&ctx)?;
            let id = ops::group::find_in_default_vpc(&state, &typed.group)?;
            render::group_shown(out, output, &state, id)?;
        }
        Command::Delete(typed) => {
            let deleted = change(&ctx, |state| ops::group::delete(state, &typed.group))?;
            render::group_deleted(out, output, deleted.value)?;
        }
        Command::Copy(typed) => {
            let made = change(&ctx, |state| ops::copy::copy(state, &typed.into()))?;
            print_made(out, output, &made)?;
        }
    }
    Ok(())
}

fn print_made(out: &mut Vec<u8>, output: Output, made: &Changed<GroupId>) -> Result<()> {
    let id = made.value;
    let group = made.state.groups.get(&id).with_context(|| format!("{id} is made and not in the state"))?;
    Ok(render::group_created(out, output, group)?)
}
