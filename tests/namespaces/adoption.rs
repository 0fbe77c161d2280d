//! Connections that are open when an interface is attached (P-22).

use serde_json::{Value, json};
use sg_common::limits::OBSERVE_SECONDS;
use sg_ctl::{
    kernel::{
        links::{self, Moment},
        object::Constants,
    },
    model::{Mode, Options, Side},
};
use sg_tests::{
    bench::{Bench, HZ},
    ctl::{Ctl, Lab, binary, keys, refusal},
    net::{
        ANSWER, Connection, FAMILIES, Family, HOST4, IFACE, Namespace, OTHER4, PEER, V4, V6, refuses, run,
    },
};
use std::{
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const NONE: [Value; 0] = [];

/// A host whose group `web` has these rules and no others; nothing is attached.
fn bare(rules: &[&str]) -> Lab {
    let lab = Lab::new();
    lab.ctl.bare_group("web", rules);
    lab
}

/// Attaches as a user does who says nothing of adoption. Returns what was adopted.
fn attach(ctl: &Ctl, flags: &str) -> Vec<Value> {
    let attached = ctl.json(&format!("attach {IFACE} --group web {flags}"));
    assert_eq!(keys(&attached), ["adopted", "interfaces"]);
    assert_eq!(attached["interfaces"][0]["enforcing"], true);
    attached["adopted"].as_array().expect("an array").clone()
}

/// Waits for connections, as a server goes on doing while it serves.
fn waits(lab: &Lab, address: IpAddr, port: u16) -> TcpListener {
    lab.host.listen(SocketAddr::new(address, port))
}

#[test]
fn p22_open_connections_go_on_though_no_rule_admits_them_tc() {
    open_connections_go_on("tc");
}

#[test]
fn p22_open_connections_go_on_though_no_rule_admits_them_native() {
    open_connections_go_on("native");
}

fn open_connections_go_on(mode: &str) {
    let lab = bare(&[]);
    let mut connections = Vec::new();
    let mut listeners = Vec::new();
    let mut expected = Vec::new();
    for family in FAMILIES {
        let inward = lab.connect(family.admin, family.host, 22);
        listeners.push(waits(&lab, family.host, 22));
        let outward = lab.connect_out(family.host, family.other, 443);
        let (local, remote) = (family.host.to_string(), [family.admin.to_string(), family.other.to_string()]);
        expected.push(json!({"protocol": "tcp", "local": local, "local_port": 22, "remote": remote[0],
            "remote_port": inward.near_port(), "initiated": "ingress"}));
        expected.push(json!({"protocol": "tcp", "local": local, "local_port": outward.near_port(),
            "remote": remote[1], "remote_port": 443, "initiated": "egress"}));
        connections.extend([inward, outward]);
    }
    let adopted = attach(&lab.ctl, &format!("--mode {mode}"));
    assert_eq!(adopted.len(), expected.len(), "{adopted:#?}");
    for connection in &expected {
        assert!(adopted.contains(connection), "{connection:#} in {adopted:#?}");
    }
    let ((), counted) = lab.ctl.counting(|| connections.iter_mut().for_each(Connection::goes_on));
    assert!(counted.iter().all(|(reason, _)| reason.ends_with(".tracked")), "{counted:?}");
    let flows = lab.ctl.flows();
    assert_eq!(flows.len(), 4, "{flows:#?}");
    assert!(flows.iter().all(|flow| flow["state"] == "established"), "{flows:#?}");
    for flow in &flows {
        let is_it = |one: &&Value| keys(one).iter().all(|key| one[key] == flow[key]);
        assert!(expected.iter().any(|one| is_it(&one)), "{flow:#} in {expected:#?}");
    }
    // What is new is judged by the rules.
    drop(listeners);
    for family in FAMILIES {
        lab.refuses(family.admin, family.host, 22);
    }
    connections.iter_mut().for_each(Connection::goes_on);
}

#[test]
fn p22_a_server_for_both_families_keeps_its_ipv4_connections() {
    let lab = bare(&[]);
    let server = waits(&lab, IpAddr::V6(Ipv6Addr::UNSPECIFIED), 22);
    let near = lab.client.inside(|| TcpStream::connect((HOST4, 22))).expect("a connection");
    let (far, _) = server.accept().expect("its other end");
    assert!(far.local_addr().expect("an address").is_ipv6());
    let adopted = attach(&lab.ctl, "");
    assert_eq!(adopted.len(), 1, "{adopted:#?}");
    assert_eq!((&adopted[0]["local"], &adopted[0]["initiated"]), (&json!(HOST4), &json!("ingress")));
    Connection::of(near, far).goes_on();
}

#[test]
fn p22_a_connection_between_link_local_addresses_goes_on() {
    let lab = bare(&[]);
    lab.host.ip(&format!("address add fe80::10/64 dev {IFACE} nodad"));
    lab.client.ip(&format!("address add fe80::1/64 dev {PEER} nodad"));
    let index = |namespace: &Namespace, link: &str| -> u32 {
        let shown = namespace.ip(&format!("-o link show {link}"));
        shown.split(':').next().expect("a part").parse().expect("a number")
    };
    let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x10);
    let at = SocketAddrV6::new(address, 22, 0, index(&lab.host, IFACE));
    let server = lab.host.listen(at.into());
    let mut to = at;
    to.set_scope_id(index(&lab.client, PEER));
    let near = lab.client.inside(|| TcpStream::connect(to)).expect("a connection");
    let (far, _) = server.accept().expect("its other end");
    assert_eq!(attach(&lab.ctl, "").len(), 1);
    Connection::of(near, far).goes_on();
}

