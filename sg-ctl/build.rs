//! Finds the compiled datapath, so that it can be embedded: one file to copy.
//!
//! It is made by `cargo xtask build`, which needs the eBPF toolchain; this script only says so where it is missing.

use std::{env, path::PathBuf, process::exit};

fn main() {
    println!("cargo::rerun-if-env-changed=SG_EBPF_OBJECT");
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/ebpf/bpfel-unknown-none/release/sg-ebpf");
    let object = env::var_os("SG_EBPF_OBJECT").map_or_else(|| PathBuf::from(built), PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("sg-ebpf");
    if let Err(error) = std::fs::copy(&object, &out) {
        eprintln!("the compiled datapath is not at {} ({error})", object.display());
        eprintln!("run `cargo xtask build` once: it sets up the eBPF toolchain and compiles it");
        exit(1);
    }
}
