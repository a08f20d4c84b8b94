//! Making a packet socket: the part that needs privilege (CAP_NET_RAW, and CAP_NET_ADMIN for long queues).

use super::attach::Attachment;
use super::layout::Geometry;
use super::state::State;
use super::sys::{self, Numbers};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What merged frames may take in the socket's queue, and frames that are being sent in the kernel's.
const QUEUE_BYTES: u32 = 8 << 20;
/// The second version of the rings: the first one has no VLAN tags, the third no frame before a block is full or old.
const TPACKET_V2: u32 = 1;

/// How a socket is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of each of the two rings: the kernel's memory.
    pub ring_bytes: u32,
    /// Longest frame in bytes, link-layer header included: the interface's MTU and 14, or 18 with VLAN tags.
    pub frame_bytes_max: usize,
}

impl Default for Options {
    /// 2048 slots each way, for an MTU of 1500 and a VLAN tag.
    fn default() -> Self {
        Self {
            ring_bytes: 4 << 20,
            frame_bytes_max: 1518,
        }
    }
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Length of frames, or of rings, out of bounds.
    #[error("rings of that length for frames of that length are not possible")]
    Options,
    /// No privilege.
    #[error("not allowed to open a packet socket: run as root, or with CAP_NET_RAW")]
    NotAllowed,
    /// Nothing of the kind in this kernel.
    #[error("this kernel has no packet sockets (CONFIG_PACKET)")]
    NoAfPacket,
    /// Nothing there.
    #[error("interface {0} is not there")]
    NoInterface(u32),
    /// Anything else.
    #[error("packet socket: {0}")]
    Io(#[from] io::Error),
}

/// Makes socket and rings for an interface of this network namespace. What comes there from now on is received.
pub fn open(ifindex: u32, options: &Options) -> Result<(State, Attachment), OpenError> {
    let geometry = Geometry::new(options.ring_bytes, options.frame_bytes_max);
    let geometry = geometry.ok_or(OpenError::Options)?;
    let frame_bytes_max = u32::try_from(options.frame_bytes_max).map_err(|_| OpenError::Options)?;
    let socket = socket()?;
    sys::set(&socket, Numbers::Version, [TPACKET_V2])?;
    sys::set(&socket, Numbers::Loss, [1])?;
    sys::set(&socket, Numbers::CopyThreshold, [geometry.slot_bytes])?;
    // Without, our own frames come back; the far end of a veth has no others, and their stations are not ours.
    let _ = sys::set(&socket, Numbers::IgnoreOutgoing, [1]);
    // Without CAP_NET_ADMIN the queues are as long as the system's limits make them.
    let _ = sys::set(&socket, Numbers::ReceiveBuffer, [QUEUE_BYTES]);
    let _ = sys::set(&socket, Numbers::SendBuffer, [QUEUE_BYTES]);
    sys::set(&socket, Numbers::RxRing, geometry.request(geometry.log2_rx))?;
    sys::set(&socket, Numbers::TxRing, geometry.request(geometry.log2_tx))?;
    let at = Attachment::new(socket, &geometry)?;
    sys::bind(&at.socket, ifindex).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NODEV | Errno::NXIO) => OpenError::NoInterface(ifindex),
        _ => OpenError::Io(error),
    })?;
    Ok((State::new(&geometry, frame_bytes_max), at))
}

/// Frames that came for a packet socket and were lost since this was last asked.
pub fn frames_lost(socket: impl AsFd) -> io::Result<u32> {
    sys::take_lost(socket)
}

/// A packet socket that receives nothing yet.
fn socket() -> Result<OwnedFd, OpenError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None).map_err(|errno| {
        match errno {
            Errno::PERM | Errno::ACCESS => OpenError::NotAllowed,
            Errno::AFNOSUPPORT => OpenError::NoAfPacket,
            other => OpenError::Io(other.into()),
        }
    })
}
