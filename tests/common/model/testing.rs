//! What the model's own tests are written in: rules as text, packets from a few numbers, a clock.

pub(super) use super::{
    DropClass::{self, *},
    PassClass::{self, *},
};
use super::{Frame, Model, Outcome, Verdict};
pub(super) use sg_ctl::model::Direction::{self, Egress as OUT, Ingress as IN};
use sg_ctl::model::{
    Attachment, EniId, GroupId, IcmpMatch, Interface, Mode, Options, Peer, PortRange, Rule, RuleId, Side,
    State, TimeoutSettings, Traffic, VpcId,
};
use std::net::IpAddr;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

/// MAC of the instance and of its neighbour.
pub(super) const OWN_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const FAR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

pub(super) const fn pass(class: PassClass) -> Outcome {
    Outcome::Pass(class)
}

pub(super) const fn dropped(class: DropClass) -> Outcome {
    Outcome::Drop(class)
}

fn eni(number: u32) -> EniId {
    format!("eni-{number:08x}").parse().unwrap()
}

fn sg(number: u32) -> GroupId {
    format!("sg-{number:08x}").parse().unwrap()
}

/// A model with two interfaces: the one under test (group 1), and a member of group 2.
pub(super) struct World {
    pub model: Model,
    pub state: State,
}

impl World {
    pub fn new(rules: &[&str]) -> Self {
        let mut world = Self { model: Model::new(), state: State::default() };
        for (number, addresses) in [(1, ["10.0.0.1", "2001:db8::1"]), (2, ["10.0.0.2", "2001:db8::2"])] {
            let interface = interface(number, addresses.map(|it| it.parse().unwrap()).to_vec());
            world.state.interfaces.insert(interface.id, interface);
        }
        world.rules(rules);
        world
    }

    /// Replaces the rules of group 1. `DIR TRAFFIC PEER`: `in tcp 80 world`, `out all world4`, `in icmp 8/0 far`,
    /// `in 47 10.0.0.0/8`, `in udp 1-9 sg2`. `world` and `far` stand for a rule in each family.
    pub fn rules(&mut self, rules: &[&str]) {
        self.state.rules.clear();
        for text in rules {
            let words: Vec<&str> = text.split(' ').collect();
            let direction = if words[0] == "in" { IN } else { OUT };
            let traffic = traffic(&words[1..words.len() - 1]);
            let peers: &[&str] = match words[words.len() - 1] {
                "world" => &["0.0.0.0/0", "::/0"],
                "world4" => &["0.0.0.0/0"],
                "world6" => &["::/0"],
                "far" => &["203.0.113.1/32", "2001:db8:f::1/128"],
                peer => &[peer],
            };
            for peer in peers {
                let peer = match (peer.strip_prefix("sg"), peer.contains(':')) {
                    (Some(number), _) => Peer::Group(sg(number.parse().unwrap())),
                    (None, false) => Peer::Ipv4(peer.parse().unwrap()),
                    (None, true) => Peer::Ipv6(peer.parse().unwrap()),
                };
                let rule = Rule::new(RuleId::random(), sg(1), direction, traffic, peer);
                self.state.rules.insert(rule.id, rule);
            }
        }
        self.model.set_policy(&self.state);
    }

    /// Changes the interface under test.
    pub fn change(&mut self, change: impl FnOnce(&mut Interface)) {
        change(self.state.interfaces.get_mut(&eth1()).unwrap());
        self.model.set_policy(&self.state);
    }

    pub fn options(&mut self, change: impl FnOnce(&mut Options)) {
        self.change(|interface| change(&mut interface.attachment.as_mut().unwrap().options));
    }

    pub fn side(&mut self, side: Side) {
        self.change(|interface| interface.attachment.as_mut().unwrap().side = side);
    }

    pub fn at(&mut self, seconds: u64) {
        self.model.set_time(seconds);
    }

    pub fn judge(&mut self, packet: &Built) -> Verdict {
        self.judge_bytes(packet.direction, &packet.bytes())
    }

    pub fn judge_bytes(&mut self, direction: Direction, bytes: &[u8]) -> Verdict {
        self.model.judge(eth1(), &frame(direction, bytes))
    }

