//! Requests and replies: what they mean, how they are encoded, and their bounds.
//!
//! A message is one packet, in postcard's encoding, of at most [`MESSAGE_BYTES_MAX`] bytes. Descriptors travel beside
//! it in the order that the request names. Every request gets exactly one reply, in order.

use serde::{Deserialize, Serialize};
use sidestep_wire::{Address, Endpoint};
use std::net::IpAddr;

/// The version of this protocol. Both ends must speak the same one.
pub const VERSION: u16 = 7;
/// Longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4608;
/// Most descriptors beside a message.
pub const FDS_MAX: usize = 64;
/// Most addresses in one [`Request::Addresses`].
pub const ADDRESSES_MAX: usize = 256;
/// Most bytes of a wire's geometry.
pub const GEOMETRY_BYTES_MAX: usize = 256;

/// Names a stack for its whole life, across agents: a random number that its creator chose.
pub type StackId = u64;

/// An endpoint that a stack serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// The local address, IPv4 as IPv4-mapped IPv6; unspecified for a wildcard.
    pub address: [u8; 16],
    /// The local port.
    pub port: u16,
    /// An IPv6 socket that does not take IPv4 (`IPV6_V6ONLY`).
    pub v6_only: bool,
    /// Other stacks may serve the same endpoint (`SO_REUSEPORT`).
    pub reuse_port: bool,
}

impl Publication {
    /// A publication of `endpoint`.
    pub const fn new(protocol: u8, endpoint: Endpoint, v6_only: bool, reuse_port: bool) -> Self {
        let (address, port) = (endpoint.addr.0, endpoint.port);
        Self {
            protocol,
            address,
            port,
            v6_only,
            reuse_port,
        }
    }

    /// The local endpoint.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new(Address(self.address), self.port)
    }
}

/// A socket joins a group (multicast) by an interface, or leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupChange {
    /// The group, IPv4 as IPv4-mapped IPv6.
    pub group: [u8; 16],
    /// The index of the interface; 0 where it is not given by that.
    pub device: u32,
    /// An address of the interface; unspecified where it is not given by that either, but found by the route. IPv4 as
    /// IPv4-mapped IPv6.
    pub near: [u8; 16],
    /// It joins; else it leaves the group, by whatever interface where none is given.
    pub joins: bool,
}

impl GroupChange {
    /// The group.
    pub fn group(&self) -> IpAddr {
        Address(self.group).ip()
    }

    /// The address of the interface.
    pub fn near(&self) -> IpAddr {
        Address(self.near).ip()
    }
}

