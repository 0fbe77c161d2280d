//! `sg-ctl attach`, `sg-ctl detach`, `sg-ctl interface …`

use super::{Global, run::context};
use crate::{
    attach::{Adopt, AttachRequest, ModeChoice},
    error::Result,
    model::{Options, Side},
    ops::{self, interface::GivenTimeouts},
    render,
    transact::{Changed, change, view},
};

/// Commands on interfaces.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List attached and registered interfaces
    List,
    /// Show one interface
    Show(Named),
    /// Replace the groups of an interface
    SetGroups(SetGroups),
    /// Set how long idle flows of an interface are remembered
    SetTimeouts(SetTimeouts),
    /// Make an interface known that is enforced elsewhere: a member of its groups
    Register(Register),
    /// Forget a registered interface
    Deregister(Deregister),
}

/// One interface.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// Device name or id of the interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
}

/// `interface set-groups`
#[derive(Debug, clap::Args)]
pub struct SetGroups {
    /// Device name or id of the interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// All groups that it is to carry, by id or name
    #[arg(value_name = "G", required = true)]
    pub groups: Vec<String>,
}

/// `interface set-timeouts`
#[derive(Debug, clap::Args)]
pub struct SetTimeouts {
    /// Device name or id of the interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    #[command(flatten)]
    timeouts: Timeouts,
}

/// At least one.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Timeouts {
    /// Established TCP: 60 to 432000 seconds
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    tcp_established: Option<String>,
    /// UDP that has seen one request and response at most: 30 to 60 seconds
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    udp: Option<String>,
    /// UDP that has seen more: 60 to 180 seconds
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    udp_stream: Option<String>,
}

impl From<&SetTimeouts> for GivenTimeouts {
    fn from(SetTimeouts { timeouts, .. }: &SetTimeouts) -> Self {
        Self {
            tcp_established: timeouts.tcp_established.clone(),
            udp: timeouts.udp.clone(),
            udp_stream: timeouts.udp_stream.clone(),
        }
    }
}

/// `interface register`
#[derive(Debug, clap::Args)]
pub struct Register {
    /// Name, which no other interface has
    name: String,
    /// Addresses that a reference to its groups means
    #[arg(long = "address", value_name = "A", required = true, num_args = 1..)]
    addresses: Vec<String>,
    /// Groups that it carries, by id or name
    #[arg(long = "group", value_name = "G", required = true, num_args = 1..)]
    groups: Vec<String>,
    /// VPC of the interface [default: the default VPC]
    #[arg(long, value_name = "V")]
    vpc: Option<String>,
}

impl From<&Register> for ops::register::Register {
    fn from(typed: &Register) -> Self {
        Self {
            name: typed.name.clone(),
            addresses: typed.addresses.clone(),
            groups: typed.groups.clone(),
            vpc: typed.vpc.clone(),
        }
    }
}

/// `interface deregister`
#[derive(Debug, clap::Args)]
pub struct Deregister {
    /// Name or id of the interface
    name: String,
}

/// `attach`
#[derive(Debug, clap::Args)]
pub struct Attach {
    /// Name of the device
    #[arg(value_name = "IFACE")]
    name: String,
    /// Group to carry, by id or name; may be repeated [default: the VPC's group 'default']
    #[arg(long = "group", value_name = "G")]
    groups: Vec<String>,
    /// VPC of the interface [default: the default VPC]
    #[arg(long, value_name = "V")]
    vpc: Option<String>,
    /// Where inbound packets are judged
    #[arg(long, value_enum, default_value = "auto")]
    mode: ModeChoice,
    /// Which end of the link this machine is
    #[arg(long, value_enum, default_value = "host")]
    side: Side,
    /// What becomes of connections that are open already
    #[arg(long, value_enum, default_value = "existing")]
    adopt: Adopt,
    /// Address of the guest, with --side guest; may be repeated
    #[arg(long = "address", value_name = "A")]
    addresses: Vec<String>,
    /// What is to need rules although it is exempt otherwise
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    no_exempt: Vec<Exemption>,
    /// Judge ICMP errors by the rules even where they belong to a flow
    #[arg(long)]
    require_icmp_rules: bool,
    /// Keep the flows of each VLAN apart; inbound packets are judged at TC
    #[arg(long)]
    vlan_aware: bool,
    /// What becomes of frames that are neither IP nor ARP
    #[arg(long, value_enum, default_value = "drop")]
    non_ip: NonIp,
    /// Let packets pass that are not from or to the interface's own addresses (routers, NAT)
    #[arg(long)]
    no_source_dest_check: bool,
    /// Track every flow, those of world-open ports too
    #[arg(long)]
    force_track: bool,
}

impl From<&Attach> for AttachRequest {
    fn from(typed: &Attach) -> Self {
        Self {
            name: typed.name.clone(),
            groups: typed.groups.clone(),
            vpc: typed.vpc.clone(),
            mode: typed.mode,
            side: typed.side,
            adopt: typed.adopt,
            addresses: typed.addresses.clone(),
            options: Options {
                no_exempt_link_local: typed.no_exempt.contains(&Exemption::LinkLocal),
                no_exempt_dhcp: typed.no_exempt.contains(&Exemption::Dhcp),
                require_icmp_rules: typed.require_icmp_rules,
                non_ip_pass: typed.non_ip == NonIp::Pass,
                no_source_dest_check: typed.no_source_dest_check,
                force_track: typed.force_track,
                vlan_aware: typed.vlan_aware,
            },
        }
    }
}

/// What passes without rules (P-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Exemption {
    /// The service addresses, such as 169.254.169.254
    LinkLocal,
    /// DHCP and DHCPv6
    Dhcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum NonIp {
    /// Dropped, but for the exempt ones
    Drop,
    /// Let through
    Pass,
}

/// `detach`
#[derive(Debug, clap::Args)]
pub struct Detach {
    /// Name of the device
    #[arg(value_name = "IFACE")]
    pub name: String,
}

/// Runs the command and writes its answer.
pub fn run(global: &Global, command: &Command, out: &mut Vec<u8>) -> Result<()> {
    let ctx = context(global)?;
    let output = global.output;
    let netns = ctx.netns.as_deref();
    match command {
        Command::List => {
            let state = view(&ctx)?;
            render::interfaces(out, output, &state, &ops::interface::list(&state))?;
        }
        Command::Show(typed) => {
            let state = view(&ctx)?;
            let id = ops::interface::find(&state, netns, &typed.interface)?;
            render::interfaces(out, output, &state, &[id])?;
        }
        Command::SetGroups(typed) => {
            let Changed { value: id, state, .. } = change(&ctx, |state| {
                ops::interface::set_groups(state, netns, &typed.interface, &typed.groups)
            })?;
            render::interfaces(out, output, &state, &[id])?;
        }
        Command::SetTimeouts(typed) => {
            let Changed { value: id, state, .. } = change(&ctx, |state| {
                ops::interface::set_timeouts(state, netns, &typed.interface, &typed.into())
            })?;
            render::interfaces(out, output, &state, &[id])?;
        }
        Command::Register(typed) => {
            let Changed { value: id, state, .. } =
                change(&ctx, |state| ops::register::register(state, &typed.into()))?;
            render::registered(out, output, &state, id)?;
        }
        Command::Deregister(typed) => {
            let removed = change(&ctx, |state| ops::register::deregister(state, netns, &typed.name))?;
            render::deregistered(out, output, &typed.name, removed.value)?;
        }
    }
    Ok(())
}
