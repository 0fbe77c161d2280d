//! The document as it is written: every field that `export` prints and `apply` reads. The JSON schema is made from these
//! types, and their doc comments are what an editor shows.
//!
//! Values that have a notation of their own (ids, CIDRs, ports) stay text here: [`super::plan`] reads them with the same
//! functions as the command line, so that each bad one gets EC2's code.

use crate::model::{AddressFamily, Quota, Tags};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, collections::BTreeMap};

/// The desired state of sg-ctl: quotas, prefix lists, VPCs with their groups and interfaces, peerings.
///
/// A list that is left out says nothing about its objects; an empty list says that there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Document {
    /// The VPC that the document is about, if it is about one only: `--prune` leaves alone what is outside of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_vpc: Option<String>,
    /// Quotas that differ from EC2's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("propertyNames" = serde_json::json!({ "enum": Quota::ALL.map(Quota::name) })))]
    pub quotas: Option<BTreeMap<String, u32>>,
    /// Prefix lists, which rules of every VPC may name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_lists: Option<Vec<PrefixList>>,
    /// VPCs with their groups and interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpcs: Option<Vec<Vpc>>,
    /// Peerings that are active or wait to be accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peerings: Option<Vec<Peering>>,
}

/// A prefix list: a named set of prefixes of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PrefixList {
    /// Its name, at most 255 characters.
    pub name: String,
    /// `pl-…`: the list that has this id; a new list gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Required for a new list, fixed from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Family>")]
    pub family: Option<AddressFamily>,
    /// How many entries it may have: what a rule that names it weighs. Required for a new list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<u32>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The prefixes of its newest version.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "one_line_each")]
    pub entries: Option<Vec<Entry>>,
}

/// The words of [`AddressFamily`], for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
enum Family {
    Ipv4,
    Ipv6,
}

/// A prefix of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Entry {
    /// `10.0.0.0/8` or `2001:db8::/32`; of the list's family.
    pub cidr: String,
    /// What the prefix is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A VPC: the space in which group names are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Vpc {
    /// Its name, which is its tag `Name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `vpc-…`: the VPC that has this id; a new VPC gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// True of the default VPC, which is always there and need not have a name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub default: bool,
    /// Its blocks, fixed when it is made. None: it holds both families and overlaps with nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidrs: Option<Vec<String>>,
    /// Tags but for `Name`.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Its security groups. `default` is always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Group>>,
    /// Its network interfaces: those attached on this host, and members that are enforced elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<Interface>>,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Group {
    /// Its name, unique in its VPC without regard to case; fixed.
    pub name: String,
    /// `sg-…`: the group that has this id; a new group gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What it is for. Required for a new group, fixed from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Inbound rules. Left out of a new group: none.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "one_line_each")]
    pub ingress: Option<Vec<Rule>>,
    /// Outbound rules. Left out of a new group: everything may go out.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "one_line_each")]
    pub egress: Option<Vec<Rule>>,
}

/// A rule: traffic, and exactly one of `cidr`, `group` and `prefix-list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `all`, or a number from 0 to 255.
    pub protocol: Word,
    /// A port or a range, such as `8000-8010`. Required for tcp and udp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Word>,
    /// An ICMP type; all types where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<Word>,
    /// A code of that type; all codes where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<Word>,
    /// Source of an inbound, destination of an outbound rule: `10.0.0.0/8`, `2001:db8::/32`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// The members of a group: its name, `vpc/group` of a peered VPC, or its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The entries of a prefix list: its name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_list: Option<String>,
    /// What the rule is for; no part of what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interface {
    /// Name of the device; of a registered one any name.
    pub name: String,
    /// Its network namespace as `attach` was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// All groups that it carries, by name or id, at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// True of one that is enforced elsewhere and known here for its addresses.
    #[serde(default, skip_serializing_if = "is_false")]
    pub registered: bool,
    /// Its addresses, if it is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    /// Idle timeouts, if it is attached.
    #[serde(default, skip_serializing_if = "Timeouts::is_empty")]
    pub timeouts: Timeouts,
}

/// Idle timeouts in seconds; EC2's default where one is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Timeouts {
    /// Established TCP: 60 to 432000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_established: Option<u32>,
    /// UDP that has seen one request and response at most: 30 to 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<u32>,
    /// UDP that has seen more: 60 to 180.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_stream: Option<u32>,
}

impl Timeouts {
    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A peering between two VPCs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Peering {
    /// The VPC that asks: its name, its id, or `default`.
    pub requester: String,
    /// The VPC that is asked.
    pub accepter: String,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "PeeringStatus::is_active")]
    pub status: PeeringStatus,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// Where a peering stands, if it has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeeringStatus {
    /// Rules of either VPC may name groups of the other.
    #[default]
    Active,
    /// Not accepted yet.
    PendingAcceptance,
}

impl PeeringStatus {
    fn is_active(&self) -> bool {
        *self == Self::Active
    }
}

/// A text that may look like a number, and is written as one then: `80`, `8000-8010`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub String);

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.parse::<u32>() {
            Ok(number) if number.to_string() == self.0 => serializer.serialize_u32(number),
            _ => serializer.serialize_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Plain scalars of YAML are text where text is asked for, `80` among them.
        String::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Word {
    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"] })
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Writes each object of a list on a line of its own, so that a rule more is a line more.
fn one_line_each<T: Serialize, S: Serializer>(
    list: &Option<Vec<T>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().flatten().map(serde_saphyr::FlowMap))
}
