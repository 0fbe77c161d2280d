//! One packet judged aside: by a second load of the interface's program, which shares the installed policy and has flow
//! and counter maps of its own.
//!
//! The verdict is the program's, not a reading of the rules; and since nothing in the packet or its context says that it
//! is only asked, there is no flag that a packet could carry to be let through.

use super::{
    host::Host,
    map::BpfMap,
    object::{self, Constants},
    sweep::processors,
    sys,
};
use crate::{
    error::Result,
    model::{Attachment, Direction, Mode, Side},
};
use anyhow::{Context, bail, ensure};
use aya::maps::Map;
use sg_common::{
    policy::{Counter, STATE_HZ, counter_index},
    reason::Verdict,
};
use std::os::fd::AsFd;

/// What the interface's program says of a frame with an Ethernet header that starts a flow: no flow is known to it. Maps,
/// counters and links of the host stay as they are.
///
/// # Errors
/// Where the kernel takes no second load, or no such frame.
pub fn judge(host: &Host, how: &Attachment, direction: Direction, frame: &[u8]) -> Result<Verdict> {
    let constants = Constants {
        slot: how.slot,
        guest: how.side == Side::Guest,
        // A test run begins with an Ethernet header, whatever the device has.
        no_link_layer: false,
        vlan_aware: how.options.vlan_aware,
        hz: u32::try_from(host.cell(STATE_HZ)?).context("the clock's rate")?,
        test_clock: false,
    };
    let received = (how.side == Side::Host) == (direction == Direction::Ingress);
    let program = match (received, how.mode) {
        (true, Mode::Native | Mode::Generic) => object::XDP,
        (true, Mode::Tc) => object::TC_RECEIVE,
        (false, _) => object::TC_SEND,
    };
    let mut object = object::open_apart(&constants, &host.maps())?;
    object::load(&mut object, program)?;
    let Some(Map::PerCpuArray(counters)) = object.map("COUNTERS") else {
        bail!("the object has no counters")
    };
    let counters = BpfMap::new(counters.fd().as_fd().try_clone_to_owned()?)?;
    sys::test_run(object::program_fd(&object, program)?.as_fd(), frame)
        .with_context(|| format!("the kernel does not run the program {program} over the packet"))?;
    counted(&counters, u32::from(how.slot), direction)
}

/// The one verdict that was counted.
fn counted(counters: &BpfMap<u32, Counter>, slot: u32, direction: Direction) -> Result<Verdict> {
    let processors = processors()?;
    let mut counted = Vec::new();
    for verdict in Verdict::all() {
        let index = counter_index(slot, direction.into(), verdict.number());
        let packets: u64 =
            counters.get_per_cpu(index, processors)?.iter().map(|counter| counter.packets).sum();
        if packets > 0 {
            counted.push((verdict, packets));
        }
    }
    ensure!(counted.len() == 1 && counted[0].1 == 1, "one packet was counted as {counted:?}");
    Ok(counted[0].0)
}
