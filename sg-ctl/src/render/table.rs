//! Aligned columns of plain text, safe for a terminal.

use super::terminal::{self, Terminal};
use std::io::{self, Write};

/// Blanks between columns.
const GAP: usize = 2;
/// A word up to this long is never broken: ids are shorter.
const LONGEST_WORD: usize = 24;

/// A table under construction.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    pub fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row. What is empty is shown as `-`, so that columns can be counted.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let shown = |cell: String| {
            if cell.is_empty() { "-".to_owned() } else { escape(&cell) }
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Writes columns two spaces apart. On a terminal that is too narrow for them, the widest cells go on in further
    /// lines; nothing is cut off.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        self.write_for(&terminal::stdout(), out)
    }

    fn write_for(&self, terminal: &Terminal, out: &mut impl Write) -> io::Result<()> {
        let widths = self.widths(terminal.width);
        let style = terminal.heads;
        for (number, row) in self.rows.iter().enumerate() {
            let cells: Vec<Vec<String>> =
                row.iter().zip(&widths).map(|(cell, &width)| wrapped(cell, width)).collect();
            for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
                let part = |cell: &Vec<String>| cell.get(line).cloned().unwrap_or_default();
                let line: String = cells
                    .iter()
                    .zip(&widths)
                    .map(|(cell, &width)| format!("{:<width$}{:GAP$}", part(cell), ""))
                    .collect();
                let line = line.trim_end();
                if number == 0 { writeln!(out, "{style}{line}{style:#}")? } else { writeln!(out, "{line}")? }
            }
        }
        Ok(())
    }

    /// How wide the columns are: as their widest cells, and, from the widest column on, less where that is too much.
    fn widths(&self, room: Option<usize>) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize, of: &dyn Fn(&str) -> usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| of(cell)).max().unwrap_or(0)
        };
        let mut widths: Vec<_> = (0..columns).map(|column| widest(column, &length)).collect();
        let least: Vec<_> = (0..columns).map(|column| widest(column, &longest_word)).collect();
        let Some(room) = room else { return widths };
        let room = room.saturating_sub(GAP * columns.saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            let can_give = (0..columns).filter(|&column| widths[column] > least[column]);
            let Some(widest) = can_give.max_by_key(|&column| widths[column]) else { break };
            widths[widest] -= 1;
        }
        widths
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// What a cell needs at least.
fn longest_word(text: &str) -> usize {
    text.split(' ').map(length).max().unwrap_or(0).min(LONGEST_WORD)
}

/// The text in lines of at most `width` characters, broken at blanks, or within words that are longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    if length(text) <= width {
        return vec![text.to_owned()];
    }
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let gap = if line.is_empty() { "" } else { " " };
            if length(&line) + gap.len() + word.len() <= width {
                line.push_str(gap);
                line.extend(word);
                break;
            }
            if line.is_empty() {
                line.extend(word.drain(..width.max(1)));
            }
            lines.push(std::mem::take(&mut line));
        }
    }
    lines.push(line);
    lines
}

/// Writes out what a terminal would act upon or show as something else: control characters, line ends, and characters
/// that reverse or hide text.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let hides = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if c.is_control() || hides {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::testing::written;

    #[test]
    fn columns_align_and_lines_have_no_trailing_spaces() {
        let mut table = Table::new(&["NAME", "X"]);
        table.row(["a".to_owned(), String::new()]);
        table.row(["longer".to_owned(), "1".to_owned()]);
        assert_eq!(written(|out| table.write(out)), "NAME    X\na       -\nlonger  1\n");
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_act_upon() {
        assert_eq!(escape("plain Grüße"), "plain Grüße");
        assert_eq!(escape("\x1b[31mred\n\u{9b}\u{202e}"), "\\u{1b}[31mred\\n\\u{9b}\\u{202e}");
        let mut table = Table::new(&["NAME"]);
        table.row(["a\x1b]0;owned\x07".to_owned()]);
        assert_eq!(written(|out| table.write(out)), "NAME\na\\u{1b}]0;owned\\u{7}\n");
    }

    fn on_a_terminal(table: &Table, width: usize) -> String {
        written(|out| table.write_for(&Terminal { width: Some(width), ..Terminal::default() }, out))
    }

    #[test]
    fn on_a_narrow_terminal_the_widest_cells_go_on_below_and_nothing_is_lost() {
        let mut table = Table::new(&["ID", "DESCRIPTION"]);
        table.row(["sg-0123456789abcdef0".to_owned(), "lets the world in by port 80".to_owned()]);
        let whole = "ID                    DESCRIPTION\nsg-0123456789abcdef0  lets the world in by port 80\n";
        assert_eq!(written(|out| table.write(out)), whole, "a pipe has no end");
        assert_eq!(on_a_terminal(&table, 50), whole);
        assert_eq!(
            on_a_terminal(&table, 40),
            "\
ID                    DESCRIPTION
sg-0123456789abcdef0  lets the world in
                      by port 80
"
        );
        // Words stay whole, and so do ids, which are copied.
        assert_eq!(on_a_terminal(&table, 10), on_a_terminal(&table, 33));
    }

    #[test]
    fn a_word_that_is_longer_than_any_id_is_broken() {
        assert_eq!(wrapped(&"x".repeat(50), 24), ["x".repeat(24), "x".repeat(24), "xx".to_owned()]);
        assert_eq!(wrapped("a b  c", 3), ["a b", "c"]);
        assert_eq!(wrapped("", 0), [""]);
    }

    #[test]
    fn heads_are_bold_where_colours_are_wanted() {
        let mut table = Table::new(&["NAME"]);
        table.row(["web".to_owned()]);
        let heads = clap::builder::styling::Style::new().bold();
        let bold = written(|out| table.write_for(&Terminal { width: None, heads }, out));
        assert_eq!(bold, "\x1b[1mNAME\x1b[0m\nweb\n");
    }
}
