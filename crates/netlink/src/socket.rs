//! One netlink socket: datagrams of the kernel, and the messages in them.

#[cfg(test)]
mod tests;

use netlink_packet_core::NetlinkBuffer;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use std::io;

/// Longer than any datagram of the kernel: dumps come in pieces of 32 KiB at most.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;

/// What a look at the socket found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A datagram, whose messages can be read now.
    Datagram,
    /// Nothing is waiting.
    Nothing,
    /// Datagrams were lost.
    Overrun,
}

/// A non-blocking socket, with the datagram that came last.
pub(crate) struct Socket {
    socket: netlink_sys::Socket,
    datagram: Vec<u8>,
}

impl Socket {
    /// Opens one in the network namespace of the calling thread, and joins these multicast groups.
    pub(crate) fn open(groups: &[u32]) -> io::Result<Self> {
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        for &group in groups {
            socket.add_membership(group)?;
        }
        Ok(Self {
            socket,
            datagram: Vec::with_capacity(DATAGRAM_BYTES_MAX),
        })
    }

    /// Asks for room for that many bytes of datagrams that wait; privilege lifts the limit of the system.
    pub(crate) fn widen(&self, bytes: usize) -> io::Result<()> {
        if set_socket_recv_buffer_size_force(&self.socket, bytes).is_err() {
            set_socket_recv_buffer_size(&self.socket, bytes)?;
        }
        Ok(())
    }

    /// Sends one message to the kernel.
    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        self.socket.send_to(message, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }

    /// Takes one datagram; never waits.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        self.datagram.clear();
        match self.socket.recv_from(&mut self.datagram, libc::MSG_TRUNC) {
            // Other processes may write to this socket too; they are not heard.
            Ok((_, sender)) if sender.port_number() != 0 => self.datagram.clear(),
            Ok((bytes, _)) if bytes > self.datagram.len() => {
                self.datagram.clear();
                return Ok(Received::Overrun);
            }
            Ok(_) => {}
            Err(error) => {
                return match error.raw_os_error() {
                    Some(libc::ENOBUFS) => Ok(Received::Overrun),
                    Some(libc::EINTR) => Ok(Received::Datagram),
                    _ if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
                    _ => Err(error),
                };
            }
        }
        Ok(Received::Datagram)
    }

    /// The messages of the datagram that came last.
    pub(crate) fn messages(&self) -> Messages<'_> {
        Messages {
            rest: &self.datagram,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The messages of a datagram, each with its header; what follows a broken one is left out.
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Of a datagram as it came.
    #[cfg(test)]
    pub(crate) fn of(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = NetlinkBuffer<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = usize::try_from(NetlinkBuffer::new_checked(self.rest).ok()?.length()).ok()?;
        let message = &self.rest[..bytes];
        // Messages begin at multiples of four bytes.
        let next = bytes.next_multiple_of(4).min(self.rest.len());
        self.rest = &self.rest[next..];
        Some(NetlinkBuffer::new(message))
    }
}
