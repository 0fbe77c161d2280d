//! Real networks for tests: namespaces, cables and sockets, each gone when its value is.
//!
//! Nothing is ever made in the caller's own namespace: cables are born inside others. What should work panics with a
//! sentence when it does not, so that tests read as stories. No wait is without an end.

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// What must come has this long. Plenty, for a machine that is busy with other tests.
pub const ANSWER: Duration = Duration::from_secs(2);
/// What must not come is not waited for any longer. On a cable an answer takes a few hundredths of a millisecond; the
/// first SYN is repeated after a second only, so a refused connection is one packet.
pub const SILENCE: Duration = Duration::from_millis(300);

/// A name that no other test of this machine has.
#[must_use]
pub fn unique(role: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("sg-t-{}-{}-{role}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a program that must succeed, with arguments that hold no blanks, and returns what it printed.
pub fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{program} {arguments}`: {}", stderr.trim());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A network namespace, deleted with its links when this value goes.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, in which `lo` is up and unprivileged pings are allowed.
    #[must_use]
    pub fn new(role: &str) -> Self {
        let name = unique(role);
        run("ip", &format!("netns add {name}"));
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace.sysctl("ipv4/ping_group_range", "0 0");
        namespace
    }

    /// As `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// `ip -n NAMESPACE …`
    pub fn ip(&self, arguments: &str) -> String {
        run("ip", &format!("-n {} {arguments}", self.name))
    }

    fn sysctl(&self, name: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(name);
        let written = self.inside(|| fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }

    /// Does `work` on a thread of its own that lives in this namespace. A socket made there stays there, and a process
    /// started there too.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                enter(&self.path())
                    .unwrap_or_else(|error| panic!("cannot enter the namespace {}: {error}", self.name));
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A TCP server that only listens: connections are accepted by the kernel.
    #[must_use]
    pub fn listen(&self, address: SocketAddr) -> TcpListener {
        let listener = self.inside(|| patiently(|| TcpListener::bind(address)));
        listener.unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"))
    }

    /// A UDP socket.
    #[must_use]
    pub fn udp(&self, address: SocketAddr) -> UdpSocket {
        let socket = self.inside(|| patiently(|| UdpSocket::bind(address)));
        socket.unwrap_or_else(|error| panic!("cannot bind UDP {address}: {error}"))
    }

    /// A socket for whole packets of one IP protocol.
    #[must_use]
    pub fn raw(&self, address: IpAddr, protocol: i32) -> Raw {
        let make = || {
            let local = SocketAddr::new(address, 0);
            let socket = Socket::new(Domain::for_address(local), Type::RAW, Some(protocol.into()))?;
            socket.bind(&local.into())?;
            Ok::<_, io::Error>(Raw { socket, sent: 0 })
        };
        self.inside(make).unwrap_or_else(|error| panic!("cannot make a raw socket on {address}: {error}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing can be done about a failure but to show it; a panic here would hide the one that is under way.
        match Command::new("ip").args(["netns", "delete", &self.name]).status() {
            Ok(status) if status.success() => {}
            outcome => eprintln!("warning: the namespace {} is still there: {outcome:?}", self.name),
        }
    }
}

/// A process that another test is about to start holds copies of this one's sockets for a moment, so that a port is
/// in use a little longer than its socket.
fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let start = Instant::now();
    loop {
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < ANSWER => {
                thread::sleep(Duration::from_millis(1));
            }
            outcome => return outcome,
        }
    }
}

fn enter(path: &Path) -> io::Result<()> {
    let namespace = File::open(path)?;
    // SAFETY: the descriptor is open for the whole call, and setns touches no memory of ours; it moves this thread only.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One end of a cable: a link and its addresses, all within one /24 and one /64.
pub struct End<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// Name of the link.
    pub link: &'a str,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
}

/// Joins two namespaces by a veth pair whose ends are up, have their addresses, and can be used at once.
pub fn cable(one: &End<'_>, other: &End<'_>) {
    // Where the two indices are equal, the kernel takes its time (a second) until it calls the link ready: it does not
    // see that the end of a cable is no device of its own (`linkwatch_urgent_event`).
    static INDEX: AtomicU32 = AtomicU32::new(10);
    let index = INDEX.fetch_add(2, Ordering::Relaxed);
    one.namespace.ip(&format!(
        "link add {} index {index} type veth peer name {} index {} netns {}",
        one.link,
        other.link,
        index + 1,
        other.namespace.name
    ));
    for end in [one, other] {
        for address in end.addresses {
            // Nobody else can have the address: it is not to be looked for.
            let (length, flags) = if address.is_ipv4() { (24, "") } else { (64, "nodad") };
            end.namespace.ip(&format!("address add {address}/{length} dev {} {flags}", end.link));
        }
        end.namespace.ip(&format!("link set {} up", end.link));
    }
    for from in one.addresses {
        for to in other.addresses.iter().filter(|to| to.is_ipv4() == from.is_ipv4()) {
            warm_up(one.namespace, *from, other.namespace, *to);
        }
    }
}

/// Waits until packets get through and both ends have each other's link address.
fn warm_up(from: &Namespace, address: IpAddr, to: &Namespace, peer: IpAddr) {
    let start = Instant::now();
    while !Ping::new(from, address, peer).answers_within(Duration::from_millis(50)) {
        let (from, to) = (&from.name, &to.name);
        assert!(start.elapsed() < 3 * ANSWER, "no packet gets from {address} in {from} to {peer} in {to}");
    }
}

/// The protected host's end of the cable of a [`Cable`].
pub const HOST4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// The same for IPv6.
pub const HOST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10));
/// The client whom narrow rules name, as the founding document's example does.
pub const ADMIN4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// The same for IPv6.
pub const ADMIN6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x1));
/// Another client, whom no narrow rule names.
pub const OTHER4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));
/// The same for IPv6.
pub const OTHER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x2));
/// Name of the protected link.
pub const IFACE: &str = "sg0";
/// Name of the clients' link.
pub const PEER: &str = "cable";

