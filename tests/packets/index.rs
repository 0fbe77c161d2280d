//! The index of long prefix lists against the entries read one by one: as a whole, by the datapath's lookup in this process,
//! and by the same lookup in the kernel.

use proptest::{prelude::*, sample::select, test_runner::Config};
use sg_ctl::{
    compile::{Family, Net},
    kernel::index::{Change, Coverage, Index, Range, TooDense, range},
};
use sg_tests::index::{By, Oracle, programs, words};
use std::cell::RefCell;

/// Questions that one run answers.
const ROOM: u32 = 1 << 10;

fn bits(family: Family) -> u32 {
    u32::from(family.bits())
}

/// The prefix of this length that the address is in.
fn net(address: u128, length: u32) -> Net {
    Net { address: address & u128::MAX.checked_shl(128 - length).unwrap_or(0), length: length as u8 }
}

/// Entries of all lengths: anywhere, and close together behind a few common heads, where they nest and touch.
fn entry(family: Family) -> impl Strategy<Value = Net> {
    let whole = bits(family);
    let head = select(vec![0u128, 0x2001_0db8 << 96, 0x2001_0db8_0001 << 80, 0x0a00 << 112, u128::MAX]);
    let common = prop_oneof![Just(0), 0..=whole, Just(whole - 8)];
    // Few short ones: they cover what else there is.
    let length = prop_oneof![400 => 10..=whole, 200 => whole - 8..=whole, 1 => 0..10u32];
    (head, common, any::<u128>(), length).prop_map(move |(head, common, tail, length)| {
        let mask = u128::MAX.checked_shl(128 - common).unwrap_or(0);
        net(head & mask | tail & !mask, length)
    })
}

fn family() -> impl Strategy<Value = Family> {
    select(vec![Family::V4, Family::V6])
}

fn entries(family: Family, most: usize) -> impl Strategy<Value = Vec<Net>> {
    let some = prop::collection::vec(entry(family), 0..most);
    (some, 0..3usize, prop::bool::weighted(0.8)).prop_map(move |(mut entries, twice, wide)| {
        // Duplicates are entries like others.
        entries.extend_from_within(..twice.min(entries.len()));
        if wide {
            // The root then divides all addresses, and has a place for every change.
            entries.extend([net(1 << 126, bits(family)), net(3 << 126, bits(family))]);
        }
        entries
    })
}

/// Addresses at and beside every edge, as far as there is room for questions, and some anywhere.
fn probes(family: Family, ranges: &[Range]) -> Vec<u128> {
    let step = 1u128 << (128 - bits(family));
    let edges = ranges.iter().flat_map(|(first, last)| {
        [*first, first.wrapping_sub(step), last & !(step - 1), last.wrapping_add(1)]
    });
    let mut state = 1u128;
    let anywhere = std::iter::repeat_with(|| {
        state = state.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(7);
        state.rotate_left(64) & !(step - 1)
    });
    edges.take(ROOM as usize - 64).chain(anywhere.take(64)).collect()
}

fn ranges(entries: &[Net]) -> Vec<Range> {
    entries.iter().map(range).collect()
}

fn in_this_process(index: &Index, address: u128, generation: u64) -> bool {
    match index.family() {
        Family::V4 => index.holds(words(address)[0], generation),
        Family::V6 => index.holds(words(address), generation),
    }
}

/// The oracles of both families.
struct Kernel([Oracle; 2]);

impl Kernel {
    fn new() -> Self {
        Self([Family::V4, Family::V6].map(|family| Oracle::new(&programs(), family, ROOM, 1 << 16)))
    }

    /// From now on packets use this index. (The kernel waits for those that use another.)
    fn install(&self, index: &Index) {
        self.0[index.family() as usize].set_index(index);
    }

    /// Holds what a packet of this generation finds against what it should.
    #[track_caller]
    fn check(&self, index: &Index, ranges: &[Range], generation: u64, when: &str) {
        let oracle = &self.0[index.family() as usize];
        assert_eq!(index.coverage(generation), Coverage::of_ranges(ranges.to_vec()), "{when}");
        let probes = probes(index.family(), ranges);
        let answers = oracle.holds(By::Index, &probes, generation);
        for (address, answer) in probes.iter().zip(answers) {
            let expected = ranges.iter().any(|(first, last)| (first..=last).contains(&address));
            assert_eq!(in_this_process(index, *address, generation), expected, "{when}: {address:032x}");
            assert_eq!(answer, expected, "{when}, in the kernel: {address:032x}");
        }
    }
}

