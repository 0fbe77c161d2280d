//! The contenders: pairs of namespaces on a cable, alike but for the packet filter of one end.
//!
//! The policy is the same for all, each in its own words: stateful; UDP 53 open to the world; TCP 8000-8007 and 5201 to the far
//! end of the cable; UDP 5000 and TCP 5001 to a set of prefixes; everything may be sent.

use crate::load::{Layer4, Wire};
use aya::{
    Ebpf, EbpfLoader,
    maps::lpm_trie::{Key, LpmTrie},
    programs::{SchedClassifier, TcAttachType, Xdp, XdpMode},
};
use sg_ctl::kernel::object;
use sg_tests::{
    ctl::Ctl,
    net::{End, IFACE, Namespace, PEER, cable, run},
};
use std::{
    fmt::Write,
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

/// The far end of every cable.
pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// Addresses of the filtered end: this one and those after it.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const NEAR_COUNT: u8 = 16;
/// UDP, open to the world: untracked by EC2's rules.
pub const WORLD_PORT: u16 = 53;
/// UDP, open to the set of prefixes.
pub const SET_PORT: u16 = 5_000;
/// TCP, open to the set of prefixes.
pub const SET_TCP_PORT: u16 = 5_001;
/// TCP, open to the far end.
pub const STREAM_PORT: u16 = 5_201;
/// TCP, open to the far end: eight from here.
pub const SERVICE_PORT: u16 = 8_000;

/// Who filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    None,
    /// With that `--mode`.
    Ours(&'static str),
    /// Stateful, and an interval set.
    Nftables,
    /// `iptables` as the system has it, conntrack, and a `hash:net` of ipset.
    Iptables,
    /// One flow table and one trie, and nothing else (`sg-ebpf/bench/wire.rs`), at native XDP.
    BareXdp,
    /// The same at TC ingress (tcx).
    BareTc,
}

impl Filter {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no filter",
            Self::Ours("native") => "ours, native XDP",
            Self::Ours("auto") => "ours, --mode auto",
            Self::Ours(_) => "ours, TC",
            Self::Nftables => "nftables",
            Self::Iptables => "iptables + ipset",
            Self::BareXdp => "bare program, native XDP",
            Self::BareTc => "bare program, TC",
        }
    }
}

/// The set of prefixes and who is in it.
pub struct Known {
    prefixes: Vec<(Ipv4Addr, u8)>,
}

impl Known {
    /// That many prefixes, at most a million, no two of which touch: of 25 to 28 bits in 11.0.0.0/8 up to 16,384, of 28 to
    /// 31 bits in 64.0.0.0/6 beyond.
    pub fn new(count: u32) -> Self {
        Self::place(count, 0)
    }

    /// As many others: none is in [`Self::new`].
    pub fn other(count: u32) -> Self {
        Self::place(count, 1)
    }

    fn place(count: u32, variant: u32) -> Self {
        assert!(count <= 1 << 20);
        let (base, slot, longest) = if count <= 1 << 14 { (11 << 24, 10, 28) } else { (64 << 24, 6, 31) };
        let prefix = |n: u32| {
            let length = longest - ((n + variant) % 4) as u8;
            // Somewhere in the first half of a place of its own, or for the other variant in the second.
            let within = n.wrapping_mul(0x9E37_79B1) >> (33 - slot) | variant << (slot - 1);
            (Ipv4Addr::from((base | n << slot | within) & !(u32::MAX >> length)), length)
        };
        Self { prefixes: (0..count).map(prefix).collect() }
    }

    /// With one address more.
    pub fn and(mut self, address: Ipv4Addr) -> Self {
        self.prefixes.push((address, 32));
        self
    }

    /// `11.0.1.0/24` and so on.
    pub fn lines(&self, between: &str) -> String {
        let lines: Vec<String> =
            self.prefixes.iter().map(|(address, length)| format!("{address}/{length}")).collect();
        lines.join(between)
    }

    /// Addresses of different prefixes in no order, as many as are asked for (or there are).
    pub fn members(&self, count: usize) -> Vec<Ipv4Addr> {
        let len = self.prefixes.len();
        let nth =
            |n: usize| Ipv4Addr::from(u32::from(self.prefixes[n * 7_919 % len].0) + 1 + (n / len) as u32);
        (0..count).map(nth).collect()
    }
}

/// Addresses that no rule names.
pub fn strangers(count: u32) -> Vec<Ipv4Addr> {
    (0..count).map(|n| Ipv4Addr::from(12 << 24 | (n.wrapping_mul(0x9E37_79B1) >> 8))).collect()
}

/// A filtered host and a far end.
pub struct Contender {
    pub filter: Filter,
    /// Goes first, so that nothing is attached when the namespaces go. Ours alone.
    pub ctl: Option<Ctl>,
    bare: Option<Ebpf>,
    /// Sockets that take UDP: the port, and the socket.
    sinks: [(u16, UdpSocket); 2],
    pub host: Namespace,
    pub outside: Namespace,
    pub wire: Wire,
}

