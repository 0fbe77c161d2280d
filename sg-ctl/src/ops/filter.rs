//! Filters of lists, as EC2 takes them: `NAME=VALUE[,VALUE]...` (A-8).
//!
//! Values are alternatives, several filters must all hold. `*` stands for any text and `?` for one character; a backslash
//! takes the meaning from either, and from a comma. Names and values are case-sensitive.

use super::nearest;
use crate::error::{Refusal, Result};

/// What a filter of one kind of object may look at.
pub trait Field: Sized {
    /// Names for a message, those with a variable part left out.
    const NAMES: &'static [&'static str];

    /// The field of that name.
    fn named(name: &str) -> Option<Self>;
}

/// Filters that must all hold.
#[derive(Clone, Debug)]
pub struct Filters<F>(Vec<(F, Vec<Pattern>)>);

impl<F: Field> Filters<F> {
    /// Reads what was typed.
    pub fn read(given: &[String]) -> Result<Self> {
        given.iter().map(|text| read(text)).collect::<Result<_>>().map(Self)
    }

    /// Whether an object passes, whose values of a field are those.
    pub fn admit(&self, values: impl Fn(&F) -> Vec<String>) -> bool {
        self.0.iter().all(|(field, patterns)| {
            values(field).iter().any(|value| patterns.iter().any(|pattern| pattern.matches(value)))
        })
    }
}

fn read<F: Field>(text: &str) -> Result<(F, Vec<Pattern>)> {
    let Some((name, values)) = text.split_once('=') else {
        return Err(Refusal::invalid(format!("Filter '{text}' is not of the form NAME=VALUE")).into());
    };
    let field = F::named(name).ok_or_else(|| {
        let next = nearest(name, F::NAMES.iter().copied()).map(|near| format!("; did you mean '{near}'?"));
        Refusal::invalid(format!("The filter '{name}' is invalid{}", next.unwrap_or_default()))
    })?;
    Ok((field, Pattern::alternatives(values)))
}

/// One value of a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pattern(Vec<Token>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Character(char),
    One,
    Any,
}

impl Pattern {
    /// Divides at commas.
    fn alternatives(text: &str) -> Vec<Self> {
        let mut patterns = vec![Self::default()];
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            let token = match c {
                ',' => {
                    patterns.push(Self::default());
                    continue;
                }
                '*' => Token::Any,
                '?' => Token::One,
                // At the end it stands for itself.
                '\\' => Token::Character(characters.next().unwrap_or('\\')),
                c => Token::Character(c),
            };
            if let Some(last) = patterns.last_mut() {
                last.0.push(token);
            }
        }
        patterns
    }

    /// Whether it stands for the whole text.
    fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut token, mut at) = (0, 0);
        // Where to go on when what follows the last `*` does not fit: it then takes one character more.
        let mut retry = None;
        while at < text.len() {
            match self.0.get(token) {
                Some(Token::Any) => {
                    retry = Some((token + 1, at));
                    token += 1;
                }
                Some(Token::One) => (token, at) = (token + 1, at + 1),
                Some(Token::Character(c)) if *c == text[at] => (token, at) = (token + 1, at + 1),
                _ => {
                    let Some((after, from)) = retry else { return false };
                    retry = Some((after, from + 1));
                    (token, at) = (after, from + 1);
                }
            }
        }
        self.0[token..].iter().all(|token| *token == Token::Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::refused;

    /// Two fields, to try the machinery on.
    #[derive(Debug)]
    enum Two {
        Name,
        Size,
    }

    impl Field for Two {
        const NAMES: &'static [&'static str] = &["group-name", "size"];

        fn named(name: &str) -> Option<Self> {
            match name {
                "group-name" => Some(Self::Name),
                "size" => Some(Self::Size),
                _ => None,
            }
        }
    }

    fn admits(given: &[&str], names: &[&str]) -> bool {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        let filters = Filters::<Two>::read(&given).unwrap();
        filters.admit(|field| match field {
            Two::Name => names.iter().map(ToString::to_string).collect(),
            Two::Size => vec!["7".to_owned()],
        })
    }

    #[test]
    fn a8_values_are_alternatives_and_filters_add_up() {
        assert!(admits(&[], &[]));
        assert!(admits(&["group-name=db,web"], &["web"]));
        assert!(!admits(&["group-name=db,web"], &["mail"]));
        assert!(admits(&["group-name=web", "size=7"], &["web"]));
        assert!(!admits(&["group-name=web", "size=8"], &["web"]));
        // The same name twice is two filters: of two values each meets one.
        assert!(admits(&["group-name=a", "group-name=b"], &["a", "b"]));
        assert!(!admits(&["group-name=a", "group-name=b"], &["a"]));
        assert!(!admits(&["group-name=*"], &[]), "nothing is there to match");
    }

    #[test]
    fn a8_wildcards_and_what_takes_their_meaning() {
        for (pattern, fits, does_not) in [
            ("web", "web", "Web"),
            ("web", "web", "web1"),
            ("web*", "web", "we"),
            ("*web", "my-web", "web-my"),
            ("*e*b*", "web", "wbe"),
            ("w?b", "wéb", "wb"),
            ("a*b*c", "aXbbYc", "aXbbY"),
            ("a**", "a", "ba"),
            ("a*bab", "ababab", "ababa"),
            (r"a\*b", "a*b", "aXb"),
            (r"a\?", "a?", "ab"),
            (r"a\,b", "a,b", "a"),
            (r"a\\b", r"a\b", r"a\\b"),
            (r"a\", r"a\", "a"),
            ("", "", "a"),
        ] {
            let filter = format!("group-name={pattern}");
            assert!(admits(&[&filter], &[fits]), "{pattern} {fits}");
            assert!(!admits(&[&filter], &[does_not]), "{pattern} {does_not}");
        }
    }

    #[test]
    fn a8_an_unknown_filter_is_refused() {
        let given = |text: &str| Filters::<Two>::read(&[text.to_owned()]);
        for (text, message) in [
            ("colour=red", "The filter 'colour' is invalid"),
            ("Size=7", "The filter 'Size' is invalid; did you mean 'size'?"),
            ("groupname=x", "The filter 'groupname' is invalid; did you mean 'group-name'?"),
            ("size", "Filter 'size' is not of the form NAME=VALUE"),
        ] {
            assert_eq!(refused(given(text)), format!("InvalidParameterValue: {message}"));
        }
    }
}
