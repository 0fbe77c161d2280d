//! The screen, rendered to a buffer: what stands where, at several sizes and in several states.

use super::*;
use crate::{
    monitor::{Heard, Where},
    observe::Tally,
    top::{
        drops::tests::{place, syn},
        input::Next,
        sample::{Rate, Talk},
    },
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer};
use std::time::Duration;

fn rate(direction: &'static str, is_allowed: bool, reason: &'static str, packets: f64) -> Rate {
    let (interface, bytes) = ("eth0".to_owned(), 100.0 * packets);
    Rate { interface, direction, is_allowed, reason, packets, bytes, total: 10 * packets as u64 }
}

fn talk(name: &str, way: &'static str, flows: u64, packets: f64, bytes: f64) -> Talk {
    Talk { name: name.to_owned(), way, flows, packets, bytes }
}

fn sample() -> Sample {
    let mut tally = Tally::default();
    for tables in &mut tally.tables {
        tables.fill(Filled { entries: 0, live: 0, limit: 1_000 });
    }
    tally.tables[0][0] = Filled { entries: 800, live: 500, limit: 1_000 };
    Sample {
        time: 951_782_400,
        seconds: Some(1.0),
        interfaces: 1,
        rates: vec![
            rate("egress", true, "tracked", 400.0),
            rate("ingress", true, "new", 12.0),
            rate("ingress", true, "tracked", 1_200.0),
            rate("ingress", false, "no_rule", 30.5),
        ],
        new_flows: 12.0,
        tally,
        remotes: vec![
            talk("198.51.100.7", "", 3, 5.0, 9_000.0),
            talk("2001:db8:1111:2222:3333:4444:5555:6666", "", 1, 900.0, 100.0),
        ],
        services: vec![
            talk("tcp/443", "in", 2, 905.0, 9_100.0),
            talk("tcp/443", "out", 40, 0.0, 0.0),
            talk("udp/53", "in", 9, 77.0, 500.0),
        ],
        ..Sample::default()
    }
}

fn screen() -> Screen {
    let mut screen = Screen::new(None);
    screen.look(sample());
    let place = place("eth0");
    for (event, second) in [(syn(7, 40_000), 1), (syn(9, 40_001), 2), (syn(7, 40_002), 3)] {
        screen.hear(&Heard::Packet(&event, Duration::from_secs(951_782_400 + second), &place));
    }
    screen
}

fn render(screen: &Screen, width: u16, height: u16) -> (Vec<String>, Buffer, usize) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut page = 0;
    terminal.draw(|frame| page = draw(frame, screen)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    ((0..height).map(line).collect(), buffer, page)
}

fn lines(screen: &Screen, width: u16, height: u16) -> Vec<String> {
    render(screen, width, height).0
}

fn press(screen: &mut Screen, keys: &[KeyCode]) {
    for key in keys {
        assert_eq!(screen.key(&KeyEvent::new(*key, KeyModifiers::NONE)), Next::Draw, "{key:?}");
    }
}

fn type_in(screen: &mut Screen, text: &str) {
    let keys: Vec<_> = text.chars().map(KeyCode::Char).collect();
    press(screen, &keys);
}

/// The first words of the rows of a panel.
fn firsts(screen: &Screen, panel: Panel, cell: usize) -> Vec<String> {
    screen.rows(panel).iter().map(|row| row.cells[cell].clone()).collect()
}

