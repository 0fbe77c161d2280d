//! Attaching, living without a process, and leaving nothing behind; the hooks, the sides, several hosts.

use aya::{
    maps::{MapInfo, loaded_maps},
    programs::{
        ProgramInfo,
        links::{FdLink, PinnedLink},
        loaded_links, loaded_programs,
    },
};
use serde_json::Value;
use sg_tests::{
    ctl::{Ctl, Lab, expect_counts},
    net::{
        ADMIN4, ADMIN6, ANSWER, Connection, Datagrams, FAMILIES, HOST4, IFACE, Namespace, OTHER4, PEER,
        SILENCE, V4, V6, acknowledge, refuses,
    },
};
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

const SSH: &str = "ingress --protocol tcp --port 22 --cidr 203.0.113.1/32 --cidr 2001:db8::1/128";
/// A handshake of a tracked connection.
const TRACKED: [(&str, u64); 3] = [("ingress.new", 1), ("ingress.tracked", 1), ("egress.tracked", 1)];

/// What a host has in the kernel, by the kernel's numbers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Objects {
    links: BTreeSet<u32>,
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
}

impl Objects {
    /// All that is pinned, and what that holds on to.
    fn of(ctl: &Ctl) -> Self {
        let mut objects = Self::default();
        for path in ctl.pins().into_iter().filter(|path| !path.is_dir()) {
            let below = path.strip_prefix(ctl.bpffs()).expect("a pin of this host");
            match below.components().next().expect("a name").as_os_str().to_str() {
                Some("interfaces") => {
                    let link = FdLink::from(PinnedLink::from_pin(&path).expect("a pinned link"));
                    let info = link.info().expect("a link has numbers");
                    objects.links.insert(info.id());
                    objects.programs.insert(info.program_id());
                }
                Some("maps") => {
                    objects.maps.insert(MapInfo::from_pin(&path).expect("a pinned map").id());
                }
                _ => {
                    objects.programs.insert(ProgramInfo::from_pin(&path).expect("a pinned program").id());
                }
            }
        }
        let own = |program: &ProgramInfo| objects.programs.contains(&program.id());
        let programs: Vec<_> = loaded_programs().filter_map(Result::ok).filter(own).collect();
        for program in &programs {
            let name = program.name_as_str().unwrap_or_default();
            assert!(name.starts_with("sg_"), "a program is named {name}");
            objects.maps.extend(program.map_ids().ok().flatten().into_iter().flatten());
        }
        objects
    }

    /// Those of them that are in the kernel now. (What others load or unload meanwhile is no error.)
    fn left(&self) -> Self {
        Self {
            links: loaded_links()
                .filter_map(Result::ok)
                .map(|link| link.id())
                .filter(|id| self.links.contains(id))
                .collect(),
            programs: loaded_programs()
                .filter_map(Result::ok)
                .map(|program| program.id())
                .filter(|id| self.programs.contains(id))
                .collect(),
            maps: loaded_maps()
                .filter_map(Result::ok)
                .map(|map| map.id())
                .filter(|id| self.maps.contains(id))
                .collect(),
        }
    }

