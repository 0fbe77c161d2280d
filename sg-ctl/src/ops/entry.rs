//! Entries of prefix lists: add, remove, restore, import. Each change is one new version (M-53 to M-57).

use super::{peer, prefix_list};
use crate::{
    error::{Refusal, Result},
    model::{
        AddressFamily, EntryKey, EntryTerm, PrefixList, PrefixListId, PrefixListState, Quota, Span, State,
    },
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Entries at most in one request (M-56); [`import`] takes any number.
pub const PER_REQUEST: usize = 100;
/// Characters at most in a description (M-57).
const MAX_DESCRIPTION: usize = 255;

/// An entry as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In canonical form.
    pub cidr: IpNet,
    /// What stood behind the `=`; empty takes a description away, `None` says nothing about it.
    pub description: Option<String>,
}

impl Entry {
    /// The description, where there is one.
    pub(crate) fn text(self) -> Option<String> {
        self.description.filter(|text| !text.is_empty())
    }
}

/// What an import came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The list.
    pub list: PrefixListId,
    /// Prefixes that it did not have.
    pub added: usize,
    /// Prefixes that the file does not have, where it replaces the list.
    pub removed: usize,
    /// Lines that say what the list, or an earlier line, says already.
    pub repeated: usize,
}

/// A file to import.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// For messages.
    pub name: &'a str,
    /// One prefix a line; `#` begins a comment.
    pub text: &'a str,
    /// The list is to hold nothing else.
    pub replace: bool,
}

/// Reads entries of one request, each `CIDR` or `CIDR=DESCRIPTION`.
pub fn read(typed: &[String], family: AddressFamily) -> Result<Vec<Entry>> {
    if typed.len() > PER_REQUEST {
        return Err(Refusal::invalid(format!(
            "The number of entries per request cannot exceeds limit ({PER_REQUEST}). 'sg-ctl prefix-list import' takes any \
             number from a file"
        ))
        .into());
    }
    let mut entries = BTreeMap::new();
    for text in typed {
        let (cidr, description) = match text.split_once('=') {
            Some((cidr, description)) => (cidr, Some(description.to_owned())),
            None => (text.as_str(), None),
        };
        let cidr = of_family(cidr, family)?;
        if description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
            let message =
                format!("The description of entry {cidr} is longer than {MAX_DESCRIPTION} characters");
            return Err(Refusal::invalid(message).into());
        }
        if entries.insert(cidr, description).is_some() {
            let message = format!("The same CIDR must not appear multiple times: {cidr}");
            return Err(Refusal::invalid(message).into());
        }
    }
    Ok(entries.into_iter().map(|(cidr, description)| Entry { cidr, description }).collect())
}

/// Adds entries, all or none. A prefix that is there already is refused, unless it comes with another description, which
/// then is its new one.
pub fn add(state: &mut State, given: &str, typed: &[String], current: Option<&str>) -> Result<PrefixListId> {
    change(state, given, current, |list| {
        let entries = read(typed, list.family)?;
        let mut new = 0;
        for entry in &entries {
            match (list.get(&entry.cidr), &entry.description) {
                (None, _) => new += 1,
                (Some((_, old)), Some(text)) if old.unwrap_or_default() != text => {}
                (Some(_), _) => {
                    let message =
                        format!("The CIDR {} is in the prefix list {} already", entry.cidr, list.id);
                    return Err(Refusal::new("InvalidPrefixListModification", message).into());
                }
            }
        }
        prefix_list::check_room(list, list.len() + new)?;
        Ok(Revision { remove: Vec::new(), put: entries })
    })
}

/// Removes entries by their prefixes, all or none.
pub fn remove(
    state: &mut State,
    given: &str,
    typed: &[String],
    current: Option<&str>,
) -> Result<PrefixListId> {
    change(state, given, current, |list| {
        let entries = read(typed, list.family)?;
        if let Some(described) = entries.iter().find(|entry| entry.description.is_some()) {
            let message = format!("An entry is removed by its CIDR alone: {}", described.cidr);
            return Err(Refusal::invalid(message).into());
        }
        if let Some(absent) = entries.iter().find(|entry| list.get(&entry.cidr).is_none()) {
            let message = format!("The CIDR {} in the prefix list {} does not exist.", absent.cidr, list.id);
            return Err(Refusal::new("InvalidPrefixListModification", message).into());
        }
        Ok(Revision { remove: entries.into_iter().map(|entry| entry.cidr).collect(), put: Vec::new() })
    })
}

/// Makes a new version with the entries of an old one (M-55).
pub fn restore(state: &mut State, given: &str, version: &str, current: Option<&str>) -> Result<PrefixListId> {
    let id = change(state, given, current, |list| {
        let version = prefix_list::version(list, Some(version))?;
        let old: BTreeMap<IpNet, Option<&str>> = list.at(version).collect();
        prefix_list::check_room(list, old.len())?;
        let remove = list.current().map(|(cidr, _)| cidr).filter(|cidr| !old.contains_key(cidr)).collect();
        let put = old
            .into_iter()
            .filter(|(cidr, text)| list.get(cidr).is_none_or(|(_, present)| present != *text))
            .map(|(cidr, text)| Entry { cidr, description: Some(text.unwrap_or_default().to_owned()) })
            .collect();
        Ok(Revision { remove, put })
    })?;
    if let Some(list) = state.prefix_lists.get_mut(&id) {
        list.state = PrefixListState::RestoreComplete;
    }
    Ok(id)
}

