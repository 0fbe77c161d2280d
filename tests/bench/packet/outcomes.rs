//! A kind of packet for every verdict that a packet can come to.

use super::{
    ground::{
        CLOSED, KNOWN4, KNOWN6, LOCAL4, LOCAL6, MANY, NARROW, OPEN, OPEN_UDP, PORT, STRANGER4, STRANGER6,
        Special,
    },
    runner::{Kind, Subject, Vary},
};
use sg_common::reason::{Drop, Pass, Verdict};
use sg_tests::packet::{FragmentOf, Packet, Payload, tcp};
use std::net::IpAddr;

/// Senders of packets that differ.
pub const SENDERS: u32 = 1 << 20;

/// The addresses of one family.
#[derive(Clone, Copy)]
pub struct Ends {
    v6: bool,
    local: IpAddr,
    known: IpAddr,
    stranger: IpAddr,
}

impl Ends {
    pub fn new(v6: bool) -> Self {
        if v6 {
            Self { v6, local: LOCAL6.into(), known: KNOWN6.into(), stranger: STRANGER6.into() }
        } else {
            Self { v6, local: LOCAL4.into(), known: KNOWN4.into(), stranger: STRANGER4.into() }
        }
    }

    fn tcp(self, from: IpAddr, port: u16, flags: u8) -> Packet {
        let (sequence, acknowledgement) = (1, 1);
        let payload = Payload::Tcp { source: PORT, destination: port, flags, sequence, acknowledgement };
        Packet::new(from, self.local, payload)
    }

    /// What the pipeline is held against.
    pub fn empty(self) -> Kind {
        kind("empty program", &self.tcp(self.known, OPEN, tcp::ACK), Vary::senders(SENDERS), Subject::Empty)
    }

    /// Likewise.
    pub fn parse(self) -> Kind {
        kind("parse only", &self.tcp(self.known, OPEN, tcp::ACK), Vary::senders(SENDERS), Subject::Parse)
    }

    /// Likewise.
    pub fn lookup(self, flows: u32) -> Kind {
        let packet = self.tcp(self.known, NARROW, tcp::ACK);
        kind("parse and one bare lookup", &packet, Vary::senders(flows), Subject::Lookup)
    }

    pub fn untracked(self) -> Kind {
        let packet = self.tcp(self.known, OPEN, tcp::ACK);
        passes("untracked: TCP, one port", &packet, Vary::senders(SENDERS), Pass::Untracked)
    }

    pub fn untracked_ports(self) -> Kind {
        let vary = Vary { ports: MANY - 1, ..Vary::senders(SENDERS) };
        let packet = self.tcp(self.known, MANY, tcp::ACK);
        passes("untracked: TCP, random ports", &packet, vary, Pass::Untracked)
    }

    pub fn untracked_udp(self) -> Kind {
        let payload = Payload::Udp { source: PORT, destination: OPEN_UDP };
        let packet = Packet::new(self.known, self.local, payload);
        passes("untracked: UDP, one port", &packet, Vary::senders(SENDERS), Pass::Untracked)
    }

    pub fn tracked(self, flows: u32) -> Kind {
        let packet = self.tcp(self.known, NARROW, tcp::ACK);
        passes("tracked", &packet, Vary::senders(flows), Pass::Tracked)
    }

    /// Known, so that its address has a class, which does not hold the port.
    pub fn refused(self) -> Kind {
        let packet = self.tcp(self.known, CLOSED, tcp::SYN);
        drops("no rule: a sender that others name", &packet, Vary::senders(1 << 24), Drop::NoRule)
    }

    /// Admitted by rules, of a flow that is not in the table.
    fn without_entry(self, flags: u8) -> Packet {
        let mut packet = self.tcp(self.known, NARROW, flags);
        if let Payload::Tcp { source, .. } = &mut packet.payload {
            *source = PORT + 1;
        }
        packet
    }

