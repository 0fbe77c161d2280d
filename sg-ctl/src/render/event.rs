//! `monitor`: a packet a line. `trace`: a packet and its stages.

use super::{Output, table::escape};
use crate::{
    kernel::events::Missed,
    monitor::{Line, Stage, Traced},
    time::rfc3339_micros,
};
use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// One packet.
pub fn event(out: &mut (impl Write + ?Sized), output: Output, line: &Line) -> io::Result<()> {
    if output == Output::Json {
        serde_json::to_writer(&mut *out, line)?;
        return writeln!(out);
    }
    let kind = line.protocol.as_deref().or(line.ethertype.as_deref()).unwrap_or("-");
    let interface = match line.vlans.as_deref() {
        None | Some([]) => escape(&line.interface),
        Some(ids) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            format!("{} vlan {}", escape(&line.interface), ids.join("."))
        }
    };
    let (local, remote) = (end(line.local, line.local_port), end(line.remote, line.remote_port));
    let (direction, verdict, reason) = (line.direction, line.verdict, line.reason);
    write!(
        out,
        "{}  {interface}  {direction:<7}  {verdict:<5}  {reason:<13}  {kind:<6}  {local}  {remote}  {}",
        line.time, line.bytes
    )?;
    if let Some(flags) = &line.tcp_flags {
        write!(out, "  {}", flags.join(","))?;
    }
    if let (Some(kind), Some(code)) = (line.icmp_type, line.icmp_code) {
        write!(out, "  type {kind} code {code}")?;
    }
    if let Some(fragment) = line.fragment {
        write!(out, "  {fragment} fragment")?;
    }
    if line.packets > 1 {
        write!(out, "  {} packets", line.packets)?;
    }
    if let Some(flow) = line.flow {
        write!(out, "  closed, {} packets and {} bytes in all", flow.packets, flow.bytes)?;
    }
    writeln!(out)
}

/// One packet, and what each stage found of it.
pub fn traced(out: &mut (impl Write + ?Sized), output: Output, traced: &Traced) -> io::Result<()> {
    if output == Output::Json {
        serde_json::to_writer(&mut *out, traced)?;
        return writeln!(out);
    }
    event(out, output, &traced.line)?;
    for Stage { stage, decision } in &traced.stages {
        writeln!(out, "  {stage:<10}  {decision}")?;
    }
    Ok(())
}

/// Packets that there is no line of. People are told beside the answer.
pub fn missed(out: &mut impl Write, missed: Missed, since_epoch: Duration) -> io::Result<()> {
    let line = serde_json::json!({
        "time": rfc3339_micros(since_epoch),
        "event": "lost",
        "suppressed": missed.suppressed,
        "lost": missed.lost,
        "unheard_seconds": missed.unheard.as_secs_f64(),
    });
    writeln!(out, "{line}")
}

