//! `sg-ctl group …`

use super::{Global, run::context};
use crate::{
    error::Result,
    model::{GroupId, State},
    ops::{
        self,
        filter::Filters,
        recipe::{self, Given},
        recipes::RECIPES,
    },
    render::{self, Output},
    transact::{Changed, change, view},
};
use anyhow::Context as _;
use clap::builder::{PossibleValue, PossibleValuesParser};
use std::{env, net::IpAddr};

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
    /// With the rules of a role in EC2's rule reference (docs/recipes.md)
    #[arg(long, value_name = "R", value_parser = recipe_names())]
    recipe: Option<String>,
    /// Who connects, for a recipe: a CIDR, a prefix list by id, or a group; may be repeated
    #[arg(long = "from", value_name = "CIDR|PL|G", requires = "recipe")]
    from: Vec<String>,
    /// Who is connected to, for a recipe: a CIDR, a prefix list by id, or a group; may be repeated
    #[arg(long = "to", value_name = "CIDR|PL|G", requires = "recipe")]
    to: Vec<String>,
    /// Port of a load balancer's listener, for a recipe [default: 80]; may be repeated
    // Hyphens, so that `-1` gets EC2's refusal.
    #[arg(long = "port", value_name = "N", requires = "recipe", allow_hyphen_values = true)]
    ports: Vec<String>,
}

/// The recipes there are, each with what it is for.
fn recipe_names() -> PossibleValuesParser {
    PossibleValuesParser::new(RECIPES.iter().map(|recipe| PossibleValue::new(recipe.name).help(recipe.about)))
}

impl Create {
    /// Makes the group that was typed. `here` is the address that this session comes from.
    pub fn make(&self, state: &mut State, here: Option<IpAddr>) -> Result<GroupId> {
        let Some(recipe) = &self.recipe else { return ops::group::create(state, &self.into()) };
        let given = Given {
            recipe: recipe.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            ports: self.ports.clone(),
            here,
        };
        ops::recipe::create(state, &self.into(), &given)
    }
}

/// The address that this session comes from, as sshd tells its children.
fn here() -> Option<IpAddr> {
    ["SSH_CONNECTION", "SSH_CLIENT"].iter().find_map(|name| recipe::far_end(&env::var(name).ok()?))
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
            let made = change(&ctx, |state| typed.make(state, here()))?;
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
