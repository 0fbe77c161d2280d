//! Real servers and clients. Every wait has an end: no socket is used without a timeout.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::lab::Namespace;

/// After this a packet counts as dropped. On a veth pair an answer takes a few hundredths of a millisecond.
pub const TIMEOUT: Duration = Duration::from_millis(300);
/// How often a thread looks whether it is still wanted.
const TICK: Duration = Duration::from_millis(20);

/// A thread that is told to stop, and waited for, when this value goes.
struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        Self { stop, thread: Some(thread::spawn(move || work(&flag))) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has printed itself.
            let _ = thread.join();
        }
    }
}

/// A server that answers everything with the same bytes, until it is dropped.
pub struct EchoServer {
    _worker: Worker,
}

impl EchoServer {
    /// TCP on all addresses of both families.
    pub fn tcp(namespace: &Namespace, port: u16) -> io::Result<Self> {
        let listener = namespace.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))?;
        listener.set_nonblocking(true)?;
        let serve = move |stop: &AtomicBool| {
            let mut connections = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => connections.push(Worker::start(|stop| echo(stream, stop))),
                    Err(_) => thread::sleep(TICK / 10),
                }
            }
        };
        Ok(Self { _worker: Worker::start(serve) })
    }

    /// UDP on all addresses of both families.
    pub fn udp(namespace: &Namespace, port: u16) -> io::Result<Self> {
        let socket = namespace.inside(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))?;
        socket.set_read_timeout(Some(TICK))?;
        let serve = move |stop: &AtomicBool| {
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                    // A client that has gone is no concern of the server.
                    let _ = socket.send_to(&buffer[..length], peer);
                }
            }
        };
        Ok(Self { _worker: Worker::start(serve) })
    }
}

fn echo(mut stream: TcpStream, stop: &AtomicBool) {
    let ready = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_nodelay(true))
        .and_then(|()| stream.set_read_timeout(Some(TICK)))
        .and_then(|()| stream.set_write_timeout(Some(TIMEOUT)));
    if ready.is_err() {
        return;
    }
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if stream.write_all(&buffer[..length]).is_err() {
                    return;
                }
            }
            Err(error) if is_timeout(&error) => {}
            Err(_) => return,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A connection from one of the client's addresses; `None` when nobody answers in time.
pub fn connect(namespace: &Namespace, from: IpAddr, to: SocketAddr) -> io::Result<Option<TcpStream>> {
    let connected = namespace.inside(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        match socket.connect_timeout(&to.into(), TIMEOUT) {
            Ok(()) => Ok(Some(socket)),
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
            Err(error) => Err(error),
        }
    })?;
    let Some(socket) = connected else { return Ok(None) };
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(Some(stream))
}

/// Says something on an open connection; `true` when the echo comes back in time.
pub fn echoes(stream: &mut TcpStream, text: &str) -> bool {
    let mut answer = vec![0; text.len()];
    stream.write_all(text.as_bytes()).and_then(|()| stream.read_exact(&mut answer)).is_ok()
        && answer == text.as_bytes()
}

/// Asks over UDP; `true` when the answer comes in time.
pub fn udp_answers(namespace: &Namespace, from: IpAddr, to: SocketAddr) -> io::Result<bool> {
    const QUESTION: &[u8] = b"where is example.com?";
    let socket = namespace.inside(|| UdpSocket::bind((from, 0)))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.send_to(QUESTION, to)?;
    let mut answer = [0; 2048];
    match socket.recv_from(&mut answer) {
        Ok((length, peer)) => Ok(peer == to && &answer[..length] == QUESTION),
        Err(error) if is_timeout(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A connection over which question and answer follow each other without a pause: it notices at once
/// when the packets stop.
pub struct Stream {
    seen: Arc<Mutex<Seen>>,
    _worker: Worker,
}

/// What came through so far.
#[derive(Clone, Copy)]
pub struct Seen {
    pub answers: u64,
    pub last: Instant,
}

impl Stream {
    pub fn start(mut connection: TcpStream) -> io::Result<Self> {
        connection.set_read_timeout(Some(TICK))?;
        let seen = Arc::new(Mutex::new(Seen { answers: 0, last: Instant::now() }));
        let shared = Arc::clone(&seen);
        let talk = move |stop: &AtomicBool| {
            let mut expected: u64 = 0;
            while !stop.load(Ordering::Relaxed) && connection.write_all(&expected.to_be_bytes()).is_ok() {
                let mut answer = [0; 8];
                if !read_patiently(&mut connection, &mut answer, stop) || answer != expected.to_be_bytes() {
                    return;
                }
                expected += 1;
                let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                *seen = Seen { answers: expected, last: Instant::now() };
                drop(seen);
                // Some thousand questions a second are plenty, and leave the machine to others.
                thread::sleep(Duration::from_micros(100));
            }
        };
        Ok(Self { seen, _worker: Worker::start(talk) })
    }

    pub fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the whole answer as long as anybody is interested, so that late ones are noticed too.
fn read_patiently(connection: &mut TcpStream, buffer: &mut [u8], stop: &AtomicBool) -> bool {
    let mut filled = 0;
    while filled < buffer.len() && !stop.load(Ordering::Relaxed) {
        match connection.read(&mut buffer[filled..]) {
            Ok(0) => return false,
            Ok(length) => filled += length,
            Err(error) if is_timeout(&error) => {}
            Err(_) => return false,
        }
    }
    filled == buffer.len()
}
