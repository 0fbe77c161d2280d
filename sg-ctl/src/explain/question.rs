//! From what was typed to the packet that is asked about.

use crate::{
    compile::{Carried, Family, Start},
    error::{Refusal, Result},
    model::{Direction, IcmpMatch, Traffic},
    ops::traffic::{self, Typed},
};
use sg_common::{packet::is_extension, wire::protocol};
use std::net::IpAddr;

/// What was typed.
#[derive(Clone, Debug)]
pub struct Question {
    /// Device name or id of an interface.
    pub interface: String,
    /// Which way the packet goes, seen from the instance.
    pub direction: Direction,
    /// `--protocol`
    pub protocol: String,
    /// `--remote`
    pub remote: String,
    /// `--port`, the one that the packet is for.
    pub port: Option<String>,
    /// `--source-port`, the one of its sender.
    pub source_port: Option<String>,
    /// `--icmp-type`
    pub icmp_type: Option<String>,
    /// `--icmp-code`
    pub icmp_code: Option<String>,
}

/// The first of the dynamic ports (RFC 6335): the sender's, where none is given.
const SOURCE_PORT: u16 = 49_152;

impl Question {
    /// The packet that is meant, and what the user should know of how it was read.
    ///
    /// # Errors
    /// EC2's code for a value that is none, and a way out for what names no packet.
    pub fn start(&self) -> Result<(Start, Option<String>)> {
        let remote: IpAddr = self.remote.parse().map_err(|_| {
            Refusal::invalid(format!(
                "--remote {}: not an IPv4 or IPv6 address (one address, without a prefix length)",
                self.remote
            ))
        })?;
        let number = traffic::protocol_number(&self.protocol)?.ok_or_else(|| {
            Refusal::invalid(
                "one packet has one protocol; give --protocol tcp, udp, icmp, icmpv6 or a number",
            )
        })?;
        self.check_flags(number, remote)?;
        let reading = traffic::read(Typed {
            protocol: &self.protocol,
            port: self.port.as_deref(),
            icmp_type: self.icmp_type.as_deref(),
            icmp_code: self.icmp_code.as_deref(),
        })?;
        let carried = match reading.traffic {
            Traffic::Tcp(range) if range.from == range.to => {
                Carried::Tcp { source: self.source_port()?, destination: range.from }
            }
            Traffic::Udp(range) if range.from == range.to => {
                Carried::Udp { source: self.source_port()?, destination: range.from }
            }
            Traffic::Icmp(IcmpMatch::Type(kind)) | Traffic::Icmpv6(IcmpMatch::Type(kind)) => {
                Carried::Icmp { kind, code: 0 }
            }
            Traffic::Icmp(IcmpMatch::TypeCode(kind, code))
            | Traffic::Icmpv6(IcmpMatch::TypeCode(kind, code)) => Carried::Icmp { kind, code },
            Traffic::Other(number) => Carried::Other(number),
            Traffic::Tcp(_) | Traffic::Udp(_) => {
                return Err(Refusal::invalid("one packet has one port; give --port one number").into());
            }
            Traffic::All | Traffic::Icmp(IcmpMatch::All) | Traffic::Icmpv6(IcmpMatch::All) => {
                return Err(missing("--icmp-type", "one message has one type").into());
            }
        };
        Ok((Start { direction: self.direction, remote, carried }, reading.warning))
    }

    /// Which flags go with the protocol, and which protocol with the far end's family.
    fn check_flags(&self, number: u8, remote: IpAddr) -> Result<()> {
        let (family, protocol) = (Family::of(&remote), self.protocol.as_str());
        let has_ports = matches!(number, protocol::TCP | protocol::UDP);
        if has_ports && self.port.is_none() {
            return Err(missing(
                "--port",
                "the port that rules look at: inward the local, outward the remote",
            )
            .into());
        }
        if !has_ports && self.source_port.is_some() {
            let message = format!("--source-port goes with protocol tcp or udp, not with '{protocol}'");
            return Err(Refusal::new("InvalidParameterCombination", message).into());
        }
        if matches!(number, protocol::ICMP | protocol::ICMPV6) && number != family.icmp() {
            let (own, version) = match family {
                Family::V4 => ("icmp", 4),
                Family::V6 => ("icmpv6", 6),
            };
            let message =
                format!("--remote {remote} is an IPv{version} address; its ICMP is --protocol {own}");
            return Err(Refusal::new("InvalidParameterCombination", message).into());
        }
        if family == Family::V6 && is_extension(number) {
            let message = format!(
                "{number} is an extension header of IPv6, which is looked through; give the protocol behind it"
            );
            return Err(Refusal::invalid(message).into());
        }
        Ok(())
    }

