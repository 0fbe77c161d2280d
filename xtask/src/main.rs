//! `cargo xtask …`: everything a newcomer or CI does with this repository, one command each, set-up included.

mod bench;
mod build;
mod demo;
mod exec;
mod fuzz;
mod machine;
mod project;
mod setup;
mod test;
mod verifier;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::project::Project;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = env!("CARGO_PKG_DESCRIPTION"))]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build target/release/sg-ctl with the BPF object inside: one file to copy
    Build,
    /// Check formatting and lints only (needs no root)
    Check,
    /// Run every test, formatting and lints included (needs root)
    Test {
        /// Handed to the test programs: filters by name, or their flags
        #[arg(last = true)]
        filter: Vec<String>,
    },
    /// Compare the datapath with the reference model at length, on every processor (needs root)
    Fuzz {
        /// How long
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// First seed; the same seed makes the same scripts
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Report what every program costs the verifier; a growth of more than a tenth fails (needs root)
    Verifier {
        /// Write the figures down as acknowledged for this kernel
        #[arg(long)]
        acknowledge: bool,
    },
    /// Measure, beside nftables and iptables, and write a report (needs root, and a quiet machine for good figures)
    Bench(bench::Args),
    /// Show the product at work in two throw-away network namespaces (needs root)
    Demo,
}

fn main() -> ExitCode {
    match run(Args::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exec::exit_code(&error))
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let project = Project::find()?;
    match task {
        Task::Build => build::everything(&project).map(drop),
        Task::Check => test::check(&project),
        Task::Test { filter } => test::run(&project, &filter),
        Task::Fuzz { minutes, seed } => fuzz::run(&project, minutes, seed),
        Task::Verifier { acknowledge } => verifier::run(&project, acknowledge),
        Task::Bench(args) => bench::run(&project, &args),
        Task::Demo => demo::run(&project),
    }
}
