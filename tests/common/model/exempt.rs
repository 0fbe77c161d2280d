//! What the rules do not govern (P-10), and frames that are not IP.

use super::{
    DropClass, Outcome, PassClass,
    packet::{Content, NonIp, Packet, Part},
    policy::{Settings, is_link_local},
    source,
};
use sg_ctl::model::{Direction, Side};

const ARP: u16 = 0x0806;
/// Slow protocols (LACP), EAPOL, LLDP.
const LINK_PROTOCOLS: [u16; 3] = [0x8809, 0x888e, 0x88cc];
/// Below it the field is the length of an 802.2 frame (STP).
const FIRST_ETHERTYPE: u16 = 0x600;

/// The verdict on a frame that is neither IPv4 nor IPv6. ARP passes, but a guest must send as itself (P-20).
pub(super) fn judge_non_ip(settings: &Settings, frame: &NonIp<'_>) -> Outcome {
    let is_host = settings.side() == Side::Host;
    if frame.ethertype == ARP {
        let checked =
            !is_host && frame.direction == Direction::Egress && !settings.options().no_source_dest_check;
        return match checked.then(|| source::arp_sender_is_own(settings, frame)) {
            None | Some(Some(true)) => Outcome::Pass(PassClass::Exempt),
            Some(Some(false)) => Outcome::Drop(DropClass::SpoofedSource),
            Some(None) => Outcome::Drop(DropClass::Malformed),
        };
    }
    let is_link_protocol = LINK_PROTOCOLS.contains(&frame.ethertype) || frame.ethertype < FIRST_ETHERTYPE;
    if is_host && is_link_protocol {
        Outcome::Pass(PassClass::Exempt)
    } else if is_host && settings.options().non_ip_pass {
        Outcome::Pass(PassClass::NonIp)
    } else {
        Outcome::Drop(DropClass::NonIp)
    }
}

/// Whether an IP packet passes without a look at the rules. Only whole datagrams do.
pub(super) fn is_exempt(settings: &Settings, packet: &Packet<'_>) -> bool {
    packet.part == Part::Whole
        && match packet.content {
            Content::Udp { source, destination } => {
                !settings.options().no_exempt_dhcp && is_dhcp(packet, source, destination)
            }
            Content::Icmp(icmp) if packet.is_ipv6() => {
                is_neighbour_discovery(packet, icmp.kind, icmp.code)
                    || is_listener_discovery(packet, icmp.kind)
            }
            _ => false,
        }
}

/// The client's part of DHCP: its requests outward, the server's answers inward.
fn is_dhcp(packet: &Packet<'_>, source: u16, destination: u16) -> bool {
    match (packet.is_ipv6(), packet.direction) {
        (false, Direction::Egress) => (source, destination) == (68, 67),
        (false, Direction::Ingress) => (source, destination) == (67, 68),
        (true, Direction::Egress) => (source, destination) == (546, 547),
        (true, Direction::Ingress) => (source, destination) == (547, 546) && is_link_local(packet.source),
    }
}

fn is_neighbour_discovery(packet: &Packet<'_>, kind: u8, code: u8) -> bool {
    let by_router = packet.direction == Direction::Ingress && is_link_local(packet.source);
    packet.hop_limit == 255
        && code == 0
        && match kind {
            133 | 135 | 136 => true,
            134 | 137 => by_router,
            _ => false,
        }
}

fn is_listener_discovery(packet: &Packet<'_>, kind: u8) -> bool {
    packet.hop_limit == 1 && matches!(kind, 130..=132 | 143)
}
