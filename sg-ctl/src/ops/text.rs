//! Names and descriptions: their characters, their length, their trailing spaces (M-7 to M-14).

use crate::error::{Refusal, Result};

/// Characters at most in a name or description (M-7, M-8).
pub const MAX_CHARACTERS: usize = 255;

/// The set of M-7 as EC2's own messages print it.
const SET: &str = "a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*";

/// M-7 and M-8, with `&` everywhere (P-18).
fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c)
}

/// Trims and checks a group's name (M-7, M-9, M-10, M-13, M-14).
pub fn group_name(given: &str) -> Result<String> {
    let name = given.trim_end_matches(' ');
    if name.is_empty() {
        return Err(missing("GroupName"));
    }
    check(name, "GroupName", "name")?;
    if name.starts_with("sg-") {
        return Err(Refusal::invalid(format!(
            "Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*."
        ))
        .into());
    }
    if name.eq_ignore_ascii_case("default") {
        return Err(Refusal::invalid("Cannot use reserved security group name: default").into());
    }
    Ok(name.to_owned())
}

/// Trims and checks a group's description (M-7, M-9, M-14).
pub fn group_description(given: &str) -> Result<String> {
    let description = given.trim_end_matches(' ');
    if description.is_empty() {
        return Err(missing("GroupDescription"));
    }
    check(description, "GroupDescription", "description")?;
    Ok(description.to_owned())
}

/// Checks a rule's description (M-8). An empty one is none.
pub fn rule_description(given: Option<&str>) -> Result<Option<String>> {
    let Some(text) = given.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.chars().count() > MAX_CHARACTERS || !text.chars().all(is_allowed) {
        return Err(Refusal::invalid(format!(
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the \
             following set:  {SET}"
        ))
        .into());
    }
    Ok(Some(text.to_owned()))
}

fn missing(parameter: &str) -> anyhow::Error {
    Refusal::new("MissingParameter", format!("The request must contain the parameter {parameter}")).into()
}

fn check(text: &str, parameter: &str, noun: &str) -> Result<()> {
    if !text.is_ascii() {
        return Err(Refusal::invalid(format!(
            "Value ({text}) for parameter {parameter} is invalid. Character sets beyond ASCII are not supported."
        ))
        .into());
    }
    if text.len() > MAX_CHARACTERS || !text.chars().all(is_allowed) {
        return Err(Refusal::invalid(format!(
            "Invalid security group {noun}. Valid {noun}s are strings less than 256 characters from the \
             following set:  {SET}"
        ))
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::refused;

    #[test]
    fn m7_every_character_of_the_set_is_allowed() {
        let all = "azAZ09 ._-:/()#,@[]+=&;{}!$*";
        assert_eq!(group_name(all).unwrap(), all);
        assert_eq!(group_description(all).unwrap(), all);
        assert_eq!(rule_description(Some(all)).unwrap().as_deref(), Some(all));
    }

    #[test]
    fn m7_length_is_counted_after_trimming() {
        let longest = "n".repeat(255);
        assert_eq!(group_name(&format!("{longest}   ")).unwrap(), longest);
        assert_eq!(
            refused(group_name(&format!("{longest}n"))),
            "InvalidParameterValue: Invalid security group name. Valid names are strings less than 256 characters \
             from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
        );
    }

    #[test]
    fn m7_plain_characters_outside_the_set_are_refused() {
        for bad in ["quo\"te", "tab\there", "back\\slash", "50%", "a|b", "a<b", "a'b", "line\nend"] {
            for refused in [refused(group_name(bad)), refused(group_description(bad))] {
                assert!(refused.starts_with("InvalidParameterValue: Invalid security group "), "{refused}");
                assert!(
                    refused.ends_with("the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"),
                    "{refused}"
                );
            }
        }
        let long = "d".repeat(256);
        assert!(refused(group_description(&long)).starts_with("InvalidParameterValue: "));
        assert_eq!(group_description(&long[1..]).unwrap().len(), 255);
    }

    #[test]
    fn m9_trailing_spaces_are_trimmed_and_leading_ones_kept() {
        assert_eq!(group_name("Test Security Group ").unwrap(), "Test Security Group");
        assert_eq!(group_name(" web").unwrap(), " web");
    }

    #[test]
    fn a56_default_is_reserved_in_any_case() {
        for name in ["default", "Default", "DEFAULT  "] {
            assert_eq!(
                refused(group_name(name)),
                "InvalidParameterValue: Cannot use reserved security group name: default"
            );
        }
    }

    #[test]
    fn a57_a_name_may_not_look_like_an_id() {
        assert_eq!(
            refused(group_name("sg-web")),
            "InvalidParameterValue: Value (sg-web) for parameter GroupName is invalid. Group names may not be in \
             the format sg-*."
        );
        assert!(group_name("my-sg-web").is_ok());
    }

    #[test]
    fn a57b_characters_beyond_ascii_are_refused() {
        assert_eq!(
            refused(group_description("Grüße")),
            "InvalidParameterValue: Value (Grüße) for parameter GroupDescription is invalid. Character sets beyond \
             ASCII are not supported."
        );
    }

    #[test]
    fn a59_a_rule_description_outside_the_set_is_refused() {
        let expected = "InvalidParameterValue: Invalid rule description. Valid descriptions are strings less than \
                        256 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*";
        for bad in ["tab\there", "quo\"te", "Grüße", &"x".repeat(256)] {
            assert_eq!(refused(rule_description(Some(bad))), expected);
        }
        assert_eq!(rule_description(Some("")).unwrap(), None);
        assert_eq!(rule_description(None).unwrap(), None);
    }

    #[test]
    fn a70_name_and_description_are_required() {
        assert_eq!(
            refused(group_description("  ")),
            "MissingParameter: The request must contain the parameter GroupDescription"
        );
        assert_eq!(
            refused(group_name("")),
            "MissingParameter: The request must contain the parameter GroupName"
        );
    }
}