#[test]
fn all_panels_on_the_smallest_usual_terminal() {
    let expected = "\x20sg-ctl top   1 interface                                  2000-02-29 00:00:00Z
 allowed 1.6k pkt/s  161k B/s  dropped 30.5 pkt/s  3.0k B/s  new flows 12/s
 established4 ██▌▒·  50.0%  answered4    ····   0.0%  pending4     ·····   0.0%
 established6 ·····   0.0%  answered6    ····   0.0%  pending6     ·····   0.0%
 1 Rates  4, by packets ↓ ──────────────────────────────────────────────────────
INTERFACE DIRECTION VERDICT REASON           PKT/S BYTES/S
eth0      ingress   allowed tracked           1.2k    120k ████████████████████
eth0      egress    allowed tracked            400   40.0k ██████▋
eth0      ingress   dropped no_rule           30.5    3.0k ▌
eth0      ingress   allowed new                 12    1.2k ▎


 2 Remotes  2, by packets ↓ ─────────────────  3 Ports  3, by packets ↓ ────────
REMOTE                   FLOWS  PKT/S BYTES/S PORT     WAY  FLOWS  PKT/S BYTES/S
2001:db8:1111:2222:333…      1    900     100 tcp/443  in       2    905    9.1k
198.51.100.7                 3      5    9.0k udp/53   in       9     77     500
                                              tcp/443  out     40      0       0

 4 Last drops  2 ───────────────────────────────────────────────────────────────
00:00:03 ×2 eth0 ingress no_rule tcp 198.51.100.7:40002 → 10.0.0.1:22  SYN
00:00:02 ×1 eth0 ingress no_rule tcp 198.51.100.9:40001 → 10.0.0.1:22  SYN


 q end  ? help  / filter  Space pause  Tab panel  s sort  r reverse  Enter zoom";
    let shown = lines(&screen(), 80, 24);
    assert_eq!(shown.join("\n"), expected);
}

#[test]
fn a_large_terminal_has_curves_numbers_and_whole_addresses() {
    let mut screen = screen();
    for packets in [0.0, 100.0, 1_200.0] {
        let mut sample = sample();
        sample.rates[2].packets = packets;
        screen.look(sample);
    }
    let shown = lines(&screen, 200, 60);
    let all = shown.join("\n");
    for expected in
        ["allowed packets/s at most 1.6k", "dropped packets/s at most 31", "new flows/s at most 12"]
    {
        assert!(shown[4].contains(expected), "{expected}: {}", shown[4]);
    }
    assert!(shown[2].contains("50.0%      500 of 1000"), "{}", shown[2]);
    // The curve grows from the right: the last look's is as high as it gets, the one of three looks ago is at its right.
    assert!(shown[5].trim_start_matches(' ').starts_with('█'), "{}", shown[5]);
    assert!(all.contains("2001:db8:1111:2222:3333:4444:5555:6666"), "{all}");
    let above = shown.iter().find(|line| line.contains("1 Rates")).unwrap();
    assert!(above.contains("2 Remotes") && above.contains("3 Ports"), "{above}");
    assert!(lines(&screen, 80, 24).iter().all(|line| !line.contains("at most")), "no room for curves");
}

#[test]
fn no_size_is_too_small_to_say_what_is_wrong() {
    for (width, height) in [(1, 1), (20, 3), (63, 40), (200, 13)] {
        let shown = lines(&screen(), width, height);
        assert!(!shown.join("\n").contains("Rates"), "{shown:?}");
    }
    assert!(lines(&screen(), 60, 10)[0].starts_with("top takes 64 columns"));
    for (width, height) in [(64, 14), (100, 30), (500, 200)] {
        let all = lines(&screen(), width, height).join("\n");
        for panel in ["1 Rates", "2 Remotes", "3 Ports", "4 Last drops", "q end"] {
            assert!(all.contains(panel), "{panel} at {width}x{height}:\n{all}");
        }
    }
}

#[test]
fn before_the_second_look_there_are_no_rates() {
    let mut screen = Screen::new(Some("eth7"));
    assert!(lines(&screen, 80, 24)[5].contains("looking …"));
    screen.look(Sample { seconds: None, ..sample() });
    let shown = lines(&screen, 80, 24);
    assert!(shown[0].contains("eth7") && shown[1].contains("measuring …"), "{shown:?}");
    assert!(screen.history.allowed.is_empty());
    let all = shown.join("\n");
    assert!(all.contains("none since this began"), "{all}");
    screen.drops.refused("8 commands listen".to_owned());
    let all = lines(&screen, 80, 24).join("\n");
    assert!(all.contains("none can be shown: 8 commands listen"), "{all}");
}

