//! Interfaces that are enforced elsewhere: known here as members of their groups, by their addresses alone (P-17).

use super::{interface, vpc};
use crate::{
    error::{Refusal, Result},
    model::{EniId, Interface, State, Tags},
};
use std::{collections::BTreeSet, net::IpAddr};

/// Characters at most in the name of a registered interface.
const MAX_NAME: usize = 255;

/// What was typed for a new member.
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// What it is called.
    pub name: String,
    /// `--address`
    pub addresses: Vec<String>,
    /// `--group`, ids or names.
    pub groups: Vec<String>,
    /// `--vpc`
    pub vpc: Option<String>,
}

/// Registers an interface. A name that is known already, registered or attached in any namespace, is refused: a command
/// that names it must mean one.
pub fn register(state: &mut State, request: &Register) -> Result<EniId> {
    let name = read_name(&request.name)?;
    let addresses = addresses(&request.addresses)?;
    if addresses.is_empty() {
        let message = "A registered interface is known by its addresses: give each with --address";
        return Err(Refusal::new("MissingParameter", message).into());
    }
    refuse_if_known(state, name)?;
    let vpc = vpc::find(state, request.vpc.as_deref())?;
    let groups = interface::resolve_groups(state, vpc, &request.groups)?;
    let owner = |address: IpAddr| state.interfaces.with_address(address).find(|eni| eni.vpc == vpc);
    let held = addresses.iter().find_map(|address| Some((address, owner(*address)?)));
    if let Some((address, eni)) = held {
        let message = format!(
            "Address {address} is in use: {} ({}) has it; an address has one owner in a VPC",
            eni.name, eni.id
        );
        return Err(Refusal::new("InvalidIPAddress.InUse", message).into());
    }
    let id = EniId::random();
    let (name, tags) = (name.to_owned(), Tags::new());
    let eni = Interface { id, name, netns: None, vpc, groups, addresses, attachment: None, tags };
    state.interfaces.insert(id, eni);
    Ok(id)
}

/// Forgets a registered interface: a reference to its groups does not mean its addresses any more.
pub fn deregister(state: &mut State, netns: Option<&str>, given: &str) -> Result<EniId> {
    let id = interface::find(state, netns, given)?;
    if let Some(eni) = state.interfaces.get(&id).filter(|eni| !eni.is_registered()) {
        let message =
            format!("{} is attached, not registered; 'sg-ctl detach {}' releases it", eni.name, eni.name);
        return Err(Refusal::new("IncorrectState", message).into());
    }
    state.interfaces.remove(&id);
    Ok(id)
}

/// A device cannot be attached under the name of a registered interface.
pub fn refuse_if_registered(state: &State, name: &str) -> Result<()> {
    match state.interfaces.named(name).find(|eni| eni.is_registered()) {
        Some(eni) => Err(known(eni).into()),
        None => Ok(()),
    }
}

pub(crate) fn refuse_if_known(state: &State, name: &str) -> Result<()> {
    match state.interfaces.named(name).next() {
        Some(eni) => Err(known(eni).into()),
        None => Ok(()),
    }
}

fn known(eni: &Interface) -> Refusal {
    let Interface { name, id, .. } = eni;
    let message = match eni.is_registered() {
        true => format!(
            "{name} is registered already, as {id}; 'sg-ctl interface set-groups {name}' changes its groups, and \
             'sg-ctl interface deregister {name}' forgets it"
        ),
        false => format!(
            "{name} is attached here, as {id}, and so a member of its groups already; register others under another name"
        ),
    };
    Refusal::new("IncorrectState", message)
}

pub(crate) fn read_name(typed: &str) -> Result<&str> {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace();
    let fits = (1..=MAX_NAME).contains(&typed.chars().count());
    if fits && typed.chars().all(is_plain) && !EniId::is_meant_by(typed) {
        return Ok(typed);
    }
    let message = format!(
        "'{typed}' is no name for an interface: 1 to {MAX_NAME} characters without blanks, not beginning with 'eni-'"
    );
    Err(Refusal::invalid(message).into())
}

/// Reads member addresses as typed (P-17): sorted, each once. Those that no single host on a network has are refused.
pub fn addresses(typed: &[String]) -> Result<Vec<IpAddr>> {
    let read = |typed: &String| -> Result<IpAddr> {
        let address: IpAddr = typed.parse().map_err(|_| {
            Refusal::invalid(format!(
                "--address {typed}: not an IPv4 or IPv6 address (without a prefix length)"
            ))
        })?;
        match unfit(address) {
            Some(why) => {
                Err(Refusal::invalid(format!("--address {typed}: {why} address is never a member's")).into())
            }
            None => Ok(address),
        }
    };
    let addresses = typed.iter().map(read).collect::<Result<BTreeSet<IpAddr>>>()?;
    Ok(addresses.into_iter().collect())
}

