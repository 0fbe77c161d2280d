//! EC2's own shapes, with the member names of the SDKs (API model 2016-11-15). Arrays are there even when empty.

use crate::{
    model::{self, Direction, GroupId, Interface, Peer, PrefixListId, Rule, RuleId, State, Tags, Traffic},
    ops,
};
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr};

pub use crate::model::OWNER;

/// The one region there is.
pub const REGION: &str = "local";

/// ARN of a group or rule (M-6).
pub fn arn(resource: &str, id: &impl std::fmt::Display) -> String {
    format!("arn:aws:ec2:{REGION}:{OWNER}:{resource}/{id}")
}

/// `Tag`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag<'a> {
    key: &'a str,
    value: &'a str,
}

/// Tags by key.
pub fn tags(tags: &Tags) -> Vec<Tag<'_>> {
    tags.iter().map(|(key, value)| Tag { key, value }).collect()
}

/// `SecurityGroup`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecurityGroup<'a> {
    group_id: GroupId,
    group_name: &'a str,
    description: &'a str,
    owner_id: &'static str,
    vpc_id: model::VpcId,
    security_group_arn: String,
    ip_permissions: Vec<IpPermission<'a>>,
    ip_permissions_egress: Vec<IpPermission<'a>>,
    tags: Vec<Tag<'a>>,
}

impl<'a> SecurityGroup<'a> {
    /// The group with these rules, which must be its own.
    pub fn new(state: &State, group: &'a model::SecurityGroup, rules: &[&'a Rule]) -> Self {
        Self {
            group_id: group.id,
            group_name: &group.name,
            description: &group.description,
            owner_id: OWNER,
            vpc_id: group.vpc,
            security_group_arn: arn("security-group", &group.id),
            ip_permissions: permissions(state, rules, Direction::Ingress),
            ip_permissions_egress: permissions(state, rules, Direction::Egress),
            tags: tags(&group.tags),
        }
    }
}

/// `IpPermission`: all rules of one direction and one kind of traffic.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct IpPermission<'a> {
    ip_protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_port: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_port: Option<i32>,
    user_id_group_pairs: Vec<UserIdGroupPair<'a>>,
    ip_ranges: Vec<IpRange<'a>>,
    ipv6_ranges: Vec<Ipv6Range<'a>>,
    prefix_list_ids: Vec<PrefixListRef<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PrefixListRef<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    prefix_list_id: PrefixListId,
}

/// `UserIdGroupPair`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UserIdGroupPair<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(flatten)]
    group: ReferencedGroup,
}

impl<'a> UserIdGroupPair<'a> {
    /// The group that is the rule's peer, if it is one.
    pub fn new(state: &State, rule: &'a Rule) -> Option<Self> {
        let Peer::Group(id) = rule.peer else { return None };
        let description = rule.description.as_deref();
        Some(Self { description, group: ReferencedGroup::new(state, rule, id) })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct IpRange<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    cidr_ip: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ipv6Range<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    cidr_ipv6: String,
}

/// Merges rules of equal protocol and ports. Ports are left out where there are none to choose.
fn permissions<'a>(state: &State, rules: &[&'a Rule], direction: Direction) -> Vec<IpPermission<'a>> {
    let mut merged: BTreeMap<Traffic, IpPermission<'a>> = BTreeMap::new();
    let mut rules: Vec<_> = rules.iter().filter(|rule| rule.direction == direction).collect();
    rules.sort_by_key(|rule| rule.peer);
    for rule in rules {
        let permission = merged.entry(rule.traffic).or_insert_with(|| IpPermission {
            ip_protocol: rule.traffic.protocol(),
            from_port: rule.traffic.from_to().map(|(from, _)| from),
            to_port: rule.traffic.from_to().map(|(_, to)| to),
            user_id_group_pairs: Vec::new(),
            ip_ranges: Vec::new(),
            ipv6_ranges: Vec::new(),
            prefix_list_ids: Vec::new(),
        });
        let description = rule.description.as_deref();
        match rule.peer {
            Peer::Ipv4(net) => permission.ip_ranges.push(IpRange { description, cidr_ip: net.to_string() }),
            Peer::Ipv6(net) => {
                permission.ipv6_ranges.push(Ipv6Range { description, cidr_ipv6: net.to_string() });
            }
            Peer::Group(_) => permission.user_id_group_pairs.extend(UserIdGroupPair::new(state, rule)),
            Peer::PrefixList(prefix_list_id) => {
                permission.prefix_list_ids.push(PrefixListRef { description, prefix_list_id });
            }
        }
    }
    merged.into_values().collect()
}

