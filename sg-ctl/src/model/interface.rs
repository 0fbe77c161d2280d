//! A network interface, how it is enforced, and its timeouts.

use super::{EniId, GroupId, Object, Objects, Tags, VpcId};
use crate::error::give_up;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, net::IpAddr};

/// A network interface: what groups attach to (T-2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// `eni-…`
    pub id: EniId,
    /// The kernel's name of the device; of a registered one whatever the user calls it.
    pub name: String,
    /// The network namespace as the user named it; `None` is the one that sg-ctl was started in.
    pub netns: Option<String>,
    /// The VPC whose groups it may carry.
    pub vpc: VpcId,
    /// One to five groups, in the order given.
    pub groups: Vec<GroupId>,
    /// The addresses that a reference to one of its groups means (P-17). Sorted, without duplicates.
    pub addresses: Vec<IpAddr>,
    /// How it is enforced on this host; `None` of one that is enforced elsewhere and registered here as a member only.
    pub attachment: Option<Attachment>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl Interface {
    /// Whether it is enforced elsewhere, and known here for its addresses alone.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.attachment.is_none()
    }
}

/// Where an attached interface is, and what it was seen with there: all that is needed to see whether that has changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// As [`Interface::netns`].
    pub netns: Option<String>,
    /// As [`Attachment::namespace`].
    pub namespace: u64,
    /// As [`Interface::name`].
    pub name: String,
    /// As [`Attachment::ifindex`].
    pub ifindex: u32,
    /// As [`Interface::addresses`].
    pub addresses: Vec<IpAddr>,
}

/// The name of terms that hold a [`Place`].
const AT: &str = "at";

/// What interfaces are found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InterfaceTerm {
    /// A group that they carry.
    In(GroupId),
    /// An address of theirs.
    Has(IpAddr),
    /// Their name, in whatever namespace.
    Named(String),
    /// They are enforced on this host.
    Attached,
    /// Where they are attached, of those that are on the instance's side.
    At(Place),
    /// They are, and carry a group.
    AttachedIn(GroupId),
    /// They observed before they enforced, and it is not known yet that they enforce (P-22).
    Observing,
}

impl fmt::Display for InterfaceTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(group) => write!(f, "group={group}"),
            Self::Has(address) => write!(f, "address={address}"),
            Self::Named(name) => write!(f, "name={name}"),
            Self::Attached => f.write_str("attached"),
            Self::At(place) => {
                let place = serde_json::to_string(place).map_err(|_| fmt::Error)?;
                write!(f, "{AT}={place}")
            }
            Self::AttachedIn(group) => write!(f, "attached={group}"),
            Self::Observing => f.write_str("observing"),
        }
    }
}

impl Object for Interface {
    type Term = InterfaceTerm;

    fn terms(&self) -> Vec<InterfaceTerm> {
        let mut terms = BTreeSet::from([InterfaceTerm::Named(self.name.clone())]);
        terms.extend(self.groups.iter().copied().map(InterfaceTerm::In));
        terms.extend(self.addresses.iter().copied().map(InterfaceTerm::Has));
        if let Some(attachment) = &self.attachment {
            terms.insert(InterfaceTerm::Attached);
            if attachment.side == Side::Host {
                terms.insert(InterfaceTerm::At(Place {
                    netns: self.netns.clone(),
                    namespace: attachment.namespace,
                    name: self.name.clone(),
                    ifindex: attachment.ifindex,
                    addresses: self.addresses.clone(),
                }));
            }
            terms.extend(self.groups.iter().copied().map(InterfaceTerm::AttachedIn));
            terms.extend(attachment.observe_until.map(|_| InterfaceTerm::Observing));
        }
        terms.into_iter().collect()
    }
}

impl Objects<EniId, Interface> {
    /// The interfaces that carry a group.
    pub fn in_group(&self, group: GroupId) -> impl Iterator<Item = &Interface> + Clone {
        self.having(&InterfaceTerm::In(group))
    }

    /// The interfaces, of whatever VPC, that have an address.
    pub fn with_address(&self, address: IpAddr) -> impl Iterator<Item = &Interface> + Clone {
        self.having(&InterfaceTerm::Has(address))
    }

    /// The interfaces of a name: one of each namespace at most, or one that is registered.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Interface> + Clone + use<'_> {
        self.having(&InterfaceTerm::Named(name.to_owned()))
    }

    /// The places of attached interfaces on whose side this machine is, without reading the interfaces.
    #[must_use]
    pub fn places(&self) -> Vec<(EniId, Place)> {
        let read = |(id, text): (EniId, String)| {
            let place =
                serde_json::from_str(&text).with_context(|| format!("the place of {id} cannot be read"));
            (id, place.unwrap_or_else(|error| give_up(error)))
        };
        self.terms_named(AT).into_iter().map(read).collect()
    }

    /// The interfaces that this host enforces.
    pub fn attached(&self) -> impl Iterator<Item = &Interface> + Clone {
        self.having(&InterfaceTerm::Attached)
    }

    /// Those of them that carry a group.
    pub fn attached_in(&self, group: GroupId) -> impl Iterator<Item = &Interface> + Clone {
        self.having(&InterfaceTerm::AttachedIn(group))
    }
}

