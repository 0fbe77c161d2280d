//! One TCP connection to a contender's host: how much it carries, and how long a request takes.

use crate::{
    contest::{Contender, FAR, NEAR},
    sys,
};
use sg_tests::net::{ANSWER, Connection};
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// What a run of requests came to, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    pub median: f64,
    pub p99: f64,
}

/// A connection from the far end to the host.
pub struct Pair(Connection);

impl Pair {
    pub fn open(contender: &Contender, port: u16) -> Self {
        let to = SocketAddr::new(NEAR.into(), port);
        let connection = Connection::open(&contender.outside, FAR.into(), &contender.host, to);
        // A connection that is cut ends the measurement, not the run.
        for end in [&connection.near, &connection.far] {
            end.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            end.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        Self(connection)
    }

    /// Both ends still hear each other.
    pub fn is_alive(&mut self) -> bool {
        self.0.forward(ANSWER) && self.0.back(ANSWER)
    }

    /// Bytes a second that arrive at the host, sender and receiver on these processors. Zero bytes where the connection
    /// is cut.
    pub fn goodput(&self, time: Duration, [from, to]: [usize; 2]) -> f64 {
        let received = AtomicU64::new(0);
        let (mut near, mut far) = (&self.0.near, &self.0.far);
        thread::scope(|scope| {
            scope.spawn(|| {
                sys::pin(to);
                let mut buffer = vec![0; 128 << 10];
                while let Ok(length @ 1..) = far.read(&mut buffer) {
                    received.fetch_add(length as u64, Ordering::Relaxed);
                }
            });
            let sender = scope.spawn(|| {
                sys::pin(from);
                let (buffer, start) = (vec![0; 128 << 10], Instant::now());
                while start.elapsed() < time + WARM_UP && near.write_all(&buffer).is_ok() {}
                // Errors show in what was received.
                let _ = near.shutdown(Shutdown::Write);
            });
            thread::sleep(WARM_UP);
            let (start, before) = (Instant::now(), received.load(Ordering::Relaxed));
            thread::sleep(time);
            let arrived = received.load(Ordering::Relaxed) - before;
            let rate = arrived as f64 / start.elapsed().as_secs_f64();
            sender.join().unwrap();
            rate
        })
    }

    /// Requests of 64 bytes and answers of as many, one after the other, until the time is up or one is not answered
    /// within five seconds, client and server on these processors.
    pub fn requests(&self, time: Duration, [from, to]: [usize; 2]) -> Latency {
        let (mut near, mut far) = (&self.0.near, &self.0.far);
        let mut took: Vec<f64> = thread::scope(|scope| {
            scope.spawn(|| {
                sys::pin(to);
                let mut buffer = [0; 64];
                while far.read_exact(&mut buffer).is_ok() && far.write_all(&buffer).is_ok() {}
            });
            let client = scope.spawn(|| {
                sys::pin(from);
                let (mut buffer, start, mut took) = ([0; 64], Instant::now(), Vec::new());
                while start.elapsed() < time {
                    let sent = Instant::now();
                    if near.write_all(&buffer).is_err() || near.read_exact(&mut buffer).is_err() {
                        took.push(sent.elapsed().as_secs_f64() * 1e6);
                        break;
                    }
                    took.push(sent.elapsed().as_secs_f64() * 1e6);
                }
                let _ = near.shutdown(Shutdown::Write);
                took
            });
            client.join().unwrap()
        });
        took.sort_by(f64::total_cmp);
        Latency { median: took[took.len() / 2], p99: took[took.len() * 99 / 100] }
    }
}

/// TCP's window grows before anything is counted.
const WARM_UP: Duration = Duration::from_millis(200);
