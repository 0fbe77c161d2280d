//! Addresses that interfaces do not have any more: whoever has one next is another host, and must not live on in the
//! flows of the one before.

use crate::model::{EniId, Lost, PeeringStatus, State, VpcId};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What interfaces had in `before` and do not have in `after`: addresses that were taken from them, all of those that are
/// gone. An address that two interfaces had is lost by the one that has it no more.
#[must_use]
pub fn lost(before: &State, after: &State) -> BTreeMap<EniId, Lost> {
    let changes = after.interfaces.changes_from(&before.interfaces);
    let lost = changes.into_iter().filter_map(|(_, was, is)| {
        let eni = was?;
        let kept = is.map_or(&[][..], |eni| &eni.addresses);
        let addresses: Vec<IpAddr> =
            eni.addresses.iter().filter(|address| !kept.contains(address)).copied().collect();
        (!addresses.is_empty()).then_some((eni.id, Lost { vpc: eni.vpc, addresses }))
    });
    lost.collect()
}

/// The same with what `before` had released itself, where that has not been in force yet and its flows go on.
#[must_use]
pub fn still_lost(before: &State, after: &State) -> BTreeMap<EniId, Lost> {
    let mut all = before.released.clone();
    for (id, Lost { vpc, addresses }) in lost(before, after) {
        all.entry(id).or_insert(Lost { vpc, addresses: Vec::new() }).addresses.extend(addresses);
    }
    all
}

/// By slot, the addresses whose flows end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    slots: BTreeMap<u16, Ends>,
}

/// Addresses that one interface's flows may not go on with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ends {
    local: BTreeSet<IpAddr>,
    remote: BTreeSet<IpAddr>,
}

impl Released {
    /// What the state's change released, as each attached interface knows it: its own addresses, and those of interfaces
    /// that it may have met as members of a group, in its VPC or behind a peering. Other VPCs may use the same addresses
    /// for hosts of their own.
    #[must_use]
    pub fn of(state: &State) -> Self {
        if state.released.is_empty() {
            return Self::default();
        }
        let slots = state.attached().filter_map(|(eni, how)| {
            let of = |id| state.released.get(id).map_or(&[][..], |lost: &Lost| &lost.addresses);
            let others = state
                .released
                .iter()
                .filter(|(id, lost)| **id != eni.id && may_meet(state, eni.vpc, lost.vpc));
            let ends = Ends {
                local: of(&eni.id).iter().copied().collect(),
                remote: others.flat_map(|(_, lost)| lost.addresses.iter().copied()).collect(),
            };
            (ends != Ends::default()).then_some((how.slot, ends))
        });
        Self { slots: slots.collect() }
    }

    /// Whether no flow ends.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether flows of an interface from this address of its own end.
    #[must_use]
    pub fn ends_from(&self, slot: u16, local: IpAddr) -> bool {
        self.slots.get(&slot).is_some_and(|ends| ends.local.contains(&local))
    }

    /// Whether flows of an interface with this remote address end, but for those that the rules admit whoever has it.
    #[must_use]
    pub fn ends_to(&self, slot: u16, remote: IpAddr) -> bool {
        self.slots.get(&slot).is_some_and(|ends| ends.remote.contains(&remote))
    }
}

