//! Who serves a call, and what came of it.

use crate::{Address, Endpoint, Errno, Nanos};
use bitflags::bitflags;
use sidestep_stack::{Asked, Beside, Leaving};

/// The outcome of a call on a descriptor.
#[derive(Debug)]
pub enum Verdict<T> {
    /// Not ours: call the kernel, as if we were not there.
    Kernel,
    /// Two-sided, and the kernel's side has something: call the kernel without blocking; if it has nothing after all
    /// (EAGAIN) and the call blocks, ask again.
    KernelNow,
    /// Ours.
    Done(Result<T, Errno>),
}

impl<T> Verdict<T> {
    /// A failure of ours.
    pub const fn fail(errno: Errno) -> Self {
        Self::Done(Err(errno))
    }
}

bitflags! {
    /// What a receiving call asks for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RecvFlags: u32 {
        /// Leave the data in the queue.
        const PEEK = 1;
        /// Do not block.
        const DONTWAIT = 1 << 1;
        /// Block until all was received.
        const WAITALL = 1 << 2;
        /// Report the true length of a datagram; of a stream, drop the data instead of copying it.
        const TRUNC = 1 << 3;
        /// There is room for what is told beside.
        const BESIDE = 1 << 4;
    }
}

bitflags! {
    /// What a sending call asks for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SendFlags: u32 {
        /// Do not block.
        const DONTWAIT = 1;
        /// More follows.
        const MORE = 1 << 1;
        /// The last byte is urgent.
        const URGENT = 1 << 2;
        /// Connects to the target, with the data in the SYN if the server has given a cookie (RFC 7413).
        const FAST_OPEN = 1 << 3;
        /// The last byte ends a record.
        const RECORD = 1 << 4;
        /// The bytes are lent until the program is told that they are not needed any more.
        const LENT = 1 << 5;
    }
}

/// What a receiving call got.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Bytes copied.
    pub copied: usize,
    /// Length of the message: for a datagram that was cut, more than was copied.
    pub len: usize,
    /// Who sent it; none for streams.
    pub source: Option<Endpoint>,
    /// What the program wants to be told beside; none for streams, and where it wants nothing.
    pub arrival: Option<Arrival>,
    /// What it wants to be told of a stream.
    pub beside: Beside,
}

/// How a datagram came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// What of it the program wants to be told.
    pub asked: Asked,
    /// The address that it was sent to.
    pub target: Address,
    /// The index of the interface that it came by.
    pub device: u32,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Routers that it could still have passed.
    pub hop_limit: u8,
    /// When it came.
    pub at: Nanos,
}

/// What came with a datagram that is to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departure {
    /// Its source address.
    pub source: Option<Address>,
    /// The index of the interface by which it is to leave; 0 for any.
    pub device: u32,
    /// Type of service and hop limit, where they are not the socket's.
    pub leaving: Leaving,
    /// Something that the stack does not know: the kernel is to send it.
    pub other: bool,
}
