//! `sg-ctl agent`: what is enforced follows the kernel without a command (P-17), and enforcement does not need it.

use serde_json::{Value, json};
use sg_tests::{
    agent::Agent,
    ctl::{Ctl, Lab},
    net::{IFACE, PEER, V4, V6, run},
};
use std::{
    fs,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

/// The bound that the agent promises, and as much again for a machine that is shared.
const PROMPT: Duration = Duration::from_secs(2);

/// The addresses of an interface as the store has them, once they are these; looking changes nothing.
#[track_caller]
fn becomes(ctl: &Ctl, interface: &str, addresses: &[IpAddr]) {
    let wanted = json!(addresses);
    let began = Instant::now();
    loop {
        let status = ctl.json("status");
        let all = status["interfaces"].as_array().expect("interfaces");
        let found = all.iter().find(|of| of["name"] == interface).map_or(&Value::Null, |of| &of["addresses"]);
        if *found == wanted {
            return;
        }
        assert!(began.elapsed() < PROMPT, "{interface} has {found} after {PROMPT:?}, not {wanted}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// [`IFACE`] admits port 80 from the members of `app`, which is what [`PEER`] is.
fn lab() -> (Lab, Ctl) {
    let lab = Lab::new();
    lab.ctl.group("app", &[]);
    lab.ctl.bare_group("web", &["ingress --protocol tcp --port 80 --source-group app"]);
    lab.attach("--group web");
    let clients = lab.ctl.in_netns(lab.client.name());
    clients.json(&format!("attach {PEER} --adopt none --group app"));
    (lab, clients)
}

#[test]
fn p17_an_address_that_is_added_or_removed_is_enforced_without_a_command() {
    let (lab, _) = lab();
    let agent = Agent::start(&lab.ctl);
    let (new4, new6): (IpAddr, IpAddr) =
        ("203.0.113.77".parse().expect("IPv4"), "2001:db8::77".parse().expect("IPv6"));
    let old = [V4.admin, V4.other, V6.admin, V6.other];

    lab.client.ip(&format!("addr add {new4}/24 dev {PEER}"));
    lab.client.ip(&format!("addr add {new6}/64 dev {PEER} nodad"));
    becomes(&lab.ctl, PEER, &[V4.admin, V4.other, new4, V6.admin, V6.other, new6]);
    for (from, to) in [(new4, V4.host), (new6, V6.host)] {
        lab.connect(from, to, 80).goes_on();
    }

    lab.client.ip(&format!("addr del {new4}/24 dev {PEER}"));
    lab.client.ip(&format!("addr del {new6}/64 dev {PEER}"));
    becomes(&lab.ctl, PEER, &old);
    // The next owner of the address is nobody's member.
    lab.client.ip(&format!("addr add {new4}/32 dev lo"));
    lab.client.ip("link set lo up");
    lab.refuses(new4, V4.host, 80);
    agent.stop();
}

#[test]
fn p17_a_namespace_that_is_deleted_has_no_members_and_is_let_go() {
    let (lab, _) = lab();
    let agent = Agent::start(&lab.ctl);
    let name = lab.client.name().to_owned();
    lab.connect(V4.admin, V4.host, 80).goes_on();
    // Its devices go with it only when nobody holds it any more, the agent included.
    run("ip", &format!("netns del {name}"));
    becomes(&lab.ctl, PEER, &[]);
    let began = Instant::now();
    while !lab.host.ip("-o link show").lines().all(|line| !line.contains(IFACE)) {
        assert!(began.elapsed() < PROMPT, "the agent keeps a deleted namespace alive");
        thread::sleep(Duration::from_millis(20));
    }
    run("ip", &format!("netns add {name}"));
    agent.stop();
}

#[test]
fn the_agent_follows_what_commands_attach_while_it_runs() {
    let lab = Lab::new();
    let agent = Agent::start(&lab.ctl);
    lab.ctl.group("app", &[]);
    lab.ctl.bare_group("web", &["ingress --protocol tcp --port 80 --source-group app"]);
    lab.attach("--group web");
    let clients = lab.ctl.in_netns(lab.client.name());
    clients.json(&format!("attach {PEER} --adopt none --group app"));
    lab.connect(V4.admin, V4.host, 80).goes_on();

    let new: IpAddr = "203.0.113.77".parse().expect("IPv4");
    // It looks at the store twice a second; from then on it is told.
    thread::sleep(Duration::from_secs(1));
    lab.client.ip(&format!("addr add {new}/24 dev {PEER}"));
    becomes(&lab.ctl, PEER, &[V4.admin, V4.other, new, V6.admin, V6.other]);
    lab.connect(new, V4.host, 80).goes_on();
    agent.stop();
}

#[test]
fn enforcement_does_not_depend_on_the_agent() {
    let (lab, _) = lab();
    let mut agent = Agent::start(&lab.ctl);
    let mut open = lab.connect(V4.admin, V4.host, 80);
    agent.kill();
    open.goes_on();
    lab.refuses(V4.admin, V4.host, 81);
    // Without it the next command looks.
    let new: IpAddr = "203.0.113.77".parse().expect("IPv4");
    lab.client.ip(&format!("addr add {new}/24 dev {PEER}"));
    lab.refuses(new, V4.host, 80);
    lab.ctl.json(&format!("interface set-groups {IFACE} web"));
    lab.connect(new, V4.host, 80).goes_on();
}

#[test]
fn the_agent_sweeps_what_is_over_and_lets_a_host_go_that_is_gone() {
    let lab = Lab::attached_bare(&["ingress --protocol tcp --port 80 --cidr 203.0.113.0/24"]);
    let agent = Agent::start(&lab.ctl);
    let mut stays = lab.connect(V4.admin, V4.host, 80);
    let resets = lab.connect(V4.other, V4.host, 80);
    let _ = resets.reset();
    // Entries, dead ones too.
    let entries = || {
        let stats = lab.ctl.json("conntrack stats");
        stats["tables"]
            .as_array()
            .expect("tables")
            .iter()
            .map(|table| table["entries"].as_u64())
            .sum::<Option<u64>>()
    };
    assert_eq!(entries(), Some(2));
    // A flow that was reset is over after ten seconds, is spared for two, and a walk begins every ten.
    let began = Instant::now();
    while entries() != Some(1) {
        assert!(began.elapsed() < Duration::from_secs(40), "nothing is swept");
        thread::sleep(Duration::from_millis(200));
    }
    assert!(began.elapsed() > Duration::from_secs(11), "swept before it was over: {:?}", began.elapsed());
    stays.goes_on();

    lab.ctl.json(&format!("detach {IFACE}"));
    let holds = || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("its descriptors");
        descriptors.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.to_string_lossy().contains("bpf-map"))
        })
    };
    let began = Instant::now();
    while holds() {
        assert!(began.elapsed() < PROMPT, "the agent keeps the tables of a host that is gone");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(lab.ctl.pins().is_empty(), "{:?}", lab.ctl.pins());
    agent.stop();
}
