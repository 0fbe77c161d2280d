//! Numbers and bars.

/// A number in at most five characters: `7.5`, `123`, `12.3k`, `1.2M`.
pub fn human(number: f64) -> String {
    const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let (mut number, mut unit) = (number, 0);
    // What would be rounded up to the next unit is one of it.
    while number >= 999.5 && unit + 1 < UNITS.len() {
        number /= 1_000.0;
        unit += 1;
    }
    let is_whole = unit == 0 && (number.fract() == 0.0 || number >= 99.95);
    let places = usize::from(!is_whole && number < 99.95);
    format!("{number:.places$}{}", UNITS[unit])
}

/// So much of so many characters, to an eighth of one. What is more than nothing is seen.
pub fn bar(share: f64, room: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * room as f64 * 8.0).round() as usize;
    let eighths = if share > 0.0 && room > 0 { eighths.max(1) } else { eighths };
    format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8])
}

/// Text in so many characters; what does not fit is said to be missing.
pub fn clip(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(room.saturating_sub(1)).collect();
    clipped.push('…');
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.5, "0.5"),
            (12.0, "12"),
            (12.34, "12.3"),
            (99.96, "100"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (12_345.0, "12.3k"),
            (123_456.0, "123k"),
            (999_950.0, "1.0M"),
            (2.5e9, "2.5G"),
            (7e18, "7000P"),
        ];
        for (number, words) in cases {
            assert_eq!(human(number), words);
        }
    }

    #[test]
    fn bars_are_as_long_as_they_say() {
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(0.0001, 4), "▏");
        assert_eq!(bar(0.0, 4), "");
        assert_eq!(bar(7.0, 3), "███");
        assert_eq!(bar(0.3, 1), "▎");
    }

    #[test]
    fn what_is_cut_off_is_marked() {
        assert_eq!(clip("2001:db8::1", 11), "2001:db8::1");
        assert_eq!(clip("2001:db8::1", 6), "2001:…");
    }
}
