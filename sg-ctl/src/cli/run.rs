//! From what was typed to what is done: one arm a command.

use super::{Cli, Command, Global, datapath, group, interface, rule, tell};
use crate::{
    attach,
    context::Context,
    error::Result,
    netns, observe, ops, render, store,
    transact::{Changed, change, view},
};
use anyhow::Context as _;

/// Runs the command and writes its answer.
pub fn run(cli: &Cli, out: &mut Vec<u8>) -> Result<()> {
    let output = cli.global.output;
    match &cli.command {
        Command::Attach(typed) => {
            let ctx = context(&cli.global)?;
            let attached = attach::attach(&ctx, &typed.into())?;
            attached.notes.iter().for_each(|note| tell("note", note));
            let status = observe::status(&ctx)?;
            let id = attached.eni.to_string();
            let entry = status.interfaces.iter().find(|interface| interface.eni_id == id);
            let entry = entry.with_context(|| format!("{id} is attached and not in the status"))?;
            render::attached(out, output, entry)?;
        }
        Command::Detach(typed) => {
            let ctx = context(&cli.global)?;
            let id = attach::detach(&ctx, &typed.name)?;
            render::detached(out, output, &typed.name, id)?;
        }
        Command::Status => {
            render::status(out, output, &observe::status(&context(&cli.global)?)?)?;
        }
        Command::Group(command) => run_group(&cli.global, command, out)?,
        Command::Rule(command) => run_rule(&cli.global, command, out)?,
        Command::Interface(command) => run_interface(&cli.global, command, out)?,
        Command::Counters(typed) => {
            let ctx = context(&cli.global)?;
            render::counters(out, output, &observe::counters(&ctx, typed.interface.as_deref())?)?;
        }
        Command::Conntrack(datapath::Conntrack::List(typed)) => {
            let filter = typed.filter()?;
            render::flows(out, output, &observe::conntrack(&context(&cli.global)?, &filter)?)?;
        }
    }
    Ok(())
}

fn run_group(global: &Global, command: &group::Command, out: &mut Vec<u8>) -> Result<()> {
    let ctx = context(global)?;
    let output = global.output;
    match command {
        group::Command::Create(typed) => {
            let Changed { value: id, state, .. } =
                change(&ctx, |state| ops::group::create(state, &typed.into()))?;
            let created =
                state.groups.get(&id).with_context(|| format!("{id} is made and not in the state"))?;
            render::group_created(out, output, created)?;
        }
        group::Command::List(typed) => {
            let state = view(&ctx)?;
            let ids = ops::group::list(&state, typed.vpc.as_deref())?;
            render::groups(out, output, &state, &ids)?;
        }
        group::Command::Show(typed) => {
            let state = view(&ctx)?;
            let id = ops::group::find_in_default_vpc(&state, &typed.group)?;
            render::group_shown(out, output, &state, id)?;
        }
        group::Command::Delete(typed) => {
            let deleted = change(&ctx, |state| ops::group::delete(state, &typed.group))?;
            render::group_deleted(out, output, deleted.value)?;
        }
    }
    Ok(())
}

fn run_rule(global: &Global, command: &rule::Command, out: &mut Vec<u8>) -> Result<()> {
    let output = global.output;
    match command {
        rule::Command::Add(typed) => {
            let content = typed.content();
            let ctx = context(global)?;
            let Changed { value: added, state, .. } =
                change(&ctx, |state| ops::rule::add(state, &typed.group, &content))?;
            added.warnings.iter().for_each(|warning| tell("warning", warning));
            render::rules_added(out, output, &state, &added.rules)?;
        }
        rule::Command::List(typed) => {
            let state = view(&context(global)?)?;
            let ids = ops::rule::list(&state, typed.group.as_deref())?;
            render::rules(out, output, &state, &ids)?;
        }
        rule::Command::Remove(typed) => {
            let which = typed.which()?;
            let ctx = context(global)?;
            let removed = change(&ctx, |state| ops::rule::remove(state, &typed.group, &which))?;
            render::rules_removed(out, output, &removed.value, removed.interrupted_ports)?;
        }
    }
    Ok(())
}

fn run_interface(global: &Global, command: &interface::Command, out: &mut Vec<u8>) -> Result<()> {
    let ctx = context(global)?;
    let output = global.output;
    let netns = ctx.netns.as_deref();
    match command {
        interface::Command::List => {
            let state = view(&ctx)?;
            render::interfaces(out, output, &state, &ops::interface::list(&state))?;
        }
        interface::Command::Show(typed) => {
            let state = view(&ctx)?;
            let id = ops::interface::find(&state, netns, &typed.interface)?;
            render::interfaces(out, output, &state, &[id])?;
        }
        interface::Command::SetGroups(typed) => {
            let Changed { value: id, state, .. } = change(&ctx, |state| {
                ops::interface::set_groups(state, netns, &typed.interface, &typed.groups)
            })?;
            render::interfaces(out, output, &state, &[id])?;
        }
        interface::Command::SetTimeouts(typed) => {
            let Changed { value: id, state, .. } = change(&ctx, |state| {
                ops::interface::set_timeouts(state, netns, &typed.interface, &typed.into())
            })?;
            render::interfaces(out, output, &state, &[id])?;
        }
    }
    Ok(())
}

/// Opens the store and enters the namespace. What is set to nothing in the environment is not set.
fn context(global: &Global) -> Result<Context> {
    let store = store::open(global.store.as_deref().filter(|url| !url.is_empty()), &global.state_dir)?;
    let netns = global.netns.clone().filter(|netns| !netns.is_empty());
    if let Some(netns) = &netns {
        netns::enter(netns)?;
    }
    Ok(Context { store, bpffs: global.bpffs.clone(), netns })
}
