//! `sg-ctl` as a user runs it, and the little world that most tests play in.
//!
//! Every answer is held against the contract of `cli.md`: exit codes, one line of error in both forms, JSON and nothing
//! but JSON on stdout.

use crate::net::{Cable, IFACE, Namespace, unique};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    io::{ErrorKind, Read},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// No command takes a tenth of this.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
#[must_use]
pub fn binary() -> PathBuf {
    env::var_os("SG_CTL")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/sg-ctl"), PathBuf::from)
}

/// What a finished command said.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit status; none where a signal ended it.
    pub code: Option<i32>,
    /// All of it.
    pub stdout: String,
    /// All of it.
    pub stderr: String,
}

/// Runs a command to its end, which must come in time.
pub fn finish(command: &mut Command) -> Ran {
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
    // The end of both streams is the end of the process, and can be waited for with a time limit.
    let (stdout, stderr) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
    let (Ok(stdout), Ok(stderr)) = (stdout.recv_timeout(PATIENCE), stderr.recv_timeout(PATIENCE)) else {
        child.kill().expect("a hanging command can be killed");
        child.wait().expect("a killed command ends");
        panic!("{shown} hangs");
    };
    let code = child.wait().expect("a command can be waited for").code();
    Ran { code, stdout, stderr }
}

fn read_all(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            stream.read_to_end(&mut bytes).expect("the output of a command can be read");
        }
        // Nobody listens any more once the time limit has passed.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// Store and pins of one "host": gone with the last [`Ctl`] that uses them, whatever state they are in.
struct Place {
    state: TempDir,
    bpffs: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = remove_pins(&self.bpffs) {
            eprintln!("warning: {} is still there: {error}", self.bpffs.display());
        }
    }
}

/// Removing the pins of its links takes a program off its device. Directories of a bpffs hold no plain files, and
/// pins are removed without being opened.
fn remove_pins(dir: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() { remove_pins(&entry.path())? } else { fs::remove_file(entry.path())? }
    }
    fs::remove_dir(dir)
}

/// `sg-ctl` with the flags that make a namespace a host of its own.
#[derive(Clone)]
pub struct Ctl {
    place: Arc<Place>,
    bpffs: PathBuf,
    netns: Option<OsString>,
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// EC2's code, or ours.
    pub code: String,
    /// One line.
    pub message: String,
}

impl Ctl {
    /// A new host: an empty store, no pins, interfaces of that namespace.
    #[must_use]
    pub fn new(netns: &Namespace) -> Self {
        let state = tempfile::Builder::new().prefix("sg-t-").tempdir().expect("a temporary directory");
        let bpffs = Path::new("/sys/fs/bpf").join(unique("pins"));
        let place = Place { state, bpffs: bpffs.clone() };
        Self { place: Arc::new(place), bpffs, netns: Some(netns.name().into()) }
    }

    /// The same host, with interface names of another namespace (a name or a path).
    #[must_use]
    pub fn in_netns(&self, netns: impl Into<OsString>) -> Self {
        Self { netns: Some(netns.into()), ..self.clone() }
    }

    /// The same host, with interface names of the caller's own namespace.
    #[must_use]
    pub fn without_netns(&self) -> Self {
        Self { netns: None, ..self.clone() }
    }

    /// The same store with another `--bpffs`, whose removal is the test's business.
    #[must_use]
    pub fn at_bpffs(&self, bpffs: impl Into<PathBuf>) -> Self {
        Self { bpffs: bpffs.into(), ..self.clone() }
    }

