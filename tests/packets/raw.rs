//! Raw bytes: whatever comes in, nothing passes because it could not be understood (P-1, trap 7).
//!
//! The interface's groups have no rules at all, so that the only frames that may pass are those that P-10 exempts by
//! name. Every frame that passes is looked at again, by a reading of P-10 that shares no code with the datapath.

use sg_common::{
    Direction::{self, Egress, Ingress},
    reason::{Pass, Verdict},
};
use sg_ctl::model::{Options, Side};
use sg_tests::{
    bench::Hook,
    packet::{FragmentOf, Packet, Payload},
    rig::{Rig, Variant},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Frames of each of six runs: a million and a half together.
const FRAMES: u32 = 250_000;
/// A machine that is busy runs fewer.
const PATIENCE: Duration = Duration::from_secs(5);

/// splitmix64: the same frames in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.roll() as u8).collect()
    }
}

/// Frames that are close to something: what P-10 exempts, fragments of it, and ordinary packets.
fn seeds(local4: Ipv4Addr, local6: Ipv6Addr) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let router4 = IpAddr::from([198, 51, 100, 7]);
    let router6: IpAddr = "fe80::1".parse().expect("an address");
    for (near, far) in [(IpAddr::V4(local4), router4), (local6.into(), router6)] {
        let payloads = [
            Payload::Udp { source: 68, destination: 67 },
            Payload::Udp { source: 546, destination: 547 },
            Payload::Udp { source: 53, destination: 40_000 },
            Payload::Tcp { source: 22, destination: 40_000, flags: 2, sequence: 1, acknowledgement: 0 },
            Payload::Tcp { source: 22, destination: 40_000, flags: 16, sequence: 1, acknowledgement: 1 },
            Payload::Icmp { kind: 8, code: 0, id: 1, body: vec![0; 8] },
            Payload::Icmp { kind: 3, code: 4, id: 0, body: vec![0x45; 48] },
            Payload::Raw { protocol: 47, bytes: vec![0; 24] },
        ];
        let discovery = [130, 131, 132, 133, 134, 135, 136, 137, 143];
        let discovery = discovery.map(|kind| Payload::Icmp { kind, code: 0, id: 0, body: vec![0; 24] });
        for payload in payloads.into_iter().chain(discovery) {
            for (source, destination) in [(near, far), (far, near)] {
                let kind = match &payload {
                    Payload::Icmp { kind, .. } => *kind,
                    _ => 0,
                };
                let hop_limit = match kind {
                    130..=132 | 143 => 1,
                    _ => 255,
                };
                let turned = match (&payload, source == far) {
                    (Payload::Udp { source, destination }, true) => {
                        Payload::Udp { source: *destination, destination: *source }
                    }
                    (other, _) => other.clone(),
                };
                let plain = Packet { hop_limit, ..Packet::new(source, destination, turned) };
                let fragment = |offset, more| {
                    let fragment = Some(FragmentOf { id: 7, offset, more });
                    Packet { fragment, ..plain.clone() }.frame()
                };
                frames.extend([plain.frame(), fragment(0, true), fragment(24, false), fragment(0, false)]);
                let extensions = vec![(60, vec![0; 7]), (51, [&[4], &[0; 22][..]].concat())];
                let options = vec![1; 8];
                frames.push(Packet { extensions, options, ..plain.clone() }.frame());
                let tags = vec![(0x88a8, 3), (0x8100, 4)];
                frames.push(Packet { tags, ..plain }.frame());
            }
        }
    }
    let macs = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for kind in [0x0806u16, 0x8035, 0x88cc, 0x888e, 0x8809, 0x0026, 0x05ff, 0x0600, 0x88b5, 0x8847, 0x9100] {
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1];
        arp.extend(local4.octets());
        arp.extend([0; 28]);
        frames.push([&macs[..], &kind.to_be_bytes(), &arp].concat());
    }
    frames
}

/// A seed with some of its bytes changed, or noise.
fn frame(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    if dice.below(16) == 0 {
        let length = 14 + dice.below(120);
        let mut noise = dice.bytes(length);
        if dice.below(4) != 0 {
            let kind = dice.of(&[0x0800u16, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x88cc]);
            noise[12..14].copy_from_slice(&kind.to_be_bytes());
        }
        return noise;
    }
    let mut frame = dice.of(seeds);
    for _ in 0..dice.below(4) {
        // The headers are what matters.
        let at = dice.below(frame.len().min(100));
        match dice.below(4) {
            0 => frame[at] ^= 1 << dice.below(8),
            1 => frame[at] = dice.of(&[0, 1, 4, 5, 6, 8, 17, 44, 51, 58, 60, 64, 255]),
            2 => frame[at] = dice.roll() as u8,
            _ => {
                let (from, length) = (dice.below(frame.len()), 1 + dice.below(8));
                let moved: Vec<u8> = frame.iter().skip(from).take(length).copied().collect();
                frame.splice(at..at, moved);
            }
        }
    }
    match dice.below(8) {
        0 => frame.truncate(14 + dice.below(frame.len() - 13)),
        1 => {
            let length = dice.below(32);
            frame.extend(dice.bytes(length));
        }
        _ => {}
    }
    frame
}

/// A field of a frame; none where it ends before.
fn field<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}

