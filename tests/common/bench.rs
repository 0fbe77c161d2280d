//! The shipped programs under `BPF_PROG_TEST_RUN`: real maps, the real compiler and installer, and a clock that the
//! test moves. Nothing is attached to a device.
#![expect(clippy::unwrap_used, reason = "test support: a failure should stop the test where it happens")]

use aya::Ebpf;
use sg_common::{
    Direction,
    flow::Flow,
    policy::{CLOCK_TEST, STATE_HZ, counter_index},
    reason::Verdict,
};
use sg_ctl::{
    compile::{Change, Image, compile},
    kernel::{
        BpfMap, Host, Plain,
        object::{self, Constants},
        processors, sys,
    },
    model::{Attachment, EniId, Interface, Mode, Options, Side, State, TimeoutSettings},
};
use std::{
    collections::HashMap,
    net::IpAddr,
    os::fd::AsFd,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

/// Jiffies a second of the test clock: a power of two, so that the datapath's seconds are whole ones.
pub const HZ: u32 = 256;

/// Where received packets are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP.
    Xdp,
    /// TC ingress.
    Tc,
}

/// Instances of the programs over one set of maps.
pub struct Bench {
    dir: PathBuf,
    host: Option<Host>,
    clock: BpfMap<u32, u64>,
    processors: usize,
    /// The kernel's own `CONFIG_HZ`, which the test clock does not follow.
    pub kernel_hz: u32,
    image: Image,
    instances: Vec<Instance>,
    /// The desired state; takes effect with [`Bench::install`].
    pub state: State,
}

