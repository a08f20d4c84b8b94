//! A program's connection to its agent: requests that block for a bounded time.

use crate::Spread;
use crate::message::{
    self, ADDRESSES_MAX, Fault, GEOMETRY_BYTES_MAX, MESSAGE_BYTES_MAX, Publication, Reply, Request,
    StackId, VERSION,
};
use crate::transport::{self, Fds, ReceiveError};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::Pid;
use rustix::time::Timespec;
use sidestep_shm::Fd;
use sidestep_wire::{Address, Endpoint};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How long to wait for the agent to take a request, and again for its reply.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No agent listens there.
    #[error("no agent is running")]
    NoAgent,
    /// The agent is gone, did not answer in time, or this is a forked child's copy of the connection. Connect anew
    /// and register everything again.
    #[error("the connection to the agent is lost")]
    Lost,
    /// The agent will not do it.
    #[error("{0}")]
    Refused(Fault),
    /// The agent's answer made no sense. The connection is closed.
    #[error("the agent's answer was not understood")]
    Garbage,
    /// A system call of this process failed, for want of descriptors as a rule.
    #[error("could not reach the agent: {0}")]
    Errno(Errno),
}

/// What the agent says at first.
#[derive(Debug)]
pub struct Welcome {
    /// The directory's memory, for [`crate::directory::Directory::attach`].
    pub directory: OwnedFd,
    /// The agent's process.
    pub agent_pid: u32,
    /// Which agent it is.
    pub generation: u64,
}

/// What it takes to use a wire.
#[derive(Debug)]
pub enum MappedWire {
    /// A wire to another stack.
    Memif(MappedMemif),
    /// A queue of a network.
    Queue(MappedQueue),
}

/// What it takes to use a wire to another stack.
#[derive(Debug)]
pub struct MappedMemif {
    /// The stack at the other end.
    pub peer: StackId,
    /// This end's role, as the driver encodes it.
    pub role: u8,
    /// Whether that stack is another user's, whose doorbell is to be rung with care.
    pub stranger: bool,
    /// The driver's geometry.
    pub geometry: Geometry,
    /// The wire's memory.
    pub region: OwnedFd,
    /// Wakes the stack at the other end.
    pub doorbell: OwnedFd,
}

/// What it takes to use a queue of a network.
#[derive(Debug)]
pub struct MappedQueue {
    /// The driver's geometry.
    pub geometry: Geometry,
    /// The AF_XDP or packet socket.
    pub socket: OwnedFd,
    /// The memory of an AF_XDP socket's buffers.
    pub buffers: Option<OwnedFd>,
    /// Takes long segments, where the kernel is to cut them.
    pub cutter: Option<OwnedFd>,
}

/// A driver's geometry, as it lies in memory.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    bytes: [u8; GEOMETRY_BYTES_MAX],
    len: usize,
}

impl Geometry {
    fn new(bytes: &[u8]) -> Result<Self, ClientError> {
        let mut copy = [0; GEOMETRY_BYTES_MAX];
        let place = copy.get_mut(..bytes.len()).ok_or(ClientError::Garbage)?;
        place.copy_from_slice(bytes);
        Ok(Self {
            bytes: copy,
            len: bytes.len(),
        })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// How packets of a stack reach a host on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkWay {
    /// Index in the stack's table of wires.
    pub wire: u32,
    /// Index in the stack's table of hops.
    pub hop: u32,
    /// The local address.
    pub source: Address,
    /// Longest IP packet in bytes.
    pub mtu: u32,
}

/// A connection to the agent. Requests are made one at a time; a forked child makes a connection of its own.
#[derive(Debug)]
pub struct Client {
    socket: Option<Fd>,
    pid: Pid,
}

/// A reply's plain part, copied out of the buffer it was received in.
enum Answer {
    Done,
    Welcome {
        pid: u32,
        generation: u64,
    },
    Wire(u32),
    Mapped {
        peer: StackId,
        role: u8,
        stranger: bool,
        geometry: Geometry,
    },
    MappedQueue(Geometry),
    Way(NetworkWay),
    Spread(Spread),
    Report(u64),
}

impl Client {
    /// Connects to the agent that listens at `socket` and introduces the program, which has no stack, as `name`.
    ///
    /// # Errors
    /// [`ClientError::NoAgent`] where nobody listens.
    pub fn connect(socket: &Path, name: &str) -> Result<(Self, Welcome), ClientError> {
        Self::introduce(socket, name, 0)
    }

