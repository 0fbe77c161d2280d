//! Devices and frames as the kernel makes them: tags in skb metadata, no link layer, jumbo and super-packets, headers
//! outside the linear part. A test run can show the programs none of these.

use sg_tests::{
    ctl::{Ctl, Lab, expect_counts},
    frames::put,
    net::{ANSWER, Connection, FAMILIES, IFACE, Namespace, PEER, V4, V6, run},
    packet::{Packet, Payload},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    thread,
};

/// Much, and then the other end has all of it.
const LENGTH: usize = 1 << 20;

/// Wire bytes of what came in, without what is exempt.
fn bytes(lab: &Lab) -> u64 {
    let ingress = lab.ctl.json("counters")["interfaces"][0]["ingress"].clone();
    let of = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
    of(&ingress["allowed_bytes"]) - of(&ingress["allowed"]["exempt"]["bytes"]) + of(&ingress["dropped_bytes"])
}

/// Whoever receives a frame with a tag has the kernel move it beside the frame before TC (`skb_vlan_untag`), while XDP
/// sees it in its place. The tag that it stands on stays in the frame.
#[test]
fn trap8_p13_tags_in_skb_metadata_are_looked_through_as_those_in_the_frame() {
    let (outer, inner) = ((0x88a8, 9), (0x8100, 5));
    for mode in ["tc", "generic", "native"] {
        let lab = Lab::new();
        lab.ctl
            .group("web", &["ingress --protocol udp --port 53 --cidr 203.0.113.1/32 --cidr 2001:db8::1/128"]);
        lab.attach(&format!("--group web --mode {mode}"));
        for family in FAMILIES {
            let mut source = 50_000;
            for tags in [vec![], vec![inner], vec![outer, inner], vec![outer, inner, inner]] {
                for (from, admitted) in [(family.admin, "ingress.new"), (family.other, "ingress.no_rule")] {
                    source += 1;
                    let packet = Packet::new(from, family.host, Payload::Udp { source, destination: 53 });
                    let frame = Packet { tags: tags.clone(), ..packet }.frame();
                    let before = bytes(&lab);
                    let ((), counted) = lab.ctl.counting(|| put(&lab.client, PEER, &frame));
                    let expected = if tags.len() > 2 { "ingress.malformed" } else { admitted };
                    // An untagged one arrives where nobody listens, and is answered by an error about its flow.
                    let inward: Vec<_> =
                        counted.into_iter().filter(|(name, _)| name.starts_with("ingress")).collect();
                    expect_counts(&inward, &[(expected, 1)]);
                    assert_eq!(
                        bytes(&lab) - before,
                        frame.len() as u64,
                        "{mode} {tags:?}: bytes on the wire"
                    );
                }
            }
        }
    }
}

/// A tun device, and what its far end sends and hears.
struct Tun {
    end: File,
    /// With a virtio header of ten bytes before each packet.
    has_header: bool,
}

impl Tun {
    fn new(namespace: &Namespace, name: &str, has_header: bool) -> Self {
        const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
        const IFF_TUN: i16 = 1;
        const IFF_NO_PI: i16 = 0x1000;
        const IFF_VNET_HDR: i16 = 0x4000;
        let open = || {
            let end = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
            let mut request = [0u8; 40];
            request[..name.len()].copy_from_slice(name.as_bytes());
            let flags = IFF_TUN | IFF_NO_PI | if has_header { IFF_VNET_HDR } else { 0 };
            request[16..18].copy_from_slice(&flags.to_ne_bytes());
            // SAFETY: an open descriptor and a `struct ifreq` that outlives the call.
            match unsafe { libc::ioctl(end.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) } {
                0 => Ok(end),
                _ => Err(io::Error::last_os_error()),
            }
        };
        let end = namespace.inside(open).expect("a tun device can be made");
        namespace.ip(&format!("address add 10.0.0.1/24 dev {name}"));
        namespace.ip(&format!("address add 2001:db8:6::1/64 dev {name} nodad"));
        namespace.ip(&format!("link set {name} up"));
        Self { end, has_header }
    }

