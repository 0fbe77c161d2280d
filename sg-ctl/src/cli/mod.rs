//! The command line, as `cli.md` lays it down.
//!
//! clap reads what was typed and refuses what no command knows (exit 2). Values stay text here: [`crate::ops`] reads
//! them, so that each bad one gets EC2's code (exit 1).

mod datapath;
mod document;
mod explain;
mod group;
mod interface;
mod monitor;
mod peering;
mod prefix_list;
mod progress;
mod quota;
mod rule;
mod run;
mod shell;
mod stale;
mod tag;
mod top;
mod vpc;
mod watch;

use crate::{
    error::{Refusal, Result, or_given_up},
    render::{self, Output, escape},
};
use clap::builder::{
    Resettable,
    styling::{AnsiColor, Style},
};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use serde_json::json;
use std::{
    env,
    ffi::OsStr,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

/// Of the word `error`.
const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Of the words `note` and `warning`.
const ASIDE: Style = Style::new().bold();

/// EC2 security groups, enforced on any Linux network interface.
#[derive(Debug, Parser)]
#[command(name = "sg-ctl", version, infer_subcommands = false, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command, before or after its name.
#[derive(Debug, clap::Args)]
struct Global {
    /// What is printed on stdout
    #[arg(short, long, global = true, env = "SG_OUTPUT", value_enum, default_value = "table")]
    output: Output,
    /// Directory of the embedded store
    #[arg(long, global = true, env = "SG_STATE_DIR", value_name = "DIR", default_value = "/var/lib/sg-ctl")]
    state_dir: PathBuf,
    /// Where the desired state lives [default: sqlite:<state-dir>/state.db]
    #[arg(long, global = true, env = "SG_STORE", value_name = "URL")]
    store: Option<String>,
    /// Where programs, links and maps are pinned
    #[arg(long, global = true, env = "SG_BPFFS", value_name = "DIR", default_value = "/sys/fs/bpf/sg-ctl")]
    bpffs: PathBuf,
    /// Network namespace in which interface names are resolved [default: the caller's]
    #[arg(long, global = true, env = "SG_NETNS", value_name = "NAME|PATH")]
    netns: Option<String>,
    /// Log on stderr; twice for more (or set RUST_LOG)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enforce security groups on an interface
    Attach(interface::Attach),
    /// Stop enforcing on an interface and forget it
    Detach(interface::Detach),
    /// Show what is attached, how, and how full each map is
    Status,
    /// Make, show and delete security groups
    #[command(subcommand)]
    Group(group::Command),
    /// Add, show and remove rules
    #[command(subcommand)]
    Rule(rule::Command),
    /// Make, fill, show and delete prefix lists
    #[command(subcommand)]
    PrefixList(prefix_list::Command),
    /// Set tags of an object
    Tag(tag::Tag),
    /// Take tags from an object
    Untag(tag::Untag),
    /// Show interfaces, change the groups they carry and their timeouts
    #[command(subcommand)]
    Interface(interface::Command),
    /// Make, show and delete VPCs
    #[command(subcommand)]
    Vpc(vpc::Command),
    /// Join VPCs, so that their rules may name each other's groups
    #[command(subcommand)]
    Peering(peering::Command),
    /// Show rules that name a group which is gone or out of reach
    Stale(stale::Stale),
    /// Show who names a group
    References(stale::References),
    /// Show quotas, or set some
    Quota(quota::Quota),
    /// Print the desired state as one document
    Export(document::Export),
    /// Make the desired state that of a document, in one step
    Apply(document::Apply),
    /// Print the JSON schema of documents, for editors
    Schema,
    /// Count what passed and what was dropped, and why
    Counters(datapath::Counters),
    /// Say what would become of a packet that starts a flow, and why
    Explain(explain::Explain),
    /// Look at tracked flows
    #[command(subcommand)]
    Conntrack(datapath::Conntrack),
    /// Show packets as they are dropped, and flows as they begin and end
    Monitor(monitor::Monitor),
    /// Show what each stage decides of the next packets from or to an address
    Trace(monitor::Trace),
    /// Watch rates, who talks and what is dropped, on a live screen
    Top(top::Top),
    /// Keep what is enforced in step with the addresses that interfaces have, sweep the flow tables, and serve metrics, until
    /// stopped
    Agent(datapath::Agent),
    /// Print a script that completes command lines in a shell
    Completions(shell::Completions),
    /// Write the manual pages into a directory
    Man(shell::Man),
}

/// What `main` does: reads the command line, runs it, and turns the outcome into text and an exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::from_arg_matches(
        &commands(|name| env::var_os(name).is_some_and(|value| value.is_empty())).get_matches(),
    )
    .unwrap_or_else(|error| error.exit());
    render::look_at_stdout();
    log_to_stderr(cli.global.verbose, matches!(cli.command, Command::Agent(_)));
    // An answer is written at once when it is complete: what fails prints no half of one.
    let mut answer = Vec::new();
    let outcome = or_given_up(|| run::run(&cli, &mut answer)).and_then(|()| print(&answer));
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    match error.downcast::<clap::Error>() {
        Ok(usage) => usage.exit(),
        Err(error) => {
            report(&error, cli.global.output);
            ExitCode::FAILURE
        }
    }
}

