//! Entries for connections that are older than the programs (P-22), made by a program of the datapath.

use super::{
    host::Host,
    net::words,
    object::{self, Constants},
    sys,
};
use crate::{error::Result, sockets::Connection};
use anyhow::Context;
use aya::Ebpf;
use sg_common::{
    Direction,
    adopt::{Adoption, Answer},
    flow::{FlowKey4, FlowKey6, KeyHead},
    vlan::Vlans,
    wire::protocol,
};
use std::os::fd::AsFd;
use zerocopy::IntoBytes;

/// What the flow table calls a TCP connection of an interface.
#[must_use]
pub fn key_head(slot: u16, connection: &Connection) -> KeyHead {
    KeyHead {
        slot,
        protocol: protocol::TCP,
        start: 0,
        local_port: connection.local.port(),
        remote_port: connection.remote.port(),
        // The device's own addresses are those of its untagged network; a VLAN's are another device's.
        vlans: Vlans::NONE,
    }
}

/// The program, loaded. It is on no device, and gone with this value.
pub struct Program {
    object: Ebpf,
}

impl Program {
    /// Loads it.
    ///
    /// # Errors
    /// `ProgramRefused`
    pub fn load(host: &Host, constants: &Constants) -> Result<Self> {
        let mut object = object::open(constants, &host.maps(), &[object::POLICY_MAPS, object::FLOW_MAPS])?;
        object::load(&mut object, object::ADOPT)?;
        Ok(Self { object })
    }

    /// Makes the entry of an established connection that was started in this direction; `fins` is
    /// [`sg_common::flow::flag`]'s `FIN_…`.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn take_up(
        &self,
        slot: u16,
        connection: &Connection,
        started: Direction,
        fins: u8,
    ) -> Result<Answer> {
        let adoption = Adoption {
            head: key_head(slot, connection),
            local: words(connection.local.ip()),
            remote: words(connection.remote.ip()),
            family: u32::from(connection.local.is_ipv6()),
            started: started as u32,
            fins: u32::from(fins),
        };
        let program = object::program_fd(&self.object, object::ADOPT)?;
        let value = sys::test_run(program.as_fd(), adoption.as_bytes()).context("cannot run the program")?;
        Answer::of(value).with_context(|| format!("the program {} answers {value}", object::ADOPT))
    }
}

/// Removes the entry of a connection.
///
/// # Errors
/// Where the kernel refuses.
pub fn forget(host: &Host, slot: u16, connection: &Connection) -> Result<()> {
    let head = key_head(slot, connection);
    let (local, remote) = (words(connection.local.ip()), words(connection.remote.ip()));
    if connection.local.is_ipv6() {
        host.flows6[0].remove(&FlowKey6 { head, local, remote })?;
    } else {
        host.flows4[0].remove(&FlowKey4 { head, local: local[0], remote: remote[0] })?;
    }
    Ok(())
}
