//! Aligned columns of plain text, safe for a terminal.

use std::io::{self, Write};

/// Characters at most of a cell that users wrote: the whole text is in the JSON form.
const MAX_CELL: usize = 40;

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

    /// Writes columns two spaces apart.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let line: String =
                row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}  ")).collect();
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The text, or its beginning and `…` where it is long.
pub fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_CELL {
        return text.to_owned();
    }
    text.chars().take(MAX_CELL - 1).chain(['…']).collect()
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

    #[test]
    fn long_cells_are_cut() {
        assert_eq!(cut(&"x".repeat(40)), "x".repeat(40));
        assert_eq!(cut(&"x".repeat(41)), format!("{}…", "x".repeat(39)));
    }
}
