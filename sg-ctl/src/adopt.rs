//! Adoption (P-22): the TCP connections that are open when an interface is attached are taken up as tracked, so that
//! attaching cuts nobody off, and least of all the operator.
//!
//! What is open the kernel's table of sockets tells. It is read twice: right before the programs go live, so that no
//! packet finds them without the entries, and right after, for connections that were established in between; those that
//! ended in between are forgotten again.
//!
//! What a guest has open no table of this host tells: its interface observes for some seconds before it enforces, and the
//! datapath adopts what it sees in use, both ways.
//!
//! UDP is not adopted. A connected socket proves nothing of the far end, since connecting it sends no packet; what this
//! host asks next is judged by the rules, and answered.

use crate::{
    compile::InterfacePolicy,
    device::Device,
    error::Result,
    kernel::{
        Host,
        adopt::{self, Program},
        object::Constants,
    },
    observe::conntrack::for_each,
    sockets::{self, Connection, OpenSocket, Sockets},
};
use serde::Serialize;
use sg_common::{
    Direction,
    adopt::Answer,
    flow::{flag, state},
    wire::protocol,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// A connection that was adopted, in the members of `conntrack list`.
#[derive(Clone, Debug, Serialize)]
pub struct Adopted {
    /// `tcp`
    pub protocol: &'static str,
    /// Local address.
    pub local: String,
    /// Local port.
    pub local_port: u16,
    /// Remote address.
    pub remote: String,
    /// Remote port.
    pub remote_port: u16,
    /// Which side started it: `ingress` or `egress`.
    pub initiated: &'static str,
}

impl Adopted {
    fn new(Connection { local, remote }: Connection, started: Direction) -> Self {
        Self {
            protocol: "tcp",
            local: local.ip().to_string(),
            local_port: local.port(),
            remote: remote.ip().to_string(),
            remote_port: remote.port(),
            initiated: match started {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            },
        }
    }
}

/// Adopts for one interface while it is being attached.
pub struct Adopter<'a> {
    host: &'a Host,
    program: Program,
    slot: u16,
    policy: &'a InterfacePolicy,
    device: &'a Device,
    adopted: BTreeMap<Connection, Direction>,
    unfit: usize,
}

impl<'a> Adopter<'a> {
    /// Makes ready. `policy` is what the interface is judged by.
    ///
    /// # Errors
    /// `ProgramRefused`
    pub fn new(
        host: &'a Host,
        constants: &Constants,
        policy: &'a InterfacePolicy,
        device: &'a Device,
    ) -> Result<Self> {
        let program = Program::load(host, constants)?;
        let slot = constants.slot;
        Ok(Self { host, program, slot, policy, device, adopted: BTreeMap::new(), unfit: 0 })
    }

    /// Brings the entries in step with the sockets of the namespace that this thread is in: takes up what is open and
    /// has none, and removes those that were adopted and whose socket is gone.
    ///
    /// # Errors
    /// `UnsupportedKernel` where sockets cannot be listed.
    pub fn follow(&mut self) -> Result<()> {
        let sockets = sockets::read()?;
        let mut open: Vec<_> = sockets.open.iter().filter(|socket| self.crosses(socket)).collect();
        let still_open: BTreeSet<_> = open.iter().map(|socket| socket.connection).collect();
        for (gone, _) in self.adopted.extract_if(.., |connection, _| !still_open.contains(connection)) {
            adopt::forget(self.host, self.slot, &gone)?;
        }
        // Where there is no room for all, sessions of those who came in go first: the operator's is one.
        open.sort_by_key(|socket| started(&sockets, socket) as u8);
        self.unfit = 0;
        for socket in open {
            self.take_up(socket, started(&sockets, socket))?;
        }
        Ok(())
    }

    /// Whether the packets of the socket can be those of the interface: its address is the interface's own, and its far
    /// end is not.
    fn crosses(&self, socket: &OpenSocket) -> bool {
        let Connection { local, remote } = socket.connection;
        let owns = |ip: &IpAddr| self.device.all_addresses.contains(ip);
        // Of link-local addresses several devices may have the same.
        let is_link_local = matches!(local.ip(), IpAddr::V6(v6) if v6.is_unicast_link_local());
        owns(&local.ip())
            && !owns(&remote.ip())
            && (!is_link_local || [0, self.device.ifindex].contains(&socket.device))
    }

