//! The policy compiler: from security groups to what the datapath looks up. A pure function of the state.
//!
//! Rules only permit and they add up, so a decision is a set membership: the remote address names a *class*, the class
//! has a port set for each protocol. An address table holds, for every prefix that a rule names, the union of all that
//! covers it, so that one longest match answers for all rules.

mod attribution;
mod interface;
mod permission;
mod ports;
mod released;
mod table;

pub use attribution::{Attribution, Carried, Removal, Start, Tracking, attribute};
pub use interface::admitted_by;
pub use permission::Permission;
pub use ports::Ports;
pub use released::{Released, lost, still_lost};
pub use table::{Net, Table};

use crate::model::{EniId, State};
use sg_common::{
    flow::{Flow, KeyHead},
    wire::protocol,
};
use std::{collections::BTreeMap, net::IpAddr};

/// IPv4 or IPv6; the index of arrays with one element a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Bits of an address.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// Protocol number of its own ICMP.
    #[must_use]
    pub fn icmp(self) -> u8 {
        match self {
            Self::V4 => protocol::ICMP,
            Self::V6 => protocol::ICMPV6,
        }
    }

    /// The family of an address.
    #[must_use]
    pub fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// What all interfaces of a host are judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// By slot.
    pub policies: BTreeMap<u16, InterfacePolicy>,
    /// Addresses whose flows end when this is put in force.
    pub released: Released,
}

/// What one interface is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfacePolicy {
    /// The interface, for messages.
    pub eni: EniId,
    /// `[family][direction]`, directions as in [`crate::model::Direction::BOTH`].
    pub tables: [[Table; 2]; 2],
    /// `[family][TCP, UDP]`: local ports to which a flow started inward is untracked (P-2a).
    pub open_in: [[Ports; 2]; 2],
    /// `[family][TCP, UDP]`: remote ports to which a flow started outward is untracked (P-2b).
    pub open_out: [[Ports; 2]; 2],
    /// The interface's own addresses (P-20).
    pub locals: Vec<IpAddr>,
    /// Switches and timeouts.
    pub options: crate::model::Options,
    /// Idle timeouts.
    pub timeouts: crate::model::Timeouts,
    /// Where it only observes: jiffies at which it begins to enforce (P-22).
    pub observe_until: Option<u64>,
}

impl InterfacePolicy {
    /// Whether a flow that was started in this direction passes untracked (P-2); `family` is 0 for IPv4, 1 for IPv6.
    #[must_use]
    pub fn is_untracked(&self, family: usize, started: sg_common::Direction, head: &KeyHead) -> bool {
        let kind = match head.protocol {
            protocol::TCP => 0,
            protocol::UDP => 1,
            _ => return false,
        };
        match started {
            sg_common::Direction::Ingress => self.open_in[family][kind].contains(head.local_port),
            sg_common::Direction::Egress => self.open_out[family][kind].contains(head.remote_port),
        }
    }
}

/// Whether a tracked flow could begin under these tables, `[family][direction]`, as it began.
#[must_use]
pub fn admits_flow(tables: &[[Table; 2]; 2], head: &KeyHead, remote: IpAddr, flow: &Flow) -> bool {
    let family = Family::of(&remote);
    let inward = flow.started == sg_common::Direction::Ingress as u32;
    let point = match (head.protocol, inward) {
        // The request's type; that it was a query means code 0.
        (protocol::ICMP | protocol::ICMPV6, _) => head.remote_port << 8,
        (_, true) => head.local_port,
        (_, false) => head.remote_port,
    };
    tables[family as usize][usize::from(!inward)].lookup(remote).admits(family, head.protocol, point)
}

/// Compiles the whole state.
#[must_use]
pub fn compile(state: &State) -> Image {
    let policies = state
        .attached()
        .map(|(eni, attachment)| (attachment.slot, interface::compile(state, eni, attachment)))
        .collect();
    Image { policies, released: Released::of(state) }
}

impl Image {
    /// Whether `next` is in force where `self` is: every packet is judged the same, and no flow ends. What `self` released
    /// ended flows when it was put in force, and would not end those that were opened since.
    #[must_use]
    pub fn serves_as(&self, next: &Self) -> bool {
        self.policies == next.policies && next.released.is_empty()
    }

    /// How many ports of TCP and UDP were untracked on some interface in `self` and are not any more in `next`.
    #[must_use]
    pub fn interrupted_ports(&self, next: &Self) -> u32 {
        let mut interrupted = [Ports::NONE, Ports::NONE];
        for (slot, policy) in &self.policies {
            for family in 0..2 {
                for (protocol, ports) in interrupted.iter_mut().enumerate() {
                    for (before, of) in [(&policy.open_in, Side::In), (&policy.open_out, Side::Out)] {
                        let after = next.policies.get(slot).map(|policy| match of {
                            Side::In => &policy.open_in[family][protocol],
                            Side::Out => &policy.open_out[family][protocol],
                        });
                        let before = &before[family][protocol];
                        ports.add(&after.map_or_else(|| before.clone(), |after| before.without(after)));
                    }
                }
            }
        }
        interrupted.iter().map(Ports::len).sum()
    }

    /// Whether some flow that may have an entry under `self` is untracked under `next` (P-3a).
    #[must_use]
    pub fn is_opened_by(&self, next: &Self) -> bool {
        next.policies.iter().any(|(slot, after)| {
            let before = self.policies.get(slot);
            (0..2).any(|family| {
                (0..2).any(|protocol| {
                    let opened = |before: Option<&Ports>, after: &Ports| match before {
                        Some(before) => !after.without(before).is_empty(),
                        None => !after.is_empty(),
                    };
                    opened(before.map(|p| &p.open_in[family][protocol]), &after.open_in[family][protocol])
                        || opened(
                            before.map(|p| &p.open_out[family][protocol]),
                            &after.open_out[family][protocol],
                        )
                })
            })
        })
    }
}

/// Which of the two cases of P-2.
enum Side {
    In,
    Out,
}

#[cfg(test)]
mod tests;
