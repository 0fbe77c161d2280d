//! What the rules of one direction permit to whom.

use super::{Image, Permission, Table};
use crate::model::{GroupId, PrefixListId};
use std::{collections::BTreeMap, net::IpAddr};

/// What rules of one direction and family permit: the union of three parts, of which each changes by itself. The table
/// names addresses; groups and lists stand for addresses that are found elsewhere ([`Image::members`], [`Image::lists`]),
/// so that a member more changes no interface's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// The CIDR blocks of rules, and what `0.0.0.0/0` or `::/0` permits.
    pub table: Table,
    /// The groups that rules name. Members of a group that is empty, unknown or out of reach are nobody.
    pub groups: BTreeMap<GroupId, Permission>,
    /// The prefix lists that rules name, by id.
    pub lists: BTreeMap<PrefixListId, Permission>,
}

impl Access {
    /// What this address may do under the image: the same answer as the datapath's lookups.
    #[must_use]
    pub fn lookup(&self, image: &Image, address: IpAddr) -> Permission {
        let mut permission = self.table.lookup(address).clone();
        let groups = image.members.get(&address).into_iter().flatten();
        groups.filter_map(|group| self.groups.get(group)).for_each(|more| permission.add(more));
        let covers = |id| image.lists.get(id).is_some_and(|list| list.covers(address));
        self.lists.iter().filter(|(id, _)| covers(id)).for_each(|(_, more)| permission.add(more));
        permission
    }
}
