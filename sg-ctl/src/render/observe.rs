//! Answers about the datapath: `status`, `attach`, `counters`, `conntrack list`. The JSON is what
//! [`crate::observe`] holds.

use super::{
    Output, json,
    table::{Table, escape},
};
use crate::{
    adopt::Adopted,
    observe::{ConntrackStats, Counters, FlowStatus, Flows, InterfaceStatus, Status},
};
use serde::Serialize;
use std::io::{self, Write};

/// `status`
pub fn status(out: &mut impl Write, output: Output, status: &Status) -> io::Result<()> {
    if output == Output::Json {
        return json(out, status);
    }
    if status.interfaces.is_empty() {
        writeln!(out, "no interface is attached")?;
    }
    for interface in &status.interfaces {
        block(out, interface)?;
    }
    if !status.maps.is_empty() {
        writeln!(out)?;
        let mut table = Table::new(&["MAP", "ENTRIES", "MAX", "MEMORY"]);
        for map in &status.maps {
            table.row([
                map.name.clone(),
                map.entries.to_string(),
                map.max_entries.to_string(),
                memory(map.memory_bytes),
            ]);
        }
        table.write(out)?;
    }
    Ok(())
}

/// `attach`: the entry of the one interface, and what it adopted.
pub fn attached(
    out: &mut impl Write,
    output: Output,
    interface: &InterfaceStatus,
    adopted: &[Adopted],
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Attached<'a> {
        interfaces: [&'a InterfaceStatus; 1],
        adopted: &'a [Adopted],
    }
    match output {
        Output::Table => block(out, interface),
        Output::Json => json(out, &Attached { interfaces: [interface], adopted }),
    }
}

/// An interface in a few short lines, since the reason of its mode is a sentence.
fn block(out: &mut impl Write, interface: &InterfaceStatus) -> io::Result<()> {
    let enforcing = if interface.enforcing { "enforcing" } else { "NOT ENFORCING" };
    writeln!(out, "{}  {enforcing}", escape(&interface.name))?;
    let mut line = |head: &str, value: &str| writeln!(out, "  {head:<11}{}", escape(value));
    line("id", &interface.eni_id)?;
    if let Some(netns) = &interface.netns {
        line("netns", netns)?;
    }
    line("groups", &interface.groups.join(", "))?;
    line(
        "addresses",
        &if interface.addresses.is_empty() { "none".to_owned() } else { interface.addresses.join(", ") },
    )?;
    line("side", &interface.side)?;
    line("mode", &format!("{}: {}", interface.mode, interface.mode_reason))?;
    line("generation", &interface.generation.to_string())?;
    line("since", &interface.attached_since)
}

/// Bytes, rounded to a unit that people read.
fn memory(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{} KiB", bytes.div_ceil(KIB)),
        _ => format!("{} MiB", bytes.div_ceil(MIB)),
    }
}

/// `counters`
pub fn counters(out: &mut impl Write, output: Output, counters: &Counters) -> io::Result<()> {
    if output == Output::Json {
        return json(out, counters);
    }
    let mut table = Table::new(&["INTERFACE", "DIRECTION", "VERDICT", "REASON", "PACKETS", "BYTES"]);
    for interface in &counters.interfaces {
        for (direction, of) in [("ingress", &interface.ingress), ("egress", &interface.egress)] {
            let mut row = |verdict: &str, reason: &str, packets: u64, bytes: u64| {
                table.row([
                    interface.name.clone(),
                    direction.to_owned(),
                    verdict.to_owned(),
                    reason.to_owned(),
                    packets.to_string(),
                    bytes.to_string(),
                ]);
            };
            row("allowed", "total", of.allowed_packets, of.allowed_bytes);
            of.allowed.iter().for_each(|(reason, n)| row("allowed", reason, n.packets, n.bytes));
            row("dropped", "total", of.dropped_packets, of.dropped_bytes);
            of.dropped.iter().for_each(|(reason, n)| row("dropped", reason, n.packets, n.bytes));
        }
    }
    table.write(out)?;
    let mut table = Table::new(&["INTERFACE", "RULE", "HITS"]);
    let mut any = false;
    for interface in &counters.interfaces {
        for rule in &interface.rules {
            any = true;
            table.row([interface.name.clone(), rule.security_group_rule_id.clone(), rule.hits.to_string()]);
        }
    }
    if any {
        writeln!(out)?;
        table.write(out)?;
    }
    let conntrack = &counters.conntrack;
    writeln!(
        out,
        "\ntracked flows {}, untracked packets {}, exempt packets {}, allowance exceeded {}",
        conntrack.tracked,
        conntrack.untracked_packets,
        conntrack.exempt_packets,
        conntrack.allowance_exceeded
    )
}

