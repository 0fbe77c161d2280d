//! Groups made by recipe: from [`super::recipes`] and what was typed beside it to rules.

use super::{
    group, nearest,
    recipes::{From, Line, Peers, RECIPES, Recipe, To, Traffic},
    rule::{self, Content},
};
use crate::{
    error::{Refusal, Result},
    model::{Direction, GroupId, PrefixListId, State},
};
use ipnet::IpNet;
use std::net::IpAddr;

/// What was typed beside the name of a recipe.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--recipe`
    pub recipe: String,
    /// `--from`: CIDRs, prefix lists by id, groups.
    pub from: Vec<String>,
    /// `--to`: the same.
    pub to: Vec<String>,
    /// `--port`
    pub ports: Vec<String>,
    /// The address that this session comes from, where that is known.
    pub here: Option<IpAddr>,
}

/// Makes a group with the rules of a recipe, or nothing.
pub fn create(state: &mut State, request: &group::Create, given: &Given) -> Result<GroupId> {
    let recipe = find(&given.recipe)?;
    refuse_unused(recipe, given)?;
    // Made beside the state, so that a refusal further down leaves it as it was.
    let mut next = state.clone();
    let id = group::create(&mut next, request)?;
    let mut contents = Vec::new();
    for line in recipe.lines {
        contents.extend(read(&next, id, recipe, line, given)?);
    }
    if contents.iter().any(|content| content.direction == Direction::Egress) {
        next.rules.retain(|_, rule| rule.group != id);
    }
    for content in contents {
        rule::add(&mut next, &id.to_string(), &content)?;
    }
    *state = next;
    Ok(id)
}

/// The address of the far end in `SSH_CONNECTION` or `SSH_CLIENT`: their first word.
#[must_use]
pub fn far_end(variable: &str) -> Option<IpAddr> {
    let address = variable.split_whitespace().next()?;
    // A zone names an interface of this machine, and is no part of an address.
    let address: IpAddr = address.split('%').next()?.parse().ok()?;
    Some(address.to_canonical())
}

fn find(name: &str) -> Result<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name).ok_or_else(|| {
        let next = nearest(name, RECIPES.iter().map(|recipe| recipe.name)).map_or_else(
            || "'sg-ctl group create --help' lists them".to_owned(),
            |name| format!("did you mean '{name}'?"),
        );
        Refusal::invalid(format!("There is no recipe '{name}'; {next}")).into()
    })
}

/// A flag that a recipe has no use for was meant for something: it is not ignored.
fn refuse_unused(recipe: &Recipe, given: &Given) -> Result<()> {
    let has_listener = recipe.lines.iter().any(|line| matches!(line.traffic, Traffic::Listener));
    for (flag, unused) in [
        ("--from", recipe.from == From::Unused && !given.from.is_empty()),
        ("--to", recipe.to == To::Unused && !given.to.is_empty()),
        ("--port", !has_listener && !given.ports.is_empty()),
    ] {
        if unused {
            let message = format!("The recipe '{}' takes no {flag}; use 'sg-ctl rule add'", recipe.name);
            return Err(Refusal::new("InvalidParameterCombination", message).into());
        }
    }
    Ok(())
}

/// One line as what is typed for rules: one for each port, none where it has no peers.
fn read(state: &State, group: GroupId, recipe: &Recipe, line: &Line, given: &Given) -> Result<Vec<Content>> {
    let peers = peers(state, group, recipe, line, given)?;
    if peers.is_empty() {
        return Ok(Vec::new());
    }
    let (cidrs, named): (Vec<String>, Vec<String>) = peers.into_iter().partition(|peer| is_cidr(peer));
    let (prefix_lists, source_groups): (Vec<String>, Vec<String>) =
        named.into_iter().partition(|peer| PrefixListId::is_meant_by(peer));
    let content = |protocol: &str| Content {
        direction: line.direction,
        protocol: protocol.to_owned(),
        port: None,
        icmp_type: None,
        icmp_code: None,
        cidrs: cidrs.clone(),
        prefix_lists: prefix_lists.clone(),
        source_groups: source_groups.clone(),
        description: None,
    };
    let port = |protocol: &str, port: &str| Content { port: Some(port.to_owned()), ..content(protocol) };
    let icmp = |protocol: &str, icmp_type: &str, icmp_code: &str| Content {
        icmp_type: Some(icmp_type.to_owned()),
        icmp_code: Some(icmp_code.to_owned()),
        ..content(protocol)
    };
    Ok(match line.traffic {
        Traffic::All => vec![content("all")],
        Traffic::Tcp(number) => vec![port("tcp", number)],
        Traffic::Udp(number) => vec![port("udp", number)],
        Traffic::Listener if given.ports.is_empty() => vec![port("tcp", "80")],
        Traffic::Listener => given.ports.iter().map(|number| port("tcp", number)).collect(),
        Traffic::Icmp(icmp_type, icmp_code) => vec![icmp("icmp", icmp_type, icmp_code)],
        Traffic::Icmpv6(icmp_type, icmp_code) => vec![icmp("icmpv6", icmp_type, icmp_code)],
    })
}

