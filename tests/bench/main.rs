//! `cargo xtask bench`: what the datapath costs.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up stops where it fails")]

mod machine;
mod packet;

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["packet", spread] => packet::measure(Path::new(spread)),
        _ => {
            eprintln!("usage: sg-bench packet OBJECT");
            ExitCode::from(2)
        }
    }
}