/// P-10, read once more: whether this frame may pass without any rule.
fn is_exempt(side: Side, direction: Direction, frame: &[u8]) -> Option<bool> {
    let mut at = 12;
    let mut kind = u16::from_be_bytes(field(frame, at)?);
    for _ in 0..2 {
        if matches!(kind, 0x8100 | 0x88a8) {
            at += 4;
            kind = u16::from_be_bytes(field(frame, at)?);
        }
    }
    at += 2;
    match kind {
        0x0806 => Some(true),
        0x0800 => {
            let header = usize::from(field::<1>(frame, at)?[0] & 15) * 4;
            let is_udp = field::<1>(frame, at + 9)? == [17];
            let is_whole = u16::from_be_bytes(field(frame, at + 6)?) & 0x3fff == 0;
            let ports: [u8; 4] = field(frame, at + header)?;
            let dhcp: [u8; 4] = if direction == Egress { [0, 68, 0, 67] } else { [0, 67, 0, 68] };
            Some(is_udp && is_whole && ports == dhcp)
        }
        0x86dd => is_exempt6(direction, frame, at),
        0x88cc | 0x888e | 0x8809 | 0..0x600 => Some(side == Side::Host),
        _ => Some(false),
    }
}

fn is_exempt6(direction: Direction, frame: &[u8], at: usize) -> Option<bool> {
    let [mut next, hop_limit] = field(frame, at + 6)?;
    let [high, low] = field(frame, at + 8)?;
    let from_link = high == 0xfe && low & 0xc0 == 0x80;
    let mut at = at + 40;
    for _ in 0..8 {
        let [following, length] = match next {
            0 | 43 | 44 | 51 | 60 | 135 | 139 | 140 | 253 | 254 => field(frame, at)?,
            _ => break,
        };
        if next == 44 {
            // Only an atomic fragment is a whole packet.
            let [high, low] = field(frame, at + 2)?;
            if high != 0 || low & 0xf9 != 0 {
                return Some(false);
            }
        }
        at += match next {
            44 => 8,
            51 => 4 * (usize::from(length) + 2),
            _ => 8 * (usize::from(length) + 1),
        };
        next = following;
    }
    let inward = direction == Ingress;
    Some(match next {
        17 => match field::<4>(frame, at)? {
            [2, 34, 2, 35] => !inward,
            [2, 35, 2, 34] => inward && from_link,
            _ => false,
        },
        58 => match field::<2>(frame, at)? {
            [133 | 135 | 136, 0] => hop_limit == 255,
            [134 | 137, 0] => hop_limit == 255 && inward && from_link,
            [130..=132 | 143, _] => hop_limit == 1,
            _ => false,
        },
        _ => false,
    })
}

/// Sends frames through a program; says how many there were and how many passed.
fn throw(rig: &Rig, seed: u64, hook: Hook, direction: Direction) -> (u32, u32) {
    let IpAddr::V4(local4) = rig.local else { panic!("the rig is one of IPv4") };
    let seeds = seeds(local4, "2001:db8::1".parse().expect("an address"));
    let mut dice = Dice(seed);
    let (mut count, mut passed) = (0, 0);
    let start = Instant::now();
    while count < FRAMES && (count % 1024 != 0 || start.elapsed() < PATIENCE) {
        let frame = frame(&mut dice, &seeds);
        let Some(passes) = rig.bench.run(rig.eni, hook, direction, &frame) else { continue };
        count += 1;
        if passes {
            passed += 1;
            assert_eq!(
                is_exempt(rig.variant.side, direction, &frame),
                Some(true),
                "{:?} {hook:?} {direction:?} passes {frame:02x?}",
                rig.variant.side
            );
        }
    }
    (count, passed)
}

fn raw_bytes(side: Side) {
    let options = Options { no_exempt_link_local: true, no_source_dest_check: true, ..Options::default() };
    let mut rig = Rig::new(Variant { v6: false, hook: Hook::Tc, side }, options);
    rig.revoke_all();
    let received = if side == Side::Host { Ingress } else { Egress };
    let runs = [(received, Hook::Xdp), (received, Hook::Tc), (received.opposite(), Hook::Tc)];
    for (seed, (direction, hook)) in runs.into_iter().enumerate() {
        let counted = |rig: &Rig| -> (u64, u64) {
            let of = |verdict| rig.bench.count(rig.eni, direction, verdict);
            (Verdict::all().map(of).sum(), of(Verdict::Pass(Pass::Exempt)))
        };
        let before = counted(&rig);
        let (count, passed) = throw(&rig, seed as u64, hook, direction);
        let after = counted(&rig);
        println!("{side:?} {direction:?} {hook:?}: {count} frames, {passed} exempt");
        assert!(passed > 0 && passed < count, "a test that sees both");
        // Every frame has a reason, and the only one to pass is the exemption.
        assert_eq!(after.0 - before.0, u64::from(count));
        assert_eq!(after.1 - before.1, u64::from(passed));
    }
    assert_eq!(rig.bench.entries(), 0, "and nothing makes an entry");
}

#[test]
fn trap7_p1_p10_p12_of_raw_bytes_only_what_is_exempt_passes_on_the_host_side() {
    raw_bytes(Side::Host);
}

#[test]
fn trap7_p1_p10_p12_of_raw_bytes_only_what_is_exempt_passes_on_the_guest_side() {
    raw_bytes(Side::Guest);
}
