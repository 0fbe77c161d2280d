//! Metrics as text: OpenMetrics 1.0, and the older text format of Prometheus for those who do not ask for it.

use super::{Family, Kind, Number};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};
use std::fmt;

/// Content type of [`open_metrics`].
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of [`plain`].
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics that were taken already.
#[derive(Debug)]
struct Taken(Vec<Family>);

impl Collector for Taken {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|family| encode(&mut encoder, family))
    }
}

fn encode(encoder: &mut DescriptorEncoder<'_>, family: &Family) -> fmt::Result {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Info => MetricType::Info,
    };
    let unit = family.unit.map(|unit| Unit::Other(unit.to_owned()));
    let mut metric = encoder.encode_descriptor(family.name, family.help, unit.as_ref(), kind)?;
    for sample in &family.samples {
        match (family.kind, &sample.labels[..]) {
            (Kind::Info, _) => metric.encode_info(&sample.labels)?,
            (kind, []) => number(&mut metric, kind, sample.number)?,
            (kind, _) => number(&mut metric.encode_family(&sample.labels)?, kind, sample.number)?,
        }
    }
    Ok(())
}

fn number(metric: &mut MetricEncoder<'_>, kind: Kind, number: Number) -> fmt::Result {
    match (kind, number) {
        (Kind::Counter, Number::Whole(number)) => metric.encode_counter::<NoLabelSet, _, f64>(&number, None),
        (Kind::Counter, Number::Real(number)) => metric.encode_counter::<NoLabelSet, _, f64>(&number, None),
        (_, Number::Whole(number)) => metric.encode_gauge(&number),
        (_, Number::Real(number)) => metric.encode_gauge(&number),
    }
}

/// The families in OpenMetrics' text.
///
/// # Errors
/// None that is known: text is always to be had.
pub fn open_metrics(families: Vec<Family>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Taken(families)));
    let mut written = String::new();
    text::encode(&mut written, &registry)?;
    Ok(written)
}

/// The same in Prometheus' older format, in which a family has the name that its numbers have, and there are neither units
/// nor an end.
#[must_use]
pub fn plain(open_metrics: &str) -> String {
    let mut written = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["#", "HELP", _, sentence] => help = sentence,
            ["#", "TYPE", name, kind] => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    _ => ("", kind),
                };
                written.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
            }
            ["#", ..] => {}
            _ => written.extend([line, "\n"]),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::{AgentSeen, Seen, SeenInterface, Walk, families},
        observe::{Count, DirectionCounters, Filled, InterfaceCounters, MapStatus, Tally},
    };
    use std::{collections::BTreeSet, time::Duration};

    fn interface(name: &str, netns: Option<&str>) -> SeenInterface {
        let count = Count { packets: 7, bytes: 420 };
        let dropped = [("no_rule", count), ("conntrack_full", Count { packets: 3, bytes: 180 })].into();
        SeenInterface {
            netns: netns.map(str::to_owned),
            side: "host",
            mode: "tc",
            groups: 2,
            addresses: 1,
            attached_since: 1_700_000_000,
            enforcing: true,
            counters: InterfaceCounters {
                name: name.to_owned(),
                eni_id: "eni-00000001".to_owned(),
                ingress: DirectionCounters { dropped, ..DirectionCounters::default() },
                egress: DirectionCounters {
                    allowed: [("new", count)].into(),
                    ..DirectionCounters::default()
                },
                rules: Vec::new(),
            },
        }
    }

    fn told() -> String {
        let mut tally = Tally::default();
        tally.tables[1][0] = Filled { entries: 9, live: 5, limit: 100 };
        let seen = Seen {
            interfaces: vec![interface("eth0", None), interface("eth\"0\\", Some("/run/netns/a"))],
            tally,
            maps: vec![MapStatus { name: "classes".to_owned(), entries: 1, max_entries: 2, memory_bytes: 3 }],
            generation: 4,
            swapped: 1_700_000_001,
            revision: 5,
            in_step: true,
        };
        let sweep = Walk { ended: 1_700_000_002, took: Duration::from_millis(1_500), removed: 6 };
        let agent = AgentSeen { namespaces: 2, failing: false, sweep: Some(sweep) };
        open_metrics(families(&seen, &agent)).unwrap()
    }

    #[test]
    fn t28_u8_what_is_seen_is_told_under_the_names_that_are_documented() {
        let told = told();
        for line in [
            "# TYPE sg_packets counter",
            "sg_packets_total{interface=\"eth0\",direction=\"ingress\",verdict=\"dropped\",reason=\"no_rule\"} 7",
            "sg_packets_total{interface=\"eth0\",direction=\"ingress\",verdict=\"allowed\",reason=\"new\"} 0",
            "# UNIT sg_bytes bytes",
            "sg_bytes_total{interface=\"eth0\",direction=\"egress\",verdict=\"allowed\",reason=\"new\"} 420",
            "sg_interface_info{interface=\"eth0\",eni_id=\"eni-00000001\",side=\"host\",mode=\"tc\"} 1",
            "sg_interface_enforcing{interface=\"eth0\"} 1",
            "sg_interface_groups{interface=\"eth\\\"0\\\\\",netns=\"/run/netns/a\"} 2",
            "sg_conntrack_allowance_exceeded_total{interface=\"eth0\"} 3",
            "sg_conntrack_allowance_available{family=\"ipv6\"} 95",
            "sg_conntrack_entries{table=\"established\",family=\"ipv6\"} 9",
            "sg_conntrack_flows{table=\"established\",family=\"ipv6\"} 5",
            "sg_map_memory_bytes{map=\"classes\"} 3",
            "sg_generation 4",
            "sg_last_swap_timestamp_seconds 1700000001",
            "sg_agent_sweep_duration_seconds 1.5",
        ] {
            assert!(told.lines().any(|one| one == line), "no {line} in:\n{told}");
        }
        assert!(told.ends_with("# EOF\n"));
        let names: Vec<_> = told.lines().filter(|line| line.starts_with("# TYPE ")).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "each name once");
    }

    #[test]
    fn the_older_format_names_families_as_their_numbers() {
        let (open, plain) = (told(), plain(&told()));
        let numbers = |text: &str| {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&open), numbers(&plain));
        for line in [
            "# TYPE sg_packets_total counter",
            "# TYPE sg_bytes_total counter",
            "# TYPE sg_interface_info gauge",
            "# TYPE sg_map_memory_bytes gauge",
            "# HELP sg_generation The policy generation that packets are judged by, 0 where nothing is attached",
        ] {
            assert!(plain.lines().any(|one| one == line), "no {line} in:\n{plain}");
        }
        assert!(!plain.contains("# UNIT") && !plain.contains("# EOF"));
    }
}
