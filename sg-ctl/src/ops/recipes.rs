//! Recipes: the rows of EC2's rule reference that a group can be, as data (semantics.md, section 3).
//!
//! [`super::recipe`] makes groups of them; `docs/recipes.md` shows each with the commands behind it.

use crate::model::Direction::{self, Egress, Ingress};

/// A recipe.
#[derive(Debug)]
pub struct Recipe {
    /// As it is typed.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Whom `--from` means.
    pub from: From,
    /// What `--to` means.
    pub to: To,
    /// Its rules. Where there is an outbound one, the outbound rules that a group is born with go.
    pub lines: &'static [Line],
}

/// What a recipe does with `--from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// It has no use for it.
    Unused,
    /// It needs at least one.
    Needed,
    /// Without one it takes the address that this session comes from.
    OrHere,
    /// Without one it takes the blocks of the VPC.
    OrVpc,
}

/// What a recipe does with `--to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// It has no use for it.
    Unused,
    /// It needs at least one.
    Needed,
    /// Without one the outbound rules stay as they are.
    Optional,
}

/// Rules of one kind of traffic.
#[derive(Debug)]
pub struct Line {
    /// Inbound or outbound.
    pub direction: Direction,
    /// Which traffic.
    pub traffic: Traffic,
    /// Whose, or to whom.
    pub peers: Peers,
}

/// Traffic of a recipe.
#[derive(Clone, Copy, Debug)]
pub enum Traffic {
    /// Everything.
    All,
    /// One TCP port.
    Tcp(&'static str),
    /// One UDP port.
    Udp(&'static str),
    /// The TCP ports given by `--port`; without one port 80.
    Listener,
    /// ICMP for IPv4, type and code.
    Icmp(&'static str, &'static str),
    /// ICMP for IPv6, type and code.
    Icmpv6(&'static str, &'static str),
}

/// Peers of a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// All addresses of both families.
    World,
    /// All addresses of IPv4.
    World4,
    /// What `--from` means.
    From,
    /// What `--to` names.
    To,
    /// The group itself.
    Itself,
}

const fn inward(traffic: Traffic, peers: Peers) -> Line {
    Line { direction: Ingress, traffic, peers }
}

const fn outward(traffic: Traffic, peers: Peers) -> Line {
    Line { direction: Egress, traffic, peers }
}

/// "Fragmentation needed", which path MTU discovery waits for.
const FRAGMENTATION_NEEDED: Traffic = Traffic::Icmp("3", "4");

/// All recipes, in the order of the rows of the reference that they are.
pub const RECIPES: &[Recipe] = &[
    //
    Recipe {
        name: "web",
        about: "A web server, for everybody",
        from: From::Unused,
        to: To::Unused,
        lines: &[inward(Traffic::Tcp("80"), Peers::World), inward(Traffic::Tcp("443"), Peers::World)],
    },
    //
    database("database-mssql", "SQL Server, for --from", &[inward(Traffic::Tcp("1433"), Peers::From)]),
    //
    database("database-mysql", "MySQL or Aurora, for --from", &[inward(Traffic::Tcp("3306"), Peers::From)]),
    //
    database("database-redshift", "Redshift, for --from", &[inward(Traffic::Tcp("5439"), Peers::From)]),
    //
    database("database-postgres", "PostgreSQL, for --from", &[inward(Traffic::Tcp("5432"), Peers::From)]),
    //
    database("database-oracle", "Oracle, for --from", &[inward(Traffic::Tcp("1521"), Peers::From)]),
    //
    Recipe {
        name: "outbound-web",
        about: "Nothing outward but HTTP and HTTPS, for updates",
        from: From::Unused,
        to: To::Unused,
        lines: &[outward(Traffic::Tcp("80"), Peers::World), outward(Traffic::Tcp("443"), Peers::World)],
    },
    //
    from_here(
        "ssh-from-here",
        "SSH from your own address, or --from",
        &[inward(Traffic::Tcp("22"), Peers::From)],
    ),
    //
    from_here(
        "rdp-from-here",
        "RDP from your own address, or --from",
        &[inward(Traffic::Tcp("3389"), Peers::From)],
    ),
    //
    Recipe {
        name: "same-group",
        about: "Everything among the members",
        from: From::Unused,
        to: To::Unused,
        lines: &[inward(Traffic::All, Peers::Itself)],
    },
    //
    from_here(
        "ping",
        "Ping from your own address, or --from",
        &[inward(Traffic::Icmp("8", "-1"), Peers::From)],
    ),
    //
    from_here(
        "ping-ipv6",
        "Ping over IPv6 from your own address, or --from",
        &[inward(Traffic::Icmpv6("128", "0"), Peers::From)],
    ),
    //
    Recipe {
        name: "dns-server",
        about: "A DNS server, for --from",
        from: From::Needed,
        to: To::Unused,
        lines: &[inward(Traffic::Tcp("53"), Peers::From), inward(Traffic::Udp("53"), Peers::From)],
    },
    //
    Recipe {
        name: "nfs",
        about: "NFS, as of an EFS mount target, for --from",
        from: From::Needed,
        to: To::Unused,
        lines: &[inward(Traffic::Tcp("2049"), Peers::From)],
    },
    //
    from_here(
        "nfs-client",
        "A client of EFS, by SSH from your own address, or --from",
        &[inward(Traffic::Tcp("22"), Peers::From)],
    ),
    //
    Recipe {
        name: "load-balancer",
        about: "A load balancer for everybody on --port, outward to --to only",
        from: From::Unused,
        to: To::Optional,
        lines: &[
            inward(Traffic::Listener, Peers::World4),
            inward(FRAGMENTATION_NEEDED, Peers::World4),
            outward(Traffic::Listener, Peers::To),
        ],
    },
    //
    Recipe {
        name: "internal-load-balancer",
        about: "A load balancer for the VPC, or --from, on --port, outward to --to only",
        from: From::OrVpc,
        to: To::Optional,
        lines: &[
            inward(Traffic::Listener, Peers::From),
            inward(FRAGMENTATION_NEEDED, Peers::From),
            outward(Traffic::Listener, Peers::To),
        ],
    },
    //
    Recipe {
        name: "load-balanced",
        about: "An instance behind the load balancer --from, on --port",
        from: From::Needed,
        to: To::Unused,
        lines: &[inward(Traffic::Listener, Peers::From), inward(FRAGMENTATION_NEEDED, Peers::From)],
    },
    //
    Recipe {
        name: "peer-vpc",
        about: "Everything from and to the group --from of a peered VPC, and nothing else outward",
        from: From::Needed,
        to: To::Unused,
        lines: &[inward(Traffic::All, Peers::From), outward(Traffic::All, Peers::From)],
    },
    //
    Recipe {
        name: "database-client",
        about: "Nothing outward but SQL Server and MySQL at --to",
        from: From::Unused,
        to: To::Needed,
        lines: &[outward(Traffic::Tcp("1433"), Peers::To), outward(Traffic::Tcp("3306"), Peers::To)],
    },
];

const fn database(name: &'static str, about: &'static str, lines: &'static [Line]) -> Recipe {
    Recipe { name, about, from: From::Needed, to: To::Unused, lines }
}

const fn from_here(name: &'static str, about: &'static str, lines: &'static [Line]) -> Recipe {
    Recipe { name, about, from: From::OrHere, to: To::Unused, lines }
}
