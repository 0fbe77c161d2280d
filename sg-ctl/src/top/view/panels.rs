//! The panels: a title, heads, rows.

use super::{
    super::screen::{Order, Panel, Row, Screen},
    ALLOWED, CHOSEN, DROPPED, QUIET,
    figures::{bar, clip, human},
};
use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::{Color, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row as Drawn, Table},
};

/// What the panel of ports takes.
pub const PORTS_WIDTH: u16 = 34;
/// What that of remotes takes with the longest address.
pub const REMOTES_WIDTH: u16 = 61;

/// A column.
struct Column {
    head: &'static str,
    /// Characters.
    width: u16,
    is_right: bool,
    /// Rows can be in the order of it.
    order: Option<Order>,
}

const fn left(head: &'static str, width: u16, order: Option<Order>) -> Column {
    Column { head, width, is_right: false, order }
}

const fn right(head: &'static str, width: u16, order: Option<Order>) -> Column {
    Column { head, width, is_right: true, order }
}

/// Draws a panel. Returns how many rows it has room for.
pub fn draw(frame: &mut Frame<'_>, area: Rect, screen: &Screen, panel: Panel) -> usize {
    let rows = screen.rows(panel);
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().fg(if panel == screen.front { CHOSEN } else { QUIET }))
        .title(title(screen, panel, rows.len()));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let heads = u16::from(panel != Panel::Drops);
    let room = usize::from(inner.height.saturating_sub(heads));
    if rows.is_empty() {
        let nothing = Paragraph::new(Line::from(format!(" {}", nothing(screen, panel))).fg(QUIET));
        frame.render_widget(nothing, inner);
        return room.max(1);
    }
    let from = screen.how(panel).from.min(rows.len().saturating_sub(room));
    let shown = &rows[from..rows.len().min(from + room)];
    let columns = columns(panel, &rows, inner.width);
    let order = screen.how(panel).order;
    let most = rows.iter().map(|row| row.packets).fold(0.0, f64::max);
    let drawn = shown.iter().map(|row| {
        let texts = texts(panel, row, &columns, most);
        let cells = texts.into_iter().zip(&columns).map(|(text, column)| {
            let text = clip(&text, column.width.into());
            Cell::from(if column.is_right { Line::from(text).right_aligned() } else { Line::from(text) })
        });
        Drawn::new(cells).style(style(panel, row))
    });
    let widths = columns.iter().map(|column| Constraint::Length(column.width));
    let mut table = Table::new(drawn, widths).column_spacing(1);
    if panel != Panel::Drops {
        let head = columns.iter().map(|column| {
            let is_chosen = column.order == Some(order);
            let text = if is_chosen { Span::from(column.head).underlined() } else { Span::from(column.head) };
            let line = Line::from(text);
            Cell::from(if column.is_right { line.right_aligned() } else { line })
        });
        table = table.header(Drawn::new(head).style(Style::new().bold()));
    }
    frame.render_widget(table, inner);
    room.max(1)
}

fn title(screen: &Screen, panel: Panel, rows: usize) -> Line<'static> {
    let name = match panel {
        Panel::Rates => "1 Rates",
        Panel::Remotes => "2 Remotes",
        Panel::Ports => "3 Ports",
        Panel::Drops => "4 Last drops",
    };
    let is_front = panel == screen.front;
    let name = Span::from(format!(" {name} ")).fg(Color::Reset);
    let name = if is_front { name.fg(CHOSEN).bold().reversed() } else { name.bold() };
    let look = screen.how(panel);
    let is_partial = screen.sample.as_ref().is_some_and(|sample| sample.is_partial);
    let more = match (panel, look.order) {
        (Panel::Drops, _) if screen.drops.missed > 0 => {
            format!(" {rows}, {} more not told ", screen.drops.missed)
        }
        (Panel::Drops, _) => format!(" {rows} "),
        (_, order) => {
            let by = match order {
                Order::Packets => "packets",
                Order::Bytes => "bytes",
                Order::Flows => "flows",
                Order::Name => "name",
            };
            let arrow = if look.is_reversed == (order == Order::Name) { "↓" } else { "↑" };
            let count =
                if is_partial && panel != Panel::Rates { "busiest".to_owned() } else { rows.to_string() };
            format!(" {count}, by {by} {arrow} ")
        }
    };
    Line::from(vec![name, more.fg(QUIET)])
}

