//! A host with many interfaces and many members: what one rule and one member more cost there.

use super::{
    again,
    flip::{Live, part, watched},
    milliseconds,
    replace::{link, links},
    timed::{Effort, Took, timed},
};
use crate::{
    Run,
    results::{Bound, Cell, Samples, Table, Target},
};
use sg_tests::{ctl::Ctl, net::Namespace};
use std::{
    fmt::Write,
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

/// Interfaces are attached for at most this long: each takes the verifier some hundred milliseconds.
const PATIENCE: Duration = Duration::from_secs(600);

/// A host whose interfaces admit a group of registered members.
pub struct Crowd {
    /// Goes first, so that nothing is attached when the namespace goes.
    ctl: Ctl,
    _namespace: Namespace,
    /// How many could be attached in the time that there was.
    pub interfaces: u32,
    /// The document that registers the members took this long.
    pub applied: Duration,
}

impl Crowd {
    /// That many interfaces by turns in that many groups, and that many members; or what the build has to say.
    pub fn new(interfaces: u32, groups: u32, members: u32, limit: Duration) -> Result<Self, String> {
        let namespace = links(interfaces.div_ceil(2));
        let ctl = Ctl::new(&namespace);
        ctl.json("quota groups=5000");
        ctl.json("group create members --description bench");
        for group in 0..groups {
            ctl.json(&format!("group create web{group} --description bench"));
            ctl.json(&format!(
                "rule add web{group} ingress --protocol tcp --port 5432 --source-group members"
            ));
        }
        let start = Instant::now();
        let mut attached = 0;
        while attached < interfaces && start.elapsed() < PATIENCE {
            let line = format!("attach {} --adopt none --group web{}", link(attached), attached % groups);
            timed(&ctl, &line, limit).map_err(|error| format!("attach {attached}: {error}"))?;
            attached += 1;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), document(members)).unwrap();
        let applied = timed(&ctl, &format!("apply -f {}", file.path().display()), limit)
            .map_err(|error| format!("apply of {members} members: {error}"))?;
        Ok(Self { ctl, _namespace: namespace, interfaces: attached, applied })
    }

    /// One member more, the n-th that is added.
    pub fn register(&self, n: u32, limit: Duration) -> Took {
        timed(&self.ctl, &member(n), limit)
    }
}

fn member(n: u32) -> String {
    let address = Ipv4Addr::from(13 << 24 | n);
    format!("interface register new{n} --address {address} --group members")
}

/// One rule more in one group.
fn rule(n: u32) -> String {
    let address = Ipv4Addr::from(13 << 24 | n);
    format!("rule add web0 ingress --protocol tcp --port {} --cidr {address}/32", 9_000 + n)
}

fn document(members: u32) -> String {
    let mut text = String::from("vpcs:\n- default: true\n  interfaces:\n");
    for n in 0..members {
        let address = Ipv4Addr::from((80 << 24) + n * 2);
        writeln!(text, "  - {{name: m{n}, groups: [members], registered: true, addresses: [{address}]}}")
            .unwrap();
    }
    text
}

/// One rule and one member more.
pub fn table(run: &Run, effort: Effort, targets: &mut Vec<Target>) -> Table {
    let (interfaces, groups, members) = run.choose((1_000, 20, 100_000), (4, 2, 100));
    run.note(format_args!("{interfaces} interfaces are being attached, {members} members registered"));
    let crowd = Crowd::new(interfaces, groups, members, effort.limit);
    let reached = crowd.as_ref().map_or(0, |crowd| crowd.interfaces);
    let title =
        format!("One rule or member more, {reached} interfaces of {interfaces} and {members} members");
    let columns = ["command", "whole, ms", "start to enforced, ms", "commit to enforced, ms"];
    let mut table = Table::new(title, &columns);
    /// A command's line, by the number of the change.
    type Line = fn(u32) -> String;
    let kinds: [(&str, Line); 2] = [
        ("rule add, in one group of those that interfaces carry", rule),
        ("interface register, in the group that all rules name", member),
    ];
    for (name, line) in kinds {
        let mut took = Vec::new();
        let mut live: Vec<Result<Live, String>> = Vec::new();
        let start = Instant::now();
        for n in 0..effort.samples {
            if n >= 3 && start.elapsed() > effort.budget {
                break;
            }
            let crowd = crowd.as_ref().map_err(Clone::clone);
            again(&mut took, || timed(&crowd.clone()?.ctl, &line(2 * n), effort.limit));
            live.push(crowd.and_then(|crowd| watched(&crowd.ctl, &line(2 * n + 1), effort.limit)));
        }
        let since_start = milliseconds(&part(&live, |live| live.since_start));
        let since_commit = milliseconds(&part(&live, |live| live.since_commit));
        let what = format!("{name}; {reached} interfaces, {members} members: commit to enforced, ms");
        let beside = match &since_start {
            Cell::Measured(samples) => format!("start of the process to enforced: {samples} ms"),
            Cell::Said(_) => String::new(),
        };
        targets.push(Target::new(&what, Bound::AtMost(5.0), since_commit.clone(), beside));
        table.row(name, vec![milliseconds(&took), since_start, since_commit]);
    }
    if let Ok(crowd) = &crowd {
        let applied = Samples::one("ms", crowd.applied.as_secs_f64() * 1e3);
        let nothing = Cell::Said(String::new());
        let name = format!("apply of the document with {members} members");
        table.row(name, vec![applied.into(), nothing.clone(), nothing]);
    }
    table
}
