//! What is different between two states, in lines for people: what `apply` prints.

use super::names;
use crate::model::{
    Direction, GroupId, IcmpMatch, Interface, Peer, Peering, PeeringStatus, PrefixList, Rule, SecurityGroup,
    State, Tags, TimeoutSettings, Traffic, Vpc,
};
use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, fmt};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Whether it comes, goes, or becomes another.
    pub change: Mark,
    /// What it is of: `group default/web`, `interface eth0`.
    pub object: String,
    /// What becomes of it, or what it is; empty where the object says it all.
    pub what: String,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It comes.
    Added,
    /// It goes.
    Removed,
    /// It becomes another.
    Changed,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "+",
            Self::Removed => "-",
            Self::Changed => "~",
        })
    }
}

impl Serialize for Mark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The differences from one state to another, by kind of object. What the kernel says of an interface, such as the
/// addresses of an attached one, is no part of it.
#[must_use]
pub fn diff(before: &State, after: &State) -> Vec<Change> {
    let mut diff = Diff { before, after, changes: Vec::new() };
    diff.sorted(Diff::quotas);
    diff.sorted(Diff::lists);
    diff.sorted(Diff::vpcs);
    diff.sorted(Diff::groups);
    diff.rules();
    diff.sorted(Diff::interfaces);
    diff.sorted(Diff::peerings);
    diff.changes
}

struct Diff<'a> {
    before: &'a State,
    after: &'a State,
    changes: Vec<Change>,
}

/// Two maps as one, in order: what there was and what there is.
fn both<'a, K: Ord + Copy, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (K, Option<&'a V>, Option<&'a V>)> {
    let gone =
        before.iter().filter(|(key, _)| !after.contains_key(key)).map(|(key, was)| (*key, Some(was), None));
    gone.chain(after.iter().map(|(key, is)| (*key, before.get(key), Some(is))))
}

