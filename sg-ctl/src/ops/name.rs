//! Names of objects of which EC2 lets several bear one name: VPCs and prefix lists.

use super::{enumerate, nearest};
use crate::error::{Refusal, Result};
use std::fmt::Display;

/// What is looked for, for messages.
#[derive(Clone, Copy)]
pub struct Sought<'a> {
    /// EC2's code where there is none.
    pub not_found: &'static str,
    /// What EC2 calls the id, as in `The vpc ID '…' does not exist`.
    pub noun: &'static str,
    /// The command that lists what there is.
    pub list: &'static str,
    /// As typed.
    pub typed: &'a str,
}

/// The one object of that name, compared without case. Several are refused with the candidates, none with the nearest
/// name there is.
pub fn only<'a, Id: Copy + Display>(
    sought: Sought<'_>,
    candidates: impl Iterator<Item = (Id, &'a str)> + Clone,
) -> Result<Id> {
    let Sought { not_found, noun, list, typed } = sought;
    let name = typed.trim_end_matches(' ');
    let found: Vec<Id> =
        candidates.clone().filter(|(_, of)| of.eq_ignore_ascii_case(name)).map(|(id, _)| id).collect();
    match found.as_slice() {
        [only] => Ok(*only),
        [] => {
            let next = nearest(typed, candidates.map(|(_, of)| of)).map_or_else(
                || format!("'{list}' shows what there is"),
                |name| format!("did you mean '{name}'?"),
            );
            Err(Refusal::new(not_found, format!("The {noun} '{typed}' does not exist; {next}")).into())
        }
        several => {
            let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
            let message = format!("'{typed}' is the name of {}; give the id", enumerate(&ids));
            Err(Refusal::new("InvalidParameterValue", message).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::refused;

    fn find(typed: &str) -> Result<u32> {
        let sought = Sought { not_found: "X.NotFound", noun: "thing ID", list: "sg-ctl thing list", typed };
        only(sought, [(1, "office"), (2, "Home"), (3, "home")].into_iter())
    }

    #[test]
    fn a_name_means_the_one_object_that_bears_it() {
        assert_eq!(find("Office ").unwrap(), 1);
        assert_eq!(refused(find("home")), "InvalidParameterValue: 'home' is the name of 2, 3; give the id");
        assert_eq!(
            refused(find("ofice")),
            "X.NotFound: The thing ID 'ofice' does not exist; did you mean 'office'?"
        );
        assert_eq!(
            refused(find("x")),
            "X.NotFound: The thing ID 'x' does not exist; 'sg-ctl thing list' shows what there is"
        );
    }
}
