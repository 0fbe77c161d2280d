//! Commands one after the other, and many at once: whatever they are, the kernel's maps equal a fresh compilation of the
//! store behind each, nothing is left over in them, and a command that is refused has changed nothing.

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use sg_ctl::{context::Context, model::State, store, transact::change};
use sg_tests::{
    ctl::{Lab, Ran},
    enforced::{Enforced, Judgements, Look, agree, stored},
    net::IFACE,
};
use std::{fmt, path::PathBuf, thread};

/// Random sequences that a test run tries.
const SEQUENCES: u32 = 40;
/// Commands of a sequence at most.
const COMMANDS: usize = 24;

/// Names of the groups that come and go; the last is always there and is never deleted.
const GROUPS: [&str; 5] = ["g0", "g1", "g2", "g3", "default"];
/// Interfaces with the flags that they are attached with: the instance's own link, and the host's ends of two guests'.
const INTERFACES: [(&str, &str); 3] = [
    (IFACE, ""),
    ("tap0", "--side guest --address 192.0.2.7 --address 2001:db8:7::7"),
    ("tap1", "--side guest --address 192.0.2.8 --force-track --no-exempt link-local"),
];
/// What rules are about.
const TRAFFIC: [&str; 11] = [
    "tcp --port 22",
    "tcp --port 80-90",
    "tcp --port 85-100",
    "tcp --port 0-65535",
    "udp --port 53",
    "udp --port 0-65535",
    "icmp",
    "icmp --icmp-type 8",
    "icmpv6 --icmp-type 128 --icmp-code 0",
    "all",
    "47",
];
/// Whom rules name, beside groups: nested, equal in part, of both families.
const CIDRS: [&str; 8] = [
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3/32",
    "192.0.2.7/32",
    "2001:db8::/32",
    "2001:db8:7::7/128",
];
/// Prefix lists, with entries that they may get: nested, and equal to what rules name as well.
const LISTS: [(&str, &str, [&str; 4]); 2] = [
    ("pl4", "ipv4", ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0"]),
    ("pl6", "ipv6", ["2001:db8::/32", "2001:db8:7::7/128", "2001:db8:7::/48", "::/0"]),
];
/// What is refused, whatever there is.
const NONSENSE: [&str; 5] = [
    "rule add default ingress --protocol tcp --port 90-80 --cidr 10.0.0.0/8",
    "rule add default ingress --protocol tcp --port 80 --cidr 10.0.0.0/8 --cidr 10.0.0.0/33",
    "group delete default",
    "interface set-timeouts sg0 --tcp-established 59",
    "attach lo",
];
/// Addresses that [`IFACE`] gets and loses: its members' addresses, and with the first ones more than a row holds.
const ADDRESSES: [&str; 4] = ["198.51.100.1/24", "198.51.100.2/24", "198.51.100.3/24", "198.51.100.4/24"];

/// What happens.
#[derive(Clone)]
enum Deed {
    /// A command line.
    Command(String),
    /// `rule remove` of whichever rule comes at that place when it is its turn.
    RemoveRule(usize),
    /// [`IFACE`] gets or loses an address, which the next command finds out.
    Address(bool, &'static str),
}

/// As a person would type it, so that what is left of a failure can be typed.
impl fmt::Debug for Deed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(line) => write!(out, "sg-ctl {line}"),
            Self::RemoveRule(place) => write!(out, "sg-ctl rule remove …  # number {place}, modulo all"),
            Self::Address(true, address) => write!(out, "ip address add {address} dev {IFACE}"),
            Self::Address(false, address) => write!(out, "ip address del {address} dev {IFACE}"),
        }
    }
}

fn group() -> impl Strategy<Value = &'static str> {
    select(&GROUPS)
}

fn interface() -> impl Strategy<Value = &'static str> {
    select(&INTERFACES).prop_map(|(name, _)| name)
}

