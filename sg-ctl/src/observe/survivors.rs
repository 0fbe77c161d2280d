//! `--report`: the tracked flows that outlive the rules which went (T-32).

use super::conntrack;
use crate::{
    compile::{Family, Image, InterfacePolicy, Table, admits_flow, admitted_by, compile},
    context::Context,
    error::Result,
    kernel::Host,
    model::{Attachment, Direction, Interface, Rule, State},
};
use sg_common::{
    flow::{Flow, KeyHead},
    track::{self, Clock, Timeouts},
};
use std::{collections::HashMap, net::IpAddr};

/// Counts the live flows that rules which are `gone` admitted and no rule of `state` admits any more. They must all have
/// been of one group.
///
/// # Errors
/// Where the kernel cannot be read.
pub fn surviving_flows(ctx: &Context, state: &State, gone: &[Rule]) -> Result<u64> {
    let Some(host) = Host::open(&ctx.bpffs)? else { return Ok(0) };
    let (now, hz) = host.now()?;
    let clock = Clock { now, hz, second_shift: 0 };
    let image = compile(state);
    let carriers: HashMap<u16, Carrier<'_>> = state
        .attached()
        .filter(|(eni, _)| gone.iter().any(|rule| eni.groups.contains(&rule.group)))
        .filter_map(|(eni, attachment)| {
            Some((attachment.slot, Carrier::new(state, &image, gone, eni, attachment)?))
        })
        .collect();
    let mut survivors = 0;
    conntrack::for_each(&host, |head, _, remote, flow| {
        let Some(carrier) = carriers.get(&head.slot) else { return };
        if track::is_live(flow, head, &carrier.timeouts, &clock) && carrier.lost(head, remote, flow) {
            survivors += 1;
        }
    })?;
    Ok(survivors)
}

/// An interface that carried the rules.
struct Carrier<'a> {
    timeouts: Timeouts,
    /// `[family][direction]`: what the rules that are gone admitted.
    gone: [[Table; 2]; 2],
    /// What is in force, and for this interface.
    image: &'a Image,
    present: &'a InterfacePolicy,
}

impl<'a> Carrier<'a> {
    fn new(
        state: &State,
        image: &'a Image,
        gone: &[Rule],
        eni: &Interface,
        attachment: &Attachment,
    ) -> Option<Self> {
        let rules: Vec<&Rule> = gone.iter().collect();
        let table = |family, direction| admitted_by(state, eni.vpc, &rules, direction, family);
        Some(Self {
            timeouts: attachment.timeouts.in_force().into(),
            gone: Family::BOTH.map(|family| Direction::BOTH.map(|direction| table(family, direction))),
            image,
            present: image.policies.get(&attachment.slot)?,
        })
    }

    /// Whether the flow could begin before and could not now.
    fn lost(&self, head: &KeyHead, remote: IpAddr, flow: &Flow) -> bool {
        !self.present.admits_flow(self.image, head, remote, flow)
            && admits_flow(&self.gone, head, remote, flow)
    }
}
