//! Answers of `sg-ctl prefix-list …`, in the shapes of EC2's operations on managed prefix lists.

use super::{
    Output, ec2, json,
    table::{Table, escape},
};
use crate::{
    model::{GroupId, PrefixList, PrefixListId, PrefixListState, State},
    ops::{entry::Imported, prefix_list},
};
use serde::Serialize;
use std::io::{self, Write};

/// `ManagedPrefixList`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManagedPrefixList<'a> {
    prefix_list_id: PrefixListId,
    address_family: &'static str,
    state: &'static str,
    prefix_list_arn: String,
    prefix_list_name: &'a str,
    max_entries: u32,
    version: u32,
    tags: Vec<ec2::Tag<'a>>,
    owner_id: &'static str,
}

impl<'a> ManagedPrefixList<'a> {
    fn new(list: &'a PrefixList) -> Self {
        Self {
            prefix_list_id: list.id,
            address_family: list.family.name(),
            state: state_name(list.state),
            prefix_list_arn: ec2::arn("prefix-list", &list.id),
            prefix_list_name: &list.name,
            max_entries: list.max_entries,
            version: list.version,
            tags: ec2::tags(&list.tags),
            owner_id: ec2::OWNER,
        }
    }
}

fn state_name(state: PrefixListState) -> &'static str {
    match state {
        PrefixListState::CreateComplete => "create-complete",
        PrefixListState::ModifyComplete => "modify-complete",
        PrefixListState::RestoreComplete => "restore-complete",
    }
}

/// `PrefixListEntry`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PrefixListEntry<'a> {
    cidr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
}

/// `PrefixListAssociation`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PrefixListAssociation {
    resource_id: GroupId,
    resource_owner: &'static str,
}

/// The answer of an operation on one list.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct One<'a> {
    prefix_list: ManagedPrefixList<'a>,
}

/// `prefix-list list`
pub fn prefix_lists(
    out: &mut impl Write,
    output: Output,
    state: &State,
    ids: &[PrefixListId],
) -> io::Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct PrefixLists<'a> {
        prefix_lists: Vec<ManagedPrefixList<'a>>,
    }
    let lists = ids.iter().filter_map(|id| state.prefix_lists.get(id));
    if output == Output::Json {
        return json(out, &PrefixLists { prefix_lists: lists.map(ManagedPrefixList::new).collect() });
    }
    let mut table = Table::new(&["ID", "NAME", "FAMILY", "ENTRIES", "MAX", "VERSION", "REFERENCES"]);
    for list in lists {
        table.row([
            list.id.to_string(),
            list.name.clone(),
            list.family.name().to_owned(),
            list.len().to_string(),
            list.max_entries.to_string(),
            list.version.to_string(),
            prefix_list::references(state, list.id).count().to_string(),
        ]);
    }
    table.write(out)
}

/// `prefix-list show`: the list, the entries of one of its versions, and who names it.
pub fn prefix_list_shown(
    out: &mut impl Write,
    output: Output,
    state: &State,
    list: &PrefixList,
    version: u32,
) -> io::Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Shown<'a> {
        prefix_lists: [ManagedPrefixList<'a>; 1],
        entries: Vec<PrefixListEntry<'a>>,
        prefix_list_associations: Vec<PrefixListAssociation>,
    }
    let groups = prefix_list::associations(state, list.id);
    if output == Output::Json {
        let entries = list.at(version);
        let entries =
            entries.map(|(cidr, description)| PrefixListEntry { cidr: cidr.to_string(), description });
        let association = |resource_id| PrefixListAssociation { resource_id, resource_owner: ec2::OWNER };
        return json(
            out,
            &Shown {
                prefix_lists: [ManagedPrefixList::new(list)],
                entries: entries.collect(),
                prefix_list_associations: groups.into_iter().map(association).collect(),
            },
        );
    }
    writeln!(out, "{}  {}", list.id, escape(&list.name))?;
    writeln!(out, "family       {}", list.family.name())?;
    writeln!(out, "max_entries  {}", list.max_entries)?;
    let kept = format!("{} to {} are kept", list.oldest, list.version);
    writeln!(out, "version      {version} ({kept})")?;
    for (key, value) in &list.tags {
        writeln!(out, "tag          {}={}", escape(key), escape(value))?;
    }
    for id in groups {
        let name = state.groups.get(&id).map_or("", |group| group.name.as_str());
        writeln!(out, "named by     {id} ({})", escape(name))?;
    }
    writeln!(out)?;
    let mut table = Table::new(&["CIDR", "DESCRIPTION"]);
    for (cidr, description) in list.at(version) {
        table.row([cidr.to_string(), description.unwrap_or_default().to_owned()]);
    }
    table.write(out)
}

/// `prefix-list create`
pub fn prefix_list_created(out: &mut impl Write, output: Output, list: &PrefixList) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "{}", list.id),
        Output::Json => json(out, &One { prefix_list: ManagedPrefixList::new(list) }),
    }
}

/// `prefix-list add`, `remove`, `restore`, `resize`, `rename`
pub fn prefix_list_changed(out: &mut impl Write, output: Output, list: &PrefixList) -> io::Result<()> {
    match output {
        Output::Table => {
            let (entries, max) = (list.len(), list.max_entries);
            writeln!(out, "{} version {}, {entries} of {max} entries", list.id, list.version)
        }
        Output::Json => json(out, &One { prefix_list: ManagedPrefixList::new(list) }),
    }
}

