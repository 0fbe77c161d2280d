//! `sg-ctl agent --metrics`: what monitoring is told, held against a real Prometheus.

use serde_json::Value;
use sg_common::{
    Direction,
    adopt::Answer,
    limits::{MAX_ESTABLISHED_V4, MAX_ESTABLISHED_V6},
};
use sg_ctl::{
    kernel::{Host, adopt::Program, object::Constants},
    sockets::Connection,
};
use sg_tests::{
    agent::Agent,
    ctl::{Ctl, Lab, finish},
    net::{IFACE, Namespace, PEER, V4},
};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What the agent says when it serves.
const SERVED: &str = "metrics are served on";

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// `GET` in a namespace: the status, and what it is about.
fn get(namespace: &Namespace, at: SocketAddr, path: &str, accept: &str) -> (u16, String) {
    let answer = namespace.inside(|| {
        let mut stream = TcpStream::connect(at).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        // Version 1.0 has one answer a connection, and none in chunks.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {at}\r\nAccept: {accept}\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    });
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.to_owned())
}

/// Where the agent serves, as it has said.
fn address(said: &str) -> SocketAddr {
    let at = said.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    at.parse().unwrap_or_else(|error| panic!("{said}: {error}"))
}

/// An agent with its endpoint in the host's namespace, on a port of the kernel's choice.
fn serving(lab: &Lab) -> (Agent, SocketAddr) {
    lab.host.ip("link set lo up");
    let agent = Agent::start_saying(&lab.ctl, "--metrics 127.0.0.1:0", SERVED);
    let at = address(agent.said());
    (agent, at)
}

/// The numbers, by name and labels.
fn scrape(lab: &Lab, at: SocketAddr) -> BTreeMap<String, f64> {
    let (status, text) = get(&lab.host, at, "/metrics", "*/*");
    assert_eq!(status, 200, "{text}");
    let numbers = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, number) = line.rsplit_once(' ').expect("a name and a number");
        (name.to_owned(), number.parse().expect("a number"))
    });
    let numbers: Vec<_> = numbers.collect();
    let by_name: BTreeMap<_, _> = numbers.iter().cloned().collect();
    assert_eq!(numbers.len(), by_name.len(), "a name twice");
    by_name
}

/// The name of the packets that an interface of the lab's host dropped on the way in for want of a rule.
fn refused(lab: &Lab) -> String {
    let netns = lab.host.name();
    format!(
        "sg_packets_total{{interface=\"{IFACE}\",netns=\"{netns}\",direction=\"ingress\",verdict=\"dropped\",reason=\"no_rule\"}}"
    )
}

#[test]
fn metrics_count_what_happens_go_on_through_restarts_and_go_with_their_interface() {
    let lab = Lab::attached_bare(&["ingress --protocol tcp --port 80 --cidr 203.0.113.0/24"]);
    let (agent, at) = serving(&lab);
    let before = scrape(&lab, at);
    assert_eq!(before[&refused(&lab)], 0.0, "a reason that did not occur yet has a number");
    lab.refuses(V4.admin, V4.host, 81);
    lab.connect(V4.admin, V4.host, 80).goes_on();
    let after = scrape(&lab, at);
    let dropped = after[&refused(&lab)];
    assert_eq!(dropped, lab.ctl.judged(IFACE)["ingress.no_rule"] as f64);
    assert!(dropped > 0.0);
    assert_eq!(after["sg_conntrack_flows{table=\"established\",family=\"ipv4\"}"], 1.0);
    let available = |seen: &BTreeMap<String, f64>| seen["sg_conntrack_allowance_available{family=\"ipv4\"}"];
    assert_eq!(available(&before) - available(&after), 1.0);
    let told = lab.ctl.json("counters");
    let of_both = after["sg_conntrack_allowance_available{family=\"ipv6\"}"] + available(&after);
    assert_eq!(told["conntrack"]["allowance_available"].as_f64(), Some(of_both));
    let netns = lab.host.name();
    assert_eq!(after[&format!("sg_interface_enforcing{{interface=\"{IFACE}\",netns=\"{netns}\"}}")], 1.0);
    assert_eq!(after["sg_in_step"], 1.0);

    // A change of rules is a swap of now.
    lab.ctl.add_rules("web", &["ingress --protocol tcp --port 82 --cidr 203.0.113.1/32"]);
    let swapped = scrape(&lab, at);
    assert!(swapped["sg_generation"] > after["sg_generation"]);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs_f64();
    assert!((now - swapped["sg_last_swap_timestamp_seconds"]).abs() < 60.0);

    // Nothing is lost with the agent, however it ends.
    let mut agent = agent;
    agent.kill();
    lab.refuses(V4.admin, V4.host, 81);
    let (agent, at) = serving(&lab);
    let again = scrape(&lab, at);
    assert!(again[&refused(&lab)] > dropped, "{} after {dropped}", again[&refused(&lab)]);
    for (name, number) in again.iter().filter(|(name, _)| name.contains("_total{")) {
        assert!(*number >= after[name], "{name} went back from {} to {number}", after[name]);
    }

    // An interface's numbers go with it, and another's of that name in another namespace are its own.
    let clients = lab.ctl.in_netns(lab.client.name());
    clients.json(&format!("attach {PEER} --adopt none --group web"));
    assert!(scrape(&lab, at).keys().any(|name| name.contains(PEER)));
    lab.ctl.json(&format!("detach {IFACE}"));
    let left = scrape(&lab, at);
    assert!(!left.keys().any(|name| name.contains(&format!("\"{IFACE}\""))), "{left:?}");
    clients.json(&format!("detach {PEER}"));
    let nothing = scrape(&lab, at);
    assert_eq!((nothing["sg_generation"], nothing["sg_in_step"]), (0.0, 1.0));
    assert!(!nothing.keys().any(|name| name.contains("interface=")), "{nothing:?}");
    agent.stop();
}

