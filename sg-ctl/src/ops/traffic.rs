//! Protocol, ports, ICMP types: from what was typed to normal form.

use crate::{
    error::{Refusal, Result},
    model::{IcmpMatch, PortRange, Traffic},
};

/// Numbers of the protocols that have a name.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// What was typed for the traffic of a rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Typed<'a> {
    /// `--protocol`
    pub protocol: &'a str,
    /// `--port`
    pub port: Option<&'a str>,
    /// `--icmp-type`
    pub icmp_type: Option<&'a str>,
    /// `--icmp-code`
    pub icmp_code: Option<&'a str>,
}

/// Traffic in normal form, and what the user should know of how it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// In normal form.
    pub traffic: Traffic,
    /// One sentence, where something typed has no effect (U-6).
    pub warning: Option<String>,
}

/// The number that a protocol name or number means; `None` is every protocol.
pub fn protocol_number(typed: &str) -> Result<Option<u8>> {
    let number = match typed.to_ascii_lowercase().as_str() {
        "all" | "-1" => return Ok(None),
        "tcp" => TCP,
        "udp" => UDP,
        "icmp" => ICMP,
        "icmpv6" => ICMPV6,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().map_err(|_| unknown_protocol(typed))?
        }
        _ => return Err(unknown_protocol(typed).into()),
    };
    Ok(Some(number))
}

/// Reads and normalises.
pub fn read(typed: Typed<'_>) -> Result<Reading> {
    let number = protocol_number(typed.protocol)?;
    let has_icmp = typed.icmp_type.is_some() || typed.icmp_code.is_some();
    let is_icmp = matches!(number, Some(ICMP | ICMPV6));
    if has_icmp && !is_icmp {
        return Err(Refusal::invalid(format!(
            "--icmp-type and --icmp-code go with protocol icmp or icmpv6, not with '{}'",
            typed.protocol
        ))
        .into());
    }
    let mut warning = None;
    let traffic = match number {
        None => {
            if typed.port.is_some() {
                // The word is ours and takes no port. EC2's own -1 ignores it, which opens more than was meant (U-6).
                if typed.protocol != "-1" {
                    return Err(Refusal::invalid(
                        "When protocol is ALL, you cannot specify from-port. Leave --port out.",
                    )
                    .into());
                }
                warning = Some("protocol -1 covers all ports of all protocols; --port is ignored".to_owned());
            }
            Traffic::All
        }
        Some(TCP) => Traffic::Tcp(ports(typed.port)?),
        Some(UDP) => Traffic::Udp(ports(typed.port)?),
        Some(ICMP) => Traffic::Icmp(icmp(typed)?),
        Some(ICMPV6) => Traffic::Icmpv6(icmp(typed)?),
        Some(other) => {
            if typed.port.is_some() {
                warning = Some(format!("protocol {other} has no ports to EC2; --port is ignored"));
            }
            Traffic::Other(other)
        }
    };
    Ok(Reading { traffic, warning })
}

fn unknown_protocol(typed: &str) -> Refusal {
    Refusal::invalid(format!(
        "Invalid value '{typed}' for IP protocol. Unknown protocol. Use tcp, udp, icmp, icmpv6, all, or \
         a number from 0 to 255."
    ))
}

fn ports(typed: Option<&str>) -> Result<PortRange> {
    let Some(typed) = typed else {
        return Err(Refusal::invalid(
            "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange. Give --port.",
        )
        .into());
    };
    // A leading dash is a sign: `-1` is a port out of range, not half a range.
    let dash = typed.char_indices().skip(1).find(|(_, c)| *c == '-').map(|(at, _)| at);
    let (from, to) = dash.map_or((typed, typed), |at| (&typed[..at], &typed[at + 1..]));
    if !is_integer(from) || !is_integer(to) {
        return Err(Refusal::invalid(format!(
            "Invalid value '{typed}' for portRange. Write one port (22) or a range (7000-8000)."
        ))
        .into());
    }
    let port = |text: &str, which: &str| {
        text.parse::<u16>().map_err(|_| {
            Refusal::invalid(format!("TCP/UDP ({which}) port ({text}) out of range; ports are 0 to 65535"))
        })
    };
    let (from, to) = (port(from, "from")?, port(to, "to")?);
    if from > to {
        return Err(Refusal::invalid(format!(
            "Invalid TCP/UDP port range ({from}:{to}); the lower port comes first"
        ))
        .into());
    }
    Ok(PortRange { from, to })
}

