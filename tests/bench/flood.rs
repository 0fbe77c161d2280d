//! A live connection while floods run: ours beside nftables and nothing.

use crate::{
    Run,
    contest::{Contender, FAR, Filter, Known, NEAR, SET_PORT, SET_TCP_PORT, STREAM_PORT},
    load::{Layer4, observe, send_packets},
    results::{Bound, Cell, Samples, Section, Table, Target},
    stream::{Latency, Pair},
};
use sg_tests::net::PEER;
use socket2::{Domain, Socket, Type};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Different flows of a flood, each of which comes again only when all others have come.
const FLOWS: u32 = 1 << 19;
/// New connections that are tried while a flood runs.
const TRIES: usize = 20;

const OURS: Filter = Filter::Ours("auto");
const FILTERS: [Filter; 3] = [Filter::None, OURS, Filter::Nftables];

const HOW: [&str; 6] = [
    "two namespaces and one veth pair for each contender. A connection that was open before carries as much as it can from the far end to the filtered host, then requests of 64 bytes, one after the other; both of its ends are on processor 1, with and without a flood: the same CPU budget",
    "the flood comes from the far end by processor 0 (`AF_PACKET`, past the queueing discipline), as fast as processor 0 sends and filters: 524,288 flows by turns, from senders that the rules admit, so that the filter has to remember each",
    "*SYN flood*: to a TCP port that listens (and answers, or sends cookies), no handshake is ever completed. *UDP flood*: to a port that takes datagrams and never answers",
    "goodput: bytes that arrive at the host's socket. A round is one measurement without a flood and one of each flood, contenders by turns; ratios are within the round",
    "*lost*: connections that were open before the floods and do not answer after them: the one that carries, and ten that are idle meanwhile",
    "*new connections*: attempts from an address that the rules admit while the flood runs, of which so many succeed within a second",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flood {
    None,
    Syn,
    Udp,
}

impl Flood {
    const ALL: [Self; 3] = [Self::None, Self::Syn, Self::Udp];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Syn => "SYN",
            Self::Udp => "UDP",
        }
    }
}

/// What one measurement came to.
struct Seen {
    goodput: f64,
    latency: Latency,
    /// Packets a second that got to the filter.
    flood: f64,
    /// Of [`TRIES`].
    opened: usize,
}

/// The section.
pub fn measure(run: &Run) -> Section {
    let programs = run.programs.with_file_name("sg-wire");
    let known = Known::new(1_000);
    let contenders = FILTERS.map(|filter| Contender::new(&programs, filter, &known));
    let time = run.choose(Duration::from_millis(2_000), Duration::from_millis(100));
    let flows = run.choose(FLOWS, 1 << 10);
    let mut seen: Vec<[Vec<Seen>; 3]> = FILTERS.iter().map(|_| Default::default()).collect();
    let mut lost = vec![0; FILTERS.len()];
    for _ in 0..run.choose(5, 1) {
        for (at, contender) in contenders.iter().enumerate() {
            let (measured, gone) = round(contender, &known, time, flows);
            for (samples, sample) in seen[at].iter_mut().zip(measured) {
                samples.push(sample);
            }
            lost[at] += gone;
        }
    }
    report(&seen, &lost)
}

/// All floods against one contender. Returns what was seen, and how many connections are gone.
fn round(contender: &Contender, known: &Known, time: Duration, flows: u32) -> ([Seen; 3], usize) {
    let listener = listen(contender);
    let mut idle: Vec<Pair> = (0..10).map(|_| Pair::open(contender, STREAM_PORT)).collect();
    let seen = Flood::ALL.map(|flood| {
        let frames = frames(contender, known, flood, flows);
        let carrying = Pair::open(contender, STREAM_PORT);
        let asking = Pair::open(contender, STREAM_PORT);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let flooding = scope.spawn(|| match flood {
                Flood::None => 0.0,
                _ => {
                    let send = || {
                        while !stop.load(Ordering::Relaxed) {
                            send_packets(PEER, &frames, Duration::from_millis(20));
                        }
                    };
                    observe(&contender.outside, PEER, send).rate
                }
            });
            // The flood fills what it can fill first.
            thread::sleep(time / 4);
            let goodput = carrying.goodput(time, [1, 1]);
            let latency = asking.requests(time / 2, [1, 1]);
            let opened = (0..TRIES).filter(|_| opens(contender)).count();
            stop.store(true, Ordering::Relaxed);
            Seen { goodput, latency, flood: flooding.join().unwrap(), opened }
        })
    });
    drop(listener);
    let gone = idle.iter_mut().filter_map(|pair| (!pair.is_alive()).then_some(())).count();
    let cut = seen.iter().filter(|seen| seen.goodput == 0.0).count();
    (seen, gone + cut)
}

