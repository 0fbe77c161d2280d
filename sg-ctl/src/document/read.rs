//! From text to a [`Document`], and from an error back to the line of the text.

use super::{
    Document,
    place::{Fault, Part, Path},
};
use crate::error::{Refusal, Result};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_path_to_error::Segment;
use serde_saphyr::{MessageFormatter as _, Options, Spanned, UserMessageFormatter};
use std::fmt;

/// A document as it was given.
pub struct Source {
    /// The name of the file, for messages.
    pub name: String,
    /// All of it: YAML, of which JSON is a part.
    pub text: String,
}

impl Source {
    /// Reads the document.
    ///
    /// # Errors
    /// A [`Refusal`] that names file, line and field: of text that is no YAML, and of fields that are unknown, missing or
    /// of another type. Also of a document that says nothing at all: with `--prune`, a file cut short must not mean
    /// "nothing is desired".
    pub fn read(&self) -> Result<Document> {
        let mut path = Path::default();
        let read = serde_saphyr::with_deserializer_from_str_with_options(&self.text, options(), |yaml| {
            serde_path_to_error::deserialize(yaml).map_err(|error| {
                path = Path::from(error.path());
                error.into_inner()
            })
        });
        let document = read.map_err(|error: serde_saphyr::Error| self.unreadable(&error, &path))?;
        if document == Document::default() {
            let message = format!("{}: the document is empty; 'sg-ctl export' prints a whole one", self.name);
            return Err(Refusal::invalid(message).into());
        }
        Ok(document)
    }

    /// The refusal of a document that could be read, with its line. Other errors stay what they are.
    pub fn locate(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast::<Fault>() {
            Ok(Fault { path, refusal }) => {
                let line = self.line_of(&path);
                Refusal::new(refusal.code, self.message(line, &path, &refusal.message)).into()
            }
            Err(error) => error,
        }
    }

    fn unreadable(&self, error: &serde_saphyr::Error, path: &Path) -> Refusal {
        let error = error.without_snippet();
        let line = error.location().map(|at| at.line());
        let what = UserMessageFormatter.format_message(error).into_owned();
        let code = match what.as_str() {
            text if text.starts_with("unknown field") => "UnknownParameter",
            text if text.starts_with("missing field") => "MissingParameter",
            _ => "InvalidParameterValue",
        };
        let what = match what.as_str() {
            "expected sequence start" => "a list is expected",
            "expected mapping start" => "an object with fields is expected",
            "expected string scalar" => "a text is expected",
            "invalid u32" => "a whole number from 0 to 4294967295 is expected",
            "invalid boolean" => "true or false is expected",
            other => other,
        };
        Refusal::new(code, self.message(line, path, what))
    }

    fn message(&self, line: Option<u64>, path: &Path, what: &str) -> String {
        let Self { name, .. } = self;
        let line = line.filter(|line| *line > 0).map(|line| format!(":{line}")).unwrap_or_default();
        match path.0.is_empty() {
            true => format!("{name}{line}: {what}"),
            false => format!("{name}{line}: field '{path}': {what}"),
        }
    }

    /// The line of that place, or of the nearest one around it that is written down. Counts from 1.
    fn line_of(&self, path: &Path) -> Option<u64> {
        let root: Node = serde_saphyr::from_str_with_options(&self.text, options()).ok()?;
        let mut node = &root;
        for part in &path.0 {
            let next = match (part, &node.0.value) {
                (Part::Field(name), Kind::Object(fields)) => {
                    fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
                }
                (Part::Item(index), Kind::List(items)) => items.get(*index),
                _ => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
        Some(node.0.referenced.line())
    }
}

/// Without the limits that the crate sets for text from strangers: whoever applies a document owns the host, and one with
/// a hundred thousand entries is a plain one. Those on aliases stay.
fn options() -> Options {
    serde_saphyr::options! { budget: None }
}

impl From<&serde_path_to_error::Path> for Path {
    fn from(path: &serde_path_to_error::Path) -> Self {
        let part = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(Part::Item(*index)),
            Segment::Map { key } => Some(Part::Field(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        Self(path.iter().filter_map(part).collect())
    }
}

/// Any YAML, for the lines of its parts.
struct Node(Spanned<Kind>);

enum Kind {
    Object(Vec<(String, Node)>),
    List(Vec<Node>),
    Scalar,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Kind, E> {
        Ok(Kind::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Kind, E> {
        Ok(Kind::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Kind, E> {
        Ok(Kind::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Kind, E> {
        Ok(Kind::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Kind, A::Error> {
        let mut object = Vec::new();
        while let Some(field) = fields.next_entry()? {
            object.push(field);
        }
        Ok(Kind::Object(object))
    }
}
