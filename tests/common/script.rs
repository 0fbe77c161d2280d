//! Scripts for the comparison with the reference model: a policy, then packets, rule changes and pauses.
//!
//! Values come from small pools, so that packets meet the same flows and the same rules again and again.

use crate::packet::{FragmentOf, Packet, Payload, tcp};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::{collection::vec, prelude::*, sample::select};
use serde::{Deserialize, Serialize};
use sg_ctl::model::{Direction, IcmpMatch, Options, PortRange, Traffic};
use std::net::IpAddr;

/// Interfaces of the lab: two on the host side, one a guest's.
pub const INTERFACES: u8 = 3;
/// Groups that rules belong to and refer to.
pub const GROUPS: u8 = 4;

/// Prefix lists that rules refer to: one of IPv4, one of IPv6.
pub const LISTS: u8 = 2;

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Script {
    /// Groups of each interface, as bits.
    pub members: [u8; INTERFACES as usize],
    /// Switches of each interface.
    pub options: [Options; INTERFACES as usize],
    /// Rules at the beginning.
    pub rules: Vec<RuleSpec>,
    /// Entries of the prefix lists at the beginning.
    #[serde(default)]
    pub lists: [Vec<IpNet>; LISTS as usize],
    /// The flows that most packets belong to.
    pub conversations: Vec<Conversation>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// A rule; its group by number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleSpec {
    /// Below [`GROUPS`].
    pub group: u8,
    /// Inbound or outbound.
    pub direction: Direction,
    /// What it admits.
    pub traffic: Traffic,
    /// Of or to whom.
    pub peer: PeerSpec,
}

/// A rule's peer; a group or prefix list by number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PeerSpec {
    /// IPv4.
    V4(Ipv4Net),
    /// IPv6.
    V6(Ipv6Net),
    /// Below [`GROUPS`].
    Group(u8),
    /// Below [`LISTS`].
    List(u8),
}

/// Two ends that talk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conversation {
    /// Below [`INTERFACES`].
    pub interface: u8,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// Which far end.
    pub remote: u8,
    /// Local port, or identifier.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// VLAN tags that its packets have, the outer one first.
    #[serde(default)]
    pub tags: Vec<u16>,
}

/// Something that happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Step {
    /// A packet of a conversation.
    Packet(PacketSpec),
    /// The three legs of a TCP connection.
    Open {
        /// Index into the conversations.
        conversation: u8,
        /// Who starts.
        start: Direction,
    },
    /// Time passes, in seconds.
    Wait(u32),
    /// A rule is added.
    Add(RuleSpec),
    /// A rule goes: the one at this place, modulo how many there are.
    Remove(u8),
    /// An interface gets other groups, as bits.
    SetGroups(u8, u8),
    /// A prefix list gets these entries and no others.
    SetEntries(u8, Vec<IpNet>),
}

/// One packet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PacketSpec {
    /// Index into the conversations.
    pub conversation: u8,
    /// Seen from the instance.
    pub direction: Direction,
    /// Received packets at XDP instead of TC.
    pub xdp: bool,
    /// What it carries.
    pub kind: Kind,
    /// What is odd about it.
    pub twist: Twist,
}

/// What a packet carries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// TCP.
    Tcp {
        /// Flags.
        flags: u8,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
    },
    /// UDP.
    Udp,
    /// UDP with these ports (local, remote) instead of the conversation's.
    UdpPorts(u16, u16),
    /// The family's ICMP.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// An ICMP error of this type and code that quotes another packet of the conversation.
    Error {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// What is quoted.
        quoted: Box<Kind>,
        /// The quoted packet's direction.
        direction: Direction,
        /// Bytes of it.
        length: u8,
        /// Sent by a router on the way, not by the far end.
        by_router: bool,
    },
    /// Another protocol, with some bytes.
    Other(u8),
    /// A frame with this EtherType.
    Frame(u16),
}

/// What is odd about a packet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Twist {
    /// Nothing.
    Plain,
    /// So many VLAN tags, whatever the conversation has.
    Tags(u8),
    /// IPv4 options of so many words; IPv6 extension headers from these numbers.
    Headers(Vec<u8>),
    /// A fragment.
    Fragment {
        /// Which datagram.
        id: u8,
        /// Offset in bytes.
        offset: u16,
        /// More follow.
        more: bool,
    },
    /// Another hop limit.
    HopLimit(u8),
    /// The sender's address is another's.
    Source(u8),
    /// The receiver's address is another's.
    Destination(u8),
    /// A byte of the frame is another.
    Byte(u8, u8),
    /// The frame ends early.
    Cut(u8),
}

