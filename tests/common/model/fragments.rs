//! Later fragments follow their first (P-11).

use super::packet::{Datagram, Packet, Vlans};
use sg_ctl::model::{Direction, EniId};
use std::{collections::HashMap, net::IpAddr};

/// How long after its first a fragment may come, in seconds.
const FOLLOWS_WITHIN: u64 = 30;

/// What the fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FragmentKey {
    pub interface: EniId,
    direction: Direction,
    vlans: Vlans,
    source: IpAddr,
    destination: IpAddr,
    datagram: Datagram,
}

impl FragmentKey {
    /// `None` for a whole datagram.
    pub fn of(interface: EniId, packet: &Packet<'_>) -> Option<Self> {
        let Packet { direction, vlans, source, destination, .. } = *packet;
        packet.datagram.map(|datagram| Self { interface, direction, vlans, source, destination, datagram })
    }
}

/// When the last first fragment of each datagram passed. One that was dropped is not remembered.
#[derive(Default)]
pub(super) struct Fragments(HashMap<FragmentKey, u64>);

impl Fragments {
    pub fn remember(&mut self, key: FragmentKey, now: u64) {
        self.0.insert(key, now);
    }

    pub fn first_passed(&self, key: &FragmentKey, now: u64) -> bool {
        self.0.get(key).is_some_and(|passed| now - passed <= FOLLOWS_WITHIN)
    }

    pub fn retain(&mut self, keep: impl Fn(&FragmentKey) -> bool) {
        self.0.retain(|key, _| keep(key));
    }
}