/// `SecurityGroupRule`. Where there are no ports to choose they are -1.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecurityGroupRule<'a> {
    security_group_rule_id: RuleId,
    group_id: GroupId,
    group_owner_id: &'static str,
    is_egress: bool,
    ip_protocol: String,
    from_port: i32,
    to_port: i32,
    #[serde(flatten)]
    peer: RulePeer,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    tags: Vec<Tag<'a>>,
    security_group_rule_arn: String,
}

#[derive(Serialize)]
enum RulePeer {
    CidrIpv4(String),
    CidrIpv6(String),
    PrefixListId(PrefixListId),
    ReferencedGroupInfo(ReferencedGroup),
}

/// `ReferencedSecurityGroup`. Where the group is, and how that VPC is joined to the rule's, is said of groups of another
/// VPC only, and of the peering as long as it is not forgotten (M-72).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReferencedGroup {
    group_id: GroupId,
    #[serde(skip_serializing_if = "Option::is_none")]
    peering_status: Option<&'static str>,
    user_id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpc_id: Option<model::VpcId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpc_peering_connection_id: Option<model::PeeringId>,
}

impl ReferencedGroup {
    fn new(state: &State, rule: &Rule, group_id: GroupId) -> Self {
        let own_vpc = state.groups.get(&rule.group).map(|group| group.vpc);
        let vpcs = own_vpc.zip(rule.peer_vpc);
        let peering = vpcs.and_then(|(own, other)| ops::peering::between(state, own, other));
        Self {
            group_id,
            peering_status: peering.map(|peering| peering.status.code()),
            user_id: OWNER,
            vpc_id: rule.peer_vpc,
            vpc_peering_connection_id: peering.map(|peering| peering.id),
        }
    }
}

impl<'a> SecurityGroupRule<'a> {
    /// The rule in EC2's shape.
    pub fn new(state: &State, rule: &'a Rule) -> Self {
        let (from_port, to_port) = rule.traffic.from_to().unwrap_or((-1, -1));
        Self {
            security_group_rule_id: rule.id,
            group_id: rule.group,
            group_owner_id: OWNER,
            is_egress: rule.direction == Direction::Egress,
            ip_protocol: rule.traffic.protocol(),
            from_port,
            to_port,
            peer: match rule.peer {
                Peer::Ipv4(net) => RulePeer::CidrIpv4(net.to_string()),
                Peer::Ipv6(net) => RulePeer::CidrIpv6(net.to_string()),
                Peer::PrefixList(id) => RulePeer::PrefixListId(id),
                Peer::Group(id) => RulePeer::ReferencedGroupInfo(ReferencedGroup::new(state, rule, id)),
            },
            description: rule.description.as_deref(),
            tags: tags(&rule.tags),
            security_group_rule_arn: arn("security-group-rule", &rule.id),
        }
    }
}

/// `RevokedSecurityGroupRule`: as the rule, without owner, tags and ARN.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RevokedSecurityGroupRule<'a> {
    security_group_rule_id: RuleId,
    group_id: GroupId,
    is_egress: bool,
    ip_protocol: String,
    from_port: i32,
    to_port: i32,
    #[serde(flatten)]
    peer: RevokedPeer,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
}

#[derive(Serialize)]
enum RevokedPeer {
    CidrIpv4(String),
    CidrIpv6(String),
    PrefixListId(PrefixListId),
    ReferencedGroupId(GroupId),
}

