//! What is shown, and how: the last look and the last drops, which panel is in front, in which order, behind which filter.

use super::{
    drops::{Dropped, Drops},
    sample::Sample,
};
use crate::{
    monitor::{Heard, Line},
    render::escape,
};
use std::{cmp::Ordering, collections::VecDeque, net::SocketAddr};

/// Looks that the curves go back.
const HISTORY: usize = 512;

/// The panels, in the order of their numbers on the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panel {
    /// Rates by interface, direction and reason.
    Rates,
    /// Busiest far ends.
    Remotes,
    /// Busiest ports.
    Ports,
    /// The last drops.
    Drops,
}

impl Panel {
    /// All.
    pub const ALL: [Self; 4] = [Self::Rates, Self::Remotes, Self::Ports, Self::Drops];

    /// What the rows of a panel can be in the order of. Drops are in that of time.
    fn orders(self) -> &'static [Order] {
        match self {
            Self::Rates => &[Order::Packets, Order::Bytes, Order::Name],
            Self::Remotes | Self::Ports => &[Order::Packets, Order::Bytes, Order::Flows, Order::Name],
            Self::Drops => &[],
        }
    }
}

/// What rows are in the order of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Packets a second, the most first.
    Packets,
    /// Bytes a second, the most first.
    Bytes,
    /// Live flows, the most first.
    Flows,
    /// Interface, address or port.
    Name,
}

/// A row of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it is about: text that nothing in a terminal acts upon.
    pub cells: Vec<String>,
    /// What [`Order::Flows`] goes by.
    pub flows: u64,
    /// Packets a second.
    pub packets: f64,
    /// Bytes a second.
    pub bytes: f64,
    /// About packets that were dropped.
    pub is_drop: bool,
}

/// How a panel is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// What its rows are in the order of.
    pub order: Order,
    /// The other way round.
    pub is_reversed: bool,
    /// The first row that is shown.
    pub from: usize,
}

/// Curves: the newest last.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Packets a second that passed.
    pub allowed: VecDeque<u64>,
    /// Packets a second that were dropped.
    pub dropped: VecDeque<u64>,
    /// New flows a second.
    pub new_flows: VecDeque<u64>,
}

/// The whole of it.
pub struct Screen {
    /// The one interface that it is about.
    pub only: Option<String>,
    /// What was seen last; `None` before the first look.
    pub sample: Option<Sample>,
    /// What the looks until now showed.
    pub history: History,
    /// The last drops.
    pub drops: Drops,
    /// The panel that keys are about.
    pub front: Panel,
    /// It has the screen for itself.
    pub is_zoomed: bool,
    /// Nothing new is shown.
    pub is_paused: bool,
    /// What the keys do is shown.
    pub is_helping: bool,
    /// Rows without this text are not shown.
    pub filter: String,
    /// The filter is being typed.
    pub is_typing: bool,
    looks: [Look; Panel::ALL.len()],
    /// Rows that fit in the front panel: what a page is.
    pub page: usize,
}

impl Screen {
    /// Before the first look.
    pub fn new(only: Option<&str>) -> Self {
        Self {
            only: only.map(escape),
            sample: None,
            history: History::default(),
            drops: Drops::default(),
            front: Panel::Rates,
            is_zoomed: false,
            is_paused: false,
            is_helping: false,
            filter: String::new(),
            is_typing: false,
            looks: [Look { order: Order::Packets, is_reversed: false, from: 0 }; Panel::ALL.len()],
            page: 1,
        }
    }

    /// Takes in a look. While it is paused, what comes is forgotten.
    pub fn look(&mut self, sample: Sample) {
        if self.is_paused {
            return;
        }
        if sample.seconds.is_some() {
            let History { allowed, dropped, new_flows } = &mut self.history;
            let came = [sample.sum(true).0, sample.sum(false).0, sample.new_flows];
            for (curve, rate) in [allowed, dropped, new_flows].into_iter().zip(came) {
                if curve.len() == HISTORY {
                    curve.pop_front();
                }
                curve.push_back(rate.round() as u64);
            }
        }
        self.sample = Some(sample);
    }

    /// Takes in what the kernel tells. True: it goes on.
    pub fn hear(&mut self, heard: &Heard<'_>) -> bool {
        match heard {
            _ if self.is_paused => {}
            Heard::Packet(event, time, place) => self.drops.add(event, *time, place),
            Heard::Missed(missed) => self.drops.miss(missed.events()),
            Heard::Pause => {}
        }
        true
    }

    /// How a panel is looked at.
    pub fn how(&self, panel: Panel) -> Look {
        self.looks[panel as usize]
    }

    /// The same of the panel in front, to be changed.
    pub fn how_front(&mut self) -> &mut Look {
        &mut self.looks[self.front as usize]
    }

    /// Sorts the front panel; once more by the same: the other way round.
    pub fn sort_by(&mut self, order: Order) {
        if !self.front.orders().contains(&order) {
            return;
        }
        let look = self.how_front();
        let is_reversed = look.order == order && !look.is_reversed;
        *look = Look { order, is_reversed, from: 0 };
    }