#[test]
fn full_tables_and_lost_events_are_said() {
    let mut screen = screen();
    let mut full = sample();
    full.exceeded = 7.0;
    full.tally.tables[0][0] = Filled { entries: 1_000, live: 950, limit: 1_000 };
    full.is_partial = true;
    screen.look(full);
    screen.drops.miss(12);
    let (shown, buffer, _) = render(&screen, 100, 24);
    assert!(shown[1].contains("TABLE FULL 7/s"), "{}", shown[1]);
    assert_eq!(buffer[(14, 2)].fg, DROPPED, "95 % are a warning");
    let all = shown.join("\n");
    assert!(all.contains("2 Remotes  busiest, by packets") && all.contains(" 2, 12 more not told "), "{all}");
}

#[test]
fn what_is_dropped_and_what_is_silent_looks_different() {
    let (shown, buffer, _) = render(&screen(), 80, 24);
    let colour_of = |text: &str| {
        let y = shown.iter().position(|line| line.contains(text)).unwrap();
        (buffer[(0, y as u16)].fg, buffer[(46, y as u16)].modifier.contains(Modifier::DIM))
    };
    assert_eq!(colour_of("dropped no_rule").0, DROPPED);
    assert_eq!(colour_of("allowed new").0, ALLOWED);
    assert!(colour_of("tcp/443  out").1 && !colour_of("udp/53").1);
}

#[test]
fn names_cannot_act_upon_the_terminal() {
    let mut sample = sample();
    sample.rates[0].interface = "a\x1b[2J\u{202e}".to_owned();
    let mut screen = Screen::new(Some("b\x1b]0;x\x07"));
    screen.look(sample);
    let evil = Where { name: "c\r\n\x1b[m".to_owned(), ..place("") };
    screen.hear(&Heard::Packet(&syn(7, 1), Duration::ZERO, &evil));
    let all = lines(&screen, 120, 24).concat();
    assert!(!all.contains(|c: char| c.is_control() || c == '\u{202e}'), "{all}");
    for escaped in ["a\\u{1b}[2J", "b\\u{1b}]0;x\\u{7}", "c\\r\\n\\u{1b}[m"] {
        assert!(all.contains(escaped), "{escaped}: {all}");
    }
}

#[test]
fn keys_sort_the_panel_in_front() {
    let mut screen = screen();
    press(&mut screen, &[KeyCode::Char('2')]);
    assert_eq!(firsts(&screen, Panel::Remotes, 0)[1], "198.51.100.7", "by packets");
    type_in(&mut screen, "b");
    assert_eq!(firsts(&screen, Panel::Remotes, 0)[0], "198.51.100.7", "by bytes");
    type_in(&mut screen, "b");
    assert_eq!(firsts(&screen, Panel::Remotes, 0)[1], "198.51.100.7", "the other way");
    type_in(&mut screen, "f");
    assert_eq!(firsts(&screen, Panel::Remotes, 0)[0], "198.51.100.7", "by flows");
    assert!(lines(&screen, 80, 24).join("\n").contains("2 Remotes  2, by flows ↓"));
    // The others stay as they were.
    let by_packets = ["tracked", "tracked", "no_rule", "new"];
    assert_eq!(firsts(&screen, Panel::Rates, 3), by_packets);
    press(&mut screen, &[KeyCode::BackTab]);
    type_in(&mut screen, "f");
    assert_eq!(firsts(&screen, Panel::Rates, 3), by_packets, "rates have no flows to sort by");
    type_in(&mut screen, "ss");
    assert_eq!(firsts(&screen, Panel::Rates, 1), ["egress", "ingress", "ingress", "ingress"], "by name");
    type_in(&mut screen, "r");
    assert_eq!(firsts(&screen, Panel::Rates, 1), ["ingress", "ingress", "ingress", "egress"]);
    assert!(lines(&screen, 80, 24)[4].contains("4, by name ↓"));
    type_in(&mut screen, "s");
    assert_eq!(firsts(&screen, Panel::Rates, 3), by_packets, "round it goes");
}

