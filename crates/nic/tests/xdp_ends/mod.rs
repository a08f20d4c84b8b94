//! Ends of a cable: a steering program that redirects everything and an AF_XDP socket, or a packet socket of the kernel.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test program uses some of it")]

mod sys;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use sidestep_nic::Port;
use sidestep_nic::xdp::{Attachment, Options, Report, Socket, State, Xdp};
use sidestep_shm::{Clock, Foreign, Nanos};
use sidestep_steering::{Mode, Steering, Wanted};
use sidestep_tests::netns::Netns;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Long enough for a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One test at a time: each takes the processors, and interfaces are made and removed under one lock of the kernel.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tries until there is something, or fails.
pub(crate) fn wait<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::new();
    let deadline = clock.now() + Nanos(u64::try_from(PATIENCE.as_nanos()).unwrap());
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(clock.now() < deadline, "no {what}");
    }
}

/// A frame that is recognised by its number: broadcast, of a type for local experiments, then a pattern.
pub(crate) fn frame(number: usize, bytes: usize) -> Vec<u8> {
    let head = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5,
    ];
    let body = (head.len()..bytes).map(|i| (number * 31 + i * 7 + i / 251).to_le_bytes()[0]);
    head.into_iter().chain(body).collect()
}

/// An AF_XDP socket on one queue.
pub(crate) struct End {
    pub(crate) state: State,
    pub(crate) at: Attachment,
    pub(crate) report: Report,
}

impl End {
    /// The socket alone.
    pub(crate) fn bound(netns: &Netns, name: &str, queue: u32, options: &Options) -> Self {
        let ifindex = netns.ifindex(name);
        let made = netns.inside(|| Socket::create(options)?.bind(ifindex, queue));
        let (state, at, report) = made.unwrap();
        Self { state, at, report }
    }

    pub(crate) fn port(&mut self) -> Xdp<'_> {
        Xdp::new(&mut self.state, &self.at)
    }

    /// Writes a frame; it goes with the next flush.
    pub(crate) fn write(&mut self, frame: &[u8]) -> bool {
        self.port().tx(frame.len(), |mut room| {
            assert_eq!(room.copy_from(frame), frame.len());
        })
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        assert!(self.write(frame), "no room");
        self.port().tx_flush();
    }

    /// All that is there now.
    pub(crate) fn receive_all(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while self.port().rx_batch(64, |frame| frames.push(copy(frame))) != 0 {}
        frames
    }

    /// One frame, however long it takes.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        wait("frame", || {
            let mut got = None;
            self.port().rx_batch(1, |frame| got = Some(copy(frame)));
            got
        })
    }
}

pub(crate) fn copy(frame: Foreign<'_>) -> Vec<u8> {
    let mut bytes = vec![0; frame.len()];
    assert_eq!(frame.copy_to(&mut bytes), bytes.len());
    bytes
}

/// The steering program on an interface, redirecting everything to stack 0.
pub(crate) fn steer_everything(netns: &Netns, name: &str, mode: Mode) -> Steering {
    let (ifindex, station) = (netns.ifindex(name), netns.station(name));
    let steering = netns.inside(|| Steering::attach(ifindex, station, Wanted::Only(mode)));
    let mut steering = steering.unwrap();
    steering.steer_everything(Some(0)).unwrap();
    steering
}

/// Steering and a socket on queue 0.
pub(crate) fn steered(netns: &Netns, name: &str, options: &Options) -> (Steering, End) {
    let mut steering = steer_everything(netns, name, Mode::Native);
    let end = End::bound(netns, name, 0, options);
    steering.set_socket(0, 0, end.at.socket_fd()).unwrap();
    (steering, end)
}

/// A packet socket of the kernel on an interface: whole frames, as it sees them.
pub(crate) struct Packet(OwnedFd);

impl Packet {
    pub(crate) fn new(netns: &Netns, name: &str) -> Self {
        let ifindex = netns.ifindex(name);
        let socket = netns.inside(|| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket =
                rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
                    .unwrap();
            sys::bind_packet(&socket, ifindex).unwrap();
            socket
        });
        Self(socket)
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        assert_eq!(
            rustix::net::send(&self.0, frame, SendFlags::empty()),
            Ok(frame.len())
        );
    }

    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut bytes = vec![0; 16 * 1024];
        let (n, _) = wait("frame", || {
            rustix::net::recv(&self.0, &mut bytes[..], RecvFlags::empty()).ok()
        });
        bytes.truncate(n);
        bytes
    }
}

/// Binds a packet socket of whatever kind to an interface, for frames of every type.
pub(crate) fn hear_all(socket: &OwnedFd, ifindex: u32) {
    sys::bind_packet(socket, ifindex).unwrap();
}

/// Whether a socket becomes readable within the time.
pub(crate) fn is_readable(socket: BorrowedFd<'_>, within: Duration) -> bool {
    let mut wait = [PollFd::new(&socket, PollFlags::IN)];
    let limit = Timespec::try_from(within).unwrap();
    rustix::event::poll(&mut wait, Some(&limit)).unwrap() == 1
}
