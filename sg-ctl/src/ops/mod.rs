//! What commands do to the desired state: pure functions on [`State`](crate::model::State).
//!
//! Each is all or nothing in itself: it checks everything before it changes anything. Refusals carry EC2's codes
//! (semantics.md, A-55 to A-75); nothing here knows the store or the kernel.

pub mod copy;
pub mod entry;
pub mod filter;
pub mod group;
pub mod group_filter;
pub mod interface;
pub mod modify;
pub mod name;
pub mod peer;
pub mod peering;
pub mod prefix_list;
pub mod quota;
pub mod recipe;
pub mod recipes;
pub mod register;
pub mod rule;
pub mod stale;
pub mod tag;
pub mod text;
pub mod traffic;
pub mod vpc;

pub use vpc::ensure_default_vpc;

/// How many candidates a refusal names at most, so that it stays one readable line.
const NAMED_AT_MOST: usize = 5;

/// Joins for a sentence, and says how many more there are.
fn enumerate(items: &[String]) -> String {
    let shown = items.iter().take(NAMED_AT_MOST).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(NAMED_AT_MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The candidate that `typed` was most likely meant to be: near enough, and nearer than the others.
fn nearest<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    candidates
        .map(|name| (strsim::jaro_winkler(&typed, &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity >= 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
pub(crate) mod testing {
    //! Shorthand for the tests of this module's files.

    use crate::{
        error::Refusal,
        model::{GroupId, State, VpcId},
    };

    /// A state with its default VPC.
    pub fn state() -> (State, VpcId) {
        let mut state = State::default();
        let vpc = super::ensure_default_vpc(&mut state);
        (state, vpc)
    }

    /// A group of the default VPC.
    pub fn group(state: &mut State, name: &str) -> GroupId {
        super::group::create(state, &super::group::Create::new(name, "test")).unwrap()
    }

    /// The refusal inside.
    pub fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>) -> Refusal {
        result.unwrap_err().downcast::<Refusal>().unwrap()
    }

    /// `CODE: message` of the refusal inside.
    pub fn refused<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
        refusal(result).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_a_slip_and_nothing_far() {
        let names = ["web", "database", "default"];
        assert_eq!(nearest("databse", names.into_iter()), Some("database"));
        assert_eq!(nearest("DATABASE2", names.into_iter()), Some("database"));
        assert_eq!(nearest("mail", names.into_iter()), None);
    }

    #[test]
    fn enumerate_stays_short() {
        let items: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!(enumerate(&items[..2]), "0, 1");
        assert_eq!(enumerate(&items), "0, 1, 2, 3, 4 and 2 more");
    }
}