#[test]
fn a_filter_hides_rows_of_every_panel_until_it_is_taken_away() {
    let mut screen = screen();
    type_in(&mut screen, "/NO_rx");
    assert!(lines(&screen, 80, 24)[23].starts_with(" /NO_rx█"), "it is being typed");
    press(&mut screen, &[KeyCode::Backspace]);
    type_in(&mut screen, "u");
    press(&mut screen, &[KeyCode::Enter]);
    assert_eq!(firsts(&screen, Panel::Rates, 3), ["no_rule"]);
    assert_eq!(screen.rows(Panel::Drops).len(), 2);
    let all = lines(&screen, 80, 24).join("\n");
    assert!(all.contains("only “NO_ru”") && all.contains("nothing has this text"), "{all}");
    // Typing is over: `s` sorts again, and does not add to the text.
    type_in(&mut screen, "s");
    assert_eq!(screen.filter, "NO_ru");
    press(&mut screen, &[KeyCode::Esc]);
    assert_eq!(screen.rows(Panel::Rates).len(), 4);
    type_in(&mut screen, "/x");
    press(&mut screen, &[KeyCode::Esc]);
    assert!(screen.filter.is_empty() && !screen.is_typing);
    assert_eq!(screen.key(&KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)), Next::Quit);
    type_in(&mut screen, "/q");
    assert_eq!(screen.key(&KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::Quit);
}

#[test]
fn while_it_is_paused_nothing_moves() {
    let mut screen = screen();
    type_in(&mut screen, " ");
    let still = lines(&screen, 80, 24);
    assert!(still[0].contains("PAUSED"), "{}", still[0]);
    screen.look(Sample { time: 0, ..Sample::default() });
    screen.hear(&Heard::Packet(&syn(11, 1), Duration::ZERO, &place("eth0")));
    assert_eq!(lines(&screen, 80, 24), still);
    type_in(&mut screen, " ");
    screen.look(Sample::default());
    assert!(!lines(&screen, 80, 24)[0].contains("PAUSED"));
    assert_eq!(screen.rows(Panel::Rates).len(), 0);
}

#[test]
fn a_panel_scrolls_and_takes_the_whole_screen() {
    let mut screen = Screen::new(None);
    let mut many = sample();
    many.remotes = (0..100).map(|n| talk(&format!("10.0.0.{n}"), "", 1, f64::from(100 - n), 0.0)).collect();
    screen.look(many);
    press(&mut screen, &[KeyCode::Tab, KeyCode::Enter]);
    let (shown, _, page) = render(&screen, 80, 24);
    screen.page = page;
    assert_eq!(page, 17, "lines less header, tables, title, heads, keys");
    assert!(!shown.join("\n").contains("1 Rates") && shown[6].starts_with("10.0.0.0 "), "{shown:?}");
    let first = |screen: &Screen| lines(screen, 80, 24)[6].split(' ').next().unwrap_or_default().to_owned();
    press(&mut screen, &[KeyCode::Down, KeyCode::Down, KeyCode::Up]);
    assert_eq!(first(&screen), "10.0.0.1");
    press(&mut screen, &[KeyCode::PageDown]);
    assert_eq!(first(&screen), "10.0.0.18");
    press(&mut screen, &[KeyCode::End]);
    assert_eq!(first(&screen), "10.0.0.83", "the last page is full");
    press(&mut screen, &[KeyCode::Home]);
    assert_eq!(first(&screen), "10.0.0.0");
    press(&mut screen, &[KeyCode::End, KeyCode::Esc]);
    assert!(lines(&screen, 80, 24).join("\n").contains("1 Rates"), "Esc ends the zoom");
}

#[test]
fn help_names_the_keys_and_any_key_ends_it() {
    let mut screen = screen();
    type_in(&mut screen, "?");
    let all = lines(&screen, 80, 24).join("\n");
    for (keys, does) in HELP {
        assert!(all.contains(keys) && all.contains(does), "{keys}, {does}:\n{all}");
    }
    assert!(all.contains(OF_FLOWS), "{all}");
    type_in(&mut screen, "b");
    assert_eq!(firsts(&screen, Panel::Rates, 3)[0], "tracked", "the key did nothing else");
    assert!(!lines(&screen, 80, 24).join("\n").contains(" Keys "));
}
