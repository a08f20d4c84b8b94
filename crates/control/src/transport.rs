//! One message and its descriptors over an `AF_UNIX` `SOCK_SEQPACKET` socket.

use crate::message::FDS_MAX;
use core::mem::MaybeUninit;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Received descriptors, taken in the order they were sent; what is not taken is closed.
#[derive(Debug)]
pub struct Fds {
    list: [Option<OwnedFd>; FDS_MAX],
    taken: usize,
    count: usize,
}

impl Default for Fds {
    fn default() -> Self {
        Self {
            list: [const { None }; FDS_MAX],
            taken: 0,
            count: 0,
        }
    }
}

impl Fds {
    /// How many are left.
    pub const fn len(&self) -> usize {
        self.count - self.taken
    }

    /// Whether none are left.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next one.
    pub fn take(&mut self) -> Option<OwnedFd> {
        let fd = self.list.get_mut(self.taken)?.take()?;
        self.taken += 1;
        Some(fd)
    }

    fn push(&mut self, fd: OwnedFd) {
        if let Some(place) = self.list.get_mut(self.count) {
            *place = Some(fd);
            self.count += 1;
        }
    }
}

/// What came in.
#[derive(Debug)]
pub struct Received {
    /// Length of the message at the start of the buffer.
    pub bytes: usize,
    /// The descriptors beside it.
    pub fds: Fds,
}

/// Why nothing came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveError {
    /// The other end closed the connection.
    Closed,
    /// The message did not fit; the rest of it is lost.
    Truncated,
    /// Not all descriptors could be received: too many, or no room for them in this process.
    FdsLost,
    /// The system call failed; `AGAIN` where there was nothing within the socket's time limit.
    Errno(Errno),
}

/// Sends one message with `fds` beside it. A signal does not interrupt it.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOBIG);
    }
    let parts = [IoSlice::new(message)];
    let sent = rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)
    })?;
    if sent == message.len() {
        Ok(())
    } else {
        Err(Errno::MSGSIZE)
    }
}

/// Receives one message into `buffer`; waits as the socket is set to. A signal does not interrupt it.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, ReceiveError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let result = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other.map_err(ReceiveError::Errno)?,
        }
    };
    let mut fds = Fds::default();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            received.for_each(|fd| fds.push(fd));
        }
    }
    if result
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(ReceiveError::Truncated);
    }
    if result.bytes == 0 {
        return Err(ReceiveError::Closed);
    }
    Ok(Received {
        bytes: result.bytes,
        fds,
    })
}
