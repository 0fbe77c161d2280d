//! What is sampled: one look at counters and flow tables, and what came since the one before.

use super::flows::{FlowLook, Load, Service};
use crate::{
    context::Context,
    error::Result,
    observe::{self, Counters, InterfaceCounters, Tally, rate},
    time::now,
};
use sg_common::reason::{Drop, Pass};
use std::{hash::RandomState, net::IpAddr, time::Instant};

/// What passed or was dropped of an interface in a direction for a reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Device name.
    pub interface: String,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// It passed.
    pub is_allowed: bool,
    /// As in `counters`.
    pub reason: &'static str,
    /// Wire packets a second.
    pub packets: f64,
    /// Bytes a second.
    pub bytes: f64,
    /// Wire packets until now.
    pub total: u64,
}

/// What some flows have in common, and what they carry.
#[derive(Clone, Debug, PartialEq)]
pub struct Talk {
    /// The far end or the port.
    pub name: String,
    /// Of ports: `in` where the flows began inward, else `out`.
    pub way: &'static str,
    /// Live flows.
    pub flows: u64,
    /// Wire packets a second, both ways.
    pub packets: f64,
    /// Bytes a second, both ways.
    pub bytes: f64,
}

/// The host over one second or so.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Seconds since the epoch.
    pub time: u64,
    /// Seconds since the look before; `None` of the first, which knows no rates.
    pub seconds: Option<f64>,
    /// Attached interfaces that are shown.
    pub interfaces: usize,
    /// By interface, direction, verdict and reason, in this order.
    pub rates: Vec<Rate>,
    /// Flows that began to be tracked, a second.
    pub new_flows: f64,
    /// Packets that found no place among the established flows, a second.
    pub exceeded: f64,
    /// The host's flow tables.
    pub tally: Tally,
    /// By address.
    pub remotes: Vec<Talk>,
    /// By protocol and port.
    pub services: Vec<Talk>,
    /// There were more far ends or ports than are told apart.
    pub is_partial: bool,
}

impl Sample {
    /// What passed, or what was dropped, in packets and bytes a second.
    pub fn sum(&self, is_allowed: bool) -> (f64, f64) {
        let meant = self.rates.iter().filter(|rate| rate.is_allowed == is_allowed);
        meant.fold((0.0, 0.0), |(packets, bytes), rate| (packets + rate.packets, bytes + rate.bytes))
    }
}

/// Looks again and again.
#[derive(Default)]
pub struct Sampler {
    before: Option<(Counters, FlowLook, Instant)>,
    hasher: RandomState,
}

impl Sampler {
    /// Looks once more, without the host's lock.
    ///
    /// # Errors
    /// As for [`observe::counters_at_a_glance`].
    pub fn look(&mut self, ctx: &Context, interface: Option<&str>) -> Result<Sample> {
        let moment = Instant::now();
        let flows_before = self.before.as_ref().map(|(_, flows, _)| flows);
        let hasher = &self.hasher;
        let note = |look: &mut FlowLook, head: &_, ends, flow: &_| {
            look.note(flows_before, hasher, head, ends, flow);
        };
        let seen = observe::overview(ctx, interface, FlowLook::default, note)?;
        let before = self.before.as_ref();
        let before = before.map(|(counters, _, then)| (counters, (moment - *then).as_secs_f64()));
        let mut sample = sample(&seen.counters, before, &seen.flows);
        (sample.time, sample.tally) = (now(), seen.tally);
        self.before = Some((seen.counters, seen.flows, moment));
        Ok(sample)
    }
}

