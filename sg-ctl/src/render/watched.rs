//! `counters --watch`: totals, and beside them what came since the last look, a second.

use super::{Output, table::Table};
use crate::observe::{Count, Counters, DirectionCounters, rate};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

/// One look.
pub struct Look<'a> {
    /// RFC 3339, UTC.
    pub time: String,
    /// What is counted now.
    pub counters: &'a Counters,
    /// What was counted before, and how long ago; `None` of the first look.
    pub before: Option<(&'a Counters, Duration)>,
}

/// `counters --watch`, one look: a table, or one JSON document on one line.
pub fn watched(out: &mut impl Write, output: Output, look: &Look<'_>) -> io::Result<()> {
    match output {
        Output::Table => table(out, look),
        Output::Json => {
            serde_json::to_writer(&mut *out, &document(look)?)?;
            writeln!(out)
        }
    }
}

impl Look<'_> {
    /// What an interface had counted before in a direction, and the seconds since.
    fn before(&self, eni: &str, direction: usize) -> Option<(&DirectionCounters, f64)> {
        let (counters, since) = self.before?;
        let interface = counters.interfaces.iter().find(|before| before.eni_id == eni)?;
        Some(([&interface.ingress, &interface.egress][direction], since.as_secs_f64()))
    }
}

fn table(out: &mut impl Write, look: &Look<'_>) -> io::Result<()> {
    writeln!(out, "{}\n", look.time)?;
    let heads =
        ["INTERFACE", "DIRECTION", "VERDICT", "REASON", "PACKETS", "PER SECOND", "BYTES", "PER SECOND"];
    let mut table = Table::new(&heads);
    for interface in &look.counters.interfaces {
        let ways = [("ingress", &interface.ingress), ("egress", &interface.egress)];
        for (index, (direction, of)) in ways.into_iter().enumerate() {
            let before = look.before(&interface.eni_id, index);
            let mut row = |verdict: &str, reason: &str, now: Count, before: Option<(Count, f64)>| {
                let rate = |now: u64, before: Option<(u64, f64)>| {
                    before.map_or("-".to_owned(), |(before, seconds)| rate(now, before, seconds).to_string())
                };
                table.row([
                    interface.name.clone(),
                    direction.to_owned(),
                    verdict.to_owned(),
                    reason.to_owned(),
                    now.packets.to_string(),
                    rate(now.packets, before.map(|(count, seconds)| (count.packets, seconds))),
                    now.bytes.to_string(),
                    rate(now.bytes, before.map(|(count, seconds)| (count.bytes, seconds))),
                ]);
            };
            for (verdict, sum, reasons) in
                [("allowed", allowed as Sum, by_allowed as Reasons), ("dropped", dropped, by_dropped)]
            {
                row(verdict, "total", sum(of), before.map(|(of, seconds)| (sum(of), seconds)));
                for (reason, now) in reasons(of) {
                    let then = |of| reasons(of).get(reason).copied().unwrap_or_default();
                    row(verdict, reason, *now, before.map(|(of, seconds)| (then(of), seconds)));
                }
            }
        }
    }
    table.write(out)?;
    let conntrack = &look.counters.conntrack;
    writeln!(
        out,
        "\ntracked flows {}, allowance available {}, allowance exceeded {}",
        conntrack.tracked, conntrack.allowance_available, conntrack.allowance_exceeded
    )
}

type Sum = fn(&DirectionCounters) -> Count;
type Reasons = for<'a> fn(&'a DirectionCounters) -> &'a BTreeMap<&'static str, Count>;

fn allowed(of: &DirectionCounters) -> Count {
    Count { packets: of.allowed_packets, bytes: of.allowed_bytes }
}

fn dropped(of: &DirectionCounters) -> Count {
    Count { packets: of.dropped_packets, bytes: of.dropped_bytes }
}

fn by_allowed(of: &DirectionCounters) -> &BTreeMap<&'static str, Count> {
    &of.allowed
}