/// `conntrack stats`
pub fn conntrack_stats(out: &mut impl Write, output: Output, stats: &ConntrackStats) -> io::Result<()> {
    if output == Output::Json {
        return json(out, stats);
    }
    let of = &stats.conntrack;
    let mut table = Table::new(&["CONNTRACK", ""]);
    for (name, number) in [
        ("tracked flows", of.tracked),
        ("allowance available", of.allowance_available),
        ("allowance exceeded (packets)", of.allowance_exceeded),
        ("untracked packets", of.untracked_packets),
        ("exempt packets", of.exempt_packets),
    ] {
        table.row([name.to_owned(), number.to_string()]);
    }
    table.write(out)?;
    let mut table = Table::new(&["TABLE", "ENTRIES", "MAX", "MEMORY"]);
    for map in &stats.tables {
        let (entries, most) = (map.entries.to_string(), map.max_entries.to_string());
        table.row([map.name.clone(), entries, most, memory(map.memory_bytes)]);
    }
    writeln!(out)?;
    table.write(out)
}

/// `conntrack flush`
pub fn flushed(out: &mut impl Write, output: Output, flows: usize) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "flushed {flows}"),
        Output::Json => json(out, &serde_json::json!({ "flushed": flows })),
    }
}

/// `conntrack list`
pub fn flows(out: &mut impl Write, output: Output, flows: &Flows) -> io::Result<()> {
    if output == Output::Json {
        return json(out, flows);
    }
    let mut table = Table::new(&[
        "INTERFACE",
        "PROTOCOL",
        "LOCAL",
        "REMOTE",
        "INITIATED",
        "STATE",
        "IDLE",
        "EXPIRES",
        "PACKETS",
        "BYTES",
    ]);
    for flow in &flows.flows {
        table.row([
            interface_of(flow),
            flow.protocol.clone(),
            endpoint(&flow.local, flow.local_port, flow),
            endpoint(&flow.remote, flow.remote_port, flow),
            flow.initiated.to_owned(),
            flow.state.to_owned(),
            format!("{}s", flow.idle_seconds),
            format!("{}s", flow.expires_in_seconds),
            flow.packets.to_string(),
            flow.bytes.to_string(),
        ]);
    }
    table.write(out)
}

/// `eth0`; with the VLANs of a tagged flow where they are told apart: `eth0 vlan 9.5`.
fn interface_of(flow: &FlowStatus) -> String {
    match flow.vlans.as_deref() {
        None | Some([]) => flow.interface.clone(),
        Some(ids) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            format!("{} vlan {}", flow.interface, ids.join("."))
        }
    }
}

