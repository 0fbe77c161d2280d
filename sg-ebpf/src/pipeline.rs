//! The story of a packet: parse, fragment, exempt, untracked, flow entry, rules, create (P-1).
//!
//! The first stage that decides, decides. Nothing passes because it could not be understood.

use crate::{
    config::Config,
    cursor, events, exempt,
    flows::{self, Part},
    fragments,
    maps::{self, Tables},
    observe, rules, source,
    untracked::{self, Open},
};
use sg_common::{
    Direction,
    event::seen,
    flow::Flow,
    packet::{self, Cursor, Fragment, Link, Network, Transport},
    policy::{PASS_NON_IP, POLICY_PRESENT, Policy},
    reason::{Drop, Pass},
    vlan::Vlans,
    wire::{ethertype, protocol},
};

/// A frame as a hook hands it over.
#[derive(Clone, Copy)]
pub struct Frame<C> {
    /// Its bytes.
    pub cursor: C,
    /// Seen from the instance.
    pub direction: Direction,
    /// Where the device has no link layer; host order.
    pub ethertype: u16,
    /// VLAN tags that are in skb metadata and not in the frame.
    pub tags: u32,
    /// Theirs, where the interface is VLAN-aware.
    pub vlans: Vlans,
    /// Wire packets in it: more than one in a GSO super-packet.
    pub segments: u32,
    /// It is such a super-packet, whose length field may be 0.
    pub gso: bool,
}

/// What every stage looks at.
pub struct Scene<A: Tables> {
    /// This program instance.
    pub config: Config,
    /// The live generation as this packet read it.
    pub generation: u64,
    /// The interface's policy in it.
    pub policy: &'static Policy,
    /// Seen from the instance.
    pub direction: Direction,
    /// The packet, in this processor's scratch memory.
    pub packet: &'static mut Packet<A>,
}

impl<A: Tables> Scene<A> {
    /// The interface's end: destination inward, source outward.
    #[inline(always)]
    pub fn local(&self) -> A {
        self.packet.network.ends(self.direction).0
    }

    /// The far end.
    #[inline(always)]
    pub fn remote(&self) -> A {
        self.packet.network.ends(self.direction).1
    }

    /// Local port of TCP and UDP.
    #[inline(always)]
    pub fn local_port(&self) -> u16 {
        self.packet.transport.ports(self.direction).0
    }

    /// Remote port of TCP and UDP.
    #[inline(always)]
    pub fn remote_port(&self) -> u16 {
        self.packet.transport.ports(self.direction).1
    }
}

/// A packet as the stages see it. It lies in a per-CPU map: a program's stack is 512 bytes, and with IPv6 addresses
/// and flow keys this would take most of them.
#[repr(C)]
pub struct Packet<A: Tables> {
    /// Key of its flow.
    pub key: A::FlowKey,
    /// A flow under construction.
    pub flow: Flow,
    /// Network header.
    pub network: Network<A>,
    /// Transport header.
    pub transport: Transport,
    /// VLANs that its flow is in; none unless the interface is VLAN-aware.
    pub vlans: Vlans,
    /// What it is to the flow table.
    pub part: Part,
    /// Whether its ports are open to the world.
    pub open: Open,
    /// What an ICMP error quotes.
    pub quote: Quote<A>,
    /// Wire packets.
    pub packets: u64,
    /// Bytes of them all from layer 2.
    pub bytes: u64,
    /// What the stages found that somebody may want to hear: [`sg_common::event::note`].
    pub notes: u32,
    /// With [`sg_common::event::note::RULES`]: the class that CIDR blocks, or else all addresses, have.
    pub class: u32,
}

/// The flow that an ICMP error is about, seen from the interface.
#[repr(C)]
pub struct Quote<A> {
    /// The packet is an error, and its quote names a flow.
    pub present: bool,
    /// The quoted packet's protocol.
    pub protocol: u8,
    /// The interface's end.
    pub local: A,
    /// The far end.
    pub remote: A,
    /// Ports as they stand in the quote, or type and identifier.
    pub transport: Transport,
}

