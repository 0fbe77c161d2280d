//! `sg-ctl prefix-list …`

use super::{Global, progress::Progress, run::context};
use crate::{
    error::{Refusal, Result},
    model::{AddressFamily, PrefixList, PrefixListId, State},
    ops::{entry, prefix_list},
    render,
    transact::{change, view},
};
use anyhow::Context as _;
use std::{
    fs,
    io::{self, Read as _},
};

/// Commands on prefix lists.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a list of prefixes of one family
    Create(Create),
    /// List prefix lists
    List,
    /// Show one list with its entries, and who names it
    Show(Show),
    /// Add entries, or change their descriptions, in a new version
    Add(Entries),
    /// Remove entries, in a new version
    Remove(Entries),
    /// Make a new version with the entries of an old one
    Restore(Restore),
    /// Change how many entries the list may have
    Resize(Resize),
    /// Give the list another name
    Rename(Rename),
    /// Delete a list that no rule names
    Delete(Named),
    /// Add the prefixes of a file, one a line, in one new version
    Import(Import),
}

/// `prefix-list create`
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Name of the list
    name: String,
    /// Family of all its entries
    // EC2 writes IPv4 and IPv6.
    #[arg(long, value_enum, ignore_case = true)]
    family: AddressFamily,
    /// Entries that it may have: what each rule that names it counts against the quota of rules
    // Hyphens, so that `-1` gets EC2's refusal.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    max_entries: String,
    /// Entry; may be repeated
    #[arg(long = "entry", value_name = "CIDR[=DESC]")]
    entries: Vec<String>,
    /// Tag of the list; may be repeated
    #[arg(long = "tag", value_name = "K=V")]
    tags: Vec<String>,
}

impl From<&Create> for prefix_list::Create {
    fn from(typed: &Create) -> Self {
        Self {
            name: typed.name.clone(),
            family: typed.family,
            max_entries: typed.max_entries.clone(),
            entries: typed.entries.clone(),
            tags: typed.tags.clone(),
        }
    }
}

/// One list.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// Id or name of the list
    #[arg(value_name = "PL")]
    list: String,
}

/// `prefix-list show`
#[derive(Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    named: Named,
    /// Show the entries of this version [default: the present one]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    version: Option<String>,
}

/// The version that a change starts from.
#[derive(Debug, clap::Args)]
struct StartingFrom {
    /// Refuse unless this is the present version
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    current_version: Option<String>,
}

/// `prefix-list add`, `prefix-list remove`
#[derive(Debug, clap::Args)]
pub struct Entries {
    #[command(flatten)]
    named: Named,
    /// Entries, at most 100; `add` takes CIDR=DESCRIPTION as well
    #[arg(value_name = "CIDR", required = true)]
    entries: Vec<String>,
    #[command(flatten)]
    from: StartingFrom,
}

/// `prefix-list restore`
#[derive(Debug, clap::Args)]
pub struct Restore {
    #[command(flatten)]
    named: Named,
    /// The version whose entries are to come back
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    version: String,
    #[command(flatten)]
    from: StartingFrom,
}

/// `prefix-list resize`
#[derive(Debug, clap::Args)]
pub struct Resize {
    #[command(flatten)]
    named: Named,
    /// Entries that it may have
    #[arg(value_name = "N", allow_hyphen_values = true)]
    max_entries: String,
}

/// `prefix-list rename`
#[derive(Debug, clap::Args)]
pub struct Rename {
    #[command(flatten)]
    named: Named,
    /// The new name
    name: String,
}

/// `prefix-list import`
#[derive(Debug, clap::Args)]
pub struct Import {
    #[command(flatten)]
    named: Named,
    /// File with one CIDR a line; '#' begins a comment; '-' is standard input
    file: String,
    /// Remove the entries that the file does not have
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    from: StartingFrom,
}

/// Runs one of them.
pub fn run(global: &Global, command: &Command, out: &mut Vec<u8>) -> Result<()> {
    let ctx = context(global)?;
    let output = global.output;
    let changed = |op: &dyn Fn(&mut State) -> Result<PrefixListId>, out: &mut Vec<u8>| -> Result<()> {
        let done = change(&ctx, op)?;
        Ok(render::prefix_list_changed(out, output, found(&done.state, done.value)?)?)
    };
    match command {
        Command::Create(typed) => {
            let made = change(&ctx, |state| prefix_list::create(state, &typed.into()))?;
            render::prefix_list_created(out, output, found(&made.state, made.value)?)?;
        }
        Command::List => {
            let state = view(&ctx)?;
            render::prefix_lists(out, output, &state, &prefix_list::list(&state))?;
        }
        Command::Show(typed) => {
            let state = view(&ctx)?;
            let list = found(&state, prefix_list::find(&state, &typed.named.list)?)?;
            let version = prefix_list::version(list, typed.version.as_deref())?;
            render::prefix_list_shown(out, output, &state, list, version)?;
        }
        Command::Add(Entries { named, entries, from }) => {
            let current = from.current_version.as_deref();
            changed(&|state| entry::add(state, &named.list, entries, current), out)?;
        }
        Command::Remove(Entries { named, entries, from }) => {
            let current = from.current_version.as_deref();
            changed(&|state| entry::remove(state, &named.list, entries, current), out)?;
        }
        Command::Restore(Restore { named, version, from }) => {
            let current = from.current_version.as_deref();
            changed(&|state| entry::restore(state, &named.list, version, current), out)?;
        }
        Command::Resize(Resize { named, max_entries }) => {
            changed(&|state| prefix_list::resize(state, &named.list, max_entries), out)?;
        }
        Command::Rename(Rename { named, name }) => {
            changed(&|state| prefix_list::rename(state, &named.list, name), out)?;
        }
        Command::Delete(typed) => {
            let deleted = change(&ctx, |state| prefix_list::delete(state, &typed.list))?;
            render::prefix_list_deleted(out, output, &deleted.value)?;
        }
        Command::Import(typed) => {
            let text = read(&typed.file)?;
            let file = entry::File { name: &typed.file, text: &text, replace: typed.replace };
            let current = typed.from.current_version.as_deref();
            let progress = Progress::start();
            let done = change(&ctx, |state| {
                let told = |lines| progress.tell(lines);
                entry::import(state, &typed.named.list, file, current, told)
            })?;
            drop(progress);
            let list = found(&done.state, done.value.list)?;
            render::prefix_list_imported(out, output, list, done.value)?;
        }
    }
    Ok(())
}

fn found(state: &State, id: PrefixListId) -> Result<&PrefixList> {
    state.prefix_lists.get(&id).with_context(|| format!("{id} is not in the state"))
}

/// The whole text, before anything is locked: a pipe may be slow. What is no UTF-8 can only be in a comment, or be
/// refused with its line.
fn read(file: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let outcome = match file {
        "-" => io::stdin().lock().read_to_end(&mut bytes),
        path => fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    outcome.map_err(|error| Refusal::invalid(format!("The file {file} cannot be read: {error}")))?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
