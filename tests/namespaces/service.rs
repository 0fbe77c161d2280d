//! The agent as a service: one a host, what it tells systemd, and the unit that it is shipped with.

use sg_ctl::store;
use sg_tests::{
    agent::Agent,
    ctl::{Lab, binary, finish},
    net::{IFACE, V4},
};
use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    os::unix::net::UnixDatagram,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sg-ctl/systemd/sg-agent.service");

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_second_agent_is_refused_and_a_killed_one_leaves_nothing_behind() {
    let lab = Lab::new();
    let mut first = Agent::start(&lab.ctl);
    let refused = lab.ctl.refused("agent");
    assert_eq!(refused.code, "IncorrectState");
    assert!(refused.message.contains(&format!("(process {})", first.pid())), "{}", refused.message);
    // Another host's is nobody's concern.
    Agent::start(&Lab::new().ctl).stop();
    first.kill();
    Agent::start(&lab.ctl).stop();
}

#[test]
fn commands_and_the_agent_get_on_with_each_other() {
    let lab = Lab::attached(&["ingress --protocol tcp --port 22 --cidr 203.0.113.1/32"]);
    let agent = Agent::start(&lab.ctl);
    for round in 0..20 {
        let port = format!("ingress --protocol tcp --port {} --cidr 203.0.113.2/32", 1_000 + round);
        lab.ctl.json(&format!("rule add web {port}"));
        // The agent is told of a change of addresses at the same time.
        let address = format!("203.0.113.{}/24 dev {IFACE}", 100 + round);
        lab.host.ip(&format!("addr add {address}"));
        lab.remove(&port);
        lab.host.ip(&format!("addr del {address}"));
    }
    lab.connect(V4.admin, V4.host, 22).goes_on();
    lab.refuses(V4.other, V4.host, 1_000);
    agent.stop();
}

#[test]
fn systemd_is_told_that_the_agent_is_ready_alive_and_stopping() {
    let lab = Lab::attached(&[]);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let told = || {
        let mut message = [0; 512];
        let length = socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let agent = Agent::start_with(&lab.ctl, "", |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1500000");
    });
    assert_eq!(told(), "READY=1\n");
    assert_eq!([told(), told()], ["WATCHDOG=1\n", "WATCHDOG=1\n"]);
    agent.stop();
    let mut last = told();
    while last == "WATCHDOG=1\n" {
        last = told();
    }
    assert_eq!(last, "STOPPING=1\n");
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_calls_hardened() {
    let unit = fs::read_to_string(UNIT).expect("the unit");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copy = dir.path().join("sg-agent.service");
    let here = binary().canonicalize().expect("sg-ctl is there").display().to_string();
    assert!(unit.contains("ExecStart=/usr/bin/sg-ctl agent\n"));
    fs::write(&copy, unit.replace("/usr/bin/sg-ctl", &here)).expect("a copy");
    let analyze = |arguments: &[&str], file: &Path| {
        let ran = finish(Command::new("systemd-analyze").args(arguments).arg(file));
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        ran
    };
    assert_eq!(analyze(&["verify", "--man=no"], &copy).stderr, "");
    analyze(&["security", "--offline=true", "--threshold=35"], Path::new(UNIT));
    fs::write(&copy, unit.replace("WatchdogSec=", "WatchdgSec=")).expect("a copy");
    let ran = finish(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy));
    assert!(ran.stderr.contains("WatchdgSec"), "what it does not know it says: {ran:?}");
}

