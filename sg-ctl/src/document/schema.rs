//! The JSON schema of documents, for editors: made from the types, so that it cannot say anything else than they do.

use super::Document;
use schemars::schema_for;

/// The schema as it is printed and kept in `docs/sg-document.schema.json`.
///
/// # Errors
/// None that is known.
pub fn schema() -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&schema_for!(Document))?;
    text.push('\n');
    Ok(text)
}
