//! VPCs of a document.

use super::Planner;
use crate::{
    document::{place::Place, types},
    error::{Refusal, Result},
    model::{State, Tags, Vpc, VpcId},
    ops::{self, vpc},
};
use std::collections::BTreeSet;

/// The tag that holds the name.
const NAME: &str = "Name";

impl Planner<'_> {
    /// Makes and changes VPCs; a new one with its group `default`.
    pub(super) fn vpcs(&mut self, place: &Place<'_>, written: &[types::Vpc]) -> Result<()> {
        let mut new_names = BTreeSet::new();
        for (n, written) in written.iter().enumerate() {
            let place = place.item(n);
            let id = match self.present_vpc(&place, written)? {
                Some(id) if self.vpcs.contains(&id) => {
                    return Err(place.invalid(format!("The vpc '{id}' appears twice in the document")));
                }
                Some(id) => id,
                None => {
                    let name = written.name.as_deref().unwrap_or_default().to_lowercase();
                    if !new_names.insert(name) && written.id.is_none() {
                        let message = "Another VPC of the document has this name; give each an 'id'";
                        return Err(place.field("name").invalid(message));
                    }
                    self.new_vpc(&place, written)?
                }
            };
            self.update_vpc(&place, id, written)?;
            self.vpcs.push(id);
        }
        Ok(())
    }

    /// The VPC that is meant, where there is one.
    fn present_vpc(&self, place: &Place<'_>, written: &types::Vpc) -> Result<Option<VpcId>> {
        let by_id = match &written.id {
            Some(id) => Some(place.field("id").check(id.parse::<VpcId>().map_err(Into::into))?),
            None => None,
        };
        if let Some(id) = by_id.filter(|id| self.before.vpcs.contains_key(id)) {
            let is_default = self.before.vpcs.get(&id).is_some_and(|vpc| vpc.is_default);
            return match is_default == written.default || !written.default {
                true => Ok(Some(id)),
                false => Err(place.field("default").invalid(format!("{id} is not the default VPC"))),
            };
        }
        if written.default {
            return Ok(vpc::default_vpc(self.before));
        }
        let Some(name) = &written.name else {
            let message = "A VPC is named by 'name', by the 'id' of one that is there, or by 'default: true'";
            return Err(place.refuse(Refusal::new("MissingParameter", message)));
        };
        let name = name.trim_end_matches(' ');
        let is_it = |vpc: &&Vpc| vpc.name().is_some_and(|other| other.eq_ignore_ascii_case(name));
        match self.before.vpcs.values().filter(is_it).collect::<Vec<_>>().as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only.id)),
            // With an id that nothing has, it is one more.
            _ if by_id.is_some() => Ok(None),
            _ => {
                let message = format!("'{name}' is the name of several VPCs; give the 'id'");
                Err(place.field("name").invalid(message))
            }
        }
    }

    fn new_vpc(&mut self, place: &Place<'_>, written: &types::Vpc) -> Result<VpcId> {
        let cidrs = self.blocks(place, written)?;
        let id = match &written.id {
            Some(id) => place.field("id").check(id.parse().map_err(Into::into))?,
            None => VpcId::random(),
        };
        if self.state.vpcs.contains_key(&id) {
            return Err(place.field("id").invalid(format!("The vpc '{id}' appears twice in the document")));
        }
        self.state.vpcs.insert(id, Vpc { id, is_default: false, cidrs, tags: Tags::new() });
        let group = vpc::add_default_group(&mut self.state, id);
        self.fresh.insert(group);
        Ok(id)
    }

    fn blocks(&self, place: &Place<'_>, written: &types::Vpc) -> Result<Vec<ipnet::IpNet>> {
        let place = place.field("cidrs");
        let cidrs = written.cidrs.as_deref().unwrap_or_default();
        // One more at a time, so that the wrong one is known.
        for n in 0..cidrs.len() {
            place.item(n).check(vpc::blocks(&cidrs[..=n]))?;
        }
        vpc::blocks(cidrs)
    }

    fn update_vpc(&mut self, place: &Place<'_>, id: VpcId, written: &types::Vpc) -> Result<()> {
        let Some(present) = self.state.vpcs.get(&id) else { return Ok(()) };
        if written.cidrs.is_some() && self.blocks(place, written)? != present.cidrs {
            let has: Vec<_> = present.cidrs.iter().map(ToString::to_string).collect();
            let message =
                format!("The blocks of a VPC are fixed when it is made: {id} has [{}]", has.join(", "));
            return Err(place.field("cidrs").invalid(message));
        }
        if written.tags.contains_key(NAME) {
            let message = "The tag 'Name' of a VPC is its name; write 'name'";
            return Err(place.field("tags").invalid(message));
        }
        let mut tags = written.tags.clone();
        if let Some(name) = &written.name {
            tags.extend(match present.name() == Some(name) {
                true => Tags::from([(NAME.to_owned(), name.clone())]),
                false => place.field("name").check(vpc::named(name))?,
            });
        }
        let tags = self.tags(&place.field("tags"), &present.tags, &tags)?;
        if let Some(vpc) = self.state.vpcs.get_mut(&id) {
            vpc.tags = tags;
        }
        Ok(())
    }

    /// Removes the VPCs that the document lacks, with all that is theirs. The default VPC stays, with its group
    /// `default`, and so does what is attached.
    pub(super) fn prune_vpcs(&mut self, place: &Place<'_>) -> Result<()> {
        let lacked: Vec<VpcId> =
            self.before.vpcs.keys().filter(|id| !self.vpcs.contains(id)).copied().collect();
        for id in lacked {
            let is_default = self.before.vpcs.get(&id).is_some_and(|vpc| vpc.is_default);
            let holder = self.before.attached().find(|(eni, _)| eni.vpc == id);
            if let Some((eni, _)) = holder.filter(|_| !is_default) {
                let message = format!(
                    "The vpc '{id}' has dependencies and cannot be deleted: interface {} ({}); 'sg-ctl detach {}' first, \
                     or list it",
                    eni.name, eni.id, eni.name
                );
                return Err(place.refuse(Refusal::new("DependencyViolation", message)));
            }
            let now = self.how.now;
            let State { vpcs, groups, rules, interfaces, peerings, .. } = &mut self.state;
            interfaces.retain(|_, eni| eni.vpc != id || !eni.is_registered());
            groups.retain(|_, group| group.vpc != id || (is_default && group.name == "default"));
            rules.retain(|_, rule| groups.contains_key(&rule.group));
            if is_default {
                continue;
            }
            vpcs.remove(&id);
            ops::peering::end_all_of(peerings, id, now);
        }
        Ok(())
    }
}
