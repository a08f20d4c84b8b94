//! The memif driver: frames between two processes through shared memory, version 2.0 of the protocol as VPP and
//! DPDK speak it, in both roles.
//!
//! ```text
//!   slave ("client")                                            master ("server")
//!   allocates all memory             ── s2m ring ──▶            copies in and out of it
//!   writes head of both rings        ◀── m2s ring ──            writes tail of both rings
//! ```
//!
//! [`Memif`] is the [`Port`](crate::Port): a [`State`], which lies in the stack's shared memory, and an
//! [`Attachment`], which each process makes for itself. Two stacks of this project share a [`wire`], whose memory
//! and [`Geometry`] somebody hands to both; a third party is met over [`control`]. What the other end writes is
//! copied once, checked and used: nonsense is counted, and a ring whose indices make no sense
//! [is broken](Memif::is_broken) for good.

mod attach;
pub mod control;

mod driver;
mod layout;
mod state;
mod sys;

pub mod wire;

pub use attach::{Attachment, REGIONS_MAX};
pub use driver::Memif;
pub use layout::{Direction, Geometry, LOG2_SLOTS_MAX, RingPlace, Role};
pub use state::State;