    /// Waits until none is left: the kernel frees them after the last user has gone.
    #[track_caller]
    fn are_gone(&self) {
        let start = Instant::now();
        while self.left() != Self::default() {
            assert!(start.elapsed() < 5 * ANSWER, "still in the kernel: {:?}", self.left());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What `ip` and `tc` show of a link, without the numbers of traffic.
fn looks(namespace: &Namespace, link: &str) -> (String, String) {
    let qdiscs = sg_tests::net::run("tc", &format!("-n {} qdisc show dev {link}", namespace.name()));
    (namespace.ip(&format!("-d link show {link}")), qdiscs)
}

#[test]
fn everything_is_judged_with_no_process_running() {
    let lab = Lab::attached(&[SSH]);
    let place = lab.ctl.bpffs().to_string_lossy().into_owned();
    for process in fs::read_dir("/proc").expect("/proc").flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        assert!(!line.contains(&place), "a process is running: {line:?}");
    }
    let objects = Objects::of(&lab.ctl);
    assert_eq!(objects.links.len(), 2, "{objects:?}");
    assert_eq!(objects.left(), objects);
    for family in FAMILIES {
        lab.connect(family.admin, family.host, 22).goes_on();
        lab.refuses(family.other, family.host, 22);
    }
}

#[test]
fn a_second_run_finds_everything() {
    let lab = Lab::attached(&[SSH]);
    let mut ssh = lab.connect(V4.admin, V4.host, 22);
    let first = lab.ctl.json("status");
    let interface = &first["interfaces"][0];
    assert_eq!((&interface["enforcing"], &interface["name"]), (&true.into(), &IFACE.into()));
    let objects = Objects::of(&lab.ctl);

    assert_eq!(lab.ctl.flows().len(), 1);
    lab.ctl.add_rules("web", &["ingress --protocol tcp --port 443 --cidr 203.0.113.2/32"]);
    lab.connect(V4.other, V4.host, 443).goes_on();
    lab.remove("ingress --protocol tcp --port 443 --cidr 203.0.113.2/32");
    lab.refuses(V4.other, V4.host, 443);
    ssh.goes_on();

    let second = lab.ctl.json("status");
    let generation = |status: &Value| status["interfaces"][0]["generation"].as_u64().expect("a number");
    assert_eq!(generation(&second), generation(&first) + 2, "one generation a change");
    assert_eq!(Objects::of(&lab.ctl), objects, "a change of rules loads nothing");
    assert_eq!(second["interfaces"][0]["attached_since"], interface["attached_since"]);
}

#[test]
fn detach_leaves_nothing() {
    let lab = Lab::new();
    let before = looks(&lab.host, IFACE);
    lab.ctl.group("web", &[SSH]);
    for mode in ["tc", "generic", "native"] {
        lab.attach(&format!("--group web --mode {mode}"));
        lab.refuses(V4.other, V4.host, 80);
        let objects = Objects::of(&lab.ctl);
        assert!(objects.links.len() == 2 && objects.maps.len() > 10, "{objects:?}");
        let detached = lab.ctl.json(&format!("detach {IFACE}"));
        assert_eq!((&detached["Return"], &detached["name"]), (&true.into(), &IFACE.into()));
        assert_eq!(lab.ctl.pins(), [] as [&std::path::Path; 0]);
        objects.are_gone();
        assert_eq!(looks(&lab.host, IFACE), before);
        for family in FAMILIES {
            lab.connect(family.other, family.host, 80).goes_on();
        }
        assert_eq!(lab.ctl.json("status")["interfaces"], Value::Array(vec![]));
        assert_eq!(lab.ctl.json("interface list")["NetworkInterfaces"], Value::Array(vec![]));
        // Groups and rules are desired state, and stay.
        assert_eq!(lab.ctl.json("rule list web")["SecurityGroupRules"].as_array().map(Vec::len), Some(4));
    }
}

#[test]
fn detach_of_one_leaves_the_other_as_it_is() {
    let lab = Lab::attached(&[SSH]);
    let clients = lab.ctl.in_netns(lab.client.name());
    clients.json(&format!("attach {PEER} --adopt none --group web"));
    let both = Objects::of(&lab.ctl);
    assert_eq!(both.links.len(), 4, "{both:?}");
    let mut ssh = lab.connect(V4.admin, V4.host, 22);
    ssh.goes_on();
    assert_eq!(lab.ctl.flows().len(), 2, "each interface tracks it");

    clients.json(&format!("detach {PEER}"));
    let one = Objects::of(&lab.ctl);
    assert_eq!(one.links.len(), 2, "{one:?}");
    assert!(one.links.is_subset(&both.links) && one.maps.is_subset(&both.maps));
    assert_eq!(lab.ctl.flows().len(), 1, "flows of the detached one are gone");
    ssh.goes_on();
    lab.refuses(V4.other, V4.host, 22);
    lab.connect_out(V4.host, V4.other, 80).goes_on();

    // Its place in the maps is given to the next, which finds nothing in it.
    clients.json(&format!("attach {PEER} --adopt none --group web"));
    assert_eq!(lab.ctl.flows().len(), 2, "that of the host, twice");
    assert_eq!(clients.judged(PEER).values().sum::<u64>(), 0);
}

#[test]
fn a_new_attach_starts_without_flows_and_counts() {
    let lab = Lab::attached(&[SSH]);
    let mut ssh = lab.connect(V4.admin, V4.host, 22);
    lab.refuses(V4.other, V4.host, 22);
    lab.ctl.json(&format!("detach {IFACE}"));
    ssh.goes_on();
    lab.ctl.json("rule remove web ingress --protocol tcp --port 22 --cidr 203.0.113.1/32");
    lab.attach("--group web");
    assert_eq!(lab.ctl.flows(), [] as [Value; 0]);
    assert_eq!(lab.ctl.judged(IFACE).values().sum::<u64>(), 0);
    // Not adopted, no rule: it is cut.
    ssh.is_cut_forward();
}

#[test]
fn a_device_that_went_away_can_be_detached() {
    let lab = Lab::attached(&[SSH]);
    let objects = Objects::of(&lab.ctl);
    lab.host.ip(&format!("link delete {IFACE}"));
    let status = lab.ctl.json("status");
    assert_eq!(status["interfaces"][0]["enforcing"], false, "{status:#}");
    // Changes go on working meanwhile.
    lab.ctl.add_rules("web", &["ingress --protocol tcp --port 80 --cidr 0.0.0.0/0"]);
    lab.ctl.json(&format!("detach {IFACE}"));
    assert_eq!(lab.ctl.pins(), [] as [&std::path::Path; 0]);
    objects.are_gone();
}

#[test]
fn trap38_every_mode_judges_tc() {
    mode_judges("tc", "tc");
}

#[test]
fn trap38_every_mode_judges_generic() {
    mode_judges("generic", "generic");
}

#[test]
fn trap38_every_mode_judges_native() {
    mode_judges("native", "native");
}

#[test]
fn trap38_every_mode_judges_auto() {
    // Native XDP costs throughput on a veth.
    mode_judges("auto", "tc");
}

fn mode_judges(asked: &str, got: &str) {
    let lab = Lab::new();
    lab.ctl.bare_group("web", &[SSH, "ingress --protocol udp --port 53 --cidr 203.0.113.1/32"]);
    lab.attach(&format!("--group web --mode {asked}"));
    let status = lab.ctl.json("status");
    let interface = &status["interfaces"][0];
    assert_eq!((&interface["mode"], &interface["enforcing"]), (&got.into(), &true.into()));
    assert!(interface["mode_reason"].as_str().is_some_and(|reason| reason.len() > 10), "{interface}");
    for family in FAMILIES {
        let (mut ssh, counted) = lab.ctl.counting(|| lab.connect(family.admin, family.host, 22));
        expect_counts(&counted, &TRACKED);
        ssh.goes_on();
        let ((), counted) = lab.ctl.counting(|| bulk(&mut ssh));
        assert!(counted.iter().all(|(reason, _)| reason.ends_with(".tracked")), "{counted:?}");
        let ((), counted) = lab.ctl.counting(|| lab.refuses(family.other, family.host, 22));
        expect_counts(&counted, &[("ingress.no_rule", 1)]);
    }
    lab.datagrams(V4.admin, V4.host, 53).answers();
    lab.datagrams(V4.other, V4.host, 53).refused();
    refuses(&lab.host, V4.host, &lab.client, (V4.admin, 443).into());
}

#[test]
fn trap45_a_super_packet_counts_its_segments_tc() {
    counts_segments("tc");
}

#[test]
fn trap45_a_super_packet_counts_its_segments_native() {
    counts_segments("native");
}

fn counts_segments(mode: &str) {
    let lab = Lab::new();
    lab.ctl.group("web", &[SSH]);
    lab.attach(&format!("--group web --mode {mode}"));
    for family in FAMILIES {
        let mut inward = lab.connect(family.admin, family.host, 22);
        let mut outward = lab.connect_out(family.host, family.admin, 443);
        for (connection, reason) in [(&mut inward, "ingress.tracked"), (&mut outward, "egress.tracked")] {
            let ((), counted) = lab.ctl.counting(|| bulk(connection));
            let packets = counted.iter().find(|(name, _)| name == reason).map_or(0, |(_, n)| *n);
            let least = (LENGTH / 1500) as u64;
            assert!(packets >= least, "{least} wire packets at least, not {counted:?}");
        }
    }
}

/// What [`bulk`] sends.
const LENGTH: usize = 1 << 20;

/// Sends much through a connection.
fn bulk(connection: &mut Connection) {
    thread::scope(|scope| {
        let mut near = &connection.near;
        scope.spawn(move || near.write_all(&vec![7; LENGTH]).expect("the connection takes everything"));
        let mut heard = vec![0; LENGTH];
        connection.far.set_read_timeout(Some(ANSWER)).expect("a read timeout");
        connection.far.read_exact(&mut heard).expect("everything arrives");
        acknowledge(&connection.far);
        assert!(heard.iter().all(|byte| *byte == 7));
    });
}

#[test]
fn p15_p20_the_hosts_end_of_a_guests_link() {
    guest("auto");
}

#[test]
fn p15_p20_the_hosts_end_of_a_guests_link_at_native_xdp() {
    guest("native");
}

/// The namespace `host` plays the hypervisor, `client` the guest.
fn guest(mode: &str) {
    let lab = Lab::new();
    let (host, guest) = (&lab.host, &lab.client);
    lab.ctl.bare_group(
        "vm",
        &[
            "ingress --protocol tcp --port 22 --cidr 203.0.113.10/32 --cidr 2001:db8::10/128",
            "egress --protocol udp --port 53 --cidr 203.0.113.10/32 --cidr 2001:db8::10/128",
        ],
    );
    lab.attach(&format!("--group vm --side guest --mode {mode} --address {ADMIN4} --address {ADMIN6}"));
    let status = lab.ctl.json("status");
    let interface = &status["interfaces"][0];
    assert_eq!(interface["side"], "guest");
    assert_eq!(interface["addresses"], serde_json::json!([ADMIN4.to_string(), ADMIN6.to_string()]));
    for family in FAMILIES {
        // `ingress` is the guest's inbound: what the hypervisor sends.
        let open = || Connection::open(host, family.host, guest, (family.admin, 22).into());
        let (mut ssh, counted) = lab.ctl.counting(open);
        expect_counts(&counted, &TRACKED);
        ssh.goes_on();
        let flows = lab.ctl.flows();
        let flow = flows.iter().find(|flow| flow["local"] == family.admin.to_string()).expect("the flow");
        assert_eq!((&flow["initiated"], &flow["local_port"]), (&"ingress".into(), &22.into()));
        let ((), counted) = lab.ctl.counting(|| refuses(host, family.host, guest, (family.admin, 23).into()));
        expect_counts(&counted, &[("ingress.no_rule", 1)]);

        let asks = |from, port: u16| Datagrams::new(guest, from, host, (family.host, port).into());
        let ((), counted) = lab.ctl.counting(|| asks(family.admin, 53).answers());
        expect_counts(&counted, &[("egress.new", 1), ("ingress.tracked", 1)]);
        let ((), counted) = lab.ctl.counting(|| asks(family.admin, 54).refused());
        expect_counts(&counted, &[("egress.no_rule", 1)]);

        // P-20: the guest may send from its addresses only, and be sent to at these.
        let ((), counted) = lab.ctl.counting(|| asks(family.other, 53).refused());
        expect_counts(&counted, &[("egress.spoofed_source", 1)]);
        let mut astray = Datagrams::new(host, family.host, guest, (family.other, 53).into());
        let ((), counted) = lab.ctl.counting(|| astray.refused());
        expect_counts(&counted, &[("ingress.spoofed_source", 1)]);
    }
}

#[test]
fn p20_a_packet_from_outside_with_the_interfaces_own_address_is_spoofed() {
    let lab = Lab::attached(&["ingress --protocol udp --port 53 --cidr 0.0.0.0/0 --cidr ::/0"]);
    // The client takes the host's address too, and keeps sending to its other one.
    lab.client.ip(&format!("address add {HOST4}/32 dev lo"));
    lab.host.ip(&format!("address add 203.0.113.11/24 dev {IFACE}"));
    // The new address is the host's from the next change on.
    lab.ctl.json("group create other --description test");
    lab.datagrams(OTHER4, [203, 0, 113, 11].into(), 53).answers();
    let mut spoofed = lab.datagrams(HOST4, [203, 0, 113, 11].into(), 53);
    let ((), counted) = lab.ctl.counting(|| spoofed.refused());
    expect_counts(&counted, &[("ingress.spoofed_source", 1)]);
}

/// A process in a namespace, ended when this value goes.
struct Resident(Child);

impl Resident {
    fn of(namespace: &Namespace) -> Self {
        let start = || Command::new("sleep").arg("60").spawn();
        Self(namespace.inside(start).expect("`sleep` can be started"))
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_namespace_is_named_by_a_path_as_well() {
    let lab = Lab::new();
    lab.ctl.group("web", &[SSH]);
    let resident = Resident::of(&lab.host);
    let paths = [lab.host.path().display().to_string(), format!("/proc/{}/ns/net", resident.0.id())];
    for path in &paths {
        let by_path = lab.ctl.in_netns(path);
        by_path.json(&format!("attach {IFACE} --adopt none --group web"));
        let status = by_path.json("status");
        let interface = &status["interfaces"][0];
        assert_eq!((&interface["netns"], &interface["enforcing"]), (&path.as_str().into(), &true.into()));
        lab.connect(V4.admin, V4.host, 22).goes_on();
        lab.refuses(V4.other, V4.host, 22);
        let counters = by_path.json(&format!("counters {IFACE}"));
        assert!(counters["interfaces"][0]["ingress"]["dropped_packets"].as_u64() >= Some(1));
        by_path.json(&format!("detach {IFACE}"));
        assert_eq!(lab.ctl.pins(), [] as [&std::path::Path; 0]);
        lab.connect(V4.other, V4.host, 22).goes_on();
    }
}

#[test]
fn the_callers_own_namespace_is_the_default() {
    let lab = Lab::new();
    lab.ctl.group("web", &[SSH]);
    // The process is started in the namespace, as under `nsenter`.
    let own = lab.ctl.without_netns();
    lab.host.inside(|| own.json(&format!("attach {IFACE} --adopt none --group web")));
    let status = lab.host.inside(|| own.json("status"));
    assert_eq!(status["interfaces"][0]["netns"], Value::Null);
    assert_eq!(status["interfaces"][0]["enforcing"], true);
    lab.connect(V6.admin, V6.host, 22).goes_on();
    lab.refuses(V6.other, V6.host, 22);
    lab.host.inside(|| own.json(&format!("detach {IFACE}")));
    lab.connect(V6.other, V6.host, 22).goes_on();
}

#[test]
fn two_hosts_at_once_know_nothing_of_each_other() {
    // The same names, numbers and addresses on both.
    let (one, two) = (Lab::attached(&[SSH]), Lab::attached(&[]));
    one.connect(V4.admin, V4.host, 22).goes_on();
    two.refuses(V4.admin, V4.host, 22);
    two.ctl.add_rules("web", &["ingress --protocol tcp --port 80 --cidr 0.0.0.0/0"]);
    two.connect(V4.other, V4.host, 80).goes_on();
    one.refuses(V4.other, V4.host, 80);
    assert_eq!((one.ctl.flows().len(), two.ctl.flows().len()), (1, 0));
    let ids = |lab: &Lab| lab.ctl.json("group list")["SecurityGroups"][0]["GroupId"].clone();
    assert_ne!(ids(&one), ids(&two));

    one.ctl.json(&format!("detach {IFACE}"));
    one.connect(V4.other, V4.host, 81).goes_on();
    two.refuses(V4.other, V4.host, 81);
    assert_eq!(two.ctl.json("status")["interfaces"][0]["enforcing"], true);
}

#[test]
fn of_eight_changes_at_once_none_is_lost() {
    let lab = Lab::attached_bare(&[]);
    let ports: Vec<u16> = (7000..7008).collect();
    thread::scope(|scope| {
        for port in &ports {
            let ctl = &lab.ctl;
            let rule = format!("rule add web ingress --protocol udp --port {port} --cidr 203.0.113.0/24");
            scope.spawn(move || ctl.json(&rule));
        }
    });
    let listed = lab.ctl.json("rule list web");
    let mut found: Vec<_> = listed["SecurityGroupRules"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|rule| rule["FromPort"].as_u64().expect("a port") as u16)
        .collect();
    found.sort_unstable();
    assert_eq!(found, ports);
    for port in ports {
        lab.datagrams(V4.other, V4.host, port).answers();
    }
    let arrived = lab.datagrams(V4.other, V4.host, 7008).forward(SILENCE);
    assert!(!arrived);
}

#[test]
fn of_two_attaches_at_once_one_is_refused() {
    let lab = Lab::new();
    let codes = thread::scope(|scope| {
        let attach = || lab.ctl.run(&format!("attach {IFACE} --adopt none")).code;
        let threads = [scope.spawn(attach), scope.spawn(attach)];
        threads.map(|thread| thread.join().expect("no panic"))
    });
    assert!(codes == [Some(0), Some(1)] || codes == [Some(1), Some(0)], "{codes:?}");
    assert_eq!(lab.ctl.json("interface list")["NetworkInterfaces"].as_array().map(Vec::len), Some(1));
    let objects = Objects::of(&lab.ctl);
    assert_eq!(objects.links.len(), 2, "{objects:?}");
    lab.refuses(V4.admin, V4.host, 22);
}
