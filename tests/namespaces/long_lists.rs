//! Prefix lists of many thousand entries, whose prefixes lie in an index instead of the kernel's trie: through the binary,
//! with traffic, and held against a fresh compilation after each change.

use sg_tests::{
    ctl::Lab,
    enforced::{Look, agree},
    net::{FAMILIES, Family, V4},
};
use std::{fmt::Write, fs};

/// Entries with which a list has no index yet; one more, and it has.
const SHORT: u32 = 16_383;

fn is_v4(family: Family) -> bool {
    family.host == V4.host
}

/// Prefixes that no client has an address of.
fn others(family: Family, range: std::ops::Range<u32>) -> String {
    let mut text = String::new();
    for n in range {
        let (high, low) = (n >> 8, n & 255);
        // Gaps between them, so that each is a range of its own.
        let line = match is_v4(family) {
            true => writeln!(text, "{}.{}.{low}.0/25", 20 + (high >> 8), high & 255),
            false => writeln!(text, "2400:{high:x}:{:x}::/48", low * 2),
        };
        line.expect("a string takes text");
    }
    text
}

/// A host whose port 22 is open to a list of the family with so many entries.
fn lab(family: Family) -> Lab {
    let lab = Lab::new();
    let name = if is_v4(family) { "ipv4" } else { "ipv6" };
    lab.ctl.json("quota entries-per-prefix-list=100000 rules-per-group=200000 rules-per-interface=1000000");
    lab.ctl.json(&format!("prefix-list create feed --family {name} --max-entries 100000"));
    import(&lab, &others(family, 0..SHORT));
    lab.ctl.group("web", &["ingress --protocol tcp --port 22 --prefix-list feed"]);
    lab.attach("--group web");
    lab
}

fn import(lab: &Lab, text: &str) {
    let path = lab.ctl.state_dir().join("feed.txt");
    fs::write(&path, text).expect("a file can be written");
    lab.ctl.json(&format!("prefix-list import feed {}", path.display()));
}

fn indexes(lab: &Lab) -> u64 {
    let status = lab.ctl.json("status");
    let maps = status["maps"].as_array().expect("maps");
    let map = maps.iter().find(|map| map["name"] == "prefix_indexes").expect("a map of that name");
    map["entries"].as_u64().expect("a number")
}

#[test]
fn m58_a_list_that_grows_long_is_judged_the_same_and_changes_at_once() {
    for family in FAMILIES {
        let lab = lab(family);
        let change = |line: &str| {
            lab.ctl.json(line);
            agree(&lab.ctl, Look::Agreement);
        };
        // A net of the client's, one around it, and its address alone.
        let [near, wide, alone] = match is_v4(family) {
            true => ["203.0.113.0/31", "203.0.112.0/22", "203.0.113.1/32"],
            false => ["2001:db8::/127", "2001:db8::/125", "2001:db8::1/128"],
        };
        let admits = |is: bool| match is {
            true => lab.connect(family.admin, family.host, 22).goes_on(),
            false => lab.refuses(family.admin, family.host, 22),
        };
        assert_eq!(indexes(&lab), 0, "{SHORT} entries");
        admits(false);
        change(&format!("prefix-list add feed {near}"));
        assert_eq!(indexes(&lab), 1, "one more");
        admits(true);
        lab.refuses(family.other, family.host, 22);

        import(&lab, &others(family, SHORT..SHORT + 9));
        change(&format!("prefix-list remove feed {near}"));
        admits(false);
        change(&format!("prefix-list add feed {near} {wide}"));
        change(&format!("prefix-list remove feed {near}"));
        admits(true);
        change(&format!("prefix-list remove feed {wide}"));
        admits(false);
        change(&format!("prefix-list add feed {alone}"));
        admits(true);
        change(&format!("prefix-list add feed {near}"));
        change(&format!("prefix-list remove feed {alone}"));
        admits(true);
        change(&format!("prefix-list remove feed {near}"));
        admits(false);

        // While no rule names it, and with another list's table in between.
        lab.remove("ingress --protocol tcp --port 22 --prefix-list feed");
        change(&format!("prefix-list add feed {near}"));
        lab.ctl.add_rules("web", &["ingress --protocol tcp --port 22 --prefix-list feed"]);
        agree(&lab.ctl, Look::Agreement);
        admits(true);
        change(&format!("prefix-list remove feed {near}"));
        admits(false);
    }
}

#[test]
fn m56_an_index_without_room_for_a_change_is_built_anew() {
    for family in FAMILIES {
        let lab = lab(family);
        import(&lab, &others(family, SHORT..SHORT + 2));
        agree(&lab.ctl, Look::Settled);
        let near = if is_v4(family) { "203.0.113.0/31" } else { "2001:db8::/127" };
        import(&lab, &format!("{}{near}\n", others(family, SHORT + 2..SHORT + 20_000)));
        agree(&lab.ctl, Look::Settled);
        lab.connect(family.admin, family.host, 22).goes_on();
        lab.refuses(family.other, family.host, 22);
        assert_eq!(indexes(&lab), 1, "the old one is gone");
        lab.ctl.json("prefix-list restore feed --version 3");
        agree(&lab.ctl, Look::Agreement);
        lab.refuses(family.admin, family.host, 22);
    }
}

/// Addresses that no client has, one by one.
fn singles(family: Family, range: std::ops::Range<u32>) -> String {
    let line = |n: u32| match is_v4(family) {
        true => format!("9.0.{}.{}/32\n", n >> 8, n & 255),
        false => format!("2401::{n:x}/128\n"),
    };
    range.map(line).collect()
}

#[test]
fn m56_a_list_with_an_index_may_shrink_and_hold_single_addresses_whatever_is_changed_beside_it() {
    for family in FAMILIES {
        let lab = lab(family);
        import(&lab, &format!("{}{}", others(family, SHORT..SHORT + 2), singles(family, 0..300)));
        let look = || {
            agree(&lab.ctl, Look::Agreement);
            lab.refuses(family.admin, family.host, 22);
        };
        look();
        let (near, alone) = match is_v4(family) {
            true => ("203.0.113.0/31", "203.0.113.1/32"),
            false => ("2001:db8::/127", "2001:db8::1/128"),
        };
        // The first below the length at which a list gets an index; the others come back while it is.
        let gone = others(family, 0..40);
        let gone: Vec<&str> = gone.lines().collect();
        lab.ctl.json(&format!("prefix-list remove feed {}", gone.join(" ")));
        look();
        assert_eq!(indexes(&lab), 1, "a list that had an index keeps it");
        for net in [near, alone] {
            lab.ctl.json(&format!("prefix-list add feed {net}"));
            agree(&lab.ctl, Look::Agreement);
            lab.connect(family.admin, family.host, 22).goes_on();
            lab.ctl.json(&format!("prefix-list remove feed {net}"));
            look();
        }
        lab.ctl.json(&format!("prefix-list add feed {}", gone.join(" ")));
        look();
        // Emptied: the first version was.
        lab.ctl.json("prefix-list restore feed --version 1");
        look();
        lab.ctl.json(&format!("prefix-list add feed {near}"));
        agree(&lab.ctl, Look::Agreement);
        lab.connect(family.admin, family.host, 22).goes_on();
    }
}
