//! Packets through the shipped programs by `BPF_PROG_TEST_RUN`: policy, packets, expected verdicts. Each script runs for
//! both families, both hooks and both sides; names carry the numbers of semantics.md and of the traps in anchors.md.

mod adoption;
mod budgets;
mod documented;
mod events;
mod exempt;
mod explained;
mod icmp;
mod index;
mod layers;
mod observing;
mod raw;
mod swap;
mod sweeping;
mod tcp;
mod timeouts;
mod traced;
mod udp;
mod untracked;
mod verifier;
mod vlans;