/// What a program asks of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// The first message of a connection. Answered by [`Reply::Welcome`] with the directory's descriptor.
    Hello {
        /// [`VERSION`].
        version: u16,
        /// How the sender's stacks lie in memory, as the stack's crate names it; 0 from who has none.
        layout: u32,
        /// The program's name, for people to read.
        name: &'a str,
    },
    /// The addresses of the sender's network namespace, 16 bytes each.
    Addresses {
        /// The namespace, as [`crate::namespace::network`] tells it.
        netns: u64,
        /// The list begins anew: what was known of this namespace is forgotten.
        first: bool,
        /// At most [`ADDRESSES_MAX`] addresses of 16 bytes, IPv4 as IPv4-mapped IPv6.
        list: &'a [u8],
    },
    /// Makes a stack known, or known again to a new agent; the sender holds `slot` in it.
    /// Descriptors: the stack's memory, its doorbell, then its further wake-ups in the order of its table.
    RegisterStack {
        /// The stack.
        stack: StackId,
        /// The network namespace of its sockets.
        netns: u64,
        /// The sender's client slot.
        slot: u32,
    },
    /// The sender (a forked child) holds `slot` in a stack that is known.
    AttachSlot {
        /// The stack.
        stack: StackId,
        /// The sender's client slot.
        slot: u32,
    },
    /// The sender is about to fork; its child gets `slot`, and attaches itself. Descriptor: the read end of a pipe, of which
    /// the child will have the only write end until it has attached itself, or is dead.
    AwaitChild {
        /// The stack.
        stack: StackId,
        /// The child's client slot.
        slot: u32,
        /// How often the slot was taken, this time included.
        times: u32,
    },
    /// The sender has left the stack in good order: its slot is free, its sockets are closed.
    DetachSlot {
        /// The stack.
        stack: StackId,
        /// The slot that it held.
        slot: u32,
    },
    /// Asks for the descriptors that [`Request::RegisterStack`] gave. Answered by [`Reply::Done`] with them.
    MapStack {
        /// The stack.
        stack: StackId,
    },
    /// The stack serves an endpoint from now on. May be said several times; each needs its own [`Request::Withdraw`].
    /// Descriptor: the kernel's socket that is bound to it, which programs of other users than the agent's must show, and all
    /// for networks.
    Publish {
        /// The stack.
        stack: StackId,
        /// What it serves.
        what: Publication,
        /// Whether it is to be served to networks too.
        networks: bool,
    },
    /// Takes a publication back.
    Withdraw {
        /// The stack.
        stack: StackId,
        /// What it served.
        what: Publication,
    },
    /// Asks for a wire from one stack to another; answered by [`Reply::Wire`] when both stacks have it.
    OpenWire {
        /// The sender's stack.
        from: StackId,
        /// The other stack; may be the same.
        to: StackId,
    },
    /// Asks for what it takes to use a wire. Answered by [`Reply::Mapped`].
    MapWire {
        /// The stack.
        stack: StackId,
        /// Index in that stack's table of wires.
        wire: u32,
    },
    /// Tells a new agent of a wire that an earlier one made. Descriptor: the wire's memory.
    RestoreWire {
        /// The stack.
        stack: StackId,
        /// Index in that stack's table of wires.
        wire: u32,
    },
    /// Asks how packets of the stack reach a host on a network. Answered by [`Reply::Way`].
    Route {
        /// The stack.
        stack: StackId,
        /// IP protocol number: 6 or 17.
        protocol: u8,
        /// Where to, IPv4 as IPv4-mapped IPv6.
        remote: [u8; 16],
        /// The port there.
        port: u16,
        /// The local address, where it is chosen already; else unspecified.
        source: [u8; 16],
        /// The index of the interface by which it must go; 0 for any.
        device: u32,
    },
    /// Asks how what arrives at the interface of a queue is spread over its queues. Answered by [`Reply::Spread`].
    Spread {
        /// The stack.
        stack: StackId,
        /// Index in that stack's table of wires.
        wire: u32,
    },
    /// What networks send to ports of this host is for the stack from now on.
    /// Descriptors: the kernel's sockets that are bound to these ports, as proof that nobody else has them. Those that are
    /// bound to an interface claim what comes by that one.
    Claim {
        /// The stack.
        stack: StackId,
        /// The agent keeps the sockets, and so the ports, for as long as the stack is there. Else the claim ends when no
        /// socket of the stack has the port any more.
        keep: bool,
    },
    /// A socket of the stack that had claimed an endpoint by [`Request::Claim`], not to be kept, has it no more.
    Unclaim {
        /// The stack.
        stack: StackId,
        /// The endpoint, and what else the claim followed from.
        what: Publication,
    },
    /// A socket of the stack is member of a group from now on, or no longer: what comes to the group on its port is the
    /// stack's, where no other socket of the host would get a copy. Descriptor: the kernel's socket, which has joined.
    Group {
        /// The stack.
        stack: StackId,
        /// What changes.
        change: GroupChange,
    },
    /// Asks for a report. Answered by [`Reply::Report`] with a descriptor to read it from.
    Ps,
    /// Ends the agent. Established connections go on.
    Stop,
}

