//! POSIX socket semantics over a stack: descriptors, blocking, readiness, options, errno.
//!
//! Owns: the table of this process's descriptors, its attachment to a stack and to the agent, how a blocked call spins
//! and sleeps, and which socket stays with the kernel and why. Every accelerated socket is backed by a kernel socket
//! whose descriptor is the program's; this crate decides which of the two serves a call.
//!
//! It must not know C types beyond numbers (the preload library translates), nor parse packets. It calls the kernel
//! through `rustix`, never through the C library's symbols: inside a preloaded library those are our own.
#![deny(unsafe_code)]

mod accept;
mod config;
mod datagram;
mod devices;
mod discard;
mod epoll;
mod errno;
mod explain;
mod fast_open;
mod fdtable;
mod fork;
mod glance;
mod groups;
mod loss;
mod nesting;
mod networks;
mod notices;
mod offers;
mod options;
mod poll;
mod ports;
mod process;
mod rehearsal;
mod room;
mod session;
mod signals;
mod stream;
mod sys;
mod sysctl;
mod tcp_info;
mod thread;
mod urgent;
mod verdict;
mod wait;

pub use accept::AcceptedFd;
pub use epoll::{EpollChange, Event};
pub use errno::Errno;
pub use notices::Told;
pub use options::{CONGESTION_NAME_BYTES, OptionAnswer, OptionValue};
pub use poll::PollEntry;
pub use process::{Process, process};
pub use rehearsal::Stage;
pub use sidestep_control::GroupChange;
pub use sidestep_shm::{Foreign, ForeignMut, Nanos, is_internal};
pub use sidestep_stack::{Address, Asked, Beside, Complaint, Endpoint, Leaving, Notice};
pub use signals::{note_signal, puts_signal_off, quietly, set_signal_delivery};
pub use stream::Listening;
pub use tcp_info::TCP_INFO_BYTES;
pub use verdict::{Arrival, Departure, Received, RecvFlags, SendFlags, Verdict};
pub use wait::SleepMask;
