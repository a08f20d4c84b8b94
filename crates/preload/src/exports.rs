//! The exported functions, by what they are about.
#![expect(unreachable_pub, reason = "exported by name, for C programs")]

mod descriptors;
mod epoll;
mod io;
mod options;
mod poll;
mod signals;
mod sockets;
mod start;
mod transfer;
