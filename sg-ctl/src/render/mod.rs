//! Printing, apart from deciding: each function writes one answer, as a table for people or as one JSON document in
//! the shapes of `cli.md`.

mod document;
mod ec2;
mod event;
mod explain;
mod group;
mod interface;
mod observe;
mod peering;
mod prefix_list;
mod quota;
mod rule;
mod stale;
mod table;
mod terminal;
mod vpc;
mod watched;

pub use document::{applied, document};
pub use event::{event, missed, traced};
pub use explain::explanation;
pub use group::{group_created, group_deleted, group_shown, groups};
pub use interface::{deregistered, detached, interfaces, registered};
pub use observe::{attached, conntrack_stats, counters, flows, flushed, status};
pub use peering::{peering_accepted, peering_created, peering_ended, peerings};
pub use prefix_list::{
    prefix_list_changed, prefix_list_created, prefix_list_deleted, prefix_list_imported, prefix_list_shown,
    prefix_lists,
};
pub use quota::quotas;
pub use rule::{Closed, rule_modified, rules, rules_added, rules_removed};
pub use stale::{references, stale_groups};
pub use table::escape;
pub use terminal::{look_at_stdout, stdout};
pub use vpc::{vpc_created, vpc_deleted, vpcs};
pub use watched::{Look, watched};

use serde::Serialize;
use std::io::{self, Write};

/// In which form answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Aligned columns for people.
    Table,
    /// One JSON document for scripts.
    Json,
}

/// The answer of an operation that EC2 answers with `Return` alone; people are told what was done, to which object.
pub fn done(out: &mut impl Write, output: Output, what: &str, id: &str) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "{what} {}", escape(id)),
        Output::Json => json(out, &serde_json::json!({ "Return": true })),
    }
}

/// Writes one document and ends the line.
fn json(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)
}

#[cfg(test)]
pub(crate) mod testing {
    //! Fixed objects, for exact output.

    use crate::{
        model::{EniId, GroupId, RuleId, State, VpcId},
        ops::{
            self,
            rule::{Content, add},
        },
    };
    use std::{collections::BTreeMap, io};

    /// What `write` writes.
    pub fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The document that `write` writes.
    pub fn document(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> serde_json::Value {
        serde_json::from_str(&written(write)).unwrap()
    }

    /// A VPC with `default`, `web` and an interface `eth0` in `web`, under ids that are the same in every run.
    pub fn fixture() -> (State, GroupId, EniId) {
        let mut state = State::default();
        ops::ensure_default_vpc(&mut state);
        let create = ops::group::Create {
            tags: vec!["Name=Web tier".to_owned()],
            ..ops::group::Create::new("web", "Web servers")
        };
        ops::group::create(&mut state, &create).unwrap();
        let content = Content::tcp("80").with_cidr("0.0.0.0/0").with_cidr("::/0").with_group("web");
        add(&mut state, "web", &content).unwrap();
        let mut ping = Content::tcp("0").with_cidr("10.0.0.0/8");
        (ping.protocol, ping.port, ping.icmp_type) = ("icmp".to_owned(), None, Some("8".to_owned()));
        ping.description = Some("ping".to_owned());
        add(&mut state, "web", &ping).unwrap();
        ops::interface::tests::attached(&mut state, "eth0", None);
        ops::interface::set_groups(&mut state, None, "eth0", &["web".to_owned()]).unwrap();
        let state = renumbered(&state);
        let web = ops::group::find_in_default_vpc(&state, "web").unwrap();
        let eni = *state.interfaces.keys().next().unwrap();
        (state, web, eni)
    }

    /// The state with its ids replaced by 1, 2, 3, …, in the order in which objects are listed.
    fn renumbered(state: &State) -> State {
        let vpc: VpcId = "vpc-00000000000000001".parse().unwrap();
        let groups: BTreeMap<GroupId, GroupId> = ops::group::list(state, None)
            .unwrap()
            .into_iter()
            .enumerate()
            .map(|(n, id)| (id, format!("sg-{:017x}", n + 1).parse().unwrap()))
            .collect();
        let mut new = State::default();
        new.vpcs.extend(state.vpcs.values().cloned().map(|mut v| {
            v.id = vpc;
            (vpc, v)
        }));
        new.groups.extend(state.groups.values().cloned().map(|mut group| {
            (group.id, group.vpc) = (groups[&group.id], vpc);
            (group.id, group)
        }));
        let mut rules: Vec<_> = state.rules.values().cloned().collect();
        for rule in &mut rules {
            rule.group = groups[&rule.group];
            if let crate::model::Peer::Group(id) = &mut rule.peer {
                *id = groups[id];
            }
        }
        rules.sort_by_key(|rule| (rule.group, rule.direction, rule.traffic, rule.peer));
        for (n, mut rule) in rules.into_iter().enumerate() {
            rule.id = format!("sgr-{:017x}", n + 1).parse::<RuleId>().unwrap();
            new.rules.insert(rule.id, rule);
        }
        for (n, mut interface) in state.interfaces.values().cloned().enumerate() {
            interface.id = format!("eni-{:017x}", n + 1).parse().unwrap();
            interface.vpc = vpc;
            interface.groups = interface.groups.iter().map(|id| groups[id]).collect();
            new.interfaces.insert(interface.id, interface);
        }
        new
    }
}
