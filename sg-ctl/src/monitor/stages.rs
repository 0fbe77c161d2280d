//! `sg-ctl trace`: what each stage of the pipeline (P-1) found of a packet, from the notes that they left.

use super::shape::Line;
use serde::Serialize;
use sg_common::{
    Direction,
    event::{Event, note, seen},
    flow::{IcmpRole, icmp_role},
    reason::{Drop, Pass, Verdict},
    wire::protocol,
};

/// One stage that the packet came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Its name: `parse`, `source`, `observe`, `fragment`, `exempt`, `quote`, `world_open`, `flow`, `rules`, `create`,
    /// `verdict`.
    pub stage: &'static str,
    /// What it found.
    pub decision: String,
}

/// A packet with its stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Traced {
    /// As `monitor` has it.
    #[serde(flatten)]
    pub line: Line,
    /// In the order in which the packet came to them.
    pub stages: Vec<Stage>,
}

/// The stages that a packet came to, the verdict last.
#[must_use]
pub fn stages(event: &Event, line: &Line) -> Vec<Stage> {
    let mut told = Vec::new();
    if let Some(verdict) = Verdict::of(event.verdict.into()) {
        Story { event, line, verdict, told: &mut told }.tell();
        let word = if verdict.passes() { "allow" } else { "drop" };
        told.push(Stage { stage: "verdict", decision: format!("{word}, {}", verdict.reason()) });
    }
    told
}

struct Story<'a> {
    event: &'a Event,
    line: &'a Line,
    verdict: Verdict,
    told: &'a mut Vec<Stage>,
}