    /// `--bpffs`
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// `--state-dir`
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.place.state.path()
    }

    /// Sets what every command of this host has; the caller's environment has no say.
    pub fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let ours = ["SG_OUTPUT", "SG_STATE_DIR", "SG_STORE", "SG_BPFFS", "SG_NETNS"];
        for name in ours.into_iter().chain(["RUST_LOG", "SSH_CONNECTION", "SSH_CLIENT"]) {
            command.env_remove(name);
        }
        command.arg("--state-dir").arg(self.state_dir()).arg("--bpffs").arg(self.bpffs());
        if let Some(netns) = &self.netns {
            command.arg("--netns").arg(netns);
        }
        command
    }

    /// Runs a line whose words hold no blanks.
    pub fn run(&self, line: &str) -> Ran {
        finish(self.prepare(&mut Command::new(binary())).args(line.split_whitespace()))
    }

    /// Runs a line that must succeed; returns what it printed for people.
    pub fn text(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "`sg-ctl {line}`: {}", ran.stderr);
        ran.stdout
    }

    /// Runs a line that must succeed; returns its JSON.
    pub fn json(&self, line: &str) -> Value {
        let ran = self.run(&format!("-o json {line}"));
        assert_eq!(ran.code, Some(0), "`sg-ctl {line}`: {}", ran.stderr);
        for told in ran.stderr.lines() {
            let is_aside = told.starts_with("note: ") || told.starts_with("warning: ");
            assert!(is_aside, "`sg-ctl {line}` says on stderr: {told}");
        }
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| {
            panic!("`sg-ctl -o json {line}` prints no JSON document: {error}\n{ran:?}")
        })
    }

    /// Runs a line that must be refused, in both output forms: exit 1, one line on stderr, nothing on stdout, and
    /// everything as it was.
    pub fn refused(&self, line: &str) -> Refused {
        let before = self.picture();
        let plain = refusal(&self.run(line));
        let json = refusal_json(&self.run(&format!("-o json {line}")));
        assert_eq!(plain, json, "`sg-ctl {line}` in its two forms");
        let after = self.picture();
        assert_eq!(before, after, "`sg-ctl {line}` was refused and changed something");
        plain
    }

    /// All that a refused command must leave as it was: the store, what is enforced, what is pinned.
    #[must_use]
    pub fn picture(&self) -> Vec<String> {
        let mut picture: Vec<_> = ["group list", "rule list", "interface list", "status"]
            .map(|line| format!("{:#}", self.json(line)))
            .into();
        picture.extend(self.pins().iter().map(|path| path.display().to_string()));
        picture
    }

    /// Everything below the host's directory of pins, which itself counts too.
    #[must_use]
    pub fn pins(&self) -> Vec<PathBuf> {
        fn collect(path: &Path, found: &mut Vec<PathBuf>) {
            let Ok(metadata) = fs::symlink_metadata(path) else { return };
            found.push(path.to_path_buf());
            if metadata.is_dir() {
                for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                    collect(&entry.path(), found);
                }
            }
        }
        let mut found = Vec::new();
        collect(self.bpffs(), &mut found);
        found.sort();
        found
    }

    /// Adds rules to a group, each written as on the command line, after the group.
    pub fn add_rules(&self, group: &str, rules: &[&str]) {
        for rule in rules {
            self.json(&format!("rule add {group} {rule}"));
        }
    }

    /// A new group with these rules, beside the outbound ones that it is born with.
    pub fn group(&self, name: &str, rules: &[&str]) {
        self.json(&format!("group create {name} --description test"));
        self.add_rules(name, rules);
    }

    /// A new group with these rules and no others.
    pub fn bare_group(&self, name: &str, rules: &[&str]) {
        self.group(name, &[]);
        for cidr in ["0.0.0.0/0", "::/0"] {
            self.json(&format!("rule remove {name} egress --protocol all --cidr {cidr}"));
        }
        self.add_rules(name, rules);
    }

    /// The flow table.
    #[must_use]
    pub fn flows(&self) -> Vec<Value> {
        let listed = self.json("conntrack list");
        listed["flows"].as_array().expect("flows is an array").clone()
    }

    /// Wire packets of an interface by direction and reason (`ingress.untracked`) since its attach. Exempt ones are
    /// left out: neighbour discovery and its kin come and go as the kernel pleases.
    #[must_use]
    pub fn judged(&self, interface: &str) -> BTreeMap<String, u64> {
        let counters = self.json(&format!("counters {interface}"));
        let counters = &counters["interfaces"][0];
        let number = |value: &Value| value.as_u64().expect("a number");
        let mut judged = BTreeMap::new();
        for direction in ["ingress", "egress"] {
            let of = &counters[direction];
            for verdict in ["allowed", "dropped"] {
                let by_reason = of[verdict].as_object().expect("reasons");
                for field in ["packets", "bytes"] {
                    let sum: u64 = by_reason.values().map(|count| number(&count[field])).sum();
                    let total = number(&of[format!("{verdict}_{field}")]);
                    assert_eq!(sum, total, "{direction} {verdict}_{field} is the sum over the reasons");
                }
                for (reason, count) in by_reason.iter().filter(|(reason, _)| *reason != "exempt") {
                    judged.insert(format!("{direction}.{reason}"), number(&count["packets"]));
                }
            }
        }
        judged
    }

    /// Does `work` and returns, beside its value, all that was judged on [`IFACE`] meanwhile.
    ///
    /// What was sent before is not counted: a reset, say, may still be on its way.
    pub fn counting<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<(String, u64)>) {
        let mut before = self.judged(IFACE);
        for _ in 0..10 {
            let again = self.judged(IFACE);
            if again == before {
                break;
            }
            before = again;
        }
        let value = work();
        let mut counted = self.judged(IFACE);
        for (reason, packets) in &mut counted {
            *packets -= before.get(reason).copied().unwrap_or(0);
        }
        (value, counted.into_iter().filter(|(_, packets)| *packets > 0).collect())
    }
}

