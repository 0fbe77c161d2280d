//! The compiled datapath: embedded here, loaded with constants and shared maps.

use crate::error::{Refusal, os_error};
use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    programs::{Program, ProgramError, ProgramFd},
};
use sg_common::policy::COUNTERS_PER_INTERFACE;
use std::path::Path;

/// The object that `cargo xtask build` made of `sg-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sg-ebpf"));

/// Maps that hold the policy: written by sg-ctl only.
pub const POLICY_MAPS: &[&str] = &[
    "STATE",
    "POLICIES",
    "CLASSES",
    "PORT_SETS",
    "ADDRESSES4",
    "ADDRESSES6",
    "PREFIXES4",
    "PREFIXES6",
    "VIEWS",
    "INDEXES",
    "LOCALS",
];

/// Maps that packets leave traces in. A load with private ones judges by the same policy and disturbs nothing.
pub const FLOW_MAPS: &[&str] = &[
    "ESTABLISHED4",
    "ESTABLISHED6",
    "RING4",
    "RING6",
    "CURSORS",
    "ANSWERED4",
    "ANSWERED6",
    "PENDING4",
    "PENDING6",
    "FRAGMENTS4",
    "FRAGMENTS6",
    "HINTS",
    "HITS",
    "MARKS",
    "COUNTERS",
    "CLOCK",
    "LISTENING",
    "LISTENERS",
    "BUDGETS",
    "RINGS",
];

/// Program for received packets at XDP.
pub const XDP: &str = "sg_xdp";
/// Program for received packets at TC ingress.
pub const TC_RECEIVE: &str = "sg_tc_receive";
/// Program for sent packets at TC egress.
pub const TC_SEND: &str = "sg_tc_send";
/// Program that takes up a connection that was open before.
pub const ADOPT: &str = "sg_adopt";
/// Program that removes the entries of flows that are over.
pub const SWEEP: &str = "sg_sweep";
/// Program that reads the kernel's clock.
pub const CLOCK: &str = "sg_clock";

/// What an instance of the programs is told when it is loaded; see `sg-ebpf`'s `config`.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    /// Slot of the interface.
    pub slot: u16,
    /// The device is the host's end of a guest's link.
    pub guest: bool,
    /// The device has no link-layer header.
    pub no_link_layer: bool,
    /// Flows of different VLANs are different flows.
    pub vlan_aware: bool,
    /// The kernel's `CONFIG_HZ`.
    pub hz: u32,
    /// Time is what the first cell of `CLOCK` says: for tests.
    pub test_clock: bool,
}

impl Default for Constants {
    fn default() -> Self {
        Self { slot: 0, guest: false, no_link_layer: false, vlan_aware: false, hz: 250, test_clock: false }
    }
}

/// Jiffies shifted right by this are about seconds.
fn second_shift(hz: u32) -> u32 {
    hz.next_power_of_two().ilog2()
}

/// Opens the object and makes its maps. Those in `shared` are the ones pinned in `maps`, made and pinned where they
/// are missing; the others belong to this load alone.
///
/// # Errors
/// Where the kernel refuses a map, or a pinned one is of another version.
pub fn open(constants: &Constants, maps: &Path, shared: &[&[&str]]) -> Result<Ebpf> {
    open_sized(constants, maps, shared, &[])
}

/// The same, where these maps have room for so many entries.
///
/// # Errors
/// As for [`open`].
pub fn open_sized(
    constants: &Constants,
    maps: &Path,
    shared: &[&[&str]],
    sizes: &[(&str, u32)],
) -> Result<Ebpf> {
    let paths: Vec<_> = shared.iter().copied().flatten().map(|name| (*name, maps.join(name))).collect();
    let (slot, hz, shift) = (u32::from(constants.slot), constants.hz, second_shift(constants.hz));
    let flags =
        [constants.guest, constants.no_link_layer, constants.vlan_aware, constants.test_clock].map(u32::from);
    let mut loader = EbpfLoader::new();
    loader
        .override_global("SLOT", &slot, true)
        .override_global("HZ", &hz, true)
        .override_global("SECOND_SHIFT", &shift, true)
        .override_global("GUEST", &flags[0], true)
        .override_global("NO_LINK_LAYER", &flags[1], true)
        .override_global("VLAN_AWARE", &flags[2], true)
        .override_global("TEST_CLOCK", &flags[3], true);
    for (name, entries) in sizes {
        loader.map_max_entries(name, *entries);
    }
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    loader.load(OBJECT).map_err(explain_load)
}