fn sample(counters: &Counters, before: Option<(&Counters, f64)>, flows: &FlowLook) -> Sample {
    let seconds = before.map(|(_, seconds)| seconds);
    let mut sample = Sample { seconds, interfaces: counters.interfaces.len(), ..Sample::default() };
    for interface in &counters.interfaces {
        let then = before.and_then(|(counters, seconds)| {
            let known = counters.interfaces.iter().find(|known| known.eni_id == interface.eni_id);
            known.map(|known| (known, seconds))
        });
        one_interface(&mut sample.rates, interface, then);
    }
    let rates_of = |is_allowed, reason: &str| {
        let meant = sample.rates.iter().filter(|rate| rate.is_allowed == is_allowed && rate.reason == reason);
        // The sum of no floats is -0, which is not what people call nothing.
        meant.fold(0.0, |sum, rate| sum + rate.packets)
    };
    sample.new_flows = rates_of(true, Pass::New.name());
    sample.exceeded = rates_of(false, Drop::ConntrackFull.name());
    let talk = |name, way, load: Load| {
        let a_second = |came: u64| seconds.map_or(0.0, |seconds| rate(came, 0, seconds));
        Talk { name, way, flows: load.flows, packets: a_second(load.packets), bytes: a_second(load.bytes) }
    };
    let remote = |(address, load): (IpAddr, Load)| talk(address.to_string(), "", load);
    sample.remotes = flows.remotes.in_order().into_iter().map(remote).collect();
    let service = |(service, load): (Service, Load)| {
        talk(service.name(), if service.is_inward { "in" } else { "out" }, load)
    };
    sample.services = flows.services.in_order().into_iter().map(service).collect();
    sample.is_partial = flows.remotes.is_partial || flows.services.is_partial;
    sample
}

fn one_interface(rates: &mut Vec<Rate>, now: &InterfaceCounters, before: Option<(&InterfaceCounters, f64)>) {
    let then = before.map(|(before, seconds)| ([&before.ingress, &before.egress], seconds));
    for (number, (direction, counted)) in
        [("ingress", &now.ingress), ("egress", &now.egress)].iter().enumerate()
    {
        let allowed = counted.allowed.iter().map(|(reason, count)| (true, reason, count));
        let dropped = counted.dropped.iter().map(|(reason, count)| (false, reason, count));
        for (is_allowed, reason, count) in allowed.chain(dropped) {
            let (packets, bytes) = then.map_or((0.0, 0.0), |(ways, seconds)| {
                let reasons = if is_allowed { &ways[number].allowed } else { &ways[number].dropped };
                let then = reasons.get(reason).copied().unwrap_or_default();
                (rate(count.packets, then.packets, seconds), rate(count.bytes, then.bytes, seconds))
            });
            let (interface, total) = (now.name.clone(), count.packets);
            rates.push(Rate { interface, direction, is_allowed, reason, packets, bytes, total });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{ConntrackCounters, Count, DirectionCounters};

    fn counters(new: u64, refused: u64, interfaces: &[&str]) -> Counters {
        let count = |packets| Count { packets, bytes: 100 * packets };
        let one = |name: &&str| InterfaceCounters {
            name: (*name).to_owned(),
            eni_id: format!("eni-{name}"),
            ingress: DirectionCounters {
                allowed: [("new", count(new))].into(),
                dropped: [("no_rule", count(refused))].into(),
                ..DirectionCounters::default()
            },
            egress: DirectionCounters::default(),
            rules: Vec::new(),
        };
        Counters { interfaces: interfaces.iter().map(one).collect(), conntrack: ConntrackCounters::default() }
    }

    #[test]
    fn rates_are_what_came_since_the_look_before() {
        let (then, now) = (counters(10, 100, &["eth0"]), counters(14, 160, &["eth0", "eth1"]));
        let first = sample(&then, None, &FlowLook::default());
        assert_eq!((first.seconds, first.rates.len(), first.new_flows), (None, 2, 0.0));
        let second = sample(&now, Some((&then, 2.0)), &FlowLook::default());
        // Of eth1, which was attached since, nobody knows when it counted.
        assert_eq!((second.interfaces, second.new_flows), (2, 2.0));
        assert_eq!((second.sum(true), second.sum(false)), ((2.0, 200.0), (30.0, 3_000.0)));
        let refused = &second.rates[1];
        assert_eq!((refused.reason, refused.is_allowed, refused.total), ("no_rule", false, 160));
        let none = sample(&counters(0, 0, &[]), Some((&then, 1.0)), &FlowLook::default());
        assert!(none.new_flows.is_sign_positive() && none.exceeded.is_sign_positive());
        let reset = sample(&counters(3, 0, &["eth0"]), Some((&now, 1.0)), &FlowLook::default());
        assert_eq!(reset.new_flows, 3.0, "set to zero in between");
    }
}