#[test]
fn the_endpoint_says_what_it_has_and_waits_for_no_command() {
    let lab = Lab::attached_bare(&[]);
    let (agent, at) = serving(&lab);
    assert_eq!(get(&lab.host, at, "/", "*/*"), (200, "sg-ctl agent: see /metrics\n".to_owned()));
    assert_eq!(get(&lab.host, at, "/etc/passwd", "*/*").0, 404);
    let (_, open) =
        get(&lab.host, at, "/metrics", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(open.ends_with("# EOF\n"), "{open}");
    let (_, plain) = get(&lab.host, at, "/metrics", "text/plain");
    assert!(!plain.contains("# EOF"));
    // Somebody has the host's lock for as long as he likes.
    let lock = fs::File::open(lab.ctl.bpffs()).expect("the directory");
    lock.lock().expect("its lock");
    assert_eq!(scrape(&lab, at)["sg_in_step"], 1.0);
    drop(lock);
    // And silent connections keep nobody out.
    let silent: Vec<_> = lab.host.inside(|| (0..20).map(|_| TcpStream::connect(at)).collect());
    assert!(silent.iter().all(Result::is_ok));
    scrape(&lab, at);

    let refused = lab.ctl.refused("agent --metrics localhost");
    assert_eq!(refused.code, "InvalidParameterValue");
    assert!(refused.message.contains("'localhost' is not ADDR:PORT"), "{}", refused.message);
    agent.stop();
}

#[test]
fn a_port_that_is_taken_is_said_and_all_else_goes_on() {
    let lab = Lab::attached_bare(&["ingress --protocol tcp --port 80 --source-group web"]);
    lab.host.ip("link set lo up");
    let taken = lab.host.inside(|| TcpListener::bind("127.0.0.1:0")).expect("a port");
    let at = taken.local_addr().expect("its address");
    let clients = lab.ctl.in_netns(lab.client.name());
    clients.json(&format!("attach {PEER} --adopt none --group web"));
    lab.ctl.add_rules("web", &["egress --protocol all --cidr 0.0.0.0/0"]);

    let mut agent = Agent::start_saying(&lab.ctl, &format!("--metrics {at}"), "cannot serve metrics");
    let said = agent.said().to_owned();
    assert!(
        said.contains(&at.to_string()) && said.contains("ss -ltnp") && said.contains("--metrics"),
        "{said}"
    );
    lab.connect(V4.admin, V4.host, 80).goes_on();
    let new: IpAddr = "203.0.113.77".parse().expect("IPv4");
    lab.client.ip(&format!("addr add {new}/24 dev {PEER}"));
    let began = Instant::now();
    while !lab.ctl.json("status")["interfaces"].to_string().contains("203.0.113.77") {
        assert!(began.elapsed() < PATIENCE, "the agent does not follow");
        thread::sleep(Duration::from_millis(50));
    }
    lab.connect(new, V4.host, 80).goes_on();
    drop(taken);
    assert_eq!(address(agent.says(SERVED)), at, "it was tried again");
    scrape(&lab, at);
    agent.stop();
}

/// Fills the IPv4 table of established flows with live ones, by the program that adoption uses. Returns how many it took.
fn fill(ctl: &Ctl, slot: u16) -> u32 {
    let host = Host::open(ctl.bpffs()).expect("the host").expect("something is attached");
    let hz = u32::try_from(host.now().expect("a clock").1).expect("a rate");
    let program = Program::load(&host, &Constants { hz, ..Constants::default() }).expect("the program");
    let local = SocketAddr::new(V4.host, 22);
    let far = |n: u32| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x6440_0000 + n)), 40_000);
    let mut made = 0;
    loop {
        let connection = Connection { local, remote: far(made) };
        match program.take_up(slot, &connection, Direction::Ingress, 0).expect("an answer") {
            Answer::Made => made += 1,
            Answer::Full => return made,
            Answer::Present => panic!("connection {made} is there already"),
        }
    }
}