fn by_dropped(of: &DirectionCounters) -> &BTreeMap<&'static str, Count> {
    &of.dropped
}

/// The document of `counters`, with the time, and with `per_second` in each direction from the second look on.
fn document(look: &Look<'_>) -> io::Result<Value> {
    #[derive(Serialize)]
    struct Timed<'a> {
        time: &'a str,
        #[serde(flatten)]
        counters: &'a Counters,
    }
    let mut document = serde_json::to_value(Timed { time: &look.time, counters: look.counters })?;
    for (index, interface) in look.counters.interfaces.iter().enumerate() {
        let ways = [("ingress", &interface.ingress), ("egress", &interface.egress)];
        for (number, (direction, now)) in ways.into_iter().enumerate() {
            let Some((before, seconds)) = look.before(&interface.eni_id, number) else { continue };
            document["interfaces"][index][direction]["per_second"] = json!({
                "allowed_packets": rate(now.allowed_packets, before.allowed_packets, seconds),
                "allowed_bytes": rate(now.allowed_bytes, before.allowed_bytes, seconds),
                "dropped_packets": rate(now.dropped_packets, before.dropped_packets, seconds),
                "dropped_bytes": rate(now.dropped_bytes, before.dropped_bytes, seconds),
            });
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observe::{ConntrackCounters, InterfaceCounters},
        render::testing::written,
    };

    fn counted(packets: u64) -> Counters {
        let count = Count { packets, bytes: 100 * packets };
        let ingress = DirectionCounters {
            dropped_packets: packets,
            dropped_bytes: 100 * packets,
            dropped: [("no_rule", count)].into(),
            ..DirectionCounters::default()
        };
        let interface = InterfaceCounters {
            name: "eth0".to_owned(),
            eni_id: "eni-00000001".to_owned(),
            ingress,
            egress: DirectionCounters::default(),
            rules: Vec::new(),
        };
        Counters { interfaces: vec![interface], conntrack: ConntrackCounters::default() }
    }

    #[test]
    fn rates_stand_beside_totals_from_the_second_look_on() {
        let (then, now) = (counted(10), counted(16));
        let time = || "2026-01-02T03:04:05Z".to_owned();
        let first = Look { time: time(), counters: &then, before: None };
        let table = written(|out| watched(out, Output::Table, &first));
        assert!(table.contains("dropped  no_rule  10       -           1000   -\n"), "{table}");
        let json = written(|out| watched(out, Output::Json, &first));
        assert!(
            json.starts_with("{\"conntrack\"") && json.ends_with("}\n") && !json.contains("per_second"),
            "{json}"
        );

        let second = Look { time: time(), counters: &now, before: Some((&then, Duration::from_secs(4))) };
        assert_eq!(
            written(|out| watched(out, Output::Table, &second)),
            "\
2026-01-02T03:04:05Z

INTERFACE  DIRECTION  VERDICT  REASON   PACKETS  PER SECOND  BYTES  PER SECOND
eth0       ingress    allowed  total    0        0           0      0
eth0       ingress    dropped  total    16       1.5         1600   150
eth0       ingress    dropped  no_rule  16       1.5         1600   150
eth0       egress     allowed  total    0        0           0      0
eth0       egress     dropped  total    0        0           0      0

tracked flows 0, allowance available 0, allowance exceeded 0
"
        );
        let json = written(|out| watched(out, Output::Json, &second));
        assert_eq!(json.lines().count(), 1);
        let document: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(document["time"], "2026-01-02T03:04:05Z");
        let ingress = &document["interfaces"][0]["ingress"];
        assert_eq!(
            (&ingress["dropped_packets"], &ingress["per_second"]["dropped_packets"]),
            (&json!(16), &json!(1.5))
        );
    }

    #[test]
    fn what_was_set_to_zero_begins_anew() {
        assert_eq!(rate(5, 1_000, 1.0), 5.0);
    }
}
