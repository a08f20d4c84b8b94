//! Links that lose, delay, reorder, repeat and damage what they carry.

mod link;

pub use link::{Burst, Fate, Link, LinkConfig};