#[test]
fn t28_u8_a_full_table_is_seen_before_and_when_it_refuses() {
    let lab = Lab::attached_bare(&["ingress --protocol tcp --port 80 --cidr 203.0.113.0/24"]);
    let (agent, at) = serving(&lab);
    let exceeded = format!(
        "sg_conntrack_allowance_exceeded_total{{interface=\"{IFACE}\",netns=\"{}\"}}",
        lab.host.name()
    );
    assert_eq!(scrape(&lab, at)[&exceeded], 0.0);
    let mut open = lab.connect(V4.admin, V4.host, 80);
    assert_eq!(fill(&lab.ctl, 0), MAX_ESTABLISHED_V4 - 1);
    let full = scrape(&lab, at);
    assert_eq!(full["sg_conntrack_allowance_available{family=\"ipv4\"}"], 0.0);
    assert_eq!(
        full["sg_conntrack_flows{table=\"established\",family=\"ipv4\"}"],
        f64::from(MAX_ESTABLISHED_V4)
    );
    assert_eq!(full[&exceeded], 0.0, "nobody was refused yet");
    // The first SYNs after the table was found full are refused; later ones get as far as their third leg.
    let server = lab.host.listen(SocketAddr::new(V4.host, 81));
    lab.ctl.add_rules("web", &["ingress --protocol tcp --port 81 --cidr 203.0.113.0/24"]);
    let to = server.local_addr().expect("an address");
    let _ = lab.client.inside(|| TcpStream::connect_timeout(&to, Duration::from_millis(300)));
    open.goes_on();
    let seen = scrape(&lab, at)[&exceeded];
    assert!(seen > 0.0);
    let told = lab.ctl.json("conntrack stats");
    assert!(told["conntrack"]["allowance_exceeded"].as_f64() >= Some(seen), "{told}");
    // The other family has a table of its own.
    assert_eq!(told["conntrack"]["allowance_available"], MAX_ESTABLISHED_V6);
    agent.stop();
}

/// A Prometheus that scrapes the agent every second; ended with the test.
struct Prometheus<'a> {
    lab: &'a Lab,
    at: SocketAddr,
    child: Child,
    _dir: tempfile::TempDir,
}

