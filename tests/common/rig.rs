//! One interface on the bench, and packets named by direction: the same script for both families, hooks and sides.
#![expect(clippy::unwrap_used, reason = "test support: a failure should stop the test where it happens")]

use crate::{
    bench::{Bench, HZ, Hook},
    packet::{Packet, Payload},
};
use ipnet::{Ipv4Net, Ipv6Net};
use sg_common::{
    Direction,
    limits::OBSERVE_SECONDS,
    reason::{Drop, Pass, Verdict},
};
use sg_ctl::{
    model::{Attachment, EniId, Options, Peer, Rule, RuleId, Side, Traffic},
    ops,
};
use std::net::IpAddr;

/// Which of the variants a script runs in.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// Where received packets are judged.
    pub hook: Hook,
    /// Which end of the link.
    pub side: Side,
}

/// All eight.
pub fn variants() -> impl Iterator<Item = Variant> {
    let families = [false, true].into_iter();
    families.flat_map(|v6| {
        [Hook::Xdp, Hook::Tc]
            .into_iter()
            .flat_map(move |hook| [Side::Host, Side::Guest].map(|side| Variant { v6, hook, side }))
    })
}

/// Runs a script in all variants; a failure says in which.
pub fn in_all_variants(script: impl Fn(&mut Rig)) {
    in_all_variants_with(Options::default(), script);
}

/// The same with these switches. Families and hooks share a load of the programs, which is what takes time.
pub fn in_all_variants_with(options: Options, script: impl Fn(&mut Rig)) {
    for side in [Side::Host, Side::Guest] {
        let mut rig: Option<Rig> = None;
        for variant in variants().filter(|variant| variant.side == side) {
            println!("in {variant:?}");
            let rig = match &mut rig {
                Some(rig) => {
                    rig.reset(variant);
                    rig
                }
                none => none.insert(Rig::new(variant, options)),
            };
            script(rig);
        }
    }
}

/// An interface in a group of its own, `web`, which is born with all outbound.
pub struct Rig {
    /// The programs and maps.
    pub bench: Bench,
    /// The interface.
    pub eni: EniId,
    /// What it runs as.
    pub variant: Variant,
    /// The instance's address.
    pub local: IpAddr,
    /// The far end's.
    pub remote: IpAddr,
    /// Another far end's.
    pub stranger: IpAddr,
    seconds: u64,
}

impl Rig {
    /// An interface with these switches.
    #[must_use]
    pub fn new(variant: Variant, options: Options) -> Self {
        let mut bench = Bench::new();
        let group = ops::group::Create::new("web", "test");
        ops::group::create(&mut bench.state, &group).unwrap();
        let eni = bench.interface(variant.side, &["web"], &[], options);
        let nobody = IpAddr::from([0; 4]);
        let mut rig =
            Self { bench, eni, variant, local: nobody, remote: nobody, stranger: nobody, seconds: 1_000 };
        rig.become_variant(variant);
        rig
    }

    fn become_variant(&mut self, variant: Variant) {
        let address = |v4: &str, v6: &str| -> IpAddr { if variant.v6 { v6 } else { v4 }.parse().unwrap() };
        self.variant = variant;
        self.local = address("10.0.0.1", "2001:db8::1");
        self.remote = address("198.51.100.7", "2001:db8:7::7");
        self.stranger = address("198.51.100.8", "2001:db8:7::8");
        let eni = self.bench.state.interfaces.get_mut(&self.eni).unwrap();
        eni.addresses = vec![self.local];
        self.attachment().observe_until = None;
        self.bench.install();
    }

    /// Starts over as another variant: the rules of a new group, no flow, and so much later that nothing is recent.
    fn reset(&mut self, variant: Variant) {
        assert_eq!(variant.side, self.variant.side, "the side is a constant of the loaded programs");
        let state = &mut self.bench.state;
        let group = state.groups.values().find(|group| group.name == "web").unwrap().id;
        state.rules.retain(|_, rule| rule.group != group);
        let born = sg_ctl::model::Direction::Egress;
        for peer in [Peer::Ipv4(Ipv4Net::default()), Peer::Ipv6(Ipv6Net::default())] {
            let id = RuleId::random();
            state.rules.insert(id, Rule::new(id, group, born, Traffic::All, peer));
        }
        self.bench.flush();
        self.wait(1_000_000);
        self.become_variant(variant);
    }

