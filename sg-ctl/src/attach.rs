//! `attach` and `detach`: an interface comes under enforcement and leaves it.

use crate::{
    adopt::{Adopted, Adopter},
    compile::{Change, Released, compile},
    context::Context,
    device::{self, Device, Layer},
    error::{Refusal, Result},
    kernel::{
        Host,
        links::{self, Moment},
        object::Constants,
    },
    model::{Attachment, EniId, Interface, Mode, Options, Side, State, Tags, TimeoutSettings},
    netns, observation, ops,
    time::now,
    transact::{Enforced, claim, is_known, prepare, released},
};
use anyhow::Context as _;
use sg_common::{
    limits::MAX_INTERFACES,
    policy::{REVISION_NONE, STATE_HZ, STATE_REVISION},
};
use std::{collections::BTreeSet, net::IpAddr, path::Path};

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct AttachRequest {
    /// Device name.
    pub name: String,
    /// Group names or ids; none means the VPC's `default`.
    pub groups: Vec<String>,
    /// The VPC; none means the default one.
    pub vpc: Option<String>,
    /// `--mode`
    pub mode: ModeChoice,
    /// `--side`
    pub side: Side,
    /// `--adopt`
    pub adopt: Adopt,
    /// `--address`
    pub addresses: Vec<String>,
    /// Switches.
    pub options: Options,
}

/// `--mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ModeChoice {
    /// Native XDP where the driver has it and it costs no throughput, else TC ingress.
    Auto,
    /// XDP in the driver.
    Native,
    /// XDP on the built skb.
    Generic,
    /// TC ingress.
    Tc,
}

/// `--adopt`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Adopt {
    /// Connections open now are taken up as tracked.
    Existing,
    /// The flow table starts empty.
    None,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The interface.
    pub eni: EniId,
    /// Connections that were open already and go on.
    pub adopted: Vec<Adopted>,
    /// What the user should know, a line each.
    pub notes: Vec<String>,
}

/// Puts a device under enforcement. Its programs go live with the whole policy in place.
///
/// # Errors
/// One refusal, and nothing changed.
pub fn attach(ctx: &Context, request: &AttachRequest) -> Result<Attached> {
    let device = device::require(ctx.netns.as_deref(), &request.name)?;
    check_device(&request.name, &device)?;
    check_machine()?;
    check_hook(request)?;
    let given = given_addresses(request)?;
    let mut notes = Vec::new();

    let transaction = ctx.store.begin()?;
    let (before, revision) = (transaction.snapshot().state.clone(), transaction.snapshot().revision);
    let store_id = transaction.snapshot().store_id;
    let enforced = Enforced::open(ctx, transaction.snapshot())?;
    let namespace = netns::inode(ctx.netns.as_deref()).context("cannot look at the network namespace")?;
    let mut state = before.clone();
    prepare(&mut state);
    refuse_if_enforced(enforced.as_ref(), &before, namespace, &device)?;
    ops::register::refuse_if_registered(&before, &request.name)?;
    if let Some(old) = recorded(&state, ctx.netns.as_deref(), &request.name) {
        state.interfaces.remove(&old);
        notes.push(format!(
            "{} was recorded as {old} and is not enforced any more: attached anew",
            request.name
        ));
    }
    let vpc = ops::vpc::find(&state, request.vpc.as_deref())?;
    let (id, slot) = (EniId::random(), free_slot(&state)?);
    let eni = Interface {
        id,
        name: request.name.clone(),
        netns: ctx.netns.clone(),
        vpc,
        groups: ops::interface::resolve_groups(&state, vpc, &request.groups)?,
        addresses: given.unwrap_or_else(|| device.addresses.iter().copied().collect()),
        attachment: Some(Attachment {
            slot,
            ifindex: device.ifindex,
            namespace,
            mac: device.mac,
            side: request.side,
            mode: Mode::Tc,
            mode_reason: String::new(),
            options: request.options,
            timeouts: TimeoutSettings::default(),
            attached_since: now(),
            observe_until: None,
        }),
        tags: Tags::new(),
    };
    state.interfaces.insert(id, eni);
    state.released = released(enforced.as_ref(), &before, &state);

    let existed = enforced.is_some();
    let enforced = match enforced {
        Some(enforced) => enforced,
        None => Enforced { host: Host::open_or_create(&ctx.bpffs)?, in_step: false },
    };
    let put = claim(&enforced.host, store_id)
        .and_then(|()| put_in_force(ctx, &enforced, &before, &mut state, (id, slot), request, &device));
    let committed = put.and_then(|adopted| Ok((adopted, transaction.commit(&state)?)));
    let (mut adopted, unfit) = match committed {
        Ok((adopted, revision)) => {
            enforced.host.state.set(&STATE_REVISION, &revision)?;
            adopted
        }
        Err(error) => {
            take_back(enforced, existed, &before, revision, id, slot);
            return Err(error);
        }
    };
    // Others may read and change meanwhile what this one has brought in force.
    drop(enforced);
    let attached = state.interfaces.get(&id).and_then(|eni| eni.attachment.as_ref());
    if let Some(until) = attached.and_then(|attachment| attachment.observe_until) {
        adopted = observation::wait(ctx, id, until)?;
    }
    if unfit > 0 {
        notes.push(format!(
            "{unfit} connections that are open now were not adopted: the flow table is full of live ones, and these go \
             on only where rules admit them"
        ));
    }
    Ok(Attached { eni: id, adopted, notes })
}

