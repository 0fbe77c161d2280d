//! Prefix lists: create, find, list, resize, rename, delete (M-38 to M-63). [`super::entry`] changes what they hold.

use super::{entry, enumerate, name, rule, tag};
use crate::{
    error::{Refusal, Result},
    model::{
        AddressFamily, Direction, EntryKey, GroupId, PrefixList, PrefixListId, PrefixListState, Quota, Rule,
        Span, State,
    },
};
use std::{collections::BTreeSet, sync::Arc};

/// Characters at most in a name (M-60).
const MAX_NAME: usize = 255;
/// Resources at most that a refused change of size names (M-49).
const RESOURCES_NAMED: usize = 10;

/// What was typed for a new list.
#[derive(Clone, Debug)]
pub struct Create {
    /// Its name.
    pub name: String,
    /// `--family`
    pub family: AddressFamily,
    /// `--max-entries`
    pub max_entries: String,
    /// `--entry`, each `CIDR` or `CIDR=DESCRIPTION`.
    pub entries: Vec<String>,
    /// `--tag`, each `KEY=VALUE`.
    pub tags: Vec<String>,
}

/// Makes a list, in its version 1.
pub fn create(state: &mut State, request: &Create) -> Result<PrefixListId> {
    let name = checked_name(&request.name)?;
    let max_entries = size(state, &request.max_entries)?;
    let tags = tag::parse(&request.tags)?;
    let entries = entry::read(&request.entries, request.family)?;
    let limit = state.quotas.get(Quota::PrefixLists);
    if state.prefix_lists.len() >= limit as usize {
        let message = format!(
            "There are {limit} prefix lists, which is the quota; delete one, or raise it with 'sg-ctl quota {}={}'",
            Quota::PrefixLists,
            limit.saturating_add(1)
        );
        return Err(Refusal::new("PrefixListLimitExceeded", message).into());
    }
    let id = PrefixListId::random();
    let spans = entries.into_iter().map(|entry| {
        (EntryKey { cidr: entry.cidr, since: 1 }, Span { until: None, description: entry.text() })
    });
    let list = PrefixList {
        id,
        name,
        family: request.family,
        max_entries,
        version: 1,
        oldest: 1,
        state: PrefixListState::CreateComplete,
        tags,
        entries: Arc::new(spans.collect()),
    };
    check_new(&list, list.entries.len())?;
    state.prefix_lists.insert(id, list);
    Ok(id)
}

/// Finds a list by id, or by its name where no other has it.
pub fn find(state: &State, given: &str) -> Result<PrefixListId> {
    let not_found = "InvalidPrefixListID.NotFound";
    if PrefixListId::is_meant_by(given) {
        let id: PrefixListId = given.parse()?;
        return match state.prefix_lists.contains_key(&id) {
            true => Ok(id),
            false => Err(Refusal::new(not_found, format!("The prefix list ID '{id}' does not exist")).into()),
        };
    }
    if let [only] = state.prefix_lists.named(given.trim_end_matches(' '))[..] {
        return Ok(only);
    }
    let sought =
        name::Sought { not_found, noun: "prefix list", list: "sg-ctl prefix-list list", typed: given };
    name::only(sought, state.prefix_lists.values().map(|list| (list.id, list.name.as_str())))
}

/// All lists, by name.
#[must_use]
pub fn list(state: &State) -> Vec<PrefixListId> {
    let mut lists: Vec<_> = state.prefix_lists.values().collect();
    lists.sort_by_key(|list| (list.name.to_lowercase(), list.id));
    lists.into_iter().map(|list| list.id).collect()
}

/// Changes how many entries the list may have; its version stays (M-53). Refused where a group that names the list would
/// have more rules than its quota (M-49).
pub fn resize(state: &mut State, given: &str, typed: &str) -> Result<PrefixListId> {
    let id = find(state, given)?;
    let max_entries = size(state, typed)?;
    if let Some(list) = state.prefix_lists.get(&id) {
        check_resized(state, list, max_entries)?;
    }
    if let Some(list) = state.prefix_lists.get_mut(&id) {
        list.max_entries = max_entries;
    }
    modified(state, id)
}

/// Gives the list another name; its version stays (M-53).
pub fn rename(state: &mut State, given: &str, typed: &str) -> Result<PrefixListId> {
    let id = find(state, given)?;
    let name = checked_name(typed)?;
    if let Some(list) = state.prefix_lists.get_mut(&id) {
        list.name = name;
    }
    modified(state, id)
}

/// Deletes a list that no rule names (M-59). Returns it as it was.
pub fn delete(state: &mut State, given: &str) -> Result<PrefixList> {
    let id = find(state, given)?;
    let holders: Vec<String> = references(state, id)
        .map(|rule| {
            let name = state.groups.get(&rule.group).map_or("", |group| group.name.as_str());
            format!("rule {} of group {name} ({})", rule.id, rule.group)
        })
        .collect();
    if !holders.is_empty() {
        return Err(Refusal::new(
            "DependencyViolation",
            format!("resource {id} has a dependent object: {}; remove these first", enumerate(&holders)),
        )
        .into());
    }
    state.prefix_lists.remove(&id).ok_or_else(|| {
        Refusal::new("InvalidPrefixListID.NotFound", format!("The prefix list ID '{id}' does not exist"))
            .into()
    })
}

/// The rules that name the list.
pub fn references(state: &State, id: PrefixListId) -> impl Iterator<Item = &Rule> {
    state.rules.naming_list(id)
}

/// The groups with rules that name the list.
#[must_use]
pub fn associations(state: &State, id: PrefixListId) -> BTreeSet<GroupId> {
    references(state, id).map(|rule| rule.group).collect()
}