    /// The same for a program whose stack lies in memory as `layout` names it.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); [`Fault::Version`] where the agent's are otherwise.
    pub fn introduce(
        socket: &Path,
        name: &str,
        layout: u32,
    ) -> Result<(Self, Welcome), ClientError> {
        let fd = Fd::adopt(reach(socket)?).map_err(|_| ClientError::Errno(Errno::MFILE))?;
        let mut client = Self {
            socket: Some(fd),
            pid: rustix::process::getpid(),
        };
        let hello = Request::Hello {
            version: VERSION,
            layout,
            name: shorten(name),
        };
        match client.ask(&hello, &[])? {
            (Answer::Welcome { pid, generation }, mut fds) => {
                let directory = fds.take().ok_or(ClientError::Garbage)?;
                Ok((
                    client,
                    Welcome {
                        directory,
                        agent_pid: pid,
                        generation,
                    },
                ))
            }
            _ => Err(ClientError::Garbage),
        }
    }

    /// The process that listens at `socket`, whatever it speaks.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn listener(socket: &Path) -> Result<Pid, ClientError> {
        let fd = reach(socket)?;
        let peer = sockopt::socket_peercred(&fd).map_err(ClientError::Errno)?;
        Ok(peer.pid)
    }

    /// Whether the agent still holds the other end. One system call.
    pub fn is_connected(&self) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        let mut poll = [PollFd::new(socket, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let polled = rustix::event::poll(&mut poll, Some(&now));
        polled.is_ok()
            && !poll[0]
                .revents()
                .intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// The connection, to wait for its hang-up together with other descriptors; none when it is lost.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Gives up the connection: the agent is found anew by the next one.
    pub fn disconnect(&mut self) {
        self.socket = None;
    }

    /// Tells the addresses of network namespace `netns`; see [`crate::namespace::addresses`].
    ///
    /// # Errors
    /// As for every request: [`ClientError::Lost`], [`ClientError::Refused`] with the reason.
    pub fn addresses(&mut self, netns: u64, list: &[Address]) -> Result<(), ClientError> {
        let mut first = true;
        let mut rest = list;
        while first || !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(ADDRESSES_MAX));
            let mut bytes = [0; ADDRESSES_MAX * 16];
            for (place, address) in bytes.chunks_exact_mut(16).zip(now) {
                place.copy_from_slice(&address.0);
            }
            let list = bytes.get(..now.len() * 16).unwrap_or(&[]);
            self.done(&Request::Addresses { netns, first, list }, &[])?;
            (first, rest) = (false, later);
        }
        Ok(())
    }