fn listen(contender: &Contender) -> TcpListener {
    contender.host.listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), SET_TCP_PORT))
}

fn frames(contender: &Contender, known: &Known, flood: Flood, flows: u32) -> Vec<Vec<u8>> {
    let (port, kind) = match flood {
        Flood::None => return Vec::new(),
        Flood::Syn => (SET_TCP_PORT, Layer4::TcpSyn),
        Flood::Udp => (SET_PORT, Layer4::Udp),
    };
    let members = known.members(1_000);
    let frame = |n: u32| {
        let source = (members[n as usize % members.len()], 1_024 + (n / members.len() as u32) as u16);
        contender.wire.frame(source, port, kind)
    };
    (0..flows).map(frame).collect()
}

/// Whether somebody whom the rules admit gets a connection within a second.
fn opens(contender: &Contender) -> bool {
    let to = SocketAddr::new(NEAR.into(), STREAM_PORT);
    let _listener = contender.host.listen(to);
    contender.outside.inside(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(FAR.into(), 0).into()).unwrap();
        socket.connect_timeout(&to.into(), Duration::from_secs(1)).is_ok()
    })
}

fn report(seen: &[[Vec<Seen>; 3]], lost: &[usize]) -> Section {
    let mut section = Section::new("flood", &HOW);
    let columns = [
        "filter, flood",
        "goodput, Gbit/s",
        "over no flood, ×",
        "request, median, µs",
        "request, 99th percentile, µs",
        "flood, kpps",
        "new connections of 20",
        "lost",
    ];
    let mut table = Table::new("A live connection under floods", &columns);
    let of = |seen: &[Seen], unit, what: &dyn Fn(&Seen) -> f64| {
        Samples::new(unit, seen.iter().map(what).collect())
    };
    let goodput = |seen: &[Seen]| of(seen, "Gbit/s", &|seen| seen.goodput * 8.0 / 1e9);
    let kept = |at: usize, flood: Flood| {
        goodput(&seen[at][flood as usize]).over(&goodput(&seen[at][Flood::None as usize]))
    };
    for (at, filter) in FILTERS.iter().enumerate() {
        for flood in Flood::ALL {
            let samples = &seen[at][flood as usize];
            table.row(
                format!("{}, {}", filter.name(), flood.name()),
                vec![
                    goodput(samples).into(),
                    kept(at, flood).into(),
                    of(samples, "µs", &|seen| seen.latency.median).into(),
                    of(samples, "µs", &|seen| seen.latency.p99).into(),
                    of(samples, "kpps", &|seen| seen.flood / 1e3).into(),
                    of(samples, "", &|seen| seen.opened as f64).into(),
                    Cell::Said(if flood == Flood::None { lost[at].to_string() } else { String::new() }),
                ],
            );
        }
    }
    section.tables.push(table);
    let (none, ours, nft) = (0, 1, 2);
    let beside = format!(
        "goodput under a SYN flood over none: ours {} ×, nftables {} ×, no filter {} ×; connections lost: nftables {}, no filter {}",
        kept(ours, Flood::Syn),
        kept(nft, Flood::Syn),
        kept(none, Flood::Syn),
        lost[nft],
        lost[none],
    );
    section.targets.push(Target::new(
        "live two-way flow during SYN and UDP floods: connections lost",
        Bound::AtMost(0.0),
        Samples::one("", lost[ours] as f64),
        beside,
    ));
    section
}
