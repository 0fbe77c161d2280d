//! What the maps take: as they are with nothing in them, and what one thing more takes.

use crate::{
    Run,
    contest::{Contender, Filter, Known},
    results::{Axis, Cell, Curve, Samples, Section, Table},
    update::crowd::Crowd,
};
use aya::maps::loaded_maps;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::{AsFd, AsRawFd},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

const HOW: [&str; 3] = [
    "the kernel's own figure (`memlock` in `fdinfo`) for every map that came into being with a host: those that are pinned, those inside others, and constants of programs; not the programs themselves. Whatever else makes maps meanwhile is counted too: nothing should",
    "*at rest*: one attached interface, one group, a list of ten prefixes. The last column is a map's memory by the entries that it has room for: what an entry takes where all of it is taken in advance, and next to nothing where it grows with what it holds",
    "*one more*: memory of all maps together with as many prefixes (or registered members) as that, less what it is at rest, by their number",
];

/// The section.
pub fn measure(run: &Run) -> Section {
    let programs = run.programs.with_file_name("sg-wire");
    let mut section = Section::new("memory", &HOW);
    let host = |prefixes| {
        let before = ids();
        let host = catch_unwind(AssertUnwindSafe(|| {
            Contender::new(&programs, Filter::Ours("auto"), &Known::new(prefixes))
        }));
        host.map(|host| (maps(&before), host)).map_err(|panic| crate::said(panic.as_ref()))
    };
    // What cannot even be done with ten is no figure but a failure.
    let (maps, small) = host(10).unwrap();
    section.tables.push(at_rest(&maps));
    let rest = total(&maps);
    drop(small);

    let mut curve = Curve::new(
        "memory-growth",
        "What one prefix or member takes",
        Axis::logarithmic("prefixes or members"),
        Axis::linear("bytes each"),
    );
    for size in run.choose(&[1_000, 10_000, 100_000, 1_000_000][..], &[1_000]) {
        let each = |maps: &BTreeMap<String, Map>| {
            let grown = total(maps) as f64 - rest as f64;
            Cell::from(Samples::one("bytes", grown / f64::from(*size)))
        };
        let prefixes = host(*size).map_or_else(Cell::Said, |(maps, _)| each(&maps));
        curve.add("prefix list", f64::from(*size), prefixes);
        let before = ids();
        let members = Crowd::new(1, 1, *size, Duration::from_secs(180));
        curve.add(
            "members",
            f64::from(*size),
            members.map_or_else(Cell::Said, |_| each(&self::maps(&before))),
        );
    }
    section.curves.push(curve);
    section
}

/// Maps of one name.
struct Map {
    count: u64,
    room: u64,
    bytes: u64,
}

/// Numbers of all maps that the kernel has.
fn ids() -> BTreeSet<u32> {
    loaded_maps().flatten().map(|map| map.id()).collect()
}

/// Maps that came since, by name.
fn maps(before: &BTreeSet<u32>) -> BTreeMap<String, Map> {
    let mut maps = BTreeMap::<String, Map>::new();
    for info in loaded_maps().flatten().filter(|map| !before.contains(&map.id())) {
        // One that another process has let go in the meantime is none of ours.
        let Ok(fd) = info.fd() else { continue };
        let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        let text = fs::read_to_string(path).unwrap();
        let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse::<u64>().ok());
        let name = info.name_as_str().unwrap_or("?").to_owned();
        let map = maps.entry(name).or_insert(Map { count: 0, room: 0, bytes: 0 });
        map.count += 1;
        map.room += u64::from(info.max_entries());
        map.bytes += bytes.expect("the kernel says what a map takes");
    }
    maps
}

fn total(maps: &BTreeMap<String, Map>) -> u64 {
    maps.values().map(|map| map.bytes).sum()
}

fn at_rest(maps: &BTreeMap<String, Map>) -> Table {
    let columns = ["map", "of that name", "room, entries", "bytes", "by room, bytes"];
    let mut table = Table::new("At rest", &columns);
    let count = |count: u64| Cell::from(Samples::one("", count as f64));
    for (name, map) in maps {
        let each = Samples::one("bytes", map.bytes as f64 / map.room as f64);
        table
            .row(format!("`{name}`"), vec![count(map.count), count(map.room), count(map.bytes), each.into()]);
    }
    let nothing = Cell::Said(String::new());
    table.row("all", vec![nothing.clone(), nothing.clone(), count(total(maps)), nothing]);
    table
}
