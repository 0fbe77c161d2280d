//! What packets are judged by: a policy, loads of the shipped programs, flows.

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, PerCpuArray},
    programs::{ProgramFd, TestRun, TestRunOptions, Xdp},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sg_common::{
    Direction,
    flow::{Flow, FlowKey4, FlowKey6, KeyHead, state},
    policy::{CLOCK_JIFFIES, CLOCK_TEST, CURSOR_CELLS, Cursor, counter_index, cursor_cell},
    reason::Verdict,
    vlan::Vlans,
    wire::protocol,
};
use sg_ctl::{
    kernel::object::{self, Constants},
    model::{self, EniId, GroupId, Options, Peer, PortRange, Rule, RuleId, Side, Traffic},
    ops,
};
use sg_tests::bench::Bench;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};
use zerocopy::IntoBytes;

pub const LOCAL4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const LOCAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x0a00, 1);
/// Senders that rules name: this address and the other values of its lower bits.
pub const KNOWN4: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 0);
pub const KNOWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0x0b00, 0);
/// How many of them there are, as a power of two.
pub const KNOWN_BITS: u8 = 24;
/// Senders that no rule names, likewise.
pub const STRANGER4: Ipv4Addr = Ipv4Addr::new(12, 0, 0, 0);
pub const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0x0c00, 0);
/// The senders' port in the table of flows. New ones come from ports below it.
pub const PORT: u16 = 40_000;
/// Open to the known senders only.
pub const NARROW: u16 = 22;
/// TCP open to the world.
pub const OPEN: u16 = 80;
/// UDP open to the world.
pub const OPEN_UDP: u16 = 53;
/// TCP ports open to the world, from this one to one less than twice as many: so they differ in 14 bits.
pub const MANY: u16 = 1 << 14;
/// Not open to anybody.
pub const CLOSED: u16 = 23;

/// What is to be there.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Prefixes that the narrow port's rules name, which cover all known senders.
    pub prefixes: u32,
    /// Rules of the first of them, each with another port.
    pub rules: u32,
    /// A power of two. Each has a load of the programs.
    pub interfaces: u32,
    /// Flows a family, a power of two, of as many senders, shared out among the interfaces.
    pub flows: u32,
    /// What the interfaces' row or the table's state is made to say.
    pub state: Special,
}

impl Plan {
    pub const fn new(flows: u32) -> Self {
        Self { prefixes: 10, rules: 1, interfaces: 1, flows, state: Special::None }
    }
}

/// What a packet finds that it seldom finds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Special {
    None,
    /// `--non-ip pass`
    NonIpPass,
    /// The interface observes.
    Observing,
    /// The table of flows counts as full.
    Full,
    /// The interface has no row.
    NoPolicy,
}

/// All of that, in the kernel.
pub struct Ground {
    pub plan: Plan,
    bench: Bench,
    /// The first interface's load.
    pub first: Ebpf,
    /// Of every further interface its programs, by name. The rest of a load is let go: each has dozens of descriptors.
    further: Vec<Vec<(String, ProgramFd)>>,
}

impl Ground {
    /// `programs`: which of the hooks' programs are loaded.
    pub fn new(plan: Plan, programs: &[&str]) -> Self {
        let mut bench = Bench::new();
        let group = ops::group::create(&mut bench.state, &ops::group::Create::new("web", "bench")).unwrap();
        let options = Options { non_ip_pass: plan.state == Special::NonIpPass, ..Options::default() };
        let addresses = [IpAddr::V4(LOCAL4), IpAddr::V6(LOCAL6)];
        let eni = bench.interface(Side::Host, &["web"], &addresses, options);
        add_interfaces(&mut bench, eni, plan.interfaces);
        if plan.state == Special::Observing {
            let eni = bench.state.interfaces.get_mut(&eni).unwrap();
            eni.attachment.as_mut().unwrap().observe_until = Some(u64::from(bench.kernel_hz) + 1);
        }
        for rule in rules(group, plan) {
            bench.state.rules.insert(rule.id, rule);
        }
        bench.install();
        let slots = if plan.state == Special::NoPolicy { 1..2 } else { 0..plan.interfaces };
        let mut loads = slots.map(|slot| load(&bench, plan, slot, programs));
        let first = loads.next().unwrap();
        let further =
            loads.map(|load| programs.iter().map(|name| (name.to_string(), fd(&load, name))).collect());
        let further = further.collect();
        let mut ground = Self { plan, bench, first, further };
        ground.fill();
        ground
    }