/// `prefix-list import`
pub fn prefix_list_imported(
    out: &mut impl Write,
    output: Output,
    list: &PrefixList,
    imported: Imported,
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Answer<'a> {
        #[serde(flatten)]
        one: One<'a>,
        added: usize,
        removed: usize,
        repeated: usize,
    }
    let Imported { added, removed, repeated, .. } = imported;
    match output {
        Output::Table => {
            writeln!(out, "added {added}, removed {removed}, there already {repeated}")?;
            prefix_list_changed(out, output, list)
        }
        Output::Json => {
            let one = One { prefix_list: ManagedPrefixList::new(list) };
            json(out, &Answer { one, added, removed, repeated })
        }
    }
}

/// `prefix-list delete`: the list as it was, in the state that EC2 gives it then.
pub fn prefix_list_deleted(out: &mut impl Write, output: Output, list: &PrefixList) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "deleted {}", list.id),
        Output::Json => {
            let prefix_list = ManagedPrefixList { state: "delete-complete", ..ManagedPrefixList::new(list) };
            json(out, &One { prefix_list })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::AddressFamily,
        ops::{
            entry,
            rule::{Content, add},
        },
        render::testing::{document, fixture, written},
    };
    use serde_json::{Value, json};

    /// A list of two versions, which one rule names, under a fixed id.
    fn list() -> (State, PrefixListId) {
        let (mut state, ..) = fixture();
        let create = prefix_list::Create {
            name: "offices".to_owned(),
            family: AddressFamily::Ipv4,
            max_entries: "5".to_owned(),
            entries: vec!["192.0.2.0/24=Main office".to_owned(), "10.0.0.1/8".to_owned()],
            tags: vec!["Name=Offices".to_owned()],
        };
        let made = prefix_list::create(&mut state, &create).unwrap();
        let mut list = state.prefix_lists.remove(&made).unwrap();
        list.id = "pl-00000000000000001".parse().unwrap();
        let id = list.id;
        state.prefix_lists.insert(id, list);
        entry::remove(&mut state, "offices", &["10.0.0.0/8".to_owned()], None).unwrap();
        add(&mut state, "web", &Content::tcp("22").with_list("offices")).unwrap();
        (state, id)
    }

    fn expected(state: &str) -> Value {
        json!({
            "PrefixListId": "pl-00000000000000001",
            "AddressFamily": "IPv4",
            "State": state,
            "PrefixListArn": "arn:aws:ec2:local:000000000000:prefix-list/pl-00000000000000001",
            "PrefixListName": "offices",
            "MaxEntries": 5,
            "Version": 2,
            "Tags": [{ "Key": "Name", "Value": "Offices" }],
            "OwnerId": "000000000000",
        })
    }

    #[test]
    fn a25_a28_a63_lists_as_ec2_prints_them() {
        let (state, id) = list();
        let list = &state.prefix_lists[&id];
        assert_eq!(
            document(|out| prefix_lists(out, Output::Json, &state, &[id])),
            json!({ "PrefixLists": [expected("modify-complete")] })
        );
        for answer in [prefix_list_created, prefix_list_changed] {
            assert_eq!(
                document(|out| answer(out, Output::Json, list)),
                json!({ "PrefixList": expected("modify-complete") })
            );
        }
        assert_eq!(
            document(|out| prefix_list_deleted(out, Output::Json, list)),
            json!({ "PrefixList": expected("delete-complete") })
        );
        let imported = Imported { list: id, added: 3, removed: 2, repeated: 1 };
        assert_eq!(
            document(|out| prefix_list_imported(out, Output::Json, list, imported)),
            json!({ "PrefixList": expected("modify-complete"), "added": 3, "removed": 2, "repeated": 1 })
        );
    }

    #[test]
    fn a29_a30_entries_of_a_version_and_who_names_the_list() {
        let (state, id) = list();
        let list = &state.prefix_lists[&id];
        assert_eq!(
            document(|out| prefix_list_shown(out, Output::Json, &state, list, 1)),
            json!({
                "PrefixLists": [expected("modify-complete")],
                "Entries": [
                    { "Cidr": "10.0.0.0/8" },
                    { "Cidr": "192.0.2.0/24", "Description": "Main office" },
                ],
                "PrefixListAssociations": [
                    { "ResourceId": "sg-00000000000000002", "ResourceOwner": "000000000000" },
                ],
            })
        );
    }

    #[test]
    fn lists_as_tables() {
        let (state, id) = list();
        let list = &state.prefix_lists[&id];
        assert_eq!(
            written(|out| prefix_lists(out, Output::Table, &state, &[id])),
            "\
ID                    NAME     FAMILY  ENTRIES  MAX  VERSION  REFERENCES
pl-00000000000000001  offices  IPv4    1        5    2        1
"
        );
        assert_eq!(
            written(|out| prefix_list_shown(out, Output::Table, &state, list, 2)),
            "\
pl-00000000000000001  offices
family       IPv4
max_entries  5
version      2 (1 to 2 are kept)
tag          Name=Offices
named by     sg-00000000000000002 (web)

CIDR          DESCRIPTION
192.0.2.0/24  Main office
"
        );
        assert_eq!(
            written(|out| prefix_list_changed(out, Output::Table, list)),
            "pl-00000000000000001 version 2, 1 of 5 entries\n"
        );
    }
}
