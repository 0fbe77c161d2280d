//! One kind of packet through one program, round after round.

use super::ground::Ground;
use crate::results::Samples;
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapInfo, ProgramArray},
    programs::{Program, ProgramFd, SchedClassifier, TestRun, TestRunOptions, Xdp},
};
use sg_common::reason::Verdict;
use sg_ctl::kernel::object;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Xdp,
    Tc,
}

impl Hook {
    pub const ALL: [Self; 2] = [Self::Xdp, Self::Tc];

    pub fn name(self) -> &'static str {
        match self {
            Self::Xdp => "XDP",
            Self::Tc => "TC",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        }
    }

    /// The pipeline's program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Xdp => object::XDP,
            Self::Tc => object::TC_RECEIVE,
        }
    }

    fn answer(self, passes: bool) -> u32 {
        match (self, passes) {
            (Self::Xdp, false) => 1,
            (Self::Xdp, true) => 2,
            (Self::Tc, false) => 2,
            (Self::Tc, true) => u32::MAX,
        }
    }
}

/// Rounds of each measurement, and packets of one.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    pub packets: u32,
}

/// What sees the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A program that does nothing.
    Empty,
    /// One that parses.
    Parse,
    /// One that parses and looks for the flow.
    Lookup,
    /// The pipeline, which comes to this verdict.
    Pipeline(Verdict),
}

impl Subject {
    fn passes(self) -> bool {
        match self {
            Self::Pipeline(verdict) => verdict.passes(),
            _ => true,
        }
    }

    /// Name of the program in the benchmark's own object.
    fn program(self, hook: Hook) -> Option<String> {
        let name = match self {
            Self::Empty => "empty",
            Self::Parse => "parse",
            Self::Lookup => "lookup",
            Self::Pipeline(_) => return None,
        };
        Some(format!("{name}_{}", hook.suffix()))
    }
}

/// In what packets differ.
#[derive(Clone, Copy, Default)]
pub struct Vary {
    /// Senders, a power of two; 0: all packets are the same.
    pub senders: u32,
    /// The source port, so that no flow comes twice.
    pub fresh: bool,
    /// The bits of the destination port that differ.
    pub ports: u16,
}

impl Vary {
    /// That many senders.
    pub fn senders(senders: u32) -> Self {
        Self { senders, ..Self::default() }
    }
}

/// A kind of packet.
#[derive(Clone)]
pub struct Kind {
    pub name: &'static str,
    pub frame: Vec<u8>,
    pub vary: Vary,
    pub subject: Subject,
    /// A frame that goes before each round, and the verdict on it.
    pub first: Option<(Vec<u8>, Verdict)>,
}

/// A kind of packet at a hook, ready to run.
pub struct Runner {
    pub hook: Hook,
    pub v6: bool,
    pub kind: Kind,
    spread: Ebpf,
    took: Vec<f64>,
}

impl Runner {
    /// `programs`: the benchmark's own object.
    pub fn new(programs: &[u8], ground: &Ground, hook: Hook, v6: bool, kind: &Kind) -> Self {
        let front = format!("spread_{}", hook.suffix());
        let vary = kind.vary;
        let (source_at, ports_at) = if v6 { (34u32, 54u32) } else { (26, 34) };
        let own =
            kind.frame[source_at as usize..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let varies = u32::from(vary.senders > 0);
        let mask = vary.senders.saturating_sub(1);
        let (fresh, ports) = (u32::from(vary.fresh), u32::from(vary.ports));
        let targets = ground.plan.interfaces - 1;
        let mut spread = ground.with_flows(|[flows4, flows6]| {
            let mut loader = EbpfLoader::new();
            for (name, path) in [("FLOWS4", &flows4), ("FLOWS6", &flows6)] {
                loader.map_max_entries(name, MapInfo::from_pin(path).unwrap().max_entries());
            }
            loader
                .override_global("VARY", &varies, true)
                .override_global("BASE", &own, true)
                .override_global("MASK", &mask, true)
                .override_global("FRESH", &fresh, true)
                .override_global("PORTS", &ports, true)
                .override_global("TARGETS", &targets, true)
                .override_global("SOURCE_AT", &source_at, true)
                .override_global("PORTS_AT", &ports_at, true)
                .map_pin_path("FLOWS4", flows4)
                .map_pin_path("FLOWS6", flows6);
            loader.load(programs).unwrap()
        });
        object::load(&mut spread, &front).unwrap();
        let targets: Vec<ProgramFd> = match kind.subject.program(hook) {
            None => ground.programs(hook.program()),
            Some(name) => {
                object::load(&mut spread, &name).unwrap();
                let program = object::program_fd(&spread, &name).unwrap();
                (0..ground.plan.interfaces).map(|_| program.try_clone().unwrap()).collect()
            }
        };
        let mut table: ProgramArray<_> = spread.map_mut("TARGET").unwrap().try_into().unwrap();
        for (index, target) in (0..).zip(&targets) {
            table.set(index, target, 0).unwrap();
        }
        // Senders of two runners never have the same new flow.
        let mut turn: Array<_, u64> = spread.map_mut("TURN").unwrap().try_into().unwrap();
        turn.set(0, &((hook as u64) << 34), 0).unwrap();
        Self { hook, v6, kind: kind.clone(), spread, took: Vec::new() }
    }

    /// One round.
    pub fn round(&mut self, ground: &Ground, packets: u32) {
        let hook = self.hook;
        if let Some((frame, verdict)) = &self.kind.first {
            let program = ground.first.program(hook.program()).unwrap();
            let (answer, _) = test_run(program, frame, 1);
            assert_eq!(answer, hook.answer(verdict.passes()), "what goes before {}", self.kind.name);
        }
        let front = self.spread.program(&format!("spread_{}", hook.suffix())).unwrap();
        let (answer, nanoseconds) = test_run(front, &self.kind.frame, packets);
        let expected = hook.answer(self.kind.subject.passes());
        assert_eq!(answer, expected, "{} at {}", self.kind.name, hook.name());
        self.took.push(nanoseconds);
    }

    /// Nanoseconds a packet in all, by round.
    pub fn took(&self) -> Samples {
        Samples::new("ns", self.took.clone())
    }
}

/// The answer, and nanoseconds a packet.
fn test_run(program: &Program, frame: &[u8], repeat: u32) -> (u32, f64) {
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
    let ran = match program {
        Program::Xdp(program) => Xdp::test_run(program, options),
        Program::SchedClassifier(program) => SchedClassifier::test_run(program, options),
        _ => unreachable!("programs of the two hooks"),
    }
    .unwrap();
    (ran.return_value, ran.duration.as_nanos() as f64)
}

/// All of them by turns, round after round.
pub fn run(ground: &Ground, runners: &mut [Runner], effort: Effort) {
    for _ in 0..effort.rounds {
        runners.iter_mut().for_each(|runner| runner.round(ground, effort.packets));
    }
    verify(ground, runners, effort);
}

/// Every packet was counted, with the verdict that its kind is about.
pub fn verify(ground: &Ground, runners: &[Runner], effort: Effort) {
    for verdict in Verdict::all() {
        let of = |runner: &&Runner| runner.kind.subject == Subject::Pipeline(verdict);
        let before = |runner: &&Runner| runner.kind.first.as_ref().is_some_and(|first| first.1 == verdict);
        let (repeated, single) = (runners.iter().filter(of).count(), runners.iter().filter(before).count());
        let each = effort.rounds as u64;
        let expected = (repeated as u64 * u64::from(effort.packets) + single as u64) * each;
        assert_eq!(ground.counted(verdict), expected, "{verdict:?}");
    }
}
