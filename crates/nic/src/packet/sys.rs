//! The first words of slots, which the kernel writes too, and system calls that no library has. The only unsafe code of the
//! driver.
#![expect(
    unsafe_code,
    reason = "makes references to atomics of checked parts of the rings, and hands structures to the kernel"
)]

use sidestep_shm::Region;
use sidestep_shm::atomic::AtomicU32;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The word of a slot that says whose it is.
#[inline]
pub(super) fn status(rings: &Region, slot: usize) -> Option<&AtomicU32> {
    let word = rings.at(slot, size_of::<u32>())?.cast::<AtomicU32>();
    if !word.is_aligned() {
        return None;
    }
    // SAFETY: inside of the mapping, which lives as long as the borrow, and aligned, both checked above; an atomic, so the
    // kernel may write it meanwhile.
    Some(unsafe { &*word })
}

/// Reads what the socket has queued into the region from `offset` on. Returns its length, which may be more than there
/// was room for.
pub(super) fn receive(socket: impl AsFd, into: &Region, offset: usize) -> io::Result<usize> {
    let room = into.bytes().saturating_sub(offset);
    let start = into.at(offset, room).ok_or(io::ErrorKind::InvalidInput)?;
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: the kernel writes at most `room` bytes from `start` on, all inside of the region, of which nobody has a slice.
    let received = unsafe { libc::recv(socket.as_fd().as_raw_fd(), start.cast(), room, flags) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Binds a packet socket to an interface, for frames of every type.
pub(super) fn bind(socket: impl AsFd, ifindex: u32) -> io::Result<()> {
    bind_for(socket, ifindex, libc::ETH_P_ALL)
}

/// The same for frames of no type: it receives none.
pub(super) fn bind_to_send(socket: impl AsFd, ifindex: u32) -> io::Result<()> {
    bind_for(socket, ifindex, 0)
}

fn bind_for(socket: impl AsFd, ifindex: u32, protocol: i32) -> io::Result<()> {
    let number = |constant: i32| u16::try_from(constant).map_err(io::Error::other);
    let address = libc::sockaddr_ll {
        sll_family: number(libc::AF_PACKET)?,
        sll_protocol: number(protocol)?.to_be(),
        sll_ifindex: ifindex.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = u32::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `length` bytes of `address`, which outlives the call.
    let done = unsafe {
        libc::bind(
            socket.as_fd().as_raw_fd(),
            (&raw const address).cast(),
            length,
        )
    };
    result(done)
}

/// Options whose value is made of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numbers {
    /// `SO_RCVBUFFORCE`: bytes that may wait in the socket's queue.
    ReceiveBuffer,
    /// `SO_SNDBUFFORCE`: bytes that may be under way.
    SendBuffer,
    /// `SO_LOCK_FILTER`: its filter stays.
    LockFilter,
    /// `PACKET_VNET_HDR`: a `struct virtio_net_hdr` goes before each frame.
    VirtioHeader,
    /// `PACKET_VERSION`: 1 for the second one.
    Version,
    /// `PACKET_LOSS`: a slot that makes no sense is left out.
    Loss,
    /// `PACKET_COPY_THRESH`: frames longer than a slot are queued.
    CopyThreshold,
    /// `PACKET_IGNORE_OUTGOING`: what leaves is not received, since Linux 4.20.
    IgnoreOutgoing,
    /// `PACKET_RX_RING`, `PACKET_TX_RING`: `struct tpacket_req`.
    RxRing,
    TxRing,
}

/// Sets such an option.
pub(super) fn set<const COUNT: usize>(
    socket: impl AsFd,
    which: Numbers,
    values: [u32; COUNT],
) -> io::Result<()> {
    let (level, option) = match which {
        Numbers::ReceiveBuffer => (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE),
        Numbers::SendBuffer => (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE),
        Numbers::LockFilter => (libc::SOL_SOCKET, libc::SO_LOCK_FILTER),
        Numbers::VirtioHeader => (libc::SOL_PACKET, 15),
        Numbers::Version => (libc::SOL_PACKET, 10),
        Numbers::Loss => (libc::SOL_PACKET, 14),
        Numbers::CopyThreshold => (libc::SOL_PACKET, 7),
        Numbers::IgnoreOutgoing => (libc::SOL_PACKET, 23),
        Numbers::RxRing => (libc::SOL_PACKET, 5),
        Numbers::TxRing => (libc::SOL_PACKET, 13),
    };
    let length = u32::try_from(size_of_val(&values)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `length` bytes of `values`, which outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            values.as_ptr().cast(),
            length,
        )
    };
    result(done)
}

/// Frames that came for a packet socket and were lost, for want of a slot, since this was last asked: `PACKET_STATISTICS`.
pub(super) fn take_lost(socket: impl AsFd) -> io::Result<u32> {
    const STATISTICS: i32 = 6;
    // struct tpacket_stats: all frames, those lost.
    let mut counts = [0u32; 2];
    let mut length = u32::try_from(size_of_val(&counts)).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes to `counts`, and to `length`; both outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            STATISTICS,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    result(done).map(|()| counts[1])
}

fn result(done: i32) -> io::Result<()> {
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has a socket drop all that it would receive, for good.
pub(super) fn receive_nothing(socket: impl AsFd) -> io::Result<()> {
    const RETURN_NOTHING: u16 = 6;
    let mut verdict = libc::sock_filter {
        code: RETURN_NOTHING,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut verdict,
    };
    let length = u32::try_from(size_of_val(&program)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `length` bytes of `program` and the one instruction that it points to; both outlive the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    };
    result(done)?;
    set(socket, Numbers::LockFilter, [1])
}

/// Sends bytes of the region by a socket.
pub(super) fn send(
    socket: impl AsFd,
    region: &Region,
    offset: usize,
    bytes: usize,
) -> io::Result<usize> {
    let start = region
        .at(offset, bytes)
        .ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel reads `bytes` bytes from `start` on, all inside of the region by the check above.
    let sent = unsafe {
        libc::send(
            socket.as_fd().as_raw_fd(),
            start.cast(),
            bytes,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