struct Instance {
    eni: EniId,
    slot: u16,
    side: Side,
    /// By whether they are VLAN-aware, which is a constant of the programs.
    loads: HashMap<bool, Ebpf>,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// A host of its own, with the default VPC and no interface.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sg-b-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = PathBuf::from("/sys/fs/bpf").join(name);
        let host = Host::open_or_create(&dir).unwrap();
        let kernel_hz = u32::try_from(host.cell(STATE_HZ).unwrap()).unwrap();
        host.state.set(&STATE_HZ, &u64::from(HZ)).unwrap();
        let clock = BpfMap::open(&dir.join("maps/CLOCK")).unwrap();
        let mut state = State::default();
        sg_ctl::ops::ensure_default_vpc(&mut state);
        let mut bench = Self {
            dir,
            host: Some(host),
            clock,
            processors: processors().unwrap(),
            kernel_hz,
            image: Image::default(),
            instances: Vec::new(),
            state,
        };
        // Not at zero: a packet that finds no time must not look like one of the first second.
        bench.set_time(1_000);
        bench
    }

    fn host(&self) -> &Host {
        self.host.as_ref().unwrap()
    }

    /// Adds an interface in these groups and loads its programs.
    pub fn interface(
        &mut self,
        side: Side,
        groups: &[&str],
        addresses: &[IpAddr],
        options: Options,
    ) -> EniId {
        let vpc = sg_ctl::ops::vpc::default_vpc(&self.state).unwrap();
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        let slot = u16::try_from(self.instances.len()).unwrap();
        let id = EniId::random();
        let eni = Interface {
            id,
            name: format!("test{slot}"),
            netns: None,
            vpc,
            groups: sg_ctl::ops::interface::resolve_groups(&self.state, vpc, &groups).unwrap(),
            addresses: addresses.to_vec(),
            attachment: Some(Attachment {
                slot,
                ifindex: 0,
                namespace: 0,
                mac: [0; 6],
                side,
                mode: Mode::Tc,
                mode_reason: String::new(),
                options,
                timeouts: TimeoutSettings::default(),
                attached_since: 0,
                observe_until: None,
            }),
            tags: Default::default(),
        };
        self.state.interfaces.insert(id, eni);
        self.instances.push(Instance { eni: id, slot, side, loads: HashMap::new() });
        self.load();
        id
    }

    /// Loads the programs of each interface with the constants that its switches ask for, once.
    fn load(&mut self) {
        let maps = self.host().maps();
        for instance in &mut self.instances {
            let vlan_aware = is_vlan_aware(&self.state, instance.eni);
            if instance.loads.contains_key(&vlan_aware) {
                continue;
            }
            let constants = Constants {
                slot: instance.slot,
                guest: instance.side == Side::Guest,
                no_link_layer: false,
                vlan_aware,
                hz: HZ,
                test_clock: true,
            };
            let shared = [object::POLICY_MAPS, object::FLOW_MAPS];
            let mut object = object::open(&constants, &maps, &shared).unwrap();
            for program in [object::XDP, object::TC_RECEIVE, object::TC_SEND] {
                object::load(&mut object, program).unwrap();
            }
            instance.loads.insert(vlan_aware, object);
        }
    }

    /// Puts the state in force, as a command would.
    pub fn install(&mut self) {
        self.load();
        let image = compile(&self.state);
        let change = Change::between(self.image.clone(), image.clone());
        let host = self.host();
        let prepared = host.build_whole(&change).unwrap();
        host.settle(&host.go_live(prepared, 0).unwrap(), &change).unwrap();
        self.image = image;
    }

    /// Puts a change in part in force, to the state as it is now.
    pub fn put(&mut self, part: &Change) {
        let host = self.host();
        let prepared = host.build(part).unwrap().expect("a change that can be told in part");
        host.settle(&host.go_live(prepared, 0).unwrap(), part).unwrap();
        self.image = compile(&self.state);
    }

    /// Moves the clock, in seconds.
    pub fn set_time(&mut self, seconds: u64) {
        self.clock.set(&CLOCK_TEST, &(seconds * u64::from(HZ))).unwrap();
    }

    /// Packets counted so far for a verdict.
    #[must_use]
    pub fn count(&self, eni: EniId, direction: Direction, verdict: Verdict) -> u64 {
        let instance = self.instance(eni);
        let index = counter_index(u32::from(instance.slot), direction, verdict.number());
        let counters = self.host().counters.get_per_cpu(index, self.processors).unwrap();
        counters.iter().map(|counter| counter.packets).sum()
    }

    fn instance(&self, eni: EniId) -> &Instance {
        self.instances.iter().find(|instance| instance.eni == eni).unwrap()
    }

    /// Runs a frame through the program that would see it: `None` where the kernel takes no such frame for a test run
    /// (too short for the hook).
    ///
    /// Returns whether it passed.
    #[must_use]
    pub fn run(&self, eni: EniId, hook: Hook, direction: Direction, frame: &[u8]) -> Option<bool> {
        const XDP_PASS: u32 = 2;
        const TC_ACT_UNSPEC: u32 = u32::MAX;
        let instance = self.instance(eni);
        let received = (instance.side == Side::Host) == (direction == Direction::Ingress);
        let (program, pass) = match (received, hook) {
            (true, Hook::Xdp) => (object::XDP, XDP_PASS),
            (true, Hook::Tc) => (object::TC_RECEIVE, TC_ACT_UNSPEC),
            (false, _) => (object::TC_SEND, TC_ACT_UNSPEC),
        };
        let object = &instance.loads[&is_vlan_aware(&self.state, eni)];
        let fd = object::program_fd(object, program).unwrap();
        match sys::test_run(fd.as_fd(), frame) {
            Ok(answer) => Some(answer == pass),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => None,
            Err(error) => panic!("test run of {program}: {error}"),
        }
    }

    /// Runs a frame and says the verdict with its reason: the one counter that went up, by one.
    #[must_use]
    pub fn judge(&self, eni: EniId, hook: Hook, direction: Direction, frame: &[u8]) -> Option<Verdict> {
        let before = self.counts(eni, direction);
        let passed = self.run(eni, hook, direction, frame)?;
        let after = self.counts(eni, direction);
        let risen: Vec<Verdict> = Verdict::all()
            .zip(before.iter().zip(&after))
            .filter(|(_, (a, b))| a != b)
            .map(|(v, _)| v)
            .collect();
        let [verdict] = risen[..] else { panic!("one packet, counted as {risen:?}") };
        assert_eq!(after.iter().sum::<u64>(), before.iter().sum::<u64>() + 1, "counted as {verdict:?}");
        assert_eq!(verdict.passes(), passed, "{verdict:?} and what the hook returned differ");
        Some(verdict)
    }

    fn counts(&self, eni: EniId, direction: Direction) -> Vec<u64> {
        Verdict::all().map(|verdict| self.count(eni, direction, verdict)).collect()
    }

    /// Empties the flow tables.
    pub fn flush(&mut self) {
        fn empty<K: Plain>(map: &BpfMap<K, Flow>) {
            let mut keys = Vec::new();
            map.for_each(|key, _| keys.push(*key)).unwrap();
            map.remove_all(&keys).unwrap();
        }
        self.host().flows4.iter().for_each(empty);
        self.host().flows6.iter().for_each(empty);
    }

    /// Entries in the flow tables, dead ones included.
    #[must_use]
    pub fn entries(&self) -> u64 {
        let host = self.host();
        let (v4, v6) = (host.flows4.iter().map(BpfMap::count), host.flows6.iter().map(BpfMap::count));
        v4.chain(v6).map(std::io::Result::unwrap).sum()
    }

    /// The host, for tests of its maps.
    #[must_use]
    pub fn maps(&self) -> &Host {
        self.host()
    }
}

fn is_vlan_aware(state: &State, eni: EniId) -> bool {
    let attachment = state.interfaces.get(&eni).and_then(|eni| eni.attachment.as_ref());
    attachment.is_some_and(|attachment| attachment.options.vlan_aware)
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.instances.clear();
        if let Some(host) = self.host.take()
            && let Err(error) = host.remove()
        {
            eprintln!("cannot remove {}: {error:#}", self.dir.display());
        }
    }
}
