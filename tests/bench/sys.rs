//! The system calls that std and socket2 have not: processors, packet sockets, waiting for many sockets at once.

use libc::{c_int, c_void};
use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The calling thread runs on this processor only, counted from zero; on the last where there are fewer.
pub fn pin(processor: usize) {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: all zero bytes are an empty set of processors.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours, and a number beyond its size is ignored.
    unsafe { libc::CPU_SET(processor.min(count - 1), &mut set) };
    // SAFETY: a set of that size, for the calling thread.
    let pinned = check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) });
    pinned.expect("a thread can be given a processor");
}

/// Ends a process that this one started and did not wait for yet.
pub fn kill(pid: u32) {
    // SAFETY: no pointers.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
}

/// Sends whole frames through a device of the calling thread's namespace, past its queueing discipline.
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    pub fn open(device: &str) -> io::Result<Self> {
        let name = std::ffi::CString::new(device)?;
        // SAFETY: a string that ends with zero.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: no pointers. Protocol zero: nothing is received.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: a new descriptor that nobody else has.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        let on: c_int = 1;
        let (value, length) = ((&raw const on).cast::<c_void>(), size_of_val(&on) as u32);
        // SAFETY: an integer of that length that outlives the call.
        check(unsafe { libc::setsockopt(fd, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, value, length) })?;
        // SAFETY: all zero bytes are an address of no device.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index as c_int;
        // SAFETY: an address of that length that outlives the call.
        check(unsafe {
            libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as libc::socklen_t)
        })?;
        Ok(socket)
    }

    /// Sends frames, at most 64, in one system call. Returns how many the device took: it has no queue, and refuses what
    /// does not fit.
    pub fn send(&self, frames: &[Vec<u8>]) -> io::Result<usize> {
        let frames = &frames[..frames.len().min(64)];
        let mut parts: [libc::iovec; 64] = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; 64];
        // SAFETY: all zero bytes are a message without address, parts or control data.
        let mut messages: [libc::mmsghdr; 64] = unsafe { std::mem::zeroed() };
        for ((frame, part), message) in frames.iter().zip(&mut parts).zip(&mut messages) {
            *part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: that many messages, each of one part that lies in a frame; the kernel only reads them.
        let sent =
            unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), frames.len() as u32, 0) };
        match check(sent) {
            Ok(sent) => Ok(sent as usize),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// Waits for any of many sockets, each under a number of the caller's.
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: a new descriptor that nobody else has.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches a socket until it is closed.
    pub fn add(&self, socket: RawFd, number: u64, events: i32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, number, events)
    }

    /// Watches it for something else.
    pub fn modify(&self, socket: RawFd, number: u64, events: i32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket, number, events)
    }

    fn control(&self, operation: c_int, socket: RawFd, number: u64, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: number };
        // SAFETY: an event that outlives the call; a closed descriptor is refused by the kernel.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, socket, &raw mut event) }).map(drop)
    }

    /// Numbers of the sockets at which something happened, after at most that many milliseconds.
    pub fn wait(&self, milliseconds: i32, ready: &mut Vec<u64>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        // SAFETY: room for that many events.
        let count =
            check(unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 256, milliseconds) });
        ready.clear();
        match count {
            Ok(count) => ready.extend(events[..count as usize].iter().map(|event| event.u64)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
