//! A host with many interfaces and many members: what one rule and one member more cost there.

use super::{
    milliseconds,
    replace::{link, links},
    timed::{Effort, Took, timed},
};
use crate::{
    Run,
    results::{Samples, Table},
};
use sg_tests::{ctl::Ctl, net::Namespace};
use std::{
    fmt::Write,
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

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
        while attached < interfaces && start.elapsed() < 2 * limit {
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
        let address = Ipv4Addr::from(13 << 24 | n);
        timed(&self.ctl, &format!("interface register new{n} --address {address} --group members"), limit)
    }

    /// One rule more in one group.
    fn add_rule(&self, n: u32, limit: Duration) -> Took {
        let address = Ipv4Addr::from(13 << 24 | n);
        let line = format!("rule add web0 ingress --protocol tcp --port {} --cidr {address}/32", 9_000 + n);
        timed(&self.ctl, &line, limit)
    }
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
pub fn table(run: &Run, effort: Effort) -> Table {
    let (interfaces, groups, members) = run.choose((1_000, 20, 100_000), (4, 2, 100));
    let title = format!("One rule or member more, {interfaces} interfaces and {members} members");
    let mut table = Table::new(title, &["command", "whole command, ms"]);
    let crowd = Crowd::new(interfaces, groups, members, effort.limit);
    let mut took: [Vec<Took>; 2] = Default::default();
    let start = Instant::now();
    for n in 0..effort.samples {
        if n >= 3 && start.elapsed() > effort.budget {
            break;
        }
        let crowd = crowd.as_ref().map_err(Clone::clone);
        took[0].push(crowd.clone().and_then(|crowd| crowd.add_rule(n, effort.limit)));
        took[1].push(crowd.and_then(|crowd| crowd.register(n, effort.limit)));
    }
    let reached = crowd.as_ref().map_or(0, |crowd| crowd.interfaces);
    table.row(
        format!("rule add, to a group of one interface in {groups} ({reached} interfaces attached)"),
        vec![milliseconds(&took[0])],
    );
    table.row("interface register, in the group that all rules name", vec![milliseconds(&took[1])]);
    if let Ok(crowd) = &crowd {
        let applied = Samples::one("ms", crowd.applied.as_secs_f64() * 1e3);
        table.row(format!("apply of the document with {members} members"), vec![applied.into()]);
    }
    table
}
