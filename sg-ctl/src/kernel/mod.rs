//! The enforced side of one host: maps, programs and links below a bpffs.

pub mod adopt;
mod bpffs;
mod build;
mod clock;
pub mod events;
mod expiry;
mod hits;
mod host;
mod identities;
pub mod index;
mod install;
mod ledger;
pub mod links;
mod long_lists;
mod map;
mod mapping;
mod net;
pub mod object;
mod stage;
mod sweep;
pub mod sys;
mod trial;

pub use expiry::{Step, Suspects, Sweeper};
pub use hits::RuleHits;
pub use host::Host;
pub use install::{InForce, Prepared};
pub use map::{BpfMap, Plain};
pub use sweep::{flows as sweep_flows, interface as sweep_interface, processors, reset_counters};
pub use trial::judge;
