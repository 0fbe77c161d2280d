//! Draws the screen: a pure function of what is to be shown and of the room that there is.

mod figures;
mod panels;

use super::{
    input::HELP,
    sample::Sample,
    screen::{Panel, Screen},
};
use crate::{observe::Filled, render::escape, time::rfc3339};
use figures::{bar, human};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Margin, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Block, Borders, Clear, Paragraph, RenderDirection, Sparkline, Wrap},
};

/// Less is no screen.
const LEAST: (u16, u16) = (64, 14);
/// From so many columns on rates and talkers stand beside each other.
const WIDE: u16 = 158;
/// From so many lines on there is room for curves.
const TALL: u16 = 34;

/// What passes.
const ALLOWED: Color = Color::Green;
/// What is dropped.
const DROPPED: Color = Color::Red;
/// What is said of the screen itself.
const QUIET: Color = Color::DarkGray;
/// What is chosen.
const CHOSEN: Color = Color::Cyan;

/// What else there is to know.
const OF_FLOWS: &str = " Remotes and ports are of tracked flows, rates of all packets.";

/// Draws it. Returns how many rows the panel in front has room for.
pub fn draw(frame: &mut Frame<'_>, screen: &Screen) -> usize {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let (width, height) = LEAST;
        let words = format!("top takes {width} columns and {height} lines at least; q ends it");
        frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), area);
        return 1;
    }
    let curves = if area.height >= TALL && !screen.is_zoomed { 6 } else { 0 };
    let [head, fill, curve, body, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(2),
        Constraint::Length(curves),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    header(frame, head, screen);
    if let Some(sample) = &screen.sample {
        tables(frame, fill, sample);
    }
    if curves > 0 {
        history(frame, curve, screen);
    }
    let mut page = 1;
    for (panel, area) in places(body, screen) {
        let rows = panels::draw(frame, area, screen, panel);
        if panel == screen.front {
            page = rows;
        }
    }
    footer(frame, foot, screen);
    if screen.is_helping {
        help(frame, area);
    }
    page
}

/// Where the panels go.
fn places(body: Rect, screen: &Screen) -> Vec<(Panel, Rect)> {
    if screen.is_zoomed {
        return vec![(screen.front, body)];
    }
    let shares = |of: &[u16]| of.iter().map(|share| Constraint::Fill(*share)).collect::<Vec<_>>();
    if body.width >= WIDE {
        let [above, below] = Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).areas(body);
        let beside = [
            Constraint::Fill(1),
            Constraint::Length(panels::REMOTES_WIDTH),
            Constraint::Length(panels::PORTS_WIDTH),
        ];
        let above = Layout::horizontal(beside).spacing(1).split(above);
        return vec![
            (Panel::Rates, above[0]),
            (Panel::Remotes, above[1]),
            (Panel::Ports, above[2]),
            (Panel::Drops, below),
        ];
    }
    let lines = Layout::vertical(shares(&[8, 6, 5])).split(body);
    // Ports are as wide as they ever get; addresses take the rest.
    let between = Layout::horizontal([Constraint::Fill(1), Constraint::Length(panels::PORTS_WIDTH)])
        .spacing(1)
        .split(lines[1]);
    vec![
        (Panel::Rates, lines[0]),
        (Panel::Remotes, between[0]),
        (Panel::Ports, between[1]),
        (Panel::Drops, lines[2]),
    ]
}

fn header(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let sample = screen.sample.as_ref();
    let what = match (&screen.only, sample.map(|sample| sample.interfaces)) {
        (Some(name), _) => name.clone(),
        (None, Some(1)) => "1 interface".to_owned(),
        (None, Some(count)) => format!("{count} interfaces"),
        (None, None) => String::new(),
    };
    let mut left = vec![" sg-ctl top ".bold().reversed(), Span::raw("  "), what.bold()];
    if screen.is_paused {
        left.extend([Span::raw("  "), " PAUSED ".fg(Color::Yellow).reversed()]);
    }
    let time = sample.map_or_else(String::new, |sample| rfc3339(sample.time).replace('T', " "));
    let [first, second] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    frame.render_widget(Line::from(left), first);
    frame.render_widget(Line::from(format!("{time} ")).right_aligned(), first);
    let Some(sample) = sample else { return };
    if sample.seconds.is_none() {
        frame.render_widget(Line::from(" measuring …").fg(QUIET), second);
        return;
    }
    let rate = |name: &'static str, (packets, bytes): (f64, f64), colour: Color| {
        [
            Span::styled(format!(" {name} "), Style::new().fg(colour)),
            human(packets).bold(),
            Span::raw(" pkt/s  "),
            human(bytes).bold(),
            Span::raw(" B/s "),
        ]
    };
    let mut sums: Vec<Span<'_>> = rate("allowed", sample.sum(true), ALLOWED).into();
    sums.extend(rate("dropped", sample.sum(false), DROPPED));
    sums.extend([" new flows ".fg(CHOSEN), human(sample.new_flows).bold(), "/s ".into()]);
    if sample.exceeded > 0.0 {
        sums.push(format!(" TABLE FULL {}/s ", human(sample.exceeded)).fg(DROPPED).reversed());
    }
    frame.render_widget(Line::from(sums), second);
}