/// Entries of the flow tables that [`open_apart`] makes: one packet needs one, and the kernel shares them out among
/// processors.
const APART_ENTRIES: u32 = 1024;

/// Sizes of flow and counter maps that are no larger than one packet of the interface in this slot needs.
fn sizes_apart(slot: u16) -> Vec<(&'static str, u32)> {
    let tables = [
        "ESTABLISHED4",
        "ESTABLISHED6",
        "ANSWERED4",
        "ANSWERED6",
        "PENDING4",
        "PENDING6",
        "FRAGMENTS4",
        "FRAGMENTS6",
        "HITS",
    ];
    let mut sizes: Vec<_> = tables.map(|name| (name, APART_ENTRIES)).into();
    // No handshake is completed, so that nobody takes a place in the rings.
    sizes.extend([("RING4", 1), ("RING6", 1)]);
    sizes.push(("COUNTERS", (u32::from(slot) + 1) * COUNTERS_PER_INTERFACE));
    sizes
}

/// Opens the object over the pinned policy maps, with flow and counter maps of its own, which are empty and no larger
/// than one packet needs: it is judged by the live policy and leaves no trace.
///
/// # Errors
/// As for [`open`].
pub fn open_apart(constants: &Constants, maps: &Path) -> Result<Ebpf> {
    open_sized(constants, maps, &[POLICY_MAPS], &sizes_apart(constants.slot))
}

/// Opens the object with small maps of its own and no policy: to look at its programs.
///
/// # Errors
/// As for [`open`].
pub fn open_alone(constants: &Constants) -> Result<Ebpf> {
    open_sized(constants, Path::new(""), &[], &sizes_apart(constants.slot))
}

/// One sentence for what can go wrong before any program is loaded.
fn explain_load(error: EbpfError) -> anyhow::Error {
    let error = anyhow::Error::new(error);
    if matches!(os_error(&error), Some(libc::EPERM | libc::EACCES)) {
        let message = "the kernel does not let this process make BPF maps; run sg-ctl as root";
        return Refusal::new("UnauthorizedOperation", message).into();
    }
    error.context("cannot make the datapath's maps")
}

/// Loads one program of an opened object into the kernel.
///
/// # Errors
/// `ProgramRefused` where the verifier refuses it; its last lines are logged for `-v`.
pub fn load<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Program> {
    let program = program_mut(object, name)?;
    load_one(program, name)?;
    Ok(program)
}

/// Loads several at once, each in a thread: the verifier takes some tenths of a second for each.
///
/// # Errors
/// As for [`load`].
pub fn load_all(object: &mut Ebpf, names: &[&str]) -> Result<()> {
    std::thread::scope(|scope| {
        let programs = object.programs_mut().filter(|(name, _)| names.contains(name));
        let loads: Vec<_> = programs
            .map(|(name, program)| {
                let name = name.to_owned();
                scope.spawn(move || load_one(program, &name))
            })
            .collect();
        anyhow::ensure!(loads.len() == names.len(), "the object lacks one of the programs {names:?}");
        loads.into_iter().try_for_each(|load| match load.join() {
            Ok(loaded) => loaded,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn load_one(program: &mut Program, name: &str) -> Result<()> {
    let loaded = match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => anyhow::bail!("the program {name} is of no kind that this version loads"),
    };
    loaded.map_err(|error| explain_refusal(name, error))
}

/// The verifier's first and last lines go to the log: control-flow errors stand in the first, others in the last.
fn explain_refusal(name: &str, error: ProgramError) -> anyhow::Error {
    let ProgramError::LoadError { io_error, verifier_log } = &error else {
        return anyhow::Error::new(error).context(format!("cannot load the program {name}"));
    };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().collect();
    let (head, tail) = (lines.len().min(5), lines.len().saturating_sub(25));
    for line in lines[..head].iter().chain(&lines[tail.max(head)..]) {
        log::info!("verifier: {line}");
    }
    Refusal::new(
        "ProgramRefused",
        format!("this kernel refuses the program {name} ({io_error}); run again with -v for the verifier's last lines"),
    )
    .into()
}

/// A program by its name.
///
/// # Errors
/// Where there is none.
pub fn program_mut<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Program> {
    object.program_mut(name).with_context(|| format!("the object has no program {name}"))
}

/// The descriptor of a loaded program.
///
/// # Errors
/// Where it is not loaded.
pub fn program_fd<'a>(object: &'a Ebpf, name: &str) -> Result<&'a ProgramFd> {
    let program = object.program(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.fd()?)
}