/// `10.0.0.1:22`, `[2001:db8::1]:22`, or the address with the identifier of an ICMP query.
fn endpoint(address: &str, port: Option<u16>, flow: &FlowStatus) -> String {
    match (port, flow.icmp_id) {
        (Some(port), _) if address.contains(':') => format!("[{address}]:{port}"),
        (Some(port), _) => format!("{address}:{port}"),
        (None, Some(id)) => format!("{address} id {id}"),
        (None, None) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observe::{ConntrackCounters, Count, DirectionCounters, InterfaceCounters, MapStatus, RuleHits},
        render::testing::{document, written},
    };
    use serde_json::json;

    fn interface() -> InterfaceStatus {
        InterfaceStatus {
            name: "eth0".to_owned(),
            netns: None,
            ifindex: 2,
            eni_id: "eni-00000001".to_owned(),
            groups: vec!["sg-00000001".to_owned()],
            addresses: vec!["10.0.0.1".to_owned(), "2001:db8::1".to_owned()],
            side: "host".to_owned(),
            mode: "native".to_owned(),
            mode_reason: "the driver has it".to_owned(),
            enforcing: true,
            generation: 7,
            attached_since: "2026-01-02T03:04:05Z".to_owned(),
        }
    }

    #[test]
    fn status_as_text() {
        let maps = vec![
            MapStatus { name: "flows".to_owned(), entries: 3, max_entries: 100, memory_bytes: 4 << 20 },
            MapStatus { name: "generation".to_owned(), entries: 1, max_entries: 1, memory_bytes: 4000 },
        ];
        let told = Status { interfaces: vec![interface()], maps, datapath_version: 1 };
        assert_eq!(
            written(|out| status(out, Output::Table, &told)),
            "\
eth0  enforcing
  id         eni-00000001
  groups     sg-00000001
  addresses  10.0.0.1, 2001:db8::1
  side       host
  mode       native: the driver has it
  generation 7
  since      2026-01-02T03:04:05Z

MAP         ENTRIES  MAX  MEMORY
flows       3        100  4 MiB
generation  1        1    4 KiB
"
        );
        let printed = document(|out| status(out, Output::Json, &told));
        assert_eq!(printed["interfaces"][0]["generation"], 7);
        assert_eq!(printed["maps"][0]["max_entries"], 100);
        assert_eq!(printed["datapath_version"], 1);
    }

    #[test]
    fn attaching_prints_the_status_entry_and_what_was_adopted() {
        let adopted = [Adopted {
            protocol: "tcp",
            local: "10.0.0.1".to_owned(),
            local_port: 22,
            remote: "198.51.100.7".to_owned(),
            remote_port: 40_000,
            initiated: "ingress",
        }];
        let printed = document(|out| attached(out, Output::Json, &interface(), &adopted));
        assert_eq!(printed.as_object().unwrap().len(), 2);
        assert_eq!(printed["interfaces"][0]["name"], "eth0");
        let expected = serde_json::json!([{"protocol": "tcp", "local": "10.0.0.1", "local_port": 22,
            "remote": "198.51.100.7", "remote_port": 40_000, "initiated": "ingress"}]);
        assert_eq!(printed["adopted"], expected);
        let idle = InterfaceStatus { enforcing: false, ..interface() };
        assert!(written(|out| attached(out, Output::Table, &idle, &[])).starts_with("eth0  NOT ENFORCING\n"));
    }

    #[test]
    fn nothing_attached_is_said() {
        let told = Status { interfaces: vec![], maps: vec![], datapath_version: 1 };
        assert_eq!(written(|out| status(out, Output::Table, &told)), "no interface is attached\n");
    }

    #[test]
    fn counters_as_a_table() {
        let ingress = DirectionCounters {
            allowed_packets: 5,
            allowed_bytes: 500,
            dropped_packets: 2,
            dropped_bytes: 120,
            allowed: [("rule", Count { packets: 5, bytes: 500 })].into(),
            dropped: [("no_rule", Count { packets: 2, bytes: 120 })].into(),
        };
        let told = Counters {
            interfaces: vec![InterfaceCounters {
                name: "eth0".to_owned(),
                eni_id: "eni-00000001".to_owned(),
                ingress,
                egress: DirectionCounters::default(),
                rules: vec![RuleHits { security_group_rule_id: "sgr-00000001".to_owned(), hits: 4 }],
            }],
            conntrack: ConntrackCounters {
                tracked: 1,
                untracked_packets: 2,
                exempt_packets: 3,
                allowance_available: 262_142,
                allowance_exceeded: 0,
            },
        };
        assert_eq!(
            written(|out| counters(out, Output::Table, &told)),
            "\
INTERFACE  DIRECTION  VERDICT  REASON   PACKETS  BYTES
eth0       ingress    allowed  total    5        500
eth0       ingress    allowed  rule     5        500
eth0       ingress    dropped  total    2        120
eth0       ingress    dropped  no_rule  2        120
eth0       egress     allowed  total    0        0
eth0       egress     dropped  total    0        0

INTERFACE  RULE          HITS
eth0       sgr-00000001  4

tracked flows 1, untracked packets 2, exempt packets 3, allowance exceeded 0
"
        );
        let printed = document(|out| counters(out, Output::Json, &told));
        assert_eq!(
            printed["interfaces"][0]["rules"],
            json!([{ "SecurityGroupRuleId": "sgr-00000001", "hits": 4 }])
        );
        assert_eq!(
            printed["interfaces"][0]["ingress"]["dropped"],
            json!({ "no_rule": { "packets": 2, "bytes": 120 } })
        );
    }

    #[test]
    fn flows_as_a_table() {
        let tcp = FlowStatus {
            interface: "eth0".to_owned(),
            protocol: "tcp".to_owned(),
            local: "10.0.0.1".to_owned(),
            local_port: Some(22),
            remote: "10.0.0.2".to_owned(),
            remote_port: Some(50000),
            vlans: None,
            icmp_id: None,
            initiated: "ingress",
            state: "established",
            idle_seconds: 3,
            expires_in_seconds: 431_997,
            packets: 12,
            bytes: 3456,
        };
        let ping = FlowStatus {
            protocol: "icmpv6".to_owned(),
            local: "2001:db8::1".to_owned(),
            remote: "2001:db8::2".to_owned(),
            local_port: None,
            remote_port: None,
            icmp_id: Some(77),
            interface: "eth0".to_owned(),
            ..tcp
        };
        assert_eq!(endpoint("2001:db8::1", Some(22), &ping), "[2001:db8::1]:22");
        let told = Flows { flows: vec![ping] };
        assert_eq!(
            written(|out| flows(out, Output::Table, &told)),
            "\
INTERFACE  PROTOCOL  LOCAL              REMOTE             INITIATED  STATE        IDLE  EXPIRES  PACKETS  BYTES
eth0       icmpv6    2001:db8::1 id 77  2001:db8::2 id 77  ingress    established  3s    431997s  12       3456
"
        );
        let printed = document(|out| flows(out, Output::Json, &told));
        assert_eq!(printed["flows"][0]["local_port"], json!(null));
        assert_eq!(printed["flows"][0]["icmp_id"], 77);
        assert!(printed["flows"][0].get("vlans").is_none(), "only where VLANs are told apart");
    }

    #[test]
    fn p13_flows_of_a_vlan_aware_interface_say_their_vlans() {
        let flow = |vlans: &[u16]| FlowStatus {
            interface: "eth0".to_owned(),
            protocol: "47".to_owned(),
            local: "10.0.0.1".to_owned(),
            local_port: None,
            remote: "10.0.0.2".to_owned(),
            remote_port: None,
            vlans: Some(vlans.to_vec()),
            icmp_id: None,
            initiated: "ingress",
            state: "answered",
            idle_seconds: 0,
            expires_in_seconds: 600,
            packets: 2,
            bytes: 200,
        };
        let told = Flows { flows: vec![flow(&[]), flow(&[9, 5])] };
        let printed = document(|out| flows(out, Output::Json, &told));
        assert_eq!(printed["flows"][0]["vlans"], json!([]));
        assert_eq!(printed["flows"][1]["vlans"], json!([9, 5]));
        let table = written(|out| flows(out, Output::Table, &told));
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].starts_with("eth0  ") && lines[2].starts_with("eth0 vlan 9.5  "), "{table}");
    }
}
