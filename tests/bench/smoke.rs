//! Every section of `cargo xtask bench` runs to its end and leaves a report: few iterations, and nothing is said of time.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up stops where it fails")]

use serde_json::Value;
use std::{env, fs, path::PathBuf, process::Command};

/// The benchmarks' own BPF programs lie beside the shipped ones.
fn programs() -> PathBuf {
    let shipped = env::var_os("SG_EBPF_OBJECT").expect("SG_EBPF_OBJECT, as `cargo xtask test` sets it");
    PathBuf::from(shipped).with_file_name("sg-spread")
}

fn runs(section: &str) {
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sg-bench"));
    command.arg("--programs").arg(programs()).arg("--out").arg(out.path()).args(["--quick", section]);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{section}: {}{}", said[0], said[1]);
    let json = fs::read_dir(out.path()).unwrap().flatten().map(|entry| entry.path());
    let json = json.into_iter().find(|path| path.extension().is_some_and(|it| it == "json")).unwrap();
    let report: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    let measured = &report["sections"][0];
    assert_eq!(measured["name"], section);
    let (tables, curves) = (&measured["tables"], &measured["curves"]);
    assert!(!tables.as_array().unwrap().is_empty() || !curves.as_array().unwrap().is_empty(), "{measured:#}");
    assert!(fs::read_to_string(out.path().join("latest.md")).unwrap().contains("A quick run"));
}

#[test]
fn bench_packet_runs() {
    runs("packet");
}

#[test]
fn bench_lists_runs() {
    runs("lists");
}

#[test]
fn bench_wire_runs() {
    runs("wire");
}

#[test]
fn bench_connections_runs() {
    runs("connections");
}

#[test]
fn bench_flood_runs() {
    runs("flood");
}

#[test]
fn bench_update_runs() {
    runs("update");
}

#[test]
fn bench_memory_runs() {
    runs("memory");
}
