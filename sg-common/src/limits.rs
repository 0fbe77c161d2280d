//! Sizes and times, each with its unit and its reason.

/// Interfaces that one host can enforce. Slots are array indices in [`crate::policy`] and part of every flow key.
pub const MAX_INTERFACES: u32 = 1024;

/// Distinct port sets alive on a host (interned by content). 8 KiB each, allocated up front: 16 MiB.
pub const MAX_PORT_SETS: u32 = 2048;
/// Distinct classes (combinations of port sets) alive on a host. 48 bytes each.
pub const MAX_CLASSES: u32 = 65_536;
/// Distinct address tables alive on a host, prefix lists among them: one for each interface, family and direction where
/// nothing is shared, twice over while a swap is under way.
pub const MAX_TABLES: u32 = 8 * MAX_INTERFACES + 1;
/// Distinct views of groups alive on a host: one for each interface, family and direction where nothing is shared, twice
/// over while a swap is under way.
pub const MAX_VIEWS: u32 = 8 * MAX_INTERFACES + 1;
/// Distinct sets of groups that some address is a member of.
pub const MAX_IDENTITIES: u32 = 16_384;
/// Groups in all of those sets together. (A change of rules walks them, and a walk goes over empty places as well.)
pub const MAX_IDENTITY_GROUPS: u32 = 65_536;
/// What views permit to identities, over all views. Allocated as they come.
pub const MAX_VIEW_ENTRIES: u32 = 1 << 20;
/// Addresses of interfaces that have more than a row holds. Allocated as they come.
pub const MAX_LOCALS: u32 = 1 << 14;
/// Single addresses (members, /32, /128) over all tables, per family. Allocated as they come.
pub const MAX_ADDRESSES: u32 = 1 << 20;
/// Prefixes over all tables, per family. The kernel allocates trie nodes as they come.
pub const MAX_PREFIXES: u32 = 1 << 21;

/// Established TCP flows per family that a host can track. EC2 does not publish its allowance; nf_conntrack's
/// default on a machine with 4 GiB or more is 262,144.
pub const MAX_ESTABLISHED_V4: u32 = 262_144;
/// The same for IPv6.
pub const MAX_ESTABLISHED_V6: u32 = 131_072;
/// Places that are looked at for a dead entry before the table of established flows counts as full of live ones.
pub const PLACES_PER_CLAIM: u32 = 32;
/// Answered UDP, ICMP and other flows. Capped and least recently used: a spoofer can make a server answer (P-16).
pub const MAX_ANSWERED_V4: u32 = 65_536;
/// The same for IPv6.
pub const MAX_ANSWERED_V6: u32 = 32_768;
/// Half-open and unanswered flows. Small and least recently used, so that a flood displaces only its like (P-16).
pub const MAX_PENDING_V4: u32 = 32_768;
/// The same for IPv6.
pub const MAX_PENDING_V6: u32 = 16_384;
/// New flows that rules admitted, by far end and port, until somebody adds them up; least recently used.
pub const MAX_HITS: u32 = 16_384;
/// Rules of interfaces whose hits are known, over all interfaces. Allocated as they come.
pub const MAX_RULE_HITS: u32 = 1 << 16;
/// Datagrams whose first fragment passed, per family. Cilium remembers as many.
pub const MAX_FRAGMENTED: u32 = 8_192;

/// `TcpEstablishedTimeout`: EC2's default, five days (T-19).
pub const TCP_ESTABLISHED_SECONDS: u32 = 432_000;
/// `UdpTimeout`: one direction only, or one request and response (T-19).
pub const UDP_SECONDS: u32 = 30;
/// `UdpStreamTimeout`: more than one request and response (T-19).
pub const UDP_STREAM_SECONDS: u32 = 180;
/// A SYN waits this long for its third leg (P-5; nf_conntrack's SYN_RECV).
pub const TCP_HALF_OPEN_SECONDS: u32 = 60;
/// After a FIN each way (P-5; nf_conntrack's TIME_WAIT).
pub const TCP_CLOSING_SECONDS: u32 = 120;
/// After a believable RST (P-5; nf_conntrack's CLOSE).
pub const TCP_RESET_SECONDS: u32 = 10;
/// ICMP queries (P-7; nf_conntrack's default).
pub const ICMP_SECONDS: u32 = 30;
/// Every other protocol (T-17, the founding document).
pub const OTHER_SECONDS: u32 = 600;
/// A sweep spares flows that were over for no longer: a packet that found one live may still be writing to its entry, and
/// clocks of two processors differ by a jiffy.
pub const SWEEP_GRACE_SECONDS: u32 = 2;
/// How long the other fragments may follow their first (P-11).
pub const FRAGMENT_SECONDS: u32 = 30;
/// How long an untracked UDP flow must be silent before its tuple counts as new (P-3).
pub const MARK_SECONDS: u32 = 180;

/// `attach --side guest --adopt existing` observes this long before it enforces (P-22): time for a few segments and their
/// acknowledgements of whatever is in use, and no longer than somebody waits for a command.
pub const OBSERVE_SECONDS: u32 = 3;

/// An RST counts only this close to the sequence number last recorded for its direction (P-5).
pub const RST_WINDOW: u32 = 1 << 20;
/// The third leg must acknowledge at least one and at most this many bytes of the responder's stream (P-5). While an
/// interface observes, a segment acknowledges another side's by at most as many beyond where it begins (P-22).
pub const HANDSHAKE_ACK_WINDOW: u32 = 65_536;

/// VLAN tags that are looked through, in the frame and in skb metadata together (P-13).
pub const MAX_VLAN_TAGS: u32 = 2;

const _: () = assert!(MAX_ESTABLISHED_V4.is_power_of_two() && MAX_ESTABLISHED_V6.is_power_of_two());