    /// Gives the device another link type, by its ARPHRD number.
    fn becomes(&self, namespace: &Namespace, name: &str, kind: libc::c_int) {
        const TUNSETLINK: libc::c_ulong = 0x4004_54cd;
        namespace.ip(&format!("link set {name} down"));
        // SAFETY: an open descriptor, and an argument that is no pointer.
        let done = unsafe { libc::ioctl(self.end.as_raw_fd(), TUNSETLINK, kind) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }

    /// The device receives this packet. The kernel is told that so many bytes are headers, which it makes linear.
    fn receives(&mut self, packet: &[u8], linear: u16) {
        let mut written = Vec::new();
        if self.has_header {
            written.extend([0, 0]);
            written.extend(linear.to_le_bytes());
            written.extend([0; 6]);
        }
        written.extend(packet);
        self.end.write_all(&written).expect("a tun device that is up takes a packet");
    }
}

fn tun_lab(has_header: bool) -> (Ctl, Tun, Namespace) {
    let host = Namespace::new("tun");
    let tun = Tun::new(&host, "sgtun", has_header);
    let ctl = Ctl::new(&host);
    ctl.bare_group(
        "web",
        &[
            "ingress --protocol tcp --port 22 --cidr 10.0.0.7/32 --cidr 2001:db8:6::7/128",
            "egress --protocol udp --port 53 --cidr 10.0.0.7/32 --cidr 2001:db8:6::7/128",
        ],
    );
    (ctl, tun, host)
}

const TUN: [(&str, &str); 2] = [("10.0.0.1", "10.0.0.7"), ("2001:db8:6::1", "2001:db8:6::7")];

fn syn(local: IpAddr, remote: IpAddr, port: u16) -> Packet {
    let payload =
        Payload::Tcp { source: 40_000, destination: port, flags: 2, sequence: 1, acknowledgement: 0 };
    Packet::new(remote, local, payload)
}

/// What was counted inward since, which must be one packet.
#[track_caller]
fn judged_once(ctl: &Ctl, work: impl FnOnce()) -> String {
    let before = ctl.judged("sgtun");
    work();
    let after = ctl.judged("sgtun");
    let risen: Vec<_> = after
        .iter()
        .filter(|(name, count)| {
            name.starts_with("ingress") && **count > before.get(*name).copied().unwrap_or(0)
        })
        .map(|(name, count)| (name.clone(), count - before.get(name).copied().unwrap_or(0)))
        .collect();
    assert!(matches!(&risen[..], [(_, 1)]), "{risen:?}");
    risen.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn p21_explain_knows_devices_without_link_layer() {
    let (ctl, _tun, _host) = tun_lab(false);
    ctl.json("attach sgtun --adopt none --group web");
    for (_, remote) in TUN {
        for (line, verdict) in [
            ("ingress --protocol tcp --port 22", "allow"),
            ("ingress --protocol tcp --port 23", "drop"),
            ("egress --protocol udp --port 53", "allow"),
            ("egress --protocol udp --port 54", "drop"),
        ] {
            assert_eq!(
                ctl.json(&format!("explain sgtun {line} --remote {remote}"))["verdict"],
                verdict,
                "{line}"
            );
        }
    }
}

#[test]
fn p21_a_device_without_link_layer_is_judged_at_tc() {
    let (ctl, mut tun, host) = tun_lab(false);
    assert_eq!(ctl.refused("attach sgtun --group web --mode native").code, "UnsupportedDevice");
    assert_eq!(ctl.refused("attach sgtun --group web --mode generic").code, "UnsupportedDevice");
    ctl.json("attach sgtun --adopt none --group web");
    assert_eq!(ctl.json("status")["interfaces"][0]["mode"], "tc");
    for (local, remote) in TUN.map(|(local, remote)| (local.parse().unwrap(), remote.parse().unwrap())) {
        let received =
            |tun: &mut Tun, packet: &Packet| judged_once(&ctl, || tun.receives(&packet.network(), 0));
        assert_eq!(received(&mut tun, &syn(local, remote, 23)), "ingress.no_rule");
        assert_eq!(received(&mut tun, &syn(local, remote, 22)), "ingress.new");
        let answer = Packet::new(remote, local, Payload::Udp { source: 53, destination: 50_000 });
        assert_eq!(received(&mut tun, &answer), "ingress.no_rule", "nobody asked");
        // What the host sends is parsed from the network header, too.
        let asks = host.udp(SocketAddr::new(local, 50_000));
        asks.send_to(b"question", SocketAddr::new(remote, 53)).expect("the query is admitted");
        let mut heard = [0; 2048];
        loop {
            let length = tun.end.read(&mut heard).expect("a packet arrives");
            // The kernel's own discovery comes first.
            if heard[..length].ends_with(b"question") {
                break;
            }
        }
        assert_eq!(received(&mut tun, &answer), "ingress.tracked");
        let mut lying = syn(local, remote, 22);
        lying.cut = Some(10);
        assert_eq!(received(&mut tun, &lying), "ingress.malformed");
    }
}

#[test]
fn trap9_headers_outside_the_linear_part_are_read() {
    let (ctl, mut tun, _host) = tun_lab(true);
    ctl.json("attach sgtun --adopt none --group web");
    for (local, remote) in TUN.map(|(local, remote)| (local.parse().unwrap(), remote.parse().unwrap())) {
        for (port, expected) in [(22, "ingress.new"), (23, "ingress.no_rule")] {
            let mut packet = syn(local, remote, port).network();
            // More than a page, or the kernel makes all of it linear.
            packet.resize(8_000, 0);
            let (at, header) = if local.is_ipv4() { (2, 0) } else { (4, 40) };
            let length = (packet.len() - header) as u16;
            packet[at..at + 2].copy_from_slice(&length.to_be_bytes());
            assert_eq!(judged_once(&ctl, || tun.receives(&packet, 1)), expected, "{local} {port}");
        }
    }
}

#[test]
fn p21_other_devices_are_refused_by_name() {
    let host = Namespace::new("other");
    let ctl = Ctl::new(&host);
    let refused = ctl.refused("attach lo");
    assert_eq!(refused.code, "UnsupportedDevice");
    assert!(refused.message.contains("lo"), "{}", refused.message);
    // A tun device that says it is FireWire: packets that begin with neither Ethernet nor IP.
    const FIREWIRE: libc::c_int = 24;
    let tun = Tun::new(&host, "odd0", false);
    tun.becomes(&host, "odd0", FIREWIRE);
    let refused = ctl.refused("attach odd0");
    assert_eq!(refused.code, "UnsupportedDevice");
    assert!(refused.message.contains("odd0") && refused.message.contains("24"), "{}", refused.message);
}

/// Sends much both ways through a connection, with nothing dropped.
fn bulk(lab: &Lab, connection: &mut Connection) -> Vec<(String, u64)> {
    let ((), counted) = lab.ctl.counting(|| {
        for (from, to) in [(&connection.near, &connection.far), (&connection.far, &connection.near)] {
            thread::scope(|scope| {
                let (mut from, mut to) = (from, to);
                scope.spawn(move || from.write_all(&vec![7; LENGTH]).expect("everything is taken"));
                let mut heard = vec![0; LENGTH];
                to.set_read_timeout(Some(ANSWER)).expect("a read timeout");
                to.read_exact(&mut heard).expect("everything arrives");
            });
        }
    });
    assert!(counted.iter().all(|(reason, _)| reason.ends_with(".tracked")), "{counted:?}");
    counted
}

#[test]
fn trap39_jumbo_frames_are_judged_like_any_other() {
    for mode in ["native", "generic", "tc"] {
        let lab = Lab::new();
        lab.host.ip(&format!("link set {IFACE} mtu 9000"));
        lab.client.ip(&format!("link set {PEER} mtu 9000"));
        lab.ctl.group("web", &["ingress --protocol all --cidr 203.0.113.1/32 --cidr 2001:db8::1/128"]);
        lab.attach(&format!("--group web --mode {mode}"));
        assert_eq!(lab.ctl.json("status")["interfaces"][0]["mode"], mode);
        for family in FAMILIES {
            bulk(&lab, &mut lab.connect(family.admin, family.host, 22));
            // One datagram, one frame of more than a page or two.
            for (from, arrives) in [(family.admin, true), (family.other, false)] {
                let (asks, hears) =
                    (lab.client.udp((from, 0).into()), lab.host.udp((family.host, 53).into()));
                hears.set_read_timeout(Some(ANSWER / 4)).expect("a read timeout");
                let send = || {
                    asks.send_to(&[7; 8_900], (family.host, 53)).expect("a datagram is taken");
                    hears.recv(&mut [0; 9_000]).is_ok()
                };
                let (heard, counted) = lab.ctl.counting(send);
                assert_eq!(heard, arrives, "{mode} {from}");
                let reason = if arrives { "ingress.new" } else { "ingress.no_rule" };
                expect_counts(&counted, &[(reason, 1)]);
            }
        }
    }
}

#[test]
fn trap45_p12_super_packets_beyond_64_kib_count_their_segments() {
    let lab = Lab::new();
    // BIG TCP: IPv6 with a length of zero. Both ends, since a veth receives what the other sends.
    for (namespace, link) in [(&lab.host, IFACE), (&lab.client, PEER)] {
        run(
            "ip",
            &format!("-n {} link set {link} gso_max_size 200000 gro_max_size 200000", namespace.name()),
        );
    }
    lab.ctl.group("web", &["ingress --protocol tcp --port 22 --cidr 203.0.113.1/32 --cidr 2001:db8::1/128"]);
    lab.attach("--group web --mode tc");
    for family in [V6, V4] {
        let counted = bulk(&lab, &mut lab.connect(family.admin, family.host, 22));
        for direction in ["ingress.tracked", "egress.tracked"] {
            let packets = counted.iter().find(|(name, _)| name == direction).map_or(0, |(_, n)| *n);
            assert!(packets >= (LENGTH / 1500) as u64, "wire packets, not {counted:?}");
        }
    }
}
