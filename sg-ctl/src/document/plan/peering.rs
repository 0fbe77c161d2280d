//! Peerings of a document. What is written down is what stands; peerings that ended are history, and stay so.

use super::Planner;
use crate::{
    document::{names, place::Place, types},
    error::{Refusal, Result},
    model::{Peering, PeeringId, PeeringStatus, Tags, Vpc, VpcId},
    ops::{self, vpc},
};
use std::collections::BTreeSet;

impl Planner<'_> {
    /// Makes, accepts and, where they are lacked, ends peerings.
    pub(super) fn peerings(&mut self, place: &Place<'_>, written: &[types::Peering]) -> Result<()> {
        let mut listed = BTreeSet::new();
        for (n, written) in written.iter().enumerate() {
            let place = place.item(n);
            let requester =
                place.field("requester").check(names::find_vpc(&self.state, &written.requester))?;
            let accepter = place.field("accepter").check(names::find_vpc(&self.state, &written.accepter))?;
            let id = self.open_peering(&place, requester, accepter)?;
            if !listed.insert(id) {
                let message = "The two VPCs have a peering already, earlier in the document";
                return Err(place.refuse(Refusal::new("VpcPeeringConnectionAlreadyExists", message)));
            }
            self.update_peering(&place, id, written)?;
        }
        if self.prunes_all {
            let now = self.how.now;
            for peering in self.state.peerings.values_mut() {
                if ops::peering::is_open(peering) && !listed.contains(&peering.id) {
                    (peering.status, peering.since) = (PeeringStatus::Deleted, now);
                }
            }
        }
        Ok(())
    }

    /// The peering of the two that has not ended: the one there is, or a new request.
    fn open_peering(&mut self, place: &Place<'_>, requester: VpcId, accepter: VpcId) -> Result<PeeringId> {
        if requester == accepter {
            let message = format!("A VPC cannot be peered with itself, and both names mean {requester}");
            return Err(place.field("accepter").invalid(message));
        }
        let is_it = |peering: &&Peering| ops::peering::is_open(peering) && peering.joins(requester, accepter);
        if let Some(peering) = self.state.peerings.values().find(is_it) {
            if peering.requester == requester {
                return Ok(peering.id);
            }
            let message =
                format!("{} of these two was asked for by the other: {}", peering.id, peering.requester);
            return Err(place.field("requester").invalid(message));
        }
        let blocks = |id| self.state.vpcs.get(&id).map_or(&[][..], |vpc: &Vpc| &vpc.cidrs);
        if blocks(requester).iter().any(|one| blocks(accepter).iter().any(|other| vpc::overlap(one, other))) {
            let message = "The blocks of the two VPCs overlap: a peering between them fails";
            return Err(place.invalid(message));
        }
        let id = PeeringId::random();
        let status = PeeringStatus::PendingAcceptance;
        let since = self.how.now;
        self.state.peerings.insert(id, Peering { id, requester, accepter, status, since, tags: Tags::new() });
        Ok(id)
    }

    fn update_peering(&mut self, place: &Place<'_>, id: PeeringId, written: &types::Peering) -> Result<()> {
        let Some(present) = self.state.peerings.get(&id) else { return Ok(()) };
        let tags = self.tags(&place.field("tags"), &present.tags, &written.tags)?;
        let accepted = match (present.status, written.status) {
            (PeeringStatus::Active, types::PeeringStatus::PendingAcceptance) => {
                let message = format!("{id} is active, and cannot wait to be accepted again");
                return Err(place.field("status").refuse(Refusal::new("InvalidStateTransition", message)));
            }
            (PeeringStatus::PendingAcceptance, types::PeeringStatus::Active) => true,
            _ => false,
        };
        if let Some(peering) = self.state.peerings.get_mut(&id) {
            peering.tags = tags;
            if accepted {
                (peering.status, peering.since) = (PeeringStatus::Active, self.how.now);
            }
        }
        Ok(())
    }
}
