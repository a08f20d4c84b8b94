//! The handshake over a socket of type SOCK_SEQPACKET, and the socket afterwards: it lives as long as the link.

use super::handshake::{Carry, Master, MasterStep, Offer, Options, Refusal, Slave, SlaveStep};
use super::message::{MESSAGE_BYTES, Message, text};
use crate::memif::{Attachment, Direction, Geometry, Memif, REGIONS_MAX, Role, State, wire};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use sidestep_shm::{EventFd, Fd, Region};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// More messages than a handshake has: regions, rings, greetings.
const MESSAGES_MAX: usize = REGIONS_MAX + 8;
/// Descriptors taken from one message; all but the first are closed.
const DESCRIPTORS_MAX: usize = 4;

/// A link that is up.
pub struct Link {
    /// To be kept in the stack's memory.
    pub state: State,
    /// This process's half.
    pub at: Attachment,
    /// What the peer wakes us with, once [`rx_wakeups`](crate::Port::rx_wakeups) asked for it.
    pub rx_event: EventFd,
    /// Closing it ends the link.
    pub channel: Channel,
}

/// A socket that slaves connect to. Its path is removed when it is dropped.
pub struct Listener {
    fd: Fd,
    path: PathBuf,
    options: Options,
}

/// Listens at `path`, as master. A path that exists is in use, or stale; removing it is for the caller to decide.
pub fn listen(path: &Path, options: &Options) -> io::Result<Listener> {
    let fd = socket()?;
    rustix::net::bind(&fd, &SocketAddrUnix::new(path)?)?;
    let listener = Listener {
        fd: Fd::adopt(fd)?,
        path: path.into(),
        options: options.clone(),
    };
    rustix::net::listen(&listener.fd, 4)?;
    Ok(listener)
}

/// Connects to the master at `path`, as slave; no step may take longer than `patience`.
pub fn connect(path: &Path, options: &Options, patience: Duration) -> io::Result<Link> {
    let fd = socket()?;
    rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?;
    connect_over(fd, options, patience)
}

impl Listener {
    /// Waits for a slave and sets the link up; no step may take longer than `patience`. Where one slave fails, the
    /// listener goes on.
    pub fn accept(&self, patience: Duration) -> io::Result<Link> {
        wait(self.fd.as_fd(), patience)?;
        let fd = rustix::net::accept_with(&self.fd, SocketFlags::CLOEXEC)?;
        serve_over(fd, &self.options, patience)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Plays the master on a connected socket.
pub fn serve_over(socket: OwnedFd, options: &Options, patience: Duration) -> io::Result<Link> {
    let channel = Channel {
        fd: Fd::adopt(socket)?,
    };
    let (mut master, hello) = Master::new(options);
    channel.send(&hello, None)?;
    for _ in 0..MESSAGES_MAX {
        let (message, fd) = channel.receive_within(patience)?;
        match master
            .on_message(&message, fd)
            .map_err(|refusal| channel.refuse(refusal))?
        {
            MasterStep::Send(answer) => channel.send(&answer, None)?,
            MasterStep::Attach(offer) => {
                let attached = attach(offer, options);
                let (state, at, rx_event) = attached.map_err(|error| channel.give_up(error))?;
                channel.send(&master.connected(), None)?;
                return Ok(Link {
                    state,
                    at,
                    rx_event,
                    channel,
                });
            }
        }
    }
    Err(channel.refuse(Refusal::Unexpected))
}

/// Maps what a slave offered.
fn attach(offer: Offer, options: &Options) -> io::Result<(State, Attachment, EventFd)> {
    let mut regions = Vec::new();
    for (fd, bytes) in offer.regions {
        let region = if options.unsealed_memory {
            Region::attach_unsealed(fd)
        } else {
            Region::attach(fd)
        }?;
        if (region.bytes() as u64) < bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a region shorter than was claimed",
            ));
        }
        regions.push(Arc::new(region));
    }
    let geometry = Geometry::foreign(offer.s2m.place, offer.m2s.place);
    let doorbell = event(offer.m2s.event)?;
    let at = Attachment::new(regions, &geometry, Role::Master, Some(doorbell))?;
    Ok((
        State::new(Role::Master, &geometry),
        at,
        event(offer.s2m.event)?,
    ))
}