/// The verdict on a frame, and the bytes it has on the wire.
pub struct Judgement {
    /// With its reason.
    pub verdict: Result<Pass, Drop>,
    /// From layer 2, over all segments.
    pub bytes: u64,
    /// Where what is known of it lies: [`seen`].
    pub seen: u32,
}

/// Judges a frame.
#[inline(always)]
pub fn judge<C: Cursor>(config: Config, frame: &Frame<C>) -> Judgement {
    let mut bytes = frame.cursor.wire_len() as u64 + u64::from(frame.tags) * 4;
    let mut seen = seen::NOTHING;
    let mut verdict = link(config, frame, &mut bytes, &mut seen);
    if verdict.is_err() && observe::spares(config) {
        verdict = Ok(Pass::Observed);
    }
    Judgement { verdict, bytes, seen }
}

#[inline(always)]
fn link<C: Cursor>(config: Config, frame: &Frame<C>, bytes: &mut u64, seen: &mut u32) -> Result<Pass, Drop> {
    let link = if config.no_link_layer {
        Link { ethertype: frame.ethertype, offset: 0, vlans: Vlans::NONE }
    } else {
        packet::link(frame.cursor, frame.tags, config.vlan_aware.then_some(frame.vlans))?
    };
    *seen = u32::from(link.ethertype) << 16 | seen::NOTHING;
    let generation = maps::live_word();
    let policy = maps::policy(generation, config.slot).ok_or(Drop::NoPolicy)?;
    if policy.flags & POLICY_PRESENT == 0 {
        return Err(Drop::NoPolicy);
    }
    match link.ethertype {
        ethertype::IPV4 => ip::<u32, C>(config, generation, policy, frame, link, (bytes, seen)),
        ethertype::IPV6 => ip::<[u32; 4], C>(config, generation, policy, frame, link, (bytes, seen)),
        ethertype::ARP => source::arp(config, generation, policy, frame, link),
        kind if !config.guest && exempt::is_link_control(kind) => Ok(Pass::Exempt),
        _ if !config.guest && policy.flags & PASS_NON_IP != 0 => Ok(Pass::NonIp),
        _ => Err(Drop::NonIp),
    }
}

#[inline(always)]
fn ip<A: Tables, C: Cursor>(
    config: Config,
    generation: u64,
    policy: &'static Policy,
    frame: &Frame<C>,
    link: Link,
    (bytes, seen): (&mut u64, &mut u32),
) -> Result<Pass, Drop> {
    let network = A::network(frame.cursor, link.offset, frame.gso, None)?;
    let transport = packet::transport(frame.cursor, &network)?;
    // Every segment of a super-packet has the headers anew.
    let headers = network.transport as u64 + u64::from(transport.length);
    *bytes += (u64::from(frame.segments) - 1) * (headers + u64::from(frame.tags) * 4);
    // In registers, before anything is written. Those of two IPv6 addresses would take more stack than there is.
    let is_in_registers = A::INDEX == 0;
    let direction = frame.direction;
    let open = untracked::open::<A>(policy, network.protocol, transport.ports(direction));
    // Who listens wants to hear of such packets as well: they then go the longer way.
    if is_in_registers
        && !events::is_heard()
        && untracked::passes_at_sight(config, policy, direction, &network, &transport, open)
    {
        *seen = seen::AT_SIGHT;
        return Ok(Pass::Untracked);
    }
    let packet = A::scratch().ok_or(Drop::NoPolicy)?;
    *seen = u32::from(link.ethertype) << 16 | if is_in_registers { seen::IPV4 } else { seen::IPV6 };
    packet.network = network;
    packet.transport = transport;
    packet.open = open;
    packet.vlans = link.vlans;
    packet.packets = u64::from(frame.segments);
    packet.bytes = *bytes;
    packet.notes = 0;
    if !is_in_registers {
        cursor::forget_registers();
        let (network, transport) = (&packet.network, &packet.transport);
        if untracked::passes_at_sight(config, policy, direction, network, transport, packet.open) {
            return Ok(Pass::Untracked);
        }
    }
    let mut scene = Scene { config, generation, policy, direction, packet };
    flows::read_quote(&mut scene, frame.cursor);
    source::check(&scene, frame.cursor)?;
    // All that was parsed lies in scratch memory now, and nothing below looks at the packet's bytes.
    cursor::forget_registers();

    if observe::is_on(config, policy) {
        observe::see(&mut scene);
        return Ok(Pass::Observed);
    }
    if scene.packet.network.fragment == Fragment::Later {
        return fragments::follow(&scene, &config.clock());
    }
    let pass = datagram(&mut scene)?;
    if scene.packet.network.fragment == Fragment::First {
        fragments::remember(&scene, &config.clock());
    }
    Ok(pass)
}

