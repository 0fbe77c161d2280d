//! `sg-ctl rule …`

use super::{Global, run::context, tell, usage};
use crate::{
    context::Context,
    error::Result,
    model::{Direction, Rule, RuleId, State},
    observe,
    ops::{
        self,
        filter::Filters,
        modify::Changes,
        rule::{Content, Which},
    },
    render::{self, Closed},
    time::{now, rfc3339},
    transact::{Changed, change, view},
    usage::{RECENT, Usage, nobody_looked},
};
use clap::{ValueEnum as _, error::ErrorKind};
use std::time::Duration;

/// Commands on rules.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Add one rule for each source, all or none
    Add(Add),
    /// List rules
    List(List),
    /// Remove rules by their ids or by what they say
    Remove(Remove),
    /// Change a rule in place; what is not given keeps its value
    Modify(Modify),
    /// Change what a rule is for, in words
    Describe(Describe),
}

/// `rule add`
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("peer").required(true).multiple(true).args(["cidrs", "prefix_lists", "source_groups"])))]
pub struct Add {
    /// Id or name of the group
    #[arg(value_name = "G")]
    pub group: String,
    /// Inbound or outbound
    #[arg(value_enum)]
    direction: Direction,
    /// tcp, udp, icmp, icmpv6, all (or -1), or a number 0-255
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    protocol: String,
    #[command(flatten)]
    flags: Flags,
}

impl Add {
    /// The rules to add.
    pub fn content(&self) -> Content {
        self.flags.content(self.direction, &self.protocol)
    }
}

/// Flags that say what a rule says, beside its protocol.
#[derive(Debug, clap::Args)]
struct Flags {
    /// Port or range, for tcp and udp
    // Hyphens, so that `-1` gets EC2's refusal.
    #[arg(long, value_name = "N|N-M", allow_hyphen_values = true)]
    port: Option<String>,
    /// ICMP type, -1 for all [default: all]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    icmp_type: Option<String>,
    /// ICMP code, -1 for all [default: all]
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    icmp_code: Option<String>,
    /// Source (or destination) addresses, IPv4 or IPv6; may be repeated
    #[arg(long = "cidr", value_name = "C")]
    cidrs: Vec<String>,
    /// Source (or destination) prefix list, by id or name; may be repeated
    #[arg(long = "prefix-list", value_name = "PL")]
    prefix_lists: Vec<String>,
    /// Source (or destination) group, by id or name; may be repeated
    #[arg(long = "source-group", value_name = "G2")]
    source_groups: Vec<String>,
    /// What the rule is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl Flags {
    fn content(&self, direction: Direction, protocol: &str) -> Content {
        Content {
            direction,
            protocol: protocol.to_owned(),
            port: self.port.clone(),
            icmp_type: self.icmp_type.clone(),
            icmp_code: self.icmp_code.clone(),
            cidrs: self.cidrs.clone(),
            prefix_lists: self.prefix_lists.clone(),
            source_groups: self.source_groups.clone(),
            description: self.description.clone(),
        }
    }

    fn has_peer(&self) -> bool {
        !(self.cidrs.is_empty() && self.prefix_lists.is_empty() && self.source_groups.is_empty())
    }

    fn has_any(&self) -> bool {
        let texts = [&self.port, &self.icmp_type, &self.icmp_code, &self.description];
        self.has_peer() || texts.into_iter().any(Option::is_some)
    }
}

/// `rule list`
#[derive(Debug, clap::Args)]
pub struct List {
    /// Rules of this group only
    #[arg(value_name = "G")]
    group: Option<String>,
    /// group-id, security-group-rule-id or tag:KEY; several values with commas, * and ? stand for any text
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    /// Rules that admitted no new flow for so long (30d, 12h), by the agent's record
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    unused_for: Option<Duration>,
}

/// `rule remove`
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// Id or name of the group
    #[arg(value_name = "G")]
    pub group: String,
    /// Ids of rules; or a direction, with the flags of `rule add`
    #[arg(value_name = "RULE-ID|ingress|egress", required = true)]
    rules: Vec<String>,
    /// tcp, udp, icmp, icmpv6, all (or -1), or a number 0-255
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    protocol: Option<String>,
    #[command(flatten)]
    flags: Flags,
    /// Also count the tracked flows that live on without the rules
    #[arg(long)]
    report: bool,
}

impl Remove {
    /// The rules to remove: the two ways of naming them do not mix.
    pub fn which(&self) -> Result<Which> {
        let direction = match self.rules.as_slice() {
            [only] => Direction::from_str(only, false).ok(),
            _ => None,
        };
        match (direction, &self.protocol) {
            (Some(direction), Some(protocol)) if self.flags.has_peer() => {
                Ok(Which::Content(self.flags.content(direction, protocol)))
            }
            (Some(_), None) => Err(usage(
                ErrorKind::MissingRequiredArgument,
                "a rule is named by its content with --protocol and --cidr, --prefix-list or --source-group",
            )),
            (Some(_), Some(_)) => Err(usage(
                ErrorKind::MissingRequiredArgument,
                "a rule is named by its content with --cidr, --prefix-list or --source-group",
            )),
            (None, None) if !self.flags.has_any() => Ok(Which::Ids(self.rules.clone())),
            (None, _) => Err(usage(
                ErrorKind::ArgumentConflict,
                "name rules by their ids, or one by 'ingress' or 'egress' and the flags of 'rule add'",
            )),
        }
    }
}

