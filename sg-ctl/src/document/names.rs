//! How a document names objects: by name where that says which, else by id.

use crate::{
    error::{Refusal, Result},
    model::{GroupId, PrefixListId, SecurityGroup, State, VpcId},
    ops::{self, group, prefix_list},
};

/// What the default VPC may be called whether it has a name or not.
const DEFAULT: &str = "default";

/// The VPC of that id or name, or the default one where it says `default`.
///
/// # Errors
/// `InvalidVpcID.NotFound`, and `InvalidParameterValue` where several have that name.
pub fn find_vpc(state: &State, written: &str) -> Result<VpcId> {
    let default = ops::vpc::default_vpc(state).filter(|_| written.eq_ignore_ascii_case(DEFAULT));
    default.map_or_else(|| ops::vpc::find(state, Some(written)), Ok)
}

/// The group that a rule in VPC `from` means: by id, by name in that VPC, or as `vpc/group`. Names of groups may hold a
/// slash as well.
///
/// # Errors
/// `InvalidGroup.NotFound`, and `InvalidParameterValue` where both readings mean a group.
pub fn find_group(state: &State, from: VpcId, written: &str) -> Result<GroupId> {
    let own = group::find(state, from, written);
    let across = written.split_once('/').and_then(|(vpc, group)| {
        let vpc = find_vpc(state, vpc).ok()?;
        group::find(state, vpc, group).ok().filter(|_| !GroupId::is_meant_by(group))
    });
    match (own, across) {
        (Ok(own), Some(across)) if own != across => {
            let message =
                format!("'{written}' is the name of a group and of one of another VPC; give the id");
            Err(Refusal::invalid(message).into())
        }
        (own, None) => own,
        (_, Some(across)) => Ok(across),
    }
}

/// What to write for a VPC.
#[must_use]
pub fn vpc(state: &State, id: VpcId) -> String {
    let Some(vpc) = state.vpcs.get(&id) else { return id.to_string() };
    // What stands before the first slash of `vpc/group` is the VPC.
    let name = vpc.name().filter(|name| !name.contains('/'));
    let candidates = name.into_iter().chain(vpc.is_default.then_some(DEFAULT));
    let found = candidates.into_iter().find(|name| find_vpc(state, name).is_ok_and(|found| found == id));
    found.map_or_else(|| id.to_string(), str::to_owned)
}

/// What to write for a group in a rule of VPC `from`.
#[must_use]
pub fn group(state: &State, from: VpcId, id: GroupId) -> String {
    let Some(group) = state.groups.get(&id) else { return id.to_string() };
    let written = match group.vpc == from {
        true => group.name.clone(),
        false => full_group(state, id),
    };
    match find_group(state, from, &written) {
        Ok(found) if found == id => written,
        _ => id.to_string(),
    }
}

/// `vpc/group`, for people.
#[must_use]
pub fn full_group(state: &State, id: GroupId) -> String {
    let full = |group: &SecurityGroup| format!("{}/{}", vpc(state, group.vpc), group.name);
    state.groups.get(&id).map_or_else(|| id.to_string(), full)
}

/// What to write for a prefix list.
#[must_use]
pub fn list(state: &State, id: PrefixListId) -> String {
    let name = state.prefix_lists.get(&id).map(|list| list.name.as_str());
    let name = name.filter(|name| prefix_list::find(state, name).is_ok_and(|found| found == id));
    name.map_or_else(|| id.to_string(), str::to_owned)
}