/// What clap reads. A variable of the environment that is set to nothing counts as one that is not set, as shells have it.
fn commands(is_empty: impl Fn(&OsStr) -> bool) -> clap::Command {
    Cli::command().mut_args(|arg| match arg.get_env().is_some_and(&is_empty) {
        true => arg.env(Resettable::Reset),
        false => arg,
    })
}

/// Without `-v` only what RUST_LOG asks for. A process that stays says what it does without being asked.
fn log_to_stderr(verbose: u8, stays: bool) {
    let mut logger = env_logger::Builder::new();
    logger.filter_level(if stays { log::LevelFilter::Info } else { log::LevelFilter::Off });
    match verbose {
        0 => logger.parse_default_env(),
        1 => logger.filter_level(log::LevelFilter::Info),
        2 => logger.filter_level(log::LevelFilter::Debug),
        _ => logger.filter_level(log::LevelFilter::Trace),
    };
    logger.init();
}

/// A reader that has seen enough (`| head`) is no failure.
fn print(answer: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(answer).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Refusal::new(
            "OutputError",
            format!("the answer cannot be written: {error}; what it is about is done"),
        )
        .into()),
        _ => Ok(()),
    }
}

/// Tells the user something beside the answer.
fn tell(kind: &str, message: &str) {
    // There is nobody to tell that stderr is gone.
    let _ = writeln!(anstream::stderr(), "{ASIDE}{kind}:{ASIDE:#} {}", escape(message));
}

/// One line on stderr, whatever the error holds.
fn report(error: &anyhow::Error, output: Output) {
    let line = error_line(error, output);
    // Colours go where stderr is no terminal, or `NO_COLOR` is set.
    let _ = match line.strip_prefix("error:") {
        Some(rest) => writeln!(anstream::stderr(), "{ERROR}error:{ERROR:#}{rest}"),
        None => writeln!(io::stderr(), "{line}"),
    };
}

fn error_line(error: &anyhow::Error, output: Output) -> String {
    let (code, message) = match error.downcast_ref::<Refusal>() {
        Some(refusal) => (refusal.code, refusal.message.clone()),
        None => ("InternalError", format!("{error:#}")),
    };
    match output {
        Output::Table => format!("error: {code}: {}", escape(&message)),
        Output::Json => json!({ "error": { "code": code, "message": message } }).to_string(),
    }
}

/// The error of wrong usage, as clap itself reports it.
fn usage(kind: clap::error::ErrorKind, message: &str) -> anyhow::Error {
    Cli::command().error(kind, message).into()
}

#[cfg(test)]
mod recipe_tests;
#[cfg(test)]
mod tests;