/// Addresses of the interfaces, then far ends: IPv4 and IPv6 of each.
const ADDRESSES: [(&str, &str); 12] = [
    ("10.0.0.1", "2001:db8::1"),
    ("10.0.0.2", "2001:db8::2"),
    ("10.0.0.3", "2001:db8::3"),
    ("198.51.100.7", "2001:db8:7::7"),
    ("198.51.100.8", "2001:db8:7::8"),
    ("198.51.101.9", "2001:db8:8::9"),
    ("203.0.113.5", "fd00::5"),
    ("169.254.169.253", "fd00:ec2::253"),
    ("224.0.0.251", "ff02::fb"),
    ("255.255.255.255", "fe80::1"),
    ("0.0.0.0", "::"),
    ("169.254.169.254", "fe80::200:ff:fe00:1"),
];

/// The address at this place.
#[must_use]
pub fn address(place: u8, v6: bool) -> IpAddr {
    let (v4, v6_text) = ADDRESSES[usize::from(place) % ADDRESSES.len()];
    let text = if v6 { v6_text } else { v4 };
    text.parse().unwrap_or_else(|_| unreachable!("{text} is an address"))
}

impl Kind {
    /// The payload with (source, destination) ports.
    fn payload(&self, script: &Script, conversation: &Conversation, outward: bool) -> Payload {
        let turn = |(local, remote)| if outward { (local, remote) } else { (remote, local) };
        let (source, destination) = turn((conversation.local_port, conversation.remote_port));
        match self {
            Self::Tcp { flags, sequence, acknowledgement } => Payload::Tcp {
                source,
                destination,
                flags: *flags,
                sequence: *sequence,
                acknowledgement: *acknowledgement,
            },
            Self::Udp => Payload::Udp { source, destination },
            Self::UdpPorts(local, remote) => {
                let (source, destination) = turn((*local, *remote));
                Payload::Udp { source, destination }
            }
            Self::Icmp { kind, code } => {
                Payload::Icmp { kind: *kind, code: *code, id: conversation.local_port, body: vec![0; 12] }
            }
            Self::Error { kind, code, quoted, direction, length, .. } => {
                let quoted = plain(script, conversation, quoted, *direction);
                let mut body = quoted.network();
                body.truncate(usize::from(*length));
                Payload::Icmp { kind: *kind, code: *code, id: 0, body }
            }
            Self::Other(protocol) => Payload::Raw { protocol: *protocol, bytes: vec![0; 24] },
            Self::Frame(_) => Payload::Raw { protocol: 255, bytes: Vec::new() },
        }
    }
}

/// A packet of the conversation without a twist.
fn plain(script: &Script, conversation: &Conversation, kind: &Kind, direction: Direction) -> Packet {
    let local = address(conversation.interface, conversation.v6);
    let remote = address(conversation.remote, conversation.v6);
    let outward = direction == Direction::Egress;
    let payload = kind.payload(script, conversation, outward);
    if outward { Packet::new(local, remote, payload) } else { Packet::new(remote, local, payload) }
}

impl Script {
    /// The same things in another order, of other conversations and in other directions: a new script at a hundredth
    /// of the cost of drawing one.
    #[must_use]
    pub fn remixed(&self, seed: u64) -> Self {
        let mut state = seed;
        let mut draw = move || {
            state = state.wrapping_add(1);
            sg_common::mark::mix(state, seed)
        };
        let mut script = self.clone();
        for at in (1..script.steps.len()).rev() {
            script.steps.swap(at, (draw() % (at as u64 + 1)) as usize);
        }
        for step in &mut script.steps {
            let drawn = draw();
            match step {
                Step::Packet(packet) => {
                    packet.conversation = drawn as u8;
                    packet.direction = Direction::BOTH[(drawn >> 8 & 1) as usize];
                    packet.xdp = drawn >> 9 & 1 != 0;
                }
                Step::Open { conversation, start } => {
                    *conversation = drawn as u8;
                    *start = Direction::BOTH[(drawn >> 8 & 1) as usize];
                }
                _ => {}
            }
        }
        script
    }
}

