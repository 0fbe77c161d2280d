//! Packets, streams and requests through a veth pair: ours beside nftables, iptables with ipset, and nothing.

use crate::{
    Run,
    contest::{Contender, Filter, Known, SET_PORT, STREAM_PORT, WORLD_PORT, strangers},
    load::{LiveSender, Sent, observe, send_packets},
    results::{Bound, Cell, Samples, Section, Table, Target},
    stream,
};
use sg_tests::net::{IFACE, PEER};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// Flows that tracked and untracked packets belong to.
const FLOWS: usize = 1 << 10;
/// Senders that no rule names.
const STRANGERS: u32 = 1 << 14;

const FILTERS: [Filter; 7] = [
    Filter::None,
    Filter::Ours("auto"),
    Filter::Ours("native"),
    Filter::BareTc,
    Filter::BareXdp,
    Filter::Nftables,
    Filter::Iptables,
];

const OURS: Filter = Filter::Ours("auto");
const NATIVE: Filter = Filter::Ours("native");

const HOW: [&str; 9] = [
    "two namespaces and one veth pair for each contender, MTU 1500, all set up before, measured by turns, round by round; the filtered end takes",
    "frames of 60 bytes, UDP. *XDP frames*: `BPF_PROG_TEST_RUN` with live frames, redirected into the pair, as a driver with XDP would hand them over; the filtered end has GRO on, which a veth needs to take them. *Packets*: `AF_PACKET` with `PACKET_QDISC_BYPASS`, 64 a system call, as a local container or VM sends them; GRO off, as a veth is born",
    "the sender is pinned to processor 0, where the filter and the stack behind it run too; a packet counts when the filtered end has taken it (`tx_packets` of the sending end, which leaves out what the pair dropped)",
    "CPU a packet: what `/proc/stat` says that processor 0 was not idle, by packets: sending, filter and stack together, so that only differences say what a filter takes",
    "the policy is the same for all: stateful, UDP 53 open to the world, UDP 5000 to a set of 10,000 prefixes of 25 to 28 bits (100 in a quick run), everything may be sent; nftables has the prefixes in an interval set, iptables in a `hash:net` of ipset",
    "*drop*: to UDP 5000 from 16,384 senders that no prefix holds, so that each packet misses the flow table and the set. No filter takes them; behind the others the sink must have received nothing",
    "*tracked*: to UDP 5000, 1,024 flows by turns, all of which the host answered right before. *Untracked*: to UDP 53, which EC2's rules do not track; the others track it. A socket takes them, and nobody reads it: its queue is full all the while",
    "*bare program*: one LRU hash and one LPM trie of the same prefixes, looked up once a packet, and nothing else (`sg-ebpf/bench/wire.rs`)",
    "*stream*: one TCP connection, client on processor 0 writes 128 KiB at a time to the filtered host on processor 1. *Request*: 64 bytes there and back on one connection, one after the other; the samples are medians of a round",
];

