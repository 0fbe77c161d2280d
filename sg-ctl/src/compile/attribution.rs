//! Whose permission it is: which rules let a flow start, whether the flow table keeps it, and what would become of it,
//! once open, if one of them went.
//!
//! Read off the rules themselves, since the compiled tables have forgotten who said what. `sg-ctl explain` prints it
//! beside the verdict of the kernel's own program, and a test holds the two against each other.

use super::{
    Family, Net, Permission,
    interface::{IpProtocol, is_world, meant, opens_answers, ports, services},
};
use crate::model::{Direction, Interface, Options, Rule, RuleId, State};
use serde::Serialize;
use sg_common::{
    flow::{IcmpRole, icmp_role},
    wire::protocol,
};
use std::net::IpAddr;

/// The packet that would start a flow, as rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which way it goes.
    pub direction: Direction,
    /// The far end.
    pub remote: IpAddr,
    /// What it carries.
    pub carried: Carried,
}

/// What a packet carries. Ports are its own: of the one that sends it, and of the one that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// A SYN.
    Tcp {
        /// Of the sender.
        source: u16,
        /// Of the receiver.
        destination: u16,
    },
    /// A datagram.
    Udp {
        /// Of the sender.
        source: u16,
        /// Of the receiver.
        destination: u16,
    },
    /// A message of the family's own ICMP.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Any other protocol, by its number.
    Other(u8),
}

impl Start {
    /// The protocol's number.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        match self.carried {
            Carried::Tcp { .. } => protocol::TCP,
            Carried::Udp { .. } => protocol::UDP,
            Carried::Icmp { .. } => Family::of(&self.remote).icmp(),
            Carried::Other(number) => number,
        }
    }

    /// What rules of a direction look at: inward the local port, outward the remote one; type and code of ICMP.
    fn point(&self, rules: Direction) -> u16 {
        match self.carried {
            Carried::Tcp { source, destination } | Carried::Udp { source, destination } => {
                if rules == self.direction { destination } else { source }
            }
            Carried::Icmp { kind, code } => u16::from(kind) << 8 | u16::from(code),
            Carried::Other(_) => 0,
        }
    }

    /// The protocol, where its flows can be untracked.
    fn untracked_protocol(&self) -> Option<IpProtocol> {
        match self.carried {
            Carried::Tcp { .. } => Some(IpProtocol::Tcp),
            Carried::Udp { .. } => Some(IpProtocol::Udp),
            Carried::Icmp { .. } | Carried::Other(_) => None,
        }
    }
}

/// Where a flow that the rules admit is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// In the flow table.
    Tracked,
    /// Nowhere: it is open to the world both ways (P-2).
    Untracked,
    /// Nowhere: each message is judged alone (ICMP that is no query, P-7).
    Stateless,
}

/// What becomes of a flow that is open now if a rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Removal {
    /// Nothing changes: other rules admit such flows in the same way.
    Nothing,
    /// It goes on by other rules that admit it, untracked no more: of TCP without state, of UDP with an entry (T-33).
    ChangesTracking,
    /// It lives on in the flow table (T-32), and no other of its kind may start.
    KeepsTracked,
    /// It stops at once (T-31).
    Interrupts,
}

/// Why a flow may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// Of a flow that may.
    pub tracking: Tracking,
    /// The rules of its own direction that admit it, by id.
    pub rules: Vec<(RuleId, Removal)>,
    /// Of an untracked one: the rules of the other direction that let its answers pass without tracking.
    pub return_rules: Vec<(RuleId, Removal)>,
    /// It goes to a service address, which an implied rule admits (P-10).
    pub service_address: bool,
}

impl Attribution {
    /// Whether the flow may start at all.
    #[must_use]
    pub fn admits(&self) -> bool {
        self.service_address || !self.rules.is_empty()
    }
}