    /// Sorts the front panel by what comes after what it is sorted by.
    pub fn sort_by_next(&mut self) {
        let orders = self.front.orders();
        let look = self.how_front();
        let at = orders.iter().position(|order| *order == look.order);
        if let Some(order) = at.and_then(|at| orders.get((at + 1) % orders.len())) {
            *look = Look { order: *order, is_reversed: false, from: 0 };
        }
    }

    /// Puts the panel in front that is so many further on.
    pub fn next_panel(&mut self, by: usize) {
        self.front = Panel::ALL[(self.front as usize + by) % Panel::ALL.len()];
    }

    /// Scrolls the front panel.
    pub fn scroll(&mut self, by: isize) {
        let last = self.rows(self.front).len().saturating_sub(self.page);
        let look = self.how_front();
        look.from = look.from.saturating_add_signed(by).min(last);
    }

    /// Shows a panel from its first row on.
    pub fn scroll_to_start(&mut self, panel: Panel) {
        self.looks[panel as usize].from = 0;
    }

    /// The rows of a panel that the filter lets through, in order.
    pub fn rows(&self, panel: Panel) -> Vec<Row> {
        let mut rows = match panel {
            Panel::Rates => self.sample.as_ref().map(rates),
            Panel::Remotes => self.sample.as_ref().map(remotes),
            Panel::Ports => self.sample.as_ref().map(ports),
            Panel::Drops => Some(self.drops.iter().filter_map(drop_row).collect()),
        }
        .unwrap_or_default();
        let wanted = self.filter.to_lowercase();
        rows.retain(|row| row.cells.iter().any(|cell| cell.to_lowercase().contains(&wanted)));
        let Look { order, is_reversed, .. } = self.how(panel);
        if !panel.orders().is_empty() {
            // Rows that are equal in it stay in the order of their names.
            rows.sort_by(|a, b| compare(order, a, b));
            if is_reversed {
                rows.reverse();
            }
        }
        rows
    }
}

fn compare(order: Order, a: &Row, b: &Row) -> Ordering {
    match order {
        Order::Packets => b.packets.total_cmp(&a.packets),
        Order::Bytes => b.bytes.total_cmp(&a.bytes),
        Order::Flows => b.flows.cmp(&a.flows),
        // So they were sampled.
        Order::Name => Ordering::Equal,
    }
}

fn rates(sample: &Sample) -> Vec<Row> {
    let row = |rate: &super::sample::Rate| Row {
        cells: vec![
            escape(&rate.interface),
            rate.direction.to_owned(),
            if rate.is_allowed { "allowed" } else { "dropped" }.to_owned(),
            rate.reason.to_owned(),
            rate.total.to_string(),
        ],
        flows: 0,
        packets: rate.packets,
        bytes: rate.bytes,
        is_drop: !rate.is_allowed,
    };
    sample.rates.iter().map(row).collect()
}

fn talk(cells: Vec<String>, talk: &super::sample::Talk) -> Row {
    Row { cells, flows: talk.flows, packets: talk.packets, bytes: talk.bytes, is_drop: false }
}

fn remotes(sample: &Sample) -> Vec<Row> {
    sample.remotes.iter().map(|remote| talk(vec![remote.name.clone()], remote)).collect()
}

fn ports(sample: &Sample) -> Vec<Row> {
    let row = |port: &super::sample::Talk| talk(vec![port.name.clone(), port.way.to_owned()], port);
    sample.services.iter().map(row).collect()
}

/// Time, how many, interface, direction, reason, protocol, and from where to where.
fn drop_row(dropped: &Dropped) -> Option<Row> {
    let line = dropped.line()?;
    let times = format!("×{}", dropped.packets);
    let interface = escape(&line.interface);
    let (direction, reason) = (line.direction.to_owned(), line.reason.to_owned());
    let kind = line.protocol.as_deref().or(line.ethertype.as_deref()).unwrap_or("-").to_owned();
    let cells = vec![clock(&line.time), times, interface, direction, reason, kind, way(&line)];
    Some(Row { cells, flows: 0, packets: 0.0, bytes: 0.0, is_drop: true })
}

/// The time of day in a time of RFC 3339.
pub fn clock(time: &str) -> String {
    time.split('T').nth(1).map_or_else(String::new, |rest| rest.chars().take(8).collect())
}

/// `198.51.100.7:40000 → 10.0.0.1:22`, in the direction in which the packet went, and what else tells it from others.
fn way(line: &Line) -> String {
    let end = |address: Option<std::net::IpAddr>, port: Option<u16>| match (address, port) {
        (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, _) => "-".to_owned(),
    };
    let (local, remote) = (end(line.local, line.local_port), end(line.remote, line.remote_port));
    let mut way = match line.direction {
        "ingress" => format!("{remote} → {local}"),
        _ => format!("{local} → {remote}"),
    };
    if let Some(flags) = line.tcp_flags.as_ref().filter(|flags| !flags.is_empty()) {
        way += &format!("  {}", flags.join(","));
    }
    if let (Some(kind), Some(code)) = (line.icmp_type, line.icmp_code) {
        way += &format!("  type {kind} code {code}");
    }
    if let Some(vlans) = line.vlans.as_ref().filter(|vlans| !vlans.is_empty()) {
        let vlans: Vec<String> = vlans.iter().map(ToString::to_string).collect();
        way += &format!("  vlan {}", vlans.join("."));
    }
    way
}
