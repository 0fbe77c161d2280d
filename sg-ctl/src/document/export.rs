//! From the desired state to its document: the same text for the same state, whatever the ids and whoever made it when.

use super::{
    names,
    types::{
        Document, Entry, Group, Interface, Peering, PeeringStatus, PrefixList, Rule, Timeouts, Vpc, Word,
    },
};
use crate::model::{
    self, Direction, GroupId, IcmpMatch, Peer, PortRange, PrefixListId, State, Traffic, VpcId,
};
use std::collections::{BTreeMap, BTreeSet};

/// The document of the whole state; or of one VPC, with the prefix lists that its rules name.
#[must_use]
pub fn export(state: &State, only: Option<VpcId>) -> Document {
    let exporter = Exporter::new(state);
    let vpcs = exporter.vpcs(only);
    let Some(only) = only else {
        return Document {
            only_vpc: None,
            quotas: Some(state.quotas.0.iter().map(|(quota, value)| (quota.to_string(), *value)).collect()),
            prefix_lists: Some(exporter.lists(|_| true)),
            vpcs: Some(vpcs),
            peerings: Some(exporter.peerings()),
        };
    };
    let named: BTreeSet<PrefixListId> = exporter
        .rules
        .iter()
        .filter(|((group, _), _)| state.groups.get(group).is_some_and(|group| group.vpc == only))
        .flat_map(|(_, rules)| rules)
        .filter_map(|rule| match rule.peer {
            Peer::PrefixList(id) => Some(id),
            _ => None,
        })
        .collect();
    let lists = Some(exporter.lists(|id| named.contains(&id))).filter(|lists| !lists.is_empty());
    Document {
        only_vpc: Some(names::vpc(state, only)),
        prefix_lists: lists,
        vpcs: Some(vpcs),
        ..Document::default()
    }
}

/// A state, and what is looked up in it often.
struct Exporter<'a> {
    state: &'a State,
    rules: BTreeMap<(GroupId, Direction), Vec<&'a model::Rule>>,
    /// What rules and interfaces of a VPC call the groups that they name.
    words: BTreeMap<(VpcId, GroupId), String>,
    /// The groups that something calls by their id.
    by_id: BTreeSet<GroupId>,
}

impl<'a> Exporter<'a> {
    fn new(state: &'a State) -> Self {
        let mut rules: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut named = BTreeSet::new();
        for rule in state.rules.values() {
            rules.entry((rule.group, rule.direction)).or_default().push(rule);
            if let (Peer::Group(id), Some(owner)) = (rule.peer, state.groups.get(&rule.group)) {
                named.insert((owner.vpc, id));
            }
        }
        named.extend(state.interfaces.values().flat_map(|eni| eni.groups.iter().map(|id| (eni.vpc, *id))));
        let word = |(vpc, id)| ((vpc, id), names::group(state, vpc, id));
        let words: BTreeMap<_, _> = named.into_iter().map(word).collect();
        let by_id = words.iter().filter(|((_, id), word)| **word == id.to_string()).map(|((_, id), _)| *id);
        Self { state, rules, by_id: by_id.collect(), words }
    }

    fn lists(&self, is_wanted: impl Fn(PrefixListId) -> bool) -> Vec<PrefixList> {
        let mut lists: Vec<_> = self.state.prefix_lists.values().filter(|list| is_wanted(list.id)).collect();
        lists.sort_by_key(|list| (list.name.to_lowercase(), list.id));
        let list = |list: &model::PrefixList| PrefixList {
            name: list.name.clone(),
            id: Some(list.id.to_string()).filter(|id| *id == names::list(self.state, list.id)),
            family: Some(list.family),
            max_entries: Some(list.max_entries),
            tags: list.tags.clone(),
            entries: Some(list.current().map(entry).collect()),
        };
        lists.into_iter().map(list).collect()
    }

    fn vpcs(&self, only: Option<VpcId>) -> Vec<Vpc> {
        let vpcs = self.state.vpcs.values().filter(|vpc| only.is_none_or(|only| vpc.id == only));
        let mut vpcs: Vec<_> = vpcs.collect();
        vpcs.sort_by_key(|vpc| (!vpc.is_default, vpc.name().map(str::to_lowercase), vpc.id));
        vpcs.into_iter().map(|vpc| self.vpc(vpc)).collect()
    }

    fn vpc(&self, vpc: &model::Vpc) -> Vpc {
        let mut groups: Vec<_> = self.state.groups.values().filter(|group| group.vpc == vpc.id).collect();
        groups.sort_by_key(|group| (group.name != "default", group.name.to_lowercase()));
        let mut interfaces: Vec<_> = self.state.interfaces.values().filter(|eni| eni.vpc == vpc.id).collect();
        interfaces.sort_by_key(|eni| (&eni.netns, &eni.name, eni.id));
        let cidrs: Vec<String> = vpc.cidrs.iter().map(ToString::to_string).collect();
        Vpc {
            name: vpc.name().map(str::to_owned),
            id: Some(vpc.id.to_string()).filter(|id| *id == names::vpc(self.state, vpc.id)),
            default: vpc.is_default,
            cidrs: Some(cidrs).filter(|cidrs| !cidrs.is_empty()),
            tags: vpc.tags.iter().filter(|(key, _)| *key != "Name").map(owned).collect(),
            groups: Some(groups.into_iter().map(|group| self.group(group)).collect()),
            interfaces: Some(interfaces.into_iter().map(|eni| self.interface(eni)).collect()),
        }
    }

