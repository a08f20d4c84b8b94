//! Long segments that the kernel or the card cuts into such as the link carries: one call for a burst of a stream, where the
//! kernel copies each frame anyway. They go through a packet socket, with a `struct virtio_net_hdr` before the frame.

use super::sys;
use crate::Cut;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sidestep_shm::Region;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// `struct virtio_net_hdr`.
pub(crate) const HEADER_BYTES: usize = 10;
/// The checksum is to be finished (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV4` and `_TCPV6`.
const CUT_V4: u8 = 1;
const CUT_V6: u8 = 4;
/// Where the checksum lies in a TCP header.
const TCP_CHECKSUM: u16 = 16;
/// Bytes that may be under way: several bursts of every connection.
const SEND_BUFFER_BYTES: u32 = 8 << 20;

/// What became of a long segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Sent,
    /// The socket has as much under way as it may have.
    Full,
    /// Dropped on its way, as on any link.
    Lost,
    /// Nobody takes any more.
    NotPossible,
}

/// What goes before a frame.
#[expect(
    clippy::cast_possible_truncation,
    reason = "offsets within a frame of less than 64 KiB"
)]
pub(crate) fn header(cut: &Cut) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[0] = NEEDS_CHECKSUM;
    bytes[1] = if cut.is_v6 { CUT_V6 } else { CUT_V4 };
    bytes[2..4].copy_from_slice(&(cut.payload_offset as u16).to_ne_bytes());
    bytes[4..6].copy_from_slice(&(cut.segment_bytes as u16).to_ne_bytes());
    bytes[6..8].copy_from_slice(&(cut.tcp_offset as u16).to_ne_bytes());
    bytes[8..10].copy_from_slice(&TCP_CHECKSUM.to_ne_bytes());
    bytes
}

/// A packet socket that takes long segments for that interface. Needs CAP_NET_RAW.
///
/// Whoever holds it can send by every interface of its network namespace, so that should be one where there is nothing else;
/// it receives nothing, whatever it is bound to.
pub fn open_cutter(ifindex: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    sys::receive_nothing(&socket)?;
    sys::set(&socket, sys::Numbers::VirtioHeader, [1])?;
    sys::set(&socket, sys::Numbers::SendBuffer, [SEND_BUFFER_BYTES])?;
    sys::bind_to_send(&socket, ifindex)?;
    Ok(socket)
}

/// Sends what lies there: header and frame.
pub(crate) fn send(socket: impl AsFd, memory: &Region, start: usize, bytes: usize) -> Outcome {
    loop {
        let error = match sys::send(&socket, memory, start, bytes) {
            Ok(_) => return Outcome::Sent,
            Err(error) => Errno::from_io_error(&error),
        };
        return match error {
            Some(Errno::INTR) => continue,
            Some(Errno::AGAIN) => Outcome::Full,
            Some(Errno::NOBUFS | Errno::NOMEM | Errno::NETDOWN) => Outcome::Lost,
            _ => Outcome::NotPossible,
        };
    }
}
