//! Test support: the shipped programs on a bench, packets, namespaces, the command line, the reference model.

pub mod agent;
pub mod bench;
pub mod cast;
pub mod ctl;
pub mod differential;
pub mod enforced;
pub mod frames;
pub mod index;
pub mod model;
pub mod monitor;
pub mod net;
pub mod packet;
pub mod program;
pub mod pty;
pub mod rig;
pub mod script;
pub mod trace;
pub mod verifier;
