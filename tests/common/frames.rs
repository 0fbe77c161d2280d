//! Frames put on a link as they are, past all of the kernel that would make them otherwise.

use crate::net::Namespace;
use socket2::{Domain, Socket, Type};
use std::{ffi::CString, io, os::fd::AsRawFd};

/// Sends a frame from this link of the namespace.
pub fn put(namespace: &Namespace, link: &str, frame: &[u8]) {
    let link = CString::new(link).expect("a name");
    let sent = namespace.inside(|| {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        // SAFETY: all zero bytes are an address of this kind, and the name ends with a zero byte.
        let (mut to, index) =
            unsafe { (std::mem::zeroed::<libc::sockaddr_ll>(), libc::if_nametoindex(link.as_ptr())) };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = index as i32;
        let (to, length) = (&raw const to, size_of_val(&to) as libc::socklen_t);
        // SAFETY: an open descriptor, and a frame and an address that outlive the call.
        let sent = unsafe {
            libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, to.cast(), length)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent) }
    });
    assert_eq!(sent.expect("a frame can be sent") as usize, frame.len());
}