#[test]
fn p22_without_adoption_open_connections_are_cut() {
    let lab = bare(&[]);
    let mut ssh = lab.connect(V4.admin, V4.host, 22);
    let mut own = lab.connect_out(V4.host, V4.other, 443);
    assert_eq!(attach(&lab.ctl, "--adopt none"), NONE);
    ssh.is_cut_forward();
    own.is_cut_back();
    assert_eq!(lab.ctl.flows(), NONE);
}

#[test]
fn p22_only_attach_adopts() {
    let lab = bare(&[]);
    let mut ssh = lab.connect(V4.admin, V4.host, 22);
    lab.ctl.bare_group("rest", &[]);
    assert_eq!(attach(&lab.ctl, "--adopt none"), NONE);
    lab.ctl.add_rules("web", &["ingress --protocol tcp --port 443 --cidr 203.0.113.1/32"]);
    lab.ctl.json(&format!("interface set-groups {IFACE} rest"));
    lab.ctl.json(&format!("interface set-timeouts {IFACE} --tcp-established 600"));
    lab.ctl.json("status");
    ssh.is_cut_forward();
    assert_eq!(lab.ctl.flows(), NONE);
}

#[test]
fn p22_detached_and_attached_again_connections_go_on() {
    let lab = bare(&[]);
    let mut connections: Vec<_> =
        FAMILIES.iter().map(|family| lab.connect(family.admin, family.host, 22)).collect();
    for _ in 0..3 {
        assert_eq!(attach(&lab.ctl, "").len(), 2);
        connections.iter_mut().for_each(Connection::goes_on);
        lab.ctl.json(&format!("detach {IFACE}"));
        connections.iter_mut().for_each(Connection::goes_on);
    }
}

#[test]
fn p22_t11_an_untracked_connection_is_not_adopted_and_ends_with_its_rule() {
    let lab = Lab::new();
    let rules = [V4, V6].map(|family| format!("ingress --protocol tcp --port 80 --cidr {}", family.world));
    lab.ctl.group("web", &rules.each_ref().map(String::as_str));
    let mut web = lab.connect(V4.other, V4.host, 80);
    let _server = waits(&lab, V4.host, 80);
    let mut ssh = lab.connect(V4.admin, V4.host, 22);
    let adopted = attach(&lab.ctl, "");
    assert_eq!(adopted.len(), 1, "{adopted:#?}");
    assert_eq!(adopted[0]["local_port"], 22);
    web.goes_on();
    ssh.goes_on();
    assert_eq!(lab.ctl.flows().len(), 1);
    lab.remove(&rules[0]);
    web.is_cut_forward();
    ssh.goes_on();
}

#[test]
fn p22_p2_own_connections_are_adopted_under_an_open_range_of_ephemeral_ports() {
    let lab = Lab::new();
    let rule = "ingress --protocol tcp --port 1024-65535 --cidr 0.0.0.0/0";
    lab.ctl.group("web", &[rule]);
    let mut own = lab.connect_out(V4.host, V4.admin, 443);
    assert_eq!(attach(&lab.ctl, "").len(), 1);
    let ((), counted) = lab.ctl.counting(|| own.goes_on());
    assert!(counted.iter().all(|(reason, _)| reason.ends_with(".tracked")), "{counted:?}");
    lab.remove(rule);
    own.goes_on();
}