/// The version of the list that is meant: the present one where none is given.
pub fn version(list: &PrefixList, typed: Option<&str>) -> Result<u32> {
    let Some(typed) = typed else { return Ok(list.version) };
    let (oldest, present) = (list.oldest, list.version);
    match typed.parse() {
        Ok(version) if (oldest..=present).contains(&version) => Ok(version),
        Ok(_) => {
            let kept = if oldest == present {
                format!("version {oldest}")
            } else {
                format!("versions {oldest} to {present}")
            };
            let message = format!(
                "The prefix list has the incorrect version number. {} has {kept}, and no {typed}",
                list.id
            );
            Err(Refusal::new("PrefixListVersionMismatch", message).into())
        }
        Err(_) => {
            Err(Refusal::invalid(format!("Value ({typed}) for --version is not a version number")).into())
        }
    }
}

/// Refuses a number of entries that the list has no room for.
pub(crate) fn check_room(list: &PrefixList, entries: usize) -> Result<()> {
    if entries <= list.max_entries as usize {
        return Ok(());
    }
    let PrefixList { id, name, max_entries, .. } = list;
    let message = format!(
        "The prefix list {name} ({id}) holds at most {max_entries} entries, and would have {entries}; 'sg-ctl prefix-list \
         resize' makes it larger"
    );
    Err(Refusal::new("PrefixListMaxEntriesExceeded", message).into())
}

/// [`check_room`] for a list that is being made, which nobody can resize yet.
pub(crate) fn check_new(list: &PrefixList, entries: usize) -> Result<()> {
    if entries <= list.max_entries as usize {
        return Ok(());
    }
    let PrefixList { name, max_entries, .. } = list;
    let message = format!(
        "The prefix list {name} is to hold at most {max_entries} entries, and {entries} are given; give a larger maximum \
         of entries, or fewer of them"
    );
    Err(Refusal::new("PrefixListMaxEntriesExceeded", message).into())
}

/// A number of entries that a list may have at most: 1 up to the quota (M-40, M-52).
pub(crate) fn size(state: &State, typed: &str) -> Result<u32> {
    let quota = Quota::EntriesPerPrefixList;
    let limit = state.quotas.get(quota);
    match typed.parse() {
        Ok(size) if (1..=limit).contains(&size) => Ok(size),
        Ok(size) if size > limit => Err(Refusal::invalid(format!(
            "Must specify a max size between 1 and {limit}; 'sg-ctl quota {quota}={size}' raises the limit"
        ))
        .into()),
        _ => {
            Err(Refusal::invalid(format!("Must specify a max size between 1 and {limit}: '{typed}' is none"))
                .into())
        }
    }
}

pub(crate) fn checked_name(typed: &str) -> Result<String> {
    let name = typed.trim_end_matches(' ');
    if name.is_empty() {
        let message = "The request must contain the parameter PrefixListName";
        return Err(Refusal::new("MissingParameter", message).into());
    }
    if name.chars().count() > MAX_NAME {
        let message = format!("The name of a prefix list has at most {MAX_NAME} characters");
        return Err(Refusal::invalid(message).into());
    }
    // Our own: what looks like an id could never be found by its name.
    if name.starts_with("com.amazonaws") || PrefixListId::is_meant_by(name) {
        let message =
            format!("The name of a prefix list may not begin with 'com.amazonaws' or 'pl-': '{name}'");
        return Err(Refusal::invalid(message).into());
    }
    Ok(name.to_owned())
}

/// Whether the list's entries and the groups that name it go with a new size.
fn check_resized(state: &State, list: &PrefixList, max_entries: u32) -> Result<()> {
    let PrefixList { id, name, max_entries: former, family, .. } = list;
    let entries = list.len();
    if entries > max_entries as usize {
        let message = format!(
            "The prefix list {name} ({id}) has {entries} entries, more than {max_entries}; remove some first"
        );
        return Err(Refusal::new("PrefixListMaxEntriesExceeded", message).into());
    }
    let Some(more) = max_entries.checked_sub(*former).filter(|more| *more > 0) else { return Ok(()) };
    let limit = u64::from(state.quotas.get(Quota::RulesPerGroup));
    let has_room = |group: GroupId, direction: Direction| {
        let naming = references(state, *id).filter(|rule| (rule.group, rule.direction) == (group, direction));
        let grown = naming.count() as u64 * u64::from(more);
        rule::weight_of_group(state, group, direction, *family) + grown <= limit
    };
    let without: BTreeSet<GroupId> = references(state, *id)
        .filter(|rule| !has_room(rule.group, rule.direction))
        .map(|rule| rule.group)
        .collect();
    if without.is_empty() {
        return Ok(());
    }
    let named = without.iter().take(RESOURCES_NAMED).map(|group| {
        let name = state.groups.get(group).map_or("", |group| group.name.as_str());
        format!("{group} ({name})")
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let others = match without.len().saturating_sub(RESOURCES_NAMED) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let message = format!(
        "The maximum number of rules per security group has been reached: there is no room for {max_entries} entries \
         in {named}{others}, and {id} keeps its {former}; 'sg-ctl quota {}=N' raises the limit",
        Quota::RulesPerGroup
    );
    Err(Refusal::new("RulesPerSecurityGroupLimitExceeded", message).into())
}

fn modified(state: &mut State, id: PrefixListId) -> Result<PrefixListId> {
    if let Some(list) = state.prefix_lists.get_mut(&id) {
        list.state = PrefixListState::ModifyComplete;
    }
    Ok(id)
}

#[cfg(test)]
#[path = "prefix_list_tests.rs"]
mod tests;