/// What a test does once for each family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The protected host.
    pub host: IpAddr,
    /// The client whom narrow rules name.
    pub admin: IpAddr,
    /// The other client.
    pub other: IpAddr,
    /// `--cidr` for `admin` alone.
    pub narrow: &'static str,
    /// `--cidr` for everybody.
    pub world: &'static str,
    /// Name of its ICMP.
    pub icmp: &'static str,
}

/// IPv4.
pub const V4: Family = Family {
    host: HOST4,
    admin: ADMIN4,
    other: OTHER4,
    narrow: "203.0.113.1/32",
    world: "0.0.0.0/0",
    icmp: "icmp",
};
/// IPv6.
pub const V6: Family = Family {
    host: HOST6,
    admin: ADMIN6,
    other: OTHER6,
    narrow: "2001:db8::1/128",
    world: "::/0",
    icmp: "icmpv6",
};
/// Both.
pub const FAMILIES: [Family; 2] = [V4, V6];

/// A protected host and its clients, joined by a cable.
pub struct Cable {
    /// Has [`IFACE`].
    pub host: Namespace,
    /// Has [`PEER`], with the addresses of both clients.
    pub client: Namespace,
}

impl Cable {
    /// Two new namespaces.
    #[must_use]
    pub fn new() -> Self {
        let (host, client) = (Namespace::new("host"), Namespace::new("client"));
        cable(
            &End { namespace: &host, link: IFACE, addresses: &[HOST4, HOST6] },
            &End { namespace: &client, link: PEER, addresses: &[ADMIN4, OTHER4, ADMIN6, OTHER6] },
        );
        Self { host, client }
    }

    /// A client connects to a port of the host, which must work.
    #[must_use]
    pub fn connect(&self, from: IpAddr, to: IpAddr, port: u16) -> Connection {
        Connection::open(&self.client, from, &self.host, SocketAddr::new(to, port))
    }

    /// A client cannot connect to a port of the host: nobody answers.
    pub fn refuses(&self, from: IpAddr, to: IpAddr, port: u16) {
        refuses(&self.client, from, &self.host, SocketAddr::new(to, port));
    }

    /// The host connects to a port of a client, which must work.
    #[must_use]
    pub fn connect_out(&self, from: IpAddr, to: IpAddr, port: u16) -> Connection {
        Connection::open(&self.host, from, &self.client, SocketAddr::new(to, port))
    }

