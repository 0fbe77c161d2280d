//! `sg-ctl top` on a terminal, beside real traffic.

use sg_common::flow::{Flow, FlowKey4, state};
use sg_ctl::kernel::Host;
use sg_tests::{
    ctl::{Lab, binary},
    monitor::listeners,
    net::{IFACE, V4},
    pty::Session,
};
use std::{
    fs::File,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// [`IFACE`] admits port 80 from the clients' network.
fn lab() -> Lab {
    Lab::attached_bare(&[&format!("ingress --protocol tcp --port 80 --cidr {}", V4.narrow)])
}

/// Starts it on the usual small terminal, and waits for its second look.
fn start(lab: &Lab, line: &str) -> Session {
    let mut command = Command::new(binary());
    lab.ctl.prepare(&mut command).args(line.split_whitespace());
    let session = Session::start(&mut command, 24, 80);
    session.wait_for("a rate", |shown| shown.contains("pkt/s"));
    session
}

/// The row of a panel that begins so.
fn row<'a>(shown: &'a str, start: &str) -> Option<&'a str> {
    shown.lines().find(|line| line.starts_with(start))
}

#[test]
fn rates_talkers_and_drops_are_shown_as_they_come() {
    let lab = lab();
    let mut top = start(&lab, &format!("top {IFACE}"));
    assert!(top.shown().contains("none since this began"), "{}", top.shown());
    assert_eq!(listeners(&lab.ctl), 1);

    let client = V4.admin.to_string();
    let mut connection = lab.connect(V4.admin, V4.host, 80);
    let began = Instant::now();
    // As a person sees it who looks at the screen again and again.
    loop {
        connection.goes_on();
        let shown = top.shown();
        let talks = row(&shown, &client).is_some_and(|row| !row.contains("1      0       0"));
        if talks && shown.contains("tcp/80   in       1") && shown.contains("allowed tracked") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{shown}");
        thread::sleep(Duration::from_millis(50));
    }
    lab.refuses(V4.other, V4.host, 22);
    let refused = format!("→ {}:22  SYN", V4.host);
    let shown = top.wait_for("a drop", |shown| {
        shown.contains(&refused)
            && row(shown, &format!("{IFACE} ")).is_some()
            && shown.contains("dropped no_rule")
    });
    let line = shown.lines().find(|line| line.contains(&refused)).expect("it was found");
    assert!(line.contains(&format!("{IFACE} ingress no_rule tcp {}:", V4.other)), "{line}");

    // Another command has the host's lock for as long as it likes.
    let lock = File::open(lab.ctl.bpffs()).expect("the directory");
    lock.lock().expect("its lock");
    let time = |shown: &str| shown.lines().next().map(|line| line.trim_end().to_owned());
    let before = time(&top.shown());
    top.wait_for("another look", |shown| time(shown) != before);
    drop(lock);

    top.type_in("/no_rule\r");
    let filtered = top.wait_for("the filter", |shown| shown.contains("only “no_rule”"));
    assert!(row(&filtered, &client).is_none() && filtered.contains("dropped no_rule"), "{filtered}");
    top.type_in("\x1b");
    top.wait_for("all rows", |shown| row(shown, &client).is_some());
    top.type_in(" ");
    top.wait_for("the pause", |shown| shown.contains("PAUSED"));
    top.resize(60, 200);
    top.wait_for("the larger screen", |shown| shown.contains("new flows/s at most"));
    top.type_in("q");
    let (status, shown) = top.ends();
    assert_eq!((status.code(), shown.trim()), (Some(0), ""));
    assert_eq!(listeners(&lab.ctl), 0, "its place is given back");
}

#[test]
fn every_way_out_gives_the_terminal_back() {
    let lab = lab();
    for key in ["q", "\x03"] {
        let mut top = start(&lab, "top");
        top.type_in(key);
        let (status, shown) = top.ends();
        assert_eq!((status.code(), shown.trim()), (Some(0), ""), "{key:?}");
    }
    for signal in ["TERM", "INT", "HUP"] {
        let top = start(&lab, "top");
        top.signal(signal);
        let (status, shown) = top.ends();
        assert_eq!((status.code(), shown.trim()), (Some(0), ""), "SIG{signal}");
    }
    let (one, all) = (start(&lab, &format!("top {IFACE}")), start(&lab, "top"));
    lab.ctl.json(&format!("detach {IFACE}"));
    let (status, shown) = all.ends();
    assert_eq!((status.code(), shown.trim()), (Some(0), "note: no interface is attached any more"));
    let (status, shown) = one.ends();
    assert_eq!(status.code(), Some(0));
    assert_eq!(shown.trim(), format!("note: {IFACE} is not enforced any more"));
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let lab = Lab::new();
    let refused = lab.ctl.refused("top");
    assert_eq!(refused.code, "UnsupportedOperation");
    for instead in ["counters --watch", "monitor"] {
        assert!(refused.message.contains(instead), "{}", refused.message);
    }
    let said = |line: &str| {
        let mut command = Command::new(binary());
        lab.ctl.prepare(&mut command).args(line.split_whitespace());
        let (status, shown) = Session::start(&mut command, 24, 250).ends();
        assert_eq!(status.code(), Some(1), "{line}");
        shown
    };
    assert!(said("-o json top").contains("has no JSON form; use `sg-ctl -o json counters --watch`"));
    assert!(said("top").contains("error: IncorrectState: no interface is attached"));
    assert!(said("top nosuch").contains("InvalidNetworkInterfaceID.NotFound"));
}

#[test]
fn full_flow_tables_take_bounded_memory() {
    let lab = lab();
    lab.connect(V4.admin, V4.host, 80).goes_on();
    let host = Host::open(lab.ctl.bpffs()).expect("the host opens").expect("something is attached");
    let mut known = None;
    host.flows4[0].for_each(|key, flow| known = Some((*key, *flow))).expect("a walk");
    let (key, flow) = known.expect("the connection is tracked");
    let (now, _) = host.now().expect("the clock");
    let map = &host.flows4[0];
    let flows: Vec<(FlowKey4, Flow)> = (0..map.max_entries() - 1)
        .map(|number| {
            let flow = Flow { last: now, state: state::ESTABLISHED, flags: 0, ..flow };
            (FlowKey4 { remote: 0xc000_0000 + number, ..key }, flow)
        })
        .collect();
    map.set_all(&flows).expect("there is room");
    drop(host);

    let mut top = start(&lab, "top");
    let shown = top.wait_for("a full table", |shown| shown.contains("100.0%"));
    assert!(shown.contains("2 Remotes  busiest,"), "{shown}");
    assert!(shown.contains("tcp/80   in  262144") || shown.contains("tcp/80   in  262143"), "{shown}");
    // One table of six is full: 24 bytes of each flow, of two looks, and room to grow.
    let memory = top.peak_memory();
    assert!(memory < 128 << 20, "{memory} bytes");
    println!("262,144 flows took at most {memory} bytes");
    top.type_in("q");
    assert_eq!(top.ends().0.code(), Some(0));
}

#[test]
fn where_too_many_listen_the_rest_is_shown() {
    let lab = lab();
    let others: Vec<_> =
        (0..8).map(|_| sg_tests::monitor::Monitor::start(&lab.ctl, "monitor --dropped")).collect();
    let mut top = start(&lab, "top");
    top.wait_for("why", |shown| shown.contains("none can be shown: 8 commands listen"));
    top.type_in("q");
    assert_eq!(top.ends().0.code(), Some(0));
    drop(others);
}