/// How full the flow tables are, a line a family: live flows solid, places that flows which are over still take shaded.
fn tables(frame: &mut Frame<'_>, area: Rect, sample: &Sample) {
    const NAMES: [[&str; 3]; 2] =
        [["established4", "answered4", "pending4"], ["established6", "answered6", "pending6"]];
    let lines: [Rect; 2] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    for ((line, names), filled) in lines.into_iter().zip(NAMES).zip(&sample.tally.tables) {
        let cells: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).areas(line);
        for ((cell, name), table) in cells.into_iter().zip(names).zip(filled) {
            frame.render_widget(table_line(name, table, cell.width), cell);
        }
    }
}

fn table_line(name: &str, table: &Filled, width: u16) -> Line<'static> {
    let share = |entries: u64| entries as f64 / table.limit.max(1) as f64;
    let colour = match share(table.live) {
        share if share >= 0.9 => DROPPED,
        share if share >= 0.7 => Color::Yellow,
        _ => ALLOWED,
    };
    let mut words = format!(" {:>5.1}%", 100.0 * share(table.live));
    if width >= 50 {
        words += &format!("  {:>7} of {:<7}", table.live, table.limit);
    }
    let room = usize::from(width).saturating_sub(14 + words.len() + 1);
    let (solid, shaded) = (bar(share(table.live), room), bar(share(table.entries), room));
    let left = room.saturating_sub(solid.chars().count());
    let shade = shaded.chars().count().saturating_sub(solid.chars().count());
    Line::from(vec![
        format!(" {name:<12} ").into(),
        solid.fg(colour),
        "▒".repeat(shade).fg(QUIET),
        "·".repeat(left - shade).fg(QUIET),
        words.into(),
    ])
}

fn history(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let curves = [
        ("allowed packets/s", &screen.history.allowed, ALLOWED),
        ("dropped packets/s", &screen.history.dropped, DROPPED),
        ("new flows/s", &screen.history.new_flows, CHOSEN),
    ];
    let places: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).spacing(1).areas(area);
    for ((name, curve, colour), place) in curves.into_iter().zip(places) {
        let newest: Vec<u64> = curve.iter().rev().take(place.width.into()).copied().collect();
        let most = newest.iter().max().copied().unwrap_or(0);
        let title = Line::from(vec![
            format!(" {name} ").into(),
            format!("at most {} ", human(most as f64)).fg(QUIET),
        ]);
        let block = Block::new().borders(Borders::TOP).border_style(Style::new().fg(QUIET)).title(title);
        let curve = Sparkline::default().data(newest).max(most.max(1)).style(Style::new().fg(colour));
        frame.render_widget(curve.direction(RenderDirection::RightToLeft).block(block), place);
    }
}

fn footer(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    if screen.is_typing {
        let line = Line::from(vec![
            " /".bold(),
            escape(&screen.filter).into(),
            "█".into(),
            "   Enter keeps it, Esc takes it away".fg(QUIET),
        ]);
        frame.render_widget(line, area);
        return;
    }
    let mut spans = Vec::new();
    if !screen.filter.is_empty() {
        spans.push(format!(" only “{}”, Esc: all ", escape(&screen.filter)).fg(Color::Yellow).reversed());
    }
    let keys = [
        ("q", "end"),
        ("?", "help"),
        ("/", "filter"),
        ("Space", if screen.is_paused { "go on" } else { "pause" }),
        ("Tab", "panel"),
        ("s", "sort"),
        ("r", "reverse"),
        ("Enter", if screen.is_zoomed { "all panels" } else { "zoom" }),
    ];
    for (key, does) in keys {
        spans.extend([format!(" {key}").bold().fg(CHOSEN), format!(" {does} ").fg(QUIET)]);
    }
    frame.render_widget(Line::from(spans), area);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let mut lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(keys, does)| Line::from(vec![format!("{keys:>15}  ").bold().fg(CHOSEN), (*does).into()]))
        .collect();
    lines.extend([Line::default(), Line::from(OF_FLOWS).fg(QUIET)]);
    let height = lines.len() as u16 + 2;
    let room = area.inner(Margin { horizontal: 1, vertical: 1 });
    let place = room.centered(Constraint::Length(86), Constraint::Length(height));
    let block = Block::bordered().title(" Keys ").border_style(Style::new().fg(CHOSEN));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

/// Of what is not moving.
fn faded(style: Style) -> Style {
    style.add_modifier(Modifier::DIM)
}

#[cfg(test)]
mod tests;
