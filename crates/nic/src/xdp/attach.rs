//! What one process needs to use an AF_XDP socket: the socket, the mapped UMEM, the mapped rings. Needs no privilege.

use super::layout::{CHAIN_BYTES_MAX, Geometry};
use super::sys::Ring;
use rustix::net::xdp;
use sidestep_shm::{Fd, Region};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// One AF_XDP socket, as this process sees it.
///
/// Nothing in it changes after it was made; what changes is in the [`State`](super::State). A child by `fork` has its
/// parent's; another process makes its own of [`socket_fd`](Self::socket_fd) and [`umem`](Self::umem), on kernels
/// before 6.4 only before the socket is bound.
pub struct Attachment {
    pub(super) socket: Fd,
    pub(super) umem: Arc<Region>,
    pub(super) rx: Ring<2>,
    pub(super) tx: Ring<2>,
    pub(super) fill: Ring<1>,
    pub(super) done: Ring<1>,
    /// Where a frame in several buffers is put together; this process's own.
    pub(super) scratch: Region,
    /// Takes long segments, if the kernel is to cut them.
    pub(super) cutter: Option<Fd>,
}

/// What the kernel counts for a socket since it was made: `struct xdp_statistics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// Frames lost for a reason other than a full ring.
    pub rx_dropped: u64,
    /// Frames lost because the rx ring was full.
    pub rx_ring_full: u64,
    /// Frames lost because there was no empty buffer.
    pub rx_no_buffer: u64,
    /// Addresses in the fill ring that made no sense.
    pub rx_invalid: u64,
    /// Descriptors in the tx ring that made no sense.
    pub tx_invalid: u64,
}

impl Attachment {
    /// Maps the rings of that socket. Fails with `InvalidData` where memory or rings are too short for the geometry.
    pub fn new(
        socket: OwnedFd,
        umem: impl Into<Arc<Region>>,
        geometry: &Geometry,
    ) -> io::Result<Self> {
        let umem = umem.into();
        if !geometry.is_possible() || umem.bytes() < geometry.bytes() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "memory that is not a UMEM of that geometry",
            ));
        }
        let socket = Fd::adopt(socket)?;
        let offsets = rustix::net::sockopt::xdp_mmap_offsets(&socket)?;
        let fd = socket.as_fd();
        let (rx, tx) = (geometry.log2_rx, geometry.log2_tx);
        Ok(Self {
            rx: Ring::map(fd, rx, &offsets.rx, xdp::XDP_PGOFF_RX_RING)?,
            tx: Ring::map(fd, tx, &offsets.tx, xdp::XDP_PGOFF_TX_RING)?,
            fill: Ring::map(fd, rx, &offsets.fr, xdp::XDP_UMEM_PGOFF_FILL_RING)?,
            done: Ring::map(fd, tx, &offsets.cr, xdp::XDP_UMEM_PGOFF_COMPLETION_RING)?,
            scratch: Region::private(CHAIN_BYTES_MAX)?,
            socket,
            umem,
            cutter: None,
        })
    }

    /// The same, with a socket that takes long segments.
    pub fn with_cutter(mut self, cutter: OwnedFd) -> io::Result<Self> {
        self.cutter = Some(Fd::adopt(cutter)?);
        Ok(self)
    }

    /// The socket: to hand to another process that shares the stack, to name in a steering program's table, and to
    /// wait on. It is readable while a frame waits.
    pub fn socket_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The buffers' memory, to hand to another process that shares the stack.
    pub const fn umem(&self) -> &Arc<Region> {
        &self.umem
    }

    /// What the kernel counts.
    pub fn kernel_counters(&self) -> io::Result<KernelCounters> {
        KernelCounters::of(&self.socket)
    }
}

impl KernelCounters {
    /// Those of an AF_XDP socket.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let counts = rustix::net::sockopt::xdp_statistics(socket)?;
        Ok(Self {
            rx_dropped: counts.rx_dropped,
            rx_ring_full: counts.rx_ring_full.unwrap_or(0),
            rx_no_buffer: counts.rx_fill_ring_empty_descs.unwrap_or(0),
            rx_invalid: counts.rx_invalid_descs,
            tx_invalid: counts.tx_invalid_descs,
        })
    }
}