impl Contender {
    pub fn new(programs: &Path, filter: Filter, known: &Known) -> Self {
        let (host, outside) = (Namespace::new("host"), Namespace::new("far"));
        let near: Vec<IpAddr> =
            (0..NEAR_COUNT).map(|n| Ipv4Addr::from(u32::from(NEAR) + u32::from(n)).into()).collect();
        cable(
            &End { namespace: &host, link: IFACE, addresses: &near },
            &End { namespace: &outside, link: PEER, addresses: &[FAR.into()] },
        );
        let (host_mac, far_mac) = (mac(&host, IFACE), mac(&outside, PEER));
        // Nobody is to look for a neighbour under load, and answers to invented senders are to leave the host.
        host.ip(&format!("neighbour replace {FAR} lladdr {} nud permanent dev {IFACE}", far_mac.0));
        for address in &near {
            outside
                .ip(&format!("neighbour replace {address} lladdr {} nud permanent dev {PEER}", host_mac.0));
        }
        for network in ["11.0.0.0/8", "12.0.0.0/8", "64.0.0.0/6"] {
            host.ip(&format!("route add {network} via {FAR} dev {IFACE}"));
        }
        host.inside(|| {
            for which in ["all", IFACE] {
                fs::write(format!("/proc/sys/net/ipv4/conf/{which}/rp_filter"), "0").unwrap();
            }
        });
        let sink = |port| (port, host.udp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)));
        let sinks = [sink(WORLD_PORT), sink(SET_PORT)];
        sinks.iter().for_each(|(_, socket)| socket.set_nonblocking(true).unwrap());
        let wire = Wire { source_mac: far_mac.1, destination_mac: host_mac.1, destination: NEAR };
        let mut contender = Self { filter, ctl: None, bare: None, sinks, host, outside, wire };
        contender.set_up(programs, known);
        contender
    }

    fn set_up(&mut self, programs: &Path, known: &Known) {
        match self.filter {
            Filter::None => {}
            Filter::Ours(mode) => self.ctl = Some(ours(&self.host, mode, known)),
            Filter::Nftables => feed(&self.host, "nft", &["-f"], &nftables(known)),
            Filter::Iptables => iptables(&self.host, known),
            Filter::BareXdp | Filter::BareTc => self.bare = Some(self.bare(programs, known)),
        }
    }

    fn bare(&self, programs: &Path, known: &Known) -> Ebpf {
        let mut object = EbpfLoader::new().load(&fs::read(programs).unwrap()).unwrap();
        let mut trie: LpmTrie<_, u32, u32> = object.map_mut("KNOWN").unwrap().try_into().unwrap();
        for (address, length) in &known.prefixes {
            trie.insert(&Key::new(u32::from(*length), u32::from_ne_bytes(address.octets())), &1, 0).unwrap();
        }
        self.host.inside(|| {
            if self.filter == Filter::BareXdp {
                object::load(&mut object, "bare_xdp").unwrap();
                let program: &mut Xdp = object.program_mut("bare_xdp").unwrap().try_into().unwrap();
                program.attach(c"sg0", XdpMode::Driver).unwrap();
            } else {
                object::load(&mut object, "bare_tc").unwrap();
                let program: &mut SchedClassifier =
                    object.program_mut("bare_tc").unwrap().try_into().unwrap();
                program.attach(c"sg0", TcAttachType::Ingress).unwrap();
            }
        });
        object
    }

    /// Generic receive offload of the filtered end: with it a veth takes XDP frames from the other end.
    pub fn receive_offload(&self, on: bool) {
        let value = if on { "on" } else { "off" };
        self.host.inside(|| run("ethtool", &format!("-K {IFACE} gro {value}")));
    }

    /// Frames to a UDP port from these sources, all from one port.
    pub fn frames(&self, sources: &[Ipv4Addr], port: u16) -> Vec<Vec<u8>> {
        sources.iter().map(|source| self.wire.frame((*source, 40_000), port, Layer4::Udp)).collect()
    }

    /// Makes each frame's flow a two-way one: the host answers. The filter must let them in.
    pub fn establish(&self, frames: &[Vec<u8>], port: u16) {
        self.drain(port);
        let sink = self.sink(port);
        let sender = self.outside.inside(|| crate::sys::PacketSocket::open(PEER)).unwrap();
        let mut answered = 0;
        for chunk in frames.chunks(32) {
            let mut at = 0;
            while at < chunk.len() {
                at += sender.send(&chunk[at..]).unwrap();
            }
            let mut data = [0; 64];
            let mut idle = 0;
            let mut left = chunk.len();
            while left > 0 && idle < 1_000 {
                match sink.recv_from(&mut data) {
                    Ok((_, from)) => {
                        sink.send_to(b"answer", from).unwrap();
                        left -= 1;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        idle += 1;
                        std::thread::sleep(Duration::from_micros(50));
                    }
                    Err(error) => panic!("a sink fails: {error}"),
                }
            }
            answered += chunk.len() - left;
        }
        assert_eq!(answered, frames.len(), "{}: flows that were to be established", self.filter.name());
    }

    /// What takes a UDP port's datagrams: it does not block.
    pub fn sink(&self, port: u16) -> &UdpSocket {
        &self.sinks.iter().find(|sink| sink.0 == port).expect("a port with a sink").1
    }

    /// Takes what a port's sink has, and says how many datagrams that were.
    pub fn drain(&self, port: u16) -> usize {
        let sink = self.sink(port);
        let mut data = [0; 64];
        std::iter::from_fn(|| sink.recv_from(&mut data).ok()).count()
    }
}

