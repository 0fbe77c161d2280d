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

/// An error on its way up from where none can be returned.
struct GivenUp(anyhow::Error);

/// Ends what [`or_given_up`] runs, with this error. Values of the state are read where they are used, far from where an
/// error could be returned; to go on without them would be to decide on a part of the state.
pub fn give_up(error: anyhow::Error) -> ! {
    std::panic::resume_unwind(Box::new(GivenUp(error)))
}

/// What `work` returns, or the error that it gave up with. Whatever it held it has let go of, as with any other error.
///
/// # Errors
/// Those of `work`, and what it gave up with.
pub fn or_given_up<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        match payload.downcast::<GivenUp>() {
            Ok(given_up) => Err(given_up.0),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
