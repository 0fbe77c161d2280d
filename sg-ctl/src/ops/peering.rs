//! VPC peerings: asking, accepting, rejecting, deleting, and what time does to them (M-43, M-64 to M-66, A-31, A-74).
//!
//! Times are seconds since the Unix epoch. Both VPCs of a peering belong to the one account there is, so each command
//! may be given by either side, and an ended peering stays visible as long as it does to the side that sees it longer.

use super::vpc;
use crate::{
    error::{Refusal, Result},
    model::{Objects, Peering, PeeringId, PeeringStatus, Quota, State, Tags, Vpc, VpcId},
};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// How long a request waits to be accepted (M-43).
pub const REQUEST_SECONDS: u64 = 168 * HOUR;

/// How long a peering stays in a status before it is something else, or nothing (M-65).
fn lasts(status: PeeringStatus) -> Option<u64> {
    match status {
        PeeringStatus::Active => None,
        PeeringStatus::PendingAcceptance => Some(REQUEST_SECONDS),
        PeeringStatus::Failed => Some(2 * HOUR),
        PeeringStatus::Expired | PeeringStatus::Rejected | PeeringStatus::Deleted => Some(2 * DAY),
    }
}

/// Lets time pass: requests that nobody accepted expire, and ended peerings are forgotten.
pub fn let_time_pass(state: &mut State, now: u64) {
    let over = state.peerings.values().filter(|peering| is_over(peering, now));
    for id in over.map(|peering| peering.id).collect::<Vec<_>>() {
        let Some(peering) = state.peerings.get_mut(&id) else { continue };
        if peering.status == PeeringStatus::PendingAcceptance {
            peering.status = PeeringStatus::Expired;
            peering.since += REQUEST_SECONDS;
        }
        if is_over(peering, now) {
            state.peerings.remove(&id);
        }
    }
}

fn is_over(peering: &Peering, now: u64) -> bool {
    lasts(peering.status).is_some_and(|seconds| now >= peering.since.saturating_add(seconds))
}

/// Asks for a peering between two VPCs. Where their blocks overlap it has failed, and nothing can become of it (M-65).
pub fn create(state: &mut State, requester: &str, accepter: &str, now: u64) -> Result<Peering> {
    let [requester, accepter] = [vpc::find(state, Some(requester))?, vpc::find(state, Some(accepter))?];
    if requester == accepter {
        let message = format!("A VPC cannot be peered with itself, and both names mean {requester}");
        return Err(Refusal::invalid(message).into());
    }
    let is_it = |peering: &&Peering| is_open(peering) && peering.joins(requester, accepter);
    if let Some(peering) = state.peerings.values().find(is_it) {
        let message = format!(
            "{requester} and {accepter} have {} already, which is {}",
            peering.id,
            peering.status.code()
        );
        return Err(Refusal::new("VpcPeeringConnectionAlreadyExists", message).into());
    }
    let blocks = |vpc| state.vpcs.get(&vpc).map_or(&[][..], |vpc: &Vpc| &vpc.cidrs);
    let overlaps =
        blocks(requester).iter().any(|one| blocks(accepter).iter().any(|other| vpc::overlap(one, other)));
    let status = if overlaps { PeeringStatus::Failed } else { PeeringStatus::PendingAcceptance };
    let asked = |peering: &&Peering| {
        peering.requester == requester && peering.status == PeeringStatus::PendingAcceptance
    };
    let outstanding = state.peerings.values().filter(asked).count();
    if !overlaps && outstanding >= state.quotas.get(Quota::PeeringRequestsPerVpc) as usize {
        let message = format!(
            "{requester} has {outstanding} peering requests that nobody has accepted; accept or delete some, or raise \
             the quota {}",
            Quota::PeeringRequestsPerVpc
        );
        return Err(Refusal::new("OutstandingVpcPeeringConnectionLimitExceeded", message).into());
    }
    let id = PeeringId::random();
    let peering = Peering { id, requester, accepter, status, since: now, tags: Tags::new() };
    state.peerings.insert(id, peering.clone());
    Ok(peering)
}

/// Whether it has not ended: it is active, or may become so.
#[must_use]
pub fn is_open(peering: &Peering) -> bool {
    matches!(peering.status, PeeringStatus::Active | PeeringStatus::PendingAcceptance)
}

