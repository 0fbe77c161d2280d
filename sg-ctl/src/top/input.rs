//! What keys do.

use super::screen::{Order, Panel, Screen};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What comes after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The screen as it is now.
    Draw,
    /// The user has seen enough.
    Quit,
}

/// The keys, and what they do, in the words of the help.
pub const HELP: [(&str, &str); 11] = [
    ("q, Ctrl-C", "end"),
    ("Space", "pause, and go on"),
    ("/", "only rows with a text; Enter keeps it, Esc ends it"),
    ("Tab, ← →, 1-4", "put another panel in front"),
    ("s", "sort the panel in front by its next column"),
    ("p b f n", "sort by packets, bytes, flows, name; again: other way"),
    ("r", "turn the order round"),
    ("↑ ↓ PgUp PgDn", "scroll it (also k and j); Home and End"),
    ("Enter, z", "give it the whole screen, and back"),
    ("Esc", "take away help, filter or zoom"),
    ("?, h", "this"),
];

impl Screen {
    /// Does what a key is for.
    pub fn key(&mut self, key: &KeyEvent) -> Next {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Next::Quit;
        }
        if self.is_typing {
            self.type_filter(key.code, is_control);
            return Next::Draw;
        }
        if self.is_helping {
            self.is_helping = false;
            return if key.code == KeyCode::Char('q') { Next::Quit } else { Next::Draw };
        }
        if is_control || key.modifiers.contains(KeyModifiers::ALT) {
            return Next::Draw;
        }
        let page = isize::try_from(self.page.max(1)).unwrap_or(isize::MAX);
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('?' | 'h') => self.is_helping = true,
            KeyCode::Char('s') => self.sort_by_next(),
            KeyCode::Char('p') => self.sort_by(Order::Packets),
            KeyCode::Char('b') => self.sort_by(Order::Bytes),
            KeyCode::Char('f') => self.sort_by(Order::Flows),
            KeyCode::Char('n') => self.sort_by(Order::Name),
            KeyCode::Char('r') => {
                let look = self.how_front();
                look.is_reversed = !look.is_reversed;
            }
            KeyCode::Char(digit @ '1'..='4') => self.front = Panel::ALL[digit as usize - '1' as usize],
            KeyCode::Tab | KeyCode::Right => self.next_panel(1),
            KeyCode::BackTab | KeyCode::Left => self.next_panel(Panel::ALL.len() - 1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(-1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(1),
            KeyCode::PageUp => self.scroll(-page),
            KeyCode::PageDown => self.scroll(page),
            KeyCode::Home => self.scroll(isize::MIN),
            KeyCode::End => self.scroll(isize::MAX),
            KeyCode::Enter | KeyCode::Char('z') => self.is_zoomed = !self.is_zoomed,
            KeyCode::Esc if self.filter.is_empty() => self.is_zoomed = false,
            KeyCode::Esc => self.filter.clear(),
            _ => {}
        }
        Next::Draw
    }

    fn type_filter(&mut self, code: KeyCode, is_control: bool) {
        /// Longer than whatever is shown.
        const LONGEST: usize = 64;
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char('u') if is_control => self.filter.clear(),
            KeyCode::Char(c) if !is_control && !c.is_control() && self.filter.len() < LONGEST => {
                self.filter.push(c);
            }
            _ => {}
        }
        // What was scrolled to may not be there any more.
        for panel in Panel::ALL {
            self.scroll_to_start(panel);
        }
    }
}