/// Whose traffic a line means, as CIDRs, ids of prefix lists, and groups.
fn peers(state: &State, group: GroupId, recipe: &Recipe, line: &Line, given: &Given) -> Result<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    match line.peers {
        Peers::World => Ok(words(&["0.0.0.0/0", "::/0"])),
        Peers::World4 => Ok(words(&["0.0.0.0/0"])),
        Peers::Itself => Ok(vec![group.to_string()]),
        Peers::To if given.to.is_empty() && recipe.to == To::Needed => {
            Err(missing(recipe, "--to", "a CIDR or a group: where the connections go"))
        }
        Peers::To => Ok(given.to.clone()),
        Peers::From => {
            let from = from(state, group, recipe, line, given)?;
            refuse_other_family(recipe, line, &from)?;
            Ok(from)
        }
    }
}

fn from(state: &State, group: GroupId, recipe: &Recipe, line: &Line, given: &Given) -> Result<Vec<String>> {
    if !given.from.is_empty() {
        return Ok(given.from.clone());
    }
    match recipe.from {
        From::Unused | From::Needed => {
            Err(missing(recipe, "--from", "a CIDR or a group: where the connections come from"))
        }
        From::OrHere => match given.here {
            Some(here) => Ok(vec![IpNet::from(here).to_string()]),
            None => Err(missing(
                recipe,
                "--from",
                "your address as a CIDR: neither SSH_CONNECTION nor SSH_CLIENT tells it here (sudo does not pass \
                 them on by itself)",
            )),
        },
        From::OrVpc => {
            let vpc = state.groups.get(&group).and_then(|group| state.vpcs.get(&group.vpc));
            let blocks: Vec<String> = vpc
                .into_iter()
                .flat_map(|vpc| &vpc.cidrs)
                .filter(|cidr| family_of(line).is_none_or(|ipv4| ipv4 == matches!(cidr, IpNet::V4(_))))
                .map(ToString::to_string)
                .collect();
            if vpc.is_some_and(|vpc| vpc.cidrs.is_empty()) {
                return Err(missing(recipe, "--from", "a CIDR: the VPC was made without a block"));
            }
            Ok(blocks)
        }
    }
}

fn missing(recipe: &Recipe, flag: &str, what: &str) -> anyhow::Error {
    let message = format!("The recipe '{}' needs {flag}, {what}", recipe.name);
    Refusal::new("MissingParameter", message).into()
}

/// Of ICMP, whether it is IPv4's. Other traffic is of both families.
fn family_of(line: &Line) -> Option<bool> {
    match line.traffic {
        Traffic::Icmp(..) => Some(true),
        Traffic::Icmpv6(..) => Some(false),
        _ => None,
    }
}

/// A rule for IPv4's ICMP from IPv6 addresses admits nothing: it is not what was meant.
fn refuse_other_family(recipe: &Recipe, line: &Line, from: &[String]) -> Result<()> {
    let Some(ipv4) = family_of(line) else { return Ok(()) };
    let is_other = |peer: &&String| is_cidr(peer) && peer.contains(':') == ipv4;
    let Some(other) = from.iter().find(is_other) else { return Ok(()) };
    let (own, twin) = match recipe.name {
        "ping" => ("IPv4", "; the recipe 'ping-ipv6' is for IPv6"),
        "ping-ipv6" => ("IPv6", "; the recipe 'ping' is for IPv4"),
        _ => ("IPv4", "; give IPv4 addresses or groups"),
    };
    let message = format!("{other} is no {own} address, which the recipe '{}' needs{twin}", recipe.name);
    Err(Refusal::invalid(message).into())
}

/// Whether what was typed for a peer begins with an address: it is no group then.
fn is_cidr(typed: &str) -> bool {
    typed.split('/').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
#[path = "recipe_tests.rs"]
pub(crate) mod tests;