/// Ends the peerings of a VPC that goes, and takes its requests back.
pub(crate) fn end_all_of(peerings: &mut Objects<PeeringId, Peering>, vpc: VpcId, now: u64) {
    let is_of =
        |peering: &&mut Peering| is_open(peering) && [peering.requester, peering.accepter].contains(&vpc);
    for peering in peerings.values_mut().filter(is_of) {
        (peering.status, peering.since) = (PeeringStatus::Deleted, now);
    }
}

/// Accepts a request: from here on rules of either VPC may name groups of the other.
pub fn accept(state: &mut State, given: &str, now: u64) -> Result<PeeringId> {
    let peering = find(state, given)?;
    require(peering, &[PeeringStatus::PendingAcceptance], "accepted")?;
    for vpc in [peering.requester, peering.accepter] {
        refuse_beyond_quota(state, vpc)?;
    }
    Ok(turn(state, peering.id, PeeringStatus::Active, now))
}

/// Refuses a request.
pub fn reject(state: &mut State, given: &str, now: u64) -> Result<PeeringId> {
    let peering = find(state, given)?;
    require(peering, &[PeeringStatus::PendingAcceptance], "rejected")?;
    Ok(turn(state, peering.id, PeeringStatus::Rejected, now))
}

/// Ends a peering, or takes a request back. Rules across it turn stale (M-68).
pub fn delete(state: &mut State, given: &str, now: u64) -> Result<PeeringId> {
    let peering = find(state, given)?;
    require(peering, &[PeeringStatus::Active, PeeringStatus::PendingAcceptance], "deleted")?;
    Ok(turn(state, peering.id, PeeringStatus::Deleted, now))
}

/// Peerings, those that can be used or accepted first, the newest first among equals.
#[must_use]
pub fn list(state: &State) -> Vec<PeeringId> {
    let mut peerings: Vec<&Peering> = state.peerings.values().collect();
    peerings.sort_by_key(|peering| {
        let rank = match peering.status {
            PeeringStatus::Active => 0,
            PeeringStatus::PendingAcceptance => 1,
            _ => 2,
        };
        (rank, std::cmp::Reverse(peering.since), peering.id)
    });
    peerings.into_iter().map(|peering| peering.id).collect()
}

/// The peering that says where two VPCs stand: the active one, else the one that came to its end last (M-72).
#[must_use]
pub fn between(state: &State, one: VpcId, other: VpcId) -> Option<&Peering> {
    let joining = state.peerings.values().filter(|peering| peering.joins(one, other));
    joining.max_by_key(|peering| (peering.status == PeeringStatus::Active, peering.since))
}

fn find<'a>(state: &'a State, given: &str) -> Result<&'a Peering> {
    let id: PeeringId = given.parse()?;
    state.peerings.get(&id).ok_or_else(|| {
        let message = format!("The vpcPeeringConnection ID '{id}' does not exist");
        Refusal::new("InvalidVpcPeeringConnectionID.NotFound", message).into()
    })
}

fn require(peering: &Peering, allowed: &[PeeringStatus], done: &str) -> Result<()> {
    if allowed.contains(&peering.status) {
        return Ok(());
    }
    let allowed: Vec<&str> = allowed.iter().map(|status| status.code()).collect();
    let message = format!(
        "VpcPeeringConnectionID {} is {}; one that is {} can be {done}",
        peering.id,
        peering.status.code(),
        allowed.join(" or ")
    );
    Err(Refusal::new("InvalidStateTransition", message).into())
}

fn refuse_beyond_quota(state: &State, vpc: VpcId) -> Result<()> {
    let is_active = |peering: &&Peering| {
        peering.status == PeeringStatus::Active && [peering.requester, peering.accepter].contains(&vpc)
    };
    let active = state.peerings.values().filter(is_active).count();
    if active < state.quotas.get(Quota::PeeringsPerVpc) as usize {
        return Ok(());
    }
    let message = format!(
        "{vpc} has {active} active peerings; delete some, or raise the quota {}",
        Quota::PeeringsPerVpc
    );
    Err(Refusal::new("ActiveVpcPeeringConnectionPerVpcLimitExceeded", message).into())
}

