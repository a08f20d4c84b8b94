//! How a memif link is set up between strangers: messages over a socket, with descriptors beside them.
//!
//! ```text
//!   slave                                   master
//!          ◀── HELLO   versions, limits
//!   INIT ──▶   which interface, secret      ── ACK
//!   ADD_REGION ──▶   + memfd                ── ACK      for each region
//!   ADD_RING ──▶     + eventfd              ── ACK      s2m, then m2s
//!   CONNECT ──▶                             ── CONNECTED
//!          ◀── DISCONNECT ──▶               at any time, as is closing the socket
//! ```
//! [`Message`] is what travels; [`Master`] and [`Slave`] decide what to answer, without a socket in sight;
//! [`listen`] and [`connect`] do it over a socket and give a [`Link`].

mod handshake;
mod message;
mod socket;

pub use handshake::{
    Carry, Master, MasterStep, Offer, OfferedRing, Options, Refusal, Slave, SlaveStep,
};
pub use message::{MESSAGE_BYTES, Malformed, Message, VERSION, text};
pub use socket::{Channel, Link, Listener, connect, connect_over, listen, serve_over};
