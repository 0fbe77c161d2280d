//! Groups of a document, but for their rules.

use super::Planner;
use crate::{
    document::{place::Place, types},
    error::{Refusal, Result},
    model::{GroupId, SecurityGroup, Tags, VpcId},
    ops::{group, text, vpc},
};
use std::collections::BTreeSet;

impl Planner<'_> {
    /// Makes, changes and, where they are lacked, removes groups.
    pub(super) fn groups(&mut self, place: &Place<'_>, vpcs: &[types::Vpc]) -> Result<()> {
        for (vpc_item, (id, vpc)) in self.vpcs.clone().into_iter().zip(vpcs).enumerate() {
            let Some(written) = &vpc.groups else { continue };
            let vpc_place = place.item(vpc_item);
            let place = vpc_place.field("groups");
            let mut listed = BTreeSet::new();
            for (item, written) in written.iter().enumerate() {
                let place = place.item(item);
                let group = match self.present_group(&place, id, written)? {
                    Some(group) => group,
                    None => self.new_group(&place, id, written)?,
                };
                if !listed.insert(group) {
                    let message =
                        format!("The security group '{}' appears twice in the document", written.name);
                    return Err(place.field("name").refuse(Refusal::new("InvalidGroup.Duplicate", message)));
                }
                self.update_group(&place, group, written)?;
                self.groups.insert(group, (vpc_item, item));
            }
            if self.how.prune {
                let is_lacked = |group: &SecurityGroup| {
                    group.vpc == id && group.name != "default" && !listed.contains(&group.id)
                };
                self.state.groups.retain(|_, group| !is_lacked(group));
                let groups = &self.state.groups;
                self.state.rules.retain(|_, rule| groups.contains_key(&rule.group));
            }
        }
        Ok(())
    }

    /// The group that is meant, where there is one.
    fn present_group(
        &self,
        place: &Place<'_>,
        vpc: VpcId,
        written: &types::Group,
    ) -> Result<Option<GroupId>> {
        let by_id = match &written.id {
            Some(id) => place.field("id").check(id.parse::<GroupId>().map(Some).map_err(Into::into))?,
            None => None,
        };
        let Some(group) = by_id.and_then(|id| self.before.groups.get(&id)) else {
            return Ok(group::by_name(&self.state, vpc, &written.name));
        };
        if group.vpc != vpc {
            let message = format!("{} is a group of {}; a group stays in its VPC", group.id, group.vpc);
            return Err(place.field("id").invalid(message));
        }
        if !group.name.eq_ignore_ascii_case(written.name.trim_end_matches(' ')) {
            let message =
                format!("The name of {} is '{}', and names of groups are fixed", group.id, group.name);
            return Err(place.field("name").invalid(message));
        }
        Ok(Some(group.id))
    }

    fn new_group(&mut self, place: &Place<'_>, vpc: VpcId, written: &types::Group) -> Result<GroupId> {
        let name = place.field("name").check(text::group_name(&written.name))?;
        let description = written.description.as_deref().unwrap_or_default();
        let description = place.field("description").check(text::group_description(description))?;
        let id = match &written.id {
            Some(id) => place.field("id").check(id.parse().map_err(Into::into))?,
            None => GroupId::random(),
        };
        if self.state.groups.contains_key(&id) {
            let message = format!("The security group '{id}' appears twice in the document");
            return Err(place.field("id").refuse(Refusal::new("InvalidGroup.Duplicate", message)));
        }
        self.state.groups.insert(id, SecurityGroup { id, name, description, vpc, tags: Tags::new() });
        vpc::add_outbound_rules(&mut self.state, id);
        self.fresh.insert(id);
        Ok(id)
    }

    fn update_group(&mut self, place: &Place<'_>, id: GroupId, written: &types::Group) -> Result<()> {
        let Some(group) = self.state.groups.get(&id) else { return Ok(()) };
        let description = written.description.as_deref().unwrap_or(&group.description);
        if description.trim_end_matches(' ') != group.description {
            let message = format!(
                "The description of a group is fixed when it is made: that of '{}' is '{}'",
                group.name, group.description
            );
            return Err(place.field("description").invalid(message));
        }
        let tags = self.tags(&place.field("tags"), &group.tags, &written.tags)?;
        if let Some(group) = self.state.groups.get_mut(&id) {
            group.tags = tags;
        }
        Ok(())
    }
}