    /// A client's UDP socket and one of the host.
    #[must_use]
    pub fn datagrams(&self, from: IpAddr, to: IpAddr, port: u16) -> Datagrams {
        Datagrams::new(&self.client, from, &self.host, SocketAddr::new(to, port))
    }

    /// A UDP socket of the host, which asks, and one of a client.
    #[must_use]
    pub fn datagrams_out(&self, from: IpAddr, to: IpAddr, port: u16) -> Datagrams {
        Datagrams::new(&self.host, from, &self.client, SocketAddr::new(to, port))
    }

    /// A client that pings the host.
    #[must_use]
    pub fn ping(&self, from: IpAddr, to: IpAddr) -> Ping {
        Ping::new(&self.client, from, to)
    }
}

impl Default for Cable {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a read gave up.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn dial(
    namespace: &Namespace,
    from: SocketAddr,
    to: SocketAddr,
    patience: Duration,
) -> io::Result<TcpStream> {
    namespace.inside(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        patiently(|| socket.bind(&from.into()))?;
        socket.connect_timeout(&to.into(), patience)?;
        Ok(socket.into())
    })
}

/// Nobody answers a connection attempt, although somebody listens: a drop is silent (T-30).
pub fn refuses(from: &Namespace, address: IpAddr, server: &Namespace, to: SocketAddr) {
    refuses_port(from, SocketAddr::new(address, 0), server, to);
}

