//! The answer of `sg-ctl explain`.

use super::{
    Output, json,
    rule::content,
    table::{Table, escape},
};
use crate::{
    compile::{Carried, Removal},
    explain::Explanation,
    model::{Direction, GroupId, RuleId},
};
use serde::Serialize;
use sg_common::reason::{Drop, Pass, Verdict};
use std::{
    io::{self, Write},
    net::SocketAddr,
};

/// `explain`
pub fn explanation(out: &mut impl Write, output: Output, explanation: &Explanation) -> io::Result<()> {
    let answer = Answer::new(explanation);
    match output {
        Output::Json => json(out, &answer),
        Output::Table => table(out, explanation, &answer),
    }
}

/// The document.
#[derive(Serialize)]
struct Answer {
    verdict: &'static str,
    tracking: Option<&'static str>,
    reason: &'static str,
    /// Those of the packet's direction that admit it.
    rules: Vec<Owned>,
    /// Of an untracked flow, those of the other direction that let its answers pass without tracking.
    return_rules: Vec<Owned>,
    /// The implied rule for service addresses admits it.
    service_address: bool,
}

/// A rule that the flow owes something to.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Owned {
    security_group_rule_id: RuleId,
    group_id: GroupId,
    /// What becomes of an open flow when the rule goes.
    #[serde(rename = "removal")]
    removal: Removal,
}

impl Answer {
    fn new(explanation: &Explanation) -> Self {
        let owned = |rules: &[(RuleId, Removal)]| -> Vec<Owned> {
            let known = |&(id, removal): &(RuleId, Removal)| {
                let rule = explanation.state.rules.get(&id)?;
                Some(Owned { security_group_rule_id: id, group_id: rule.group, removal })
            };
            rules.iter().filter_map(known).collect()
        };
        let attribution = explanation.attribution.as_ref();
        Self {
            verdict: if explanation.verdict.passes() { "allow" } else { "drop" },
            tracking: tracking(explanation.verdict),
            reason: explanation.verdict.reason(),
            rules: attribution.map_or_else(Vec::new, |a| owned(&a.rules)),
            return_rules: attribution.map_or_else(Vec::new, |a| owned(&a.return_rules)),
            service_address: attribution.is_some_and(|a| a.service_address),
        }
    }
}

fn tracking(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Pass(Pass::Exempt) => Some("exempt"),
        Verdict::Pass(Pass::Untracked | Pass::Stateless | Pass::Observed) => Some("untracked"),
        Verdict::Pass(_) => Some("tracked"),
        Verdict::Drop(_) => None,
    }
}

fn table(out: &mut impl Write, explanation: &Explanation, answer: &Answer) -> io::Result<()> {
    match answer.tracking {
        Some(tracking) => writeln!(out, "{}, {tracking}", answer.verdict)?,
        None => writeln!(out, "{}", answer.verdict)?,
    }
    writeln!(out, "  packet  {}", escape(&packet(explanation)))?;
    writeln!(out, "  reason  {}: {}", answer.reason, sentence(explanation.verdict))?;
    if answer.service_address {
        writeln!(out, "  implied rule for service addresses (off with --no-exempt link-local)")?;
    }
    if answer.rules.is_empty() && answer.return_rules.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let state = &explanation.state;
    let heads = ["RULE", "GROUP", "DIRECTION", "PROTOCOL", "PORTS", "PEER", "IF REMOVED, AN OPEN FLOW"];
    let mut table = Table::new(&heads);
    for owned in answer.rules.iter().chain(&answer.return_rules) {
        let Some(rule) = state.rules.get(&owned.security_group_rule_id) else { continue };
        let group = state.groups.get(&owned.group_id).map_or("", |group| group.name.as_str());
        let [direction, protocol, ports, peer] = content(state, rule);
        let effect = effect(owned.removal);
        table.row([
            rule.id.to_string(),
            group.to_owned(),
            direction,
            protocol,
            ports,
            peer,
            effect.to_owned(),
        ]);
    }
    table.write(out)
}

/// What becomes of an open flow, for people.
fn effect(removal: Removal) -> &'static str {
    match removal {
        Removal::Nothing => "goes on as before: other rules admit it too",
        Removal::ChangesTracking => "goes on by other rules, untracked no more",
        Removal::KeepsTracked => "goes on, being tracked; no new one may start",
        Removal::Interrupts => "stops at once",
    }
}