fn icmp(typed: Typed<'_>) -> Result<IcmpMatch> {
    if typed.port.is_some() {
        return Err(
            Refusal::invalid("ICMP has no ports; choose messages by --icmp-type and --icmp-code").into()
        );
    }
    let kind = typed.icmp_type.map(|text| icmp_number(text, "type")).transpose()?;
    let code = typed.icmp_code.map(|text| icmp_number(text, "code")).transpose()?;
    match (kind, code) {
        (None, Some(_)) => Err(Refusal::invalid(
            "Invalid value 'Must specify both from and to ports with ICMP.' for \
         portRange. Give --icmp-type as well.",
        )
        .into()),
        (None | Some(None), None | Some(None)) => Ok(IcmpMatch::All),
        // Type -1 allows no code but -1.
        (Some(None), Some(Some(code))) => Err(Refusal::invalid(format!(
            "ICMP code ({code}) out of range; --icmp-type -1 is all types with all codes"
        ))
        .into()),
        (Some(Some(kind)), None | Some(None)) => Ok(IcmpMatch::Type(kind)),
        (Some(Some(kind)), Some(Some(code))) => Ok(IcmpMatch::TypeCode(kind, code)),
    }
}

/// An ICMP type or code; `None` is -1, all of them.
fn icmp_number(text: &str, which: &str) -> Result<Option<u8>> {
    if text == "-1" {
        return Ok(None);
    }
    if !is_integer(text) {
        return Err(
            Refusal::invalid(format!("Invalid value '{text}' for ICMP {which}. Write a number.")).into()
        );
    }
    text.parse().map(Some).map_err(|_| {
        Refusal::invalid(format!("ICMP {which} ({text}) out of range; it is 0 to 255, or -1 for all")).into()
    })
}

