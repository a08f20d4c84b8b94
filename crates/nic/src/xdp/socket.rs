//! Making an AF_XDP socket: the part that needs privilege (CAP_NET_RAW, and memory that may be locked).

use super::attach::Attachment;
use super::layout::{Geometry, TX_HEADROOM_BYTES};
use super::state::State;
use super::sys::{self, Number};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::xdp::{SocketAddrXdp, SocketAddrXdpFlags, XdpOptionsFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sidestep_shm::Region;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Frames that one call sends where the kernel copies them, if it lets us say: no more calls than that for a full ring.
const TX_BUDGET: u32 = 1024;

/// Who copies frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copying {
    /// Nobody, where the driver can do without; else the kernel.
    #[default]
    Auto,
    /// The kernel, whatever the driver can.
    Copy,
    /// Nobody; refused where the driver cannot.
    ZeroCopy,
}

/// Preferred busy polling: the interface's work is done by the calls of whoever receives, not by interrupts. It begins with
/// [`State::set_busy_poll`], and only where the socket [can](can_busy_poll) is a call more than wasted.
///
/// To be of use the interface needs `napi_defer_hard_irqs` and `gro_flush_timeout` set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// Microseconds that a call polls for; a call that finds nothing returns at once all the same.
    pub us: u32,
    /// Frames in one poll.
    pub budget: u32,
}

/// How a socket is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Receiving buffers, as a power of two.
    pub log2_rx: u8,
    /// Sending buffers, as a power of two.
    pub log2_tx: u8,
    /// Longest frame in bytes, link-layer header included: the interface's MTU and 14, or 18 with VLAN tags.
    pub frame_bytes_max: usize,
    /// Who copies.
    pub copying: Copying,
    /// Whether huge pages are tried first.
    pub huge_pages: bool,
    /// Busy polling, if wanted.
    pub busy_poll: Option<BusyPoll>,
    /// Whether room is kept to tell the link to [finish checksums](State::finish_checksums), where the kernel has that
    /// (6.8, and later ones of some of its branches).
    pub finish_checksums: bool,
}

impl Default for Options {
    /// 2048 receiving and 1024 sending buffers, for an MTU of 1500 and a VLAN tag.
    fn default() -> Self {
        Self {
            log2_rx: 11,
            log2_tx: 10,
            frame_bytes_max: 1518,
            copying: Copying::Auto,
            huge_pages: true,
            busy_poll: None,
            finish_checksums: false,
        }
    }
}

/// What was got of what was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The driver and we share the buffers; else the kernel copies.
    pub zero_copy: bool,
    /// The buffers are in huge pages.
    pub huge_pages: bool,
    /// Frames longer than a buffer can come and go, in several.
    pub chained: bool,
    /// Busy polling was asked for.
    pub busy_poll: bool,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Numbers of buffers or length of frames out of bounds.
    #[error("buffers of that number and length are not possible")]
    Options,
    /// No privilege.
    #[error("not allowed to open an AF_XDP socket: run as root, or with CAP_NET_RAW")]
    NotAllowed,
    /// Nothing of the kind in this kernel.
    #[error("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)")]
    NoAfXdp,
    /// `RLIMIT_MEMLOCK`.
    #[error(
        "{} KiB of memory cannot be locked: raise `ulimit -l` (LimitMEMLOCK= in a unit of systemd), or give CAP_IPC_LOCK",
        .0 / 1024
    )]
    Memlock(usize),
    /// Another socket has that queue.
    #[error("queue {queue} of interface {ifindex} is taken by another AF_XDP socket")]
    Taken {
        /// The interface.
        ifindex: u32,
        /// The queue.
        queue: u32,
    },
    /// Nothing there.
    #[error("interface {ifindex} is not there, or has no queue {queue}")]
    NoQueue {
        /// The interface.
        ifindex: u32,
        /// The queue.
        queue: u32,
    },
    /// The interface is down.
    #[error("interface {0} is down: `ip link set NAME up`")]
    Down(u32),
    /// The driver cannot do what was insisted on, or kernel or driver cannot spread frames over buffers.
    #[error(
        "interface {0} cannot: without copying, or frames of more than one buffer (Linux 6.6 can)"
    )]
    Unsupported(u32),
    /// Anything else.
    #[error("AF_XDP: {0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// A socket with its memory and rings, not yet bound: the moment to hand its descriptors to another process, on
/// kernels before 6.4.
pub struct Socket {
    state: State,
    at: Attachment,
    options: Options,
    huge_pages: bool,
}

