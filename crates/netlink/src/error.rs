//! What can go wrong between the kernel and us.

use std::io;

/// Why the kernel's configuration could not be read, or a request not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket does not work.
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    /// The kernel answered with an error.
    #[error("the kernel refuses: {0}")]
    Refused(#[source] io::Error),
    /// No answer came in time.
    #[error("the kernel did not answer in time")]
    NoAnswer,
    /// An answer came that could not be understood.
    #[error("the kernel's answer cannot be understood")]
    NotUnderstood,
}

impl Error {
    /// The number of the error in the kernel's answer.
    pub(crate) fn refusal(&self) -> Option<i32> {
        match self {
            Self::Refused(error) => error.raw_os_error(),
            _ => None,
        }
    }
}