fn nothing(screen: &Screen, panel: Panel) -> String {
    if panel == Panel::Drops
        && let Some(refusal) = &screen.drops.refusal
    {
        return format!("none can be shown: {refusal}");
    }
    if !screen.filter.is_empty() {
        return "nothing has this text".to_owned();
    }
    match panel {
        _ if screen.sample.is_none() => "looking …",
        Panel::Rates => "no packet has been counted",
        Panel::Remotes | Panel::Ports => "no tracked flow",
        Panel::Drops => "none since this began",
    }
    .to_owned()
}

/// The columns that there is room for.
fn columns(panel: Panel, rows: &[Row], width: u16) -> Vec<Column> {
    let longest = |cell: usize| {
        let lengths = rows.iter().filter_map(|row| row.cells.get(cell)).map(|text| text.chars().count());
        lengths.max().unwrap_or(0) as u16
    };
    let (packets, bytes, name) = (Some(Order::Packets), Some(Order::Bytes), Some(Order::Name));
    let rates = [right("PKT/S", 6, packets), right("BYTES/S", 7, bytes)];
    let mut columns = match panel {
        Panel::Rates => {
            let mut columns = vec![
                left("INTERFACE", longest(0).clamp(9, 20), name),
                left("DIRECTION", 9, None),
                left("VERDICT", 7, None),
                left("REASON", 15, None),
            ];
            columns.extend(rates);
            let left_over = width.saturating_sub(taken(&columns) + 1);
            if left_over >= 32 {
                columns.push(right("PACKETS", 13, None));
            }
            let left_over = width.saturating_sub(taken(&columns) + 2);
            if left_over >= 4 {
                columns.push(left("", left_over, None));
            }
            return columns;
        }
        Panel::Remotes => vec![left("REMOTE", 0, name), right("FLOWS", 6, Some(Order::Flows))],
        Panel::Ports => {
            vec![left("PORT", 0, name), left("WAY", 3, None), right("FLOWS", 6, Some(Order::Flows))]
        }
        Panel::Drops => vec![
            left("", 8, None),
            right("", longest(1), None),
            left("", longest(2).clamp(1, 20), None),
            left("", 7, None),
            left("", longest(4), None),
            left("", longest(5), None),
            left("", 0, None),
        ],
    };
    if panel != Panel::Drops {
        columns.extend(rates);
    }
    let rest = width.saturating_sub(taken(&columns));
    let most = if panel == Panel::Drops { rest } else { rest.min(39) };
    columns.iter_mut().filter(|column| column.width == 0).for_each(|column| column.width = most);
    columns
}

/// Of the width, with the gaps.
fn taken(columns: &[Column]) -> u16 {
    columns.iter().map(|column| column.width + 1).sum::<u16>().saturating_sub(1)
}

fn texts(panel: Panel, row: &Row, columns: &[Column], most: f64) -> Vec<String> {
    let rates = [human(row.packets), human(row.bytes)];
    let cells = row.cells.iter().cloned();
    match panel {
        Panel::Rates => {
            let mut texts: Vec<String> = cells.take(4).chain(rates).collect();
            if columns.iter().any(|column| column.head == "PACKETS") {
                texts.extend(row.cells.get(4).cloned());
            }
            if columns.len() > texts.len() {
                let room = columns.last().map_or(0, |column| column.width);
                texts.push(bar(if most > 0.0 { row.packets / most } else { 0.0 }, room.into()));
            }
            texts
        }
        Panel::Remotes | Panel::Ports => cells.chain([row.flows.to_string()]).chain(rates).collect(),
        Panel::Drops => cells.collect(),
    }
}

fn style(panel: Panel, row: &Row) -> Style {
    let style = match panel {
        Panel::Rates if row.is_drop => Style::new().fg(DROPPED),
        Panel::Rates => Style::new().fg(ALLOWED),
        _ => Style::new().fg(Color::Reset),
    };
    if panel != Panel::Drops && row.packets == 0.0 { super::faded(style) } else { style }
}
