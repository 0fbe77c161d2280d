//! Commands that are cut off at the moments that matter, as the state that they leave behind; then another command, and
//! store and kernel must agree again. What a kill leaves is made here with the product's own pieces, step by step.

use serde_json::json;
use sg_common::policy::REVISION_NONE;
use sg_ctl::{
    compile::{Change, compile, lost},
    kernel::Host,
    model::{Peer, State},
    store,
};
use sg_tests::{
    agent::Agent,
    ctl::{Lab, PATIENCE, refusal},
    net::{IFACE, V4},
};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

const OPEN: &str = "ingress --protocol tcp --port 22 --cidr 203.0.113.0/24";

fn store_of(lab: &Lab) -> Box<dyn store::Store> {
    store::open(None, lab.ctl.state_dir()).expect("the store")
}

fn host_of(lab: &Lab) -> Host {
    Host::open(lab.ctl.bpffs()).expect("the host").expect("something is attached")
}

/// Commits a change of the state and leaves the kernel alone: a command killed between commit and flip.
fn commit_only(lab: &Lab, change: impl FnOnce(&mut State)) {
    let store = store_of(lab);
    let transaction = store.begin().expect("a transaction");
    let mut state = transaction.snapshot().state.clone();
    change(&mut state);
    transaction.commit(&state).expect("a commit");
}

/// Opens to the world what [`OPEN`] opens to some, and leaves the flow tables as they are: a command killed between its flip
/// and its sweep.
fn open_without_sweep(lab: &Lab) {
    let store = store_of(lab);
    let transaction = store.begin().expect("a transaction");
    let host = host_of(lab);
    let before = transaction.snapshot().state.clone();
    let mut state = before.clone();
    open_to_the_world(&mut state);
    let change = Change::between(compile(&before), compile(&state));
    let prepared = host.build_whole(&change).expect("a build");
    let revision = transaction.commit(&state).expect("a commit");
    let _ = host.go_live(prepared, revision).expect("a flip");
}

fn open_to_the_world(state: &mut State) {
    let rule =
        state.rules.values().find(|rule| matches!(rule.peer, Peer::Ipv4(net) if net.prefix_len() == 24));
    let mut open = rule.expect("the rule").clone();
    open.id = sg_ctl::model::RuleId::random();
    open.peer = Peer::Ipv4("0.0.0.0/0".parse().expect("a prefix"));
    state.rules.insert(open.id, open);
}

/// Whether the host owes a sweep; looked at without any command, which would make up for it.
fn owes_sweep(lab: &Lab) -> bool {
    let host = Host::glance(lab.ctl.bpffs()).expect("the host").expect("something is attached");
    host.owes_sweep().expect("its state")
}

/// A command that has nothing to do with what is enforced.
fn unrelated(lab: &Lab) {
    lab.ctl.json("group create unrelated --description x");
}

#[test]
fn killed_between_commit_and_flip_the_next_command_puts_the_store_in_force() {
    let lab = Lab::attached(&[OPEN]);
    lab.connect(V4.admin, V4.host, 22).goes_on();
    commit_only(&lab, |state| {
        state.rules.retain(|_, rule| !matches!(rule.peer, Peer::Ipv4(net) if net.prefix_len() == 24))
    });
    lab.connect(V4.admin, V4.host, 22).goes_on();
    unrelated(&lab);
    lab.refuses(V4.admin, V4.host, 22);
}

#[test]
fn killed_between_flip_and_revision_nothing_is_lost() {
    let lab = Lab::attached(&[OPEN]);
    let host = host_of(&lab);
    let state = store_of(&lab).read().expect("the store").state;
    // The flip of something that the store does not have, as an attach that never committed makes it.
    let mut other = state;
    other.rules.clear();
    let prepared = host.build_whole(&Change::to(compile(&other))).expect("a build");
    let _ = host.go_live(prepared, REVISION_NONE).expect("a flip");
    drop(host);
    lab.refuses(V4.admin, V4.host, 22);
    unrelated(&lab);
    lab.connect(V4.admin, V4.host, 22).goes_on();
}

