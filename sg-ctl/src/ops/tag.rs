//! Tags: as they are typed, `KEY=VALUE`, and of objects of every kind (M-44, A-34).

use crate::{
    error::{Refusal, Result},
    model::{
        EniId, GroupId, Id, IdKind, Object, Objects, PeeringId, PrefixListId, RuleId, State, Tags, VpcId,
    },
    model::{EniKind, PeeringKind, PrefixListKind, RuleKind, VpcKind},
};

/// Tags at most on one resource (M-44).
pub const MAX_TAGS: usize = 50;
/// Characters at most in a key (M-44).
pub const MAX_KEY: usize = 128;
/// Characters at most in a value (M-44).
pub const MAX_VALUE: usize = 256;

/// Reads tags. A key given twice is refused: nobody can tell which value was meant.
pub fn parse(given: &[String]) -> Result<Tags> {
    let mut tags = Tags::new();
    for text in given {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Refusal::invalid(format!("Tag '{text}' is not of the form KEY=VALUE")).into());
        };
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Refusal::invalid(format!("Duplicate tag key '{key}' specified.")).into());
        }
    }
    check(&tags)?;
    Ok(tags)
}

/// Refuses tags that no resource can have.
pub fn check(tags: &Tags) -> Result<()> {
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > MAX_KEY || is_reserved(key) {
            return Err(Refusal::new(
                "InvalidTagKey.Malformed",
                format!("Tag key '{key}' is not 1 to {MAX_KEY} characters that do not begin with 'aws:'"),
            )
            .into());
        }
        if value.chars().count() > MAX_VALUE {
            return Err(Refusal::invalid(format!(
                "The value of tag '{key}' is longer than {MAX_VALUE} characters"
            ))
            .into());
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(too_many(format!("{} tags are given", tags.len())).into());
    }
    Ok(())
}

/// `aws:` is AWS's own, in any case.
fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"))
}

/// Tags the object of that id. A key that it has gets the new value.
pub fn set(state: &mut State, id: &str, given: &[String]) -> Result<()> {
    let new = parse(given)?;
    let tags = of_object(state, id)?;
    let total = tags.len() + new.keys().filter(|key| !tags.contains_key(*key)).count();
    if total > MAX_TAGS {
        return Err(too_many(format!("{id} would have {total} tags")).into());
    }
    tags.extend(new);
    Ok(())
}

/// Takes tags from the object of that id. A key that it does not have is none the less gone, as EC2 sees it.
pub fn remove(state: &mut State, id: &str, keys: &[String]) -> Result<()> {
    if let Some(key) = keys.iter().find(|key| key.contains('=')) {
        let message = format!("'{key}' is no tag key: a tag is taken away by its key alone, without a value");
        return Err(Refusal::new("InvalidTagKey.Malformed", message).into());
    }
    let tags = of_object(state, id)?;
    tags.retain(|key, _| !keys.contains(key));
    Ok(())
}

/// The tags of the object of that id, of whatever kind.
fn of_object<'a>(state: &'a mut State, id: &str) -> Result<&'a mut Tags> {
    if GroupId::is_meant_by(id) {
        let (code, noun) = ("InvalidGroup.NotFound", "security group");
        return of(&mut state.groups, id, code, noun, |group| &mut group.tags);
    }
    if RuleId::is_meant_by(id) {
        let (code, noun) = ("InvalidSecurityGroupRuleId.NotFound", RuleKind::NOUN);
        return of(&mut state.rules, id, code, noun, |rule| &mut rule.tags);
    }
    if VpcId::is_meant_by(id) {
        return of(&mut state.vpcs, id, "InvalidVpcID.NotFound", VpcKind::NOUN, |vpc| &mut vpc.tags);
    }
    if PrefixListId::is_meant_by(id) {
        let (code, noun) = ("InvalidPrefixListID.NotFound", PrefixListKind::NOUN);
        return of(&mut state.prefix_lists, id, code, noun, |list| &mut list.tags);
    }
    if PeeringId::is_meant_by(id) {
        let (code, noun) = ("InvalidVpcPeeringConnectionID.NotFound", PeeringKind::NOUN);
        return of(&mut state.peerings, id, code, noun, |peering| &mut peering.tags);
    }
    if EniId::is_meant_by(id) {
        let (code, noun) = ("InvalidNetworkInterfaceID.NotFound", EniKind::NOUN);
        return of(&mut state.interfaces, id, code, noun, |interface| &mut interface.tags);
    }
    let message = format!(
        "The ID '{id}' is not valid. Tags go by the id of a group (sg-…), rule (sgr-…), VPC (vpc-…), prefix list (pl-…), \
         peering (pcx-…) or interface (eni-…)"
    );
    Err(Refusal::new("InvalidID", message).into())
}