    fn take_up(&mut self, socket: &OpenSocket, started: Direction) -> Result<()> {
        let connection = socket.connection;
        if self.adopted.contains_key(&connection) {
            return Ok(());
        }
        let family = usize::from(connection.local.is_ipv6());
        if self.policy.is_untracked(family, started, &adopt::key_head(self.slot, &connection)) {
            // The rules let it through, and it ends with them: it has no entry to outlive them by (P-2, T-31).
            return Ok(());
        }
        match self.program.take_up(self.slot, &connection, started, socket.fins)? {
            Answer::Made => drop(self.adopted.insert(connection, started)),
            // It began under the rules, and the programs saw it.
            Answer::Present => {}
            Answer::Full => self.unfit += 1,
        }
        Ok(())
    }

    /// What was adopted, and how many connections there was no room for.
    #[must_use]
    pub fn finish(self) -> (Vec<Adopted>, usize) {
        let adopted = self.adopted.into_iter().map(|(connection, started)| Adopted::new(connection, started));
        (adopted.collect(), self.unfit)
    }
}

/// What an interface adopted while it observed.
///
/// # Errors
/// Where the flow table cannot be read.
pub fn observed(host: &Host, slot: u16) -> Result<Vec<Adopted>> {
    let mut found = BTreeMap::new();
    for_each(host, |head, local, remote, flow| {
        let is_adopted = flow.state == state::ESTABLISHED && flow.flags & flag::ADOPTED != 0;
        if head.slot == slot && head.protocol == protocol::TCP && is_adopted {
            let local = SocketAddr::new(local, head.local_port);
            let remote = SocketAddr::new(remote, head.remote_port);
            let inward = flow.started == Direction::Ingress as u32;
            let started = if inward { Direction::Ingress } else { Direction::Egress };
            found.insert(Connection { local, remote }, started);
        }
    })?;
    Ok(found.into_iter().map(|(connection, started)| Adopted::new(connection, started)).collect())
}

/// Who started the connection: the far end, where somebody waits for connections to the local end.
fn started(sockets: &Sockets, socket: &OpenSocket) -> Direction {
    if sockets.listens(socket.connection.local) { Direction::Ingress } else { Direction::Egress }
}

/// Connections that are named one by one.
const NAMED: usize = 20;

/// What was adopted, for people: a line a connection, up to a limit.
#[must_use]
pub fn lines(adopted: &[Adopted]) -> Vec<String> {
    let mut lines: Vec<_> = adopted
        .iter()
        .take(NAMED)
        .map(|connection| {
            let Adopted { protocol, local, local_port, remote, remote_port, initiated } = connection;
            format!(
                "adopted {protocol} {local} port {local_port}, {remote} port {remote_port}, open since before \
                 ({initiated})"
            )
        })
        .collect();
    if adopted.len() > NAMED {
        lines.push(format!("and {} more connections; `conntrack list` shows all", adopted.len() - NAMED));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p22_many_adopted_connections_are_counted_and_not_named() {
        let one = Adopted {
            protocol: "tcp",
            local: "2001:db8::10".to_owned(),
            local_port: 22,
            remote: "2001:db8::1".to_owned(),
            remote_port: 40_000,
            initiated: "ingress",
        };
        assert_eq!(lines(&[]), [""; 0]);
        let line = "adopted tcp 2001:db8::10 port 22, 2001:db8::1 port 40000, open since before (ingress)";
        assert_eq!(lines(std::slice::from_ref(&one)), [line]);
        assert_eq!(lines(&vec![one.clone(); NAMED]).len(), NAMED);
        let many = lines(&vec![one; NAMED + 7]);
        assert_eq!(many.len(), NAMED + 1);
        assert!(many[NAMED].starts_with("and 7 more"), "{many:?}");
    }
}
