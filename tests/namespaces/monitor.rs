//! `sg-ctl monitor` beside real traffic and other commands.

use serde_json::{Value, json};
use sg_common::event::LEASE_SECONDS;
use sg_tests::{
    ctl::{Ctl, Lab, binary, keys},
    monitor::{Monitor, listeners},
    net::{FAMILIES, IFACE, PEER, V4, V6, refuses},
};
use std::{
    io::Read,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// [`IFACE`] admits port 80 from the clients' networks and port 81 from all the world.
fn lab() -> Lab {
    Lab::attached(&[
        &format!("ingress --protocol tcp --port 80 --cidr {}", V4.narrow),
        &format!("ingress --protocol tcp --port 80 --cidr {}", V6.narrow),
        "ingress --protocol tcp --port 81 --cidr 0.0.0.0/0",
        "ingress --protocol tcp --port 81 --cidr ::/0",
    ])
}

const ALWAYS: [&str; 13] = [
    "bytes",
    "direction",
    "eni_id",
    "event",
    "interface",
    "local",
    "local_port",
    "packets",
    "protocol",
    "reason",
    "remote",
    "remote_port",
    "time",
];

/// The keys that an event of TCP has, with these beside.
fn of_tcp(more: &[&'static str]) -> Vec<&'static str> {
    let mut keys: Vec<_> = ALWAYS.iter().chain(&["tcp_flags", "verdict"]).chain(more).copied().collect();
    keys.sort_unstable();
    keys
}

fn said(event: &Value) -> [&Value; 4] {
    ["event", "direction", "reason", "local_port"].map(|key| &event[key])
}

#[test]
fn without_a_choice_drops_and_the_beginnings_and_ends_of_flows_are_shown() {
    let lab = lab();
    let mut monitor = Monitor::start(&lab.ctl, &format!("-o json monitor {IFACE} --protocol tcp"));
    for family in FAMILIES {
        lab.connect(family.admin, family.host, 80).goes_on();
        let began = monitor.json();
        assert_eq!(said(&began), [&json!("new"), &json!("ingress"), &json!("new"), &json!(80)]);
        assert_eq!(keys(&began), of_tcp(&[]));
        assert_eq!([&began["local"], &began["remote"]], [&json!(family.host), &json!(family.admin)]);
        assert_eq!([&began["interface"], &began["protocol"]], [&json!(IFACE), &json!("tcp")]);
        assert_eq!([&began["tcp_flags"], &began["verdict"]], [&json!(["SYN"]), &json!("allow")]);
        let ended = monitor.json();
        assert_eq!(ended["event"], "closed", "{ended}");
        assert_eq!(keys(&ended), of_tcp(&["flow"]));
        assert!(ended["flow"]["packets"].as_u64().expect("a number") >= 6, "{ended}");

        lab.refuses(family.other, family.host, 22);
        let refused = monitor.json();
        assert_eq!(said(&refused), [&json!("drop"), &json!("ingress"), &json!("no_rule"), &json!(22)]);
        assert_eq!([&refused["verdict"], &refused["remote"]], [&json!("drop"), &json!(family.other)]);

        lab.connect(family.other, family.host, 81).goes_on();
        // The refused client may have tried again.
        let untracked = loop {
            let next = monitor.json();
            if next["event"] != "drop" {
                break next;
            }
        };
        assert_eq!(said(&untracked), [&json!("new"), &json!("ingress"), &json!("untracked"), &json!(81)]);
    }
    monitor.signal("TERM");
    let ended = monitor.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn filters_choose_and_several_listen_at_once_beside_other_commands() {
    let lab = lab();
    let start = |flags: &str| Monitor::start(&lab.ctl, &format!("-o json monitor {flags}"));
    let mut dropped = start(&format!("{IFACE} --dropped --port 22 --count 1"));
    let mut allowed = start(&format!("--allowed --port 81 --remote {} --count 4", V4.other));
    let mut nothing = start(&format!("--dropped --remote {} --protocol tcp", V6.other));
    // Neither a swap nor a look at the rules waits for them.
    lab.ctl.add_rules("web", &["ingress --protocol udp --port 53 --cidr 0.0.0.0/0"]);
    assert_eq!(
        lab.ctl.json(&format!("explain {IFACE} ingress --protocol tcp --port 81 --remote {}", V4.other))["verdict"],
        "allow"
    );
    for client in [V4.admin, V4.other] {
        lab.connect(client, V4.host, 81).goes_on();
    }
    let ways: Vec<Value> = (0..4).map(|_| allowed.json()).collect();
    assert!(
        ways.iter().all(|event| event["remote"] == json!(V4.other) && event["local_port"] == 81),
        "{ways:?}"
    );
    let directions: Vec<_> = ways.iter().map(|event| event["direction"].as_str()).collect();
    assert_eq!(directions[..3], [Some("ingress"), Some("egress"), Some("ingress")], "each packet, both ways");
    lab.refuses(V4.admin, V4.host, 23);
    lab.refuses(V4.admin, V4.host, 22);
    assert_eq!(dropped.json()["local_port"], 22);
    for ended in [dropped.end(), allowed.end()] {
        assert_eq!(
            (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
            (Some(0), "", ""),
            "--count is over"
        );
    }
    lab.refuses(V6.other, V6.host, 22);
    assert_eq!(nothing.json()["remote"], json!(V6.other));
    nothing.signal("INT");
    assert_eq!(nothing.end().code, Some(0));
    assert_eq!(listeners(&lab.ctl), 0, "places are given back");
}

#[test]
fn a_trace_follows_the_next_packets_of_one_far_end() {
    let lab = lab();
    let line = format!("-o json trace {IFACE} --remote {} --protocol tcp --port 80 --count 4", V4.admin);
    let mut trace = Monitor::start(&lab.ctl, &line);
    lab.refuses(V4.other, V4.host, 22);
    lab.connect(V4.admin, V4.host, 81).goes_on();
    lab.connect(V4.admin, V4.host, 80).goes_on();
    let followed: Vec<Value> = (0..4).map(|_| trace.json()).collect();
    assert!(followed.iter().all(|packet| packet["remote"] == json!(V4.admin) && packet["local_port"] == 80));
    let stage = |packet: &Value, name: &str| {
        let stages = packet["stages"].as_array().expect("stages").iter();
        stages.clone().find(|stage| stage["stage"] == name).map(|stage| stage["decision"].clone())
    };
    assert_eq!(keys(&followed[0]), of_tcp(&["stages"]));
    assert_eq!(keys(&followed[0]["stages"][0]), ["decision", "stage"]);
    let creates: Vec<_> = followed.iter().map(|packet| stage(packet, "create")).collect();
    assert_eq!(creates, [Some(json!("a new entry")), None, None, None]);
    assert_eq!(stage(&followed[1], "flow"), Some(json!("a live entry (pending)")));
    assert_eq!(stage(&followed[3], "verdict"), Some(json!("allow, tracked")));
    let ended = trace.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));

    // For people, a line a stage.
    let mut trace = Monitor::start(&lab.ctl, &format!("trace {IFACE} --remote {} --count 1", V6.other));
    lab.refuses(V6.other, V6.host, 22);
    let lines: Vec<String> = std::iter::from_fn(|| trace.try_line()).collect();
    assert!(lines[0].contains("  drop   no_rule "), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("  verdict     drop, no_rule"));
    assert_eq!(lab.ctl.refused(&format!("trace {IFACE} --remote nowhere")).code, "InvalidParameterValue");
    assert_eq!(lab.ctl.run(&format!("trace {IFACE}")).code, Some(2), "of whom?");
}

#[test]
fn a_listener_that_is_killed_leaves_nothing_that_lasts() {
    let lab = lab();
    let killed = Monitor::start(&lab.ctl, "monitor");
    killed.signal("KILL");
    assert_eq!(killed.end().code, None);
    assert_eq!(listeners(&lab.ctl), 1, "nobody was there to give it back");
    // Its place is taken until its lease is over: seven more find one, and then nobody.
    let others: Vec<_> = (0..7).map(|_| Monitor::start(&lab.ctl, "monitor --dropped")).collect();
    let refused = lab.ctl.refused("monitor");
    assert_eq!(refused.code, "ResourceLimitExceeded");
    thread::sleep(Duration::from_secs(u64::from(LEASE_SECONDS)));
    let mut next = Monitor::spawn(&lab.ctl, "-o json monitor --dropped --count 1");
    let began = Instant::now();
    let heard = loop {
        lab.refuses(V4.admin, V4.host, 22);
        if let Some(line) = next.try_line() {
            break line;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "the place is not free");
    };
    assert!(heard.contains("no_rule"), "{heard}");
    assert_eq!(next.end().code, Some(0));
    drop(others);
}

/// Longer than a lease.
const LAPSE: Duration = Duration::from_secs(LEASE_SECONDS as u64 + 1);

#[test]
fn one_that_was_stopped_says_that_it_heard_nothing_and_for_how_long() {
    let lab = lab();
    let mut json = Monitor::start(&lab.ctl, "-o json monitor --dropped");
    let mut text = Monitor::start(&lab.ctl, "monitor --dropped --count 2");
    let refused_at = |port| lab.refuses(V4.admin, V4.host, port);
    refused_at(21);
    assert_eq!(json.json()["local_port"], 21);
    assert!(text.line().contains(":21  "));
    for stopped in [&json, &text] {
        stopped.signal("STOP");
    }
    thread::sleep(LAPSE);
    // The programs have let go of both, and count this for nobody.
    refused_at(22);
    for stopped in [&json, &text] {
        stopped.signal("CONT");
    }
    let gap = json.json();
    assert_eq!(keys(&gap), ["event", "lost", "suppressed", "time", "unheard_seconds"]);
    assert_eq!([&gap["event"], &gap["lost"], &gap["suppressed"]], [&json!("lost"), &json!(0), &json!(0)]);
    // It says every second that it listens: the last time was a second before it was stopped, or less.
    let seconds = gap["unheard_seconds"].as_f64().expect("a number");
    assert!((0.5..30.0).contains(&seconds), "{gap}");
    let began = Instant::now();
    while text.try_line().is_none() {
        assert!(began.elapsed() < LAPSE, "it does not go on");
        refused_at(23);
    }
    assert_eq!(json.json()["local_port"], 23);
    let ended = text.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.starts_with("warning: heard nothing of "), "{}", ended.stderr);
}

#[test]
fn one_whose_place_is_taken_while_it_is_stopped_takes_another_and_says_what_it_did_not_hear() {
    let lab = lab();
    let mut stopped = Monitor::start(&lab.ctl, "-o json monitor --dropped --port 22");
    stopped.signal("STOP");
    thread::sleep(LAPSE);
    let mut next = Monitor::spawn(&lab.ctl, "-o json monitor --dropped --port 23");
    let began = Instant::now();
    while next.try_line().is_none() {
        assert!(began.elapsed() < Duration::from_secs(10), "it does not get the place");
        lab.refuses(V4.admin, V4.host, 23);
    }
    assert_eq!(listeners(&lab.ctl), 1, "the same place");
    stopped.signal("CONT");
    let gap = stopped.json();
    assert!(gap["event"] == "lost" && gap["unheard_seconds"].as_f64() > Some(0.5), "{gap}");
    while next.try_line().is_some() {}
    lab.refuses(V4.admin, V4.host, 22);
    assert_eq!(stopped.json()["local_port"], 22);
    lab.refuses(V4.admin, V4.host, 23);
    assert_eq!(next.json()["local_port"], 23);
}

#[test]
fn an_interface_that_gets_the_slot_of_another_has_its_own_name_from_the_first_packet_on() {
    let lab = lab();
    let clients = lab.ctl.in_netns(lab.client.name());
    // Something stays attached all the time, or all listening ends.
    lab.client.ip("link add aside type veth peer name aside-far");
    clients.json("attach aside --adopt none");
    let mut monitor = Monitor::start(&lab.ctl, "-o json monitor --dropped");
    lab.refuses(V4.admin, V4.host, 22);
    assert_eq!(monitor.json()["interface"], IFACE);
    // It does not look at the store meanwhile.
    monitor.signal("STOP");
    lab.ctl.json(&format!("detach {IFACE}"));
    clients.json(&format!("attach {PEER} --adopt none"));
    refuses(&lab.host, V4.host, &lab.client, (V4.admin, 22).into());
    monitor.signal("CONT");
    let heard = monitor.json();
    assert_eq!([&heard["interface"], &heard["local_port"]], [&json!(PEER), &json!(22)], "{heard}");
}

#[test]
fn it_ends_with_its_interface_and_says_so() {
    let lab = lab();
    let clients = lab.ctl.in_netns(lab.client.name());
    clients.json(&format!("attach {PEER} --adopt none"));
    let one = Monitor::start(&lab.ctl, &format!("monitor {IFACE}"));
    let mut all = Monitor::start(&lab.ctl, "-o json monitor --dropped");
    lab.ctl.json(&format!("detach {IFACE}"));
    let ended = one.end();
    assert_eq!((ended.code, ended.stderr), (Some(0), format!("note: {IFACE} is not enforced any more\n")));
    // The other goes on with what is attached, under its name.
    refuses(&lab.host, V4.host, &lab.client, (V4.admin, 22).into());
    assert_eq!(all.json()["interface"], PEER);
    // What comes later is known too.
    lab.attach("--group web");
    lab.refuses(V4.admin, V4.host, 22);
    loop {
        if all.json()["interface"] == IFACE {
            break;
        }
    }
    for (ctl, interface) in [(&lab.ctl, IFACE), (&clients, PEER)] {
        ctl.json(&format!("detach {interface}"));
    }
    let ended = all.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), "note: no interface is attached any more\n"));
}