#[test]
fn p22_p5_an_adopted_connection_ends_by_its_reset() {
    let lab = bare(&[]);
    for (family, from_outside) in [(V4, true), (V6, false)] {
        let mut connection = if from_outside {
            lab.connect(family.admin, family.host, 22)
        } else {
            lab.connect_out(family.host, family.admin, 443)
        };
        assert_eq!(attach(&lab.ctl, "").len(), 1);
        connection.goes_on();
        assert_eq!(lab.ctl.flows()[0]["state"], "established");
        connection.reset();
        assert_eq!(lab.ctl.flows()[0]["state"], "reset");
        lab.ctl.json(&format!("detach {IFACE}"));
    }
}

#[test]
fn p22_a_connection_that_is_closing_is_adopted_as_far_as_it_is_open() {
    let lab = bare(&[]);
    let mut closing = lab.connect(V4.admin, V4.host, 22);
    closing.near.shutdown(Shutdown::Write).expect("an open connection can be closed one way");
    while run("ss", &format!("-N {} -Htn state close-wait", lab.host.name())).is_empty() {
        thread::yield_now();
    }
    assert_eq!(attach(&lab.ctl, "").len(), 1);
    assert!(closing.back(ANSWER), "the host can still speak");
    assert_eq!(lab.ctl.flows()[0]["state"], "established");
    closing.far.shutdown(Shutdown::Write).expect("the other way as well");
    let start = Instant::now();
    while lab.ctl.flows()[0]["state"] != "closing" {
        assert!(start.elapsed() < ANSWER, "both have ended their streams");
    }
}

#[test]
fn p22_a_refused_attach_takes_back_what_it_adopted() {
    let lab = bare(&["ingress --protocol all --cidr 198.51.100.0/24"]);
    // A device of its own with a connection, whose driver takes no XDP program: refused after the adoption.
    lab.host.ip(&format!("link add link {IFACE} name odd type macvlan mode bridge"));
    lab.host.ip("address add 198.51.100.1/24 dev odd");
    lab.host.ip("link set odd up");
    lab.client.ip(&format!("address add 198.51.100.2/24 dev {}", PEER));
    let [host, client] = [1, 2].map(|last| IpAddr::from([198, 51, 100, last]));
    let _connection = lab.connect(client, host, 22);
    let mut ssh = lab.connect(V4.admin, V4.host, 22);
    assert_eq!(attach(&lab.ctl, "").len(), 1);
    let entries = || {
        let status = lab.ctl.json("status");
        let maps = status["maps"].as_array().expect("maps").clone();
        let names = ["established4", "established6"];
        let find = |name| maps.iter().find(|map| map["name"] == name).expect("a map")["entries"].clone();
        names.map(find)
    };
    assert_eq!(entries(), [json!(1), json!(0)]);
    let refused = refusal(&lab.ctl.run("attach odd --group web --mode native"));
    assert_eq!(refused.code, "UnsupportedDevice", "{refused:?}");
    assert_eq!(entries(), [json!(1), json!(0)]);
    ssh.goes_on();
}