impl PacketSpec {
    /// The interface and the frame.
    #[must_use]
    pub fn build(&self, script: &Script) -> (u8, Vec<u8>) {
        let conversation = &script.conversations[usize::from(self.conversation) % script.conversations.len()];
        let mut packet = plain(script, conversation, &self.kind, self.direction);
        if let Kind::Error { by_router: true, .. } = self.kind {
            packet.source = address(6, conversation.v6);
        }
        // The guest's MAC is the one that the link-local address at the end of the list is made of.
        let guest = [0, 0, 0, 0, 0, 1];
        match self.direction {
            Direction::Egress => packet.source_mac = guest,
            Direction::Ingress => packet.destination_mac = guest,
        }
        packet.tags = conversation.tags.iter().map(|tag| (0x8100, *tag)).collect();
        let mut cut = None;
        let mut byte = None;
        match &self.twist {
            Twist::Plain => {}
            Twist::Tags(count) => {
                packet.tags = [(0x88a8, 5), (0x8100, 6), (0x8100, 7)][..usize::from(*count).min(3)].to_vec();
            }
            Twist::Headers(numbers) => headers(&mut packet, numbers),
            Twist::Fragment { id, offset, more } => {
                packet.fragment = Some(FragmentOf { id: u32::from(*id), offset: *offset, more: *more });
            }
            Twist::HopLimit(limit) => packet.hop_limit = *limit,
            Twist::Source(place) => packet.source = address(*place, conversation.v6),
            Twist::Destination(place) => packet.destination = address(*place, conversation.v6),
            Twist::Byte(at, value) => byte = Some((usize::from(*at), *value)),
            Twist::Cut(length) => cut = Some(usize::from(*length)),
        }
        let mut frame = packet.frame();
        if let Kind::Frame(ethertype) = self.kind {
            let at = 12 + 4 * packet.tags.len();
            frame[at..at + 2].copy_from_slice(&ethertype.to_be_bytes());
            frame.resize(60, 0);
        }
        if let Some((at, value)) = byte
            && let Some(byte) = frame.get_mut(12 + at)
        {
            *byte = value;
        }
        if let Some(length) = cut {
            frame.truncate(length);
        }
        (conversation.interface, frame)
    }
}

/// Options or extension headers of plausible and implausible lengths.
fn headers(packet: &mut Packet, numbers: &[u8]) {
    if packet.source.is_ipv4() {
        packet.options = vec![1; numbers.len().min(10) * 4];
        return;
    }
    for &number in numbers {
        let bytes = match number {
            51 => {
                let mut bytes = vec![1];
                bytes.resize(11, 0);
                bytes
            }
            number => {
                let mut bytes = vec![number & 1];
                bytes.resize(if number & 1 == 1 { 15 } else { 7 }, 0);
                bytes
            }
        };
        let numbers = [0, 43, 51, 60, 135];
        let number = if numbers.contains(&number) { number } else { 60 };
        packet.extensions.push((number, bytes));
    }
}

/// Tags of a conversation: none, the priority tag, one with and without priority bits, two in either order.
const TAGS: [&[u16]; 7] = [&[], &[0], &[5], &[0xa005], &[6], &[5, 6], &[6, 5]];
const PORTS: [u16; 8] = [22, 53, 80, 443, 1023, 1024, 40_000, 65_535];
const WAITS: [u32; 22] =
    [1, 2, 9, 10, 11, 29, 30, 31, 59, 60, 61, 119, 120, 121, 179, 180, 181, 361, 600, 601, 432_000, 432_001];
const SEQUENCES: [u32; 6] = [1_000, 1_001, 5_000, 5_001, 1_100_000, 9_000_000];
const ACKNOWLEDGEMENTS: [u32; 8] = [0, 1_000, 1_001, 5_000, 5_001, 70_536, 70_537, 66_537];

fn direction() -> impl Strategy<Value = Direction> {
    select(&Direction::BOTH[..])
}

fn ports() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        3 => select(&PORTS[..]).prop_map(|port| PortRange { from: port, to: port }),
        1 => Just(PortRange::ALL),
        1 => Just(PortRange { from: 1_024, to: u16::MAX }),
        1 => (select(&PORTS[..]), select(&PORTS[..]))
            .prop_map(|(a, b)| PortRange { from: a.min(b), to: a.max(b) }),
    ]
}

