//! One TCP connection, sans-IO: segments, calls and time go in; segments and events come out.
//!
//! A [`Tcb`] is plain data of fixed size for a table in shared memory; zeroed memory is a CLOSED connection. The
//! bytes it holds for the program lie in chunks of the stack's pool. This crate never reads a clock, entropy or a
//! socket, does not look at addresses and computes no checksum: whoever owns the connection table (the stack)
//! finds the right `Tcb`, tells the time in [`Env`], and
//!
//! 1. gives it what arrives ([`Tcb::on_segment`], [`Tcb::on_icmp`]), what the program asks for ([`Tcb::send`],
//!    [`Tcb::recv`], [`Tcb::close`], …) and time ([`Tcb::on_timer`], due at [`Tcb::next_timeout`]),
//! 2. then, where [`Tcb::wants_output`], calls [`Tcb::poll_transmit`] until it has nothing more,
//! 3. and acts on the [`Events`] that came back. After [`Events::CLOSED`], once output is drained and the program
//!    has let go of it, [`Tcb::release`] gives the buffers back and the entry can be used anew.
//!
//! One RFC concept has one file:
//!
//! | file | of |
//! | --- | --- |
//! | `tcb`, `state` | the connection's variables and states (RFC 9293 3.3) |
//! | `open`, [`listen`] | opening, active, passive and simultaneous (3.5) |
//! | [`cookies`] | opening without keeping anything (RFC 4987) |
//! | `fast_open` | data in the SYN (RFC 7413) |
//! | `segment`, `validate`, `ack` | a segment arrives (3.10.7, RFC 5961, PAWS of RFC 7323) |
//! | `recv_queue`, `window` | reassembly; the receive window and delayed acknowledgements (3.8.6, RFC 5681 4.2) |
//! | `send_queue`, `output` | what to send next: Nagle, cork, silly windows, probes (3.7.4, 3.8.6) |
//! | `pieces` | how much the send buffer takes, and which segments are pushed, as Linux cuts its queue |
//! | `pacing` | segments spread over time |
//! | `records` | writes that are kept apart |
//! | `urgent` | the byte out of band (RFC 6093) |
//! | `at_once` | the short way for a message that nothing stands in the way of |
//! | `autotune` | buffers that grow with what the path carries |
//! | `timer`, `rtt`, `keepalive` | deadlines; RFC 6298; 3.8.4 |
//! | `recovery/`, `congestion/` | what was lost, and how much may be in flight |
//! | `sack_blocks` | what we tell the peer that we have (RFC 2018, RFC 2883) |
//! | `ecn` | congestion that routers mark (RFC 3168, RFC 9768) |
//! | `close` | shutdown, close, abort, TIME-WAIT, RFC 6191 |
//! | `path` | what the path carries (RFC 1191, RFC 8201), and who may speak of it (RFC 5927) |
//! | `search` | what the path carries, where nobody says so (RFC 8899) |
//! | `options`, `choices` | what a program may set, for a connection and for those that follow |
//! | `info`, `limited` | what it may see |
#![forbid(unsafe_code)]

mod ack;
mod at_once;
mod autotune;
mod choices;
mod close;
mod congestion;
pub mod cookies;
mod ecn;
mod fast_open;
mod info;
mod keepalive;
mod limited;
pub mod listen;
mod open;
mod options;
mod output;
mod pacing;
mod path;
mod pieces;
mod records;
mod recovery;
mod recv_queue;
mod rtt;
mod sack_blocks;
mod search;
mod segment;
mod send_queue;
mod state;
mod tcb;
mod timer;
mod urgent;
mod validate;
mod window;

pub use close::Reuse;
pub use congestion::Algorithm;
pub use ecn::{Ecn, field as ecn_field};
pub use fast_open::{FastAnswer, FastFailure, Greeting};
pub use info::{Counters, Info};
pub use listen::reset_for;
pub use options::{IcmpError, KeepAlive};
pub use output::Transmit;
pub use recovery::Phase;
pub use segment::Sink;
pub use state::{Error, Events, State};
pub use tcb::{Env, Settings, Tcb};
pub use urgent::OutOfBand;

#[cfg(test)]
mod tests;
