//! Whole documents: the desired state as one text that lives in version control.
//!
//! [`export()`] writes the state down; [`plan()`] says what the state becomes by a document, as a pure function; [`diff()`]
//! says in lines what is different then. What a command prints as its changes is the difference of two states, and not
//! what it meant to do.

mod diff;
mod export;
mod names;
mod place;
mod plan;
mod read;
mod schema;
mod types;

pub use diff::{Change, Mark, diff};
pub use export::export;
pub use names::find_vpc;
pub use place::{Fault, Part, Path};
pub use plan::{How, Plan, plan};
pub use read::Source;
pub use schema::schema;
pub use types::Document;

use serde_saphyr::{SerializeError, ser_options};

/// The document as YAML, one object of a list a line where that is short enough to read.
///
/// # Errors
/// None that is known: every field can be written.
pub fn to_yaml(document: &Document) -> Result<String, SerializeError> {
    // Blocks of text would be folded at a width, and a word more would change several lines.
    serde_saphyr::to_string_with_options(document, ser_options! { prefer_block_scalars: false })
}

#[cfg(test)]
mod tests;