#[test]
fn the_capabilities_of_the_unit_are_enough() {
    let unit = fs::read_to_string(UNIT).expect("the unit");
    let bounding = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("a set");
    let set: Vec<String> =
        bounding.split_whitespace().map(|name| name.to_lowercase().replacen("cap_", "+", 1)).collect();
    let mut command = Command::new("setpriv");
    command.args([&format!("--bounding-set=-all,{}", set.join(",")), "--inh-caps=-all", "--no-new-privs"]);
    command.arg(binary());

    let lab = Lab::attached(&["ingress --protocol tcp --port 80 --source-group web"]);
    let agent = Agent::start_by(&lab.ctl, command, "");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("its status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("a set");
    let effective = u64::from_str_radix(effective, 16).expect("a number");
    assert_eq!(effective.count_ones() as usize, set.len(), "setpriv did not do it: {effective:x}");
    follows(&lab, bounding);
    agent.stop();
}

/// Mounts for whoever is in a mount namespace of its own what systemd mounts for the unit's options, as shell commands. A
/// path that one option makes writable and another one read-only is read-only, as systemd has it.
fn mounts(unit: &str, state_dir: &Path) -> String {
    let is_set = |option: &str| unit.lines().any(|line| line == option);
    let paths = |option: &str| -> Vec<String> {
        let values = unit.lines().filter_map(|line| line.strip_prefix(option)?.strip_prefix('='));
        values.flat_map(str::split_whitespace).map(ToOwned::to_owned).collect()
    };
    let mut read_only = paths("ReadOnlyPaths");
    for (option, more) in [
        ("ProtectSystem=strict", &["/"][..]),
        ("ProtectControlGroups=yes", &["/sys/fs/cgroup"]),
        ("ProtectKernelTunables=yes", &["/proc/sys", "/sys", "/sys/fs/bpf"]),
    ] {
        read_only.extend(more.iter().filter(|_| is_set(option)).map(ToString::to_string));
    }
    let mut script = String::from("set -e\n");
    for path in paths("ReadWritePaths").iter().chain([&state_dir.display().to_string()]) {
        writeln!(script, "mount --bind {path} {path}").expect("a string");
    }
    for path in read_only {
        let (may_be_missing, path) = path.strip_prefix('-').map_or((false, &*path), |path| (true, path));
        let unless = if may_be_missing { format!("[ ! -e {path} ] || ") } else { String::new() };
        let bind = if path == "/" { String::new() } else { format!("mount --bind {path} {path} && ") };
        writeln!(script, "{unless}{{ {bind}mount -o remount,bind,ro {path}; }}").expect("a string");
    }
    script
}

#[test]
fn what_the_unit_leaves_writable_is_enough() {
    let unit = fs::read_to_string(UNIT).expect("the unit");
    let lab = Lab::attached(&["ingress --protocol tcp --port 80 --source-group web"]);
    let script = mounts(&unit, lab.ctl.state_dir()) + "exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "slave", "sh", "-c", &script, "sh"]).arg(binary());
    let agent = Agent::start_by(&lab.ctl, command, "");
    let seen = fs::read_to_string(format!("/proc/{}/mountinfo", agent.pid())).expect("its mounts");
    let is_read_only = |path: &str| {
        let mut mounts = seen.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        mounts.rfind(|mount| mount[4] == path).expect("it is mounted")[5].starts_with("ro")
    };
    assert!(["/", "/proc/sys", "/sys/fs/cgroup"].into_iter().all(is_read_only), "{seen}");
    follows(&lab, "what it may write");
    // What a detach that was killed leaves: pins, which the agent removes.
    let store = store::open(None, lab.ctl.state_dir()).expect("the store");
    let transaction = store.begin().expect("a transaction");
    let mut state = transaction.snapshot().state.clone();
    state.interfaces.clear();
    transaction.commit(&state).expect("a commit");
    let began = Instant::now();
    while lab.ctl.bpffs().exists() {
        assert!(began.elapsed() < PATIENCE, "the agent leaves {:?}", lab.ctl.pins());
        thread::sleep(Duration::from_millis(50));
    }
    agent.stop();
}

/// Waits until an address that is new on the device is one of the interface's: the agent reads and changes the store,
/// enters namespaces, writes maps.
fn follows(lab: &Lab, with: &str) {
    let new: IpAddr = "203.0.113.77".parse().expect("IPv4");
    lab.host.ip(&format!("addr add {new}/24 dev {IFACE}"));
    let has_it = || {
        let status = lab.ctl.json("status");
        let addresses = status["interfaces"][0]["addresses"].as_array().expect("addresses").clone();
        addresses.iter().any(|address| *address == new.to_string())
    };
    for _ in 0..100 {
        if has_it() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the agent does not follow with {with}");
}