/// A whole datagram, or the first fragment of one.
#[inline(always)]
fn datagram<A: Tables>(scene: &mut Scene<A>) -> Result<Pass, Drop> {
    if exempt::is_exempt(scene) {
        return Ok(Pass::Exempt);
    }
    let clock = scene.config.clock();
    scene.packet.part = flows::identify(scene);
    cursor::forget_registers();
    let (part, open) = (scene.packet.part, scene.packet.open);

    if part == Part::Error && flows::is_related(scene, &clock) {
        return Ok(Pass::Related);
    }
    // A SYN is judged by the rules whether or not there is an entry, so that one that they refuse need not look for it.
    let is_judged_first = part == Part::Syn && !open.any();
    // Of TCP most packets have an entry, and to ask the hint bits first would be for nothing.
    let is_hinted = open.any() || scene.packet.network.protocol == protocol::UDP;
    let mut entry = None;
    if part.has_entry() && !is_judged_first && (!is_hinted || untracked::may_be_owned(scene, open)) {
        entry = flows::find(scene, &clock);
    }
    if open.any() {
        entry = untracked::owner(scene, open, entry, &clock);
        if entry.is_none() && untracked::passes(scene, open, part, &clock) {
            return Ok(Pass::Untracked);
        }
    }

    if let Some(entry) = &mut entry {
        if part == Part::Syn {
            // Judged by the rules even where there is an entry, unless it crosses our own SYN (P-4).
            if flows::crosses(scene, entry) {
                return Ok(Pass::Tracked);
            }
        } else {
            flows::advance(scene, entry, &clock)?;
            return Ok(Pass::Tracked);
        }
    }

    let admitted = rules::admit(scene);
    if is_judged_first && (admitted || untracked::may_be_owned(scene, open)) {
        entry = flows::find(scene, &clock);
        if let Some(entry) = &mut entry
            && flows::crosses(scene, entry)
        {
            return Ok(Pass::Tracked);
        }
    }
    // The answering end of a flow that was let through untracked may talk on, but not revive the flow; while it talks,
    // admitted or not, the flow is not forgotten (P-3).
    let answers = part == Part::Request && untracked::answers_marked(scene, &clock);
    if !admitted {
        let is_segment = scene.packet.network.protocol == protocol::TCP && part != Part::Syn;
        return Err(if is_segment { Drop::NoConnection } else { Drop::NoRule });
    }

    match part {
        Part::Syn => flows::admitted_syn(scene, entry, open.covers(scene.direction), &clock),
        Part::Request if answers => Ok(Pass::Stateless),
        Part::Request => flows::create(scene, &clock),
        // Without an entry a TCP segment is judged alone and makes none, so that nobody revives a flow that was cut.
        Part::Segment | Part::Reply | Part::Error | Part::Lone => Ok(Pass::Stateless),
    }
}
