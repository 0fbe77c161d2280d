//! Places in a document: what an error points at.

use crate::error::{Refusal, Result};
use std::fmt;

/// A field or an item on the way down, borrowed while the document is walked.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
}

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A field of that name.
    Field(String),
    /// An item, counted from 0.
    Item(usize),
}

/// A place on its own: `vpcs[0].groups[1].ingress[2].cidr`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(pub Vec<Part>);

/// A refusal, and the place that it is about.
#[derive(Debug, thiserror::Error)]
#[error("field '{path}': {refusal}")]
pub struct Fault {
    /// Where in the document.
    pub path: Path,
    /// What is wrong.
    pub refusal: Refusal,
}

impl<'a> Place<'a> {
    /// The document itself.
    pub const ROOT: Self = Self { parent: None, step: Step::Root };

    /// A field of this object.
    #[must_use]
    pub fn field(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    /// An item of this list.
    #[must_use]
    pub fn item(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Item(index) }
    }

    /// The error that this place is wrong.
    pub fn refuse(&self, refusal: Refusal) -> anyhow::Error {
        let mut parts = Vec::new();
        let mut place = Some(self);
        while let Some(at) = place {
            match at.step {
                Step::Root => {}
                Step::Field(name) => parts.push(Part::Field(name.to_owned())),
                Step::Item(index) => parts.push(Part::Item(index)),
            }
            place = at.parent;
        }
        parts.reverse();
        Fault { path: Path(parts), refusal }.into()
    }

    /// The error that this value cannot be taken.
    pub fn invalid(&self, message: impl Into<String>) -> anyhow::Error {
        self.refuse(Refusal::invalid(message))
    }

    /// A result of [`crate::ops`], refused here.
    ///
    /// # Errors
    /// The same, with the place where it is a refusal.
    pub fn check<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error.downcast::<Refusal>() {
            Ok(refusal) => self.refuse(refusal),
            Err(error) => error,
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.0.iter().enumerate() {
            match part {
                Part::Field(name) if n == 0 => write!(f, "{name}")?,
                Part::Field(name) => write!(f, ".{name}")?,
                Part::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