/// A link's address, as `ip` prints it and as frames carry it.
fn mac(namespace: &Namespace, link: &str) -> (String, [u8; 6]) {
    let shown = namespace.ip(&format!("-o link show dev {link}"));
    let text = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned();
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    (text, bytes.try_into().unwrap())
}

/// Hands a text to a program in a namespace, by a file.
fn feed(host: &Namespace, program: &str, arguments: &[&str], text: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    host.inside(|| run(program, &format!("{} {}", arguments.join(" "), file.path().display())));
}

fn ours(host: &Namespace, mode: &str, known: &Known) -> Ctl {
    let ctl = Ctl::new(host);
    let room = known.prefixes.len() + 100;
    ctl.json(&format!(
        "quota rules-per-interface=15000000 rules-per-group=3000000 entries-per-prefix-list={room}"
    ));
    ctl.json(&format!("prefix-list create known --family ipv4 --max-entries {room}"));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), known.lines("\n")).unwrap();
    ctl.json(&format!("prefix-list import known {}", file.path().display()));
    ctl.group(
        "bench",
        &[
            &format!("ingress --protocol udp --port {WORLD_PORT} --cidr 0.0.0.0/0"),
            &format!("ingress --protocol udp --port {SET_PORT} --prefix-list known"),
            &format!("ingress --protocol tcp --port {SET_TCP_PORT} --prefix-list known"),
            &format!("ingress --protocol tcp --port {STREAM_PORT} --cidr {FAR}/32"),
            &format!("ingress --protocol tcp --port {SERVICE_PORT}-{} --cidr {FAR}/32", SERVICE_PORT + 7),
        ],
    );
    ctl.json(&format!("attach {IFACE} --adopt none --group bench --mode {mode}"));
    ctl
}

fn nftables(known: &Known) -> String {
    let mut text = String::new();
    let last = SERVICE_PORT + 7;
    writeln!(
        text,
        "table inet bench {{\n\
         set known {{ type ipv4_addr; flags interval; elements = {{ {} }} }}\n\
         chain input {{ type filter hook input priority 0; policy drop;\n\
         ct state established,related accept\n\
         ct state invalid drop\n\
         udp dport {WORLD_PORT} accept\n\
         udp dport {SET_PORT} ip saddr @known accept\n\
         tcp dport {SET_TCP_PORT} ip saddr @known accept\n\
         ip saddr {FAR} tcp dport {{ {STREAM_PORT}, {SERVICE_PORT}-{last} }} accept\n\
         }}\n\
         chain output {{ type filter hook output priority 0; policy accept; }}\n\
         }}",
        known.lines(", ")
    )
    .unwrap();
    text
}

fn iptables(host: &Namespace, known: &Known) {
    let room = (known.prefixes.len() * 2).next_power_of_two();
    let set = known.lines("\nadd known ");
    feed(
        host,
        "ipset",
        &["restore", "-file"],
        &format!("create known hash:net hashsize {room} maxelem {room}\nadd known {set}\n"),
    );
    let last = SERVICE_PORT + 7;
    for rule in [
        "-P INPUT DROP".to_owned(),
        "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT".to_owned(),
        "-A INPUT -m conntrack --ctstate INVALID -j DROP".to_owned(),
        format!("-A INPUT -p udp --dport {WORLD_PORT} -j ACCEPT"),
        format!("-A INPUT -p udp --dport {SET_PORT} -m set --match-set known src -j ACCEPT"),
        format!("-A INPUT -p tcp --dport {SET_TCP_PORT} -m set --match-set known src -j ACCEPT"),
        format!("-A INPUT -s {FAR} -p tcp --dport {STREAM_PORT} -j ACCEPT"),
        format!("-A INPUT -s {FAR} -p tcp --dport {SERVICE_PORT}:{last} -j ACCEPT"),
    ] {
        host.inside(|| run("iptables", &format!("-w {rule}")));
    }
}
