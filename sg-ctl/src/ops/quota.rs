//! Quotas: EC2's limits, shown and set (M-33 to M-43).

use crate::{
    error::{Refusal, Result},
    model::{Quota, Quotas, State},
};
use std::collections::BTreeMap;

/// Sets quotas, each given as `NAME=VALUE`: all of them or none. What is there beyond a lowered quota stays; nothing is
/// added to it.
pub fn set(state: &mut State, given: &[String]) -> Result<()> {
    let mut quotas = state.quotas.clone();
    for (quota, value) in read(given)? {
        match value == quota.default_value() {
            true => quotas.0.remove(&quota),
            false => quotas.0.insert(quota, value),
        };
    }
    check_product(&quotas)?;
    state.quotas = quotas;
    Ok(())
}

fn read(given: &[String]) -> Result<BTreeMap<Quota, u32>> {
    let mut read = BTreeMap::new();
    for text in given {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Refusal::invalid(format!("Quota '{text}' is not of the form NAME=VALUE")).into());
        };
        let quota: Quota = name.parse()?;
        if read.insert(quota, self::value(quota, value)?).is_some() {
            return Err(Refusal::invalid(format!("Quota '{quota}' is given twice")).into());
        }
    }
    Ok(read)
}

/// What a refusal says of a quota that is used up: how much it is, and the command that makes room for one more.
pub(super) fn how_to_raise(quota: Quota, limit: u32) -> String {
    format!("It is {limit}; 'sg-ctl quota {quota}={}' raises it", limit.saturating_add(1))
}

/// A value as typed, in the range of its quota.
pub(crate) fn value(quota: Quota, typed: &str) -> Result<u32> {
    let most = quota.most().unwrap_or(u32::MAX);
    typed.parse().ok().filter(|value| (1..=most).contains(value)).ok_or_else(|| {
        let message =
            format!("Value ({typed}) for {quota} is invalid. It must be a number from 1 to {most}.");
        Refusal::invalid(message).into()
    })
}

/// M-36: what one interface may have in all bounds the product of the other two.
fn check_product(quotas: &Quotas) -> Result<()> {
    let [rules, groups, most] =
        [Quota::RulesPerGroup, Quota::GroupsPerInterface, Quota::RulesPerInterface].map(|q| quotas.get(q));
    let product = u64::from(rules) * u64::from(groups);
    if product <= u64::from(most) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "{}={rules} times {}={groups} is {product}, more than {}={most}; lower one of the two, or raise the third in the \
         same command",
        Quota::RulesPerGroup,
        Quota::GroupsPerInterface,
        Quota::RulesPerInterface,
    ))
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{
        interface,
        rule::{self, Content},
        testing::{group, refused, state},
    };

    fn set_all(state: &mut State, given: &[&str]) -> Result<()> {
        set(state, &given.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn m36_the_product_is_checked_after_all_are_applied() {
        let (mut state, _) = state();
        assert_eq!(
            refused(set_all(&mut state, &["rules-per-group=201"])),
            "InvalidParameterValue: rules-per-group=201 times groups-per-interface=5 is 1005, more than \
             rules-per-interface=1000; lower one of the two, or raise the third in the same command"
        );
        set_all(&mut state, &["rules-per-group=200"]).unwrap();
        set_all(&mut state, &["groups-per-interface=16", "rules-per-group=62"]).unwrap();
        set_all(&mut state, &["rules-per-group=1000", "groups-per-interface=1"]).unwrap();
        set_all(
            &mut state,
            &["rules-per-group=1000", "groups-per-interface=16", "rules-per-interface=16000"],
        )
        .unwrap();
        let before = state.clone();
        assert!(refused(set_all(&mut state, &["rules-per-interface=15999"])).contains("is 16000, more than"));
        assert_eq!(state, before);
    }

    #[test]
    fn m35_m43_some_have_an_upper_end() {
        let (mut state, _) = state();
        let before = state.clone();
        for (given, expected) in [
            (
                &["groups-per-interface=17"][..],
                "Value (17) for groups-per-interface is invalid. It must be a number from 1 to 16.",
            ),
            (
                &["peerings-per-vpc=126"],
                "Value (126) for peerings-per-vpc is invalid. It must be a number from 1 to 125.",
            ),
            (&["vpcs=0"], "Value (0) for vpcs is invalid. It must be a number from 1 to 4294967295."),
            (&["vpcs=many"], "Value (many) for vpcs is invalid. It must be a number from 1 to 4294967295."),
            (&["vpcs"], "Quota 'vpcs' is not of the form NAME=VALUE"),
            (&["vpcs=6", "vpcs=7"], "Quota 'vpcs' is given twice"),
            // All or nothing.
            (
                &["vpcs=6", "peerings-per-vpc=0"],
                "Value (0) for peerings-per-vpc is invalid. It must be a number from 1 to 125.",
            ),
        ] {
            assert_eq!(refused(set_all(&mut state, given)), format!("InvalidParameterValue: {expected}"));
        }
        assert!(
            refused(set_all(&mut state, &["rules=1"])).contains("There is no quota 'rules'; there are: ")
        );
        assert_eq!(state, before);
        set_all(&mut state, &["groups-per-interface=16", "peerings-per-vpc=125"]).unwrap();
    }

    #[test]
    fn ec2s_own_value_is_the_same_as_none() {
        let (mut state, _) = state();
        let before = state.clone();
        set_all(&mut state, &["vpcs=6", "groups=1"]).unwrap();
        assert_ne!(state, before);
        set_all(&mut state, &["vpcs=5", "groups=2500"]).unwrap();
        assert_eq!(state, before);
    }

    #[test]
    fn m34_m35_raised_quotas_let_more_in_and_lowered_ones_leave_what_is_there() {
        let (mut state, _) = state();
        let names: Vec<String> = (0..6).map(|n| format!("g{n}")).collect();
        for name in &names {
            group(&mut state, name);
        }
        interface::tests::attached(&mut state, "eth0", None);
        let set_groups =
            |state: &mut State, groups: &[String]| interface::set_groups(state, None, "eth0", groups);
        assert!(set_groups(&mut state, &names).is_err());
        set_all(&mut state, &["groups-per-interface=6"]).unwrap();
        set_groups(&mut state, &names).unwrap();

        let add = |state: &mut State, n: u32| {
            rule::add(state, "g0", &Content::tcp("22").with_cidr(&format!("10.0.0.{n}/32")))
        };
        (0..60).for_each(|n| drop(add(&mut state, n).unwrap()));
        let full = |limit: u32| {
            format!(
                "RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group has been reached. \
                 It is {limit} for each direction and family; 'sg-ctl quota rules-per-group=N' raises it"
            )
        };
        assert_eq!(refused(add(&mut state, 60)), full(60));
        set_all(&mut state, &["rules-per-group=61"]).unwrap();
        add(&mut state, 60).unwrap();
        assert_eq!(refused(add(&mut state, 61)), full(61));

        let before = state.clone();
        set_all(&mut state, &["rules-per-group=2", "groups-per-interface=1"]).unwrap();
        assert_eq!((&state.rules, &state.interfaces), (&before.rules, &before.interfaces));
        assert_eq!(refused(add(&mut state, 61)), full(2));
        assert!(set_groups(&mut state, &names).is_err());
        set_groups(&mut state, &names[..1]).unwrap();
    }
}
