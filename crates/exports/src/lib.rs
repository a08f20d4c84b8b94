//! The C library's socket calls, exported; translation between C and `sidestep-socket`, and nothing else.
//!
//! Every exported function first asks whether the descriptor is ours. If it is not, the real function is called with
//! the very same arguments. No call of ours goes through an exported name by accident: inside, the kernel is reached by
//! `rustix`, and the C library's functions by [`real`].
//!
//! It is linked into `libsidestep.so`, and into what plays the same calls in virtual time.

mod c;
mod control;
mod exports;
mod groups;
mod heap;
mod real;

pub use exports::{descriptors, epoll, io, options, poll, signals, sockets, transfer};
