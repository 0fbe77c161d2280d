//! What is told under which name.

use super::{AgentSeen, Seen, SeenInterface};
use crate::observe::DirectionCounters;
use sg_common::{
    SCHEMA_VERSION,
    reason::{Drop, Pass},
    sweep::Table,
};

/// Metrics of one name.
#[derive(Debug)]
pub struct Family {
    /// Without the unit and `_total`.
    pub name: &'static str,
    /// The last part of the name where it has one: `bytes`, `seconds`.
    pub unit: Option<&'static str>,
    /// One sentence, without its full stop.
    pub help: &'static str,
    /// What the numbers are.
    pub kind: Kind,
    /// The numbers.
    pub samples: Vec<Sample>,
}

/// What the numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up alone, until its interface goes.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Says something by its labels.
    Info,
}

/// One number.
#[derive(Debug, PartialEq)]
pub struct Sample {
    /// Names and values.
    pub labels: Labels,
    /// 1 of an [`Kind::Info`].
    pub number: Number,
}

type Labels = Vec<(&'static str, String)>;

/// Exact where it can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A count.
    Whole(u64),
    /// A duration.
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for Number {
    fn from(holds: bool) -> Self {
        Self::Whole(u64::from(holds))
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl Family {
    fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, unit: None, help, kind, samples: Vec::new() }
    }

    fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Counter, help)
    }

    fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Gauge, help)
    }

    fn info(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Info, help)
    }

    fn in_unit(self, unit: &'static str) -> Self {
        Self { unit: Some(unit), ..self }
    }

    fn with(mut self, samples: impl IntoIterator<Item = (Labels, Number)>) -> Self {
        self.samples.extend(samples.into_iter().map(|(labels, number)| Sample { labels, number }));
        self
    }

    fn of(self, number: impl Into<Number>) -> Self {
        self.with([(Labels::new(), number.into())])
    }
}

const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

/// Everything, by name.
#[must_use]
pub fn families(seen: &Seen, agent: &AgentSeen) -> Vec<Family> {
    let mut all = of_interfaces(seen);
    all.extend(of_flows(seen));
    all.extend(of_host(seen));
    all.extend(of_agent(agent));
    all
}

fn of_interfaces(seen: &Seen) -> Vec<Family> {
    let each = |number: fn(&SeenInterface) -> Number| {
        seen.interfaces.iter().map(move |one| (interface(one), number(one))).collect::<Vec<_>>()
    };
    vec![
        Family::info("sg_interface", "Attached interfaces, and how they are").with(seen.interfaces.iter().map(
            |one| {
                let mut labels = interface(one);
                labels.push(("eni_id", one.counters.eni_id.clone()));
                labels.push(("side", one.side.to_owned()));
                labels.push(("mode", one.mode.to_owned()));
                (labels, Number::Whole(1))
            },
        )),
        Family::gauge(
            "sg_interface_enforcing",
            "1 where both programs are on the device and its policy is in force; 0 while it only observes, and where it was deleted",
        )
        .with(each(|one| one.enforcing.into())),
        Family::gauge("sg_interface_attached_timestamp", "When the interface was attached")
            .in_unit("seconds")
            .with(each(|one| one.attached_since.into())),
        Family::gauge("sg_interface_groups", "Groups that the interface carries")
            .with(each(|one| one.groups.into())),
        Family::gauge("sg_interface_addresses", "Addresses that make the interface a member of its groups")
            .with(each(|one| one.addresses.into())),
        Family::counter("sg_packets", "Packets on the wire that were judged, by what became of them and why")
            .with(judged(seen, |(packets, _)| packets)),
        Family::counter("sg", "Bytes from layer 2 of the packets that were judged")
            .in_unit("bytes")
            .with(judged(seen, |(_, bytes)| bytes)),
        Family::counter(
            "sg_conntrack_allowance_exceeded",
            "Packets that were dropped because their flow found no place in the tables: conntrack_allowance_exceeded of EC2",
        )
        .with(each(|one| {
            let full = |of: &DirectionCounters| of.dropped.get(Drop::ConntrackFull.name()).map_or(0, |n| n.packets);
            (full(&one.counters.ingress) + full(&one.counters.egress)).into()
        })),
    ]
}

/// The labels of an interface. Names repeat in other network namespaces.
fn interface(one: &SeenInterface) -> Labels {
    let mut labels = vec![("interface", one.counters.name.clone())];
    labels.extend(one.netns.clone().map(|netns| ("netns", netns)));
    labels
}

