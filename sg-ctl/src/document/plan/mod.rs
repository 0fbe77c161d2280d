//! What the state becomes by a document: a pure function, whose result is checked as a whole.
//!
//! Objects are made before rules are read, so that rules may name each other's groups in any order; what the document
//! lacks goes before, so that nothing can name it. What the *end* may not look like (a group that is gone and still
//! carried, a quota that is exceeded) is checked at the end, and so no order of steps is needed to get there.

mod check;
mod group;
mod interface;
mod list;
mod peering;
mod rule;
mod vpc;

use super::{Document, names, place::Place};
use crate::{
    error::Result,
    model::{EniId, GroupId, PrefixListId, Quota, Quotas, State, Tags, VpcId},
    ops::{quota, tag},
};
use std::collections::{BTreeMap, BTreeSet};

/// How a document is to be applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct How<'a> {
    /// Remove what the document lacks.
    pub prune: bool,
    /// `--netns`: where interfaces are that the document puts in none.
    pub netns: Option<&'a str>,
    /// Seconds since the Unix epoch.
    pub now: u64,
}

/// What comes of a document.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The state that it means.
    pub state: State,
    /// What the user should know of how it was read.
    pub warnings: Vec<String>,
}

/// Works out what `before` becomes by a document. Objects that are there already keep their ids, rules too (M-19).
///
/// # Errors
/// A [`Fault`](super::Fault) with the first place of the document that cannot be so.
pub fn plan(before: &State, document: &Document, how: &How<'_>) -> Result<Plan> {
    let root = Place::ROOT;
    let mut planner = Planner {
        before,
        how,
        prunes_all: how.prune && document.only_vpc.is_none(),
        state: before.clone(),
        warnings: Vec::new(),
        fresh: BTreeSet::new(),
        lists: BTreeMap::new(),
        vpcs: Vec::new(),
        groups: BTreeMap::new(),
        interfaces: BTreeMap::new(),
    };
    if let Some(written) = &document.quotas {
        planner.quotas(&root.field("quotas"), written)?;
    }
    if let Some(written) = &document.prefix_lists {
        planner.prefix_lists(&root.field("prefix-lists"), written)?;
    }
    let vpcs = document.vpcs.as_deref().unwrap_or_default();
    let place = root.field("vpcs");
    planner.vpcs(&place, vpcs)?;
    planner.groups(&place, vpcs)?;
    if let Some(only) = &document.only_vpc {
        planner.only_vpc(&root, only)?;
    }
    if document.vpcs.is_some() && planner.prunes_all {
        planner.prune_vpcs(&place)?;
    }
    if let Some(written) = &document.peerings {
        planner.peerings(&root.field("peerings"), written)?;
    }
    planner.rules(&place, vpcs)?;
    planner.interfaces(&place, vpcs)?;
    planner.check(&root)?;
    Ok(Plan { state: planner.state, warnings: planner.warnings })
}

/// A state on its way, and where the document speaks of what.
struct Planner<'a> {
    before: &'a State,
    how: &'a How<'a>,
    /// Whole objects go as well that are in no VPC of the document.
    prunes_all: bool,
    state: State,
    warnings: Vec<String>,
    /// Groups that the document makes.
    fresh: BTreeSet<GroupId>,
    /// Prefix lists, by which item they are.
    lists: BTreeMap<PrefixListId, usize>,
    /// VPCs in the order of the document.
    vpcs: Vec<VpcId>,
    /// Groups, by which VPC and which group of it they are.
    groups: BTreeMap<GroupId, (usize, usize)>,
    /// Interfaces, by which VPC and which interface of it they are.
    interfaces: BTreeMap<EniId, (usize, usize)>,
}

impl Planner<'_> {
    /// A document about one VPC has no other.
    fn only_vpc(&self, root: &Place<'_>, written: &str) -> Result<()> {
        let only = root.field("only-vpc").check(names::find_vpc(&self.state, written))?;
        match self.vpcs.iter().position(|id| *id != only) {
            Some(other) => {
                let message =
                    format!("The document is about {written} only; leave 'only-vpc' out, or this VPC");
                Err(root.field("vpcs").item(other).invalid(message))
            }
            None => Ok(()),
        }
    }

    fn quotas(&mut self, place: &Place<'_>, written: &BTreeMap<String, u32>) -> Result<()> {
        let mut quotas = BTreeMap::new();
        if !self.prunes_all {
            quotas.clone_from(&self.state.quotas.0);
        }
        for (name, value) in written {
            let place = place.field(name);
            let quota = place.check(name.parse::<Quota>().map_err(Into::into))?;
            quotas.insert(quota, place.check(quota::value(quota, &value.to_string()))?);
        }
        let typed: Vec<String> = quotas.iter().map(|(quota, value)| format!("{quota}={value}")).collect();
        self.state.quotas = Quotas::default();
        place.check(quota::set(&mut self.state, &typed))
    }

    /// The tags that an object has then: those of the document, beside the others it has, unless those are to go.
    fn tags(&self, place: &Place<'_>, present: &Tags, written: &Tags) -> Result<Tags> {
        let mut tags = if self.how.prune { Tags::new() } else { present.clone() };
        tags.extend(written.clone());
        if tags != *present {
            place.check(tag::check(&tags))?;
        }
        Ok(tags)
    }
}
