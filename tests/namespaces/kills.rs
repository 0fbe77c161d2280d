//! `kill -9` at every step of a command: before each system call by which it changes the store, the maps or the pins.
//!
//! At the moment of death the kernel judges by the old policy or the new one, whole. After the next command, whatever it
//! is, store and kernel agree, on the old state or the new one; after the next change nothing is left over.

use sg_ctl::{
    compile::{Image, compile},
    model::State,
};
use sg_tests::{
    ctl::{Lab, Ran, binary},
    enforced::{Enforced, Look, agree, judgements, stored},
    net::IFACE,
    trace::{Traced, cut_off},
};
use std::process::Command;

const SSH: &str = "ingress --protocol tcp --port 22 --cidr 203.0.113.0/24";
/// A rule whose coming and going is a change like any other.
const OTHER: &str = "ingress --protocol udp --port 9 --cidr 192.0.2.9/32";
/// The second interface: the host's end of a guest's link.
const GUEST: &str = "tap0";

/// What a state says, in words without the ids that a command draws.
fn told(state: &State) -> Vec<String> {
    let group = |id| state.groups.get(id).map_or("?", |group| group.name.as_str());
    let mut told: Vec<String> = state.groups.values().map(|group| format!("group {}", group.name)).collect();
    told.extend(state.rules.values().map(|rule| {
        let (of, to, what) = (group(&rule.group), rule.direction, rule.traffic);
        format!("rule of {of}: {to:?} {what:?} {:?}", rule.peer)
    }));
    told.extend(state.interfaces.values().map(|eni| {
        let groups: Vec<_> = eni.groups.iter().map(group).collect();
        let options = eni.attachment.as_ref().map(|how| (how.options, how.timeouts));
        format!("interface {}: {groups:?} {:?} {options:?}", eni.name, eni.addresses)
    }));
    told.extend(state.prefix_lists.values().map(|list| {
        let entries: Vec<_> = list.current().map(|(cidr, _)| cidr.to_string()).collect();
        format!("list {}: {}", list.name, entries.concat())
    }));
    told.sort();
    told
}

/// Which steps a command is killed at.
#[derive(Clone, Copy)]
enum Steps {
    /// Each.
    All,
    /// Where the same call is made several times in a row, before the first, the second and the last: for commands
    /// that load programs, which takes a second each time.
    Sampled,
}

impl Steps {
    /// Numbers of calls, from 1.
    fn of(self, calls: &[String]) -> Vec<usize> {
        let is_chosen = |at: &usize| {
            let call = |n: usize| calls.get(n.wrapping_sub(1));
            let inside = call(at - 2) == call(*at) && call(at - 1) == call(*at) && call(at + 1) == call(*at);
            matches!(self, Self::All) || !inside
        };
        (1..=calls.len()).filter(|at| *at < 3 || is_chosen(at)).collect()
    }
}

/// A command, and how to undo it.
struct Deed<'a> {
    lab: &'a Lab,
    line: &'a str,
    undo: &'a [&'a str],
    /// What the state says before and after it.
    states: [Vec<String>; 2],
    /// The same, compiled.
    images: [Image; 2],
}

fn traced(lab: &Lab, line: &str, at: usize) -> Traced {
    cut_off(lab.ctl.prepare(&mut Command::new(binary())).args(line.split_whitespace()), at)
}

/// Kills the command at every step, each time on the same ground, and looks.
fn survives(lab: &Lab, line: &str, undo: &[&str], steps: Steps) {
    let old = agree(&lab.ctl, Look::Settled).state;
    let whole = traced(lab, line, usize::MAX);
    assert!(matches!(whole.finished, Some(Ran { code: Some(0), .. })), "{:?}", whole.finished);
    let new = agree(&lab.ctl, Look::Agreement).state;
    let states = [told(&old), told(&new)];
    assert_ne!(states[0], states[1], "`{line}` changes nothing");
    let images = [&old, &new].map(compile);
    let deed = Deed { lab, line, undo, states, images };
    deed.undo();

    let chosen = steps.of(&whole.calls);
    println!("`{line}` makes {} changes; killed before {} of them", whole.calls.len(), chosen.len());
    let mut seen = [0, 0];
    // How many pages the store writes differs from run to run: on, then, until the command ends before it is killed.
    for at in chosen.into_iter().chain(whole.calls.len() + 1..) {
        let cut = traced(lab, line, at);
        if let Some(ran) = cut.finished {
            assert_eq!(ran.code, Some(0), "{ran:?}");
            deed.undo();
            if at > whole.calls.len() {
                break;
            }
            continue;
        }
        println!("killed before change {at}, {}", cut.calls.last().expect("a call"));
        seen[usize::from(deed.recovers(at))] += 1;
    }
    // A run that wrote fewer pages may have ended above without a kill after its commit: its last change comes after that.
    for _ in 0..20 {
        if seen[1] > 0 {
            break;
        }
        let last = traced(lab, line, usize::MAX).calls.len();
        deed.undo();
        match traced(lab, line, last).finished {
            Some(_) => deed.undo(),
            None => seen[usize::from(deed.recovers(last))] += 1,
        }
    }
    println!("old state {} times, new state {} times", seen[0], seen[1]);
    assert!(seen[0] > 0 && seen[1] > 0, "a kill leaves now the old state, now the new one: {seen:?}");
}