/// Digits with at most a minus sign: what is a number at all, in range or not.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::refused;

    fn port(protocol: &str, port: &str) -> Result<Traffic> {
        read(Typed { protocol, port: Some(port), ..Typed::default() }).map(|r| r.traffic)
    }

    fn bare(protocol: &str) -> Result<Traffic> {
        read(Typed { protocol, ..Typed::default() }).map(|r| r.traffic)
    }

    fn messages(icmp_type: Option<&str>, icmp_code: Option<&str>) -> Result<Traffic> {
        read(Typed { protocol: "icmp", icmp_type, icmp_code, port: None }).map(|r| r.traffic)
    }

    #[test]
    fn a40_names_in_any_case_and_numbers_are_one() {
        let ssh = Traffic::Tcp(PortRange { from: 22, to: 22 });
        for name in ["tcp", "TCP", "Tcp", "6"] {
            assert_eq!(port(name, "22").unwrap(), ssh);
        }
        assert_eq!(port("17", "0-65535").unwrap(), Traffic::Udp(PortRange::ALL));
        assert_eq!(bare("1").unwrap(), Traffic::Icmp(IcmpMatch::All));
        assert_eq!(bare("58").unwrap(), Traffic::Icmpv6(IcmpMatch::All));
        assert_eq!(bare("ICMPv6").unwrap(), Traffic::Icmpv6(IcmpMatch::All));
        assert_eq!(bare("47").unwrap(), Traffic::Other(47));
        assert_eq!(bare("0").unwrap(), Traffic::Other(0));
        assert_eq!(bare("all").unwrap(), Traffic::All);
        assert_eq!(bare("-1").unwrap(), Traffic::All);
    }

    #[test]
    fn a41_ports_of_minus_one_and_of_custom_protocols_are_ignored_with_a_warning() {
        let all = read(Typed { protocol: "-1", port: Some("22"), ..Typed::default() }).unwrap();
        assert_eq!(all.traffic, Traffic::All);
        assert!(all.warning.is_some());
        let gre = read(Typed { protocol: "47", port: Some("22"), ..Typed::default() }).unwrap();
        assert_eq!(gre.traffic, Traffic::Other(47));
        assert!(gre.warning.is_some());
    }

    #[test]
    fn cli_the_word_all_takes_no_port() {
        assert_eq!(
            refused(port("all", "22")),
            "InvalidParameterValue: When protocol is ALL, you cannot specify from-port. Leave --port out."
        );
    }

    #[test]
    fn a44_icmp_types_and_codes() {
        assert_eq!(messages(None, None).unwrap(), Traffic::Icmp(IcmpMatch::All));
        assert_eq!(messages(Some("-1"), None).unwrap(), Traffic::Icmp(IcmpMatch::All));
        assert_eq!(messages(Some("-1"), Some("-1")).unwrap(), Traffic::Icmp(IcmpMatch::All));
        assert_eq!(messages(Some("8"), None).unwrap(), Traffic::Icmp(IcmpMatch::Type(8)));
        assert_eq!(messages(Some("8"), Some("-1")).unwrap(), Traffic::Icmp(IcmpMatch::Type(8)));
        assert_eq!(messages(Some("3"), Some("4")).unwrap(), Traffic::Icmp(IcmpMatch::TypeCode(3, 4)));
    }

    #[test]
    fn a61_tcp_and_udp_need_ports() {
        for protocol in ["tcp", "udp", "6", "17"] {
            assert_eq!(
                refused(bare(protocol)),
                "InvalidParameterValue: Invalid value 'Must specify both from and to ports with TCP/UDP.' for \
                 portRange. Give --port."
            );
        }
    }

    #[test]
    fn a63_an_icmp_code_needs_its_type() {
        assert_eq!(
            refused(messages(None, Some("0"))),
            "InvalidParameterValue: Invalid value 'Must specify both from and to ports with ICMP.' for \
         portRange. Give --icmp-type as well."
        );
    }

    #[test]
    fn a64_numbers_out_of_range_are_named() {
        for (typed, message) in [
            ("-1", "TCP/UDP (from) port (-1) out of range; ports are 0 to 65535"),
            ("65536", "TCP/UDP (from) port (65536) out of range; ports are 0 to 65535"),
            ("1-65536", "TCP/UDP (to) port (65536) out of range; ports are 0 to 65535"),
            ("-1--1", "TCP/UDP (from) port (-1) out of range; ports are 0 to 65535"),
            (
                "99999999999999999999",
                "TCP/UDP (from) port (99999999999999999999) out of range; ports are 0 to 65535",
            ),
        ] {
            assert_eq!(refused(port("tcp", typed)), format!("InvalidParameterValue: {message}"));
        }
        assert_eq!(
            refused(messages(Some("8"), Some("65535"))),
            "InvalidParameterValue: ICMP code (65535) out of range; it is 0 to 255, or -1 for all"
        );
        assert_eq!(
            refused(messages(Some("256"), None)),
            "InvalidParameterValue: ICMP type (256) out of range; it is 0 to 255, or -1 for all"
        );
        assert_eq!(
            refused(messages(Some("-1"), Some("0"))),
            "InvalidParameterValue: ICMP code (0) out of range; --icmp-type -1 is all types with all codes"
        );
    }

    #[test]
    fn a64b_a_range_must_not_run_backwards() {
        assert_eq!(
            refused(port("udp", "80-70")),
            "InvalidParameterValue: Invalid TCP/UDP port range (80:70); the lower port comes first"
        );
    }

    #[test]
    fn a65_unknown_protocols() {
        for protocol in ["sctpp", "256", "", "-2", "+6", "6.0", "tcp "] {
            assert_eq!(
                refused(port(protocol, "1")),
                format!(
                    "InvalidParameterValue: Invalid value '{protocol}' for IP protocol. Unknown protocol. Use tcp, udp, icmp, icmpv6, all, or \
         a number from 0 to 255."
                )
            );
        }
    }

    #[test]
    fn ports_that_are_no_numbers_are_refused() {
        for typed in ["", "ssh", "22-", "22,23", "+22", " 22", "0x16", "1-2-3", "٣"] {
            assert!(
                refused(port("tcp", typed)).starts_with("InvalidParameterValue: Invalid value "),
                "{typed}"
            );
        }
    }

    #[test]
    fn options_of_another_protocol_are_refused() {
        let typed = Typed { protocol: "tcp", icmp_type: Some("8"), ..Typed::default() };
        assert!(refused(read(typed)).starts_with("InvalidParameterValue: --icmp-type"));
        assert!(refused(port("icmp", "8")).starts_with("InvalidParameterValue: ICMP has no ports"));
    }
}
