//! What the agent and the programs say to each other, and the directory that programs read without asking.
//!
//! - [`message`]: requests and replies, their encoding and its bounds.
//! - [`transport`]: one message and its descriptors over an `AF_UNIX` `SOCK_SEQPACKET` socket.
//! - [`Client`]: a program's connection to its agent.
//! - [`directory`]: which stack serves which endpoint of this host, in memory that the agent writes and programs read.
//! - [`RuntimeDir`]: where a user's agent lives; [`start`]: starting it by need.
//! - [`namespace`]: the network namespace a program is in, and its addresses; [`device`]: the interface a socket is bound to.
//!
//! All of it but [`start`] runs inside unmodified programs: system calls go past the C library's symbols, descriptors
//! are close-on-exec and kept at high numbers, nothing panics, and [`Client`] and the directory's readers allocate
//! nothing, so that a signal handler may use them. This crate knows no packet and looks into no stack.

mod client;
pub mod device;
pub mod directory;
pub mod message;
pub mod namespace;
mod runtime_dir;
mod spread;
pub mod start;
pub mod transport;

pub use client::{
    Client, ClientError, Geometry, MappedMemif, MappedQueue, MappedWire, NetworkWay, Welcome,
};
pub use message::{Fault, GroupChange, Publication, Reply, Request, StackId, VERSION};
pub use runtime_dir::RuntimeDir;
pub use spread::Spread;
