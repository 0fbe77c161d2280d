//! `counters --watch`: a line or a table a second, beside whatever else is at work, until somebody has seen enough.

use serde_json::Value;
use sg_ctl::kernel::Host;
use sg_tests::{
    ctl::{Ctl, Lab, binary},
    net::{IFACE, V4},
};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

struct Watch {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Watch {
    fn start(ctl: &Ctl, line: &str) -> Self {
        let mut command = Command::new(binary());
        ctl.prepare(&mut command).args(line.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("sg-ctl starts");
        let out = BufReader::new(child.stdout.take().expect("it was piped"));
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        line
    }

    fn document(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("one object a line: {error}: {line}"))
    }

    /// What it says on stderr, and its exit status.
    fn ends(mut self) -> (String, Option<i32>) {
        drop(self.out);
        let began = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().expect("a process") {
                break status.code();
            }
            assert!(began.elapsed() < Duration::from_secs(10), "it goes on");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut said = String::new();
        self.child.stderr.take().expect("it was piped").read_to_string(&mut said).expect("its words");
        (said, code)
    }
}

#[test]
fn counters_are_watched_second_by_second_until_interrupted() {
    let lab = Lab::attached_bare(&["ingress --protocol tcp --port 80 --cidr 203.0.113.0/24"]);
    let mut watch = Watch::start(&lab.ctl, &format!("-o json counters {IFACE} --watch"));
    let first = watch.document();
    assert!(first["interfaces"][0]["ingress"]["per_second"].is_null());
    assert_eq!(first["interfaces"][0]["name"], IFACE);
    assert_eq!(first["interfaces"][0]["ingress"]["dropped_packets"], 0);
    let began = Instant::now();
    lab.refuses(V4.admin, V4.host, 81);
    // What was dropped is in the total of the next line, and in its rate.
    let second = watch.document();
    let ingress = &second["interfaces"][0]["ingress"];
    let dropped = ingress["dropped_packets"].as_u64().expect("a number");
    let rate = ingress["per_second"]["dropped_packets"].as_f64().expect("a rate");
    assert!(dropped > 0 && rate > 0.5 * dropped as f64 && rate <= 1.2 * dropped as f64, "{ingress}");
    let _ = [watch.document(), watch.document()];
    assert!((1.8..5.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());

    // Another command has the host's lock for as long as it likes.
    let lock = File::open(lab.ctl.bpffs()).expect("the directory");
    lock.lock().expect("its lock");
    let _ = [watch.document(), watch.document()];
    drop(lock);

    let pid = watch.child.id().to_string();
    assert!(Command::new("sh").args(["-c", "kill -INT \"$1\"", "sh", &pid]).status().expect("sh").success());
    assert_eq!(watch.ends(), (String::new(), Some(0)));
}

#[test]
fn watching_ends_with_its_reader_and_with_its_interface() {
    let lab = Lab::attached_bare(&[]);
    let mut watch = Watch::start(&lab.ctl, "counters --watch");
    let table: Vec<_> = (0..3).map(|_| watch.line()).collect();
    assert!(table[1] == "\n" && table[2].starts_with("INTERFACE  DIRECTION  VERDICT"), "{table:?}");
    assert_eq!(watch.ends(), (String::new(), Some(0)), "as after `| head`");

    let mut watch = Watch::start(&lab.ctl, &format!("-o json counters {IFACE} --watch"));
    watch.document();
    lab.ctl.json(&format!("detach {IFACE}"));
    while !watch.line().is_empty() {}
    let (said, code) = watch.ends();
    assert_eq!(code, Some(1));
    assert!(said.contains("InvalidNetworkInterfaceID.NotFound") && said.lines().count() == 1, "{said}");
    assert_eq!(lab.ctl.refused("counters nothing0 --watch").code, "InvalidNetworkInterfaceID.NotFound");
}

#[test]
fn nothing_can_be_written_by_who_only_glances() {
    let lab = Lab::attached_bare(&[]);
    let host = Host::glance(lab.ctl.bpffs()).expect("a glance").expect("a host");
    let word = host.word().expect("it can be read");
    assert!(word > 0);
    assert!(host.state.set(&0, &0).is_err(), "the kernel takes no write");
    assert_eq!(host.word().expect("it can be read"), word);
    lab.ctl.json(&format!("detach {IFACE}"));
    assert!(Host::glance(lab.ctl.bpffs()).expect("a glance").is_none());
}
