//! What groups and rules can be filtered by: EC2's names.

use super::filter::{Field, Filters};
use crate::model::{Direction, GroupId, OWNER, Peer, Rule, RuleId, SecurityGroup, State, Traffic};

/// Filters of `group list`.
pub type GroupFilters = Filters<GroupField>;
/// Filters of `rule list`.
pub type RuleFilters = Filters<RuleField>;

/// What a filter of groups looks at.
#[derive(Clone, Debug)]
pub enum GroupField {
    /// `description`
    Description,
    /// `group-id`
    Id,
    /// `group-name`
    Name,
    /// `owner-id`
    Owner,
    /// `tag:KEY`: the value of that tag.
    Tag(String),
    /// `tag-key`: the keys of all tags.
    TagKey,
    /// `vpc-id`
    Vpc,
    /// `ip-permission.…` and `egress.ip-permission.…`
    Permission(Direction, PermissionField),
}

/// What a filter of groups looks at in their rules; several filters may be met by different rules.
#[derive(Clone, Copy, Debug)]
pub enum PermissionField {
    /// `cidr`, of IPv4.
    Cidr,
    /// `from-port`: the first port, or the ICMP type.
    FromPort,
    /// `group-id` of a group that is named.
    GroupId,
    /// `group-name` of a group that is named.
    GroupName,
    /// `ipv6-cidr`
    Ipv6Cidr,
    /// `prefix-list-id`
    PrefixListId,
    /// `protocol`: name, number or -1.
    Protocol,
    /// `to-port`: the last port, or the ICMP code.
    ToPort,
    /// `user-id`: the account of a group that is named.
    UserId,
}

impl Field for GroupField {
    const NAMES: &'static [&'static str] = &[
        "description",
        "group-id",
        "group-name",
        "owner-id",
        "tag-key",
        "vpc-id",
        "ip-permission.cidr",
        "ip-permission.from-port",
        "ip-permission.group-id",
        "ip-permission.group-name",
        "ip-permission.ipv6-cidr",
        "ip-permission.prefix-list-id",
        "ip-permission.protocol",
        "ip-permission.to-port",
        "ip-permission.user-id",
    ];

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "description" => Self::Description,
            "group-id" => Self::Id,
            "group-name" => Self::Name,
            "owner-id" => Self::Owner,
            "tag-key" => Self::TagKey,
            "vpc-id" => Self::Vpc,
            _ => {
                if let Some(key) = name.strip_prefix("tag:") {
                    return Some(Self::Tag(key.to_owned()));
                }
                let (direction, rest) = match name.strip_prefix("egress.") {
                    Some(rest) => (Direction::Egress, rest),
                    None => (Direction::Ingress, name),
                };
                let field = PermissionField::named(rest.strip_prefix("ip-permission.")?)?;
                Self::Permission(direction, field)
            }
        })
    }
}

impl PermissionField {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "cidr" => Self::Cidr,
            "from-port" => Self::FromPort,
            "group-id" => Self::GroupId,
            "group-name" => Self::GroupName,
            "ipv6-cidr" => Self::Ipv6Cidr,
            "prefix-list-id" => Self::PrefixListId,
            "protocol" => Self::Protocol,
            "to-port" => Self::ToPort,
            "user-id" => Self::UserId,
            _ => return None,
        })
    }
}

/// What a filter of rules looks at.
#[derive(Clone, Debug)]
pub enum RuleField {
    /// `group-id`
    GroupId,
    /// `security-group-rule-id`
    Id,
    /// `tag:KEY`
    Tag(String),
}

impl Field for RuleField {
    const NAMES: &'static [&'static str] = &["group-id", "security-group-rule-id"];

    fn named(name: &str) -> Option<Self> {
        match name {
            "group-id" => Some(Self::GroupId),
            "security-group-rule-id" => Some(Self::Id),
            _ => name.strip_prefix("tag:").map(|key| Self::Tag(key.to_owned())),
        }
    }
}

/// Those of the groups that pass.
#[must_use]
pub fn groups(state: &State, ids: Vec<GroupId>, filters: &GroupFilters) -> Vec<GroupId> {
    let passes = |id: &GroupId| {
        let group = state.groups.get(id);
        group.is_some_and(|group| filters.admit(|field| of_group(state, group, field)))
    };
    ids.into_iter().filter(passes).collect()
}

