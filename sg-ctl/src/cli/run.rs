//! From what was typed to what is done: one arm a command.

use super::{
    Cli, Command, Global, datapath, document, explain, group, interface, monitor, peering, prefix_list,
    quota, rule, stale, tag, tell, top, vpc, watch,
};
use crate::{
    adopt, agent, attach,
    context::Context,
    error::Result,
    netns, observe,
    render::{self, Output},
    store,
};
use anyhow::Context as _;

/// Runs the command and writes its answer.
pub fn run(cli: &Cli, out: &mut Vec<u8>) -> Result<()> {
    let output = cli.global.output;
    match &cli.command {
        Command::Attach(typed) => {
            let ctx = context(&cli.global)?;
            let attached = attach::attach(&ctx, &typed.into())?;
            if output == Output::Table {
                adopt::lines(&attached.adopted).iter().for_each(|line| tell("note", line));
            }
            attached.notes.iter().for_each(|note| tell("note", note));
            let status = observe::status(&ctx)?;
            let id = attached.eni.to_string();
            let entry = status.interfaces.iter().find(|interface| interface.eni_id == id);
            let entry = entry.with_context(|| format!("{id} is attached and not in the status"))?;
            render::attached(out, output, entry, &attached.adopted)?;
        }
        Command::Detach(typed) => {
            let ctx = context(&cli.global)?;
            let id = attach::detach(&ctx, &typed.name)?;
            render::detached(out, output, &typed.name, id)?;
        }
        Command::Status => {
            render::status(out, output, &observe::status(&context(&cli.global)?)?)?;
        }
        Command::Group(command) => group::run(&cli.global, command, out)?,
        Command::Rule(command) => rule::run(&cli.global, command, out)?,
        Command::PrefixList(command) => prefix_list::run(&cli.global, command, out)?,
        Command::Tag(typed) => tag::tag(&cli.global, typed, out)?,
        Command::Untag(typed) => tag::untag(&cli.global, typed, out)?,
        Command::Interface(command) => interface::run(&cli.global, command, out)?,
        Command::Vpc(command) => vpc::run(&cli.global, command, out)?,
        Command::Peering(command) => peering::run(&cli.global, command, out)?,
        Command::Stale(typed) => stale::run_stale(&cli.global, typed, out)?,
        Command::References(typed) => stale::run_references(&cli.global, typed, out)?,
        Command::Quota(typed) => quota::run(&cli.global, typed, out)?,
        Command::Export(typed) => document::export(&cli.global, typed, out)?,
        Command::Apply(typed) => document::apply(&cli.global, typed, out)?,
        Command::Schema => out.extend(crate::document::schema()?.into_bytes()),
        Command::Counters(typed) => {
            let ctx = context(&cli.global)?;
            let interface = typed.interface.as_deref();
            if typed.watch {
                // Also brings store and kernel in step, as every command does that looks.
                observe::counters(&ctx, interface, typed.reset)?;
                watch::counters(&ctx, interface, output)?;
            } else {
                render::counters(out, output, &observe::counters(&ctx, interface, typed.reset)?)?;
            }
        }
        Command::Explain(typed) => explain::run(&cli.global, typed, out)?,
        Command::Conntrack(datapath::Conntrack::List(typed)) => {
            let filter = typed.filter()?;
            render::flows(out, output, &observe::conntrack(&context(&cli.global)?, &filter)?)?;
        }
        Command::Conntrack(datapath::Conntrack::Stats) => {
            render::conntrack_stats(out, output, &observe::stats(&context(&cli.global)?)?)?;
        }
        Command::Conntrack(datapath::Conntrack::Flush(typed)) => {
            let filter = typed.filter()?;
            render::flushed(out, output, observe::flush(&context(&cli.global)?, &filter)?)?;
        }
        Command::Monitor(typed) => monitor::run(&cli.global, typed)?,
        Command::Trace(typed) => monitor::run_trace(&cli.global, typed)?,
        Command::Top(typed) => top::run(&cli.global, typed)?,
        Command::Completions(typed) => typed.write(out),
        Command::Man(typed) => typed.write(out, output)?,
        Command::Agent(typed) => {
            let options =
                agent::Options { state_dir: &cli.global.state_dir, metrics: typed.metrics.as_deref() };
            agent::run(context(&cli.global)?, &options)?;
        }
    }
    Ok(())
}

/// Opens the store and enters the namespace. What is set to nothing in the environment is not set.
pub(super) fn context(global: &Global) -> Result<Context> {
    let store = store::open(global.store.as_deref().filter(|url| !url.is_empty()), &global.state_dir)?;
    let netns = global.netns.clone().filter(|netns| !netns.is_empty());
    if let Some(netns) = &netns {
        netns::enter(netns)?;
    }
    Ok(Context { store, bpffs: global.bpffs.clone(), netns })
}
