//! Nanoseconds a lookup in a long prefix list: the index against the kernel's trie of the same prefixes.
//!
//! A program of the benchmark's own (`sg-ebpf/bench/index.rs`) takes one address after the other out of an array, so that
//! caches miss as they would, and the same program without a lookup is subtracted. The three are measured by turns.

use crate::{
    Run,
    results::{Axis, Bound, Cell, Curve, Samples, Section, Table, Target},
};
use sg_ctl::{
    compile::{Family, Net},
    kernel::index::{Coverage, Index},
};
use sg_tests::index::{By, Oracle};
use std::time::Instant;

/// Addresses that are asked for, in turn.
const QUERIES: u32 = 1 << 19;

/// splitmix64: the same lists in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    fn address(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    /// An address of the prefix.
    fn within(&mut self, net: &Net) -> u128 {
        net.address | self.address().checked_shr(u32::from(net.length)).unwrap_or(0)
    }

    /// An address of one of the prefixes.
    fn within_one_of(&mut self, nets: &[Net]) -> u128 {
        let one = self.below(nets.len() as u64) as usize;
        self.within(&nets[one])
    }
}

/// How the prefixes of a list lie to each other.
#[derive(Clone, Copy)]
enum Kind {
    /// Lengths are uniform; shorter ones cover longer ones.
    Nested,
    /// None covers another, and there is a gap behind each: each has both its boundaries in the index. They are spread
    /// unevenly, as real ones are.
    Apart,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Nested => "any lengths",
            Self::Apart => "all apart",
        }
    }
}

/// A list, and addresses of which half are in it.
struct List {
    prefixes: Vec<Net>,
    queries: Vec<u128>,
}

impl List {
    fn new(kind: Kind, family: Family, count: u32) -> Self {
        let mut random = Random(u64::from(count));
        let space = match (kind, family) {
            (Kind::Apart, Family::V4) => Net { address: 0, length: 0 },
            // Half of all addresses, and half of those that are in use.
            (Kind::Nested, Family::V4) => Net { address: 0, length: 1 },
            (Kind::Apart, Family::V6) => Net { address: 1 << 125, length: 3 },
            (Kind::Nested, Family::V6) => Net { address: 1 << 125, length: 4 },
        };
        match kind {
            Kind::Nested => Self::nested(space, family, count, &mut random),
            Kind::Apart => Self::apart(space, family, count, &mut random),
        }
    }

    fn nested(space: Net, family: Family, count: u32, random: &mut Random) -> Self {
        // IPv4 from /8 to /32, IPv6 from /16 to /64.
        let (least, most) = if family == Family::V4 { (8u8, 32u8) } else { (16, 64) };
        let mut prefixes = Vec::new();
        while prefixes.len() < count as usize {
            for _ in prefixes.len()..count as usize {
                let length = least + random.below(u64::from(most - least + 1)) as u8;
                let address = random.within(&space) & u128::MAX << (128 - length);
                prefixes.push(Net { address, length });
            }
            prefixes.sort_unstable();
            prefixes.dedup();
        }
        let beside = Net { address: space.address | 1 << (128 - space.length), ..space };
        let queries = (0..QUERIES).map(|_| match random.below(2) {
            0 => random.within(&beside),
            _ => random.within_one_of(&prefixes),
        });
        let queries = queries.collect();
        Self { prefixes, queries }
    }

    fn apart(space: Net, family: Family, count: u32, random: &mut Random) -> Self {
        let longest = if family == Family::V4 { 32 } else { 64 };
        let mut leaves = Vec::new();
        let mut open = vec![(space, 2 * u64::from(count))];
        // Divides the addresses into twice as many prefixes; every other one is in the list.
        while let Some((net, share)) = open.pop() {
            if share == 1 {
                leaves.push(net);
                continue;
            }
            let length = net.length + 1;
            let room = 1u64 << (longest - length);
            let (least, most) = (share.saturating_sub(room).max(1), room.min(share - 1));
            let lower = least + random.below(most - least + 1);
            let upper = Net { address: net.address | 1 << (128 - length), length };
            open.push((upper, share - lower));
            open.push((Net { length, ..net }, lower));
        }
        let queries = (0..QUERIES).map(|_| random.within_one_of(&leaves));
        let queries = queries.collect();
        Self { prefixes: leaves.into_iter().step_by(2).collect(), queries }
    }
}

fn rounds(run: &Run) -> usize {
    run.choose(9, 1)
}

/// What one list costs.
struct Measured {
    index: Samples,
    trie: Samples,
    /// Milliseconds, of the sorted prefixes.
    build: f64,
    /// Bytes.
    memory: usize,
}