impl Diff<'_> {
    fn push(&mut self, change: Mark, object: String, what: String) {
        self.changes.push(Change { change, object, what });
    }

    /// The differences of one kind by object: new ids are drawn at random, and have no say in the order.
    fn sorted(&mut self, find: fn(&mut Self)) {
        let first = self.changes.len();
        find(self);
        self.changes[first..].sort_by(|one, other| one.object.cmp(&other.object));
    }

    /// A field that has another value.
    fn field<T: PartialEq + fmt::Display>(&mut self, object: &str, name: &str, was: T, is: T) {
        if was != is {
            self.push(Mark::Changed, object.to_owned(), format!("{name} {was} -> {is}"));
        }
    }

    fn tags(&mut self, object: &str, was: &Tags, is: &Tags) {
        for key in was.keys().filter(|key| !is.contains_key(*key)) {
            self.push(Mark::Removed, object.to_owned(), format!("tag {key}"));
        }
        for (key, value) in is {
            match was.get(key) {
                None => self.push(Mark::Added, object.to_owned(), format!("tag {key}={value}")),
                Some(old) => self.field(object, &format!("tag {key}"), old, value),
            }
        }
    }

    fn quotas(&mut self) {
        for (quota, was, is) in both(&self.before.quotas.0, &self.after.quotas.0) {
            let value = |set: Option<&u32>| set.copied().unwrap_or_else(|| quota.default_value());
            self.field(&format!("quota {quota}"), "value", value(was), value(is));
        }
    }

    fn lists(&mut self) {
        for (id, was, is) in self.after.prefix_lists.changes_from(&self.before.prefix_lists) {
            let object = format!(
                "prefix-list {}",
                names::list(if is.is_some() { self.after } else { self.before }, id)
            );
            match (was, is) {
                (Some(was), Some(is)) => self.list(&object, was, is),
                (Some(was), None) => self.push(Mark::Removed, object, entries(was.len())),
                (None, Some(is)) => {
                    let (family, most) = (is.family.name(), entries(is.max_entries as usize));
                    self.push(Mark::Added, object.clone(), format!("{family}, {most} at most"));
                    self.tags(&object, &Tags::new(), &is.tags);
                    for (cidr, text) in is.current() {
                        self.push(Mark::Added, object.clone(), entry(&cidr, text));
                    }
                }
                (None, None) => {}
            }
        }
    }

    fn list(&mut self, object: &str, was: &PrefixList, is: &PrefixList) {
        self.field(object, "name", &was.name, &is.name);
        self.field(object, "max-entries", was.max_entries, is.max_entries);
        self.tags(object, &was.tags, &is.tags);
        if was.version == is.version {
            return;
        }
        let (was, is): (BTreeMap<_, _>, BTreeMap<_, _>) = (was.current().collect(), is.current().collect());
        for (cidr, was, is) in both(&was, &is) {
            match (was, is) {
                (Some(text), None) => self.push(Mark::Removed, object.to_owned(), entry(&cidr, *text)),
                (None, Some(text)) => self.push(Mark::Added, object.to_owned(), entry(&cidr, *text)),
                (was, is) => {
                    let name = format!("{} description", entry(&cidr, None));
                    self.field(object, &name, text(was.copied().flatten()), text(is.copied().flatten()));
                }
            }
        }
    }

    fn vpcs(&mut self) {
        for (id, was, is) in self.after.vpcs.changes_from(&self.before.vpcs) {
            let object =
                format!("vpc {}", names::vpc(if is.is_some() { self.after } else { self.before }, id));
            let blocks = |vpc: &Vpc| vpc.cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            match (was, is) {
                (Some(was), Some(is)) => self.tags(&object, &was.tags, &is.tags),
                (Some(was), None) => self.push(Mark::Removed, object, blocks(was)),
                (None, Some(is)) => {
                    self.push(Mark::Added, object.clone(), blocks(is));
                    self.tags(&object, &Tags::new(), &is.tags);
                }
                (None, None) => {}
            }
        }
    }

    fn groups(&mut self) {
        for (id, was, is) in self.after.groups.changes_from(&self.before.groups) {
            let object = self.group(id);
            let description = |group: &SecurityGroup| group.description.clone();
            match (was, is) {
                (Some(was), Some(is)) => self.tags(&object, &was.tags, &is.tags),
                (Some(was), None) => self.push(Mark::Removed, object, description(was)),
                (None, Some(is)) => {
                    self.push(Mark::Added, object.clone(), description(is));
                    self.tags(&object, &Tags::new(), &is.tags);
                }
                (None, None) => {}
            }
        }
    }

    /// Rules by the name of their group, and there as they are listed.
    fn rules(&mut self) {
        let mut rules: Vec<_> = self
            .after
            .rules
            .changes_from(&self.before.rules)
            .into_iter()
            .filter_map(|(_, was, is)| {
                let rule = is.or(was)?;
                let group = names::full_group(self.with(rule.group), rule.group);
                let object = format!("rule {group} {}", self.rule(rule));
                Some(((group, rule.direction, rule.traffic), object, was, is))
            })
            .collect();
        rules.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        for (_, object, was, is) in rules {
            match (was, is) {
                (Some(was), Some(is)) => {
                    let texts = [was, is].map(|rule| text(rule.description.as_deref()));
                    self.field(&object, "description", &texts[0], &texts[1]);
                    self.tags(&object, &was.tags, &is.tags);
                }
                (None, Some(rule)) => {
                    self.push(Mark::Added, object.clone(), rule.description.clone().unwrap_or_default());
                    self.tags(&object, &Tags::new(), &rule.tags);
                }
                _ => self.push(Mark::Removed, object, String::new()),
            }
        }
    }

    fn interfaces(&mut self) {
        for (_, was, is) in self.after.interfaces.changes_from(&self.before.interfaces) {
            let Some(eni) = is.or(was) else { continue };
            let object = format!("interface {}", interface_name(eni));
            match (was, is) {
                (Some(was), Some(is)) => {
                    let [groups, set] = [self.groups_of(was), self.groups_of(is)];
                    self.field(&object, "groups", groups, set);
                    self.tags(&object, &was.tags, &is.tags);
                    let timeouts =
                        |eni: &Interface| eni.attachment.as_ref().map(|how| how.timeouts).unwrap_or_default();
                    self.timeouts(&object, timeouts(was), timeouts(is));
                    if is.is_registered() {
                        self.field(&object, "addresses", addresses(was), addresses(is));
                    }
                }
                (Some(_), None) => self.push(Mark::Removed, object, "registered".to_owned()),
                (None, _) => {
                    let what = format!("registered, {}, groups {}", addresses(eni), self.groups_of(eni));
                    self.push(Mark::Added, object.clone(), what);
                    self.tags(&object, &Tags::new(), &eni.tags);
                }
            }
        }
    }

    fn timeouts(&mut self, object: &str, was: TimeoutSettings, is: TimeoutSettings) {
        let seconds =
            |set: Option<u32>| set.map_or_else(|| "default".to_owned(), |seconds| format!("{seconds} s"));
        for (name, was, is) in [
            ("tcp-established", was.tcp_established, is.tcp_established),
            ("udp", was.udp, is.udp),
            ("udp-stream", was.udp_stream, is.udp_stream),
        ] {
            self.field(object, name, seconds(was), seconds(is));
        }
    }

    fn peerings(&mut self) {
        for (_, was, is) in self.after.peerings.changes_from(&self.before.peerings) {
            let Some(peering) = is.or(was) else { continue };
            let name =
                |id| names::vpc(if self.after.vpcs.contains_key(&id) { self.after } else { self.before }, id);
            let object = format!("peering {} {}", name(peering.requester), name(peering.accepter));
            match (was, is) {
                (Some(was), Some(is)) => {
                    if was.status != is.status && is.status == PeeringStatus::Deleted {
                        self.push(Mark::Removed, object.clone(), String::new());
                    } else {
                        self.field(&object, "status", was.status.code(), is.status.code());
                    }
                    self.tags(&object, &was.tags, &is.tags);
                }
                (Some(_), None) => self.push(Mark::Removed, object, String::new()),
                (None, Some(Peering { status, tags, .. })) => {
                    self.push(Mark::Added, object.clone(), status.code().to_owned());
                    self.tags(&object, &Tags::new(), tags);
                }
                (None, None) => {}
            }
        }
    }

    /// The state that has a group, the later one if both have.
    fn with(&self, id: GroupId) -> &State {
        if self.after.groups.contains_key(&id) { self.after } else { self.before }
    }

    fn group(&self, id: GroupId) -> String {
        format!("group {}", names::full_group(self.with(id), id))
    }

    fn groups_of(&self, eni: &Interface) -> String {
        let name = |id: &GroupId| {
            self.with(*id).groups.get(id).map_or_else(|| id.to_string(), |group| group.name.clone())
        };
        eni.groups.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// `ingress tcp 22 from 10.0.0.0/8`
    fn rule(&self, rule: &Rule) -> String {
        let (direction, preposition) = match rule.direction {
            Direction::Ingress => ("ingress", "from"),
            Direction::Egress => ("egress", "to"),
        };
        let vpc = self.with(rule.group).groups.get(&rule.group).map(|group| group.vpc);
        let peer = match (rule.peer, vpc) {
            (Peer::Group(id), Some(vpc)) => format!("group {}", names::group(self.with(id), vpc, id)),
            (Peer::PrefixList(id), _) => {
                let has = self.after.prefix_lists.contains_key(&id);
                format!("prefix-list {}", names::list(if has { self.after } else { self.before }, id))
            }
            (peer, _) => peer.to_string(),
        };
        format!("{direction} {} {preposition} {peer}", traffic(rule.traffic))
    }
}

