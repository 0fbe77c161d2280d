//! `attach --vlan-aware` with real frames (P-13). The judged device is a port of a bridge, as on a host of virtual
//! machines: the kernel moves a frame's outer tag into skb metadata where the frame comes in, so in both directions
//! the programs find it there, where a test run cannot put it.

use sg_tests::{
    ctl::Lab,
    frames::put,
    net::{End, FAMILIES, Family, IFACE, Namespace, PEER, cable},
    packet::{Packet, Payload},
};

/// Tags as (EtherType, VLAN), the outer one first: one; the priority tag; two in either order.
const VLANS: [&[(u16, u16)]; 5] = [
    &[(0x8100, 5)],
    &[(0x8100, 6)],
    &[(0x8100, 0)],
    &[(0x88a8, 9), (0x8100, 5)],
    &[(0x88a8, 5), (0x8100, 9)],
];

/// Name of the link behind the bridge.
const FAR: &str = "far";

/// A bridge between [`IFACE`] and a namespace behind it.
struct Bridged {
    lab: Lab,
    far: Namespace,
}

impl Bridged {
    fn new(flags: &str) -> Self {
        let (lab, far) = (Lab::new(), Namespace::new("far"));
        let end = |namespace, link| End { namespace, link, addresses: &[] };
        cable(&end(&lab.host, "port"), &end(&far, FAR));
        // A bridge that snoops joins a group of its own, which makes IGMP reports.
        lab.host.ip("link add bridge type bridge mcast_snooping 0");
        for link in [IFACE, "port"] {
            lab.host.ip(&format!("link set {link} master bridge"));
        }
        lab.host.ip("link set bridge up");
        // Without outbound rules: answers leave as such, or not at all.
        let rule = "ingress --protocol udp --port 53 --cidr 203.0.113.1/32 --cidr 2001:db8::1/128";
        lab.ctl.bare_group("web", &[rule]);
        lab.attach(&format!("--group web --mode tc {flags}"));
        Self { lab, far }
    }

    /// The client asks port 53 behind the bridge; returns the one verdict on it.
    fn asks(&self, family: &Family, tags: &[(u16, u16)]) -> String {
        let payload = Payload::Udp { source: 40_000, destination: 53 };
        let question = Packet::new(family.admin, family.host, payload);
        self.judged(|| put(&self.lab.client, PEER, &Packet { tags: tags.to_vec(), ..question }.frame()))
    }

    /// It is answered from behind the bridge.
    fn answers(&self, family: &Family, tags: &[(u16, u16)]) -> String {
        let payload = Payload::Udp { source: 53, destination: 40_000 };
        let plain = Packet::new(family.host, family.admin, payload);
        // Each end of the bridge has a link address of its own.
        let (source_mac, destination_mac) = (plain.destination_mac, plain.source_mac);
        let answer = Packet { tags: tags.to_vec(), source_mac, destination_mac, ..plain };
        self.judged(|| put(&self.far, FAR, &answer.frame()))
    }

    fn judged(&self, put: impl FnOnce()) -> String {
        let ((), counted) = self.lab.ctl.counting(put);
        let [(verdict, 1)] = &counted[..] else { panic!("one packet, counted as {counted:?}") };
        verdict.clone()
    }

    /// The VLANs of all flows that `conntrack list` shows; none where it does not say.
    fn vlans(&self) -> Vec<Option<Vec<u16>>> {
        let flows = self.lab.ctl.flows();
        flows
            .iter()
            .map(|flow| flow.get("vlans").map(|ids| serde_json::from_value(ids.clone()).expect("ids")))
            .collect()
    }
}

#[test]
fn p13_vlan_aware_tags_in_skb_metadata_name_the_flow_in_both_directions() {
    let bridged = Bridged::new("--vlan-aware");
    for family in &FAMILIES {
        for tags in VLANS {
            assert_eq!(bridged.answers(family, tags), "egress.no_rule", "{tags:?}: nobody has asked");
            assert_eq!(bridged.asks(family, tags), "ingress.new", "{tags:?}");
            assert_eq!(bridged.answers(family, tags), "egress.tracked", "{tags:?}");
        }
        for tags in VLANS {
            assert_eq!(bridged.asks(family, tags), "ingress.tracked", "{tags:?}");
        }
        assert_eq!(bridged.answers(family, &[(0x8100, 7)]), "egress.no_rule");
        assert_eq!(bridged.answers(family, &[(0x8100, 0xa005)]), "egress.tracked", "a priority is no VLAN");
    }
    let ids: [&[u16]; 5] = [&[0], &[5], &[5, 9], &[6], &[9, 5]];
    let expected: Vec<_> = FAMILIES.iter().flat_map(|_| ids.map(|ids| Some(ids.to_vec()))).collect();
    assert_eq!(bridged.vlans(), expected);
    let table = bridged.lab.ctl.text("conntrack list");
    assert_eq!(table.matches("sg0 vlan 9.5 ").count(), FAMILIES.len(), "{table}");
}

#[test]
fn p13_without_vlan_aware_tags_in_skb_metadata_name_nothing() {
    let bridged = Bridged::new("");
    for family in &FAMILIES {
        assert_eq!(bridged.asks(family, VLANS[0]), "ingress.new");
        for tags in VLANS {
            assert_eq!(bridged.asks(family, tags), "ingress.tracked", "{tags:?}");
            assert_eq!(bridged.answers(family, tags), "egress.tracked", "{tags:?}");
        }
    }
    assert_eq!(bridged.vlans(), [None, None]);
}

#[test]
fn p13_vlan_aware_takes_the_tc_hook_and_says_why() {
    let lab = Lab::new();
    for mode in ["native", "generic"] {
        let refused = lab.ctl.refused(&format!("attach {IFACE} --vlan-aware --mode {mode}"));
        assert_eq!(refused.code, "InvalidParameterCombination");
        assert!(refused.message.contains("--vlan-aware") && refused.message.contains("--mode tc"));
    }
    for (mode, reason) in [("auto", "VLAN-aware"), ("tc", "asked for")] {
        lab.attach(&format!("--vlan-aware --mode {mode}"));
        let status = lab.ctl.json("status")["interfaces"][0].clone();
        assert_eq!(status["mode"], "tc");
        assert!(status["mode_reason"].as_str().is_some_and(|told| told.starts_with(reason)), "{status}");
        lab.ctl.json(&format!("detach {IFACE}"));
    }
}
