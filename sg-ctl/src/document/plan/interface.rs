//! Interfaces of a document: the groups of attached ones, and members that are enforced elsewhere.

use super::Planner;
use crate::{
    document::{place::Place, types},
    error::{Refusal, Result},
    model::{EniId, GroupId, Interface, Tags, TimeoutSettings, VpcId},
    ops::{
        interface::{self, GivenTimeouts},
        register,
    },
};
use std::{collections::BTreeSet, net::IpAddr};

impl Planner<'_> {
    /// Changes interfaces, registers members, and forgets the registered ones that are lacked. Nothing is attached or
    /// detached by a document.
    pub(super) fn interfaces(&mut self, place: &Place<'_>, vpcs: &[types::Vpc]) -> Result<()> {
        // What goes, goes first: another may come by its name.
        if self.how.prune {
            for (vpc, written) in self.vpcs.iter().zip(vpcs) {
                let Some(written) = &written.interfaces else { continue };
                let listed: BTreeSet<EniId> =
                    written.iter().filter_map(|written| self.present_interface(written)).collect();
                self.state
                    .interfaces
                    .retain(|id, eni| eni.vpc != *vpc || !eni.is_registered() || listed.contains(id));
            }
        }
        for (vpc_item, (vpc, written)) in self.vpcs.clone().into_iter().zip(vpcs).enumerate() {
            let vpc_place = place.item(vpc_item);
            let place = vpc_place.field("interfaces");
            for (item, written) in written.interfaces.iter().flatten().enumerate() {
                let place = place.item(item);
                let id = match self.present_interface(written) {
                    Some(id) => id,
                    None => self.register(&place, vpc, written)?,
                };
                if self.interfaces.insert(id, (vpc_item, item)).is_some() {
                    let message = format!("The interface '{}' appears twice in the document", written.name);
                    return Err(place.field("name").invalid(message));
                }
                self.update_interface(&place, id, vpc, written)?;
            }
        }
        Ok(())
    }

    /// The interface of that name: in the namespace written, else in that of `--netns`, else in the caller's.
    fn present_interface(&self, written: &types::Interface) -> Option<EniId> {
        let find = |netns| interface::by_name(&self.state, netns, &written.name);
        match written.netns.as_deref() {
            Some(netns) => find(Some(netns)),
            // One that is enforced elsewhere has no namespace here.
            None => find(self.how.netns).or_else(|| find(None)),
        }
    }

    /// A new member. Its groups and addresses follow.
    fn register(&mut self, place: &Place<'_>, vpc: VpcId, written: &types::Interface) -> Result<EniId> {
        let name = &written.name;
        if !written.registered {
            let message = format!(
                "The networkInterface ID '{name}' does not exist; 'sg-ctl attach {name}' makes it known, and 'registered: \
                 true' with its addresses is for one that is enforced elsewhere"
            );
            return Err(place
                .field("name")
                .refuse(Refusal::new("InvalidNetworkInterfaceID.NotFound", message)));
        }
        if written.netns.is_some() {
            let message = "A registered interface is in no network namespace of this host";
            return Err(place.field("netns").invalid(message));
        }
        if written.addresses.is_none() {
            let message = "A registered interface needs 'addresses'";
            return Err(place.refuse(Refusal::new("MissingParameter", message)));
        }
        place.field("name").check(register::read_name(name))?;
        place.field("name").check(register::refuse_if_known(&self.state, name))?;
        let groups = place.check(interface::resolve_groups(&self.state, vpc, &[]))?;
        let id = EniId::random();
        let eni = Interface {
            id,
            name: name.clone(),
            netns: None,
            vpc,
            groups,
            addresses: Vec::new(),
            tags: Tags::new(),
            attachment: None,
        };
        self.state.interfaces.insert(id, eni);
        Ok(id)
    }

    fn update_interface(
        &mut self,
        place: &Place<'_>,
        id: EniId,
        vpc: VpcId,
        written: &types::Interface,
    ) -> Result<()> {
        let Some(mut eni) = self.state.interfaces.get(&id).cloned() else { return Ok(()) };
        if eni.vpc != vpc {
            let message = format!("{id} is in {}, and an interface stays in its VPC", eni.vpc);
            return Err(place.field("name").invalid(message));
        }
        if written.registered != eni.is_registered() {
            let (is, next) = match eni.is_registered() {
                true => ("is registered as a member only", "write 'registered: true', or deregister it"),
                false => ("is attached on this host", "leave 'registered' out, or detach it"),
            };
            let message = format!("{} {is}; {next}", eni.name);
            return Err(place.field("registered").refuse(Refusal::new("IncorrectState", message)));
        }
        eni.tags = self.tags(&place.field("tags"), &eni.tags, &written.tags)?;
        if let Some(groups) = &written.groups {
            eni.groups = self.groups_of(&place.field("groups"), &eni, groups)?;
        }
        match (&written.addresses, eni.is_registered()) {
            (Some(addresses), true) => eni.addresses = read_addresses(&place.field("addresses"), addresses)?,
            (Some(_), false) => {
                let message = "The addresses of an attached interface are those that it has";
                return Err(place.field("addresses").invalid(message));
            }
            (None, _) => {}
        }
        self.state.interfaces.insert(id, eni);
        self.set_timeouts(&place.field("timeouts"), id, &written.timeouts)
    }

    /// The groups that an interface is to carry. A quota that was lowered leaves alone what is there.
    fn groups_of(&self, place: &Place<'_>, eni: &Interface, written: &[String]) -> Result<Vec<GroupId>> {
        if written.is_empty() {
            let message = "An interface carries at least one group";
            return Err(place.refuse(Refusal::new("MissingParameter", message)));
        }
        let mut groups = Vec::new();
        for (n, group) in written.iter().enumerate() {
            let found = place.item(n).check(interface::resolve_groups(
                &self.state,
                eni.vpc,
                std::slice::from_ref(group),
            ))?;
            for id in found {
                if !groups.contains(&id) {
                    groups.push(id);
                }
            }
        }
        if groups != eni.groups {
            place.check(interface::resolve_groups(&self.state, eni.vpc, written))?;
        }
        Ok(groups)
    }

    fn set_timeouts(&mut self, place: &Place<'_>, id: EniId, written: &types::Timeouts) -> Result<()> {
        let attachment = self.state.interfaces.get_mut(&id).and_then(|eni| eni.attachment.as_mut());
        if let Some(attachment) = attachment.filter(|_| self.how.prune) {
            attachment.timeouts = TimeoutSettings::default();
        }
        let text = |seconds: u32| Some(seconds.to_string());
        let none = GivenTimeouts::default;
        let given = [
            written
                .tcp_established
                .map(|s| ("tcp-established", GivenTimeouts { tcp_established: text(s), ..none() })),
            written.udp.map(|s| ("udp", GivenTimeouts { udp: text(s), ..none() })),
            written.udp_stream.map(|s| ("udp-stream", GivenTimeouts { udp_stream: text(s), ..none() })),
        ];
        for (field, given) in given.into_iter().flatten() {
            let set = interface::set_timeouts(&mut self.state, None, &id.to_string(), &given);
            place.field(field).check(set)?;
        }
        Ok(())
    }
}

fn read_addresses(place: &Place<'_>, written: &[String]) -> Result<Vec<IpAddr>> {
    if written.is_empty() {
        let message = "A registered interface has at least one address";
        return Err(place.refuse(Refusal::new("MissingParameter", message)));
    }
    for (n, address) in written.iter().enumerate() {
        place.item(n).check(register::addresses(std::slice::from_ref(address)))?;
    }
    place.check(register::addresses(written))
}