/// Whether rules of one VPC name groups of the other, or did while the peering lasted: a tracked flow outlives it.
fn may_meet(state: &State, one: VpcId, other: VpcId) -> bool {
    let was_active = |status| matches!(status, PeeringStatus::Active | PeeringStatus::Deleted);
    let joined = |(from, to)| state.peerings.values().any(|p| p.joins(from, to) && was_active(p.status));
    one == other || joined((one, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::{Change, compile},
        ops::{
            interface::{self, tests::attached_in},
            peering,
            register::{Register, deregister, register},
            testing::state,
            vpc,
        },
    };

    fn member(state: &mut State, vpc: VpcId, name: &str, address: &str) -> EniId {
        let vpc = Some(vpc.to_string());
        let (name, addresses) = (name.to_owned(), vec![address.to_owned()]);
        register(state, &Register { name, addresses, groups: vec!["default".to_owned()], vpc }).unwrap()
    }

    /// What `change` releases.
    fn released(state: &mut State, change: impl FnOnce(&mut State)) -> Released {
        let before = state.clone();
        change(state);
        state.released = lost(&before, state);
        Released::of(state)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn t32_a_change_of_groups_or_rules_releases_nothing() {
        let (mut state, vpc) = state();
        attached_in(&mut state, vpc, "eth0");
        member(&mut state, vpc, "db", "10.0.0.5");
        let released = released(&mut state, |state| {
            state.rules.clear();
            interface::set_groups(state, None, "db", &["default".to_owned()]).unwrap();
        });
        assert!(released.is_empty());
    }

    #[test]
    fn p17_an_address_ends_flows_when_its_owner_goes_and_when_it_moves() {
        let (mut state, vpc) = state();
        let eth0 = attached_in(&mut state, vpc, "eth0");
        member(&mut state, vpc, "db", "10.0.0.5");
        let gone = released(&mut state, |state| {
            deregister(state, None, "db").unwrap();
        });
        assert!(gone.ends_to(0, ip("10.0.0.5")));
        assert!(!gone.ends_to(0, ip("10.0.0.6")) && !gone.ends_to(1, ip("10.0.0.5")));
        // The next change has released nothing, whoever has the address now.
        let next = released(&mut state, |state| {
            member(state, vpc, "db2", "10.0.0.5");
        });
        assert!(next.is_empty());
        // The interface's own.
        let own = released(&mut state, |state| {
            state.interfaces.get_mut(&eth0).unwrap().addresses.retain(IpAddr::is_ipv6);
        });
        assert!(own.ends_from(0, ip("10.0.0.1")) && !own.ends_from(0, ip("2001:db8::1")));
        let moved = released(&mut state, |state| {
            for eni in state.interfaces.values_mut().filter(|eni| eni.is_registered()) {
                eni.addresses = vec![ip("10.0.0.7")];
            }
            member(state, vpc, "db3", "10.0.0.5");
        });
        assert!(moved.ends_to(0, ip("10.0.0.5")) && !moved.ends_to(0, ip("10.0.0.7")));
    }

    #[test]
    fn p17_an_address_that_changes_hands_twice_ends_flows_each_time() {
        let (mut state, vpc) = state();
        attached_in(&mut state, vpc, "eth0");
        member(&mut state, vpc, "db1", "10.0.0.5");
        // As of a document: one change takes the address from one and gives it to the next.
        released(&mut state, |state| {
            deregister(state, None, "db1").unwrap();
            member(state, vpc, "db2", "10.0.0.5");
        });
        let first = compile(&state);
        assert!(first.released.ends_to(0, ip("10.0.0.5")));
        // eth0 has no rule that names them, and is judged as before.
        state.rules.clear();
        let before = compile(&state);
        released(&mut state, |state| {
            deregister(state, None, "db2").unwrap();
        });
        let after = compile(&state);
        assert_eq!(before.policies, after.policies);
        assert!(!Change::between(before, after.clone()).is_nothing(), "flows of db2 end as well");
        // What a change released is done with when it is in force.
        let before = after;
        released(&mut state, |_| {});
        assert!(Change::between(before, compile(&state)).is_nothing());
    }

    #[test]
    fn p17_what_was_released_and_is_not_in_force_yet_is_owed_by_the_next_change() {
        let (mut state, vpc) = state();
        attached_in(&mut state, vpc, "eth0");
        let twice = member(&mut state, vpc, "db", "10.0.0.5");
        member(&mut state, vpc, "web", "10.0.0.7");
        released(&mut state, |state| {
            state.interfaces.get_mut(&twice).unwrap().addresses = vec![ip("10.0.0.6")]
        });
        let before = state.clone();
        for name in ["db", "web"] {
            deregister(&mut state, None, name).unwrap();
        }
        state.released = still_lost(&before, &state);
        let owed = Released::of(&state);
        for remote in ["10.0.0.5", "10.0.0.6", "10.0.0.7"] {
            assert!(owed.ends_to(0, ip(remote)), "{remote}");
        }
    }

    #[test]
    fn m66_another_vpc_has_hosts_of_its_own_on_the_same_addresses() {
        let (mut state, vpc) = state();
        attached_in(&mut state, vpc, "eth0");
        let far = vpc::create(&mut state, "far", &[]).unwrap();
        member(&mut state, far, "db", "10.0.0.5");
        let gone = |state: &State| {
            released(&mut state.clone(), |state| {
                deregister(state, None, "db").unwrap();
            })
            .ends_to(0, ip("10.0.0.5"))
        };
        assert!(!gone(&state));
        let pcx = peering::create(&mut state, &vpc.to_string(), "far", 0).unwrap().id.to_string();
        assert!(!gone(&state));
        peering::accept(&mut state, &pcx, 0).unwrap();
        assert!(gone(&state));
        // What was tracked outlives the peering, and so ends with the address still.
        peering::delete(&mut state, &pcx, 0).unwrap();
        assert!(gone(&state));
    }
}
