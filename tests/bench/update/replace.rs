//! 10,000 rules over 50 interfaces become 10,000 others.

use super::{
    again, milliseconds,
    peer::run_path,
    timed::{Effort, Took, timed},
};
use crate::{
    Run,
    results::{Bound, Cell, Table, Target},
};
use sg_tests::{ctl::Ctl, net::Namespace};
use std::{fmt::Write, fs, path::PathBuf, time::Instant};
use tempfile::TempDir;

/// How many of each.
#[derive(Clone, Copy)]
struct Size {
    interfaces: u32,
    rules: u32,
}

/// Runs it, and adds its target.
pub fn table(run: &Run, effort: Effort, targets: &mut Vec<Target>) -> Table {
    let size = run.choose(Size { interfaces: 50, rules: 200 }, Size { interfaces: 2, rules: 5 });
    let dir = tempfile::tempdir().unwrap();
    let namespace = links(size.interfaces.div_ceil(2));
    let ctl = Ctl::new(&namespace);
    ctl.json("quota rules-per-group=300 rules-per-interface=2000");
    for n in 0..size.interfaces {
        ctl.json(&format!("group create g{n} --description bench"));
        ctl.json(&format!("attach {} --adopt none --group g{n}", link(n)));
    }
    let documents = files(&dir, "yaml", |variant| document(size, variant));
    let rulesets = files(&dir, "nft", |variant| ruleset(size, variant));
    let filter = Namespace::new("nft");
    // The first of each fills what is empty, and is not counted.
    let ours =
        |at: usize| timed(&ctl, &format!("apply --prune -f {}", documents[at % 2].display()), effort.limit);
    let theirs = |at: usize| run_path(&filter, &rulesets[at % 2], effort.limit);
    let mut took: [Vec<Took>; 2] = Default::default();
    let begun = [ours(0), theirs(0)];
    let start = Instant::now();
    for n in 0..effort.samples as usize {
        if n >= 3 && start.elapsed() > effort.budget {
            break;
        }
        again(&mut took[0], || begun[0].clone().and_then(|_| ours(n + 1)));
        again(&mut took[1], || begun[1].clone().and_then(|_| theirs(n + 1)));
    }
    let rules = size.rules * size.interfaces;
    let title = format!("{rules} rules over {} interfaces replaced at once", size.interfaces);
    let mut table = Table::new(title, &["who", "whole command, ms"]);
    let cells = [milliseconds(&took[0]), milliseconds(&took[1])];
    table.row("sg-ctl apply --prune", vec![cells[0].clone()]);
    table.row("nft -f", vec![cells[1].clone()]);
    let ratio = match cells {
        [Cell::Measured(ours), Cell::Measured(theirs)] => theirs.over(&ours).into(),
        [Cell::Said(words), _] | [_, Cell::Said(words)] => Cell::Said(words),
    };
    let what = "replace 10,000 rules atomically, spread over 50 interfaces, `nft -f` over ours";
    targets.push(Target::new(what, Bound::AtLeast(5.0), ratio, ""));
    table
}

/// A namespace with that many pairs of links, both ends of each in it.
pub fn links(pairs: u32) -> Namespace {
    let namespace = Namespace::new("many");
    for pair in 0..pairs {
        let (one, other) = (link(2 * pair), link(2 * pair + 1));
        namespace.ip(&format!("link add {one} type veth peer name {other}"));
    }
    namespace
}

/// Name of a link of [`links`].
pub fn link(n: u32) -> String {
    format!("l{n}")
}

fn files(dir: &TempDir, kind: &str, text: impl Fn(u32) -> String) -> [PathBuf; 2] {
    [0, 1].map(|variant| {
        let path = dir.path().join(format!("{variant}.{kind}"));
        fs::write(&path, text(variant)).unwrap();
        path
    })
}

/// Source and port of a rule: no two variants have one in common.
fn rule(interface: u32, rule: u32, variant: u32) -> (String, u32) {
    (format!("{}.{}.{}.0/24", 20 + variant, interface, rule), 1_000 + rule)
}

fn document(size: Size, variant: u32) -> String {
    let mut text = String::from("vpcs:\n- default: true\n  groups:\n");
    for interface in 0..size.interfaces {
        writeln!(text, "  - name: g{interface}\n    description: bench\n    ingress:").unwrap();
        for n in 0..size.rules {
            let (source, port) = rule(interface, n, variant);
            writeln!(text, "    - {{protocol: tcp, ports: {port}, cidr: {source}}}").unwrap();
        }
    }
    text
}

fn ruleset(size: Size, variant: u32) -> String {
    // A table that is not there cannot be flushed.
    let mut text = String::from("table inet bench {}\ndelete table inet bench\ntable inet bench {\n");
    for interface in 0..size.interfaces {
        writeln!(text, "chain c{interface} {{").unwrap();
        for n in 0..size.rules {
            let (source, port) = rule(interface, n, variant);
            writeln!(text, "ip saddr {source} tcp dport {port} accept").unwrap();
        }
        text.push_str("}\n");
    }
    let jumps: Vec<String> = (0..size.interfaces).map(|n| format!("\"{}\" : jump c{n}", link(n))).collect();
    writeln!(
        text,
        "chain input {{ type filter hook input priority 0; policy drop; ct state established,related accept\n\
         iifname vmap {{ {} }}\n}}\n}}",
        jumps.join(", ")
    )
    .unwrap();
    text
}
