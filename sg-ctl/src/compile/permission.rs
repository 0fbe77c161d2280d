//! What an address may do: the sum of the rules that name it.

use super::{Family, Ports};
use crate::model::{IcmpMatch, Traffic};
use sg_common::wire::protocol;

/// What rules permit to an address. Becomes a class of the datapath.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    /// TCP ports.
    pub tcp: Ports,
    /// UDP ports.
    pub udp: Ports,
    /// `type << 8 | code` of the family's own ICMP.
    pub icmp: Ports,
    /// All other protocols, a bit each.
    pub protocols: [u64; 4],
}

impl Permission {
    /// What one rule permits to addresses of this family.
    #[must_use]
    pub fn of(traffic: Traffic, family: Family) -> Self {
        let mut permission = Self::default();
        match traffic {
            Traffic::All => {
                permission.tcp = Ports::all();
                permission.udp = Ports::all();
                permission.icmp = Ports::all();
                permission.protocols = [u64::MAX; 4];
            }
            Traffic::Tcp(range) => permission.tcp = Ports::range(range.from, range.to),
            Traffic::Udp(range) => permission.udp = Ports::range(range.from, range.to),
            Traffic::Icmp(which) => permission.add_icmp(which, protocol::ICMP, family == Family::V4),
            Traffic::Icmpv6(which) => permission.add_icmp(which, protocol::ICMPV6, family == Family::V6),
            Traffic::Other(number) => permission.add_protocol(number),
        }
        permission
    }

    /// ICMP in its own family has types and codes. In the other it is one more protocol number, whose content the
    /// datapath does not read: only a rule for all of it can admit it, and it never covers the family's own.
    fn add_icmp(&mut self, which: IcmpMatch, number: u8, own_family: bool) {
        let point = |kind: u8, code: u8| u16::from(kind) << 8 | u16::from(code);
        match (which, own_family) {
            (IcmpMatch::All, true) => self.icmp = Ports::all(),
            (IcmpMatch::Type(kind), true) => self.icmp = Ports::range(point(kind, 0), point(kind, u8::MAX)),
            (IcmpMatch::TypeCode(kind, code), true) => {
                self.icmp = Ports::range(point(kind, code), point(kind, code));
            }
            (IcmpMatch::All, false) => self.add_protocol(number),
            (IcmpMatch::Type(_) | IcmpMatch::TypeCode(..), false) => {}
        }
    }

    fn add_protocol(&mut self, number: u8) {
        self.protocols[usize::from(number >> 6)] |= 1 << (number & 63);
    }

    /// Whether it admits a packet of this protocol number. `point` is the port that rules look at, or `type << 8 | code`
    /// of the family's own ICMP; other protocols have none.
    #[must_use]
    pub fn admits(&self, family: Family, number: u8, point: u16) -> bool {
        match (number, family) {
            (protocol::TCP, _) => self.tcp.contains(point),
            (protocol::UDP, _) => self.udp.contains(point),
            (protocol::ICMP, Family::V4) | (protocol::ICMPV6, Family::V6) => self.icmp.contains(point),
            (other, _) => self.protocols[usize::from(other >> 6)] >> (other & 63) & 1 != 0,
        }
    }

    /// Becomes the union of both: the most permissive rule wins (T-1).
    pub fn add(&mut self, other: &Self) {
        self.tcp.add(&other.tcp);
        self.udp.add(&other.udp);
        self.icmp.add(&other.icmp);
        for (word, more) in self.protocols.iter_mut().zip(other.protocols) {
            *word |= more;
        }
    }

    /// Whether it permits nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}
