//! Load on a wire: frames, who sends them, and what it takes.

use crate::sys::{self, PacketSocket};
use aya::{
    Ebpf, EbpfLoader,
    maps::Array,
    programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp},
};
use sg_ctl::kernel::object;
use sg_tests::net::Namespace;
use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

/// What is behind the IPv4 header of a frame.
#[derive(Clone, Copy)]
pub enum Layer4 {
    Udp,
    TcpSyn,
}

/// Both ends of a wire, as frames name them.
#[derive(Clone, Copy)]
pub struct Wire {
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    pub destination: Ipv4Addr,
}

impl Wire {
    /// A frame of 60 bytes (64 on a real wire, with its checksum), all checksums right.
    pub fn frame(&self, source: (Ipv4Addr, u16), port: u16, kind: Layer4) -> Vec<u8> {
        let (protocol, mut segment) = match kind {
            // A UDP checksum of zero is none.
            Layer4::Udp => {
                let mut segment = [source.1.to_be_bytes(), port.to_be_bytes(), 26_u16.to_be_bytes()].concat();
                segment.resize(26, 0);
                (17, segment)
            }
            Layer4::TcpSyn => {
                let mut segment = [source.1.to_be_bytes(), port.to_be_bytes()].concat();
                segment.extend(u32::from(source.0).to_be_bytes());
                segment.extend([0, 0, 0, 0, 6 << 4, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4]);
                (6, segment)
            }
        };
        if matches!(kind, Layer4::TcpSyn) {
            let pseudo = [&source.0.octets()[..], &self.destination.octets(), &[0, 6, 0, 24]].concat();
            let checksum = !fold(sum(&pseudo) + sum(&segment));
            segment[16..18].copy_from_slice(&checksum.to_be_bytes());
        }
        let length = (20 + segment.len() as u16).to_be_bytes();
        let mut header = vec![0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, protocol, 0, 0];
        header.extend(source.0.octets());
        header.extend(self.destination.octets());
        let checksum = !fold(sum(&header));
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        let mut frame = [&self.destination_mac[..], &self.source_mac, &[8, 0]].concat();
        frame.extend(header);
        frame.extend(segment);
        frame.resize(60, 0);
        frame
    }
}

/// Sum of 16-bit words in network order.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// What a sender came to.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Packets a second that the device on the other end took.
    pub rate: f64,
    /// Nanoseconds of the sender's processor a packet, as `/proc/stat` has them: sending, and all that the filter and
    /// the stack behind it do, which is on the same processor.
    pub busy: f64,
}

/// Measures what happens on processor 0 and through a device while `send` runs there.
pub fn observe(outside: &Namespace, device: &str, send: impl FnOnce() + Send) -> Sent {
    outside.inside(|| {
        sys::pin(0);
        let (packets, busy, start) = (taken(device), busy(0), Instant::now());
        send();
        let (packets, took) = (taken(device) - packets, start.elapsed().as_secs_f64());
        let busy = self::busy(0) - busy;
        assert!(packets > 0, "no packet went through {device}");
        Sent { rate: packets as f64 / took, busy: busy * 1e9 / packets as f64 }
    })
}

/// Packets that a device of this thread's namespace has sent and the other end has taken.
fn taken(device: &str) -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let row = table.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'));
    row.and_then(|row| row.split_whitespace().nth(9)?.parse().ok()).expect("a device has a row")
}

/// Seconds that a processor was not idle.
fn busy(processor: usize) -> f64 {
    const TICKS: f64 = 100.0; // USER_HZ, the same on every machine
    let table = fs::read_to_string("/proc/stat").unwrap();
    let row = table.lines().find_map(|line| line.strip_prefix(&format!("cpu{processor} "))).unwrap();
    let ticks: Vec<f64> = row.split_whitespace().map(|field| field.parse().unwrap()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq
    [0, 1, 2, 5, 6].map(|field| ticks[field]).iter().sum::<f64>() / TICKS
}

/// Sends frames in turn for a while, as fast as it goes.
pub fn send_packets(device: &str, frames: &[Vec<u8>], time: Duration) {
    let socket = PacketSocket::open(device).unwrap();
    let start = Instant::now();
    let mut at = 0;
    while start.elapsed() < time {
        // Enough between two looks at the clock that it costs nothing.
        for _ in 0..16 {
            let end = frames.len().min(at + 64);
            at += socket.send(&frames[at..end]).unwrap();
            if at == frames.len() {
                at = 0;
            }
        }
    }
}

/// Sends frames as XDP frames, which the far end takes without an skb: `BPF_PROG_TEST_RUN` with live frames.
pub struct LiveSender {
    object: Ebpf,
    frame: Vec<u8>,
}

impl LiveSender {
    /// From each of the sources in turn, as many as a power of two, through a device that `outside` has.
    pub fn new(
        programs: &Path,
        outside: &Namespace,
        device: &str,
        frame: &[u8],
        sources: &[Ipv4Addr],
    ) -> Self {
        assert!(sources.len().is_power_of_two());
        let index: u32 = outside.inside(|| {
            let table = fs::read_to_string("/proc/thread-self/net/dev_mcast").unwrap();
            table
                .lines()
                .find(|line| line.split_whitespace().nth(1) == Some(device))
                .and_then(|line| line.split_whitespace().next()?.parse().ok())
                .expect("a device has a number")
        });
        let mut header = frame[14..34].to_vec();
        header[10..16].fill(0);
        // As the program's processor reads words; the sum is the same in either order of bytes.
        let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]]))).sum();
        let mask = sources.len() as u32 - 1;
        let mut loader = EbpfLoader::new();
        loader.override_global("DEVICE", &index, true).override_global("MASK", &mask, true);
        loader.override_global("SUM", &sum, true);
        let mut object = loader.load(&fs::read(programs).unwrap()).unwrap();
        object::load(&mut object, "send_xdp").unwrap();
        let mut map: Array<_, u32> = object.map_mut("SOURCES").unwrap().try_into().unwrap();
        for (at, source) in sources.iter().enumerate() {
            map.set(at as u32, &u32::from_ne_bytes(source.octets()), 0).unwrap();
        }
        Self { object, frame: frame.to_vec() }
    }

    /// Sends for a while, on a thread of the device's namespace.
    pub fn send(&self, time: Duration) {
        let program: &Xdp = self.object.program("send_xdp").unwrap().try_into().unwrap();
        let start = Instant::now();
        while start.elapsed() < time {
            let attrs = TestRunAttrs::new().xdp_live_frames(64);
            let options = TestRunOptions {
                data_in: Some(&self.frame),
                repeat: 1 << 16,
                attrs,
                ..TestRunOptions::default()
            };
            program.test_run(options).unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_frames_are_right() {
        let wire = Wire {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            destination: Ipv4Addr::new(10, 77, 0, 1),
        };
        for kind in [Layer4::Udp, Layer4::TcpSyn] {
            let frame = wire.frame((Ipv4Addr::new(11, 2, 3, 4), 4_000), 80, kind);
            assert_eq!(frame.len(), 60);
            assert_eq!(fold(sum(&frame[14..34])), 0xffff, "a header sums up to nothing");
        }
        let frame = wire.frame((Ipv4Addr::new(11, 2, 3, 4), 4_000), 80, Layer4::TcpSyn);
        let pseudo = [&frame[26..34], &[0, 6, 0, 24]].concat();
        assert_eq!(fold(sum(&pseudo) + sum(&frame[34..58])), 0xffff);
    }
}
