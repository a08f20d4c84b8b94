//! Frames in and out of a link, and nothing about what is in them.
//!
//! A [`Port`] is one end of a link as a stack sees it: frames in, frames out, a wake-up, honest capabilities.
//! Its drivers live in folders of their own ([`memif`], [`xdp`], [`packet`]); what decorates a port is a port itself. This crate does
//! not parse packets, keeps no time and knows no sockets.
//!
//! A driver is in two halves. What must be the same for all processes that share a stack, and survive each of
//! them (ring positions, counters), is plain data in the stack's memory; what is true for one process only
//! (mappings, descriptors) is an attachment made by each. A `Port` is both together, borrowed for one poll.

pub mod any;
pub mod fault;
pub mod memif;
pub mod packet;
mod port;
pub mod xdp;

pub use port::{Caps, Cut, Port, PortStats, Unfinished};