/// The same, from a port that the client chooses.
pub fn refuses_port(from: &Namespace, address: SocketAddr, server: &Namespace, to: SocketAddr) {
    let _listener = server.listen(to);
    match dial(from, address, to, SILENCE) {
        Ok(_) => panic!("{address} connects to {to}, which must not work"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{address} to {to}: {error}"),
    }
}

/// A TCP connection, with both ends in the test's hands.
pub struct Connection {
    /// The end that connected.
    pub near: TcpStream,
    /// The end that accepted.
    pub far: TcpStream,
    said: u64,
}

impl Connection {
    /// Connects, which must work.
    #[must_use]
    pub fn open(from: &Namespace, address: IpAddr, server: &Namespace, to: SocketAddr) -> Self {
        Self::open_port(from, SocketAddr::new(address, 0), server, to)
    }

    /// The same, from a port that the client chooses.
    #[must_use]
    pub fn open_port(from: &Namespace, address: SocketAddr, server: &Namespace, to: SocketAddr) -> Self {
        let listener = server.listen(to);
        let near = dial(from, address, to, ANSWER)
            .unwrap_or_else(|error| panic!("{address} cannot connect to {to}: {error}"));
        // The third leg may be the one that does not get through.
        listener.set_nonblocking(true).expect("a listener can be polled");
        let start = Instant::now();
        let far = loop {
            match listener.accept() {
                Ok((far, _)) => break far,
                Err(error) if is_timeout(&error) && start.elapsed() < ANSWER => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{to} does not accept {address}: {error}"),
            }
        };
        far.set_nonblocking(false).expect("an accepted connection can block");
        Self::of(near, far)
    }

    /// The two ends of an open connection.
    #[must_use]
    pub fn of(near: TcpStream, far: TcpStream) -> Self {
        for end in [&near, &far] {
            end.set_nodelay(true).expect("TCP_NODELAY");
            end.set_write_timeout(Some(ANSWER)).expect("a write timeout");
        }
        Self { near, far, said: 0 }
    }

    /// The end that connected resets the connection, so that its port is free at once. Returns its address.
    pub fn reset(self) -> SocketAddr {
        self.near.local_addr().expect("a connection has an address")
    }

    /// Port of the end that connected.
    #[must_use]
    pub fn near_port(&self) -> u16 {
        self.near.local_addr().expect("a connection has an address").port()
    }

    /// The end that connected says something new; does the other hear it in time?
    pub fn forward(&mut self, patience: Duration) -> bool {
        self.said += 1;
        says(&mut self.near, &mut self.far, self.said, patience)
    }

    /// The end that accepted says something new; does the other hear it in time?
    pub fn back(&mut self, patience: Duration) -> bool {
        self.said += 1;
        says(&mut self.far, &mut self.near, self.said, patience)
    }

    /// Both ends hear each other.
    pub fn goes_on(&mut self) {
        assert!(self.forward(ANSWER), "the connection is cut: the end that accepted hears nothing");
        assert!(self.back(ANSWER), "the connection is cut: the end that connected hears nothing");
    }

    /// Both ends keep talking, and what the one that connected says never arrives.
    pub fn is_cut_forward(&mut self) {
        self.both_talk();
        assert!(!self.forward(SILENCE), "the connection lives: the end that accepted hears the other");
    }

    /// Both ends keep talking, and what the one that accepted says never arrives.
    pub fn is_cut_back(&mut self) {
        self.both_talk();
        assert!(!self.back(SILENCE), "the connection lives: the end that connected hears the other");
    }

    fn both_talk(&mut self) {
        for _ in 0..8 {
            for end in [&mut self.near, &mut self.far] {
                self.said += 1;
                end.write_all(&self.said.to_be_bytes()).expect("a connection that is cut still takes data");
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A reset, and the kernel forgets all that it would go on repeating where the connection is cut.
        for end in [&self.near, &self.far] {
            abort(end);
        }
    }
}

/// Disconnects a TCP socket by a reset, at once and whoever else holds a copy of its descriptor.
fn abort(stream: &TcpStream) {
    // SAFETY: all zero bytes are a `sockaddr` of no family.
    let nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
    let length = size_of_val(&nowhere) as libc::socklen_t;
    // SAFETY: an open descriptor, and an address of that length that outlives the call.
    if unsafe { libc::connect(stream.as_raw_fd(), &raw const nowhere, length) } < 0 {
        eprintln!("warning: a connection cannot be reset: {}", io::Error::last_os_error());
    }
}

/// Sends the acknowledgement that the kernel may be holding back, lest it comes when others are counted.
pub fn acknowledge(stream: &TcpStream) {
    SockRef::from(stream).set_tcp_quickack(true).expect("TCP_QUICKACK");
}

/// Says a number, and waits until it arrives; others before it are from earlier.
fn says(from: &mut TcpStream, to: &mut TcpStream, number: u64, patience: Duration) -> bool {
    from.write_all(&number.to_be_bytes()).expect("an open connection takes data");
    let end = Instant::now() + patience;
    let (mut heard, mut filled) = ([0; 8], 0);
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        to.set_read_timeout(Some(left)).expect("a read timeout");
        match to.read(&mut heard[filled..]) {
            Ok(0) => return false,
            Ok(length) => filled += length,
            Err(error) if is_timeout(&error) => {}
            Err(error) => panic!("the connection fails: {error}"),
        }
        if filled == heard.len() {
            if u64::from_be_bytes(heard) == number {
                acknowledge(to);
                return true;
            }
            filled = 0;
        }
    }
    false
}

/// Two UDP sockets, both in the test's hands.
pub struct Datagrams {
    near: (UdpSocket, SocketAddr),
    far: (UdpSocket, SocketAddr),
    said: u64,
}

impl Datagrams {
    /// The first speaks to the second from a port of its own.
    #[must_use]
    pub fn new(from: &Namespace, address: IpAddr, server: &Namespace, to: SocketAddr) -> Self {
        let near = from.udp(SocketAddr::new(address, 0));
        let near_address = near.local_addr().expect("a socket has an address");
        Self { near: (near, near_address), far: (server.udp(to), to), said: 0 }
    }

    /// Port of the end that asks.
    #[must_use]
    pub fn near_port(&self) -> u16 {
        self.near.1.port()
    }

    /// The end that asks sends a datagram; does it arrive in time?
    pub fn forward(&mut self, patience: Duration) -> bool {
        self.said += 1;
        sends(&self.near.0, &self.far, self.said, patience)
    }

    /// The end that answers sends a datagram; does it arrive in time?
    pub fn back(&mut self, patience: Duration) -> bool {
        self.said += 1;
        sends(&self.far.0, &self.near, self.said, patience)
    }

    /// Question and answer both arrive.
    pub fn answers(&mut self) {
        assert!(self.forward(ANSWER), "no datagram arrives at {}", self.far.1);
        assert!(self.back(ANSWER), "no datagram arrives at {}", self.near.1);
    }

    /// A question does not arrive.
    pub fn refused(&mut self) {
        assert!(!self.forward(SILENCE), "a datagram arrives at {}, which must not be", self.far.1);
    }
}

fn sends(from: &UdpSocket, (to, address): &(UdpSocket, SocketAddr), number: u64, patience: Duration) -> bool {
    from.send_to(&number.to_be_bytes(), address).expect("UDP takes a datagram");
    let end = Instant::now() + patience;
    let mut heard = [0; 16];
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        to.set_read_timeout(Some(left)).expect("a read timeout");
        match to.recv_from(&mut heard) {
            Ok((length, _)) if heard[..length] == number.to_be_bytes() => return true,
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(error) => panic!("the socket fails: {error}"),
        }
    }
    false
}

/// Echo requests with one identifier, as `ping` sends them.
pub struct Ping {
    socket: Socket,
    id: u16,
    request: u8,
    sequence: u16,
}

impl Ping {
    /// From an address of the namespace to another.
    #[must_use]
    pub fn new(from: &Namespace, address: IpAddr, to: IpAddr) -> Self {
        let make = || {
            let local = SocketAddr::new(address, 0);
            let protocol = if to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
            let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(protocol))?;
            socket.bind(&local.into())?;
            socket.connect(&SocketAddr::new(to, 0).into())?;
            // The kernel's name for the identifier of such a socket.
            let id = socket.local_addr()?.as_socket().map_or(0, |address| address.port());
            Ok::<_, io::Error>(Self { socket, id, request: if to.is_ipv4() { 8 } else { 128 }, sequence: 0 })
        };
        from.inside(make).unwrap_or_else(|error| panic!("cannot ping {to} from {address}: {error}"))
    }

    /// Its ICMP identifier.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Sends one request; does its answer come in time?
    pub fn answers_within(&mut self, patience: Duration) -> bool {
        self.sequence += 1;
        let [high, low] = self.sequence.to_be_bytes();
        // Type, code, checksum and identifier by the kernel, sequence.
        let request = [self.request, 0, 0, 0, 0, 0, high, low, 1, 2, 3, 4];
        let end = Instant::now() + patience;
        match self.socket.write(&request) {
            Ok(_) => {}
            // Nobody knows the link address yet, or the link is not ready.
            Err(error) if error.kind() == ErrorKind::HostUnreachable => return false,
            Err(error) => panic!("cannot send a ping: {error}"),
        }
        let mut answer = [0; 64];
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left)).expect("a read timeout");
            match self.socket.read(&mut answer) {
                Ok(length) if length >= 8 && answer[6..8] == [high, low] => return true,
                Ok(_) => {}
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::HostUnreachable => {}
                Err(error) => panic!("no answer to a ping: {error}"),
            }
        }
        false
    }

    /// One request is answered.
    pub fn answers(&mut self) {
        assert!(self.answers_within(ANSWER), "a ping is not answered");
    }

    /// One request is not answered.
    pub fn refused(&mut self) {
        assert!(!self.answers_within(SILENCE), "a ping is answered, which must not be");
    }
}

/// A socket for whole packets of one IP protocol.
pub struct Raw {
    socket: Socket,
    sent: u64,
}

impl Raw {
    /// Sends a packet to another such socket, at its address; does it arrive in time?
    pub fn reaches(&mut self, other: &Self, patience: Duration) -> bool {
        // The sender makes the content unique, since several may send to one.
        self.sent += 1;
        let content = [self.sent.to_be_bytes(), (self.socket.as_raw_fd() as u64).to_be_bytes()].concat();
        let to: SockAddr = other.socket.local_addr().expect("a socket has an address");
        match self.socket.send_to(&content, &to) {
            Ok(_) => {}
            // A raw socket learns of a drop on the way out, unlike TCP and UDP.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return false,
            Err(error) => panic!("a raw socket takes no packet: {error}"),
        }
        let end = Instant::now() + patience;
        let mut heard = [0; 256];
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            other.socket.set_read_timeout(Some(left)).expect("a read timeout");
            match (&other.socket).read(&mut heard) {
                // IPv4 shows its own header, IPv6 does not.
                Ok(length) if heard[..length].ends_with(&content) => return true,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => panic!("the raw socket fails: {error}"),
            }
        }
        false
    }
}