#[test]
fn whoever_has_seen_enough_may_close_the_pipe() {
    let lab = lab();
    let mut command = Command::new(binary());
    lab.ctl.prepare(&mut command).args(["monitor", "--dropped"]).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sg-ctl starts");
    drop(child.stdout.take());
    let began = Instant::now();
    let status = loop {
        lab.refuses(V4.admin, V4.host, 22);
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it writes to nobody");
    };
    let mut stderr = String::new();
    child.stderr.take().expect("it was piped").read_to_string(&mut stderr).expect("its stderr");
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn what_cannot_be_listened_to_is_refused() {
    let lab = Lab::new();
    let refused = |ctl: &Ctl, line: &str| ctl.refused(line).code;
    assert_eq!(lab.ctl.refused("monitor").code, "IncorrectState");
    assert_eq!(refused(&lab.ctl, "monitor nosuch"), "InvalidNetworkInterfaceID.NotFound");
    lab.ctl.group("web", &[]);
    lab.attach("--group web");
    lab.ctl.json("interface register far --address 203.0.113.200 --group web");
    assert_eq!(refused(&lab.ctl, "monitor far"), "IncorrectState");
    for line in ["monitor --port 65536", "monitor --count 0", "monitor --count x", "monitor --protocol gre"] {
        assert_eq!(refused(&lab.ctl, line), "InvalidParameterValue", "{line}");
    }
    assert_eq!(lab.ctl.run("monitor --dropped --allowed").code, Some(2));
}
