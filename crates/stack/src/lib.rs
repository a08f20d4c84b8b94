//! One share-nothing network stack, in memory that several processes may share.
//!
//! Owns: the tables of a stack (client slots, wires, sockets, flows, ports, watches, timers, buffers), the way of
//! a frame from a port to a socket and back, UDP, ICMP, and readiness. TCP's own rules are in `sidestep-tcp`,
//! frames in `sidestep-nic`. It must not read a clock, make a system call, block, or know descriptors and errno: time
//! and frames come in, frames and wake-ups go out. It runs on the thread that holds the stack's lock.
#![forbid(unsafe_code)]

mod complaints;
mod config;
mod cookies;
mod counters;
mod express;
mod fast_keys;
mod fast_open;
mod flows;
mod holders;
mod hops;
mod icmp;
mod input;
mod last_words;
mod links;
mod listener;
mod memory;
mod networks;
mod notices;
mod output;
mod paths;
mod preview;
mod ready;
mod report;
mod slots;
mod socket;
mod tables;
mod tcp;
mod time_wait;
mod timers;
mod udp;
mod urgent;
mod wires;

pub use complaints::{Complaint, Discover};
pub use config::{Config, Offers};
pub use counters::{Counters, Handover};
pub use fast_keys::FastKeys;
pub use fast_open::{Fast, FastRules};
pub use holders::SLOTS;
pub use hops::{HopState, NextHop, Way};
pub use last_words::{LastMember, Remains, last_connections, last_members, remains};
pub use listener::Accepted;
pub use memory::{AGENT_SLOT, SharedStack, Stack, WAITERS, attach, create, create_private, layout};
pub use networks::NetworkSetup;
pub use notices::{Notice, Stamping};
pub use ready::{Ready, SetRef, WaitFor};
pub use report::{FaultReport, SocketReport, StackReport, WireReport};
pub use sidestep_wire::{Address, Endpoint};
pub use socket::{Asked, Beside, Kind, Served, SocketFlags, SocketRef};
pub use tcp::ConnectState;
pub use udp::{Datagram, Leaving};
pub use wires::{WireKind, WireSetup, WireState, WireToAttach};

/// Why a call on the stack failed. The socket layer turns these into errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The socket is gone: closed, or its stack reused the entry.
    Stale,
    /// No free entry in the table of sockets, watches or sets.
    TableFull,
    /// No buffer left.
    NoBuffers,
    /// Another socket has this address and port.
    AddressInUse,
    /// Not in a state that allows this.
    NotConnected,
    /// Already connected, or connecting.
    IsConnected,
    /// Nothing there now; ask again when the socket is ready.
    WouldBlock,
    /// The sending side was shut down.
    Pipe,
    /// The peer reset the connection.
    Reset,
    /// The peer refused the connection or the datagram.
    Refused,
    /// The peer did not answer.
    TimedOut,
    /// A message longer than the protocol allows.
    MessageSize,
    /// The host cannot be reached.
    Unreachable,
    /// The connection was given up on our side.
    Aborted,
    /// Not for this kind of socket.
    WrongKind,
    /// The connection is to be opened by its first bytes, see [`Stack::open_held`].
    Unopened,
    /// The way is lost: another is to be found.
    NoWay,
    /// Too long for a packet of that way: whoever cuts datagrams is to send it.
    TooLong,
    /// No route leads to the network.
    NetUnreachable,
    /// The host does not speak the protocol.
    NoProtocol,
    /// The host is not there.
    HostDown,
    /// The host is cut off.
    HostIsolated,
    /// A header was not understood.
    Protocol,
    /// Somebody forbids it.
    Prohibited,
    /// The route that the packet asked for leads nowhere.
    NoSourceRoute,
}

/// What calls on the stack return.
pub type Result<T> = core::result::Result<T, Error>;
