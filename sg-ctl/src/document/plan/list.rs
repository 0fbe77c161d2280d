//! Prefix lists of a document.

use super::Planner;
use crate::{
    document::{place::Place, types},
    error::{Refusal, Result},
    model::{EntryKey, PrefixList, PrefixListId, PrefixListState, Span, Tags},
    ops::{
        entry::{self, Entry, Revision},
        peer, prefix_list,
    },
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Prefixes with their descriptions.
type Wanted = BTreeMap<IpNet, Option<String>>;

impl Planner<'_> {
    /// Makes, changes and, where they are lacked, removes prefix lists.
    pub(super) fn prefix_lists(&mut self, place: &Place<'_>, written: &[types::PrefixList]) -> Result<()> {
        let mut new_names = BTreeSet::new();
        for (n, written) in written.iter().enumerate() {
            let place = place.item(n);
            let id = match self.present_list(&place, written)? {
                Some(id) => id,
                None => {
                    if !new_names.insert(written.name.to_lowercase()) && written.id.is_none() {
                        let message = "Another prefix list of the document has this name; give each an 'id'";
                        return Err(place.field("name").invalid(message));
                    }
                    self.new_list(&place, written)?
                }
            };
            if self.lists.insert(id, n).is_some() {
                let message = format!("The prefix list '{}' appears twice in the document", written.name);
                return Err(place.field("name").invalid(message));
            }
            self.update_list(&place, id, written)?;
        }
        if self.prunes_all {
            self.state.prefix_lists.retain(|id, _| self.lists.contains_key(id));
        }
        Ok(())
    }

    /// The list that is meant, where there is one.
    fn present_list(&self, place: &Place<'_>, written: &types::PrefixList) -> Result<Option<PrefixListId>> {
        let by_id = match &written.id {
            Some(id) => Some(place.field("id").check(id.parse::<PrefixListId>().map_err(Into::into))?),
            None => None,
        };
        if let Some(id) = by_id.filter(|id| self.before.prefix_lists.contains_key(id)) {
            return Ok(Some(id));
        }
        let name = written.name.trim_end_matches(' ');
        let is_it = |list: &&PrefixList| list.name.eq_ignore_ascii_case(name);
        match self.before.prefix_lists.values().filter(is_it).collect::<Vec<_>>().as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only.id)),
            // With an id that nothing has, it is one more.
            _ if by_id.is_some() => Ok(None),
            _ => {
                let message = format!("'{name}' is the name of several prefix lists; give the 'id'");
                Err(place.field("name").invalid(message))
            }
        }
    }

    fn new_list(&mut self, place: &Place<'_>, written: &types::PrefixList) -> Result<PrefixListId> {
        let missing = |field: &str| {
            let message = format!("A new prefix list needs '{field}'");
            place.field(field).refuse(Refusal::new("MissingParameter", message))
        };
        let name = place.field("name").check(prefix_list::checked_name(&written.name))?;
        let family = written.family.ok_or_else(|| missing("family"))?;
        let max_entries = written.max_entries.ok_or_else(|| missing("max-entries"))?;
        let max_entries =
            place.field("max-entries").check(prefix_list::size(&self.state, &max_entries.to_string()))?;
        let id = match &written.id {
            Some(id) => place.field("id").check(id.parse().map_err(Into::into))?,
            None => PrefixListId::random(),
        };
        let mut list = PrefixList {
            id,
            name,
            family,
            max_entries,
            version: 1,
            oldest: 1,
            state: PrefixListState::CreateComplete,
            tags: Tags::new(),
            entries: Arc::default(),
        };
        let wanted = wanted(&place.field("entries"), &list, written)?;
        place.field("entries").check(prefix_list::check_new(&list, wanted.len()))?;
        let entries = wanted
            .into_iter()
            .map(|(cidr, description)| (EntryKey { cidr, since: 1 }, Span { until: None, description }));
        list.entries = Arc::new(entries.collect());
        self.state.prefix_lists.insert(id, list);
        Ok(id)
    }

    fn update_list(
        &mut self,
        place: &Place<'_>,
        id: PrefixListId,
        written: &types::PrefixList,
    ) -> Result<()> {
        let Some(present) = self.state.prefix_lists.get(&id) else { return Ok(()) };
        let mut list = present.clone();
        if list.name != written.name {
            list.name = place.field("name").check(prefix_list::checked_name(&written.name))?;
        }
        if written.family.is_some_and(|family| family != list.family) {
            let message = format!("The family of a prefix list is fixed: {id} is {}", list.family.name());
            return Err(place.field("family").invalid(message));
        }
        if let Some(size) = written.max_entries.filter(|size| *size != list.max_entries) {
            list.max_entries =
                place.field("max-entries").check(prefix_list::size(&self.state, &size.to_string()))?;
        }
        list.tags = self.tags(&place.field("tags"), &list.tags, &written.tags)?;
        if (&list.name, list.max_entries) != (&present.name, present.max_entries) {
            list.state = PrefixListState::ModifyComplete;
        }
        let place = place.field(if written.entries.is_some() { "entries" } else { "max-entries" });
        let revision = match &written.entries {
            Some(_) => self.revision(&list, wanted(&place, &list, written)?),
            None => Revision { remove: Vec::new(), put: Vec::new() },
        };
        let added = revision.put.iter().filter(|entry| list.get(&entry.cidr).is_none()).count();
        place.check(prefix_list::check_room(&list, list.len() + added - revision.remove.len()))?;
        self.state.prefix_lists.insert(id, list);
        if !revision.put.is_empty() || !revision.remove.is_empty() {
            place.check(entry::change(&mut self.state, &id.to_string(), None, |_| Ok(revision)))?;
        }
        Ok(())
    }

    fn revision(&self, list: &PrefixList, wanted: Wanted) -> Revision {
        let is_lacked = |cidr: &IpNet| self.how.prune && !wanted.contains_key(cidr);
        let remove = list.current().map(|(cidr, _)| cidr).filter(is_lacked).collect();
        let is_new = |cidr: &IpNet, text: &Option<String>| {
            list.get(cidr).is_none_or(|(_, present)| present != text.as_deref())
        };
        let put = wanted
            .into_iter()
            .filter(|(cidr, text)| is_new(cidr, text))
            .map(|(cidr, text)| Entry { cidr, description: Some(text.unwrap_or_default()) })
            .collect();
        Revision { remove, put }
    }
}

/// The entries that are written down.
fn wanted(place: &Place<'_>, list: &PrefixList, written: &types::PrefixList) -> Result<Wanted> {
    let mut wanted = Wanted::new();
    for (n, types::Entry { cidr, description }) in written.entries.iter().flatten().enumerate() {
        let place = place.item(n);
        place.field("cidr").check(peer::network(cidr))?;
        let text = format!("{cidr}={}", description.as_deref().unwrap_or_default());
        let field = if description.is_some() { "description" } else { "cidr" };
        for entry in place.field(field).check(entry::read(&[text], list.family))? {
            let cidr = entry.cidr;
            if wanted.insert(cidr, entry.text()).is_some() {
                let message = format!("The same CIDR must not appear multiple times: {cidr}");
                return Err(place.field("cidr").invalid(message));
            }
        }
    }
    Ok(wanted)
}