fn runs(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

#[test]
fn a_list_holds_what_its_entries_cover() {
    let kernel = Kernel::new();
    let list = family().prop_flat_map(|family| (Just(family), entries(family, 300)));
    proptest!(runs(100), |((family, entries) in list)| {
        let index = Index::build(family, &Coverage::of(&entries)).unwrap();
        kernel.install(&index);
        kernel.check(&index, &ranges(&entries), 0, "built");
    });
}

/// Ranges in one place, with their boundaries anywhere: so that nodes have bits to skip, more boundaries than stay one run,
/// and what is behind them inside as well as outside.
fn crowd(family: Family) -> impl Strategy<Value = Vec<Range>> {
    let step = 128 - bits(family);
    let common = 0..bits(family) - 8;
    let pairs = prop::collection::vec(any::<(u128, u128)>(), 1..400);
    (any::<u128>(), common, pairs, any::<bool>(), any::<bool>()).prop_map(
        move |(head, common, pairs, open, apart)| {
            let mask = u128::MAX.checked_shl(128 - common).unwrap_or(0);
            let place = |tail: u128| (head & mask | tail & !mask) >> step << step;
            let fill = (1u128 << step) - 1;
            // Short ranges, or they would all be one.
            let short = |(at, length): (u128, u128)| {
                let first = place(at);
                let last = first.saturating_add(length.checked_shr(common + 8).unwrap_or(0)) >> step << step;
                (first, last | fill)
            };
            let mut ranges: Vec<Range> = pairs.into_iter().map(short).collect();
            if open {
                ranges.push((ranges[0].0, u128::MAX));
            }
            if apart {
                ranges.push((1 << step, 2 << step | fill));
            }
            ranges
        },
    )
}

#[test]
fn ranges_that_crowd_in_one_place_are_told_from_what_is_around_them() {
    let kernel = Kernel::new();
    let crowds = family().prop_flat_map(|family| (Just(family), crowd(family)));
    proptest!(runs(60), |((family, ranges) in crowds)| {
        let index = Index::build(family, &Coverage::of_ranges(ranges.clone())).unwrap();
        kernel.install(&index);
        kernel.check(&index, &ranges, 0, "built");
    });
}

/// A step of a list's life.
#[derive(Clone, Debug)]
struct Step {
    added: Vec<Net>,
    /// Entries to remove, by a number modulo how many there are.
    removed: Vec<usize>,
    /// Added to what is staged already, for the same generation.
    again: Vec<Net>,
    goes_live: bool,
}

fn step(family: Family) -> impl Strategy<Value = Step> {
    let removed = prop::collection::vec(any::<usize>(), 0..4);
    let added = prop::collection::vec(entry(family), 0..6);
    (added, removed, prop::collection::vec(entry(family), 0..2), any::<bool>())
        .prop_map(|(added, removed, again, goes_live)| Step { added, removed, again, goes_live })
}

/// Stages a change or builds the index anew. Returns whether it was staged.
fn change(index: &mut Index, change: Change<'_>, after: &[Net], quiescent: &mut u64) -> bool {
    let others = |(first, last)| {
        let meets = |net: &&Net| range(net).0 <= last && first <= range(net).1;
        Ok(after.iter().filter(meets).copied().collect())
    };
    match index.plan(&change, others).expect("a plan") {
        Some(plan) => {
            // What the caller waits for: everything before the live generation has left.
            assert!(plan.after() <= change.live);
            *quiescent = plan.after();
            index.stage(&plan);
            true
        }
        None => {
            *index = Index::build(index.family(), &Coverage::of(after)).expect("an index");
            false
        }
    }
}

#[test]
fn p3_a_change_is_for_the_generation_it_was_staged_for_and_can_be_taken_back() {
    let kernel = Kernel::new();
    let life = family().prop_flat_map(|family| {
        (Just(family), entries(family, 200), prop::collection::vec(step(family), 1..8))
    });
    let staged = RefCell::new((0u32, 0u32));
    proptest!(runs(60), |((family, mut entries, steps) in life)| {
        let mut index = Index::build(family, &Coverage::of(&entries)).unwrap();
        kernel.install(&index);
        let (mut live, mut quiescent) = (1 << 20, 0);
        for step in steps {
            let since = live + 1;
            let mut after = entries.clone();
            let mut removed = Vec::new();
            for n in &step.removed {
                if !after.is_empty() {
                    removed.push(after.swap_remove(n % after.len()));
                }
            }
            after.extend(&step.added);
            let first = Change { added: &step.added, removed: &removed, live, since };
            let mut in_place = change(&mut index, first, &after, &mut quiescent);
            after.extend(&step.again);
            let second = Change { added: &step.again, removed: &[], live, since };
            in_place &= change(&mut index, second, &after, &mut quiescent);
            let mut counts = staged.borrow_mut();
            (counts.0, counts.1) = (counts.0 + u32::from(in_place), counts.1 + u32::from(!in_place));
            if !in_place {
                kernel.install(&index);
            }
            kernel.check(&index, &ranges(&after), since, "staged, for the next generation");
            if !in_place {
                (entries, live) = (after, since);
                continue;
            }
            kernel.check(&index, &ranges(&entries), live, "staged, for the live generation");
            if step.goes_live {
                (entries, live) = (after, since);
                index.revert(live);
                kernel.check(&index, &ranges(&entries), live, "live");
            } else {
                index.revert(live);
                kernel.check(&index, &ranges(&entries), since, "taken back");
            }
        }
    });
    let (staged, rebuilt) = staged.into_inner();
    assert!(staged > rebuilt, "{staged} changes were staged and {rebuilt} were not: too few");
}

/// Every other address of a prefix that has so many bits below it.
fn every_other(family: Family, address: u128, below: u32) -> impl Iterator<Item = Net> {
    let whole = bits(family);
    (0..1u128 << (below - 1)).map(move |n| net(address | n << (129 - whole), whole))
}

/// Holds a long list against arithmetic rather than against every entry.
fn check_long(kernel: &Kernel, index: &Index, probes: &[u128], expected: impl Fn(u128) -> bool) {
    let oracle = &kernel.0[index.family() as usize];
    for (address, answer) in probes.iter().zip(oracle.holds(By::Index, probes, 0)) {
        assert_eq!(in_this_process(index, *address, 0), expected(*address), "{address:032x}");
        assert_eq!(answer, expected(*address), "in the kernel: {address:032x}");
    }
}

#[test]
fn a_full_bucket_of_single_addresses_is_found_one_by_one() {
    let kernel = Kernel::new();
    // Something far away, so that the sixteen bits in front of the bucket choose it.
    let far = net(0xf0 << 120, 8);
    let address = 0x0a01 << 112;
    let entries: Vec<Net> = every_other(Family::V4, address, 16).chain([far]).collect();
    let coverage = Coverage::of(&entries);
    assert_eq!(coverage.boundaries().len(), (1 << 16) + 2);
    let index = Index::build(Family::V4, &coverage).unwrap();
    assert_eq!(index.coverage(0), coverage);
    kernel.install(&index);
    for part in 0..64 {
        let probes: Vec<u128> = (0..1 << 10).map(|n| address | (part << 10 | n) << 96).collect();
        check_long(&kernel, &index, &probes, |address| address >> 96 & 1 == 0);
    }
}

/// An IPv6 list whose entries hide behind as many nodes as there can be: each node has one bit set that the others lack, so
/// that it takes its sixteen and divides nothing.
fn deep() -> (Vec<Net>, u128) {
    let outliers = [0u32, 17, 34].map(|bit| net(1 << (127 - bit), bit + 1));
    (outliers.to_vec(), 0)
}

#[test]
fn the_longest_run_is_searched_to_its_end() {
    let kernel = Kernel::new();
    let (mut entries, address) = deep();
    entries.extend(every_other(Family::V6, address, 16));
    let coverage = Coverage::of(&entries);
    let index = Index::build(Family::V6, &coverage).unwrap();
    assert_eq!(index.coverage(0), coverage);
    kernel.install(&index);
    for part in 0..64 {
        let probes: Vec<u128> = (0..1 << 10).map(|n| address | part << 10 | n).collect();
        check_long(&kernel, &index, &probes, |address| address & 1 == 0);
    }
    // Twice as many are too many for one run.
    entries.extend(every_other(Family::V6, address | 1 << 16, 16));
    let refused = Index::build(Family::V6, &Coverage::of(&entries)).map(|_| ()).unwrap_err();
    assert!(refused.is::<TooDense>(), "{refused:#}");
}

#[test]
fn changes_that_use_the_memory_up_ask_for_a_new_index() {
    let entries: Vec<Net> = (0..1000u128).map(|n| net(n << 118, 20)).collect();
    let mut index = Index::build(Family::V4, &Coverage::of(&entries)).unwrap();
    let size = index.bytes();
    let mut after = entries.clone();
    let mut quiescent = 0;
    let mut since = 1;
    // Each change replaces every slot of a /8.
    let wide = net(0xf0 << 120, 8);
    loop {
        after.push(wide);
        let added = Change { added: &[wide], removed: &[], live: since - 1, since };
        if !change(&mut index, added, &after, &mut quiescent) {
            break;
        }
        assert_eq!(index.bytes(), size);
        assert_eq!(index.coverage(since), Coverage::of(&after));
        after.pop();
        let removed = Change { added: &[], removed: &[wide], live: since, since: since + 1 };
        if !change(&mut index, removed, &after, &mut quiescent) {
            break;
        }
        assert_eq!(quiescent, since, "the slots' older versions must have been left");
        since += 2;
    }
    assert!(since > 3, "there was room for some");
    assert_eq!(index.coverage(0), Coverage::of(&after));
}

#[test]
fn an_index_is_found_again_by_its_array() {
    let entries = [net(0x2001_0db8 << 96, 32), net(0x2001_0db9 << 96, 48)];
    let index = Index::build(Family::V6, &Coverage::of(&entries)).unwrap();
    let added = [net(0x2001_0db9_0002 << 80, 48)];
    let change = Change { added: &added, removed: &[], live: 4, since: 5 };
    let plan = index.plan(&change, |_| unreachable!("nothing goes")).unwrap().unwrap();
    assert!(!plan.is_empty());
    index.stage(&plan);
    // Killed here; the next command opens what there is.
    let again = Index::open(index.fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(again.family(), Family::V6);
    assert_eq!(again.coverage(5), Coverage::of(entries.iter().chain(&added)));
    again.revert(4);
    assert_eq!(again.coverage(5), Coverage::of(&entries));
    let nothing = Change { added: &[net(0x2001_0db8_0001 << 80, 48)], removed: &[], live: 4, since: 5 };
    assert!(again.plan(&nothing, |_| unreachable!()).unwrap().unwrap().is_empty(), "covered already");
}