/// Holds what was counted against what was expected, in any order.
#[track_caller]
pub fn expect_counts(counted: &[(String, u64)], expected: &[(&str, u64)]) {
    let mut expected: Vec<_> =
        expected.iter().map(|(reason, packets)| ((*reason).to_owned(), *packets)).collect();
    expected.sort();
    assert_eq!(counted, expected);
}

/// The parts of the one line of a refused command.
#[track_caller]
pub fn refusal(ran: &Ran) -> Refused {
    let line = refused_line(ran);
    let rest =
        line.strip_prefix("error: ").unwrap_or_else(|| panic!("no `error: ` at the start of {line:?}"));
    let (code, message) = rest.split_once(": ").unwrap_or_else(|| panic!("no CODE and message in {line:?}"));
    checked(code, message)
}

/// The same for `-o json`.
#[track_caller]
pub fn refusal_json(ran: &Ran) -> Refused {
    let line = refused_line(ran);
    let document: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"));
    assert_eq!(keys(&document), ["error"]);
    let error = &document["error"];
    assert_eq!(keys(error), ["code", "message"]);
    checked(error["code"].as_str().expect("a string"), error["message"].as_str().expect("a string"))
}

#[track_caller]
fn refused_line(ran: &Ran) -> &str {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    let line = ran.stderr.strip_suffix('\n').unwrap_or_else(|| panic!("no line end in {ran:?}"));
    assert!(!line.contains(['\n', '\r', '\x1b']), "more than one plain line: {ran:?}");
    line
}

#[track_caller]
fn checked(code: &str, message: &str) -> Refused {
    let is_word = !code.is_empty() && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    assert!(is_word, "{code:?} is no code");
    assert_ne!(code, "InternalError", "{message}");
    assert!(!message.trim().is_empty(), "{code} has no message");
    Refused { code: code.to_owned(), message: message.to_owned() }
}

/// Names of the members of an object, sorted.
#[must_use]
pub fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// A host with clients on a cable, and its `sg-ctl`.
pub struct Lab {
    /// Goes first, so that nothing is attached when the namespaces go.
    pub ctl: Ctl,
    /// The namespaces.
    pub cable: Cable,
}

impl Lab {
    /// Nothing attached, an empty store.
    #[must_use]
    pub fn new() -> Self {
        let cable = Cable::new();
        Self { ctl: Ctl::new(&cable.host), cable }
    }

    /// [`IFACE`] is attached with one new group, `web`, that has these rules beside the outbound ones.
    #[must_use]
    pub fn attached(rules: &[&str]) -> Self {
        let lab = Self::new();
        lab.ctl.group("web", rules);
        lab.attach("--group web");
        lab
    }

    /// The same, with no other rules.
    #[must_use]
    pub fn attached_bare(rules: &[&str]) -> Self {
        let lab = Self::new();
        lab.ctl.bare_group("web", rules);
        lab.attach("--group web");
        lab
    }

    /// Attaches [`IFACE`] with these flags.
    pub fn attach(&self, flags: &str) {
        self.ctl.json(&format!("attach {IFACE} --adopt none {flags}"));
    }

    /// Removes one rule of `web`.
    pub fn remove(&self, rule: &str) -> Value {
        self.ctl.json(&format!("rule remove web {rule}"))
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Lab {
    type Target = Cable;

    fn deref(&self) -> &Cable {
        &self.cable
    }
}