fn look_up(run: &Run, list: &List, family: Family) -> Measured {
    let programs = run.programs.with_file_name("sg-index");
    let oracle = Oracle::new(&programs, family, QUERIES, list.prefixes.len() as u32);
    let began = Instant::now();
    let index = Index::build(family, &Coverage::of(&list.prefixes)).unwrap();
    let build = began.elapsed().as_secs_f64() * 1e3;
    oracle.set_index(&index);
    oracle.fill_trie(&list.prefixes);
    let step = 128 - u32::from(family.bits());
    let queries: Vec<u128> = list.queries.iter().map(|address| address >> step << step).collect();
    oracle.set_queries(&queries, 0);
    let answers = [By::Index, By::Trie].map(|by| {
        oracle.ask(by, QUERIES);
        oracle.answers()
    });
    let mut took = [const { Vec::new() }; 3];
    for _ in 0..rounds(run) {
        for (by, took) in [By::Nothing, By::Index, By::Trie].into_iter().zip(&mut took) {
            took.push(oracle.ask(by, QUERIES).as_nanos() as f64);
        }
    }
    let inside = answers[0].iter().sum::<u64>();
    assert!(
        (QUERIES / 5 * 2..QUERIES / 5 * 3).contains(&(inside as u32)),
        "{inside} of {QUERIES} addresses are inside"
    );
    assert!(answers[0] == answers[1], "the index and the trie do not say the same");
    let [nothing, index_took, trie] = took.map(|values| Samples::new("ns", values));
    Measured { index: index_took.minus(&nothing), trie: trie.minus(&nothing), build, memory: index.bytes() }
}

/// Curves for both families, a table and targets.
pub fn measure(run: &Run) -> Section {
    let mut section = Section::new(
        "lists",
        &[
            "`BPF_PROG_TEST_RUN` of a program that looks addresses up, at random and half of them in the list; nanoseconds over \
             the same program without a lookup in the same round (`sg-ebpf/bench/index.rs`)",
            "\"any lengths\": random prefixes from /8 to /32 (IPv6: /16 to /64), of which the shorter ones cover most others",
            "\"all apart\": none covers or touches another, and they are spread unevenly: what is hardest for the index",
            "the kernel's trie holds the same prefixes and nothing else, and the answers are compared",
        ],
    );
    section.how.push(format!("{} rounds of {QUERIES} addresses each", rounds(run)));
    let sizes: &[u32] = run.choose(&[10_000, 100_000, 1_000_000], &[1_000]);
    let mut table = Table::new("The index of a prefix list", &["list", "built in, ms", "bytes a prefix"]);
    let mut ratios = Vec::new();
    for family in [Family::V4, Family::V6] {
        let name = if family == Family::V4 { "IPv4" } else { "IPv6" };
        let file = format!("prefix-lists-{}", name.to_lowercase());
        let (x, y) = (Axis::logarithmic("prefixes"), Axis::linear("ns a lookup"));
        let mut curve = Curve::new(&file, &format!("Long prefix lists, {name}"), x, y);
        for kind in [Kind::Nested, Kind::Apart] {
            let mut trie_at_first = None;
            for count in sizes {
                let measured = look_up(run, &List::new(kind, family, *count), family);
                let size = f64::from(*count);
                curve.add(&format!("index, {}", kind.name()), size, measured.index.clone());
                curve.add(&format!("kernel's trie, {}", kind.name()), size, measured.trie.clone());
                let bytes = measured.memory as f64 / size;
                table.row(
                    format!("{name}, {count}, {}", kind.name()),
                    vec![Samples::one("ms", measured.build).into(), Samples::one("B", bytes).into()],
                );
                let trie_at_first = trie_at_first.get_or_insert_with(|| measured.trie.clone());
                if count == sizes.last().unwrap() {
                    ratios.push((measured.trie.over(&measured.index), measured.index.over(trie_at_first)));
                }
            }
        }
        section.curves.push(curve);
    }
    section.tables.push(table);
    let by_median = |one: &&Samples, other: &&Samples| one.median().total_cmp(&other.median());
    let faster = ratios.iter().map(|ratio| &ratio.0).min_by(by_median).cloned();
    let dearer = ratios.iter().map(|ratio| &ratio.1).max_by(by_median).cloned();
    let cell =
        |ratio: Option<Samples>| Cell::from(ratio.filter(|_| !run.quick).ok_or("a quick run".to_owned()));
    let beside = "the worst of both families and kinds of lists";
    section.targets.push(Target::new(
        "a million prefixes: the kernel's trie over the index",
        Bound::AtLeast(4.0),
        cell(faster),
        beside,
    ));
    section.targets.push(Target::new(
        "the index of a million prefixes over the kernel's trie of 10,000",
        Bound::AtMost(1.0),
        cell(dearer),
        beside,
    ));
    section
}