/// Those of the rules that pass.
#[must_use]
pub fn rules(state: &State, ids: Vec<RuleId>, filters: &RuleFilters) -> Vec<RuleId> {
    let passes = |id: &RuleId| {
        let rule = state.rules.get(id);
        rule.is_some_and(|rule| {
            filters.admit(|field| match field {
                RuleField::GroupId => vec![rule.group.to_string()],
                RuleField::Id => vec![rule.id.to_string()],
                RuleField::Tag(key) => rule.tags.get(key).cloned().into_iter().collect(),
            })
        })
    };
    ids.into_iter().filter(passes).collect()
}

fn of_group(state: &State, group: &SecurityGroup, field: &GroupField) -> Vec<String> {
    match field {
        GroupField::Description => vec![group.description.clone()],
        GroupField::Id => vec![group.id.to_string()],
        GroupField::Name => vec![group.name.clone()],
        GroupField::Owner => vec![OWNER.to_owned()],
        GroupField::Tag(key) => group.tags.get(key).cloned().into_iter().collect(),
        GroupField::TagKey => group.tags.keys().cloned().collect(),
        GroupField::Vpc => vec![group.vpc.to_string()],
        GroupField::Permission(direction, field) => {
            let own = state.rules.values();
            let own = own.filter(|rule| rule.group == group.id && rule.direction == *direction);
            own.flat_map(|rule| of_rule(state, rule, *field)).collect()
        }
    }
}

fn of_rule(state: &State, rule: &Rule, field: PermissionField) -> Vec<String> {
    match (field, rule.peer) {
        (PermissionField::Protocol, _) => protocols(rule.traffic),
        (PermissionField::FromPort, _) => {
            rule.traffic.from_to().map(|(from, _)| from.to_string()).into_iter().collect()
        }
        (PermissionField::ToPort, _) => {
            rule.traffic.from_to().map(|(_, to)| to.to_string()).into_iter().collect()
        }
        (PermissionField::Cidr, Peer::Ipv4(net)) => vec![net.to_string()],
        (PermissionField::Ipv6Cidr, Peer::Ipv6(net)) => vec![net.to_string()],
        (PermissionField::PrefixListId, Peer::PrefixList(id)) => vec![id.to_string()],
        (PermissionField::GroupId, Peer::Group(id)) => vec![id.to_string()],
        (PermissionField::GroupName, Peer::Group(id)) => {
            state.groups.get(&id).map(|group| group.name.clone()).into_iter().collect()
        }
        (PermissionField::UserId, Peer::Group(_)) => vec![OWNER.to_owned()],
        _ => Vec::new(),
    }
}

