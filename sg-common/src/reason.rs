//! Verdicts and their reasons. Every packet gets exactly one, and every reason has a counter.
//!
//! Numbers are never recycled: a retired reason keeps its number, so that old counters keep their meaning.

/// Why a packet passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Pass {
    /// Not subject to security groups: ARP, neighbour discovery, DHCP, … (P-10).
    Exempt = 0,
    /// Open to the world both ways: no entry is made or needed (P-2).
    Untracked = 1,
    /// Belongs to a live entry of the flow table.
    Tracked = 2,
    /// The rules admit it, and an entry was made for its flow.
    New = 3,
    /// The rules admit it on its own; no entry is made (TCP without SYN, P-3; ICMP that is no query, P-7).
    Stateless = 4,
    /// An ICMP error about a flow that is let through (P-8).
    Related = 5,
    /// A later fragment of a datagram whose first fragment passed (P-11).
    Fragment = 6,
    /// Not IP, and the interface says `--non-ip pass` (P-10).
    NonIp = 7,
    /// The interface does not enforce yet: it observes which connections are open (P-22).
    Observed = 8,
}

/// Reasons from this number on are drops.
pub const FIRST_DROP: u32 = 16;

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Drop {
    /// No rule admits it.
    NoRule = 16,
    /// TCP without SYN, no entry, and not admitted by the rules of its direction.
    NoConnection = 17,
    /// Truncated, lying about its length, or impossible (P-12).
    Malformed = 18,
    /// Neither IP nor exempt.
    NonIp = 19,
    /// A later fragment whose first fragment was not admitted, came too late, or has not come yet (P-11).
    Fragment = 20,
    /// A first fragment too short to hold the ports and flags (P-11).
    FragmentTiny = 21,
    /// A later fragment that would overwrite the header of the first (P-11).
    FragmentOverlap = 22,
    /// A source that cannot be true (P-20).
    SpoofedSource = 23,
    /// The packet needs a new entry and the table is full of live ones (P-16).
    ConntrackFull = 24,
    /// The interface has no policy. It is put in force before the programs go live, so this is a fault.
    NoPolicy = 25,
}

/// What becomes of a packet. Dropping a `Verdict` on the floor is a bug, hence `must_use`.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass(Pass),
    /// It ends here.
    Drop(Drop),
}

/// Counter cells per interface and direction: one for each number that a reason can have.
pub const REASONS: u32 = 32;

impl Verdict {
    /// Every verdict there is.
    pub fn all() -> impl Iterator<Item = Self> {
        Pass::ALL.into_iter().map(Self::Pass).chain(Drop::ALL.into_iter().map(Self::Drop))
    }

    /// The one with this number.
    #[must_use]
    pub fn of(number: u32) -> Option<Self> {
        Self::all().find(|verdict| verdict.number() == number)
    }

    /// The word for its reason that counters print.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Pass(why) => why.name(),
            Self::Drop(why) => why.name(),
        }
    }

    /// The reason's number: index of its counter.
    #[inline(always)]
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Pass(why) => why as u32,
            Self::Drop(why) => why as u32,
        }
    }

    /// Whether the packet goes on.
    #[inline(always)]
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Pass(_))
    }
}

impl Pass {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Exempt,
        Self::Untracked,
        Self::Tracked,
        Self::New,
        Self::Stateless,
        Self::Related,
        Self::Fragment,
        Self::NonIp,
        Self::Observed,
    ];

    /// The word that counters print.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::Untracked => "untracked",
            Self::Tracked => "tracked",
            Self::New => "new",
            Self::Stateless => "stateless",
            Self::Related => "related",
            Self::Fragment => "fragment",
            Self::NonIp => "non_ip",
            Self::Observed => "observed",
        }
    }
}

impl Drop {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::NoRule,
        Self::NoConnection,
        Self::Malformed,
        Self::NonIp,
        Self::Fragment,
        Self::FragmentTiny,
        Self::FragmentOverlap,
        Self::SpoofedSource,
        Self::ConntrackFull,
        Self::NoPolicy,
    ];

    /// The word that counters print; a part of the command line's contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoRule => "no_rule",
            Self::NoConnection => "no_connection",
            Self::Malformed => "malformed",
            Self::NonIp => "non_ip",
            Self::Fragment => "fragment",
            Self::FragmentTiny => "fragment_tiny",
            Self::FragmentOverlap => "fragment_overlap",
            Self::SpoofedSource => "spoofed_source",
            Self::ConntrackFull => "conntrack_full",
            Self::NoPolicy => "no_policy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_their_counters_and_are_distinct() {
        let mut seen = [false; REASONS as usize];
        for verdict in Verdict::all() {
            let number = verdict.number() as usize;
            assert!(number < seen.len(), "{verdict:?} has no counter");
            assert!(!seen[number], "{verdict:?} shares its number");
            seen[number] = true;
            assert_eq!(verdict.passes(), (number as u32) < FIRST_DROP, "{verdict:?}");
        }
    }
}
