//! A change told from two states without compiling either whole: in the size of what differs.

use super::{
    Change, Image, InterfacePolicy, List, Net, Released, Scope, interface,
    members::{Identity, identity},
};
use crate::model::{EniId, GroupId, Interface, Peer, PrefixListId, Rule, State};
use sg_common::policy::INLINE_LISTS;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

impl Change {
    /// From one state to the next. `None` where only the whole says what becomes of it: what some interface may refer to
    /// changes with VPCs and peerings, an interface comes or goes.
    #[must_use]
    pub fn part(before: &State, after: &State) -> Option<Self> {
        let groups_went = after.groups.changes_from(&before.groups).iter().any(|(_, _, new)| new.is_none());
        if before.vpcs != after.vpcs || before.peerings != after.peerings || groups_went {
            return None;
        }
        let mut change = Self {
            scope: Scope::Part,
            before: Image::default(),
            after: Image { released: Released::of(after), ..Image::default() },
            members: BTreeMap::new(),
            lists: BTreeMap::new(),
            rest: Some(after.clone()),
        };
        let mut concerned = concerned_by_interfaces(&mut change, before, after)?;
        let mut groups: BTreeSet<GroupId> = BTreeSet::new();
        for (_, old, new) in after.rules.changes_from(&before.rules) {
            groups.extend([old, new].into_iter().flatten().map(|rule: &Rule| rule.group));
        }
        for group in groups {
            concerned.extend(after.interfaces.attached_in(group).map(|eni| eni.id));
        }
        concerned.extend(concerned_by_lists(&mut change, before, after));
        for id in concerned {
            let (slot, old) = policy(before, id)?;
            let (_, new) = policy(after, id)?;
            if old != new {
                change.before.policies.insert(slot, old);
                change.after.policies.insert(slot, new);
            }
        }
        change.after.lists.append(&mut super::lists_of(after, &change.after.policies));
        Some(change)
    }
}

/// What interfaces that differ come to: their addresses as members, and those that are attached.
fn concerned_by_interfaces(change: &mut Change, before: &State, after: &State) -> Option<BTreeSet<EniId>> {
    let mut concerned = BTreeSet::new();
    let mut addresses = BTreeSet::<IpAddr>::new();
    for (id, old, new) in after.interfaces.changes_from(&before.interfaces) {
        let slot = |eni: Option<&Interface>| Some(eni?.attachment.as_ref()?.slot);
        if slot(old) != slot(new) {
            return None;
        }
        if new.is_some_and(|eni| !eni.is_registered()) {
            concerned.insert(id);
        }
        addresses.extend([old, new].into_iter().flatten().flat_map(|eni| &eni.addresses));
    }
    for address in addresses {
        let (old, new): (Identity, Identity) = (identity(before, address), identity(after, address));
        if old != new {
            change.members.insert(address, new);
        }
    }
    Some(concerned)
}

/// What prefix lists that differ come to. Returns the interfaces that have them in tables of their own, as far as that can
/// be: those whose rules name more lists than a row has room for.
fn concerned_by_lists(change: &mut Change, before: &State, after: &State) -> BTreeSet<EniId> {
    let mut groups = BTreeSet::new();
    for (id, old, new) in after.prefix_lists.changes_from(&before.prefix_lists) {
        // Rules name neither one that is new nor one that is gone.
        let (Some(old), Some(new)) = (old.map(List::from), new.map(List::from)) else { continue };
        let nets: BTreeSet<Net> = old.differing(&new);
        if nets.is_empty() {
            continue;
        }
        groups.extend(after.rules.naming_list(id).map(|rule| rule.group));
        change.lists.insert(id, nets);
        change.after.lists.insert(id, new);
    }
    if after.prefix_lists.len() <= INLINE_LISTS {
        return BTreeSet::new();
    }
    let names_many = |eni: &&Interface| {
        let rules = eni.groups.iter().flat_map(|group| after.rules.of_group(*group));
        let lists = rules.filter_map(|rule| match rule.peer {
            Peer::PrefixList(list) => Some(list),
            Peer::Ipv4(_) | Peer::Ipv6(_) | Peer::Group(_) => None,
        });
        lists.collect::<BTreeSet<PrefixListId>>().len() > INLINE_LISTS
    };
    let carriers = groups.into_iter().flat_map(|group| after.interfaces.attached_in(group));
    carriers.filter(names_many).map(|eni| eni.id).collect()
}

/// Slot and policy of an attached interface.
fn policy(state: &State, id: EniId) -> Option<(u16, InterfacePolicy)> {
    let eni = state.interfaces.get(&id)?;
    let attachment = eni.attachment.as_ref()?;
    Some((attachment.slot, interface::compile(state, eni, attachment)))
}

#[cfg(test)]
#[path = "part_tests.rs"]
mod tests;
