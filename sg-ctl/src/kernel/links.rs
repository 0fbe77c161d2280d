//! Programs on devices: attached by links that are pinned, so that they outlive the process.

use super::{
    host::{Host, remove_pins},
    object::{self, Constants},
    sys,
};
use crate::{
    error::{Refusal, Result, os_error},
    model::{EniId, Mode},
};
use anyhow::Context;
use aya::{
    programs::{
        NetworkInterface, Program, ProgramError, SchedClassifier, TcAttachType, Xdp,
        links::{FdLink, LinkOrder},
        tc::TcAttach,
        xdp::XdpMode,
    },
    util::KernelVersion,
};
use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

/// Names of the pins below an interface's directory.
const RECEIVE: &str = "receive";
const SEND: &str = "send";

fn directory(host: &Host, eni: EniId) -> PathBuf {
    directory_at(host.dir(), eni)
}

fn directory_at(dir: &Path, eni: EniId) -> PathBuf {
    dir.join("interfaces").join(eni.to_string())
}

/// When [`attach`] lets its caller do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Both programs are loaded, and go live next.
    Before,
    /// They have just gone live.
    After,
}

/// Loads an instance of the programs for an interface and puts it on its device. Its policy must be live already: the
/// first packet is judged by it. The thread must be in the device's network namespace.
///
/// `beside` is called at each [`Moment`].
///
/// # Errors
/// `ForeignProgram`, `UnsupportedDevice`, `UnsupportedKernel`, `ProgramRefused`; nothing is attached then.
pub fn attach(
    host: &Host,
    eni: EniId,
    ifindex: u32,
    mode: Mode,
    constants: &Constants,
    beside: impl FnMut(Moment) -> Result<()>,
) -> Result<()> {
    let dir = directory(host, eni);
    remove_pins(&dir)?;
    fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    let attached = attach_both(host, &dir, ifindex, mode, constants, beside);
    if attached.is_err() {
        // What went wrong is said already; what cannot be removed now, the next command removes.
        if let Err(error) = detach(host, eni) {
            log::warn!("{error:#}");
        }
    }
    attached
}

fn attach_both(
    host: &Host,
    dir: &Path,
    ifindex: u32,
    mode: Mode,
    constants: &Constants,
    mut beside: impl FnMut(Moment) -> Result<()>,
) -> Result<()> {
    if KernelVersion::current().is_ok_and(|kernel| kernel < KernelVersion::new(6, 6, 0)) {
        let message = "TC hooks are attached by tcx links, which Linux has since 6.6; this kernel is older, use a later one";
        return Err(Refusal::new("UnsupportedKernel", message).into());
    }
    let device = NetworkInterface::Index(ifindex);
    let mut object = object::open(constants, &host.maps(), &[object::POLICY_MAPS, object::FLOW_MAPS])?;
    let tcx = |attach_type, order| TcAttach::Tcx { attach_type, order };
    let received = if mode == Mode::Tc { object::TC_RECEIVE } else { object::XDP };
    // Loading is what takes time, and one program without the other judges half a conversation.
    object::load_all(&mut object, &[object::TC_SEND, received])?;
    beside(Moment::Before)?;

    let send: &mut SchedClassifier = object::program_mut(&mut object, object::TC_SEND)?.try_into()?;
    // Last on the way out and first on the way in: next to the wire on both.
    let link = send
        .attach(device, tcx(TcAttachType::Egress, LinkOrder::last()))
        .map_err(|error| explain(error, "TC egress"))?;
    pin(FdLink::try_from(send.take_link(link)?)?, dir, SEND)?;

    let receive = object::program_mut(&mut object, received)?;
    let link = match mode {
        Mode::Native => attach_xdp(receive, device, XdpMode::Driver)?,
        Mode::Generic => attach_xdp(receive, device, XdpMode::Skb)?,
        Mode::Tc => {
            let receive: &mut SchedClassifier = receive.try_into()?;
            let link = receive
                .attach(device, tcx(TcAttachType::Ingress, LinkOrder::first()))
                .map_err(|error| explain(error, "TC ingress"))?;
            FdLink::try_from(receive.take_link(link)?)?
        }
    };
    pin(link, dir, RECEIVE)?;
    beside(Moment::After)
}

fn attach_xdp(program: &mut Program, device: NetworkInterface, mode: XdpMode) -> Result<FdLink> {
    let receive: &mut Xdp = program.try_into()?;
    let link = receive.attach(device, mode).map_err(|error| explain(error, "XDP"))?;
    Ok(FdLink::try_from(receive.take_link(link)?)?)
}

fn pin(link: FdLink, dir: &Path, name: &str) -> Result<()> {
    let path = dir.join(name);
    link.pin(&path).with_context(|| format!("cannot pin {}", path.display()))?;
    Ok(())
}

fn explain(error: ProgramError, hook: &str) -> anyhow::Error {
    let error = anyhow::Error::new(error);
    match os_error(&error) {
        Some(libc::EBUSY | libc::EEXIST) => foreign(hook).into(),
        Some(libc::EOPNOTSUPP | libc::ERANGE | libc::EINVAL) if hook == "XDP" => Refusal::new(
            "UnsupportedDevice",
            "the device's driver does not take an XDP program in this mode (its MTU or offloads may be in the way); \
             use --mode tc",
        )
        .into(),
        _ => error.context(format!("cannot attach to {hook}")),
    }
}

/// The refusal for a device that has somebody else's program.
#[must_use]
pub fn foreign(hook: &str) -> Refusal {
    Refusal::new(
        "ForeignProgram",
        format!(
            "another program sits on the device's {hook} hook and is not replaced; remove it (`ip link set dev IFACE \
             xdp off` for XDP) or use --mode tc"
        ),
    )
}

/// Whether both programs are on the device with this index.
#[must_use]
pub fn is_attached(host: &Host, eni: EniId, ifindex: u32) -> bool {
    is_attached_at(host.dir(), eni, ifindex)
}

/// The same of the host that is pinned in `dir`, whoever has its lock.
#[must_use]
pub fn is_attached_at(dir: &Path, eni: EniId, ifindex: u32) -> bool {
    let dir = directory_at(dir, eni);
    [RECEIVE, SEND].iter().all(|name| {
        let info = sys::open_pinned(&dir.join(name)).and_then(|link| sys::link_info(link.as_fd()));
        info.is_ok_and(|info| info.ifindex == ifindex && info.program != 0)
    })
}

/// Takes an interface's programs off its device and removes their pins. One that has none is left as it is.
///
/// # Errors
/// Where the kernel refuses.
pub fn detach(host: &Host, eni: EniId) -> Result<()> {
    remove_links(&directory(host, eni))
}

fn remove_links(dir: &Path) -> Result<()> {
    for name in [RECEIVE, SEND] {
        let path = dir.join(name);
        if path.exists() {
            let link = sys::open_pinned(&path).with_context(|| path.display().to_string())?;
            match sys::link_detach(link.as_fd()) {
                // The device is gone already, and its link with it.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOLINK | libc::ENODEV)) => {}
                other => other.with_context(|| format!("cannot detach {}", path.display()))?,
            }
        }
    }
    remove_pins(dir)
}

/// Detaches whatever is pinned for interfaces other than these: left over from a command that was cut off.
///
/// # Errors
/// Where the kernel refuses.
pub fn reap(host: &Host, known: impl Fn(&str) -> bool) -> Result<()> {
    let dir = host.dir().join("interfaces");
    for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let entry = entry.with_context(|| dir.display().to_string())?;
        if !known(&entry.file_name().to_string_lossy()) {
            remove_links(&entry.path())?;
        }
    }
    Ok(())
}
