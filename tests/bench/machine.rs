//! What a figure depends on besides the programs.

use serde::Serialize;
use std::{fs, process::Command};

/// The head of every report.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The commit of this project, marked where the work tree has more.
    pub code: String,
    pub kernel: String,
    pub processor: String,
    pub processors: usize,
    /// Microarchitectural weaknesses that the kernel names for this processor, with what it does about each.
    pub mitigations: Vec<String>,
    /// 1: on, 2: on and logging.
    pub jit: String,
    /// Of constants in programs; costs a little where it is on for root.
    pub jit_harden: String,
    pub clocksource: String,
    /// Mean load over one, five and fifteen minutes when the run began: others at work.
    pub load: String,
    /// Bytes.
    pub memory: String,
    /// The peers' own words.
    pub versions: Vec<String>,
}

fn line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|error| format!("unknown ({error})"), |text| text.trim().to_owned())
}

/// What a program says of its version, in one line.
fn version(program: &str) -> String {
    let flag = if program == "ip" { "-V" } else { "--version" };
    let said = Command::new(program).arg(flag).output();
    let text = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().map_or_else(|| format!("{program}: not installed"), |line| line.trim().to_owned())
}

/// The commit that is checked out where this program was compiled.
fn code() -> String {
    let arguments = ["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=12"];
    let said = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success());
    said.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// Whether the kernel compiles programs. Where it does not, figures say nothing.
pub fn has_jit() -> bool {
    ["1", "2"].contains(&line("/proc/sys/net/core/bpf_jit_enable").as_str())
}

impl Machine {
    /// The one that this program runs on.
    pub fn here() -> Self {
        let cpuinfo = line("/proc/cpuinfo");
        let field = |name| cpuinfo.lines().filter(move |line| line.starts_with(name));
        let processor = field("model name").next().and_then(|line| line.split_once(": "));
        let mut mitigations: Vec<String> = fs::read_dir("/sys/devices/system/cpu/vulnerabilities")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| {
                (entry.file_name().to_string_lossy().into_owned(), line(&entry.path().to_string_lossy()))
            })
            .filter(|(_, state)| state != "Not affected")
            .map(|(name, state)| format!("{name}: {state}"))
            .collect();
        mitigations.sort();
        let memory = line("/proc/meminfo");
        Self {
            code: code(),
            kernel: format!(
                "Linux {} {}",
                line("/proc/sys/kernel/osrelease"),
                line("/proc/sys/kernel/version")
            ),
            processor: processor.map_or("unknown", |it| it.1).to_owned(),
            processors: field("processor").count(),
            mitigations,
            jit: line("/proc/sys/net/core/bpf_jit_enable"),
            jit_harden: line("/proc/sys/net/core/bpf_jit_harden"),
            clocksource: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            load: line("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            memory: memory
                .lines()
                .next()
                .and_then(|line| line.split_once(':'))
                .map_or_else(|| "unknown".to_owned(), |(_, size)| size.trim().to_owned()),
            versions: ["nft", "iptables", "ipset", "ip"].map(version).into(),
        }
    }

    /// Items of a Markdown list.
    pub fn items(&self) -> Vec<String> {
        let mitigations =
            if self.mitigations.is_empty() { "none".to_owned() } else { self.mitigations.join("; ") };
        vec![
            format!("code: {}", self.code),
            format!("kernel: {}", self.kernel),
            format!("processor: {} × {}, memory {}", self.processors, self.processor, self.memory),
            format!("JIT: `bpf_jit_enable` {}, `bpf_jit_harden` {}", self.jit, self.jit_harden),
            format!("mitigations: {mitigations}"),
            format!("clocksource {}; load before the run {}", self.clocksource, self.load),
            format!("peers: {}", self.versions.join("; ")),
        ]
    }
}