/// Adds the prefixes of a file, in one new version; where that changes nothing there is none. A line that cannot be read
/// refuses the whole file. `read` is told now and then how many lines have been read.
pub fn import(
    state: &mut State,
    given: &str,
    file: File<'_>,
    current: Option<&str>,
    mut read: impl FnMut(usize),
) -> Result<Imported> {
    let id = prefix_list::find(state, given)?;
    let mut imported = Imported { list: id, added: 0, removed: 0, repeated: 0 };
    let Some(list) = state.prefix_lists.get(&id) else { return Ok(imported) };
    check_version(list, current)?;
    let (wanted, lines) = lines(file, list.family, &mut read)?;
    // Each line is looked up.
    list.entries.read_all();
    let put: Vec<Entry> = wanted
        .iter()
        .filter(|cidr| list.get(cidr).is_none())
        .map(|cidr| Entry { cidr: *cidr, description: None })
        .collect();
    let absent = |cidr: &IpNet| file.replace && !wanted.contains(cidr);
    let remove: Vec<IpNet> = list.current().map(|(cidr, _)| cidr).filter(absent).collect();
    prefix_list::check_room(list, list.len() + put.len() - remove.len())?;
    (imported.added, imported.removed, imported.repeated) = (put.len(), remove.len(), lines - put.len());
    if imported.added + imported.removed > 0 {
        change(state, given, None, |_| Ok(Revision { remove, put }))?;
    }
    Ok(imported)
}

/// The prefixes of a file, and how many lines named one.
fn lines(
    file: File<'_>,
    family: AddressFamily,
    read: &mut impl FnMut(usize),
) -> Result<(BTreeSet<IpNet>, usize)> {
    /// Lines between two words to the caller.
    const STRIDE: usize = 1 << 12;
    let mut wanted = Vec::new();
    for (number, line) in file.text.trim_start_matches('\u{feff}').lines().enumerate() {
        if number % STRIDE == 0 {
            read(number);
        }
        let said = line.split('#').next().unwrap_or_default().trim();
        if said.is_empty() {
            continue;
        }
        let cidr = of_family(said, family).map_err(|error| in_line(error, file.name, number + 1, line))?;
        wanted.push(cidr);
    }
    let named = wanted.len();
    Ok((wanted.into_iter().collect(), named))
}

/// The refusal of a value, with where it stands.
fn in_line(error: anyhow::Error, file: &str, number: usize, line: &str) -> anyhow::Error {
    /// Characters of the line that are shown.
    const SHOWN: usize = 80;
    let Some(refusal) = error.downcast_ref::<Refusal>() else { return error };
    let mut text: String = line.chars().take(SHOWN).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    let message =
        format!("{file}:{number}: {} (the line is '{text}'); nothing was imported", refusal.message);
    Refusal::new(refusal.code, message).into()
}

/// A prefix of that family (M-51), in canonical form.
fn of_family(typed: &str, family: AddressFamily) -> Result<IpNet> {
    let cidr = peer::network(typed)?;
    if family.holds(&cidr) {
        return Ok(cidr);
    }
    let message = format!("CIDR block {typed} is not {}, the prefix list's address family", family.name());
    Err(Refusal::invalid(message).into())
}

/// What a new version has otherwise than the one before.
pub(crate) struct Revision {
    /// Prefixes that go.
    pub remove: Vec<IpNet>,
    /// Prefixes that come, or get another description.
    pub put: Vec<Entry>,
}

/// Refuses where the list is not at the version that the caller knows (M-54).
fn check_version(list: &PrefixList, current: Option<&str>) -> Result<()> {
    match current {
        Some(typed) if typed.parse() != Ok(list.version) => {
            let message = format!(
                "The prefix list has the incorrect version number. {} is at version {}, not {typed}",
                list.id, list.version
            );
            Err(Refusal::new("PrefixListVersionMismatch", message).into())
        }
        _ => Ok(()),
    }
}

/// Makes the next version of a list, and forgets what is older than the quota of versions (M-39).
pub(crate) fn change(
    state: &mut State,
    given: &str,
    current: Option<&str>,
    revise: impl FnOnce(&PrefixList) -> Result<Revision>,
) -> Result<PrefixListId> {
    let id = prefix_list::find(state, given)?;
    let kept = state.quotas.get(Quota::VersionsPerPrefixList).max(1);
    let Some(list) = state.prefix_lists.get_mut(&id) else { return Ok(id) };
    check_version(list, current)?;
    let Revision { remove, put } = revise(list)?;
    let version = list.version + 1;
    let oldest = list.oldest.max(version.saturating_sub(kept - 1));
    let present = |cidr: &IpNet| list.get(cidr).map(|(since, _)| EntryKey { cidr: *cidr, since });
    let over: Vec<EntryKey> =
        remove.iter().chain(put.iter().map(|entry| &entry.cidr)).filter_map(present).collect();
    // The one copy of a change: the state before it still holds the old entries.
    let entries = Arc::make_mut(&mut list.entries);
    for key in over {
        if let Some(span) = entries.get_mut(&key) {
            span.until = Some(version);
        }
    }
    for entry in put {
        let key = EntryKey { cidr: entry.cidr, since: version };
        entries.insert(key, Span { until: None, description: entry.text() });
    }
    // What no version has any more that can be shown; what ended before is gone since then.
    for ended in list.oldest + 1..=oldest {
        let gone = entries.keys_having(&EntryTerm::Until(ended));
        gone.iter().for_each(|key| drop(entries.remove(key)));
    }
    (list.version, list.oldest, list.state) = (version, oldest, PrefixListState::ModifyComplete);
    Ok(id)
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
