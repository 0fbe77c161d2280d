//! The policy compiler: from security groups to what the datapath looks up. A pure function of the state.
//!
//! Rules only permit and they add up, so a decision is a set membership: the remote address names a *class*, the class
//! has a port set for each protocol. The CIDR blocks of an interface's rules are one table, whose entries hold the union
//! of all that covers them, so that one longest match answers for all of them. Members of groups and entries of prefix lists
//! are the host's, whichever interfaces name them: a member more is one entry, however many interfaces it concerns.

mod access;
mod admitting;
mod attribution;
mod change;
mod interface;
mod members;
mod part;
mod permission;
mod ports;
mod released;
mod table;

pub use access::Access;
pub use admitting::admitting;
pub use attribution::{Attribution, Carried, Removal, Start, Tracking, attribute};
pub use change::{Change, Scope};
pub use interface::admitted_by;
pub use members::{Identity, List};
pub use permission::Permission;
pub use ports::Ports;
pub use released::{Released, lost, still_lost};
pub use table::{Net, Table};

use crate::model::{EniId, PrefixListId, State};
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
    /// Members of groups; nobody where no interface is attached.
    pub members: BTreeMap<IpAddr, Identity>,
    /// The prefix lists that policies name.
    pub lists: BTreeMap<PrefixListId, List>,
    /// Addresses whose flows end when this is put in force.
    pub released: Released,
}

/// What one interface is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfacePolicy {
    /// The interface, for messages.
    pub eni: EniId,
    /// `[family][direction]`, directions as in [`crate::model::Direction::BOTH`].
    pub access: [[Access; 2]; 2],
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

    /// Whether a tracked flow could begin under this policy of the image, as it began.
    #[must_use]
    pub fn admits_flow(&self, image: &Image, head: &KeyHead, remote: IpAddr, flow: &Flow) -> bool {
        begins(head, remote, flow, |family, direction, point| {
            let access = &self.access[family as usize][direction];
            access.lookup(image, remote).admits(family, head.protocol, point)
        })
    }
}

/// Whether a tracked flow could begin under these tables, `[family][direction]`, as it began.
#[must_use]
pub fn admits_flow(tables: &[[Table; 2]; 2], head: &KeyHead, remote: IpAddr, flow: &Flow) -> bool {
    begins(head, remote, flow, |family, direction, point| {
        tables[family as usize][direction].lookup(remote).admits(family, head.protocol, point)
    })
}

/// Asks about the packet that a flow began with: family, direction and point.
fn begins(
    head: &KeyHead,
    remote: IpAddr,
    flow: &Flow,
    admits: impl FnOnce(Family, usize, u16) -> bool,
) -> bool {
    let inward = flow.started == sg_common::Direction::Ingress as u32;
    let point = match (head.protocol, inward) {
        // The request's type; that it was a query means code 0.
        (protocol::ICMP | protocol::ICMPV6, _) => head.remote_port << 8,
        (_, true) => head.local_port,
        (_, false) => head.remote_port,
    };
    admits(Family::of(&remote), usize::from(!inward), point)
}

/// Compiles the whole state.
#[must_use]
pub fn compile(state: &State) -> Image {
    let policies: BTreeMap<u16, InterfacePolicy> = state
        .attached()
        .map(|(eni, attachment)| (attachment.slot, interface::compile(state, eni, attachment)))
        .collect();
    if policies.is_empty() {
        return Image::default();
    }
    let lists = lists_of(state, &policies);
    Image { policies, members: members::members(state), lists, released: Released::of(state) }
}

/// The prefix lists that policies name.
fn lists_of(state: &State, policies: &BTreeMap<u16, InterfacePolicy>) -> BTreeMap<PrefixListId, List> {
    let named = policies.values().flat_map(|policy| policy.access.iter().flatten());
    let named = named.flat_map(|access| access.lists.keys());
    named.filter_map(|id| Some((*id, List::from(state.prefix_lists.get(id)?)))).collect()
}

#[cfg(test)]
mod tests;