/// Every reason, also those that did not occur yet: a rate needs a number to start from.
fn judged(seen: &Seen, number: fn((u64, u64)) -> u64) -> Vec<(Labels, Number)> {
    let mut samples = Vec::new();
    for one in &seen.interfaces {
        for (direction, of) in [("ingress", &one.counters.ingress), ("egress", &one.counters.egress)] {
            let reasons = Pass::ALL.map(|why| ("allowed", why.name(), of.allowed.get(why.name())));
            let reasons = reasons
                .into_iter()
                .chain(Drop::ALL.map(|why| ("dropped", why.name(), of.dropped.get(why.name()))));
            for (verdict, reason, count) in reasons {
                let mut labels = interface(one);
                let rest = [("direction", direction), ("verdict", verdict), ("reason", reason)];
                labels.extend(rest.map(|(name, value)| (name, value.to_owned())));
                let count = count.map_or((0, 0), |count| (count.packets, count.bytes));
                samples.push((labels, number(count).into()));
            }
        }
    }
    samples
}

fn of_flows(seen: &Seen) -> Vec<Family> {
    let each = |number: fn(&crate::observe::Filled) -> u64| {
        let tables = FAMILIES.iter().zip(&seen.tally.tables).flat_map(move |(family, tables)| {
            let names = ["established", "answered", "pending"];
            names.into_iter().zip(tables).map(move |(name, table)| {
                let labels = vec![("table", name.to_owned()), ("family", (*family).to_owned())];
                (labels, Number::Whole(number(table)))
            })
        });
        tables.collect::<Vec<_>>()
    };
    let available = FAMILIES.iter().zip(&seen.tally.tables).map(|(family, tables)| {
        let established = &tables[Table::Established as usize];
        let left = established.limit.saturating_sub(established.live);
        (vec![("family", (*family).to_owned())], Number::Whole(left))
    });
    vec![
        Family::gauge(
            "sg_conntrack_entries",
            "Entries in the flow tables, of flows that are over as well until they are swept",
        )
        .with(each(|table| table.entries)),
        Family::gauge("sg_conntrack_entries_limit", "Entries that a flow table has room for")
            .with(each(|table| table.limit)),
        Family::gauge(
            "sg_conntrack_flows",
            "Flows that live, half-open and unanswered ones among the pending",
        )
        .with(each(|table| table.live)),
        Family::gauge(
            "sg_conntrack_allowance_available",
            "TCP connections that can still be tracked: conntrack_allowance_available of EC2",
        )
        .with(available),
    ]
}

fn of_host(seen: &Seen) -> Vec<Family> {
    let map = |number: fn(&crate::observe::MapStatus) -> u64| {
        let maps = seen.maps.iter();
        maps.map(move |map| (vec![("map", map.name.clone())], Number::Whole(number(map)))).collect::<Vec<_>>()
    };
    vec![
        Family::info(
            "sg_build",
            "The version of sg-ctl that tells this, and of the map layouts that it knows",
        )
        .with([(
            vec![
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("datapath_version", SCHEMA_VERSION.to_string()),
            ],
            Number::Whole(1),
        )]),
        Family::gauge(
            "sg_generation",
            "The policy generation that packets are judged by, 0 where nothing is attached",
        )
        .of(seen.generation),
        Family::gauge(
            "sg_last_swap_timestamp",
            "When that generation was put in force, 0 where nothing is attached",
        )
        .in_unit("seconds")
        .of(seen.swapped),
        Family::gauge("sg_store_revision", "Changes of the desired state so far").of(seen.revision),
        Family::gauge(
            "sg_in_step",
            "1 where what the store says is in force; 0 also for the moment of a change",
        )
        .of(seen.in_step),
        Family::gauge("sg_map_entries", "Entries in a map, distinct contents where these are shared")
            .with(map(|map| map.entries)),
        Family::gauge("sg_map_entries_limit", "Entries that a map has room for")
            .with(map(|map| map.max_entries)),
        Family::gauge("sg_map_memory", "Kernel memory that a map holds")
            .in_unit("bytes")
            .with(map(|map| map.memory_bytes)),
    ]
}

fn of_agent(agent: &AgentSeen) -> Vec<Family> {
    let sweep = |number: fn(&super::Walk) -> Number| {
        agent.sweep.iter().map(move |walk| (Labels::new(), number(walk))).collect::<Vec<_>>()
    };
    vec![
        Family::gauge("sg_agent_namespaces", "Network namespaces whose addresses the agent follows")
            .of(agent.namespaces),
        Family::gauge(
            "sg_agent_failing",
            "1 where something fails that the agent tries again: its log says what",
        )
        .of(agent.failing),
        Family::gauge("sg_agent_sweep_timestamp", "When the last sweep had come round all flow tables")
            .in_unit("seconds")
            .with(sweep(|walk| walk.ended.into())),
        Family::gauge(
            "sg_agent_sweep_duration",
            "How long the last sweep took, pauses between its steps included",
        )
        .in_unit("seconds")
        .with(sweep(|walk| walk.took.as_secs_f64().into())),
        Family::gauge(
            "sg_agent_sweep_removed_entries",
            "Entries of flows that were over, which the last sweep removed",
        )
        .with(sweep(|walk| walk.removed.into())),
    ]
}
