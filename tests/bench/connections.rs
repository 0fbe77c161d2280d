//! New TCP connections a second through a veth pair: ours beside nftables and nothing.

use crate::{
    Run,
    contest::{Contender, FAR, Filter, Known, NEAR, NEAR_COUNT, SERVICE_PORT},
    results::{Bound, Samples, Section, Table, Target},
    sys::{self, Epoll},
};
use sg_tests::net::{Namespace, run};
use socket2::{Domain, Socket, Type};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Connections that are open or opening at any moment.
const CONCURRENT: usize = 128;
const PORTS: u16 = 8;

const OURS: Filter = Filter::Ours("auto");
const FILTERS: [Filter; 4] = [Filter::None, OURS, Filter::Nftables, Filter::BareTc];

const HOW: [&str; 6] = [
    "two namespaces and one veth pair for each contender; client on processor 0, server in the filtered namespace on processor 1, each one thread around `epoll`",
    "128 connections at any moment, to 16 addresses times 8 ports by turns. A connection is: connect, the client sends one byte, the server answers one byte, the client closes, the server closes. It counts when the client has the answer",
    "contenders by turns, round by round; the order of each round begins one further than that of the round before. The first tenth of a round is not counted",
    "tracked by all: the rules name the client's address, and nftables decides by `ct state`. Conntrack's table and ours are emptied before each round, so that none of them is full of what closed before",
    "all of it is on two processors: a client and a server that need them whole. What a filter takes is the difference; connections a second are bounded by the sockets, not by the filter",
    "*bare program*: one LRU hash and one LPM trie looked up a packet at TC ingress, nothing else (`sg-ebpf/bench/wire.rs`)",
];

/// The section.
pub fn measure(run: &Run) -> Section {
    let programs = run.programs.with_file_name("sg-wire");
    // The client must be in the bare program's trie; the others have a rule for its address.
    let known = Known::new(100).and(FAR);
    let contenders = FILTERS.map(|filter| Contender::new(&programs, filter, &known));
    let time = run.choose(Duration::from_millis(2_000), Duration::from_millis(100));
    let mut rates = vec![Vec::new(); contenders.len()];
    for round in 0..run.choose(15, 1) {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            forget(&contenders[at]);
            rates[at].push(rate(&contenders[at], time));
        }
    }
    let samples: Vec<Samples> = rates.into_iter().map(|rates| Samples::new("connections/s", rates)).collect();
    let of = |filter| &samples[FILTERS.iter().position(|it| *it == filter).expect("a contender")];
    let mut section = Section::new("connections", &HOW);
    let mut table = Table::new("New TCP connections", &["filter", "connections/s", "over no filter, ×"]);
    for (filter, samples) in FILTERS.iter().zip(&samples) {
        let ratio = samples.over(of(Filter::None));
        table.row(filter.name(), vec![samples.clone().into(), ratio.into()]);
    }
    section.tables.push(table);
    let over_none = |filter| of(filter).over(of(Filter::None));
    section.targets.push(Target::new(
        "new connections per second, tracked, over no filter",
        Bound::AtLeast(0.9),
        over_none(OURS),
        format!(
            "nftables stateful {} ×, bare program {} ×",
            over_none(Filter::Nftables),
            over_none(Filter::BareTc)
        ),
    ));
    section.targets.push(Target::new(
        "the same, over nftables stateful",
        Bound::AtLeast(1.0),
        of(OURS).over(of(Filter::Nftables)),
        "",
    ));
    section
}

/// Empties what remembers connections.
fn forget(contender: &Contender) {
    if let Some(ctl) = &contender.ctl {
        ctl.json("conntrack flush");
    }
    if contender.filter == Filter::Nftables {
        contender.host.inside(|| run("conntrack", "-F"));
    }
}

/// Connections a second.
fn rate(contender: &Contender, time: Duration) -> f64 {
    let stop = AtomicBool::new(false);
    let listeners = listen(&contender.host);
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(&listeners, &stop));
        let client = contender.outside.inside(|| {
            sys::pin(0);
            call(time)
        });
        stop.store(true, Ordering::Relaxed);
        server.join().unwrap().unwrap();
        client.unwrap()
    })
}

