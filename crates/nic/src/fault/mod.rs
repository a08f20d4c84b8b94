//! Links that lose, delay, reorder, repeat and damage what they carry.
//!
//! [`Link`] is the rule, of one direction, for whoever has packets and a time. [`Faulty`] puts such a link before a port,
//! in both directions; the frames on their way are held in [`Lines`].

mod lines;
mod link;
mod port;
mod spec;

pub use lines::{Count, Direction, FRAME_BYTES, Frame, HELD_MAX, Held, Lines, State};
pub use link::{Burst, Fate, Link, LinkConfig};
pub use port::Faulty;
pub use spec::{Spec, SpecError};
