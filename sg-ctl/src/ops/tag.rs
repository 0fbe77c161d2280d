//! Tags as they are typed, `KEY=VALUE` (M-44).

use crate::{
    error::{Refusal, Result},
    model::Tags,
};

/// Tags at most on one resource (M-44).
pub const MAX_TAGS: usize = 50;
/// Characters at most in a key (M-44).
pub const MAX_KEY: usize = 128;
/// Characters at most in a value (M-44).
pub const MAX_VALUE: usize = 256;

/// Reads tags. A key given twice is refused: nobody can tell which value was meant.
pub fn parse(given: &[String]) -> Result<Tags> {
    let mut tags = Tags::new();
    for text in given {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Refusal::invalid(format!("Tag '{text}' is not of the form KEY=VALUE")).into());
        };
        if key.is_empty() || key.chars().count() > MAX_KEY || key.starts_with("aws:") {
            return Err(Refusal::new(
                "InvalidTagKey.Malformed",
                format!("Tag key '{key}' is not 1 to {MAX_KEY} characters that do not begin with 'aws:'"),
            )
            .into());
        }
        if value.chars().count() > MAX_VALUE {
            return Err(Refusal::invalid(format!(
                "The value of tag '{key}' is longer than {MAX_VALUE} characters"
            ))
            .into());
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Refusal::invalid(format!("Duplicate tag key '{key}' specified.")).into());
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(Refusal::new(
            "TagLimitExceeded",
            format!("{} tags are given; a resource has at most {MAX_TAGS}", tags.len()),
        )
        .into());
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::refusal;

    fn tags(given: &[&str]) -> Result<Tags> {
        parse(&given.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn m44_the_first_equals_sign_divides() {
        let read = tags(&["Name=web", "expr=a=b", "empty="]).unwrap();
        assert_eq!(read["Name"], "web");
        assert_eq!(read["expr"], "a=b");
        assert_eq!(read["empty"], "");
    }

    #[test]
    fn m44_limits_are_ec2s() {
        let long_key = format!("{}=v", "k".repeat(129));
        assert_eq!(refusal(tags(&[&long_key])).code, "InvalidTagKey.Malformed");
        assert_eq!(refusal(tags(&["aws:x=v"])).code, "InvalidTagKey.Malformed");
        assert_eq!(refusal(tags(&["=v"])).code, "InvalidTagKey.Malformed");
        assert_eq!(refusal(tags(&[&format!("k={}", "v".repeat(257))])).code, "InvalidParameterValue");
        assert_eq!(refusal(tags(&["k"])).code, "InvalidParameterValue");
        assert_eq!(refusal(tags(&["k=1", "k=2"])).code, "InvalidParameterValue");
        let many: Vec<String> = (0..51).map(|n| format!("k{n}=v")).collect();
        assert_eq!(refusal(parse(&many)).code, "TagLimitExceeded");
        assert_eq!(parse(&many[..50]).unwrap().len(), 50);
    }
}