/// What follows `rule add` and `rule remove`.
fn rule() -> impl Strategy<Value = String> {
    let direction = select(&["ingress", "egress"]);
    let cidr = select(&CIDRS).prop_map(|cidr| format!("--cidr {cidr}"));
    let list = select(&LISTS).prop_map(|(list, ..)| format!("--prefix-list {list}"));
    let group_peer = group().prop_map(|group| format!("--source-group {group}"));
    let peer = prop_oneof![4 => cidr, 1 => group_peer, 1 => list];
    (group(), direction, select(&TRAFFIC), vec(peer, 1..3)).prop_map(|(group, direction, traffic, peers)| {
        format!("{group} {direction} --protocol {traffic} {}", peers.join(" "))
    })
}

/// A change of a prefix list.
fn list() -> impl Strategy<Value = String> {
    let entry = (select(&LISTS), 0..4usize, select(&["add", "add", "remove"]));
    let versions = (select(&LISTS), 1..4u32);
    prop_oneof![
        4 => entry.prop_map(|((list, _, entries), n, verb)| format!("prefix-list {verb} {list} {}", entries[n])),
        1 => versions.prop_map(|((list, ..), version)| format!("prefix-list restore {list} --version {version}")),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let line = prop_oneof![
        16 => rule().prop_map(|rule| format!("rule add {rule}")),
        1 => rule().prop_map(|rule| format!("rule remove {rule}")),
        2 => group().prop_map(|group| format!("group create {group} --description x")),
        1 => group().prop_map(|group| format!("group delete {group}")),
        6 => (interface(), vec(group(), 1..4))
            .prop_map(|(name, groups)| format!("interface set-groups {name} {}", groups.join(" "))),
        1 => (interface(), select(&["--udp 30", "--udp 60 --udp-stream 60", "--tcp-established 60"]))
            .prop_map(|(name, timeouts)| format!("interface set-timeouts {name} {timeouts}")),
        4 => list(),
        1 => select(&NONSENSE).prop_map(str::to_owned),
        1 => interface().prop_map(|name| format!("detach {name}")),
        1 => (select(&INTERFACES), group())
            .prop_map(|((name, flags), group)| format!("attach {name} --group {group} --adopt none {flags}")),
    ];
    prop_oneof![
        24 => line.prop_map(Deed::Command),
        5 => (0..64usize).prop_map(Deed::RemoveRule),
        1 => (any::<bool>(), select(&ADDRESSES)).prop_map(|(there, address)| Deed::Address(there, address)),
    ]
}

/// All that a refused command must leave alone.
#[derive(Debug, PartialEq)]
struct Picture {
    state: State,
    revision: u64,
    judgements: Option<Judgements>,
    pins: Vec<PathBuf>,
}

/// A host with three devices, on which sequences run one after the other.
struct World {
    lab: Lab,
    /// The state that sequences begin with: all groups but the last but one, without rules of their own.
    first: State,
    commands: usize,
    refused: usize,
}

impl World {
    fn new() -> Self {
        let lab = Lab::new();
        for (name, _) in &INTERFACES[1..] {
            lab.host.ip(&format!("link add {name} type veth peer name {name}-peer"));
            lab.host.ip(&format!("link set {name} up"));
        }
        for group in &GROUPS[..3] {
            lab.ctl.group(group, &[]);
        }
        for (name, family, entries) in LISTS {
            let line =
                format!("prefix-list create {name} --family {family} --max-entries 3 --entry {}", entries[1]);
            lab.ctl.json(&line);
        }
        let first = stored(&lab.ctl).state;
        Self { lab, first, commands: 0, refused: 0 }
    }

    /// Begins anew: all interfaces attached, with the group `default`; all groups with the rules that they are born with.
    fn reset(&mut self) {
        for address in ADDRESSES {
            self.set_address(false, address);
        }
        let attached = stored(&self.lab.ctl).state;
        for (name, flags) in INTERFACES {
            if attached.interfaces.values().all(|eni| eni.name != name) {
                self.lab.ctl.json(&format!("attach {name} --adopt none {flags}"));
            }
        }
        let ctl = &self.lab.ctl;
        let ctx = Context {
            store: store::open(None, ctl.state_dir()).expect("the store"),
            bpffs: ctl.bpffs().to_path_buf(),
            netns: Some(self.lab.host.name().to_owned()),
        };
        let default = self.first.groups.values().find(|group| group.name == "default");
        let default = default.expect("the default group").id;
        let begun = change(&ctx, |state| {
            let first = self.first.clone();
            (state.groups, state.rules) = (first.groups, first.rules);
            state.prefix_lists = first.prefix_lists;
            for eni in state.interfaces.values_mut() {
                eni.groups = vec![default];
                let how = eni.attachment.as_mut().expect("attached");
                how.timeouts = Default::default();
            }
            Ok(())
        });
        begun.expect("the state of the beginning");
        agree(ctl, Look::Agreement);
    }

    fn set_address(&self, there: bool, address: &str) {
        let has =
            self.lab.host.ip(&format!("-oneline address show dev {IFACE}")).contains(&format!(" {address} "));
        if has != there {
            let verb = if there { "add" } else { "del" };
            self.lab.host.ip(&format!("address {verb} {address} dev {IFACE}"));
        }
    }

    fn picture(&self) -> Picture {
        let snapshot = stored(&self.lab.ctl);
        let enforced = Enforced::read(self.lab.ctl.bpffs());
        Picture {
            state: snapshot.state,
            revision: snapshot.revision,
            judgements: enforced.map(|enforced| enforced.judgements),
            pins: self.lab.ctl.pins(),
        }
    }

    fn run(&mut self, deed: &Deed) {
        let line = match deed {
            Deed::Command(line) => line.clone(),
            Deed::Address(there, address) => return self.set_address(*there, address),
            Deed::RemoveRule(place) => {
                let state = stored(&self.lab.ctl).state;
                let Some(rule) = state.rules.values().nth(place % state.rules.len().max(1)) else { return };
                format!("rule remove {} {}", rule.group, rule.id)
            }
        };
        let before = self.picture();
        let ran: Ran = self.lab.ctl.run(&line);
        self.commands += 1;
        match ran.code {
            Some(0) => {
                let now = self.picture();
                let look = if now.judgements == before.judgements { Look::Agreement } else { Look::Settled };
                agree(&self.lab.ctl, look);
            }
            Some(1) => {
                self.refused += 1;
                assert_eq!(self.picture(), before, "`{line}` was refused: {}", ran.stderr);
                agree(&self.lab.ctl, Look::Agreement);
            }
            _ => panic!("`{line}`: {ran:?}"),
        }
    }
}

#[test]
fn after_any_sequence_of_commands_the_maps_equal_a_fresh_compilation_of_the_store() {
    let config =
        Config { cases: SEQUENCES, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let world = std::cell::RefCell::new(World::new());
    let outcome = TestRunner::new(config).run(&vec(deed(), 1..=COMMANDS), |deeds| {
        let mut world = world.borrow_mut();
        world.reset();
        deeds.iter().for_each(|deed| world.run(deed));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let world = world.borrow();
    println!("{} commands, of which {} were refused", world.commands, world.refused);
    assert!((1..world.commands / 2).contains(&world.refused), "most are carried out, and some refused");
}

#[test]
fn commands_at_the_same_time_serialise_and_none_is_lost() {
    const COMMANDS: u16 = 20;
    let lab = Lab::attached(&["ingress --protocol tcp --port 22 --cidr 203.0.113.0/24"]);
    let before = stored(&lab.ctl);
    thread::scope(|scope| {
        for n in 0..COMMANDS {
            let ctl = &lab.ctl;
            scope.spawn(move || {
                ctl.json(&format!(
                    "rule add web ingress --protocol tcp --port {} --cidr 10.0.{n}.0/24",
                    1000 + n
                ));
            });
        }
    });
    let after = agree(&lab.ctl, Look::Settled);
    assert_eq!(after.revision, before.revision + u64::from(COMMANDS), "one commit each");
    for n in 0..COMMANDS {
        let line = format!("ingress --protocol tcp --port {} --cidr 10.0.{n}.0/24", 1000 + n);
        lab.remove(&line);
    }
    assert_eq!(agree(&lab.ctl, Look::Settled).state, before.state, "each was there, and no other");
}