/// What the agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<'a> {
    /// It is done.
    Done,
    /// It was not done.
    Refused(Fault),
    /// Answers [`Request::Hello`]; descriptor: the directory.
    Welcome {
        /// The agent's process.
        pid: u32,
        /// Which agent this is; differs from those before and after it.
        generation: u64,
    },
    /// Answers [`Request::OpenWire`].
    Wire {
        /// Index in the asking stack's table of wires.
        index: u32,
    },
    /// Answers [`Request::MapWire`]. Descriptors: the wire's memory, the doorbell of the stack at its other end.
    Mapped {
        /// The stack at the other end.
        peer: StackId,
        /// This end's role, as the driver encodes it.
        role: u8,
        /// Whether that stack is another user's.
        stranger: bool,
        /// The driver's geometry, as it lies in memory.
        geometry: &'a [u8],
    },
    /// Answers [`Request::MapWire`] for a queue of a network. Descriptors: its AF_XDP socket and the memory of its buffers,
    /// or a packet socket.
    MappedQueue {
        /// The driver's geometry, as it lies in memory.
        geometry: &'a [u8],
    },
    /// Answers [`Request::Route`].
    Way {
        /// Index in the stack's table of wires.
        wire: u32,
        /// Index in the stack's table of hops.
        hop: u32,
        /// The local address, IPv4 as IPv4-mapped IPv6.
        source: [u8; 16],
        /// Longest IP packet in bytes.
        mtu: u32,
    },
    /// Answers [`Request::Spread`].
    Spread {
        /// In postcard's encoding, a [`Spread`](crate::Spread).
        bytes: &'a [u8],
    },
    /// Answers [`Request::Ps`]; descriptor: a memory file that holds JSON.
    Report {
        /// Length of the JSON.
        bytes: u64,
    },
}

/// Why a request was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// Other [`VERSION`], or stacks that lie in memory in another way.
    #[error("the agent is of another build; end it with `sidestep agent stop`")]
    Version,
    /// Not a message of this protocol, or without the descriptors that belong to it. The connection is closed.
    #[error("the agent did not understand the message")]
    Malformed,
    /// Something came before [`Request::Hello`].
    #[error("the connection was not introduced")]
    NoHello,
    /// No such stack, or it is gone.
    #[error("no such stack")]
    UnknownStack,
    /// No such wire in this stack.
    #[error("no such wire")]
    UnknownWire,
    /// The stack of the sender, or that of its peer, was given up.
    #[error("the stack was given up")]
    Retired,
    /// The sender holds no slot in this stack.
    #[error("that is another process's, or another user's")]
    NotYours,
    /// Another stack serves this endpoint, and not both allow that.
    #[error("another stack serves this endpoint")]
    InUse,
    /// The two stacks are in different network namespaces.
    #[error("the stacks are in different network namespaces")]
    OtherNamespace,
    /// The directory is full.
    #[error("the directory of endpoints is full")]
    DirectoryFull,
    /// A stack has no room for another wire.
    #[error("no room for another wire")]
    WiresFull,
    /// The agent serves as many programs or stacks as it can.
    #[error("the agent serves as many programs as it can")]
    AgentFull,
    /// Memory or descriptors are exhausted.
    #[error("the agent is out of memory or descriptors")]
    Exhausted,
    /// What came as the stack's memory is none.
    #[error("this is not the memory of a stack")]
    NotAStack,
    /// No accelerated interface leads there.
    #[error("no accelerated interface leads there")]
    NoNetwork,
    /// Every queue of the interface is another stack's.
    #[error("every queue of the interface is another program's")]
    NoQueue,
    /// What came as proof is no socket that is bound to the port in the namespace of the network.
    #[error("a port is claimed without a socket that is bound to it")]
    NotBound,
    /// The interface cannot be used; the agent's log says why.
    #[error("the interface cannot be used")]
    Interface,
    /// All hosts of a network are meant: the kernel tells them.
    #[error("broadcast is the kernel's")]
    Broadcast,
    /// The interface that leads there lies upon others in a way that is not accelerated; the agent's log says why.
    #[error("the interface that leads there is not accelerated")]
    Carrier,
    /// Other sockets are bound to the port of a group's member, and would get copies.
    #[error("other sockets of this host are bound to the group's port")]
    Shared,
    /// A process held the stack's lock for too long; try again.
    #[error("the other program is busy")]
    Busy,
    /// This agent does not do that.
    #[error("the agent does not support this")]
    Unsupported,
}

/// The bytes were no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this protocol")]
pub struct Garbage;

/// Encodes a message into `buffer`; the bytes used.
pub fn encode<'b, M: Serialize>(message: &M, buffer: &'b mut [u8]) -> Result<&'b [u8], Garbage> {
    postcard::to_slice(message, buffer)
        .map(|used| &*used)
        .map_err(|_| Garbage)
}

/// Decodes a message that fills `bytes` exactly.
pub fn decode<'b, M: Deserialize<'b>>(bytes: &'b [u8]) -> Result<M, Garbage> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(Garbage),
    }
}

#[cfg(test)]
mod tests;
