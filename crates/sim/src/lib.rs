//! TCP in virtual time: two connections over links that lose, delay, reorder and repeat, all from one seed.
//!
//! The ends are [`Tcb`](sidestep_tcp::Tcb)s, driven directly as a stack drives them, and not whole stacks: what is to be
//! proven are the rules of TCP, which are all there, and a thousand connections over bad links take a second that way.
//! (Frames between stacks would go through memif rings, which add nothing to these rules but their own cost.)
//!
//! What a link does to what it carries is the rule of [`sidestep_nic::fault`].
//!
//! | file | of |
//! | --- | --- |
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
mod program;
mod scenario;
mod table;
mod world;

pub use capture::Capture;
pub use end::End;
pub use program::{Ending, Plan};
pub use scenario::{Report, Scenario};
pub use sidestep_nic::fault::{Burst, Link, LinkConfig};
pub use table::{Cell, Path, measure, paths, table};
pub use world::World;