    /// Establishes the flows, and brings about what is special.
    fn fill(&mut self) {
        let (plan, hz) = (self.plan, u64::from(self.bench.kernel_hz));
        let first = &mut self.first;
        let clock: &Xdp = first.program(object::CLOCK).unwrap().try_into().unwrap();
        clock.test_run(TestRunOptions { data_in: Some(&[0; 64]), ..TestRunOptions::default() }).unwrap();
        let mut cells: Array<_, u64> = first.map_mut("CLOCK").unwrap().try_into().unwrap();
        let now = cells.get(&CLOCK_JIFFIES, 0).unwrap();
        cells.set(CLOCK_TEST, &hz, 0).unwrap();
        if plan.state == Special::Full {
            let mut cursors: Array<_, u64> = first.map_mut("CURSORS").unwrap().try_into().unwrap();
            assert_eq!(cursors.len(), CURSOR_CELLS);
            for family in 0..2 {
                // A moment that lies ahead, for as long as the benchmark lasts.
                cursors.set(cursor_cell(family, Cursor::Full), &(now + 3600 * hz), 0).unwrap();
            }
        }
        let flow = Flow {
            last: now,
            state: state::ESTABLISHED,
            started: Direction::Ingress as u32,
            ..Flow::default()
        };
        let value: [u8; 48] = flow.as_bytes().try_into().unwrap();
        let head = |n: u32| KeyHead {
            slot: (n & (plan.interfaces - 1)) as u16,
            protocol: protocol::TCP,
            start: 0,
            local_port: NARROW,
            remote_port: PORT,
            vlans: Vlans::NONE,
        };
        let mut table: HashMap<&mut MapData, [u8; 20], [u8; 48]> =
            first.map_mut("ESTABLISHED4").unwrap().try_into().unwrap();
        for n in 0..plan.flows {
            let remote = u32::from(KNOWN4) + n;
            let key = FlowKey4 { head: head(n), local: u32::from(LOCAL4).to_be(), remote: remote.to_be() };
            let key: [u8; 20] = key.as_bytes().try_into().unwrap();
            table.insert(&key, &value, 0).unwrap();
        }
        let mut table: HashMap<&mut MapData, [u8; 44], [u8; 48]> =
            first.map_mut("ESTABLISHED6").unwrap().try_into().unwrap();
        for n in 0..plan.flows {
            let remote = u128::from(KNOWN6) + u128::from(n);
            let key = FlowKey6 { head: head(n), local: words(LOCAL6), remote: words(remote.into()) };
            let key: [u8; 44] = key.as_bytes().try_into().unwrap();
            table.insert(&key, &value, 0).unwrap();
        }
    }

    /// Packets counted inward with this verdict, over all interfaces.
    pub fn counted(&self, verdict: Verdict) -> u64 {
        let counters: PerCpuArray<_, [u64; 2]> = self.first.map("COUNTERS").unwrap().try_into().unwrap();
        let slots = if self.plan.state == Special::NoPolicy { 1..2 } else { 0..self.plan.interfaces };
        let cells = slots.map(|slot| {
            let index = counter_index(slot, Direction::Ingress, verdict.number());
            counters.get(&index, 0).unwrap().iter().map(|counter| counter[0]).sum::<u64>()
        });
        cells.sum()
    }

    /// A program of every interface.
    pub fn programs(&self, name: &str) -> Vec<ProgramFd> {
        let of = |programs: &Vec<(String, ProgramFd)>| {
            programs.iter().find(|program| program.0 == name).unwrap().1.try_clone().unwrap()
        };
        std::iter::once(fd(&self.first, name)).chain(self.further.iter().map(of)).collect()
    }

    /// The maps of flows, of both families, pinned while `with` has their paths.
    pub fn with_flows<T>(&self, with: impl FnOnce([PathBuf; 2]) -> T) -> T {
        let paths = ["ESTABLISHED4", "ESTABLISHED6"].map(|name| {
            let path = self.bench.maps().maps().join(format!("BENCH_{name}"));
            self.first.map(name).unwrap().pin(&path).unwrap();
            path
        });
        let result = with(paths.clone());
        for path in paths {
            std::fs::remove_file(path).unwrap();
        }
        result
    }
}