fn listen(host: &Namespace) -> Vec<TcpListener> {
    let make = |port| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port).into())?;
        socket.listen(1_024)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    let make = || (0..PORTS).map(|n| make(SERVICE_PORT + n)).collect::<io::Result<_>>();
    host.inside(make).unwrap()
}

/// Sockets by the numbers under which they are watched.
struct Slots(Vec<Option<TcpStream>>);

impl Slots {
    fn put(&mut self, stream: TcpStream) -> usize {
        match self.0.iter().position(Option::is_none) {
            Some(at) => {
                self.0[at] = Some(stream);
                at
            }
            None => {
                self.0.push(Some(stream));
                self.0.len() - 1
            }
        }
    }
}

/// Answers one byte with one byte, and closes when the client does.
fn serve(listeners: &[TcpListener], stop: &AtomicBool) -> io::Result<()> {
    sys::pin(1);
    let epoll = Epoll::new()?;
    for (at, listener) in listeners.iter().enumerate() {
        epoll.add(listener.as_raw_fd(), at as u64, libc::EPOLLIN)?;
    }
    let (first, mut slots, mut ready) = (listeners.len(), Slots(Vec::new()), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        epoll.wait(50, &mut ready)?;
        for number in ready.iter().map(|number| *number as usize) {
            if let Some(listener) = listeners.get(number) {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let fd = stream.as_raw_fd();
                    let at = first + slots.put(stream);
                    epoll.add(fd, at as u64, libc::EPOLLIN)?;
                }
                continue;
            }
            let slot = &mut slots.0[number - first];
            let Some(stream) = slot else { continue };
            let mut byte = [0; 1];
            match stream.read(&mut byte) {
                Ok(1) if stream.write(&byte).is_ok() => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The client has closed, or is gone.
                _ => *slot = None,
            }
        }
    }
    Ok(())
}

/// Opens connections as fast as it goes. Returns how many a second.
fn call(time: Duration) -> io::Result<f64> {
    let epoll = Epoll::new()?;
    let mut turn = 0_u32;
    let mut dial = |epoll: &Epoll, at: usize| -> io::Result<TcpStream> {
        let host = u32::from(NEAR) + turn % u32::from(NEAR_COUNT);
        let port = SERVICE_PORT + (turn / u32::from(NEAR_COUNT)) as u16 % PORTS;
        turn = turn.wrapping_add(1);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&SocketAddr::new(Ipv4Addr::from(host).into(), port).into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        epoll.add(socket.as_raw_fd(), at as u64, libc::EPOLLOUT)?;
        Ok(socket.into())
    };
    let mut streams = (0..CONCURRENT).map(|at| dial(&epoll, at)).collect::<io::Result<Vec<_>>>()?;
    let mut asked = [false; CONCURRENT];
    let (start, warm_up, mut ready) = (Instant::now(), time / 10, Vec::new());
    let (mut counted_from, mut count) = (None, 0_u64);
    while start.elapsed() < warm_up + time {
        if counted_from.is_none() && start.elapsed() >= warm_up {
            (counted_from, count) = (Some(Instant::now()), 0);
        }
        epoll.wait(50, &mut ready)?;
        for at in ready.iter().map(|number| *number as usize) {
            let stream = &mut streams[at];
            let fd = stream.as_raw_fd();
            if !asked[at] && stream.write_all(&[1]).is_ok() {
                epoll.modify(fd, at as u64, libc::EPOLLIN)?;
                asked[at] = true;
                continue;
            }
            // Answered; or refused or reset, which does not count.
            if asked[at] && stream.read(&mut [0; 1]).is_ok_and(|length| length == 1) {
                count += 1;
            }
            // Closes the one that was there.
            *stream = dial(&epoll, at)?;
            asked[at] = false;
        }
    }
    Ok(count as f64 / counted_from.map_or(0.0, |from| from.elapsed().as_secs_f64()))
}
