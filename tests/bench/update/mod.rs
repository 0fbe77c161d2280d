//! How long a change takes from the command to enforced: ours beside nftables, at growing sizes, and what becomes of
//! packets meanwhile.

pub mod crowd;
mod flip;
mod peer;
mod replace;
mod timed;
mod witness;

use crate::{
    Run,
    contest::{Contender, Filter, Known, SET_PORT},
    results::{Axis, Bound, Cell, Curve, Samples, Section, Table, Target},
};
use flip::{part, watched};
use peer::Set;
use std::{
    net::Ipv4Addr,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};
use timed::{Effort, Took, timed};
use witness::Witness;

const OURS: &str = "ours: prefix-list add";
const OURS_RULE: &str = "ours: rule add";
const OURS_MEMBER: &str = "ours: interface register";
const INTERVAL: &str = "nft add element, interval set";
const HASH: &str = "nft add element, hash set";

/// Where the project's targets are.
const TARGET_SIZE: f64 = 100_000.0;

const HOW: [&str; 9] = [
    "whole commands, from the start of the process to its end, when the change is enforced on every interface: `sg-ctl` and `nft` as a user runs them, by turns; one value more in what holds as many already",
    "*prefixes*: a prefix list named by two rules of one attached interface. nftables: a set of one table with one rule, with the same prefixes (interval set) or with as many addresses (hash set)",
    "*members*: registered interfaces of a group that a rule names, made by one `sg-ctl apply` of a document. nftables: a hash set of as many addresses",
    "*whole lists*: `prefix-list import --replace` of as many other prefixes on the attached interface; nftables: `nft -f` that flushes the interval set and fills it again",
    "*replace*: two documents of 10,000 rules, 200 for each of 50 groups that 50 attached interfaces carry, none in common, put in force by turns by `sg-ctl apply --prune`; nftables: one file that flushes the table and has 50 chains of 200 rules, found by a verdict map on the interface's name, by `nft -f`",
    "*crowd*: a host with 1,000 attached interfaces (or as many as could be attached in ten minutes) in 20 groups, which name a group of 100,000 registered members",
    "*to enforced*: measured apart, since it takes a thread that watches on processor 1: the moment at which the word changes that names the live generation, since the start of the process, and since the last write to the store's files before it (the next generation is built before the store commits)",
    "*packets meanwhile*: while the commands of the first curve run, new UDP flows from addresses that the list holds all the while and from strangers, 500 a second each, counted by the sender and by the socket behind the filter. *Lost*: admitted and not arrived; *misjudged*: strangers that arrived",
    "a size that takes longer than the limit (180 s for a command), or that the build refuses, is reported with what it said. As many samples as fit into a few seconds, at least three where the limit allows",
];

/// The section.
pub fn measure(run: &Run) -> Section {
    let mut section = Section::new("update", &HOW);
    let effort = Effort {
        samples: run.choose(15, 1),
        budget: run.choose(Duration::from_secs(20), Duration::from_secs(1)),
        limit: run.choose(Duration::from_secs(180), Duration::from_secs(60)),
    };
    let sizes: &[u32] = run.choose(&[10, 1_000, 10_000, 100_000, 1_000_000], &[10, 100]);
    prefixes(run, sizes, effort, &mut section);
    members(run, sizes, effort, &mut section);
    let replaced = replace::table(run, effort, &mut section.targets);
    let crowd = crowd::table(run, effort, &mut section.targets);
    section.tables.extend([replaced, crowd]);
    section
}

/// One sample more, unless the one before took too long or was refused: so would this one.
fn again(samples: &mut Vec<Took>, sample: impl FnOnce() -> Took) {
    if samples.last().is_none_or(Result::is_ok) {
        samples.push(sample());
    }
}

/// A sample's milliseconds, or why there is none.
fn milliseconds(samples: &[Took]) -> Cell {
    let took: Vec<f64> =
        samples.iter().filter_map(|took| took.as_ref().ok()).map(|took| took.as_secs_f64() * 1e3).collect();
    match samples.iter().find_map(|took| took.as_ref().err()) {
        Some(error) => Cell::Said(error.clone()),
        None if took.is_empty() => Cell::Said("not reached".to_owned()),
        None => Samples::new("ms", took).into(),
    }
}

/// A ratio of two points of a curve, sample by sample.
fn ratio(curve: &Curve, over: &str, under: &str) -> Cell {
    let at = |name: &str| {
        let points = &curve.series.iter().find(|series| series.name == name)?.points;
        points.iter().find(|point| point.0.total_cmp(&TARGET_SIZE).is_eq()).map(|point| point.1.clone())
    };
    match (at(over), at(under)) {
        (Some(Cell::Measured(over)), Some(Cell::Measured(under))) => {
            // One of them may have had time for fewer.
            over.first(under.values().len()).over(&under.first(over.values().len())).into()
        }
        (Some(Cell::Said(words)), _) | (_, Some(Cell::Said(words))) => Cell::Said(words),
        _ => Cell::Said("not measured at 100,000".to_owned()),
    }
}