impl<'a> Prometheus<'a> {
    fn start(lab: &'a Lab, target: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = dir.path().join("prometheus.yml");
        let rules = docs("prometheus/alerts.yml");
        let written = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n- job_name: sg\n  \
             static_configs: [{{targets: ['{target}']}}]\n",
            rules.display()
        );
        fs::write(&config, written).expect("its configuration");
        // Nobody else is in this namespace.
        let at: SocketAddr = "127.0.0.1:9090".parse().expect("an address");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        command.arg(format!("--web.listen-address={at}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = lab.host.inside(|| command.spawn()).expect("prometheus starts");
        let prometheus = Self { lab, at, child, _dir: dir };
        let is_ready = || {
            let listens = lab.host.inside(|| TcpStream::connect(at)).is_ok();
            listens && get(&lab.host, at, "/-/ready", "*/*").0 == 200
        };
        let began = Instant::now();
        while !is_ready() {
            assert!(began.elapsed() < PATIENCE, "prometheus does not come up");
            thread::sleep(Duration::from_millis(50));
        }
        prometheus
    }

    /// What it answers to a query of its API.
    fn api(&self, path: &str) -> Value {
        let (_, body) = get(&self.lab.host, self.at, path, "*/*");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// The result of an expression.
    fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.api(&format!("/api/v1/query?query={encoded}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().expect("a vector").clone()
    }

    /// The number of the one series of an expression, once there is one that is so.
    fn becomes(&self, expression: &str, is_so: impl Fn(f64) -> bool) {
        let began = Instant::now();
        loop {
            let found = self.query(expression);
            let number = found.first().and_then(|one| one["value"][1].as_str()?.parse().ok());
            if number.is_some_and(&is_so) {
                assert_eq!(found.len(), 1, "{expression}: {found:?}");
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{expression} is {found:?}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn docs(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(file)
        .canonicalize()
        .expect("a file of the docs")
}

/// Every expression of the dashboard, with what Grafana puts in place of its variables.
fn dashboard() -> Vec<(String, String)> {
    let text = fs::read_to_string(docs("grafana/sg.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let mut expression = target["expr"].as_str().expect("an expression").to_owned();
            for (variable, value) in
                [("$__rate_interval", "10s"), ("$__range", "1m"), ("$instance", ".*"), ("$interface", ".*")]
            {
                expression = expression.replace(variable, value);
            }
            assert!(!expression.contains('$'), "{expression}");
            found.push((panel["title"].to_string(), expression));
        }
    }
    found
}

#[test]
fn a_real_prometheus_understands_the_metrics_the_dashboard_and_the_alerts() {
    let lab = Lab::attached_bare(&["ingress --protocol tcp --port 80 --cidr 203.0.113.0/24"]);
    let (agent, at) = serving(&lab);
    let promtool = |arguments: &[&str], given: Option<&str>| {
        let mut command = Command::new("promtool");
        command.args(arguments);
        let Some(given) = given else { return finish(&mut command) };
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("given");
        fs::write(&file, given).expect("a file");
        let mut shell = Command::new("sh");
        finish(
            shell
                .args(["-c", "file=$1; shift; \"$@\" < \"$file\"", "sh"])
                .arg(&file)
                .arg("promtool")
                .args(arguments),
        )
    };
    let (_, text) = get(&lab.host, at, "/metrics", "*/*");
    let checked = promtool(&["check", "metrics"], Some(&text));
    assert_eq!((checked.code, checked.stdout.as_str(), checked.stderr.as_str()), (Some(0), "", ""));
    let checked =
        promtool(&["check", "metrics"], Some(&text.replace("sg_generation", "sg_generation_total")));
    assert_ne!(checked.code, Some(0), "what it does not like it says");
    let alerts = docs("prometheus/alerts.yml");
    let checked = promtool(&["check", "rules", &alerts.display().to_string()], None);
    assert_eq!(checked.code, Some(0), "{checked:?}");

    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("namespaces/alerts_test.yml");
    let tested = promtool(&["test", "rules", &tests.display().to_string()], None);
    assert_eq!(tested.code, Some(0), "{tested:?}");

    let prometheus = Prometheus::start(&lab, at);
    prometheus.becomes("up{job=\"sg\"}", |up| up == 1.0);
    lab.refuses(V4.admin, V4.host, 81);
    lab.connect(V4.admin, V4.host, 80).goes_on();
    let dropped = refused(&lab);
    prometheus.becomes(&format!("{dropped} > 0"), |packets| packets >= 1.0);
    prometheus.becomes(&format!("rate({dropped}[10s])"), |rate| rate >= 0.0);
    // It asked for OpenMetrics, which has types and units.
    let told = prometheus.api("/api/v1/metadata?metric=sg_bytes_total");
    let told = if told["data"]["sg_bytes_total"].is_null() {
        prometheus.api("/api/v1/metadata?metric=sg_bytes")["data"]["sg_bytes"].clone()
    } else {
        told["data"]["sg_bytes_total"].clone()
    };
    assert_eq!((&told[0]["type"], &told[0]["unit"]), (&"counter".into(), &"bytes".into()), "{told}");

    let expressions = dashboard();
    assert!(expressions.len() > 15, "{} are few", expressions.len());
    for (panel, expression) in &expressions {
        assert!(!prometheus.query(expression).is_empty(), "{panel} is empty: {expression}");
    }

    let rules = prometheus.api("/api/v1/rules");
    let rules = rules["data"]["groups"][0]["rules"].as_array().expect("rules").clone();
    assert_eq!(rules.len(), 10, "{rules:?}");
    for rule in &rules {
        assert_eq!((&rule["health"], &rule["state"]), (&"ok".into(), &"inactive".into()), "{rule}");
    }
    // One of them has something to say when the device is gone.
    lab.host.ip(&format!("link del {IFACE}"));
    let firing = "ALERTS{alertname=\"SgNotEnforcing\"}";
    prometheus.becomes(firing, |pending| pending == 1.0);
    agent.stop();
    prometheus.becomes("up{job=\"sg\"}", |up| up == 0.0);
}