    /// Makes a stack known. `fds`: its memory, its doorbell, its further wake-ups.
    ///
    /// # Errors
    /// As for every request.
    pub fn register_stack(
        &mut self,
        stack: StackId,
        netns: u64,
        slot: u32,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ClientError> {
        self.done(&Request::RegisterStack { stack, netns, slot }, fds)
    }

    /// This process holds `slot` of a stack that the agent knows.
    ///
    /// # Errors
    /// As for every request.
    pub fn attach_slot(&mut self, stack: StackId, slot: u32) -> Result<(), ClientError> {
        self.done(&Request::AttachSlot { stack, slot }, &[])
    }

    /// A child that is to be forked gets `slot`, taken for the `times`th time; see [`Request::AwaitChild`].
    ///
    /// # Errors
    /// As for every request.
    pub fn await_child(
        &mut self,
        stack: StackId,
        slot: u32,
        times: u32,
        pipe: BorrowedFd<'_>,
    ) -> Result<(), ClientError> {
        self.done(&Request::AwaitChild { stack, slot, times }, &[pipe])
    }

    /// This process has left `slot` of the stack in good order.
    ///
    /// # Errors
    /// As for every request.
    pub fn detach_slot(&mut self, stack: StackId, slot: u32) -> Result<(), ClientError> {
        self.done(&Request::DetachSlot { stack, slot }, &[])
    }

    /// The descriptors that the stack was registered with.
    ///
    /// # Errors
    /// As for every request.
    pub fn map_stack(&mut self, stack: StackId) -> Result<Fds, ClientError> {
        match self.ask(&Request::MapStack { stack }, &[])? {
            (Answer::Done, fds) => Ok(fds),
            _ => self.garbage(),
        }
    }

    /// The stack serves `what` from now on, on this host, and if `networks` is true to those too; `socket` is the kernel's
    /// that is bound to it. Only an agent of the same user does without for this host.
    ///
    /// # Errors
    /// As for every request.
    pub fn publish(
        &mut self,
        stack: StackId,
        what: Publication,
        networks: bool,
        socket: Option<BorrowedFd<'_>>,
    ) -> Result<(), ClientError> {
        let request = Request::Publish {
            stack,
            what,
            networks,
        };
        self.done(&request, socket.as_slice())
    }

    /// Takes a publication back.
    ///
    /// # Errors
    /// As for every request.
    pub fn withdraw(&mut self, stack: StackId, what: Publication) -> Result<(), ClientError> {
        self.done(&Request::Withdraw { stack, what }, &[])
    }

    /// Asks for a wire between two stacks; its index in the table of `from`.
    ///
    /// # Errors
    /// As for every request.
    pub fn open_wire(&mut self, from: StackId, to: StackId) -> Result<u32, ClientError> {
        match self.ask(&Request::OpenWire { from, to }, &[])? {
            (Answer::Wire(index), _) => Ok(index),
            _ => self.garbage(),
        }
    }

    /// Asks for what it takes to use a wire of `stack`.
    ///
    /// # Errors
    /// As for every request.
    pub fn map_wire(&mut self, stack: StackId, wire: u32) -> Result<MappedWire, ClientError> {
        let (answer, mut fds) = self.ask(&Request::MapWire { stack, wire }, &[])?;
        match (answer, fds.take(), fds.take()) {
            (
                Answer::Mapped {
                    peer,
                    role,
                    stranger,
                    geometry,
                },
                Some(region),
                Some(doorbell),
            ) => Ok(MappedWire::Memif(MappedMemif {
                peer,
                role,
                stranger,
                geometry,
                region,
                doorbell,
            })),
            (Answer::MappedQueue(geometry), Some(socket), buffers) => {
                Ok(MappedWire::Queue(MappedQueue {
                    geometry,
                    socket,
                    buffers,
                    cutter: fds.take(),
                }))
            }
            _ => self.garbage(),
        }
    }

    /// Asks how packets reach `remote`, from `source` if that is chosen already, by interface `device` if that is not 0.
    ///
    /// # Errors
    /// As for every request; [`Fault::NoNetwork`] where it is the kernel's to reach.
    pub fn way(
        &mut self,
        stack: StackId,
        protocol: u8,
        remote: Endpoint,
        source: Option<Address>,
        device: u32,
    ) -> Result<NetworkWay, ClientError> {
        let request = Request::Route {
            stack,
            protocol,
            remote: remote.addr.0,
            port: remote.port,
            source: source.unwrap_or(Address::UNSPECIFIED_V6).0,
            device,
        };
        match self.ask(&request, &[])? {
            (Answer::Way(way), _) => Ok(way),
            _ => self.garbage(),
        }
    }

    /// How what arrives at the interface of a stack's queue is spread over its queues.
    ///
    /// # Errors
    /// As for every request.
    pub fn spread(&mut self, stack: StackId, wire: u32) -> Result<Spread, ClientError> {
        match self.ask(&Request::Spread { stack, wire }, &[])? {
            (Answer::Spread(spread), _) => Ok(spread),
            _ => self.garbage(),
        }
    }

    /// What networks send to the ports that these sockets are bound to is for the stack; see [`Request::Claim`].
    ///
    /// # Errors
    /// As for every request.
    pub fn claim(
        &mut self,
        stack: StackId,
        keep: bool,
        sockets: &[BorrowedFd<'_>],
    ) -> Result<(), ClientError> {
        self.done(&Request::Claim { stack, keep }, sockets)
    }

    /// A socket that claimed an endpoint is gone; see [`Request::Unclaim`].
    ///
    /// # Errors
    /// As for every request.
    pub fn unclaim(&mut self, stack: StackId, what: Publication) -> Result<(), ClientError> {
        self.done(&Request::Unclaim { stack, what }, &[])
    }

    /// A socket joins a group, or leaves it; see [`Request::Group`].
    ///
    /// # Errors
    /// As for every request; `Shared` where the kernel is to serve the group.
    pub fn change_group(
        &mut self,
        stack: StackId,
        change: crate::GroupChange,
        socket: BorrowedFd<'_>,
    ) -> Result<(), ClientError> {
        self.done(&Request::Group { stack, change }, &[socket])
    }

    /// Tells a new agent of a wire that this stack already has.
    ///
    /// # Errors
    /// As for every request.
    pub fn restore_wire(
        &mut self,
        stack: StackId,
        wire: u32,
        region: BorrowedFd<'_>,
    ) -> Result<(), ClientError> {
        self.done(&Request::RestoreWire { stack, wire }, &[region])
    }

    /// Asks for a report: a memory file, and how many bytes of JSON it holds.
    ///
    /// # Errors
    /// As for every request.
    pub fn ps(&mut self) -> Result<(OwnedFd, u64), ClientError> {
        match self.ask(&Request::Ps, &[])? {
            (Answer::Report(bytes), mut fds) => match fds.take() {
                Some(fd) => Ok((fd, bytes)),
                None => self.garbage(),
            },
            _ => self.garbage(),
        }
    }

    /// Ends the agent.
    ///
    /// # Errors
    /// As for every request.
    pub fn stop(&mut self) -> Result<(), ClientError> {
        self.done(&Request::Stop, &[])
    }

    fn done(&mut self, request: &Request<'_>, fds: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        match self.ask(request, fds)? {
            (Answer::Done, _) => Ok(()),
            _ => self.garbage(),
        }
    }

    fn garbage<T>(&mut self) -> Result<T, ClientError> {
        self.disconnect();
        Err(ClientError::Garbage)
    }

    /// One request and its reply. After anything but an answer the connection is closed, for a late answer would be
    /// taken for the next one's.
    fn ask(
        &mut self,
        request: &Request<'_>,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Fds), ClientError> {
        if self.pid != rustix::process::getpid() {
            return Err(ClientError::Lost);
        }
        let socket = self.socket.as_ref().ok_or(ClientError::Lost)?;
        let result = exchange(socket.as_fd(), request, fds);
        if matches!(result, Err(ClientError::Lost | ClientError::Garbage)) {
            self.disconnect();
        }
        result
    }
}

fn exchange(
    socket: BorrowedFd<'_>,
    request: &Request<'_>,
    fds: &[BorrowedFd<'_>],
) -> Result<(Answer, Fds), ClientError> {
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let bytes = message::encode(request, &mut buffer)
        .map_err(|_| ClientError::Refused(Fault::Malformed))?;
    transport::send(socket, bytes, fds).map_err(|e| match e {
        Errno::TOOBIG | Errno::MFILE | Errno::NOMEM | Errno::NOBUFS | Errno::TOOMANYREFS => {
            ClientError::Errno(e)
        }
        _ => ClientError::Lost,
    })?;
    let received = transport::receive(socket, &mut buffer).map_err(|e| match e {
        ReceiveError::Truncated => ClientError::Garbage,
        ReceiveError::FdsLost => ClientError::Errno(Errno::MFILE),
        ReceiveError::Closed | ReceiveError::Errno(_) => ClientError::Lost,
    })?;
    let reply = message::decode(buffer.get(..received.bytes).unwrap_or(&[]))
        .map_err(|_| ClientError::Garbage)?;
    let answer = match reply {
        Reply::Done => Answer::Done,
        Reply::Refused(fault) => return Err(ClientError::Refused(fault)),
        Reply::Welcome { pid, generation } => Answer::Welcome { pid, generation },
        Reply::Wire { index } => Answer::Wire(index),
        Reply::Mapped {
            peer,
            role,
            stranger,
            geometry,
        } => Answer::Mapped {
            peer,
            role,
            stranger,
            geometry: Geometry::new(geometry)?,
        },
        Reply::MappedQueue { geometry } => Answer::MappedQueue(Geometry::new(geometry)?),
        Reply::Way {
            wire,
            hop,
            source,
            mtu,
        } => Answer::Way(NetworkWay {
            wire,
            hop,
            source: Address(source),
            mtu,
        }),
        Reply::Spread { bytes } => {
            Answer::Spread(Spread::decode(bytes).ok_or(ClientError::Garbage)?)
        }
        Reply::Report { bytes } => Answer::Report(bytes),
    };
    Ok((answer, received.fds))
}

/// At most 256 bytes of the name: it is for people to read.
fn shorten(name: &str) -> &str {
    let mut end = name.len().min(256);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or("")
}

/// A connection to whoever listens there.
fn reach(socket: &Path) -> Result<OwnedFd, ClientError> {
    let address = SocketAddrUnix::new(socket).map_err(ClientError::Errno)?;
    let fd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(ClientError::Errno)?;
    for side in [Timeout::Send, Timeout::Recv] {
        sockopt::set_socket_timeout(&fd, side, Some(TIMEOUT)).map_err(ClientError::Errno)?;
    }
    rustix::io::retry_on_intr(|| rustix::net::connect(&fd, &address)).map_err(|e| match e {
        Errno::NOENT | Errno::CONNREFUSED => ClientError::NoAgent,
        Errno::AGAIN => ClientError::Lost,
        other => ClientError::Errno(other),
    })?;
    Ok(fd)
}