fn prefixes(run: &Run, sizes: &[u32], effort: Effort, section: &mut Section) {
    let programs = run.programs.with_file_name("sg-wire");
    let mut curve = Curve::new(
        "update-prefixes",
        "One value more, by prefixes that are there",
        Axis::logarithmic("prefixes"),
        Axis::logarithmic("whole command, ms"),
    );
    let mut whole = Curve::new(
        "update-lists",
        "A whole list replaced, by its prefixes",
        Axis::logarithmic("prefixes"),
        Axis::logarithmic("whole command, ms"),
    );
    let mut live_curve = Curve::new(
        "update-enforced",
        "One prefix more, to enforced, by prefixes that are there",
        Axis::logarithmic("prefixes"),
        Axis::logarithmic("ms"),
    );
    let columns = ["prefixes", "commands", "admitted, sent", "lost", "strangers, sent", "misjudged"];
    let mut packets = Table::new("Packets while commands run", &columns);
    let (mut lost, mut misjudged) = (0, 0);
    for size in sizes {
        let x = f64::from(*size);
        run.note(format_args!("{size} prefixes"));
        let known = Known::new(*size);
        let host = catch_unwind(AssertUnwindSafe(|| Contender::new(&programs, Filter::Ours("auto"), &known)));
        let sets = [Set::new(&known.lines(", "), "flags interval;"), Set::new(&addresses(*size), "")];
        let mut took: [Vec<Took>; 4] = Default::default();
        let start = Instant::now();
        let witness = host.as_ref().ok().map(|host| Witness::start(host, &known.members(64), SET_PORT));
        for n in 0..effort.samples {
            if n >= 3 && start.elapsed() > effort.budget {
                break;
            }
            let address = Ipv4Addr::from(13 << 24 | n);
            if let Ok(host) = &host {
                let ctl = host.ctl.as_ref().expect("ours has a command line");
                again(&mut took[0], || {
                    timed(ctl, &format!("prefix-list add known {address}/32"), effort.limit)
                });
                let rule =
                    format!("rule add bench ingress --protocol tcp --port {} --cidr {address}/32", 9_000 + n);
                again(&mut took[1], || timed(ctl, &rule, effort.limit));
            }
            for (set, took) in sets.iter().zip(&mut took[2..]) {
                again(took, || set.as_ref().map_err(Clone::clone)?.add(address, effort.limit));
            }
        }
        let commands = took[0].len() + took[1].len();
        if let Some(seen) = witness.map(Witness::stop) {
            let cells = [commands as u64, seen.admitted, seen.lost, seen.strangers, seen.misjudged];
            packets.row(
                crate::results::figure(x),
                cells.map(|count| Samples::one("", count as f64).into()).into(),
            );
            lost += seen.lost;
            misjudged += seen.misjudged;
        }
        if let Err(panic) = &host {
            let said = crate::said(panic.as_ref());
            took[..2].iter_mut().for_each(|took| took.push(Err(format!("not set up: {said}"))));
        }
        for (name, took) in [OURS, OURS_RULE, INTERVAL, HASH].into_iter().zip(&took) {
            curve.add(name, x, milliseconds(took));
        }
        if let Ok(host) = &host {
            let ctl = host.ctl.as_ref().expect("ours has a command line");
            let live: Vec<_> = (0..effort.samples.min(5))
                .map(|n| {
                    let address = Ipv4Addr::from(14 << 24 | n);
                    watched(ctl, &format!("prefix-list add known {address}/32"), effort.limit)
                })
                .collect();
            live_curve.add(
                "start of the process to enforced",
                x,
                milliseconds(&part(&live, |live| live.since_start)),
            );
            live_curve.add("commit to enforced", x, milliseconds(&part(&live, |live| live.since_commit)));
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), Known::other(*size).lines("\n")).unwrap();
            let line = format!("prefix-list import known --replace {}", file.path().display());
            whole.add(
                "ours: prefix-list import --replace",
                x,
                milliseconds(&[timed(ctl, &line, effort.limit)]),
            );
        }
        let replaced = sets[0].as_ref().map_err(Clone::clone);
        let replaced = replaced.and_then(|set| set.replace(&Known::other(*size).lines(", "), effort.limit));
        whole.add("nft -f, interval set", x, milliseconds(&[replaced]));
    }
    for (what, under, bound) in [
        (
            "one prefix more in a list of 100 k, `nft add element` to an interval set over ours",
            INTERVAL,
            50.0,
        ),
        ("the same, `nft add element` to a hash set over ours", HASH, 1.0),
    ] {
        section.targets.push(Target::new(what, Bound::AtLeast(bound), ratio(&curve, under, OURS), ""));
    }
    section.targets.push(Target::new(
        "packets lost or misjudged while changes go live",
        Bound::AtMost(0.0),
        Samples::one("", (lost + misjudged) as f64),
        "",
    ));
    section.tables.push(packets);
    section.curves.extend([curve, live_curve, whole]);
}

/// As many addresses as that, for a set of nftables.
fn addresses(count: u32) -> String {
    let addresses: Vec<String> = (0..count).map(|n| Ipv4Addr::from((80 << 24) + n * 2).to_string()).collect();
    addresses.join(", ")
}

fn members(run: &Run, sizes: &[u32], effort: Effort, section: &mut Section) {
    let mut curve = Curve::new(
        "update-members",
        "One member more, by members that are there",
        Axis::logarithmic("members"),
        Axis::logarithmic("whole command, ms"),
    );
    for size in sizes {
        let x = f64::from(*size);
        run.note(format_args!("{size} members"));
        let host = crowd::Crowd::new(1, 1, *size, effort.limit);
        let set = Set::new(&addresses(*size), "");
        let mut took: [Vec<Took>; 2] = Default::default();
        let start = Instant::now();
        for n in 0..effort.samples {
            if n >= 3 && start.elapsed() > effort.budget {
                break;
            }
            again(&mut took[0], || host.as_ref().map_err(Clone::clone)?.register(n, effort.limit));
            let address = Ipv4Addr::from(13 << 24 | n);
            again(&mut took[1], || set.as_ref().map_err(Clone::clone)?.add(address, effort.limit));
        }
        curve.add(OURS_MEMBER, x, milliseconds(&took[0]));
        curve.add(HASH, x, milliseconds(&took[1]));
    }
    section.curves.push(curve);
}
