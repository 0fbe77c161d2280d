//! Refusals: an EC2 error code and one sentence that says what is wrong and what to do next.

/// Why a command was refused. Prints as `CODE: message`, the line that scripts parse.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// EC2's own code where EC2 has one, else a word of ours in the same style.
    pub code: &'static str,
    /// One line for a person.
    pub message: String,
}

impl Refusal {
    /// A refusal with that code.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// `InvalidParameterValue`, EC2's code for a value it cannot take.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }
}

/// What every fallible function of this crate returns: a [`Refusal`] inside where the user can do something about it.
pub type Result<T, E = anyhow::Error> = std::result::Result<T, E>;

/// The system call's answer inside an error, where there is one.
#[must_use]
pub fn os_error(error: &anyhow::Error) -> Option<i32> {
    error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error())
}
