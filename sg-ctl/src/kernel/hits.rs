//! How often each rule of each interface admitted a new flow. The datapath counts by what rules look at, in a table that
//! forgets; here that is attributed to rules and added up, in a pinned map of userspace's own.

use super::host::Host;
use crate::{
    compile::admitting,
    error::Result,
    model::{RuleId, State},
    time::now,
};
use anyhow::Context;
use sg_common::hit::{Head, Hit, HitKey};
use std::{collections::BTreeMap, net::IpAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `RULE_HITS`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RuleKey {
    /// The number of the rule's id, the upper half first.
    rule: [u64; 2],
    /// Of the interface.
    slot: u64,
}

impl RuleKey {
    fn of(slot: u16, rule: RuleId) -> Self {
        Self { rule: [(rule.bits() >> 64) as u64, rule.bits() as u64], slot: slot.into() }
    }
}

/// Value of `RULE_HITS`: what a rule admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sum {
    /// New flows.
    pub count: u64,
    /// When they were added up last, in seconds since the epoch: no hit is later.
    pub last: u64,
}

/// Hits of rules, by the interface's slot.
pub type RuleHits = BTreeMap<(u16, RuleId), Sum>;

impl Host {
    /// Every rule's hits up to now.
    ///
    /// # Errors
    /// Where the kernel cannot be read.
    pub fn rule_hits(&self, state: &State) -> Result<RuleHits> {
        let mut counted = Vec::new();
        self.hits.for_each(|key, hit| counted.push((*key, *hit))).context("cannot read the hits")?;
        let mut hits = attributed(state, &counted);
        self.rule_hits.for_each(|key, sum| {
            let rule = RuleId::from_bits(u128::from(key.rule[0]) << 64 | u128::from(key.rule[1]));
            let hit = hits.entry((key.slot as u16, rule)).or_default();
            hit.count += sum.count;
            hit.last = hit.last.max(sum.last);
        })?;
        Ok(hits)
    }

    /// Adds up what was counted since the last time, by the rules that were in force: `state`. What the datapath counts for
    /// a far end while that is taken away may be lost.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn add_up_hits(&self, state: &State) -> Result<()> {
        let mut counted = Vec::new();
        self.hits.for_each(|key, hit| counted.push((*key, *hit))).context("cannot read the hits")?;
        let taken: Vec<HitKey> = counted.iter().map(|(key, _)| *key).collect();
        self.hits.remove_all(&taken)?;
        for ((slot, rule), mut sum) in attributed(state, &counted) {
            let key = RuleKey::of(slot, rule);
            sum.count += self.rule_hits.get(&key)?.unwrap_or_default().count;
            self.rule_hits.set(&key, &sum).context("cannot add up the hits")?;
        }
        Ok(())
    }

    /// Forgets those of an interface.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(super) fn forget_hits(&self, slot: u16) -> Result<()> {
        let (mut counted, mut sums) = (Vec::new(), Vec::new());
        self.hits.for_each(|key, _| {
            if Head::of(key.head).slot == slot {
                counted.push(*key);
            }
        })?;
        self.hits.remove_all(&counted)?;
        self.rule_hits.for_each(|key, _| {
            if key.slot == u64::from(slot) {
                sums.push(*key);
            }
        })?;
        Ok(self.rule_hits.remove_all(&sums)?)
    }
}

fn attributed(state: &State, counted: &[(HitKey, Hit)]) -> RuleHits {
    let interfaces: BTreeMap<u16, _> = state.attached().map(|(eni, how)| (how.slot, eni)).collect();
    let mut hits = RuleHits::new();
    let last = now();
    for (key, hit) in counted {
        let head = Head::of(key.head);
        let Some(eni) = interfaces.get(&head.slot) else { continue };
        let remote = (!head.is_open).then(|| far_end(&head, key));
        for rule in admitting(state, eni, &head, remote) {
            let sum = hits.entry((head.slot, rule)).or_default();
            *sum = Sum { count: sum.count + hit.count, last };
        }
    }
    hits
}

fn far_end(head: &Head, key: &HitKey) -> IpAddr {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&key.remote[0].to_ne_bytes());
    bytes[8..].copy_from_slice(&key.remote[1].to_ne_bytes());
    match head.is_v6 {
        true => bytes.into(),
        false => [bytes[0], bytes[1], bytes[2], bytes[3]].into(),
    }
}