/// The policy first, then the entries of connections that are open, then the programs. Returns what was adopted, and how
/// many connections there was no room for.
fn put_in_force(
    ctx: &Context,
    enforced: &Enforced,
    before: &State,
    state: &mut State,
    (id, slot): (EniId, u16),
    request: &AttachRequest,
    device: &Device,
) -> Result<(Vec<Adopted>, usize)> {
    let host = &enforced.host;
    // One that was recorded and is not enforced any more may have left half of its programs.
    links::reap(host, is_known(state))?;
    let change = enforced.known(Change::between(compile(before), compile(state)));
    crate::kernel::sweep_interface(host, slot)?;
    // No store has this state yet: who is cut off here leaves the host out of step.
    enforced.settle(host.go_live(host.build_whole(&change)?, REVISION_NONE)?, &change);

    let constants = Constants {
        slot,
        guest: request.side == Side::Guest,
        no_link_layer: device.layer == Layer::Network,
        vlan_aware: request.options.vlan_aware,
        hz: u32::try_from(host.cell(STATE_HZ)?).context("the clock's rate")?,
        test_clock: false,
    };
    let adopts = |side| request.adopt == Adopt::Existing && request.side == side;
    let policy = change.after.policies.get(&slot).context("the interface has a policy")?;
    let mut adopter =
        adopts(Side::Host).then(|| Adopter::new(host, &constants, policy, device)).transpose()?;
    let mut last = None;
    for (mode, reason) in modes(request, device)? {
        let attached = netns::within(ctx.netns.as_deref(), || {
            let beside = |moment| match (&mut adopter, moment) {
                (Some(adopter), _) => adopter.follow(),
                // What crosses a guest's link is in no table of sockets here.
                (None, Moment::Before) if adopts(Side::Guest) => observation::begin(enforced, state, id),
                _ => Ok(()),
            };
            links::attach(host, id, device.ifindex, mode, &constants, beside)
        });
        match attached {
            Ok(()) => {
                let attachment = state.interfaces.get_mut(&id).and_then(|eni| eni.attachment.as_mut());
                let attachment = attachment.context("the interface was just added")?;
                attachment.mode = mode;
                attachment.mode_reason = reason.to_owned();
                return Ok(adopter.map(Adopter::finish).unwrap_or_default());
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no mode to try")))
}

/// Undoes what [`put_in_force`] did. What cannot be undone now, the next command removes.
fn take_back(enforced: Enforced, existed: bool, before: &State, revision: u64, id: EniId, slot: u16) {
    let Enforced { host, in_step } = enforced;
    let undone = links::detach(&host, id).and_then(|()| {
        if !existed {
            return host.remove();
        }
        let mut image = compile(before);
        if in_step {
            // What the change before this attach released has been seen to.
            image.released = Released::default();
        }
        let change = Change::to(image);
        host.settle(&host.go_live(host.build_whole(&change)?, revision)?, &change)?;
        crate::kernel::sweep_interface(&host, slot)
    });
    if let Err(error) = undone {
        log::warn!("cleaning up behind the refused attach failed: {error:#}");
    }
}

/// The modes to try in turn, each with its reason for `status`.
fn modes(request: &AttachRequest, device: &Device) -> Result<Vec<(Mode, &'static str)>> {
    let choice = request.mode;
    let has_xdp = device.layer == Layer::Ethernet;
    let wants_xdp = matches!(choice, ModeChoice::Native | ModeChoice::Generic);
    if wants_xdp && !has_xdp {
        let message = "devices without a link-layer header are judged at TC only; use --mode tc or auto";
        return Err(Refusal::new("UnsupportedDevice", message).into());
    }
    if wants_xdp && device.xdp_program.is_some() {
        return Err(links::foreign("XDP").into());
    }
    Ok(match choice {
        ModeChoice::Native => vec![(Mode::Native, "asked for with --mode native")],
        ModeChoice::Generic => vec![(Mode::Generic, "asked for with --mode generic")],
        ModeChoice::Tc => vec![(Mode::Tc, "asked for with --mode tc")],
        ModeChoice::Auto if request.options.vlan_aware => {
            vec![(Mode::Tc, "VLAN-aware: a tag that the device takes off is out of XDP's sight")]
        }
        ModeChoice::Auto if !has_xdp => vec![(Mode::Tc, "the device has no link-layer header")],
        ModeChoice::Auto if device.xdp_program.is_some() => {
            vec![(Mode::Tc, "another XDP program sits on the device")]
        }
        ModeChoice::Auto if device.kind.is_some() => {
            vec![(Mode::Tc, "a virtual device, on which native XDP costs throughput")]
        }
        ModeChoice::Auto => vec![
            (Mode::Native, "the driver takes XDP programs"),
            (Mode::Tc, "the driver takes no XDP program as it is set up"),
        ],
    })
}

fn check_device(name: &str, device: &Device) -> Result<()> {
    let why = match device.layer {
        Layer::Ethernet | Layer::Network => return Ok(()),
        Layer::Loopback => {
            "the loopback device carries no traffic of the network; attach the device that does".into()
        }
        Layer::Other(number) => {
            format!("devices of link type {number} are not understood; Ethernet and tunnels are")
        }
    };
    Err(Refusal::new("UnsupportedDevice", format!("{name}: {why}")).into())
}

/// VLAN tags that the device takes off received frames can be seen at TC only (P-13).
fn check_hook(request: &AttachRequest) -> Result<()> {
    let wants_xdp = matches!(request.mode, ModeChoice::Native | ModeChoice::Generic);
    if !(wants_xdp && request.options.vlan_aware) {
        return Ok(());
    }
    let message = "--vlan-aware does not go with --mode native or generic: XDP cannot see a tag that the device takes \
                   off; use --mode tc or auto";
    Err(Refusal::new("InvalidParameterCombination", message).into())
}

/// What the kernel must have.
fn check_machine() -> Result<()> {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        let message = "this kernel has no type information (BTF); use one built with CONFIG_DEBUG_INFO_BTF";
        return Err(Refusal::new("UnsupportedKernel", message).into());
    }
    Ok(())
}

/// The member addresses of a guest; `None` where the kernel knows them.
fn given_addresses(request: &AttachRequest) -> Result<Option<Vec<IpAddr>>> {
    if request.side == Side::Host {
        if request.addresses.is_empty() {
            return Ok(None);
        }
        let message =
            "--address goes with --side guest; the addresses of this machine's own devices are the kernel's";
        return Err(Refusal::new("InvalidParameterCombination", message).into());
    }
    if request.addresses.is_empty() && !request.options.no_source_dest_check {
        let message = "--side guest needs the guest's addresses: give each with --address (or --no-source-dest-check \
                       for a router)";
        return Err(Refusal::new("MissingParameter", message).into());
    }
    Ok(Some(ops::register::addresses(&request.addresses)?))
}

fn recorded(state: &State, netns: Option<&str>, name: &str) -> Option<EniId> {
    let id = ops::interface::find(state, netns, name).ok()?;
    state.attached().find(|(eni, _)| eni.id == id).map(|(eni, _)| eni.id)
}

/// A device is judged once, by whatever name its namespace was given.
fn refuse_if_enforced(
    enforced: Option<&Enforced>,
    state: &State,
    namespace: u64,
    device: &Device,
) -> Result<()> {
    let is_it =
        |(_, how): &(&Interface, &Attachment)| (how.namespace, how.ifindex) == (namespace, device.ifindex);
    let (Some(enforced), Some((eni, _))) = (enforced, state.attached().find(is_it)) else {
        return Ok(());
    };
    if !links::is_attached(&enforced.host, eni.id, device.ifindex) {
        return Ok(());
    }
    Err(Refusal::new(
        "IncorrectState",
        format!(
            "{} is attached already, as {}; use `interface set-groups` to change its groups, or detach it first",
            eni.name, eni.id
        ),
    )
    .into())
}

fn free_slot(state: &State) -> Result<u16> {
    let taken: BTreeSet<u16> = state.attached().map(|(_, how)| how.slot).collect();
    (0..MAX_INTERFACES as u16).find(|slot| !taken.contains(slot)).ok_or_else(|| {
        let message = format!(
            "this host enforces {MAX_INTERFACES} interfaces already, which is all it can; detach one first"
        );
        Refusal::new("ResourceLimitExceeded", message).into()
    })
}

/// Takes a device out of enforcement: programs, pins, flows and membership go; with the last one, everything.
///
/// # Errors
/// `InvalidNetworkInterfaceID.NotFound`; and where the kernel refuses, in which case the next command tries again.
pub fn detach(ctx: &Context, name: &str) -> Result<EniId> {
    let transaction = ctx.store.begin()?;
    let enforced = Enforced::open(ctx, transaction.snapshot())?;
    let before = transaction.snapshot().state.clone();
    let id = ops::interface::find(&before, ctx.netns.as_deref(), name)?;
    let mut state = before.clone();
    let eni = state.interfaces.remove(&id).context("the interface was just found")?;
    let Some(attachment) = eni.attachment else {
        let message = format!(
            "{name} is registered as a member only and not attached; 'sg-ctl interface deregister {name}' removes it"
        );
        return Err(Refusal::new("IncorrectState", message).into());
    };
    prepare(&mut state);
    state.released = released(enforced.as_ref(), &before, &state);
    let revision = transaction.commit(&state)?;
    let Some(enforced) = enforced else { return Ok(id) };

    let host = &enforced.host;
    links::reap(host, is_known(&state))?;
    if state.attached().next().is_none() {
        enforced.host.remove()?;
        return Ok(id);
    }
    let change = enforced.known(Change::between(compile(&before), compile(&state)));
    enforced.settle(host.go_live(host.build_whole(&change)?, revision)?, &change);
    crate::kernel::sweep_interface(host, attachment.slot)?;
    Ok(id)
}