/// Addresses that an interface had and has no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The VPC of the interface, which may be gone.
    pub vpc: VpcId,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

/// How an interface is enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Identity of the interface in the datapath: a constant of its program instances, a part of every flow key.
    pub slot: u16,
    /// The kernel's index when it was attached.
    pub ifindex: u32,
    /// Inode of the network namespace that it was attached in: names and indices repeat across namespaces.
    #[serde(default)]
    pub namespace: u64,
    /// Link-layer address when it was attached; all zero for devices without one.
    pub mac: [u8; 6],
    /// Which end of the link this machine is.
    pub side: Side,
    /// Where inbound packets are judged.
    pub mode: Mode,
    /// Why that mode, in words for `status`.
    pub mode_reason: String,
    /// Switches given to `attach`.
    pub options: Options,
    /// Idle timeouts that were set; the others are EC2's defaults.
    pub timeouts: TimeoutSettings,
    /// Seconds since the Unix epoch.
    pub attached_since: u64,
    /// Until then the interface lets everything pass and observes which connections are open (P-22), in jiffies of the boot
    /// that it was attached in. `None` is what it is when it enforces, and what restoring it must make of it.
    #[serde(default)]
    pub observe_until: Option<u64>,
}

/// Which end of a link this machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// This machine is the instance: what the device receives is inbound.
    Host,
    /// The device is the host's end of a guest's link (tap, veth): what it receives is the guest's outbound.
    Guest,
}

/// Where inbound packets of an interface are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// XDP in the driver.
    Native,
    /// XDP on the built skb.
    Generic,
    /// TC ingress.
    Tc,
}

/// Switches of one interface, as `attach` takes them. The default is EC2's behaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `--no-exempt link-local`: the service addresses of section N need rules like any other.
    pub no_exempt_link_local: bool,
    /// `--no-exempt dhcp`: DHCP needs rules like anything else.
    pub no_exempt_dhcp: bool,
    /// `--require-icmp-rules`: an ICMP error is judged by the rules even where it belongs to a flow (P-8).
    pub require_icmp_rules: bool,
    /// `--non-ip pass`: frames that are neither IP nor ARP pass.
    pub non_ip_pass: bool,
    /// `--no-source-dest-check`: for routers and NAT (P-20).
    pub no_source_dest_check: bool,
    /// `--force-track`: no flow of this interface is untracked (T-14).
    pub force_track: bool,
    /// `--vlan-aware`: the same addresses and ports in two VLANs are two flows (P-13).
    #[serde(default)]
    pub vlan_aware: bool,
}

/// What `set-timeouts` was given, as EC2's `ConnectionTrackingConfiguration`: a timeout that was never set is not shown
/// (T-24), one that was set to its default is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutSettings {
    /// `TcpEstablishedTimeout`
    pub tcp_established: Option<u32>,
    /// `UdpTimeout`
    pub udp: Option<u32>,
    /// `UdpStreamTimeout`
    pub udp_stream: Option<u32>,
}

impl TimeoutSettings {
    /// With the defaults where nothing was set.
    #[must_use]
    pub fn in_force(&self) -> Timeouts {
        let default = Timeouts::default();
        Timeouts {
            tcp_established: self.tcp_established.unwrap_or(default.tcp_established),
            udp: self.udp.unwrap_or(default.udp),
            udp_stream: self.udp_stream.unwrap_or(default.udp_stream),
        }
    }
}

/// Idle timeouts of one interface in seconds, within EC2's ranges (T-19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `TcpEstablishedTimeout`, 60 to 432,000.
    pub tcp_established: u32,
    /// `UdpTimeout`, 30 to 60.
    pub udp: u32,
    /// `UdpStreamTimeout`, 60 to 180.
    pub udp_stream: u32,
}

impl From<Timeouts> for sg_common::track::Timeouts {
    fn from(set: Timeouts) -> Self {
        Self { tcp_established: set.tcp_established, udp: set.udp, udp_stream: set.udp_stream }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        use sg_common::limits;
        Self {
            tcp_established: limits::TCP_ESTABLISHED_SECONDS,
            udp: limits::UDP_SECONDS,
            udp_stream: limits::UDP_STREAM_SECONDS,
        }
    }
}
