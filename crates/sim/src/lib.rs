//! TCP in virtual time: two connections over links that lose, delay, reorder and repeat, all from one seed.
//!
//! The ends are [`Tcb`](sidestep_tcp::Tcb)s, driven directly as a stack drives them, and not whole stacks: what is to be
//! proven are the rules of TCP, which are all there, and a thousand connections over bad links take a second that way.
//! (Frames between stacks would go through memif rings, which add nothing to these rules but their own cost.)
//!
//! | file | of |
//! | --- | --- |
//! | `link` | one direction of a path: loss, bursts, delay, jitter, reordering, rate and queue, marks, MTU |
//! | `program` | what the program at one end does: writes, reads, ends |
//! | `end` | one end: connection, memory, program |
//! | `check` | what must hold after every step |
//! | `world` | two ends, two links, virtual time |
//! | `scenario` | all of a run, drawn from its seed |
//! | `table` | goodput over loss and delay |
//! | `capture` | what the links carried, for a packet analyser |
#![forbid(unsafe_code)]

mod capture;
mod check;
mod end;
mod link;
mod program;
mod scenario;
mod table;
mod world;

pub use capture::Capture;
pub use end::End;
pub use link::{Burst, Link, LinkConfig};
pub use program::{Ending, Plan};
pub use scenario::{Report, Scenario};
pub use table::{Cell, Path, measure, paths, table};
pub use world::World;