/// A protocol by every name that EC2 has for it.
fn protocols(traffic: Traffic) -> Vec<String> {
    let number = match traffic {
        Traffic::Tcp(_) => Some("6"),
        Traffic::Udp(_) => Some("17"),
        Traffic::Icmp(_) => Some("1"),
        Traffic::Icmpv6(_) => Some("58"),
        Traffic::All | Traffic::Other(_) => None,
    };
    [traffic.protocol()].into_iter().chain(number.map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::AddressFamily,
        ops::{
            self, prefix_list,
            rule::{Content, add},
            tag,
            testing::{refused, state},
        },
    };

    /// `default`, and `web` with tags and rules of every kind of peer.
    fn fixture() -> (State, GroupId) {
        let (mut state, _) = state();
        let create = ops::group::Create {
            tags: vec!["env=prod".to_owned(), "team=a b".to_owned()],
            ..ops::group::Create::new("web", "Web servers")
        };
        let web = ops::group::create(&mut state, &create).unwrap();
        let content = Content::tcp("80-90").with_cidr("10.0.0.0/8").with_cidr("2001:db8::/32");
        add(&mut state, "web", &content).unwrap();
        let offices = prefix_list::Create {
            name: "offices".to_owned(),
            family: AddressFamily::Ipv4,
            max_entries: "5".to_owned(),
            entries: Vec::new(),
            tags: Vec::new(),
        };
        prefix_list::create(&mut state, &offices).unwrap();
        add(&mut state, "web", &Content::tcp("22").with_group("default").with_list("offices")).unwrap();
        (state, web)
    }

    /// Names of the groups that pass, `default` before `web`.
    fn passing(state: &State, given: &[&str]) -> Vec<String> {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        let filters = GroupFilters::read(&given).unwrap();
        let ids = groups(state, ops::group::list(state, None).unwrap(), &filters);
        ids.iter().map(|id| state.groups[id].name.clone()).collect()
    }

    #[test]
    fn a35_every_filter_of_groups() {
        let (state, web) = fixture();
        let (id, vpc) = (format!("group-id={web}"), format!("vpc-id={}", state.groups[&web].vpc));
        let default = ops::group::default_of(&state, state.groups[&web].vpc).unwrap();
        let names_default = format!("ip-permission.group-id={default}");
        assert_eq!(passing(&state, &[]), ["default", "web"]);
        for (filter, only_web) in [
            ("description=Web*", true),
            ("group-name=w?b", true),
            (&*id, true),
            ("tag:env=prod,test", true),
            ("tag:team=a b", true),
            ("tag-key=env", true),
            ("ip-permission.cidr=10.0.0.0/8", true),
            ("ip-permission.ipv6-cidr=2001:db8::*", true),
            ("ip-permission.from-port=80", true),
            ("ip-permission.to-port=90", true),
            ("ip-permission.protocol=tcp", true),
            ("ip-permission.protocol=6", true),
            ("ip-permission.prefix-list-id=pl-*", true),
            (&*vpc, false),
            (&*names_default, false),
            ("owner-id=000000000000", false),
            ("ip-permission.group-name=default", false),
            ("ip-permission.user-id=000000000000", false),
            ("egress.ip-permission.protocol=-1", false),
            ("egress.ip-permission.cidr=0.0.0.0/0", false),
            ("egress.ip-permission.ipv6-cidr=::/0", false),
        ] {
            let expected: &[&str] = if only_web { &["web"] } else { &["default", "web"] };
            assert_eq!(passing(&state, &[filter]), expected, "{filter}");
        }
        for nobody in [
            "description=web*",
            "group-name=Web",
            "group-id=sg-12345678",
            "tag:env=Prod",
            "tag:other=*",
            "tag-key=prod",
            "owner-id=111111111111",
            "vpc-id=vpc-12345678",
            "ip-permission.cidr=0.0.0.0/0",
            "ip-permission.from-port=90",
            "egress.ip-permission.prefix-list-id=*",
            "ip-permission.protocol=17",
            "egress.ip-permission.from-port=*",
            "egress.ip-permission.protocol=tcp",
        ] {
            assert_eq!(passing(&state, &[nobody]), [""; 0], "{nobody}");
        }
    }

    #[test]
    fn a35_filters_of_rules_may_be_met_by_different_rules() {
        let (state, _) = fixture();
        assert_eq!(passing(&state, &["ip-permission.from-port=22", "ip-permission.to-port=90"]), ["web"]);
    }

    #[test]
    fn a8_names_of_filters_are_ec2s() {
        for name in GroupField::NAMES {
            assert!(GroupField::named(name).is_some(), "{name}");
            if name.starts_with("ip-permission.") {
                assert!(GroupField::named(&format!("egress.{name}")).is_some(), "{name}");
            }
        }
        for unknown in ["", "name", "egress.group-id", "ip-permission.", "ip-permission.port", "tag"] {
            let given = [format!("{unknown}=x")];
            let message = refused(GroupFilters::read(&given));
            let expected = format!("InvalidParameterValue: The filter '{unknown}' is invalid");
            assert!(message.starts_with(&expected), "{message}");
        }
    }

    #[test]
    fn a13_filters_of_rules() {
        let (mut state, web) = fixture();
        let all = ops::rule::list(&state, None).unwrap();
        let tagged = *all.last().unwrap();
        tag::set(&mut state, &tagged.to_string(), &["env=prod".to_owned()]).unwrap();
        let pass = |filter: String| rules(&state, all.clone(), &RuleFilters::read(&[filter]).unwrap());
        let own: Vec<_> = all.iter().copied().filter(|id| state.rules[id].group == web).collect();
        assert_eq!(pass(format!("group-id={web}")), own);
        assert_eq!(pass(format!("security-group-rule-id={tagged}")), [tagged]);
        assert_eq!(pass("tag:env=pr*".to_owned()), [tagged]);
        assert_eq!(pass("tag:env=test".to_owned()), []);
        assert!(refused(RuleFilters::read(&["tag-key=x".to_owned()])).contains("'tag-key' is invalid"));
    }
}