fn unfit(address: IpAddr) -> Option<&'static str> {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if is_link_local {
        return Some("a link-local");
    }
    if address.is_unspecified() {
        return Some("the unspecified");
    }
    if address.is_loopback() {
        return Some("a loopback");
    }
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    (address.is_multicast() || is_broadcast).then_some("a multicast or broadcast")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::compile,
        ops::{
            interface::tests::attached,
            rule::{self, Content},
            testing::{group, refusal, refused, state},
        },
    };

    fn request(name: &str, addresses: &[&str], groups: &[&str]) -> Register {
        let texts = |given: &[&str]| given.iter().map(ToString::to_string).collect();
        Register { name: name.to_owned(), addresses: texts(addresses), groups: texts(groups), vpc: None }
    }

    #[test]
    fn p17_a_registered_interface_is_a_member_of_its_groups() {
        let (mut state, vpc) = state();
        group(&mut state, "db");
        attached(&mut state, "eth0", None);
        rule::add(&mut state, "default", &Content::tcp("22").with_group("db")).unwrap();
        let before = compile(&state);
        let given = request("db1", &["10.0.0.5", "fd00::5", "10.0.0.5"], &["db"]);
        let id = register(&mut state, &given).unwrap();
        let eni = &state.interfaces[&id];
        assert!(eni.is_registered());
        assert_eq!((eni.vpc, eni.addresses.len(), eni.netns.as_deref()), (vpc, 2, None));
        assert_ne!(compile(&state), before);
        for netns in [None, Some("blue")] {
            assert_eq!(interface::find(&state, netns, "db1").unwrap(), id);
        }
        // Its groups are changed as those of any other, and it can go.
        interface::set_groups(&mut state, None, "db1", &["default".to_owned()]).unwrap();
        assert_eq!(deregister(&mut state, Some("blue"), "db1").unwrap(), id);
        assert_eq!(compile(&state), before);
        assert_eq!(refusal(deregister(&mut state, None, "db1")).code, "InvalidNetworkInterfaceID.NotFound");
    }

    #[test]
    fn p17_link_local_and_other_addresses_that_nobody_has_alone_are_refused() {
        let (mut state, _) = state();
        for (address, why) in [
            ("169.254.1.1", "a link-local address is never a member's"),
            ("fe80::1", "a link-local address is never a member's"),
            ("127.0.0.1", "a loopback address is never a member's"),
            ("::", "the unspecified address is never a member's"),
            ("224.0.0.1", "a multicast or broadcast address is never a member's"),
            ("255.255.255.255", "a multicast or broadcast address is never a member's"),
            ("10.0.0.1/32", "not an IPv4 or IPv6 address (without a prefix length)"),
            ("ten", "not an IPv4 or IPv6 address (without a prefix length)"),
        ] {
            let given = request("db1", &["10.0.0.5", address], &["default"]);
            assert_eq!(
                refused(register(&mut state, &given)),
                format!("InvalidParameterValue: --address {address}: {why}")
            );
        }
        let none = refusal(register(&mut state, &request("db1", &[], &["default"])));
        assert_eq!(none.code, "MissingParameter");
        assert!(state.interfaces.is_empty());
    }

    #[test]
    fn a_name_and_an_address_mean_one_interface() {
        let (mut state, _) = state();
        attached(&mut state, "eth0", Some("blue"));
        let db = register(&mut state, &request("db1", &["10.0.0.5"], &["default"])).unwrap();
        let before = state.clone();
        for (name, address, code) in [
            ("db1", "10.0.0.6", "IncorrectState"),
            ("eth0", "10.0.0.6", "IncorrectState"),
            ("db2", "10.0.0.5", "InvalidIPAddress.InUse"),
            ("", "10.0.0.6", "InvalidParameterValue"),
            ("a b", "10.0.0.6", "InvalidParameterValue"),
            ("eni-12345678", "10.0.0.6", "InvalidParameterValue"),
        ] {
            assert_eq!(refusal(register(&mut state, &request(name, &[address], &["default"]))).code, code);
        }
        assert!(
            refused(register(&mut state, &request("db1", &["10.0.0.6"], &["default"])))
                .contains("deregister db1")
        );
        assert_eq!(refusal(refuse_if_registered(&state, "db1").map(|()| db)).code, "IncorrectState");
        assert!(refuse_if_registered(&state, "eth0").is_ok());
        let attached = refused(deregister(&mut state, Some("blue"), "eth0"));
        assert!(attached.contains("'sg-ctl detach eth0'"), "{attached}");
        assert_eq!(state, before);
    }

    #[test]
    fn m35_a72_a_registered_interface_has_groups_as_any_other() {
        let (mut state, _) = state();
        let groups: Vec<String> = (0..6).map(|n| format!("g{n}")).collect();
        for name in &groups {
            group(&mut state, name);
        }
        let given = Register { groups, ..request("db1", &["10.0.0.5"], &[]) };
        assert_eq!(refusal(register(&mut state, &given)).code, "SecurityGroupsPerInterfaceLimitExceeded");
        let unknown = request("db1", &["10.0.0.5"], &["nobody"]);
        assert_eq!(refusal(register(&mut state, &unknown)).code, "InvalidSecurityGroupID.NotFound");
    }
}