/// The section.
pub fn measure(run: &Run) -> Section {
    let programs = run.programs.with_file_name("sg-wire");
    let known = Known::new(run.choose(10_000, 100));
    let wire = Wire {
        contenders: FILTERS.map(|filter| Contender::new(&programs, filter, &known)).into(),
        members: known.members(FLOWS),
        strangers: strangers(STRANGERS),
        rounds: run.choose(7, 1),
        time: run.choose(Duration::from_millis(1_000), Duration::from_millis(50)),
    };
    let mut section = Section::new("wire", &HOW);
    let all = FILTERS;
    let skb = [Filter::None, OURS, Filter::BareTc, Filter::Nftables, Filter::Iptables];
    let accepting = [Filter::None, OURS, NATIVE, Filter::Nftables, Filter::Iptables];
    let accepting_skb = [Filter::None, OURS, Filter::Nftables, Filter::Iptables];

    wire.contenders.iter().for_each(|contender| contender.receive_offload(true));
    let drop_live = wire.rates(&all, Kind::Drop, Some(&programs));
    let tracked_live = wire.rates(&accepting, Kind::Tracked, Some(&programs));
    let untracked_live = wire.rates(&accepting, Kind::Untracked, Some(&programs));
    wire.contenders.iter().for_each(|contender| contender.receive_offload(false));
    let drop = wire.rates(&skb, Kind::Drop, None);
    let tracked = wire.rates(&accepting_skb, Kind::Tracked, None);
    let untracked = wire.rates(&accepting_skb, Kind::Untracked, None);
    for (title, rates) in [
        ("Drop by rules, XDP frames", &drop_live),
        ("Drop by rules, packets", &drop),
        ("Accept of tracked flows, XDP frames", &tracked_live),
        ("Accept of tracked flows, packets", &tracked),
        ("Accept of untracked flows, XDP frames", &untracked_live),
        ("Accept of untracked flows, packets", &untracked),
    ] {
        section.tables.push(rates.table(title));
    }
    section.targets.push(Target::new(
        "drop by rules (flow miss + 10 k prefixes), native XDP frames, packets a second over nftables stateful with a 10 k interval set",
        Bound::AtLeast(3.0),
        drop_live.rate(NATIVE).over(&drop_live.rate(Filter::Nftables)),
        format!("bare program over nftables: {} ×", drop_live.rate(Filter::BareXdp).over(&drop_live.rate(Filter::Nftables))),
    ));
    for (rates, what) in [(&drop_live, "XDP frames"), (&drop, "packets")] {
        section.targets.push(Target::new(
            &format!(
                "the same at TC ingress on veth, {what}, over the bare program (one flow table and trie)"
            ),
            Bound::AtLeast(0.85),
            rates.rate(OURS).over(&rates.rate(Filter::BareTc)),
            format!("over nftables: {} ×", rates.rate(OURS).over(&rates.rate(Filter::Nftables))),
        ));
    }
    for (rates, what) in [(&tracked_live, "XDP frames"), (&tracked, "packets")] {
        let added = |filter| rates.busy(filter).minus(&rates.busy(Filter::None));
        section.targets.push(Target::new(
            &format!("accept of a tracked flow at TC, {what}: CPU a packet added over no filter, over what nftables adds"),
            Bound::AtMost(0.4),
            added(OURS).over(&added(Filter::Nftables)),
            format!("added: ours {} ns, nftables {} ns", added(OURS), added(Filter::Nftables)),
        ));
    }
    wire.streams(&mut section, &accepting_skb);
    section
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Drop,
    Tracked,
    Untracked,
}

impl Kind {
    /// The reason that ours counts such packets under.
    fn reason(self) -> &'static str {
        match self {
            Self::Drop => "ingress.no_rule",
            Self::Tracked => "ingress.tracked",
            Self::Untracked => "ingress.untracked",
        }
    }

    fn port(self) -> u16 {
        if self == Self::Untracked { WORLD_PORT } else { SET_PORT }
    }
}

/// Between two readings of our counters, packets were judged as the table says and not otherwise.
fn verify(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>, kind: Kind) {
    let risen = |reason: &str| after.get(reason).unwrap_or(&0) - before.get(reason).unwrap_or(&0);
    let all: u64 = after.keys().filter(|reason| reason.starts_with("ingress.")).map(|it| risen(it)).sum();
    let expected = risen(kind.reason());
    assert!(expected > 0 && expected == all, "{expected} of {all} packets were {}", kind.reason());
}

/// All contenders, and how much is done with each.
struct Wire {
    contenders: Vec<Contender>,
    members: Vec<std::net::Ipv4Addr>,
    strangers: Vec<std::net::Ipv4Addr>,
    rounds: usize,
    time: Duration,
}

/// Samples by contender, in the order of the table.
struct Rates(Vec<(Filter, Vec<Sent>)>);

impl Rates {
    fn of(&self, filter: Filter, unit: &'static str, what: impl Fn(&Sent) -> f64) -> Samples {
        let (_, sent) = self.0.iter().find(|row| row.0 == filter).expect("a contender of this table");
        Samples::new(unit, sent.iter().map(what).collect())
    }

    fn rate(&self, filter: Filter) -> Samples {
        self.of(filter, "kpps", |sent| sent.rate / 1e3)
    }

    fn busy(&self, filter: Filter) -> Samples {
        self.of(filter, "ns", |sent| sent.busy)
    }

