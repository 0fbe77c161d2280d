//! Answers of `sg-ctl interface …` and of `detach`.

use super::{
    Output, ec2, json,
    table::{Table, escape},
};
use crate::model::{EniId, State};
use serde::Serialize;
use serde_json::json;
use std::io::{self, Write};

/// `interface list`, `interface show`, `interface set-groups`
pub fn interfaces(out: &mut impl Write, output: Output, state: &State, ids: &[EniId]) -> io::Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct NetworkInterfaces<'a> {
        network_interfaces: Vec<ec2::NetworkInterface<'a>>,
    }
    let interfaces = ids.iter().filter_map(|id| state.interfaces.get(id));
    if output == Output::Json {
        let network_interfaces =
            interfaces.map(|interface| ec2::NetworkInterface::new(state, interface)).collect();
        return json(out, &NetworkInterfaces { network_interfaces });
    }
    let mut table = Table::new(&["NAME", "NETNS", "ID", "ENFORCED", "GROUPS", "ADDRESSES"]);
    for interface in interfaces {
        let names = interface.groups.iter().map(|id| state.groups.get(id).map_or("", |group| &group.name));
        let addresses: Vec<_> = interface.addresses.iter().map(ToString::to_string).collect();
        table.row([
            interface.name.clone(),
            interface.netns.clone().unwrap_or_default(),
            interface.id.to_string(),
            if interface.is_registered() { "elsewhere" } else { "here" }.to_owned(),
            names.collect::<Vec<_>>().join(", "),
            addresses.join(", "),
        ]);
    }
    table.write(out)
}

/// `interface register`
pub fn registered(out: &mut impl Write, output: Output, state: &State, id: EniId) -> io::Result<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Created<'a> {
        network_interface: Option<ec2::NetworkInterface<'a>>,
    }
    let registered = state.interfaces.get(&id);
    match output {
        Output::Table => writeln!(out, "{id}"),
        Output::Json => {
            let network_interface = registered.map(|eni| ec2::NetworkInterface::new(state, eni));
            json(out, &Created { network_interface })
        }
    }
}

/// `interface deregister`
pub fn deregistered(out: &mut impl Write, output: Output, name: &str, id: EniId) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "deregistered {} ({id})", escape(name)),
        Output::Json => json(out, &json!({ "Return": true, "name": name, "eni_id": id })),
    }
}

/// `detach`
pub fn detached(out: &mut impl Write, output: Output, name: &str, id: EniId) -> io::Result<()> {
    match output {
        Output::Table => writeln!(out, "detached {} ({id})", escape(name)),
        Output::Json => json(out, &json!({ "Return": true, "name": name, "eni_id": id })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::testing::{document, fixture, written};

    #[test]
    fn interfaces_as_a_table() {
        let (state, _, eni) = fixture();
        assert_eq!(
            written(|out| interfaces(out, Output::Table, &state, &[eni])),
            "\
NAME  NETNS  ID                     ENFORCED  GROUPS  ADDRESSES
eth0  -      eni-00000000000000001  here      web     10.0.0.1, 2001:db8::1
"
        );
    }

    #[test]
    fn interfaces_as_ec2_prints_them() {
        let (state, _, eni) = fixture();
        assert_eq!(
            document(|out| interfaces(out, Output::Json, &state, &[eni])),
            json!({ "NetworkInterfaces": [{
                "NetworkInterfaceId": "eni-00000000000000001",
                "name": "eth0",
                "netns": null,
                "Status": "in-use",
                "VpcId": "vpc-00000000000000001",
                "OwnerId": "000000000000",
                "Groups": [{ "GroupId": "sg-00000000000000002", "GroupName": "web" }],
                "MacAddress": "02:00:00:00:00:01",
                "PrivateIpAddress": "10.0.0.1",
                "PrivateIpAddresses": [{ "Primary": true, "PrivateIpAddress": "10.0.0.1" }],
                "Ipv6Addresses": [{ "Ipv6Address": "2001:db8::1" }],
                "SourceDestCheck": true,
                "TagSet": [],
            }] })
        );
    }

    #[test]
    fn t24_timeouts_are_shown_where_they_were_set() {
        let (mut state, _, eni) = fixture();
        let set = &mut state.interfaces.get_mut(&eni).unwrap().attachment.as_mut().unwrap().timeouts;
        set.tcp_established = Some(432_000);
        let printed = |state: &State| {
            let document = document(|out| interfaces(out, Output::Json, state, &[eni]));
            document["NetworkInterfaces"][0]["ConnectionTrackingConfiguration"].clone()
        };
        assert_eq!(printed(&state), json!({ "TcpEstablishedTimeout": 432_000 }));
        let set = &mut state.interfaces.get_mut(&eni).unwrap().attachment.as_mut().unwrap().timeouts;
        (set.udp, set.udp_stream) = (Some(60), Some(60));
        assert_eq!(
            printed(&state),
            json!({ "TcpEstablishedTimeout": 432_000, "UdpTimeout": 60, "UdpStreamTimeout": 60 })
        );
    }

    #[test]
    fn a_device_without_addresses_has_empty_arrays() {
        let (mut state, _, eni) = fixture();
        let interface = state.interfaces.get_mut(&eni).unwrap();
        interface.addresses.clear();
        interface.attachment.as_mut().unwrap().mac = [0; 6];
        let printed = document(|out| interfaces(out, Output::Json, &state, &[eni]));
        let printed = &printed["NetworkInterfaces"][0];
        assert_eq!(printed["PrivateIpAddresses"], json!([]));
        assert_eq!(printed["Ipv6Addresses"], json!([]));
        assert!(printed.get("PrivateIpAddress").is_none() && printed.get("MacAddress").is_none());
    }

    #[test]
    fn a_registered_interface_is_available() {
        let (mut state, _, eni) = fixture();
        state.interfaces.get_mut(&eni).unwrap().attachment = None;
        let printed = document(|out| registered(out, Output::Json, &state, eni));
        let printed = &printed["NetworkInterface"];
        assert_eq!(printed["Status"], "available");
        assert_eq!(printed["Groups"][0]["GroupName"], "web");
        assert!(printed.get("MacAddress").is_none(), "{printed}");
        let table = written(|out| interfaces(out, Output::Table, &state, &[eni]));
        assert!(table.lines().nth(1).unwrap().contains(" elsewhere "), "{table}");
        assert_eq!(written(|out| registered(out, Output::Table, &state, eni)), "eni-00000000000000001\n");
        assert_eq!(
            written(|out| deregistered(out, Output::Table, "eth0", eni)),
            "deregistered eth0 (eni-00000000000000001)\n"
        );
    }

    #[test]
    fn detaching() {
        let (_, _, eni) = fixture();
        assert_eq!(
            written(|out| detached(out, Output::Table, "eth0", eni)),
            "detached eth0 (eni-00000000000000001)\n"
        );
        assert_eq!(
            document(|out| detached(out, Output::Json, "eth0", eni)),
            json!({ "Return": true, "name": "eth0", "eni_id": "eni-00000000000000001" })
        );
    }
}