    fn group(&self, group: &model::SecurityGroup) -> Group {
        Group {
            name: group.name.clone(),
            id: self.by_id.contains(&group.id).then(|| group.id.to_string()),
            // That of a default group cannot be chosen.
            description: (group.name != "default").then(|| group.description.clone()),
            tags: group.tags.clone(),
            ingress: Some(self.rules(group, Direction::Ingress)),
            egress: Some(self.rules(group, Direction::Egress)),
        }
    }

    /// By traffic, then addresses before groups before lists. Ids have no say in the order: they are drawn at random.
    fn rules(&self, group: &model::SecurityGroup, direction: Direction) -> Vec<Rule> {
        let rules = self.rules.get(&(group.id, direction)).into_iter().flatten();
        let mut rules: Vec<_> = rules.map(|rule| (*rule, self.rule(group.vpc, rule))).collect();
        rules.sort_by(|(one, written), (other, written_other)| {
            let key = |rule: &model::Rule| {
                let network = match rule.peer {
                    Peer::Group(_) | Peer::PrefixList(_) => None,
                    network => Some(network),
                };
                (rule.traffic, network.is_none(), network)
            };
            let words = |rule: &Rule| {
                let word = rule.prefix_list.as_ref().or(rule.group.as_ref());
                (rule.prefix_list.is_some(), word.map(|word| word.to_lowercase()), word.cloned())
            };
            key(one).cmp(&key(other)).then_with(|| words(written).cmp(&words(written_other)))
        });
        rules.into_iter().map(|(_, rule)| rule).collect()
    }

    fn rule(&self, vpc: VpcId, rule: &model::Rule) -> Rule {
        let mut written = traffic(rule.traffic);
        match rule.peer {
            Peer::Ipv4(_) | Peer::Ipv6(_) => written.cidr = Some(rule.peer.to_string()),
            Peer::Group(id) => written.group = self.words.get(&(vpc, id)).cloned(),
            Peer::PrefixList(id) => written.prefix_list = Some(names::list(self.state, id)),
        }
        Rule { description: rule.description.clone(), tags: rule.tags.clone(), ..written }
    }

    fn interface(&self, eni: &model::Interface) -> Interface {
        let timeouts = eni.attachment.as_ref().map(|how| how.timeouts).unwrap_or_default();
        let registered = eni.is_registered();
        let addresses = registered.then(|| eni.addresses.iter().map(ToString::to_string).collect());
        let groups = eni.groups.iter().filter_map(|id| self.words.get(&(eni.vpc, *id)).cloned());
        Interface {
            name: eni.name.clone(),
            netns: eni.netns.clone(),
            tags: eni.tags.clone(),
            groups: Some(groups.collect()),
            registered,
            addresses,
            timeouts: Timeouts {
                tcp_established: timeouts.tcp_established,
                udp: timeouts.udp,
                udp_stream: timeouts.udp_stream,
            },
        }
    }

    /// Those that have not ended.
    fn peerings(&self) -> Vec<Peering> {
        let mut peerings: Vec<Peering> = self
            .state
            .peerings
            .values()
            .filter_map(|peering| {
                let status = match peering.status {
                    model::PeeringStatus::Active => PeeringStatus::Active,
                    model::PeeringStatus::PendingAcceptance => PeeringStatus::PendingAcceptance,
                    _ => return None,
                };
                let [requester, accepter] =
                    [peering.requester, peering.accepter].map(|id| names::vpc(self.state, id));
                Some(Peering { requester, accepter, status, tags: peering.tags.clone() })
            })
            .collect();
        peerings
            .sort_by(|one, other| (&one.requester, &one.accepter).cmp(&(&other.requester, &other.accepter)));
        peerings
    }
}

fn entry((cidr, description): (ipnet::IpNet, Option<&str>)) -> Entry {
    Entry { cidr: cidr.to_string(), description: description.map(str::to_owned) }
}

fn owned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

/// A rule of that traffic, without its peer.
fn traffic(traffic: Traffic) -> Rule {
    let protocol = match traffic {
        Traffic::All => "all".to_owned(),
        other => other.protocol(),
    };
    let ports = match traffic {
        Traffic::Tcp(PortRange { from, to }) | Traffic::Udp(PortRange { from, to }) => {
            Some(match from == to {
                true => from.to_string(),
                false => format!("{from}-{to}"),
            })
        }
        _ => None,
    };
    let (icmp_type, icmp_code) = match traffic {
        Traffic::Icmp(messages) | Traffic::Icmpv6(messages) => match messages {
            IcmpMatch::All => (None, None),
            IcmpMatch::Type(kind) => (Some(kind), None),
            IcmpMatch::TypeCode(kind, code) => (Some(kind), Some(code)),
        },
        _ => (None, None),
    };
    let word = |number: u8| Word(number.to_string());
    Rule {
        protocol: Word(protocol),
        ports: ports.map(Word),
        icmp_type: icmp_type.map(word),
        icmp_code: icmp_code.map(word),
        cidr: None,
        group: None,
        prefix_list: None,
        description: None,
        tags: model::Tags::new(),
    }
}