impl Deed<'_> {
    fn undo(&self) {
        for line in self.undo {
            self.lab.ctl.json(line);
        }
        assert_eq!(told(&agree(&self.lab.ctl, Look::Settled).state), self.states[0], "undone");
    }

    /// After a kill. Returns whether the new state is what came of it.
    fn recovers(&self, at: usize) -> bool {
        let ctl = &self.lab.ctl;
        if let Some(left) = Enforced::read(ctl.bpffs())
            && !left.judgements.is_empty()
        {
            let is_whole = |image| judgements(image, &left.indexes()) == left.judgements;
            assert!(self.images.iter().any(is_whole), "half a policy: {:#?}", left.judgements);
        }
        // The next command: one that changes something else, one that only looks, or the same again, which is refused
        // where it was done (but for `set-groups`).
        let mut was_old = false;
        match at % 3 {
            0 => drop(ctl.json("group create unrelated --description x")),
            1 => drop(ctl.json("status")),
            _ => {
                let again = ctl.run(self.line);
                assert_eq!(told(&stored(ctl).state), self.states[1], "{again:?}");
                was_old = again.code == Some(0);
            }
        }
        let mut left = told(&agree(ctl, Look::Agreement).state);
        if at.is_multiple_of(3) {
            ctl.json("group delete unrelated");
            left = told(&agree(ctl, Look::Agreement).state);
        }
        let is_new = left == self.states[1];
        assert!(is_new || left == self.states[0], "neither old nor new: {left:#?}");
        let status = ctl.json("status");
        for interface in status["interfaces"].as_array().expect("interfaces") {
            assert_eq!(interface["enforcing"], true, "{interface:#}");
        }
        // The next change leaves nothing over.
        ctl.json(&format!("rule add web {OTHER}"));
        agree(ctl, Look::Settled);
        ctl.json(&format!("rule remove web {OTHER}"));
        agree(ctl, Look::Settled);
        if is_new {
            self.undo();
        }
        is_new && !was_old
    }
}

/// [`IFACE`] is attached, and there is a second device.
fn lab() -> Lab {
    let lab = Lab::attached(&[SSH]);
    lab.host.ip(&format!("link add {GUEST} type veth peer name tap0-peer"));
    lab.host.ip(&format!("link set {GUEST} up"));
    lab.ctl.group("db", &["ingress --protocol tcp --port 5432 --source-group web"]);
    // An enforced change, so that what follows starts from a clean host.
    lab.ctl.json(&format!("rule add web {OTHER}"));
    lab.ctl.json(&format!("rule remove web {OTHER}"));
    lab
}

#[test]
fn killed_rule_add() {
    let rule = "web ingress --protocol tcp --port 80 --cidr 10.0.0.0/8 --cidr ::/0";
    survives(&lab(), &format!("rule add {rule}"), &[&format!("rule remove {rule}")], Steps::All);
}

#[test]
fn killed_rule_remove() {
    survives(&lab(), &format!("rule remove web {SSH}"), &[&format!("rule add web {SSH}")], Steps::All);
}

#[test]
fn killed_set_groups() {
    let back = format!("interface set-groups {IFACE} web");
    survives(&lab(), &format!("interface set-groups {IFACE} web db"), &[&back], Steps::All);
}

#[test]
fn killed_group_delete() {
    let lab = lab();
    lab.ctl.group("spare", &[]);
    let create = "group create spare --description test";
    survives(&lab, "group delete spare", &[create], Steps::All);
}

#[test]
fn killed_first_attach() {
    let lab = lab();
    lab.ctl.json(&format!("detach {IFACE}"));
    let line = format!("attach {IFACE} --group web --adopt none");
    survives(&lab, &line, &[&format!("detach {IFACE}")], Steps::Sampled);
}

#[test]
fn killed_further_attach() {
    let line = format!("attach {GUEST} --side guest --address 192.0.2.7 --group db --adopt none");
    survives(&lab(), &line, &[&format!("detach {GUEST}")], Steps::Sampled);
}

#[test]
fn killed_detach_of_one_of_two() {
    let lab = lab();
    let back = format!("attach {GUEST} --side guest --address 192.0.2.7 --group db --adopt none");
    lab.ctl.json(&back);
    survives(&lab, &format!("detach {GUEST}"), &[&back], Steps::Sampled);
}

#[test]
fn killed_last_detach() {
    let back = format!("attach {IFACE} --group web --adopt none");
    survives(&lab(), &format!("detach {IFACE}"), &[&back], Steps::Sampled);
}

#[test]
fn killed_change_of_a_long_list() {
    let lab = lab();
    lab.ctl.json("quota entries-per-prefix-list=20000 rules-per-group=40000 rules-per-interface=200000");
    lab.ctl.json("prefix-list create feed --family ipv4 --max-entries 20000");
    let path = lab.ctl.state_dir().join("feed.txt");
    let nets: String =
        (0..16_500).map(|n| format!("{}.{}.{}.0/25\n", 20 + (n >> 16), n >> 8 & 255, n & 255)).collect();
    std::fs::write(&path, nets).expect("a file");
    lab.ctl.json(&format!("prefix-list import feed {}", path.display()));
    lab.ctl.json("rule add web ingress --protocol tcp --port 443 --prefix-list feed");
    let change = "prefix-list add feed 198.51.100.0/24";
    survives(&lab, change, &["prefix-list remove feed 198.51.100.0/24"], Steps::All);
}