    /// Whether the packet's one possible outcome is this one.
    #[track_caller]
    pub fn passes(&mut self, packet: &Built, class: PassClass) {
        assert_eq!(self.judge(packet), Verdict::Exactly(pass(class)), "{packet:?}");
    }

    #[track_caller]
    pub fn drops(&mut self, packet: &Built, class: DropClass) {
        assert_eq!(self.judge(packet), Verdict::Exactly(dropped(class)), "{packet:?}");
    }

    /// A connection from its SYN to the third leg. Initial sequence numbers are 1000 and 2000.
    #[track_caller]
    pub fn connect(&mut self, net: Net, start: Direction, local: u16, remote: u16) {
        let back = super::opposite(start);
        self.passes(&net.tcp(start, local, remote, SYN, 1000, 0), New);
        self.passes(&net.tcp(back, local, remote, SYN | ACK, 2000, 1001), Tracked);
        self.passes(&net.tcp(start, local, remote, ACK, 1001, 2001), Tracked);
    }
}

pub(super) fn frame(direction: Direction, bytes: &[u8]) -> Frame<'_> {
    Frame { bytes, direction, metadata_tag: None, gso: false, network_ethertype: None }
}

/// The interface under test.
pub(super) fn eth1() -> EniId {
    eni(1)
}

fn interface(number: u32, addresses: Vec<IpAddr>) -> Interface {
    let vpc: VpcId = "vpc-00000001".parse().unwrap();
    let attachment = Attachment {
        slot: 1,
        ifindex: 1,
        namespace: 0,
        mac: OWN_MAC,
        side: Side::Host,
        mode: Mode::Tc,
        mode_reason: String::new(),
        options: Options::default(),
        timeouts: TimeoutSettings { tcp_established: Some(432_000), udp: Some(30), udp_stream: Some(180) },
        attached_since: 0,
        observe_until: None,
    };
    let (name, groups) = (format!("eth{number}"), vec![sg(number)]);
    Interface {
        id: eni(number),
        name,
        netns: None,
        vpc,
        groups,
        addresses,
        attachment: Some(attachment),
        tags: Default::default(),
    }
}

fn traffic(words: &[&str]) -> Traffic {
    let range = || {
        let (from, to) = words[1].split_once('-').unwrap_or((words[1], words[1]));
        PortRange { from: from.parse().unwrap(), to: to.parse().unwrap() }
    };
    let icmp = || match words.get(1).map(|word| word.split_once('/').ok_or(word)) {
        None => IcmpMatch::All,
        Some(Ok((kind, code))) => IcmpMatch::TypeCode(kind.parse().unwrap(), code.parse().unwrap()),
        Some(Err(kind)) => IcmpMatch::Type(kind.parse().unwrap()),
    };
    match words[0] {
        "all" => Traffic::All,
        "tcp" => Traffic::Tcp(range()),
        "udp" => Traffic::Udp(range()),
        "icmp" => Traffic::Icmp(icmp()),
        "icmpv6" => Traffic::Icmpv6(icmp()),
        number => Traffic::Other(number.parse().unwrap()),
    }
}

/// One family, for tests that run in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Net {
    pub v6: bool,
}

pub(super) const V4: Net = Net { v6: false };
pub(super) const V6: Net = Net { v6: true };
pub(super) const BOTH: [Net; 2] = [V4, V6];

/// A packet between the interface and one far address.
#[derive(Clone, Debug)]
pub(super) struct Built {
    pub direction: Direction,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub hop_limit: u8,
    pub protocol: u8,
    pub payload: Vec<u8>,
    /// IPv6 extension headers before the fragment header: number and whole bytes; the first is the next header's place.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Identification, offset in bytes, whether more follow.
    pub fragment: Option<(u32, u16, bool)>,
}

impl Net {
    pub fn own(self) -> IpAddr {
        (if self.v6 { "2001:db8::1" } else { "10.0.0.1" }).parse().unwrap()
    }

    pub fn far(self) -> IpAddr {
        (if self.v6 { "2001:db8:f::1" } else { "203.0.113.1" }).parse().unwrap()
    }

