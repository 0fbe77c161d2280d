//! `cargo xtask bench`: what the datapath costs, and what others cost on the same machine in the same run.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up stops where it fails")]

mod connections;
mod contest;
mod flood;
mod lists;
mod load;
mod machine;
mod memory;
mod packet;
mod plot;
mod report;
mod results;
mod stream;
mod sys;
mod update;
mod wire;

use crate::{machine::Machine, report::Report, results::Section};
use sg_ctl::time::{now, rfc3339};
use std::{
    any::Any,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
};

/// What every section is told.
pub struct Run {
    /// Few iterations and small sizes: shows that a section works, and no figure of it counts.
    pub quick: bool,
    /// The benchmarks' own BPF programs (`sg-ebpf/bench`).
    pub programs: PathBuf,
}

impl Run {
    /// `full`, or `quick` in a quick run.
    pub fn choose<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Says what is going on, to whoever waits for it.
    pub fn note(&self, words: impl Display) {
        eprintln!("  {words}");
    }
}

type Measure = fn(&Run) -> Section;

/// All sections, in the order of the report.
const SECTIONS: [(&str, Measure); 7] = [
    ("packet", packet::measure),
    ("lists", lists::measure),
    ("wire", wire::measure),
    ("connections", connections::measure),
    ("update", update::measure),
    ("flood", flood::measure),
    ("memory", memory::measure),
];

const USAGE: &str = "usage: sg-bench --programs OBJECT --out DIR [--quick] SECTION…";

/// The command line.
struct Arguments {
    run: Run,
    out: PathBuf,
    sections: Vec<(&'static str, Measure)>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let (mut programs, mut out, mut quick, mut sections) = (None, None, false, Vec::new());
        while let Some(word) = words.next() {
            match word.as_str() {
                "--programs" => programs = words.next(),
                "--out" => out = words.next(),
                "--quick" => quick = true,
                name => sections.push(*SECTIONS.iter().find(|section| section.0 == name)?),
            }
        }
        Some(Self { run: Run { quick, programs: programs?.into() }, out: out?.into(), sections })
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if !machine::has_jit() {
        eprintln!(
            "the JIT is off: figures would say nothing; write 1 to /proc/sys/net/core/bpf_jit_enable and run this again"
        );
        return ExitCode::FAILURE;
    }
    let report = measure(&arguments);
    match report.write(&arguments.out) {
        Ok(file) => println!("\nwritten: {}", file.display()),
        Err(error) => {
            eprintln!("cannot write the report to {}: {error}", arguments.out.display());
            return ExitCode::FAILURE;
        }
    }
    if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the sections one after the other. One that stops in the middle takes no other's figures with it.
fn measure(arguments: &Arguments) -> Report {
    let mut report = Report {
        began: rfc3339(now()),
        ended: String::new(),
        quick: arguments.run.quick,
        machine: Machine::here(),
        sections: Vec::new(),
        failed: Vec::new(),
    };
    for (name, measure) in &arguments.sections {
        println!("\n## {name}");
        match catch_unwind(AssertUnwindSafe(|| measure(&arguments.run))) {
            Ok(section) => {
                println!("{}", report::show(&section));
                report.sections.push(section);
            }
            Err(panic) => {
                report.failed.push(((*name).to_owned(), said(panic.as_ref())));
            }
        }
    }
    report.ended = rfc3339(now());
    report
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}