fn icmp() -> impl Strategy<Value = IcmpMatch> {
    prop_oneof![
        Just(IcmpMatch::All),
        select(&[0u8, 3, 8, 11, 13, 128, 129, 1, 2][..]).prop_map(IcmpMatch::Type),
        (select(&[3u8, 8, 2, 1, 128][..]), 0..5u8).prop_map(|(kind, code)| IcmpMatch::TypeCode(kind, code)),
    ]
}

fn traffic() -> impl Strategy<Value = Traffic> {
    prop_oneof![
        3 => Just(Traffic::All),
        4 => ports().prop_map(Traffic::Tcp),
        4 => ports().prop_map(Traffic::Udp),
        1 => icmp().prop_map(Traffic::Icmp),
        1 => icmp().prop_map(Traffic::Icmpv6),
        1 => select(&[2u8, 47, 50, 59][..]).prop_map(Traffic::Other),
    ]
}

fn networks4() -> Vec<Ipv4Net> {
    let texts =
        ["0.0.0.0/0", "0.0.0.0/1", "198.51.100.0/24", "198.51.100.0/29", "198.51.100.7/32", "10.0.0.0/8"];
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn networks6() -> Vec<Ipv6Net> {
    let texts = ["::/0", "8000::/1", "2001:db8::/32", "2001:db8:7::/48", "2001:db8:7::7/128", "fe80::/10"];
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn entries4() -> impl Strategy<Value = Vec<IpNet>> {
    vec(select(networks4()).prop_map(IpNet::from), 0..4)
}

fn entries6() -> impl Strategy<Value = Vec<IpNet>> {
    vec(select(networks6()).prop_map(IpNet::from), 0..4)
}

fn peer() -> impl Strategy<Value = PeerSpec> {
    prop_oneof![
        3 => Just(PeerSpec::V4(Ipv4Net::default())),
        3 => Just(PeerSpec::V6(Ipv6Net::default())),
        3 => select(networks4()).prop_map(PeerSpec::V4),
        3 => select(networks6()).prop_map(PeerSpec::V6),
        2 => (0..GROUPS).prop_map(PeerSpec::Group),
        3 => (0..LISTS).prop_map(PeerSpec::List),
    ]
}

fn rule() -> impl Strategy<Value = RuleSpec> {
    (0..GROUPS, direction(), traffic(), peer()).prop_map(|(group, direction, traffic, peer)| RuleSpec {
        group,
        direction,
        traffic,
        peer,
    })
}

fn options() -> impl Strategy<Value = Options> {
    let rarely = || prop::bool::weighted(0.1);
    let aware = prop::bool::weighted(0.3);
    (rarely(), rarely(), rarely(), rarely(), rarely(), rarely(), aware).prop_map(|(a, b, c, d, e, f, g)| {
        Options {
            no_exempt_link_local: a,
            no_exempt_dhcp: b,
            require_icmp_rules: c,
            non_ip_pass: d,
            no_source_dest_check: e,
            force_track: f,
            vlan_aware: g,
        }
    })
}

/// One conversation, or the same in two VLANs.
fn conversations() -> impl Strategy<Value = Vec<Conversation>> {
    let tags = || select(&TAGS[..]).prop_map(<[u16]>::to_vec);
    prop_oneof![
        2 => conversation().prop_map(|one| vec![one]),
        1 => (conversation(), tags(), tags()).prop_map(|(one, first, second)| {
            vec![Conversation { tags: first, ..one.clone() }, Conversation { tags: second, ..one }]
        }),
    ]
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let remote = prop_oneof![6 => 3..7u8, 1 => 0..ADDRESSES.len() as u8];
    (0..INTERFACES, any::<bool>(), remote, select(&PORTS[..]), select(&PORTS[..])).prop_map(
        |(interface, v6, remote, local_port, remote_port)| Conversation {
            interface,
            v6,
            remote,
            local_port,
            remote_port,
            tags: Vec::new(),
        },
    )
}

fn simple_kind() -> impl Strategy<Value = Kind> {
    use tcp::{ACK, FIN, RST, SYN, SYN_ACK};
    let flags = prop_oneof![
        20 => select(&[SYN, SYN_ACK, ACK, ACK, ACK, FIN | ACK, RST, RST | ACK][..]),
        1 => any::<u8>(),
    ];
    let icmp = prop_oneof![
        3 => select(&[(8u8, 0u8), (0, 0), (128, 0), (129, 0), (13, 0), (14, 0)][..]),
        1 => (select(&[3u8, 11, 1, 2, 5, 133, 134, 135, 137, 143, 130, 17, 18][..]), 0..2u8),
    ];
    prop_oneof![
        6 => (flags, select(&SEQUENCES[..]), select(&ACKNOWLEDGEMENTS[..]))
            .prop_map(|(flags, sequence, acknowledgement)| Kind::Tcp { flags, sequence, acknowledgement }),
        4 => Just(Kind::Udp),
        2 => icmp.prop_map(|(kind, code)| Kind::Icmp { kind, code }),
        1 => select(&[2u8, 47, 58, 1, 59, 255][..]).prop_map(Kind::Other),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let dhcp = select(&[(68u16, 67u16), (67, 68), (546, 547), (547, 546)][..]);
    let quoting = select(&[(3u8, 4u8), (11, 0), (12, 0), (1, 0), (2, 0), (4, 1), (5, 0), (137, 0)][..]);
    let length = prop_oneof![4 => Just(200u8), 1 => any::<u8>()];
    prop_oneof![
        16 => simple_kind(),
        1 => dhcp.prop_map(|(local, remote)| Kind::UdpPorts(local, remote)),
        2 => (quoting, simple_kind(), direction(), length, any::<bool>()).prop_map(
            |((kind, code), quoted, direction, length, by_router)| Kind::Error {
                kind,
                code,
                quoted: Box::new(quoted),
                direction,
                length,
                by_router,
            }
        ),
        1 => select(&[0x0806u16, 0x88cc, 0x888e, 0x8809, 0x0026, 0x88b5][..]).prop_map(Kind::Frame),
    ]
}

fn twist() -> impl Strategy<Value = Twist> {
    let offset = select(&[0u16, 8, 16, 24, 32, 1_400, 65_520][..]);
    prop_oneof![
        24 => Just(Twist::Plain),
        1 => (0..4u8).prop_map(Twist::Tags),
        1 => vec(select(&[0u8, 43, 51, 60, 61, 135][..]), 0..10).prop_map(Twist::Headers),
        3 => (0..3u8, offset, any::<bool>())
            .prop_map(|(id, offset, more)| Twist::Fragment { id, offset, more }),
        1 => select(&[255u8, 1, 64][..]).prop_map(Twist::HopLimit),
        1 => (0..ADDRESSES.len() as u8).prop_map(Twist::Source),
        1 => (0..ADDRESSES.len() as u8).prop_map(Twist::Destination),
        2 => (0..90u8, any::<u8>()).prop_map(|(at, value)| Twist::Byte(at, value)),
        1 => any::<u8>().prop_map(Twist::Cut),
    ]
}

fn packet() -> impl Strategy<Value = PacketSpec> {
    (any::<u8>(), direction(), any::<bool>(), kind(), twist()).prop_map(
        |(conversation, direction, xdp, kind, twist)| PacketSpec {
            conversation,
            direction,
            xdp,
            kind,
            twist,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // A policy change costs as much as some thousand packets.
        10_000 => packet().prop_map(Step::Packet),
        500 => (any::<u8>(), direction())
            .prop_map(|(conversation, start)| Step::Open { conversation, start }),
        500 => select(&WAITS[..]).prop_map(Step::Wait),
        2 => rule().prop_map(Step::Add),
        2 => any::<u8>().prop_map(Step::Remove),
        1 => (0..INTERFACES, 1..1u8 << GROUPS).prop_map(|(interface, groups)| Step::SetGroups(interface, groups)),
        1 => entries4().prop_map(|entries| Step::SetEntries(0, entries)),
        1 => entries6().prop_map(|entries| Step::SetEntries(1, entries)),
    ]
}

/// Scripts of up to this many steps.
pub fn scripts(steps: usize) -> impl Strategy<Value = Script> {
    let groups = || 1..1u8 << GROUPS;
    (
        [groups(), groups(), groups()],
        [options(), options(), options()],
        vec(rule(), 0..12),
        (entries4(), entries6()),
        vec(conversations(), 1..8).prop_map(|some| some.concat()),
        vec(step(), steps / 2..=steps),
    )
        .prop_map(|(members, options, rules, lists, conversations, steps)| Script {
            members,
            options,
            rules,
            lists: lists.into(),
            conversations,
            steps,
        })
}
