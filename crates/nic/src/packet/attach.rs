//! What one process needs to use a packet socket: the socket, with its rings mapped. Needs no privilege.

use super::layout::{Geometry, LONG_FRAME_BYTES};
use sidestep_shm::{Fd, Region};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One packet socket, as this process sees it.
///
/// Nothing in it changes after it was made; what changes is in the [`State`](super::State). A child by `fork` has its
/// parent's; another process makes its own of [`socket_fd`](Self::socket_fd).
pub struct Attachment {
    pub(super) socket: Fd,
    pub(super) rings: Region,
    pub(super) geometry: Geometry,
    /// Where a frame that no slot holds is read to; this process's own.
    pub(super) scratch: Region,
}

impl Attachment {
    /// Maps the rings of that socket. Fails with `InvalidData` where they cannot be as the geometry says.
    pub fn new(socket: OwnedFd, geometry: &Geometry) -> io::Result<Self> {
        if !geometry.is_possible() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "impossible rings",
            ));
        }
        Ok(Self {
            rings: Region::attach_rings(socket.try_clone()?, geometry.bytes())?,
            geometry: *geometry,
            scratch: Region::private(LONG_FRAME_BYTES)?,
            socket: Fd::adopt(socket)?,
        })
    }

    /// The socket: to hand to another process that shares the stack, and to wait on. It is readable while a frame waits.
    pub fn socket_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
