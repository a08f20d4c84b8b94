//! The control plane: one process for each user, started by need, private to that user, gone when unused.
//!
//! Owns: the directory of endpoints, the wires between stacks, and what becomes of a stack when its processes die or
//! do not look after it. It takes part in no connection of a living, working program: killing it disturbs none.
//!
//! - `server`: the event loop; connections, timers.
//! - `requests`: what each request does.
//! - `registry`: processes, stacks and their slots.
//! - `wires`: wires between two stacks, made, mapped, restored and closed.
//! - `networks`: interfaces whose frames go to stacks.
//! - `children`: of those that are being forked.
//! - `death`: what happens when a process is gone.
//! - `caretaker`: polls stacks that nobody polls.
//! - `orphans`: how long what the dead had to say may take.
//! - `signals`: to programs that want to hear of urgent data.
//! - `takeover`: what a new agent must know of the one before it.
//! - [`report`]: what `sidestep ps` shows.
//!
//! It is one thread. It never waits for a program: a stack's lock is tried for a bounded time, and what could not be
//! done is done later. It parses no packet and speaks to no network; what it is told to serve, it steers.
#![forbid(unsafe_code)]

mod bound;
mod caretaker;
mod children;
mod death;
mod images;
mod lifetime;
mod log;
mod networks;
mod orphans;
mod ports;
mod registry;
pub mod report;
mod requests;
mod server;
mod signals;
mod takeover;
mod wires;

pub use lifetime::{Copying, LinkSpec, Options, Wanted, run};
pub use sidestep_control::start;
pub use sidestep_netlink as netlink;
pub use sidestep_stack::layout;
pub use sidestep_steering::{
    IS_BUILT as STEERS, Mode, driver, hides_tags, leaves_checksums, spreading,
};