impl Story<'_> {
    fn say(&mut self, stage: &'static str, decision: impl Into<String>) {
        self.told.push(Stage { stage, decision: decision.into() });
    }

    fn has(&self, note: u32) -> bool {
        self.event.notes & note != 0
    }

    /// Returns where a stage decides: the packet came to no further one.
    fn tell(&mut self) {
        if u32::from(self.event.family) == seen::NOTHING {
            return self.not_understood();
        }
        self.say("parse", self.parsed());
        if self.verdict == Verdict::Drop(Drop::SpoofedSource) {
            return self.say("source", "an address that cannot be its sender's, or its receiver's");
        }
        self.say("source", "nothing to object to");
        if self.verdict == Verdict::Pass(Pass::Observed) {
            return self.say("observe", "the interface does not enforce yet: everything passes");
        }
        match (self.event.fragment, self.verdict.passes()) {
            (2, true) => return self.say("fragment", "a later fragment, whose first passed"),
            (2, false) => {
                return self.say("fragment", "a later fragment, whose first did not pass, or not lately");
            }
            (1, _) => self.say("fragment", "the first of several"),
            _ => {}
        }
        if self.verdict == Verdict::Pass(Pass::Exempt) {
            return self.say("exempt", "yes: no rule is asked");
        }
        self.say("exempt", "no");
        if self.is_icmp_error() {
            self.say("quote", self.quote());
            if self.verdict == Verdict::Pass(Pass::Related) {
                return;
            }
        }
        self.say("world_open", self.open());
        self.say("flow", self.flow());
        if self.has(note::RULES) {
            self.say("rules", self.rules());
        }
        match self.verdict {
            Verdict::Pass(Pass::New) => self.say("create", "a new entry"),
            Verdict::Pass(Pass::Stateless) => self.say("create", "no entry: it passes alone"),
            Verdict::Drop(Drop::ConntrackFull) => self.say("create", "no room in the flow table"),
            _ => {}
        }
    }

    fn not_understood(&mut self) {
        let kind = self.line.ethertype.as_deref().unwrap_or("no EtherType");
        let decision = match self.verdict {
            Verdict::Drop(Drop::NoPolicy) => "the interface has no policy".to_owned(),
            Verdict::Drop(Drop::NonIp) | Verdict::Pass(Pass::NonIp) => format!("not IP ({kind})"),
            Verdict::Pass(Pass::Exempt) => format!("not IP ({kind}), and needed by the link itself"),
            Verdict::Drop(Drop::SpoofedSource) => format!("an ARP message ({kind}) of another sender"),
            Verdict::Pass(Pass::Observed) => {
                format!("not understood ({kind}); the interface does not enforce yet")
            }
            _ => format!("not to be understood ({kind}): truncated, impossible, or lying about its length"),
        };
        self.say("parse", decision);
    }

    fn parsed(&self) -> String {
        let version = if u32::from(self.event.family) == seen::IPV4 { "IPv4" } else { "IPv6" };
        let protocol = self.line.protocol.as_deref().unwrap_or("-");
        let mut text = format!("{version}, protocol {protocol}");
        if let Some(flags) = &self.line.tcp_flags {
            text += &format!(", {}", flags.join(","));
        }
        if let (Some(kind), Some(code)) = (self.line.icmp_type, self.line.icmp_code) {
            text += &format!(", type {kind}, code {code}");
        }
        text
    }

    fn is_icmp_error(&self) -> bool {
        let own = if u32::from(self.event.family) == seen::IPV4 { protocol::ICMP } else { protocol::ICMPV6 };
        self.event.protocol == u16::from(own) && icmp_role(own, self.event.icmp_type) == IcmpRole::Error
    }

    fn quote(&self) -> &'static str {
        match (self.verdict, self.has(note::QUOTES)) {
            (Verdict::Pass(Pass::Related), _) => "an error about a flow that is let through",
            (_, true) => "an error about a flow that is not let through, or one that rules have to admit",
            (_, false) => "an error that quotes no packet of this interface",
        }
    }

    fn open(&self) -> String {
        let mut open = Vec::new();
        if self.has(note::OPEN_INWARD) {
            open.push(format!("flows that start inward to port {}", self.event.local_port));
        }
        if self.has(note::OPEN_OUTWARD) {
            open.push(format!("flows that start outward to port {}", self.event.remote_port));
        }
        if open.is_empty() {
            return "no".to_owned();
        }
        let passes = self.verdict == Verdict::Pass(Pass::Untracked);
        let end = if passes { ": it passes untracked" } else { ", and it is not of one of these" };
        format!("{}{end}", open.join(", and "))
    }

    fn flow(&self) -> String {
        if !self.has(note::SOUGHT) {
            return "not looked up".to_owned();
        }
        let table = match (self.has(note::SETTLED), self.line.protocol.as_deref()) {
            (true, Some("tcp")) => "established",
            (true, _) => "answered",
            (false, _) if self.has(note::PENDING) => "pending",
            _ => return "no entry".to_owned(),
        };
        if self.has(note::VOID) {
            return format!("an entry ({table}) that is void: such flows are untracked by now");
        }
        let state = if self.has(note::LIVE) { "a live entry" } else { "an entry that is over" };
        let end = if self.has(note::CLOSED) { ", which ends with this packet" } else { "" };
        format!("{state} ({table}){end}")
    }

    fn rules(&self) -> String {
        let way = if self.event.direction == Direction::Ingress as u8 { "inbound" } else { "outbound" };
        let class = self.event.class;
        let address = match (self.has(note::IN_BLOCK), class) {
            (true, _) => format!("the far end lies in a CIDR block of {way} rules (class {class})"),
            (false, 0) => format!("the far end lies in no CIDR block of {way} rules"),
            (false, _) => format!("{way} rules name all addresses (class {class})"),
        };
        let member = if self.has(note::MEMBER) { ", and is a member of groups" } else { "" };
        let admitted = match self.event.notes {
            notes if notes & note::BY_CIDR != 0 => "admitted by its ports",
            notes if notes & note::BY_GROUP != 0 => "admitted by a rule for a group",
            notes if notes & note::BY_LIST != 0 => "admitted by a rule for a prefix list",
            _ => "admitted by none",
        };
        format!("{address}{member}; {admitted}")
    }
}