    fn table(&self, title: &str) -> Table {
        let mut table = Table::new(title, &["filter", "kpps", "CPU a packet, ns", "over no filter, ns"]);
        for (filter, _) in &self.0 {
            let added = match filter {
                Filter::None => Cell::Said(String::new()),
                _ => self.busy(*filter).minus(&self.busy(Filter::None)).into(),
            };
            table.row(filter.name(), vec![self.rate(*filter).into(), self.busy(*filter).into(), added]);
        }
        table
    }
}

impl Wire {
    fn contender(&self, filter: Filter) -> &Contender {
        self.contenders.iter().find(|contender| contender.filter == filter).expect("a contender")
    }

    /// Packets a second of one kind: XDP frames by the program in that object, or packets.
    fn rates(&self, filters: &[Filter], kind: Kind, live: Option<&Path>) -> Rates {
        let sources = if kind == Kind::Drop { &self.strangers } else { &self.members };
        let mut rates: BTreeMap<usize, Vec<Sent>> = BTreeMap::new();
        let ready: Vec<_> = filters
            .iter()
            .map(|filter| {
                let contender = self.contender(*filter);
                let frames = contender.frames(sources, kind.port());
                let live = live
                    .map(|programs| LiveSender::new(programs, &contender.outside, PEER, &frames[0], sources));
                (contender, frames, live)
            })
            .collect();
        for _ in 0..self.rounds {
            for (at, (contender, frames, live)) in ready.iter().enumerate() {
                if kind != Kind::Drop {
                    contender.establish(frames, kind.port());
                }
                contender.drain(kind.port());
                let before = contender.ctl.as_ref().map(|ctl| ctl.judged(IFACE));
                let sent = observe(&contender.outside, PEER, || match live {
                    Some(sender) => sender.send(self.time),
                    None => send_packets(PEER, frames, self.time),
                });
                let received = contender.drain(kind.port());
                let is_dropped = kind == Kind::Drop && contender.filter != Filter::None;
                assert_eq!(received == 0, is_dropped, "{}: {received} packets", contender.filter.name());
                if let (Some(ctl), Some(before)) = (&contender.ctl, before) {
                    verify(&before, &ctl.judged(IFACE), kind);
                }
                rates.entry(at).or_default().push(sent);
            }
        }
        Rates(filters.iter().copied().zip(rates.into_values()).collect())
    }

    /// TCP: one stream, and requests.
    fn streams(&self, section: &mut Section, filters: &[Filter]) {
        let mut throughput: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        let mut latency: BTreeMap<usize, [Vec<f64>; 2]> = BTreeMap::new();
        for _ in 0..self.rounds {
            for (at, filter) in filters.iter().enumerate() {
                let contender = self.contender(*filter);
                let pair = stream::Pair::open(contender, STREAM_PORT);
                throughput.entry(at).or_default().push(pair.goodput(self.time, [0, 1]) * 8.0 / 1e9);
                let pair = stream::Pair::open(contender, STREAM_PORT);
                let round = pair.requests(self.time, [0, 1]);
                let [medians, tails] = latency.entry(at).or_default();
                medians.push(round.median);
                tails.push(round.p99);
            }
        }
        let mut table = Table::new(
            "TCP",
            &["filter", "one stream, Gbit/s", "request, median, µs", "request, 99th percentile, µs"],
        );
        for ((filter, throughput), [medians, tails]) in
            filters.iter().zip(throughput.values()).zip(latency.values())
        {
            let samples = |unit, values: &Vec<f64>| Cell::from(Samples::new(unit, values.clone()));
            table.row(
                filter.name(),
                vec![samples("Gbit/s", throughput), samples("µs", medians), samples("µs", tails)],
            );
        }
        section.tables.push(table);
        let of = |filter: Filter| {
            let at = filters.iter().position(|it| *it == filter).expect("a contender of this table");
            Samples::new("Gbit/s", throughput[&at].clone())
        };
        let over = |filter| of(filter).over(&of(Filter::None));
        section.targets.push(Target::new(
            "TCP throughput with `--mode auto` on veth, over no filter",
            Bound::AtLeast(0.95),
            over(OURS),
            format!("nftables over no filter: {} ×", over(Filter::Nftables)),
        ));
    }
}