fn words(address: Ipv6Addr) -> [u32; 4] {
    let octets = address.octets();
    let words = octets.as_chunks::<4>().0;
    [0, 1, 2, 3].map(|n| u32::from_ne_bytes(words[n]))
}

/// Further interfaces like the first one, without a load of the test support's.
fn add_interfaces(bench: &mut Bench, first: EniId, count: u32) {
    let first = bench.state.interfaces.get(&first).unwrap().clone();
    for slot in 1..count {
        let mut eni = first.clone();
        eni.id = EniId::random();
        eni.name = format!("test{slot}");
        eni.attachment.as_mut().unwrap().slot = u16::try_from(slot).unwrap();
        bench.state.interfaces.insert(eni.id, eni);
    }
}

fn rules(group: GroupId, plan: Plan) -> Vec<Rule> {
    let inward = model::Direction::Ingress;
    let tcp = |from, to| Traffic::Tcp(PortRange { from, to });
    let rule = |traffic, net: IpNet| {
        let peer = match net {
            IpNet::V4(net) => Peer::Ipv4(net),
            IpNet::V6(net) => Peer::Ipv6(net),
        };
        Rule::new(RuleId::random(), group, inward, traffic, peer)
    };
    let worlds = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let open =
        [tcp(OPEN, OPEN), tcp(MANY, 2 * MANY - 1), Traffic::Udp(PortRange { from: OPEN_UDP, to: OPEN_UDP })];
    let mut rules: Vec<Rule> =
        worlds.iter().flat_map(|world| open.map(|traffic| rule(traffic, *world))).collect();
    let nets = known(plan.prefixes);
    rules.extend(nets.iter().map(|net| rule(tcp(NARROW, NARROW), *net)));
    let ports = (1u16..).map(|n| NARROW + 100 + n).take(plan.rules as usize - 1);
    rules.extend(ports.map(|port| rule(tcp(port, port), nets[0])));
    rules
}

/// As many prefixes of two neighbouring lengths as it takes to cover all known senders: first the shorter ones. Ten of
/// IPv6 as well, however many there are of IPv4.
fn known(count: u32) -> Vec<IpNet> {
    let of = |count: u32| {
        let bits = count.next_power_of_two().ilog2() as u8;
        let short = (1 << bits) - count;
        let mut at = 0;
        (0..count).map(move |n| {
            let free = KNOWN_BITS - bits + u8::from(n < short);
            let begins = at;
            at += 1u32 << free;
            (begins, free)
        })
    };
    let v4 = of(count).map(|(begins, free)| {
        let address = Ipv4Addr::from(u32::from(KNOWN4) + begins);
        IpNet::V4(Ipv4Net::new(address, 32 - free).unwrap())
    });
    let v6 = of(10).map(|(begins, free)| {
        let address = Ipv6Addr::from(u128::from(KNOWN6) + u128::from(begins));
        IpNet::V6(Ipv6Net::new(address, 128 - free).unwrap())
    });
    v4.chain(v6).collect()
}

/// An interface's load of the shipped programs. A lone interface has flow tables of its own, with room for the flows;
/// several share the host's.
fn load(bench: &Bench, plan: Plan, slot: u32, programs: &[&str]) -> Ebpf {
    let maps = bench.maps().maps();
    let room = plan.flows.next_power_of_two() * 2;
    let sizes = [("ESTABLISHED4", room), ("ESTABLISHED6", room)];
    let constants = Constants {
        slot: u16::try_from(slot).unwrap(),
        hz: bench.kernel_hz,
        test_clock: plan.state == Special::Observing,
        ..Constants::default()
    };
    let mut object = if plan.interfaces == 1 {
        object::open_sized(&constants, &maps, &[object::POLICY_MAPS], &sizes).unwrap()
    } else {
        object::open(&constants, &maps, &[object::POLICY_MAPS, object::FLOW_MAPS]).unwrap()
    };
    let clock = (slot == 0 || plan.interfaces == 1).then_some(object::CLOCK);
    for program in programs.iter().copied().chain(clock) {
        object::load(&mut object, program).unwrap();
    }
    object
}

fn fd(load: &Ebpf, program: &str) -> ProgramFd {
    object::program_fd(load, program).unwrap().try_clone().unwrap()
}