#[test]
fn p22_attach_says_what_it_adopted() {
    let lab = bare(&[]);
    let ssh = lab.connect(OTHER4, HOST4, 22);
    let _server = waits(&lab, HOST4, 22);
    let ran = lab.ctl.run(&format!("attach {IFACE} --group web"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let port = ssh.near_port();
    let note =
        format!("note: adopted tcp {HOST4} port 22, {OTHER4} port {port}, open since before (ingress)\n");
    assert_eq!(ran.stderr, note);
}

#[test]
fn p22_the_programs_go_live_between_the_two_readings_of_the_sockets() {
    let namespace = Namespace::new("host");
    namespace.ip("link add odd type veth peer name even");
    let shown = namespace.ip("-o link show odd");
    let index = shown.split(':').next().expect("a part").parse().expect("a number");
    let mut bench = Bench::new();
    let eni = bench.interface(Side::Host, &[], &[], Options::default());
    bench.install();
    let host = bench.maps();
    let mut moments = Vec::new();
    let note = |moment| {
        moments.push((moment, links::is_attached(host, eni, index)));
        Ok(())
    };
    let constants = Constants { hz: HZ, test_clock: true, ..Constants::default() };
    namespace.inside(|| links::attach(host, eni, index, Mode::Tc, &constants, note)).expect("it attaches");
    assert_eq!(moments, [(Moment::Before, false), (Moment::After, true)]);
}

/// A guest, whose end of the link is the client's, in a group that admits nothing.
fn with_guest() -> (Lab, String) {
    let lab = bare(&[]);
    let flags = format!("{IFACE} --group web --side guest --address {} --address {}", V4.admin, V6.admin);
    (lab, flags)
}

/// The hypervisor connects to a port of the guest.
fn to_guest(lab: &Lab, family: Family, port: u16) -> Connection {
    Connection::open(&lab.host, family.host, &lab.client, (family.admin, port).into())
}

#[test]
fn p22_a_guests_connections_in_use_are_observed_and_go_on() {
    let (lab, flags) = with_guest();
    let mut used: Vec<_> = FAMILIES.map(|family| to_guest(&lab, family, 22)).into();
    let mut idle = to_guest(&lab, V4, 23);
    let start = Instant::now();
    let attached = thread::scope(|scope| {
        let ctl = lab.ctl.clone();
        let attaching = scope.spawn(move || ctl.json(&format!("attach {flags}")));
        let mut seen = false;
        while !attaching.is_finished() {
            used.iter_mut().for_each(Connection::goes_on);
            // Another process sees it meanwhile, and that it does not enforce.
            let status = lab.ctl.json("status");
            seen |= status["interfaces"].get(0).is_some_and(|interface| interface["enforcing"] == false);
            thread::sleep(Duration::from_millis(100));
        }
        assert!(seen, "nobody saw it observe");
        attaching.join().expect("it attaches")
    });
    assert!(start.elapsed() >= Duration::from_secs(OBSERVE_SECONDS.into()), "{:?}", start.elapsed());
    assert_eq!(attached["interfaces"][0]["enforcing"], true);
    let adopted = attached["adopted"].as_array().expect("an array").clone();
    assert_eq!(adopted.len(), 2, "{adopted:#?}");
    for family in FAMILIES {
        let is_it = |one: &Value| one["local"] == family.admin.to_string() && one["initiated"] == "ingress";
        assert!(adopted.iter().any(is_it), "{adopted:#?}");
    }
    let ((), counted) = lab.ctl.counting(|| used.iter_mut().for_each(Connection::goes_on));
    assert!(counted.iter().all(|(reason, _)| reason.ends_with(".tracked")), "{counted:?}");
    assert!(lab.ctl.judged(IFACE).keys().any(|reason| reason == "ingress.observed"));
    // Nobody has seen it speak.
    idle.is_cut_forward();
    idle.is_cut_back();
    refuses(&lab.host, V4.host, &lab.client, (V4.admin, 22).into());
    used.iter_mut().for_each(Connection::goes_on);
}

#[test]
fn p22_an_observation_ends_by_itself_though_the_command_is_killed() {
    let (lab, flags) = with_guest();
    let mut command = Command::new(binary());
    let mut attaching = lab
        .ctl
        .prepare(&mut command)
        .arg("attach")
        .args(flags.split_whitespace())
        .stdout(Stdio::null())
        .spawn()
        .expect("sg-ctl starts");
    let enforcing = || lab.ctl.json("status")["interfaces"].get(0).map(|one| one["enforcing"] == true);
    while enforcing().is_none() {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(enforcing(), Some(false));
    let mut connection = to_guest(&lab, V4, 22);
    connection.goes_on();
    attaching.kill().expect("it waits still");
    attaching.wait().expect("it ends");
    // A change meanwhile does not end it.
    lab.ctl.add_rules("web", &["ingress --protocol tcp --port 80 --cidr 203.0.113.10/32"]);
    assert_eq!(enforcing(), Some(false));
    let start = Instant::now();
    while enforcing() != Some(true) {
        assert!(start.elapsed() < ANSWER + Duration::from_secs(OBSERVE_SECONDS.into()));
        thread::sleep(Duration::from_millis(20));
    }
    refuses(&lab.host, V4.host, &lab.client, (V4.admin, 23).into());
    connection.goes_on();
}

#[test]
fn p22_without_adoption_a_guests_interface_enforces_at_once() {
    let (lab, flags) = with_guest();
    let mut connection = to_guest(&lab, V4, 22);
    let attached = lab.ctl.json(&format!("attach {flags} --adopt none"));
    assert_eq!((&attached["interfaces"][0]["enforcing"], &attached["adopted"]), (&json!(true), &json!([])));
    connection.is_cut_forward();
    assert!(!lab.ctl.judged(IFACE).keys().any(|reason| reason.ends_with(".observed")));
}
