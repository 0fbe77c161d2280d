//! The kernel's table of TCP sockets, by sock_diag(7).

use crate::{
    error::{Refusal, Result},
    netlink,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{
        AF_INET, AF_INET6, IPPROTO_TCP, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_FIN_WAIT1, TCP_FIN_WAIT2,
        TCP_LAST_ACK, TCP_LISTEN,
    },
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use sg_common::flow::flag;
use std::net::{IpAddr, SocketAddr};

/// The sockets of one network namespace.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// Where somebody waits for connections.
    pub listening: Vec<SocketAddr>,
    /// Connections whose handshake is done and on which one side at least may still send data.
    pub open: Vec<OpenSocket>,
}

/// The two ends of a connection as they are on the wire: an IPv6 socket that speaks IPv4 has IPv4 addresses here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// Our end.
    pub local: SocketAddr,
    /// The far end.
    pub remote: SocketAddr,
}

/// An open connection.
#[derive(Clone, Copy, Debug)]
pub struct OpenSocket {
    /// Its ends.
    pub connection: Connection,
    /// Index of the device that it is bound to, as one with a link-local address is; 0 where it is bound to none.
    pub device: u32,
    /// [`flag`]'s `FIN_…`: which sides have ended their stream.
    pub fins: u8,
}

/// Reads the table of the namespace that this thread is in.
///
/// # Errors
/// `UnsupportedKernel` where the kernel does not show its sockets.
pub fn read() -> Result<Sockets> {
    let mut sockets = Sockets::default();
    for family in [AF_INET, AF_INET6] {
        dump(family, |header| sockets.add(header)).map_err(explain)?;
    }
    Ok(sockets)
}

fn explain(error: anyhow::Error) -> anyhow::Error {
    match crate::error::os_error(&error) {
        Some(libc::ENOENT | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP) => {
            let message = "this kernel does not show its sockets (CONFIG_INET_DIAG, module tcp_diag), so that open \
                           connections cannot be adopted; --adopt none attaches without, and cuts those that no rule \
                           admits";
            Refusal::new("UnsupportedKernel", message).into()
        }
        _ => error.context("cannot read the kernel's table of sockets"),
    }
}

impl Sockets {
    fn add(&mut self, header: &InetResponseHeader) {
        let id = &header.socket_id;
        let local = SocketAddr::new(id.source_address.to_canonical(), id.source_port);
        if header.state == TCP_LISTEN {
            self.listening.push(local);
            return;
        }
        let remote = SocketAddr::new(id.destination_address.to_canonical(), id.destination_port);
        // Ours was sent, or is about to be; theirs has come.
        let fins = match header.state {
            TCP_FIN_WAIT1 | TCP_FIN_WAIT2 => flag::FIN_EGRESS,
            TCP_CLOSE_WAIT => flag::FIN_INGRESS,
            TCP_CLOSING | TCP_LAST_ACK => flag::FIN_BOTH,
            _ => 0,
        };
        self.open.push(OpenSocket {
            connection: Connection { local, remote },
            device: id.interface_id,
            fins,
        });
    }

    /// Whether somebody waits for connections to this address and port.
    #[must_use]
    pub fn listens(&self, at: SocketAddr) -> bool {
        let takes = |ip: IpAddr| ip.is_unspecified() || ip == at.ip();
        self.listening.iter().any(|listening| listening.port() == at.port() && takes(listening.ip()))
    }
}

/// Calls `visit` with every socket of a family that listens or is open.
fn dump(family: u8, mut visit: impl FnMut(&InetResponseHeader)) -> Result<()> {
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        // Not SYN_SENT and SYN_RECV, which are not open, nor TIME_WAIT, in which nobody has anything to say any more.
        states: StateFlags::LISTEN
            | StateFlags::ESTABLISHED
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2
            | StateFlags::CLOSE_WAIT
            | StateFlags::LAST_ACK
            | StateFlags::CLOSING,
        socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
    };
    netlink::dump(NETLINK_SOCK_DIAG, SockDiagMessage::InetRequest(request), |answer| {
        if let SockDiagMessage::InetResponse(response) = answer {
            visit(&response.header);
        }
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn p22_a_connection_is_seen_from_both_ends_and_by_the_addresses_on_the_wire() {
        // A socket of both families that speaks IPv4.
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let near = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (far, _) = listener.accept().unwrap();
        let (client, server) = (near.local_addr().unwrap(), near.peer_addr().unwrap());
        assert!(far.local_addr().unwrap().is_ipv6());

        let find = |sockets: &Sockets, local, remote| {
            let is_it = |socket: &&OpenSocket| socket.connection == Connection { local, remote };
            sockets.open.iter().find(is_it).map(|socket| socket.fins)
        };
        let sockets = read().unwrap();
        assert!(sockets.listens(server), "{:?}", sockets.listening);
        assert!(!sockets.listens(client));
        assert_eq!(find(&sockets, client, server), Some(0));
        assert_eq!(find(&sockets, server, client), Some(0));

        near.shutdown(std::net::Shutdown::Write).unwrap();
        let sockets = read().unwrap();
        assert_eq!(find(&sockets, client, server), Some(flag::FIN_EGRESS));
        assert_eq!(find(&sockets, server, client), Some(flag::FIN_INGRESS));
        drop((near, far));
    }
}