/// `10.0.0.1:22`, `[2001:db8::1]:22`, the address alone, or `-`.
fn end(address: Option<IpAddr>, port: Option<u16>) -> String {
    match (address, port) {
        (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, _) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        monitor::Where,
        render::testing::{document, written},
    };
    use serde_json::json;
    use sg_common::event::{Event, NO_PROTOCOL, note, seen, what};

    fn place() -> Where {
        Where { name: "eth0".to_owned(), eni_id: "eni-00000001".to_owned(), vlan_aware: false }
    }

    fn syn() -> Event {
        Event {
            bytes: 74,
            local: [u32::from_ne_bytes([10, 0, 0, 1]), 0, 0, 0],
            remote: [u32::from_ne_bytes([198, 51, 100, 7]), 0, 0, 0],
            what: what::DROPPED,
            segments: 1,
            ethertype: 0x0800,
            protocol: 6,
            local_port: 22,
            remote_port: 40_000,
            verdict: 16,
            family: seen::IPV4 as u8,
            tcp_flags: 2,
            ..Event::default()
        }
    }

    fn line(event: &Event, place: &Where) -> Line {
        Line::new(event, Duration::new(951_782_400, 5_000), place).unwrap()
    }

    #[test]
    fn a_dropped_packet_in_both_forms() {
        let line = line(&syn(), &place());
        assert_eq!(
            written(|out| event(out, Output::Table, &line)),
            "2000-02-29T00:00:00.000005Z  eth0  ingress  drop   no_rule        tcp     10.0.0.1:22  \
             198.51.100.7:40000  74  SYN\n"
        );
        let printed = written(|out| event(out, Output::Json, &line));
        assert_eq!(printed.lines().count(), 1);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&printed).unwrap(),
            json!({"time": "2000-02-29T00:00:00.000005Z", "event": "drop", "interface": "eth0",
                "eni_id": "eni-00000001", "direction": "ingress", "verdict": "drop", "reason": "no_rule",
                "protocol": "tcp", "local": "10.0.0.1", "local_port": 22, "remote": "198.51.100.7",
                "remote_port": 40_000, "packets": 1, "bytes": 74, "tcp_flags": ["SYN"]})
        );
    }

    #[test]
    fn the_end_of_a_flow_says_what_it_was() {
        let last = Event {
            what: what::ALLOWED | what::CLOSED,
            notes: note::CLOSED,
            verdict: 2,
            direction: 1,
            tcp_flags: 17,
            flow_packets: 12,
            flow_bytes: 3_456,
            ..syn()
        };
        let line = line(&last, &place());
        let text = written(|out| event(out, Output::Table, &line));
        let rest = "10.0.0.1:22  198.51.100.7:40000  74  FIN,ACK  closed, 12 packets and 3456 bytes in all\n";
        assert!(text.ends_with(rest) && text.contains("  egress   allow  tracked "), "{text}");
        let printed = document(|out| event(out, Output::Json, &line));
        assert_eq!(
            (&printed["event"], &printed["flow"]),
            (&json!("closed"), &json!({"packets": 12, "bytes": 3_456}))
        );
    }

    #[test]
    fn what_is_no_ip_packet_has_its_ethertype_and_no_ends() {
        let frame = Event {
            verdict: 19,
            what: what::DROPPED,
            protocol: NO_PROTOCOL,
            ethertype: 0x88b5,
            bytes: 60,
            segments: 1,
            ..Event::default()
        };
        let line = line(&frame, &place());
        let text = written(|out| event(out, Output::Table, &line));
        assert!(text.ends_with("  non_ip         0x88b5  -  -  60\n"), "{text}");
        let printed = document(|out| event(out, Output::Json, &line));
        assert_eq!(printed["ethertype"], "0x88b5");
        assert_eq!([&printed["protocol"], &printed["local"], &printed["remote_port"]], [&json!(null); 3]);
    }

    #[test]
    fn messages_fragments_and_vlans() {
        let aware = Where { vlan_aware: true, ..place() };
        let ping = Event {
            protocol: 1,
            icmp_type: 8,
            tcp_flags: 0,
            fragment: 1,
            vlans: sg_common::vlan::Vlans::NONE.tagged(9).tagged(5).bits(),
            ..syn()
        };
        let text = written(|out| event(out, Output::Table, &line(&ping, &aware)));
        assert!(text.contains("  eth0 vlan 9.5  "), "{text}");
        assert!(text.ends_with("  10.0.0.1  198.51.100.7  74  type 8 code 0  first fragment\n"), "{text}");
        let printed = document(|out| event(out, Output::Json, &line(&ping, &aware)));
        assert_eq!([&printed["vlans"], &printed["fragment"]], [&json!([9, 5]), &json!("first")]);
        let later = Event { fragment: 2, ..syn() };
        let printed = document(|out| event(out, Output::Json, &line(&later, &place())));
        assert_eq!(printed["local_port"], json!(null));
        assert!(printed.get("tcp_flags").is_none() && printed.get("vlans").is_none());
    }
}
