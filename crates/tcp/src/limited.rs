//! For how long something else than the network held a connection back that had data (`tcpi_rwnd_limited`,
//! `tcpi_sndbuf_limited` of TCP_INFO), so that a slow connection can be told from a slow program.

use sidestep_shm::Nanos;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What holds it back. Stored as a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum By {
    /// Nothing but the network.
    Nothing = 0,
    /// The peer's window.
    Peer = 1,
    /// Its send buffer, which is all in flight while the program would write more.
    Buffer = 2,
}

/// The present cause, and the sums.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Limited {
    since: Nanos,
    by_peer_ns: u64,
    by_buffer_ns: u64,
    by: u8,
    _reserved: [u8; 7],
}

impl Limited {
    /// From now on it is held back by something else, or by nothing.
    #[inline]
    pub(crate) fn set(&mut self, by: By, now: Nanos) {
        if self.by != by as u8 {
            self.change(by, now);
        }
    }

    #[cold]
    fn change(&mut self, by: By, now: Nanos) {
        (self.by_peer_ns, self.by_buffer_ns) = self.sums(now);
        (self.by, self.since) = (by as u8, now);
    }

    /// Nanoseconds for which the peer's window and the send buffer were the limit.
    pub(crate) fn sums(&self, now: Nanos) -> (u64, u64) {
        let span = (now - self.since).0;
        let of = |by: By| if self.by == by as u8 { span } else { 0 };
        (
            self.by_peer_ns + of(By::Peer),
            self.by_buffer_ns + of(By::Buffer),
        )
    }
}