fn of<'a, K: IdKind, T: Object>(
    objects: &'a mut Objects<Id<K>, T>,
    given: &str,
    code: &'static str,
    noun: &str,
    tags: impl Fn(&mut T) -> &mut Tags,
) -> Result<&'a mut Tags> {
    let id: Id<K> = given.parse()?;
    objects
        .get_mut(&id)
        .map(tags)
        .ok_or_else(|| Refusal::new(code, format!("The {noun} '{id}' does not exist")).into())
}

fn too_many(what: String) -> Refusal {
    Refusal::new("TagLimitExceeded", format!("{what}; a resource has at most {MAX_TAGS}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AddressFamily, Peering, PeeringStatus, PrefixList},
        ops::{
            interface::tests::attached,
            testing::{refusal, refused, state},
        },
    };

    fn tags(given: &[&str]) -> Result<Tags> {
        parse(&given.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn m44_the_first_equals_sign_divides() {
        let read = tags(&["Name=web", "expr=a=b", "empty="]).unwrap();
        assert_eq!(read["Name"], "web");
        assert_eq!(read["expr"], "a=b");
        assert_eq!(read["empty"], "");
    }

    #[test]
    fn m44_limits_are_ec2s() {
        let long_key = format!("{}=v", "k".repeat(129));
        assert_eq!(refusal(tags(&[&long_key])).code, "InvalidTagKey.Malformed");
        assert_eq!(refusal(tags(&["aws:x=v"])).code, "InvalidTagKey.Malformed");
        assert_eq!(refusal(tags(&["AWS:x=v"])).code, "InvalidTagKey.Malformed");
        assert!(tags(&["awsx:x=v"]).is_ok());
        assert_eq!(refusal(tags(&["=v"])).code, "InvalidTagKey.Malformed");
        assert_eq!(refusal(tags(&[&format!("k={}", "v".repeat(257))])).code, "InvalidParameterValue");
        assert_eq!(refusal(tags(&["k"])).code, "InvalidParameterValue");
        assert_eq!(refusal(tags(&["k=1", "k=2"])).code, "InvalidParameterValue");
        let many: Vec<String> = (0..51).map(|n| format!("k{n}=v")).collect();
        assert_eq!(refusal(parse(&many)).code, "TagLimitExceeded");
        assert_eq!(parse(&many[..50]).unwrap().len(), 50);
    }
    fn set_tags(state: &mut State, id: &str, given: &[&str]) -> Result<()> {
        set(state, id, &given.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    /// One object of each kind.
    fn with_everything() -> (State, Vec<String>) {
        let (mut state, vpc) = state();
        let eni = attached(&mut state, "eth0", None);
        let list = PrefixListId::random();
        let prefix_list = PrefixList {
            id: list,
            name: "offices".to_owned(),
            family: AddressFamily::Ipv4,
            max_entries: 1,
            version: 1,
            oldest: 1,
            state: Default::default(),
            tags: Tags::new(),
            entries: Default::default(),
        };
        state.prefix_lists.insert(list, prefix_list);
        let pcx = PeeringId::random();
        let peering = Peering {
            id: pcx,
            requester: vpc,
            accepter: VpcId::random(),
            status: PeeringStatus::PendingAcceptance,
            since: 0,
            tags: Tags::new(),
        };
        state.peerings.insert(pcx, peering);
        let group = *state.groups.keys().next().unwrap();
        let rule = *state.rules.keys().next().unwrap();
        let ids = [&group as &dyn std::fmt::Display, &rule, &vpc, &list, &pcx, &eni];
        let ids = ids.iter().map(ToString::to_string).collect();
        (state, ids)
    }

    #[test]
    fn a34_m21_every_kind_of_object_is_tagged_and_untagged() {
        let (mut state, ids) = with_everything();
        let before = state.clone();
        for id in &ids {
            set_tags(&mut state, id, &["env=test", "Name=x=y"]).unwrap();
            set_tags(&mut state, id, &["env=prod", "empty="]).unwrap();
            let expected = [("Name", "x=y"), ("empty", ""), ("env", "prod")];
            let expected = Tags::from(expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
            assert_eq!(*of_object(&mut state, id).unwrap(), expected);
            remove(&mut state, id, &["empty".to_owned(), "env".to_owned(), "never-there".to_owned()])
                .unwrap();
            assert_eq!(of_object(&mut state, id).unwrap().len(), 1);
            remove(&mut state, id, &["Name".to_owned()]).unwrap();
        }
        assert_eq!(state, before);
    }

    #[test]
    fn a75_an_unknown_object_has_the_code_of_its_kind() {
        let (mut state, _) = with_everything();
        for (id, expected) in [
            ("sg-12345678", "InvalidGroup.NotFound: The security group 'sg-12345678' does not exist"),
            (
                "sgr-12345678",
                "InvalidSecurityGroupRuleId.NotFound: The security group rule ID 'sgr-12345678' does not exist",
            ),
            ("vpc-12345678", "InvalidVpcID.NotFound: The vpc ID 'vpc-12345678' does not exist"),
            ("pl-12345678", "InvalidPrefixListID.NotFound: The prefix list ID 'pl-12345678' does not exist"),
            (
                "pcx-12345678",
                "InvalidVpcPeeringConnectionID.NotFound: The vpcPeeringConnection ID 'pcx-12345678' does not exist",
            ),
            (
                "eni-12345678",
                "InvalidNetworkInterfaceID.NotFound: The networkInterface ID 'eni-12345678' does not exist",
            ),
            ("sg-x", "InvalidGroupId.Malformed: The security group ID 'sg-x' is malformed"),
        ] {
            assert_eq!(refused(set_tags(&mut state, id, &["k=v"])), expected);
            assert_eq!(refused(remove(&mut state, id, &["k".to_owned()])), expected);
        }
        for id in ["web", "", "sgr", "i-12345678"] {
            assert_eq!(refusal(set_tags(&mut state, id, &["k=v"])).code, "InvalidID");
        }
    }

    #[test]
    fn m44_what_is_there_counts_too() {
        let (mut state, ids) = with_everything();
        let group = &ids[0];
        let fifty: Vec<String> = (0..50).map(|n| format!("k{n}=v")).collect();
        set(&mut state, group, &fifty).unwrap();
        let full = state.clone();
        assert_eq!(
            refused(set_tags(&mut state, group, &["k0=w", "k50=v"])),
            format!("TagLimitExceeded: {group} would have 51 tags; a resource has at most 50")
        );
        assert_eq!(state, full);
        set_tags(&mut state, group, &["k0=w"]).unwrap();
        assert_eq!(of_object(&mut state, group).unwrap()["k0"], "w");
    }

    #[test]
    fn m44_a_key_is_taken_away_without_a_value() {
        let (mut state, ids) = with_everything();
        set_tags(&mut state, &ids[0], &["k=v"]).unwrap();
        let before = state.clone();
        let refusal = refusal(remove(&mut state, &ids[0], &["k=v".to_owned()]));
        assert_eq!(refusal.code, "InvalidTagKey.Malformed");
        assert_eq!(state, before);
    }
}