/// `tcp 8000-8010`, `icmp type 8`, `all`
fn traffic(traffic: Traffic) -> String {
    let protocol = match traffic {
        Traffic::All => "all".to_owned(),
        other => other.protocol(),
    };
    match traffic {
        Traffic::Tcp(range) | Traffic::Udp(range) if range.from == range.to => {
            format!("{protocol} {}", range.from)
        }
        Traffic::Tcp(range) | Traffic::Udp(range) => format!("{protocol} {}-{}", range.from, range.to),
        Traffic::Icmp(IcmpMatch::Type(kind)) | Traffic::Icmpv6(IcmpMatch::Type(kind)) => {
            format!("{protocol} type {kind}")
        }
        Traffic::Icmp(IcmpMatch::TypeCode(kind, code)) | Traffic::Icmpv6(IcmpMatch::TypeCode(kind, code)) => {
            format!("{protocol} type {kind} code {code}")
        }
        Traffic::All | Traffic::Other(_) | Traffic::Icmp(_) | Traffic::Icmpv6(_) => protocol,
    }
}

fn entry(cidr: &ipnet::IpNet, description: Option<&str>) -> String {
    match description {
        Some(text) => format!("entry {cidr} ({text})"),
        None => format!("entry {cidr}"),
    }
}

fn entries(number: usize) -> String {
    if number == 1 { "1 entry".to_owned() } else { format!("{number} entries") }
}

fn text(description: Option<&str>) -> String {
    description.map_or_else(|| "none".to_owned(), |text| format!("'{text}'"))
}

fn addresses(eni: &Interface) -> String {
    eni.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn interface_name(eni: &Interface) -> String {
    match &eni.netns {
        Some(netns) => format!("{netns}/{}", eni.name),
        None => eni.name.clone(),
    }
}