impl<'a> RevokedSecurityGroupRule<'a> {
    /// The rule in EC2's shape.
    pub fn new(rule: &'a Rule) -> Self {
        let (from_port, to_port) = rule.traffic.from_to().unwrap_or((-1, -1));
        Self {
            security_group_rule_id: rule.id,
            group_id: rule.group,
            is_egress: rule.direction == Direction::Egress,
            ip_protocol: rule.traffic.protocol(),
            from_port,
            to_port,
            peer: match rule.peer {
                Peer::Ipv4(net) => RevokedPeer::CidrIpv4(net.to_string()),
                Peer::Ipv6(net) => RevokedPeer::CidrIpv6(net.to_string()),
                Peer::PrefixList(id) => RevokedPeer::PrefixListId(id),
                Peer::Group(id) => RevokedPeer::ReferencedGroupId(id),
            },
            description: rule.description.as_deref(),
        }
    }
}

/// `NetworkInterface`, with two members of ours in lower case: the device and its namespace.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkInterface<'a> {
    network_interface_id: model::EniId,
    #[serde(rename = "name")]
    name: &'a str,
    #[serde(rename = "netns")]
    netns: Option<&'a str>,
    status: &'static str,
    vpc_id: model::VpcId,
    owner_id: &'static str,
    groups: Vec<GroupIdentifier<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_ip_address: Option<String>,
    private_ip_addresses: Vec<PrivateIpAddress>,
    ipv6_addresses: Vec<Ipv6Address>,
    source_dest_check: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_tracking_configuration: Option<ConnectionTrackingConfiguration>,
    tag_set: Vec<Tag<'a>>,
}

/// `ConnectionTrackingConfiguration`: what was set (T-24).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConnectionTrackingConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_established_timeout: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udp_timeout: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udp_stream_timeout: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GroupIdentifier<'a> {
    group_id: GroupId,
    group_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PrivateIpAddress {
    primary: bool,
    private_ip_address: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ipv6Address {
    ipv6_address: String,
}

impl<'a> NetworkInterface<'a> {
    /// The interface in EC2's shape. The first IPv4 address counts as the primary one.
    pub fn new(state: &'a State, interface: &'a Interface) -> Self {
        let ipv4 = interface.addresses.iter().filter(|address| address.is_ipv4());
        let private_ip_addresses: Vec<_> = ipv4
            .enumerate()
            .map(|(n, address)| PrivateIpAddress { primary: n == 0, private_ip_address: address.to_string() })
            .collect();
        let attachment = interface.attachment.as_ref();
        let mac_address = attachment.map(|attachment| attachment.mac).filter(|mac| *mac != [0; 6]);
        Self {
            network_interface_id: interface.id,
            name: &interface.name,
            netns: interface.netns.as_deref(),
            status: if interface.is_registered() { "available" } else { "in-use" },
            vpc_id: interface.vpc,
            owner_id: OWNER,
            groups: interface
                .groups
                .iter()
                .map(|&group_id| GroupIdentifier {
                    group_id,
                    group_name: state.groups.get(&group_id).map_or("", |group| &group.name),
                })
                .collect(),
            mac_address: mac_address.map(mac),
            private_ip_address: private_ip_addresses.first().map(|first| first.private_ip_address.clone()),
            private_ip_addresses,
            ipv6_addresses: interface
                .addresses
                .iter()
                .filter(|address| matches!(address, IpAddr::V6(_)))
                .map(|address| Ipv6Address { ipv6_address: address.to_string() })
                .collect(),
            source_dest_check: attachment.is_none_or(|attachment| !attachment.options.no_source_dest_check),
            connection_tracking_configuration: attachment
                .and_then(|attachment| tracking(attachment.timeouts)),
            tag_set: tags(&interface.tags),
        }
    }
}

fn tracking(set: model::TimeoutSettings) -> Option<ConnectionTrackingConfiguration> {
    (set != model::TimeoutSettings::default()).then_some(ConnectionTrackingConfiguration {
        tcp_established_timeout: set.tcp_established,
        udp_timeout: set.udp,
        udp_stream_timeout: set.udp_stream,
    })
}

/// `02:00:00:00:00:01`
fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