fn turn(state: &mut State, id: PeeringId, status: PeeringStatus, now: u64) -> PeeringId {
    if let Some(peering) = state.peerings.get_mut(&id) {
        (peering.status, peering.since) = (status, now);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{refusal, refused, state};

    /// VPCs of these names, without blocks.
    fn with_vpcs(names: &[&str]) -> State {
        let (mut state, _) = state();
        state.quotas.0.insert(Quota::Vpcs, 1_000);
        for name in names {
            vpc::create(&mut state, name, &[]).unwrap();
        }
        state
    }

    fn asked(state: &mut State, one: &str, other: &str, now: u64) -> String {
        create(state, one, other, now).unwrap().id.to_string()
    }

    fn status(state: &State, id: &str) -> Option<&'static str> {
        state.peerings.get(&id.parse().unwrap()).map(|peering| peering.status.code())
    }

    #[test]
    fn m64_a31_what_a_peering_goes_through() {
        let mut state = with_vpcs(&["a", "b", "c"]);
        let first = asked(&mut state, "a", "b", 0);
        assert_eq!(status(&state, &first), Some("pending-acceptance"));
        accept(&mut state, &first, 1).unwrap();
        assert_eq!(status(&state, &first), Some("active"));
        assert_eq!(
            refused(accept(&mut state, &first, 2)),
            format!(
                "InvalidStateTransition: VpcPeeringConnectionID {first} is active; one that is pending-acceptance can be \
                 accepted"
            )
        );
        assert_eq!(refusal(reject(&mut state, &first, 2)).code, "InvalidStateTransition");
        delete(&mut state, &first, 3).unwrap();
        assert_eq!(status(&state, &first), Some("deleted"));

        let second = asked(&mut state, "b", "c", 0);
        reject(&mut state, &second, 1).unwrap();
        assert_eq!(status(&state, &second), Some("rejected"));
        let third = asked(&mut state, "a", "c", 0);
        delete(&mut state, &third, 1).unwrap();
        assert_eq!(status(&state, &third), Some("deleted"));
        for ended in [&first, &second, &third] {
            let before = state.clone();
            for refused in [
                refusal(accept(&mut state, ended, 4)),
                refusal(reject(&mut state, ended, 4)),
                refusal(delete(&mut state, ended, 4)),
            ] {
                assert_eq!(refused.code, "InvalidStateTransition");
            }
            assert_eq!(state, before);
        }
    }

    #[test]
    fn m66_one_peering_for_each_pair() {
        let mut state = with_vpcs(&["a", "b"]);
        let first = asked(&mut state, "a", "b", 0);
        for (one, other) in [("a", "b"), ("b", "a")] {
            let refused = refusal(create(&mut state, one, other, 0));
            assert_eq!(refused.code, "VpcPeeringConnectionAlreadyExists");
            assert!(refused.message.ends_with(&format!("have {first} already, which is pending-acceptance")));
        }
        accept(&mut state, &first, 0).unwrap();
        assert_eq!(refusal(create(&mut state, "b", "a", 0)).code, "VpcPeeringConnectionAlreadyExists");
        // One that has ended is in nobody's way.
        delete(&mut state, &first, 0).unwrap();
        asked(&mut state, "b", "a", 0);
        assert_eq!(refusal(create(&mut state, "a", "a", 0)).code, "InvalidParameterValue");
    }

    #[test]
    fn m66_peering_is_not_transitive() {
        let mut state = with_vpcs(&["a", "b", "c"]);
        for (one, other) in [("a", "b"), ("b", "c")] {
            let id = asked(&mut state, one, other, 0);
            accept(&mut state, &id, 0).unwrap();
        }
        let [a, b, c] = ["a", "b", "c"].map(|name| vpc::find(&state, Some(name)).unwrap());
        assert!(state.may_reference(a, b) && state.may_reference(c, b) && !state.may_reference(a, c));
    }

    #[test]
    fn m65_overlapping_blocks_fail() {
        let mut state = with_vpcs(&["none"]);
        for (name, cidrs) in [
            ("wide", &["10.0.0.0/16", "fd00::/48"][..]),
            ("narrow", &["192.168.0.0/24", "10.0.3.0/24"]),
            ("six", &["172.16.0.0/16", "fd00:0:0:1::/64"]),
            ("apart", &["172.17.0.0/16"]),
        ] {
            let cidrs: Vec<_> = cidrs.iter().map(ToString::to_string).collect();
            vpc::create(&mut state, name, &cidrs).unwrap();
        }
        for (one, other, expected) in [
            ("wide", "narrow", "failed"),
            ("narrow", "wide", "failed"),
            ("wide", "six", "failed"),
            ("wide", "apart", "pending-acceptance"),
            ("wide", "none", "pending-acceptance"),
        ] {
            let id = asked(&mut state, one, other, 0);
            assert_eq!(status(&state, &id), Some(expected), "{one} {other}");
        }
    }

    #[test]
    fn m43_m65_time_passes() {
        let mut state = with_vpcs(&["a", "b", "c", "d", "e", "f"]);
        let cidr = ["10.0.0.0/16".to_owned()];
        for name in ["g", "h"] {
            vpc::create(&mut state, name, &cidr).unwrap();
        }
        let pending = asked(&mut state, "a", "b", 1_000);
        let active = asked(&mut state, "a", "c", 1_000);
        accept(&mut state, &active, 1_000).unwrap();
        let deleted = asked(&mut state, "a", "d", 1_000);
        delete(&mut state, &deleted, 1_000).unwrap();
        let rejected = asked(&mut state, "a", "e", 1_000);
        reject(&mut state, &rejected, 1_000).unwrap();
        let failed = asked(&mut state, "g", "h", 1_000);
        let at = |seconds: u64| {
            let mut state = state.clone();
            let_time_pass(&mut state, 1_000 + seconds);
            [&pending, &active, &deleted, &rejected, &failed].map(|id| status(&state, id).unwrap_or("-"))
        };
        let all = ["pending-acceptance", "active", "deleted", "rejected", "failed"];
        assert_eq!(at(2 * HOUR - 1), all);
        assert_eq!(at(2 * HOUR), ["pending-acceptance", "active", "deleted", "rejected", "-"]);
        assert_eq!(at(2 * DAY - 1), ["pending-acceptance", "active", "deleted", "rejected", "-"]);
        assert_eq!(at(2 * DAY), ["pending-acceptance", "active", "-", "-", "-"]);
        assert_eq!(at(7 * DAY - 1), ["pending-acceptance", "active", "-", "-", "-"]);
        assert_eq!(at(7 * DAY), ["expired", "active", "-", "-", "-"]);
        // It counts from when it expired, not from when somebody looked.
        assert_eq!(at(9 * DAY - 1), ["expired", "active", "-", "-", "-"]);
        assert_eq!(at(9 * DAY), ["-", "active", "-", "-", "-"]);
        // A clock that was set back ends nothing.
        let before = state.clone();
        let_time_pass(&mut state, 0);
        assert_eq!(state, before);
        let_time_pass(&mut state, 1_000 + 7 * DAY);
        assert_eq!(refusal(accept(&mut state, &pending, 1_000 + 7 * DAY)).code, "InvalidStateTransition");
    }

    #[test]
    fn m43_active_peerings_and_outstanding_requests_have_quotas() {
        let names: Vec<String> = (0..51).map(|n| format!("v{n}")).collect();
        let mut state = with_vpcs(&names.iter().map(String::as_str).collect::<Vec<_>>());
        vpc::create(&mut state, "hub", &[]).unwrap();
        let requests: Vec<_> = names[..25].iter().map(|name| asked(&mut state, "hub", name, 0)).collect();
        let refused = refusal(create(&mut state, "hub", "v25", 0));
        assert_eq!(refused.code, "OutstandingVpcPeeringConnectionLimitExceeded");
        // Being asked is not asking.
        let asked_for = asked(&mut state, "v25", "hub", 0);
        for id in requests.iter().chain([&asked_for]) {
            accept(&mut state, id, 0).unwrap();
        }
        for name in &names[26..50] {
            let id = asked(&mut state, name, "hub", 0);
            accept(&mut state, &id, 0).unwrap();
        }
        let last = asked(&mut state, "hub", "v50", 0);
        let refused = refusal(accept(&mut state, &last, 0));
        assert_eq!(refused.code, "ActiveVpcPeeringConnectionPerVpcLimitExceeded");
        assert!(refused.message.contains("has 50 active peerings"), "{}", refused.message);
        state.quotas.0.insert(Quota::PeeringsPerVpc, 51);
        accept(&mut state, &last, 0).unwrap();
    }

    #[test]
    fn a74_unknown_and_malformed_ids() {
        let mut state = with_vpcs(&["a"]);
        assert_eq!(
            refused(accept(&mut state, "pcx-12345678", 0)),
            "InvalidVpcPeeringConnectionID.NotFound: The vpcPeeringConnection ID 'pcx-12345678' does not exist"
        );
        assert_eq!(refusal(delete(&mut state, "pcx-x", 0)).code, "InvalidVpcPeeringConnectionId.Malformed");
        assert_eq!(refusal(create(&mut state, "a", "vpc-12345678", 0)).code, "InvalidVpcID.NotFound");
    }
}
