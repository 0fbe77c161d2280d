//! EC2 security groups, enforced on Linux network interfaces: model, store, operations, compiler, kernel, command line.
#![deny(unsafe_code)]

pub mod adopt;
pub mod agent;
pub mod attach;
pub mod cli;
pub mod compile;
pub mod context;
pub mod device;
pub mod document;
pub mod error;
pub mod explain;
pub mod kernel;
pub mod metrics;
pub mod model;
pub mod monitor;
mod netlink;
pub mod netns;
pub mod observation;
pub mod observe;
pub mod ops;
pub mod render;
pub mod sockets;
pub mod store;
pub mod time;
pub mod top;
pub mod transact;
pub mod usage;
