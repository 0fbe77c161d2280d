//! What this instance of the programs is: constants that `sg-ctl` sets when it loads them.
//!
//! They lie in frozen read-only data, so the verifier knows their values and removes what they rule out. The
//! interface's identity is one of them: an ifindex repeats across namespaces and is issued again.

use crate::maps;
use aya_ebpf::Global;
use sg_common::track::{Clock, Timeouts};

/// Slot of the interface, below `MAX_INTERFACES`.
#[unsafe(no_mangle)]
static SLOT: Global<u32> = Global::new(0);
/// 1 where the device is the host's end of a guest's link.
#[unsafe(no_mangle)]
static GUEST: Global<u32> = Global::new(0);
/// 1 where the device has no link-layer header.
#[unsafe(no_mangle)]
static NO_LINK_LAYER: Global<u32> = Global::new(0);
/// 1 where flows of different VLANs are different flows.
#[unsafe(no_mangle)]
static VLAN_AWARE: Global<u32> = Global::new(0);
/// The kernel's `CONFIG_HZ`.
#[unsafe(no_mangle)]
static HZ: Global<u32> = Global::new(250);
/// Jiffies shifted right by this are about seconds.
#[unsafe(no_mangle)]
static SECOND_SHIFT: Global<u32> = Global::new(8);
/// 1 where a test moves the clock.
#[unsafe(no_mangle)]
static TEST_CLOCK: Global<u32> = Global::new(0);

/// The constants, read.
#[derive(Clone, Copy)]
pub struct Config {
    /// Slot of the interface.
    pub slot: u32,
    /// The device is the host's end of a guest's link.
    pub guest: bool,
    /// The device has no link-layer header.
    pub no_link_layer: bool,
    /// Flows of different VLANs are different flows (P-13).
    pub vlan_aware: bool,
}

impl Config {
    /// Reads them.
    #[inline(always)]
    pub fn load() -> Self {
        Self {
            slot: SLOT.load(),
            guest: GUEST.load() != 0,
            no_link_layer: NO_LINK_LAYER.load() != 0,
            vlan_aware: VLAN_AWARE.load() != 0,
        }
    }

    /// The moment. Stages that need no time do not ask.
    #[inline(always)]
    pub fn clock(self) -> Clock {
        maps::clock(TEST_CLOCK.load() != 0, HZ.load(), SECOND_SHIFT.load())
    }
}

/// The interface's timeouts.
#[inline(always)]
pub fn timeouts(policy: &sg_common::policy::Policy) -> Timeouts {
    Timeouts { tcp_established: policy.tcp_established, udp: policy.udp, udp_stream: policy.udp_stream }
}