/// A wake-up that the peer made. Writing to it must not block us, however it was made.
fn event(fd: OwnedFd) -> io::Result<EventFd> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
    EventFd::attach(fd)
}

/// Plays the slave on a connected socket.
pub fn connect_over(socket: OwnedFd, options: &Options, patience: Duration) -> io::Result<Link> {
    let channel = Channel {
        fd: Fd::adopt(socket)?,
    };
    let mut slave = Slave::new(options).map_err(aborted)?;
    let (rx_event, doorbell) = (EventFd::new()?, EventFd::new()?);
    let mut region = None;
    for _ in 0..MESSAGES_MAX {
        let (message, _) = channel.receive_within(patience)?;
        let (answer, carry) = match slave
            .on_message(&message)
            .map_err(|refusal| channel.refuse(refusal))?
        {
            SlaveStep::Send(answer, carry) => (answer, carry),
            SlaveStep::Connected => {
                let geometry = slave.geometry();
                let regions = region.into_iter().map(Arc::new).collect();
                let at = Attachment::new(regions, geometry, Role::Slave, Some(doorbell))?;
                let mut state = State::new(Role::Slave, geometry);
                Memif::new(&mut state, &at).open();
                return Ok(Link {
                    state,
                    at,
                    rx_event,
                    channel,
                });
            }
        };
        if carry == Carry::Region {
            region = Some(wire::create(slave.geometry())?);
        }
        let fd = match carry {
            Carry::Nothing => None,
            Carry::Region => region.as_ref().and_then(Region::fd),
            Carry::Event(Direction::SlaveToMaster) => Some(doorbell.as_fd()),
            Carry::Event(Direction::MasterToSlave) => Some(rx_event.as_fd()),
        };
        channel.send(&answer, fd)?;
    }
    Err(channel.refuse(Refusal::Unexpected))
}

/// The control socket of a link that is up.
pub struct Channel {
    fd: Fd,
}

impl AsFd for Channel {
    /// Readable when there is something to [`check`](Channel::check).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Channel {
    /// Whether the other end is still there, without waiting. Fails, with its words if it had any, when it is not.
    pub fn check(&self) -> io::Result<()> {
        let mut wait = [PollFd::new(&self.fd, PollFlags::IN)];
        while rustix::event::poll(
            &mut wait,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )? != 0
        {
            if let (Message::Disconnect { reason, .. }, _) = self.receive()? {
                return Err(aborted(Refusal::Disconnected(text(&reason))));
            }
        }
        Ok(())
    }

    /// Ends the link with a word.
    pub fn disconnect(self, reason: &str) {
        let _ = self.send(&Message::disconnect(reason), None);
    }

    fn refuse(&self, refusal: Refusal) -> io::Error {
        self.give_up(aborted(refusal))
    }

    /// Tells the peer why there will be no link; hands the error on.
    fn give_up(&self, error: io::Error) -> io::Error {
        let _ = self.send(&Message::disconnect(&error.to_string()), None);
        error
    }

    fn send(&self, message: &Message, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = fd.into_iter().collect();
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("no room for a descriptor"));
        }
        let bytes = message.emit();
        // A peer that does not read its messages has no use for a link: no waiting here.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(&self.fd, &[IoSlice::new(&bytes)], &mut ancillary, flags)?;
        Ok(())
    }

    fn receive_within(&self, patience: Duration) -> io::Result<(Message, Option<OwnedFd>)> {
        wait(self.fd.as_fd(), patience)?;
        self.receive()
    }

    fn receive(&self) -> io::Result<(Message, Option<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        // One byte more than a message has, so that a longer one shows.
        let mut bytes = [0; MESSAGE_BYTES + 1];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = rustix::net::recvmsg(
            &self.fd,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            flags,
        )?;
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut fd = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                for received in fds {
                    fd.get_or_insert(received);
                }
            }
        }
        let message = Message::parse(&bytes[..got.bytes]);
        let message =
            message.map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))?;
        Ok((message, fd))
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn aborted(refusal: Refusal) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, refusal)
}

/// Waits until there is something to read, for as long as `patience`.
fn wait(fd: BorrowedFd<'_>, patience: Duration) -> io::Result<()> {
    let limit = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut poll = [PollFd::new(&fd, PollFlags::IN)];
    match rustix::event::poll(&mut poll, Some(&limit))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}