    pub fn packet(self, direction: Direction, protocol: u8, payload: Vec<u8>) -> Built {
        let (source, destination) =
            if direction == IN { (self.far(), self.own()) } else { (self.own(), self.far()) };
        let (hop_limit, extensions, fragment) = (64, Vec::new(), None);
        Built { direction, source, destination, hop_limit, protocol, payload, extensions, fragment }
    }

    pub fn tcp(
        self,
        direction: Direction,
        local: u16,
        remote: u16,
        flags: u8,
        sequence: u32,
        acknowledgement: u32,
    ) -> Built {
        let mut bytes = ports(direction, local, remote);
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(acknowledgement.to_be_bytes());
        bytes.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
        self.packet(direction, 6, bytes)
    }

    pub fn udp(self, direction: Direction, local: u16, remote: u16) -> Built {
        let mut bytes = ports(direction, local, remote);
        bytes.extend([0, 8, 0, 0]);
        self.packet(direction, 17, bytes)
    }

    pub fn icmp(self, direction: Direction, kind: u8, code: u8, identifier: u16) -> Built {
        let [a, b] = identifier.to_be_bytes();
        self.packet(direction, if self.v6 { 58 } else { 1 }, vec![kind, code, 0, 0, a, b, 0, 0])
    }

    /// An echo request or its answer.
    pub fn echo(self, direction: Direction, is_answer: bool, identifier: u16) -> Built {
        let kind = if self.v6 { [128, 129] } else { [8, 0] }[usize::from(is_answer)];
        self.icmp(direction, kind, 0, identifier)
    }

    /// "Destination unreachable" about `quoted`, from a router on the way.
    pub fn error(self, direction: Direction, quoted: &Built) -> Built {
        let mut error = self.icmp(direction, if self.v6 { 1 } else { 3 }, 0, 0);
        error.payload.extend(&quoted.bytes()[14..]);
        let router = if self.v6 { "2001:db8:ff::1" } else { "198.51.100.1" }.parse().unwrap();
        if direction == IN {
            error.source = router
        } else {
            error.destination = quoted.source
        }
        error
    }
}

fn ports(direction: Direction, local: u16, remote: u16) -> Vec<u8> {
    let (source, destination) = if direction == IN { (remote, local) } else { (local, remote) };
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

impl Built {
    pub fn from(mut self, source: &str) -> Self {
        self.source = source.parse().unwrap();
        self
    }

    pub fn to(mut self, destination: &str) -> Self {
        self.destination = destination.parse().unwrap();
        self
    }

    pub fn hops(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    pub fn extension(mut self, number: u8, length: usize) -> Self {
        let mut bytes = vec![0; length];
        bytes[1] = u8::try_from(if number == 51 { length / 4 - 2 } else { length / 8 - 1 }).unwrap();
        self.extensions.push((number, bytes));
        self
    }

    /// The same datagram cut to a fragment: `length` bytes at `offset`.
    pub fn fragment(mut self, id: u32, offset: u16, length: usize, more: bool) -> Self {
        self.payload.resize(usize::from(offset) + length, 0);
        self.payload.drain(..usize::from(offset));
        self.fragment = Some((id, offset, more));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (to, from) = if self.direction == IN { (OWN_MAC, FAR_MAC) } else { (FAR_MAC, OWN_MAC) };
        let mut bytes = [to, from].concat();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let length = u16::try_from(20 + self.payload.len()).unwrap();
                let (id, offset, more) = self.fragment.unwrap_or_default();
                bytes.extend([0x08, 0x00, 0x45, 0]);
                bytes.extend(length.to_be_bytes());
                bytes.extend(u16::try_from(id).unwrap().to_be_bytes());
                bytes.extend(((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
                bytes.extend([self.hop_limit, self.protocol, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(&self.payload);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut headers = self.extensions.clone();
                if let Some((id, offset, more)) = self.fragment {
                    let mut header = vec![0, 0];
                    header.extend((offset | u16::from(more)).to_be_bytes());
                    header.extend(id.to_be_bytes());
                    headers.push((44, header));
                }
                let mut next = self.protocol;
                let mut body = self.payload.clone();
                for (number, mut header) in headers.into_iter().rev() {
                    header[0] = next;
                    next = number;
                    body.splice(0..0, header);
                }
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
                bytes.extend([next, self.hop_limit]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(body);
            }
            _ => panic!("addresses of two families"),
        }
        bytes
    }
}
