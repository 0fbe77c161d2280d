//! What is to change in the datapath, in the size of the change.

use super::{Identity, Image, InterfacePolicy, Net, Ports, compile};
use crate::model::{PrefixListId, State};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// How much of the datapath a [`Change`] speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything, and nothing is known of what is in force.
    Unknown,
    /// Everything, and what is in force is known.
    Whole,
    /// Some interfaces, members and lists; the others stay as they are.
    Part,
}

/// From what is in force to what is to be.
#[derive(Clone, Debug)]
pub struct Change {
    /// How much it speaks of.
    pub scope: Scope,
    /// What is in force, as far as it is known and differs.
    pub before: Image,
    /// What is to be; of a change in part, the policies that differ and the lists that they or others name.
    pub after: Image,
    /// Addresses that are to have another identity than they may have now; an empty one is no member any more. (Where nothing
    /// is known, these are all that are to be members.)
    pub members: BTreeMap<IpAddr, Identity>,
    /// Prefixes that came or went, by list.
    pub lists: BTreeMap<PrefixListId, BTreeSet<Net>>,
    /// Of a change in part, the state that it leads to: the rest is compiled if it comes to that.
    pub rest: Option<State>,
}

impl Change {
    /// From one image to the next.
    #[must_use]
    pub fn between(before: Image, after: Image) -> Self {
        let gone = before.members.keys().filter(|address| !after.members.contains_key(address));
        let mut members: BTreeMap<IpAddr, Identity> =
            gone.map(|address| (*address, Identity::new())).collect();
        let differ =
            after.members.iter().filter(|(address, identity)| before.members.get(address) != Some(identity));
        members.extend(differ.map(|(address, identity)| (*address, identity.clone())));
        let lists = after.lists.iter().filter_map(|(id, list)| {
            let touched = before.lists.get(id)?.differing(list);
            (!touched.is_empty()).then_some((*id, touched))
        });
        let lists = lists.collect();
        Self { scope: Scope::Whole, before, members, lists, after, rest: None }
    }

    /// To an image, from one that nobody knows.
    #[must_use]
    pub fn to(after: Image) -> Self {
        let members = after.members.clone();
        let (before, lists) = (Image::default(), BTreeMap::new());
        Self { scope: Scope::Unknown, before, members, lists, after, rest: None }
    }

    /// All that is to be, also of a change in part.
    #[must_use]
    pub fn whole(&self) -> Cow<'_, Image> {
        self.rest.as_ref().map_or(Cow::Borrowed(&self.after), |state| Cow::Owned(compile(state)))
    }

    /// Whether every packet is judged the same afterwards, and no flow ends. What was released before ended flows when that
    /// was put in force, and would not end those that were opened since.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.scope != Scope::Unknown
            && self.members.is_empty()
            && self.lists.is_empty()
            && self.before.policies == self.after.policies
            && self.after.released.is_empty()
    }

    /// How many ports of TCP and UDP were untracked on some interface and are not any more.
    #[must_use]
    pub fn interrupted_ports(&self) -> u32 {
        let mut interrupted = [Ports::NONE, Ports::NONE];
        for (slot, before) in &self.before.policies {
            let after = self.after.policies.get(slot);
            for family in 0..2 {
                for (protocol, ports) in interrupted.iter_mut().enumerate() {
                    for (case, before) in open(before).into_iter().enumerate() {
                        let before = &before[family][protocol];
                        let after = after.map(|policy| &open(policy)[case][family][protocol]);
                        ports.add(&after.map_or_else(|| before.clone(), |after| before.without(after)));
                    }
                }
            }
        }
        interrupted.iter().map(Ports::len).sum()
    }

    /// Whether some flow that may have an entry is untracked afterwards (P-3a).
    #[must_use]
    pub fn opens_ports(&self) -> bool {
        self.after.policies.iter().any(|(slot, after)| {
            let before = self.before.policies.get(slot);
            open(after).into_iter().enumerate().any(|(case, after)| {
                let of = |family: usize, protocol: usize| {
                    let after = &after[family][protocol];
                    match before {
                        Some(before) => !after.without(&open(before)[case][family][protocol]).is_empty(),
                        None => !after.is_empty(),
                    }
                };
                [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().any(|(family, protocol)| of(family, protocol))
            })
        })
    }
}

/// Both cases of P-2: `[family][TCP, UDP]`.
fn open(policy: &InterfacePolicy) -> [&[[Ports; 2]; 2]; 2] {
    [&policy.open_in, &policy.open_out]
}
