//! The exported functions, by what they are about.
#![expect(
    clippy::missing_safety_doc,
    reason = "what their callers owe them is in the manual pages of these functions"
)]

pub mod descriptors;
pub mod epoll;
pub mod io;
pub mod options;
pub mod poll;
pub mod signals;
pub mod sockets;
mod start;
pub mod transfer;