    /// `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn world(&self) -> String {
        if self.variant.v6 { "::/0" } else { "0.0.0.0/0" }.to_owned()
    }

    /// The address as a prefix of its full length.
    #[must_use]
    pub fn host(&self, address: IpAddr) -> String {
        format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
    }

    fn content(direction: &str, protocol: &str, port: Option<&str>, cidr: &str) -> ops::rule::Content {
        use sg_ctl::model::Direction::{Egress, Ingress};
        ops::rule::Content {
            direction: if direction == "ingress" { Ingress } else { Egress },
            protocol: protocol.to_owned(),
            port: port.map(str::to_owned),
            icmp_type: None,
            icmp_code: None,
            cidrs: vec![cidr.to_owned()],
            prefix_lists: Vec::new(),
            source_groups: Vec::new(),
            description: None,
        }
    }

    /// Adds a rule to `web` and puts it in force.
    pub fn allow(&mut self, direction: &str, protocol: &str, port: Option<&str>, cidr: &str) {
        let content = Self::content(direction, protocol, port, cidr);
        ops::rule::add(&mut self.bench.state, "web", &content).unwrap();
        self.bench.install();
    }

    /// Removes a rule of `web` by its content.
    pub fn revoke(&mut self, direction: &str, protocol: &str, port: Option<&str>, cidr: &str) {
        let content = Self::content(direction, protocol, port, cidr);
        let which = ops::rule::Which::Content(content);
        ops::rule::remove(&mut self.bench.state, "web", &which).unwrap();
        self.bench.install();
    }

    /// Removes every rule of `web`.
    pub fn revoke_all(&mut self) {
        self.bench.state.rules.retain(|_, rule| {
            self.bench.state.groups.get(&rule.group).is_none_or(|group| group.name != "web")
        });
        self.bench.install();
    }

    /// The protocol word of the family's own ICMP.
    #[must_use]
    pub fn icmp(&self) -> &'static str {
        if self.variant.v6 { "icmpv6" } else { "icmp" }
    }

    /// Lets time pass.
    pub fn wait(&mut self, seconds: u64) {
        self.seconds += seconds;
        self.bench.set_time(self.seconds);
    }

    /// From now on the interface observes before it enforces (P-22).
    pub fn observe(&mut self) {
        let until = (self.seconds + u64::from(OBSERVE_SECONDS)) * u64::from(HZ);
        self.attachment().observe_until = Some(until);
        self.bench.install();
    }

    fn attachment(&mut self) -> &mut Attachment {
        self.bench.state.interfaces.get_mut(&self.eni).unwrap().attachment.as_mut().unwrap()
    }

    /// A packet between `local` and the far end in this direction. Ports of the payload are (local, remote).
    #[must_use]
    pub fn packet(&self, direction: Direction, far: IpAddr, payload: Payload) -> Packet {
        match direction {
            Direction::Ingress => Packet::new(far, self.local, turned(payload)),
            Direction::Egress => Packet::new(self.local, far, payload),
        }
    }

    /// Judges a packet.
    pub fn judge(&self, direction: Direction, packet: &Packet) -> Verdict {
        self.judge_frame(direction, &packet.frame())
    }

    /// Judges a frame.
    pub fn judge_frame(&self, direction: Direction, frame: &[u8]) -> Verdict {
        self.bench.judge(self.eni, self.variant.hook, direction, frame).unwrap()
    }

    /// Judges a TCP segment between `local` port and `remote` port.
    pub fn tcp(
        &self,
        direction: Direction,
        ports: (u16, u16),
        flags: u8,
        sequence: u32,
        acknowledgement: u32,
    ) -> Verdict {
        let payload =
            Payload::Tcp { source: ports.0, destination: ports.1, flags, sequence, acknowledgement };
        self.judge(direction, &self.packet(direction, self.remote, payload))
    }

    /// Judges a UDP packet.
    pub fn udp(&self, direction: Direction, ports: (u16, u16)) -> Verdict {
        let payload = Payload::Udp { source: ports.0, destination: ports.1 };
        self.judge(direction, &self.packet(direction, self.remote, payload))
    }

    /// Judges an ICMP message.
    pub fn message(&self, direction: Direction, kind: u8, code: u8, id: u16) -> Verdict {
        let payload = Payload::Icmp { kind, code, id, body: vec![0; 8] };
        self.judge(direction, &self.packet(direction, self.remote, payload))
    }

    /// Opens a TCP connection that was started in this direction, and checks that it is tracked.
    pub fn handshake(&self, start: Direction, ports: (u16, u16)) {
        use crate::packet::tcp::{ACK, SYN, SYN_ACK};
        assert_eq!(self.tcp(start, ports, SYN, 1_000, 0), Verdict::Pass(Pass::New));
        assert_eq!(self.tcp(start.opposite(), ports, SYN_ACK, 5_000, 1_001), Verdict::Pass(Pass::Tracked));
        assert_eq!(self.tcp(start, ports, ACK, 1_001, 5_001), Verdict::Pass(Pass::Tracked));
    }
}

/// The payload with source and destination exchanged.
fn turned(payload: Payload) -> Payload {
    match payload {
        Payload::Tcp { source, destination, flags, sequence, acknowledgement } => {
            Payload::Tcp { source: destination, destination: source, flags, sequence, acknowledgement }
        }
        Payload::Udp { source, destination } => Payload::Udp { source: destination, destination: source },
        other => other,
    }
}

/// Shorthand for expectations.
pub fn passes(why: Pass) -> Verdict {
    Verdict::Pass(why)
}

/// Shorthand for expectations.
pub fn dropped(why: Drop) -> Verdict {
    Verdict::Drop(why)
}
