//! Sends new flows through a filter while it is changed, and counts them on both ends.

use crate::{
    contest::{Contender, strangers},
    load::Layer4,
    sys::PacketSocket,
};
use sg_tests::net::PEER;
use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Of each kind, between two packets of it.
const PACE: Duration = Duration::from_millis(2);

/// What was sent and what arrived.
pub struct Seen {
    /// Sent, of those that the rules admit all the while.
    pub admitted: u64,
    pub lost: u64,
    /// Sent, of those that the rules never admit.
    pub strangers: u64,
    pub misjudged: u64,
}

/// A sender and a receiver at work.
pub struct Witness {
    stop: Arc<AtomicBool>,
    /// Returns how many of each kind were sent.
    sender: JoinHandle<u64>,
    /// Returns how many arrived, of those admitted and of strangers.
    receiver: JoinHandle<(u64, u64)>,
}

impl Witness {
    /// From these addresses, which the rules admit at that port, and from strangers.
    pub fn start(host: &Contender, members: &[Ipv4Addr], port: u16) -> Self {
        host.drain(port);
        let stop = Arc::new(AtomicBool::new(false));
        let (wire, members, strangers) = (host.wire, members.to_vec(), strangers(64));
        let socket = host.outside.inside(|| PacketSocket::open(PEER)).unwrap();
        let sender = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    // Another port each time: a new flow, which the rules judge.
                    let port_of = 1_024 + (sent % 60_000) as u16;
                    for sources in [&members, &strangers] {
                        let source = sources[sent as usize % sources.len()];
                        let frame = wire.frame((source, port_of), port, Layer4::Udp);
                        while socket.send(std::slice::from_ref(&frame)).unwrap() == 0 {}
                    }
                    sent += 1;
                    thread::sleep(PACE);
                }
                sent
            }
        });
        let sink = host.sink(port).try_clone().unwrap();
        let receiver = thread::spawn({
            let stop = Arc::clone(&stop);
            move || receive(&sink, &stop)
        });
        Self { stop, sender, receiver }
    }

    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap();
        let (arrived, misjudged) = self.receiver.join().unwrap();
        Seen { admitted: sent, lost: sent - arrived, strangers: sent, misjudged }
    }
}

/// Counts what arrives until the end, and what is still under way then.
fn receive(sink: &UdpSocket, stop: &AtomicBool) -> (u64, u64) {
    let (mut arrived, mut misjudged, mut idle) = (0, 0, 0);
    let mut data = [0; 64];
    while idle < 100 {
        match sink.recv_from(&mut data) {
            Ok((_, from)) => match from.ip() {
                IpAddr::V4(address) if address.octets()[0] != 12 => arrived += 1,
                _ => misjudged += 1,
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                idle = if stop.load(Ordering::Relaxed) { idle + 1 } else { 0 };
                thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("a sink fails: {error}"),
        }
    }
    (arrived, misjudged)
}