/// Attributes the start of a flow on an interface that is attached with these switches.
#[must_use]
pub fn attribute(state: &State, eni: &Interface, options: &Options, start: &Start) -> Attribution {
    let rules = state.rules.values().filter(|rule| eni.groups.contains(&rule.group));
    let all = Rules {
        opinions: rules.map(|rule| Opinion::of(state, eni, rule, start)).collect(),
        service: !options.no_exempt_link_local && is_service(start),
        track_all: options.force_track,
    };
    let tracking = match start.carried {
        _ if all.is_open(start.direction) => Tracking::Untracked,
        Carried::Icmp { kind, .. } if icmp_role(start.protocol(), kind) != IcmpRole::Request => {
            Tracking::Stateless
        }
        _ => Tracking::Tracked,
    };
    let with_removal = |counts: &dyn Fn(&Opinion) -> bool| {
        let rules = all.opinions.iter().filter(|opinion| counts(opinion));
        rules.map(|opinion| (opinion.rule, removal(&all.without(opinion.rule), start, tracking))).collect()
    };
    Attribution {
        tracking,
        rules: with_removal(&|opinion| opinion.direction == start.direction && opinion.admits),
        return_rules: match tracking {
            Tracking::Untracked => {
                with_removal(&|opinion| opinion.direction != start.direction && opinion.opens_answers)
            }
            Tracking::Tracked | Tracking::Stateless => Vec::new(),
        },
        service_address: all.service && start.direction == Direction::Egress,
    }
}

/// What becomes of an open flow when these rules are left.
fn removal(left: &Rules, start: &Start, tracking: Tracking) -> Removal {
    let admitted = left.admit(start.direction);
    match tracking {
        Tracking::Untracked if left.is_open(start.direction) => Removal::Nothing,
        Tracking::Untracked => {
            let goes_on = match start.carried {
                // Segments pass alone, by the rules of their own direction or because their ports are open (P-3).
                Carried::Tcp { .. } => {
                    Direction::BOTH.into_iter().any(|case| left.is_open(case))
                        || Direction::BOTH.into_iter().all(|direction| left.admit(direction))
                }
                // The next packet of the end that started it makes an entry; the other end revives nothing.
                _ => admitted,
            };
            if goes_on { Removal::ChangesTracking } else { Removal::Interrupts }
        }
        _ if admitted => Removal::Nothing,
        Tracking::Tracked => Removal::KeepsTracked,
        Tracking::Stateless => Removal::Interrupts,
    }
}

/// What an interface's rules say of one flow, in both directions.
#[derive(Clone)]
struct Rules {
    opinions: Vec<Opinion>,
    /// The implied outward rule admits its outward packets: it goes to a service address, or its answers do.
    service: bool,
    /// No flow of the interface is untracked (T-14).
    track_all: bool,
}

/// What one rule says of it.
#[derive(Clone, Copy)]
struct Opinion {
    rule: RuleId,
    direction: Direction,
    /// It admits the flow's packets of this direction.
    admits: bool,
    /// It opens the port to the world.
    opens: bool,
    /// It opens all ports to the world, so that answers need no entry.
    opens_answers: bool,
}

impl Opinion {
    fn of(state: &State, eni: &Interface, rule: &Rule, start: &Start) -> Self {
        let family = Family::of(&start.remote);
        let (point, remote) = (start.point(rule.direction), Net::host(start.remote));
        let admits = Permission::of(rule.traffic, family).admits(family, start.protocol(), point)
            && meant(state, eni.vpc, rule.peer, family).any(|net| net.covers(&remote));
        let protocol = start.untracked_protocol();
        let holds =
            |protocol| ports(rule, protocol).is_some_and(|open| (open.from..=open.to).contains(&point));
        Self {
            rule: rule.id,
            direction: rule.direction,
            admits,
            opens: is_world(rule, family) && protocol.is_some_and(holds),
            opens_answers: protocol
                .is_some_and(|protocol| opens_answers(rule, rule.direction, family, protocol)),
        }
    }
}

impl Rules {
    fn without(&self, rule: RuleId) -> Self {
        let mut left = self.clone();
        left.opinions.retain(|opinion| opinion.rule != rule);
        left
    }

    /// Whether packets of the flow that go this way are admitted.
    fn admit(&self, direction: Direction) -> bool {
        self.service && direction == Direction::Egress
            || self.opinions.iter().any(|opinion| opinion.direction == direction && opinion.admits)
    }

    /// Whether a flow with these ports is untracked when it starts this way (P-2).
    fn is_open(&self, start: Direction) -> bool {
        let any = |direction, says: &dyn Fn(&Opinion) -> bool| {
            self.opinions.iter().any(|opinion| opinion.direction == direction && says(opinion))
        };
        !self.track_all
            && any(start, &|opinion| opinion.opens)
            && any(start.opposite(), &|opinion| opinion.opens_answers)
    }
}

/// Whether the flow's outward packets go to a service address.
fn is_service(start: &Start) -> bool {
    let family = Family::of(&start.remote);
    let point = start.point(Direction::Egress);
    services().into_iter().any(|(address, traffic)| {
        address == start.remote && Permission::of(traffic, family).admits(family, start.protocol(), point)
    })
}