    fn source_port(&self) -> Result<u16> {
        let Some(typed) = &self.source_port else { return Ok(SOURCE_PORT) };
        let is_plain = !typed.is_empty() && typed.bytes().all(|byte| byte.is_ascii_digit());
        typed.parse().ok().filter(|_| is_plain).ok_or_else(|| {
            Refusal::invalid(format!("--source-port {typed}: not a port; give one number from 0 to 65535"))
                .into()
        })
    }
}

fn missing(flag: &str, why: &str) -> Refusal {
    Refusal::new("MissingParameter", format!("The request must contain the parameter {flag}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::refused;

    fn question(protocol: &str, remote: &str) -> Question {
        Question {
            interface: "eth0".to_owned(),
            direction: Direction::Ingress,
            protocol: protocol.to_owned(),
            remote: remote.to_owned(),
            port: None,
            source_port: None,
            icmp_type: None,
            icmp_code: None,
        }
    }

    fn with_port(protocol: &str, port: &str) -> Question {
        Question { port: Some(port.to_owned()), ..question(protocol, "198.51.100.7") }
    }

    fn message(protocol: &str, remote: &str, kind: &str, code: Option<&str>) -> Question {
        let code = code.map(str::to_owned);
        Question { icmp_type: Some(kind.to_owned()), icmp_code: code, ..question(protocol, remote) }
    }

    fn carried(question: &Question) -> Carried {
        question.start().unwrap().0.carried
    }

    #[test]
    fn each_protocol_has_what_it_needs() {
        assert_eq!(carried(&with_port("tcp", "22")), Carried::Tcp { source: SOURCE_PORT, destination: 22 });
        let dhcp = Question { source_port: Some("67".to_owned()), ..with_port("17", "68") };
        assert_eq!(carried(&dhcp), Carried::Udp { source: 67, destination: 68 });
        assert_eq!(carried(&message("icmp", "198.51.100.7", "8", None)), Carried::Icmp { kind: 8, code: 0 });
        assert_eq!(carried(&message("58", "fd00::5", "1", Some("4"))), Carried::Icmp { kind: 1, code: 4 });
        assert_eq!(carried(&question("47", "fd00::5")), Carried::Other(47));
        let (start, warning) = with_port("47", "9").start().unwrap();
        assert_eq!(start.carried, Carried::Other(47));
        assert!(warning.unwrap().contains("--port is ignored"));
    }

    #[test]
    fn what_names_no_packet_is_refused() {
        for (question, message) in [
            (
                question("tcp", "198.51.100.7"),
                "MissingParameter: The request must contain the parameter --port",
            ),
            (
                question("icmp", "198.51.100.7"),
                "MissingParameter: The request must contain the parameter --icmp-type",
            ),
            (question("all", "198.51.100.7"), "InvalidParameterValue: one packet has one protocol"),
            (question("-1", "198.51.100.7"), "InvalidParameterValue: one packet has one protocol"),
            (question("ipx", "198.51.100.7"), "InvalidParameterValue: Invalid value 'ipx' for IP protocol"),
            (question("47", "198.51.100.0/24"), "InvalidParameterValue: --remote 198.51.100.0/24"),
            (question("44", "fd00::5"), "InvalidParameterValue: 44 is an extension header of IPv6"),
            (with_port("udp", "53-54"), "InvalidParameterValue: one packet has one port"),
            (with_port("udp", "65536"), "InvalidParameterValue: TCP/UDP (from) port (65536) out of range"),
            (with_port("icmp", "53"), "InvalidParameterValue: ICMP has no ports"),
            (
                message("icmp", "fd00::5", "8", None),
                "InvalidParameterCombination: --remote fd00::5 is an IPv6",
            ),
            (
                message("icmpv6", "10.0.0.1", "8", None),
                "InvalidParameterCombination: --remote 10.0.0.1 is an IPv4",
            ),
            (message("icmp", "10.0.0.1", "-1", None), "MissingParameter: "),
            (message("tcp", "10.0.0.1", "8", None), "MissingParameter: "),
            (
                Question { source_port: Some("1".to_owned()), ..message("icmp", "10.0.0.1", "8", None) },
                "InvalidParameterCombination: --source-port",
            ),
            (
                Question { source_port: Some("+1".to_owned()), ..with_port("tcp", "22") },
                "InvalidParameterValue: --source-port +1",
            ),
        ] {
            let refused = refused(question.start());
            assert!(refused.starts_with(message), "{question:?}: {refused}");
        }
    }
}