impl Socket {
    /// Makes socket, memory and rings, and gives the kernel all receiving buffers.
    pub fn create(options: &Options) -> Result<Self, OpenError> {
        let geometry = Geometry::new(options.log2_rx, options.log2_tx, options.frame_bytes_max)
            .ok_or(OpenError::Options)?;
        let frame_bytes_max =
            u32::try_from(options.frame_bytes_max).map_err(|_| OpenError::Options)?;
        let socket = open()?;
        let (umem, huge_pages) = memory(&geometry, options.huge_pages)?;
        let umem = Arc::new(umem);
        let register = |headroom| {
            let fd = socket.as_fd();
            sys::register_umem(
                fd,
                &umem,
                (geometry.bytes(), geometry.buffer_bytes),
                headroom,
            )
        };
        // Other kernels refuse it.
        let has_headroom = options.finish_checksums && register(TX_HEADROOM_BYTES).is_ok();
        let registered = if has_headroom { Ok(()) } else { register(0) };
        registered.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOBUFS | Errno::PERM) => OpenError::Memlock(geometry.bytes()),
            _ => OpenError::Io(error),
        })?;
        sockopt::set_xdp_umem_fill_ring_size(&socket, geometry.rx_buffers())?;
        sockopt::set_xdp_umem_completion_ring_size(&socket, geometry.tx_buffers())?;
        sockopt::set_xdp_rx_ring_size(&socket, geometry.rx_buffers())?;
        sockopt::set_xdp_tx_ring_size(&socket, geometry.tx_buffers())?;
        // A kernel that does not know the option sends 32 frames in a call.
        let _ = sys::set_number(
            &socket,
            Number::MaxTxBudget,
            TX_BUDGET.min(geometry.tx_buffers()),
        );
        if let Some(busy) = options.busy_poll {
            sys::set_number(&socket, Number::PreferBusyPoll, 1)?;
            sys::set_number(&socket, Number::BusyPoll, busy.us)?;
            sys::set_number(&socket, Number::BusyPollBudget, busy.budget)?;
        }
        let at = Attachment::new(socket, umem, &geometry)?;
        for buffer in 0..geometry.rx_buffers() {
            let address = u64::from(buffer) * u64::from(geometry.buffer_bytes);
            at.fill.write(buffer, [address]);
        }
        at.fill.produce(geometry.rx_buffers());
        let mut state = State::new(&geometry, frame_bytes_max);
        if has_headroom {
            state.keep_tx_headroom();
        }
        Ok(Self {
            state,
            at,
            options: *options,
            huge_pages,
        })
    }

    /// What another process needs to make an attachment of its own.
    pub const fn attachment(&self) -> &Attachment {
        &self.at
    }

    /// The halves of a socket that is never bound, for tests of what rings may say.
    #[cfg(test)]
    pub(super) fn unbound(self) -> (State, Attachment) {
        (self.state, self.at)
    }

    /// Ties it to a queue of an interface: from here on frames that an XDP program redirects to it come, and frames
    /// can be sent.
    pub fn bind(self, ifindex: u32, queue: u32) -> Result<(State, Attachment, Report), OpenError> {
        let chained = self
            .state
            .geometry()
            .is_chained(self.options.frame_bytes_max);
        let mut flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
        flags.set(SocketAddrXdpFlags::XDP_USE_SG, chained);
        flags |= match self.options.copying {
            Copying::Auto => SocketAddrXdpFlags::empty(),
            Copying::Copy => SocketAddrXdpFlags::XDP_COPY,
            Copying::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
        };
        let address = SocketAddrXdp::new(flags, ifindex, queue);
        rustix::net::bind(&self.at.socket, &address).map_err(|errno| match errno {
            Errno::BUSY => OpenError::Taken { ifindex, queue },
            Errno::NODEV | Errno::INVAL => OpenError::NoQueue { ifindex, queue },
            Errno::NETDOWN => OpenError::Down(ifindex),
            Errno::OPNOTSUPP => OpenError::Unsupported(ifindex),
            other => other.into(),
        })?;
        let got = sockopt::xdp_options(&self.at.socket)?;
        let report = Report {
            zero_copy: got.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY),
            huge_pages: self.huge_pages,
            chained,
            busy_poll: self.options.busy_poll.is_some(),
        };
        Ok((self.state, self.at, report))
    }
}

/// Whether calls on that socket can drive its queue: not where the driver has nothing to be driven, nor before a first
/// frame has come.
pub fn can_busy_poll(socket: impl AsFd) -> bool {
    sys::napi_id(socket).is_ok_and(|id| id != 0)
}

/// Whether this kernel has AF_XDP, and lets us make sockets of it.
pub fn is_there() -> Result<(), OpenError> {
    open().map(drop)
}

fn open() -> Result<OwnedFd, OpenError> {
    rustix::net::socket_with(
        AddressFamily::XDP,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|errno| match errno {
        Errno::PERM | Errno::ACCESS => OpenError::NotAllowed,
        Errno::AFNOSUPPORT | Errno::INVAL => OpenError::NoAfXdp,
        other => other.into(),
    })
}

/// Memory for the buffers, and whether it is in huge pages.
fn memory(geometry: &Geometry, huge_pages: bool) -> io::Result<(Region, bool)> {
    let name = "sidestep-umem";
    if huge_pages && let Ok(region) = Region::create_huge(name, geometry.bytes()) {
        return Ok((region, true));
    }
    Ok((Region::create(name, geometry.bytes())?, false))
}
