//! What both kinds of host have in common.

use sidestep_shm::Nanos;
use std::io;
use std::os::fd::BorrowedFd;

/// The port that servers listen at.
pub(crate) const PORT: u16 = 5001;
/// Longest IP packet in bytes.
pub(crate) const MTU: usize = 1500;

/// A connection of a host.
pub(crate) type Conn = usize;

/// A host on the link: its packets and its sockets, none of whose calls waits.
pub(crate) trait Host {
    /// Begins to accept connections at [`PORT`].
    fn listen(&mut self) -> io::Result<()>;
    /// Begins to connect to the host with that number.
    fn connect(&mut self, now: Nanos, to: u8) -> io::Result<Conn>;
    /// The next connection that somebody opened.
    fn accept(&mut self) -> Option<Conn>;
    /// Sends some of the bytes; `WouldBlock` where it takes none now.
    fn send(&mut self, now: Nanos, conn: Conn, bytes: &[u8]) -> io::Result<usize>;
    /// Receives bytes; 0 at the end of the stream, `WouldBlock` where there are none now.
    fn recv(&mut self, now: Nanos, conn: Conn, bytes: &mut [u8]) -> io::Result<usize>;
    /// Ends the direction from here.
    fn finish(&mut self, now: Nanos, conn: Conn) -> io::Result<()>;
    /// Lets go of a connection.
    fn close(&mut self, now: Nanos, conn: Conn);
    /// The next IP packet that it sends: its length, 0 for none.
    fn take(&mut self, now: Nanos, packet: &mut [u8; MTU]) -> io::Result<usize>;
    /// An IP packet arrives.
    fn give(&mut self, packet: &[u8]) -> io::Result<()>;
    /// Serves timers, and what arrived.
    fn poll(&mut self, now: Nanos);
    /// When that has something to do next.
    fn next_timer(&self) -> Nanos;
    /// Readable when there is a packet to take; none where that is only after other calls.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
    /// Segments sent again, and timeouts, as far as is known.
    fn counters(&self) -> (u64, u64);
}
