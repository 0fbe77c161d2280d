//! What every program costs the verifier and the kernel, and the record of what was acknowledged.
//!
//! A program that grows comes nearer to limits that other kernels set lower, and is slower to load. So a growth of
//! more than a tenth is a decision that somebody takes: `cargo xtask verifier --acknowledge` writes it down.
#![expect(clippy::unwrap_used, reason = "test support: a failure should stop the test where it happens")]

use crate::program;
use aya::programs::Program;
use serde::{Deserialize, Serialize};
use sg_ctl::kernel::object::{self, Constants};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

/// One program of one build variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Instructions that the verifier processed, of a million that it allows.
    pub verified: u32,
    /// Bytes after the verifier's rewriting.
    pub translated: u32,
    /// Bytes of machine code.
    pub jited: u32,
    /// Bytes of stack, of 512.
    pub stack: u32,
}

impl Figures {
    fn named(self) -> [(&'static str, u32); 4] {
        let Self { verified, translated, jited, stack } = self;
        [("verified", verified), ("translated", translated), ("jited", jited), ("stack", stack)]
    }
}

/// By `program, side, form`.
pub type Record = BTreeMap<String, Figures>;

/// Loads every program in each variant that `sg-ctl` loads.
#[must_use]
pub fn measure() -> Record {
    let mut record = Record::new();
    for (side, guest) in [("host", false), ("guest", true)] {
        let plain = Constants { guest, ..Constants::default() };
        let forms = [
            ("plain", plain),
            ("vlan-aware", Constants { vlan_aware: true, ..plain }),
            ("no link layer", Constants { no_link_layer: true, ..plain }),
        ];
        for (form, constants) in forms {
            let tc = [object::TC_RECEIVE, object::TC_SEND];
            let further = [object::XDP, object::ADOPT, object::SWEEP, object::CLOCK];
            // What is not plain is judged at TC alone.
            let further = if form == "plain" { &further[..] } else { &[] };
            let mut loaded = object::open_alone(&constants).unwrap();
            for name in tc.iter().chain(further) {
                let figures = figures(object::load(&mut loaded, name).unwrap());
                record.insert(format!("{name}, {side}, {form}"), figures);
            }
        }
    }
    record
}

fn figures(program: &Program) -> Figures {
    let info = program.info().unwrap();
    Figures {
        verified: info.verified_instruction_count().unwrap_or(0),
        translated: info.size_translated().unwrap_or(0),
        jited: info.size_jitted(),
        stack: program::stack(program.fd().unwrap().as_fd()).unwrap(),
    }
}

/// The running kernel's record in `directory`, by major and minor version.
#[must_use]
pub fn path(directory: &Path) -> PathBuf {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let version: Vec<&str> = release.split(['.', '-']).take(2).collect();
    directory.join(format!("{}.json", version.join(".")))
}

/// The acknowledged record, or none where this kernel has no one.
///
/// # Errors
/// Where there is a file that is no record.
pub fn acknowledged(path: &Path) -> io::Result<Option<Record>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the record.
///
/// # Errors
/// Those of the file system.
pub fn acknowledge(path: &Path, record: &Record) -> io::Result<()> {
    let text = serde_json::to_string_pretty(record)?;
    fs::create_dir_all(path.parent().unwrap())?;
    fs::write(path, text + "\n")
}

/// What has grown by more than a tenth, and which programs nobody has acknowledged; one line each.
#[must_use]
pub fn grown(before: &Record, after: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    for (program, now) in after {
        let Some(then) = before.get(program) else {
            lines.push(format!("{program}: not in the record"));
            continue;
        };
        for ((name, then), (_, now)) in then.named().into_iter().zip(now.named()) {
            // With the JIT off there is no machine code to compare.
            if u64::from(now) * 10 > u64::from(then) * 11 && then != 0 {
                lines.push(format!("{program}: {name} {then} before, {now} now"));
            }
        }
    }
    lines
}

/// A table, with the change against the record where there is one.
#[must_use]
pub fn table(before: Option<&Record>, after: &Record) -> String {
    let mut text =
        String::from("| program | verified | translated | jited | stack |\n|---|---|---|---|---|\n");
    for (program, now) in after {
        let then = before.and_then(|before| before.get(program));
        let cells = now.named().map(|(name, now)| {
            let then = then.and_then(|then| then.named().into_iter().find(|(other, _)| *other == name));
            match then {
                Some((_, then)) if then != now && then != 0 => {
                    format!("{now} ({:+.1} %)", (f64::from(now) / f64::from(then) - 1.0) * 100.0)
                }
                _ => now.to_string(),
            }
        });
        writeln!(text, "| {program} | {} |", cells.join(" | ")).unwrap();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growth_of_more_than_a_tenth_is_named_and_less_is_not() {
        let figures = Figures { verified: 1000, translated: 800, jited: 0, stack: 64 };
        let record = |figures| Record::from([("a".to_owned(), figures)]);
        let before = record(figures);
        assert!(grown(&before, &record(Figures { verified: 1100, jited: 5, ..figures })).is_empty());
        let now = Figures { verified: 1101, stack: 96, ..figures };
        let expected = ["a: verified 1000 before, 1101 now", "a: stack 64 before, 96 now"];
        assert_eq!(grown(&before, &record(now)), expected);
        assert_eq!(grown(&Record::new(), &before), ["a: not in the record"]);
    }
}