#[test]
fn p17_killed_after_the_commit_of_a_release_the_next_command_ends_its_flows() {
    let lab = Lab::new();
    lab.ctl.group("db", &[]);
    lab.ctl.group("web", &["ingress --protocol tcp --port 22 --source-group db"]);
    lab.ctl.json(&format!("interface register db1 --address {} --group db", V4.admin));
    lab.attach("--group web");
    let mut held = lab.connect(V4.admin, V4.host, 22);
    commit_only(&lab, |state| {
        let before = state.clone();
        state.interfaces.retain(|_, eni| !eni.is_registered());
        state.released = lost(&before, state);
    });
    held.goes_on();
    unrelated(&lab);
    held.is_cut_forward();
}

#[test]
fn p3a_a_sweep_that_was_cut_off_is_made_up_for() {
    let lab = Lab::attached(&[OPEN]);
    let mut held = lab.connect(V4.admin, V4.host, 22);
    held.goes_on();
    // Opened to the world by a command that died before its flip: the next one flips, and must sweep as well.
    commit_only(&lab, open_to_the_world);
    unrelated(&lab);
    lab.remove("ingress --protocol tcp --port 22 --cidr 0.0.0.0/0");
    lab.remove(OPEN);
    held.is_cut_forward();
}

#[test]
fn p3a_killed_between_flip_and_sweep_a_command_that_only_looks_makes_up_for_it() {
    let lab = Lab::attached(&[OPEN]);
    let mut held = lab.connect(V4.admin, V4.host, 22);
    open_without_sweep(&lab);
    assert!(owes_sweep(&lab), "what a kill leaves");
    lab.ctl.json("group list");
    assert!(!owes_sweep(&lab));
    held.goes_on();
}

#[test]
fn p3a_killed_between_flip_and_sweep_the_agent_makes_up_for_it() {
    let lab = Lab::attached(&[OPEN]);
    let agent = Agent::start(&lab.ctl);
    let mut held = lab.connect(V4.admin, V4.host, 22);
    // It looks once more when it has begun to follow a namespace.
    thread::sleep(Duration::from_secs(1));
    open_without_sweep(&lab);
    let began = Instant::now();
    while owes_sweep(&lab) {
        assert!(began.elapsed() < PATIENCE, "the agent leaves it to the next command");
        thread::sleep(Duration::from_millis(20));
    }
    held.goes_on();
    agent.stop();
}

#[test]
fn a_detach_that_was_cut_off_is_finished_by_any_command() {
    let lab = Lab::attached(&[OPEN]);
    commit_only(&lab, |state| state.interfaces.clear());
    lab.refuses(V4.admin, V4.host, 443);
    let answer = refusal(&lab.ctl.run(&format!("detach {IFACE}")));
    assert_eq!(answer.code, "InvalidNetworkInterfaceID.NotFound");
    lab.connect(V4.other, V4.host, 443).goes_on();
    assert!(!lab.ctl.bpffs().exists(), "nothing is left");
}

#[test]
fn a_first_attach_that_was_cut_off_is_made_anew() {
    let lab = Lab::attached(&[OPEN]);
    lab.ctl.json(&format!("detach {IFACE}"));
    // Maps are there, the clock is not: pinned last, and never was.
    fs::create_dir_all(lab.ctl.bpffs().join("maps")).expect("a directory");
    fs::create_dir_all(lab.ctl.bpffs().join("interfaces")).expect("a directory");
    assert_eq!(lab.ctl.json("status")["interfaces"], json!([]));
    unrelated(&lab);
    lab.attach("--group web");
    lab.refuses(V4.admin, V4.host, 443);
    lab.connect(V4.admin, V4.host, 22).goes_on();
}

#[test]
fn another_store_does_not_touch_what_is_enforced() {
    let lab = Lab::attached(&[OPEN]);
    // Its interface has the same slot.
    let stranger = Lab::attached(&[OPEN]);
    let _open = lab.connect(V4.admin, V4.host, 22);
    let elsewhere = stranger.ctl.at_bpffs(lab.ctl.bpffs());
    let looks = ["conntrack list", "conntrack stats", "counters"];
    let changes = ["group create x --description x", "conntrack flush", "counters --reset"];
    for line in looks.into_iter().chain(changes) {
        let refused = refusal(&elsewhere.run(line));
        assert_eq!(refused.code, "IncorrectState", "{line}: {}", refused.message);
    }
    assert_eq!((lab.ctl.flows().len(), lab.ctl.judged(IFACE)["ingress.new"]), (1, 1));
    assert_eq!(lab.ctl.json("status")["interfaces"][0]["enforcing"], true);
    lab.refuses(V4.admin, V4.host, 443);
}