    /// Verdicts that need nothing special.
    pub fn ordinary(self, flows: u32) -> Vec<Kind> {
        let spread = Vary::senders(SENDERS);
        let (known, stranger) = (self.known, self.stranger);
        let syn = |from| self.tcp(from, NARROW, tcp::SYN);
        let silent = self.without_entry(tcp::ACK);
        let part = |offset, more| {
            let mut packet = self.tcp(known, OPEN, tcp::ACK);
            packet.fragment = Some(FragmentOf { id: 7, offset, more });
            packet
        };
        let (mut lone, mut tiny) = (part(1024, false), part(0, true));
        lone.fragment = Some(FragmentOf { id: 8, offset: 1024, more: false });
        tiny.cut = Some(8);
        let mut followed =
            passes("later fragment of one that passed", &part(1024, false), Vary::default(), Pass::Fragment);
        followed.first = Some((part(0, true).frame(), Verdict::Pass(Pass::Untracked)));
        let mut malformed = self.tcp(known, OPEN, tcp::ACK);
        malformed.cut = Some(12);
        let mut other = self.tcp(known, OPEN, tcp::ACK).frame();
        other[12..14].copy_from_slice(&0x88b5u16.to_be_bytes());
        vec![
            self.untracked(),
            self.untracked_ports(),
            self.untracked_udp(),
            self.tracked(flows),
            passes("new", &syn(known), Vary { fresh: true, ..spread }, Pass::New),
            passes("stateless: a segment that rules admit", &silent, spread, Pass::Stateless),
            passes("related: an error about an open flow", &self.error(), Vary::default(), Pass::Related),
            followed,
            passes("exempt", &self.exempt(), Vary::default(), Pass::Exempt),
            drops("no rule: a stranger", &syn(stranger), spread, Drop::NoRule),
            drops("no connection", &self.tcp(stranger, NARROW, tcp::ACK), spread, Drop::NoConnection),
            drops("malformed: cut off", &malformed, Vary::default(), Drop::Malformed),
            Kind { frame: other, ..drops("not IP", &malformed, Vary::default(), Drop::NonIp) },
            drops("later fragment without its first", &lone, Vary::default(), Drop::Fragment),
            drops("first fragment without its ports", &tiny, Vary::default(), Drop::FragmentTiny),
            drops(
                "fragment over the first one's header",
                &part(8, false),
                Vary::default(),
                Drop::FragmentOverlap,
            ),
            drops(
                "spoofed: the interface's own address",
                &self.tcp(self.local, OPEN, tcp::ACK),
                Vary::default(),
                Drop::SpoofedSource,
            ),
        ]
    }

    /// The verdict that a special state is about.
    pub fn special(self, state: Special) -> Option<Kind> {
        let spread = Vary::senders(SENDERS);
        let ack = self.tcp(self.known, OPEN, tcp::ACK);
        match state {
            Special::None => None,
            Special::NonIpPass => {
                let mut kind = passes("not IP, which passes here", &ack, Vary::default(), Pass::NonIp);
                kind.frame[12..14].copy_from_slice(&0x88b5u16.to_be_bytes());
                Some(kind)
            }
            Special::Observing => {
                Some(passes("observed: TCP, one port", &ack, Vary::default(), Pass::Observed))
            }
            Special::Full => {
                let packet = self.without_entry(tcp::SYN);
                Some(drops("the table is full", &packet, spread, Drop::ConntrackFull))
            }
            Special::NoPolicy => Some(drops("no policy", &ack, spread, Drop::NoPolicy)),
        }
    }

    /// Unreachable: what the interface sent from its open port.
    fn error(self) -> Packet {
        let payload = Payload::Tcp {
            source: OPEN,
            destination: PORT,
            flags: tcp::ACK,
            sequence: 1,
            acknowledgement: 1,
        };
        let body = Packet::new(self.local, self.known, payload).network();
        let (kind, code) = if self.v6 { (1, 4) } else { (3, 1) };
        Packet::new(self.stranger, self.local, Payload::Icmp { kind, code, id: 0, body })
    }

    /// A neighbour's solicitation; of IPv4, ARP's place is taken by DHCP, which the pipeline looks deeper for.
    fn exempt(self) -> Packet {
        if self.v6 {
            let payload = Payload::Icmp { kind: 135, code: 0, id: 0, body: vec![0; 16] };
            let mut packet = Packet::new(self.stranger, self.local, payload);
            packet.hop_limit = 255;
            packet
        } else {
            let payload = Payload::Udp { source: 67, destination: 68 };
            Packet::new(self.stranger, self.local, payload)
        }
    }
}

fn kind(name: &'static str, packet: &Packet, vary: Vary, subject: Subject) -> Kind {
    Kind { name, frame: packet.frame(), vary, subject, first: None }
}

fn passes(name: &'static str, packet: &Packet, vary: Vary, why: Pass) -> Kind {
    kind(name, packet, vary, Subject::Pipeline(Verdict::Pass(why)))
}

fn drops(name: &'static str, packet: &Packet, vary: Vary, why: Drop) -> Kind {
    kind(name, packet, vary, Subject::Pipeline(Verdict::Drop(why)))
}