/// The packet with its ends, the sender first.
fn packet(explanation: &Explanation) -> String {
    let (start, local) = (&explanation.start, explanation.local);
    let (direction, from, to) = match start.direction {
        Direction::Ingress => ("ingress", start.remote, local),
        Direction::Egress => ("egress", local, start.remote),
    };
    let ports = |protocol: &str, source: u16, destination: u16| {
        let (from, to) = (SocketAddr::new(from, source), SocketAddr::new(to, destination));
        format!("{protocol} {from} to {to}")
    };
    let what = match start.carried {
        Carried::Tcp { source, destination } => ports("tcp", source, destination),
        Carried::Udp { source, destination } => ports("udp", source, destination),
        Carried::Icmp { kind, code } => {
            let protocol = if from.is_ipv4() { "icmp" } else { "icmpv6" };
            format!("{protocol} type {kind} code {code}, {from} to {to}")
        }
        Carried::Other(number) => format!("protocol {number}, {from} to {to}"),
    };
    format!("{what}, {direction} on {}", explanation.interface)
}

/// What a reason means for a packet that starts a flow.
fn sentence(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass(Pass::New) => "rules admit it, and the flow table keeps its flow",
        Verdict::Pass(Pass::Untracked) => "its port is open to the world both ways, and no entry is made",
        Verdict::Pass(Pass::Stateless) => "rules admit this message alone, and no entry is made",
        Verdict::Pass(Pass::Exempt) => "not subject to security groups",
        Verdict::Pass(Pass::Observed) => "the interface observes before it enforces, and everything passes",
        Verdict::Pass(Pass::Tracked | Pass::Related | Pass::Fragment | Pass::NonIp) => "it passes",
        Verdict::Drop(Drop::NoRule) => "no rule of the interface's groups admits it",
        Verdict::Drop(Drop::SpoofedSource) => {
            "the source and destination check refuses its addresses or what it is"
        }
        Verdict::Drop(Drop::Malformed) => "no such packet can be",
        Verdict::Drop(_) => "it does not pass",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::{Start, attribute},
        render::testing::{document, fixture, written},
    };
    use serde_json::json;

    /// What rules of the fixture's `eth0` say of a TCP connection to this port, with the verdict that goes with it.
    fn explained(verdict: Verdict, destination: u16) -> Explanation {
        let (state, _, id) = fixture();
        let carried = Carried::Tcp { source: 49_152, destination };
        let start = Start { direction: Direction::Ingress, remote: [198, 51, 100, 7].into(), carried };
        let eni = &state.interfaces[&id];
        let attribution = attribute(&state, eni, &eni.attachment.as_ref().unwrap().options, &start);
        Explanation {
            interface: eni.name.clone(),
            local: [10, 0, 0, 1].into(),
            start,
            verdict,
            attribution: Some(attribution),
            state,
            warning: None,
        }
    }

    #[test]
    fn an_untracked_flow_as_a_table() {
        let answer = explained(Verdict::Pass(Pass::Untracked), 80);
        assert_eq!(
            written(|out| explanation(out, Output::Table, &answer)),
            "\
allow, untracked
  packet  tcp 198.51.100.7:49152 to 10.0.0.1:80, ingress on eth0
  reason  untracked: its port is open to the world both ways, and no entry is made

RULE                   GROUP  DIRECTION  PROTOCOL  PORTS  PEER       IF REMOVED, AN OPEN FLOW
sgr-00000000000000004  web    ingress    tcp       80     0.0.0.0/0  stops at once
sgr-00000000000000008  web    egress     all       all    0.0.0.0/0  stops at once
"
        );
    }

    #[test]
    fn a_drop_as_json() {
        let answer = explained(Verdict::Drop(Drop::NoRule), 81);
        assert_eq!(
            document(|out| explanation(out, Output::Json, &answer)),
            json!({
                "verdict": "drop",
                "tracking": null,
                "reason": "no_rule",
                "rules": [],
                "return_rules": [],
                "service_address": false,
            })
        );
    }

    #[test]
    fn a_rule_as_json() {
        let answer = explained(Verdict::Pass(Pass::Untracked), 80);
        let document = document(|out| explanation(out, Output::Json, &answer));
        assert_eq!((&document["verdict"], &document["tracking"]), (&json!("allow"), &json!("untracked")));
        let removal = json!("interrupts");
        assert_eq!(document["rules"][0]["removal"], removal);
        assert_eq!(document["return_rules"][0]["removal"], removal);
        assert_eq!(document["rules"][0]["GroupId"], document["return_rules"][0]["GroupId"]);
        assert_ne!(
            document["rules"][0]["SecurityGroupRuleId"],
            document["return_rules"][0]["SecurityGroupRuleId"]
        );
    }
}