/// `rule modify`
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args([
    "protocol", "port", "icmp_type", "icmp_code", "cidrs", "prefix_lists", "source_groups", "description",
])))]
pub struct Modify {
    /// Id of the rule, which it keeps
    #[arg(value_name = "RULE-ID")]
    rule: String,
    /// tcp, udp, icmp, icmpv6, all (or -1), or a number 0-255
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    protocol: Option<String>,
    #[command(flatten)]
    flags: Flags,
    /// Also count the tracked flows that live on though no rule admits them any more
    #[arg(long)]
    report: bool,
}

impl Modify {
    /// What is to be changed.
    pub fn changes(&self) -> Changes {
        // Each flag by name, so that one more of them cannot be forgotten here.
        let Flags { port, icmp_type, icmp_code, cidrs, prefix_lists, source_groups, description } =
            &self.flags;
        Changes {
            protocol: self.protocol.clone(),
            port: port.clone(),
            icmp_type: icmp_type.clone(),
            icmp_code: icmp_code.clone(),
            cidrs: cidrs.clone(),
            prefix_lists: prefix_lists.clone(),
            source_groups: source_groups.clone(),
            description: description.clone(),
        }
    }
}

/// `rule describe`
#[derive(Debug, clap::Args)]
pub struct Describe {
    /// Id of the rule
    #[arg(value_name = "RULE-ID")]
    rule: String,
    /// What the rule is for; an empty text removes the description
    #[arg(value_name = "TEXT")]
    text: String,
}

/// Tells which rules were not used for so long.
fn unused(global: &Global, length: Duration) -> Result<impl Fn(RuleId) -> bool> {
    let usage = Usage::load(&global.state_dir)?.ok_or_else(nobody_looked)?;
    let now = now();
    let age = now.saturating_sub(usage.seen);
    if age > RECENT {
        let since = rfc3339(usage.seen);
        tell("warning", &format!("no agent has looked since {since}: what was used after that is not known"));
    }
    Ok(move |rule| usage.is_unused(rule, length, now))
}

/// Runs one of them.
pub fn run(global: &Global, command: &Command, out: &mut Vec<u8>) -> Result<()> {
    let output = global.output;
    match command {
        Command::Add(typed) => {
            let content = typed.content();
            let ctx = context(global)?;
            let Changed { value: added, state, .. } =
                change(&ctx, |state| ops::rule::add(state, &typed.group, &content))?;
            added.warnings.iter().for_each(|warning| tell("warning", warning));
            render::rules_added(out, output, &state, &added.rules)?;
        }
        Command::List(typed) => {
            let filters = Filters::read(&typed.filters)?;
            let state = view(&context(global)?)?;
            let ids = ops::rule::list(&state, typed.group.as_deref())?;
            let mut ids = ops::group_filter::rules(&state, ids, &filters);
            if let Some(length) = typed.unused_for {
                let unused = unused(global, length)?;
                ids.retain(|id| unused(*id));
            }
            render::rules(out, output, &state, &ids)?;
        }
        Command::Remove(typed) => {
            let which = typed.which()?;
            let ctx = context(global)?;
            let Changed { value: removed, interrupted_ports, state, .. } =
                change(&ctx, |state| ops::rule::remove(state, &typed.group, &which))?;
            let surviving_flows = survivors(&ctx, &state, &removed, typed.report)?;
            render::rules_removed(out, output, &removed, Closed { interrupted_ports, surviving_flows })?;
        }
        Command::Modify(typed) => {
            let ctx = context(global)?;
            let Changed { value: modified, interrupted_ports, state, .. } =
                change(&ctx, |state| ops::modify::modify(state, &typed.rule, &typed.changes()))?;
            modified.warning.iter().for_each(|warning| tell("warning", warning));
            let id = modified.before.id;
            let surviving_flows = survivors(&ctx, &state, &[modified.before], typed.report)?;
            render::rule_modified(out, output, id, Closed { interrupted_ports, surviving_flows })?;
        }
        Command::Describe(typed) => {
            let ctx = context(global)?;
            let described = change(&ctx, |state| ops::modify::describe(state, &typed.rule, &typed.text))?;
            render::done(out, output, "described", &described.value.to_string())?;
        }
    }
    Ok(())
}

/// How many flows outlive the rules that went, where that was asked for.
fn survivors(ctx: &Context, state: &State, gone: &[Rule], wanted: bool) -> Result<Option<u64>> {
    wanted.then(|| observe::surviving_flows(ctx, state, gone)).transpose()
}
