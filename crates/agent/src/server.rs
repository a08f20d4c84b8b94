//! The event loop: who connects, what they say, who ended, and what time it is.

use crate::caretaker::Caretaker;
use crate::children::Children;
use crate::lifetime::{LinkSpec, Options, spare};
use crate::log::Log;
use crate::registry::{Counts, Registry, Token, timespec};
use crate::requests::{Answer, Asker};
use crate::takeover::Takeover;
use crate::wires::random;
use anyhow::Context;
use rustix::event::epoll::{self, CreateFlags, Event, EventFlags};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use sidestep_control::directory::DirectoryWriter;
use sidestep_control::message::{self, MESSAGE_BYTES_MAX};
use sidestep_control::transport::{self, ReceiveError};
use sidestep_control::{Fault, Reply, Request, RuntimeDir};
use sidestep_shm::{Clock, Nanos};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zerocopy::IntoBytes;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 4096;
/// Connections waiting to be accepted.
const BACKLOG: i32 = 128;
/// Events taken at a time.
const EVENTS_MAX: usize = 64;
/// Messages taken from one connection before others have their turn.
const MESSAGES_MAX: usize = 8;

/// A connection of a program.
struct Connection {
    socket: OwnedFd,
    pid: u32,
    user: u32,
    introduced: bool,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Close,
}

/// The agent at work.
pub(crate) struct Server {
    listener: OwnedFd,
    dir: RuntimeDir,
    connections: BTreeMap<u64, Connection>,
    registry: Registry,
    caretaker: Caretaker,
    linger: Nanos,
    /// Users beside our own who are served.
    users: BTreeSet<u32>,
    /// Since when nobody needs us.
    idle_since: Option<Nanos>,
    generation: u64,
    spare: Option<File>,
    stopping: bool,
}

impl Server {
    /// Listens in `dir`, of which the caller holds the lock. `remembered` are the interfaces of an agent that was killed,
    /// with which this one goes on where they are still there.
    pub(crate) fn listen(
        dir: RuntimeDir,
        log: Log,
        options: &Options,
        remembered: &[LinkSpec],
    ) -> anyhow::Result<Self> {
        let generation = random().context("random numbers")?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("an epoll set")?;
        let mut registry = Registry {
            processes: BTreeMap::new(),
            stacks: BTreeMap::new(),
            children: Children::default(),
            wires: BTreeMap::new(),
            directory: DirectoryWriter::create(generation, std::process::id())
                .context("the directory's memory")?,
            jobs: VecDeque::new(),
            takeover: Takeover::load(&dir),
            networks: None,
            epoll,
            clock: Clock::new(),
            log,
            numbers: 0,
            counts: Counts::default(),
        };
        for pid in registry.takeover.processes() {
            if registry.watch(pid).is_err() {
                registry.takeover.on_process_end(pid);
            }
        }
        let mut users = options.users.clone();
        if remembered.is_empty() {
            registry.open_networks(&options.links)?;
            write_down(&dir, options)?;
        } else {
            registry.open_networks_again(remembered)?;
            users = dir.users_served();
        }
        let is_of_host = !options.links.is_empty() || !remembered.is_empty();
        let listener = bind(&dir, is_of_host)?;
        epoll::add(
            &registry.epoll,
            &listener,
            Token::Listener.data(),
            EventFlags::IN,
        )
        .context("watching the socket")?;
        registry
            .log
            .line(format_args!("listening in {}", dir.path().display()));
        Ok(Self {
            listener,
            dir,
            connections: BTreeMap::new(),
            registry,
            caretaker: Caretaker::default(),
            linger: Nanos(u64::try_from(options.linger.as_nanos()).unwrap_or(u64::MAX)),
            users,
            idle_since: None,
            generation,
            spare: spare(),
            stopping: false,
        })
    }

    /// Serves until nobody needs it any more, or until told to stop.
    pub(crate) fn run(&mut self) -> anyhow::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        while !self.stopping {
            let timeout = self.timeout().map(timespec);
            events.clear();
            let buffer = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.registry.epoll, buffer, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e).context("waiting for events"),
            }
            for event in &events {
                self.on_event(Token::of(event.data));
            }
            self.caretaker.run(&mut self.registry);
        }
        Ok(())
    }

    /// How long to wait; none for ever. Notes when nobody needs us any more.
    fn timeout(&mut self) -> Option<Nanos> {
        let now = self.registry.now();
        // Who serves interfaces was started by an administrator, who also stops him.
        let unused = self.registry.networks.is_none()
            && self.connections.is_empty()
            && self.registry.processes.is_empty()
            && self.registry.stacks.is_empty();
        if !unused {
            self.idle_since = None;
            let deadline = self.caretaker.deadline(&self.registry)?;
            return Some(deadline - now);
        }
        let end = *self.idle_since.get_or_insert(now) + self.linger;
        if end <= now {
            self.registry
                .log
                .line(format_args!("ends: no program uses it"));
            self.stopping = true;
        }
        Some(end - now)
    }

    fn on_event(&mut self, token: Token) {
        match token {
            Token::Listener => self.accept(),
            Token::Connection(number) => {
                if self.serve(number) == Then::Close {
                    self.close(number);
                }
            }
            Token::Process(pid) => self.registry.on_process_end(pid),
            Token::Netlink => self.registry.on_netlink(),
            Token::Child(number) => self.registry.on_child_gone(number),
            Token::Doorbell(number) => {
                if let Some(stack) = self.registry.stack_numbered(number) {
                    self.registry.on_doorbell(stack);
                }
            }
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match rustix::net::accept_with(&self.listener, flags) {
            Ok(socket) => socket,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                // Without a descriptor nobody can even be turned away: give up the spare one for that.
                self.spare = None;
                drop(rustix::net::accept_with(&self.listener, flags));
                self.spare = spare();
                return;
            }
            Err(_) => return,
        };
        let Ok(peer) = sockopt::socket_peercred(&socket) else {
            return;
        };
        let ours = peer.uid == rustix::process::geteuid()
            || peer.uid.is_root()
            || self.users.contains(&peer.uid.as_raw());
        if !ours || self.connections.len() >= CONNECTIONS_MAX {
            self.registry
                .log
                .line(format_args!("turned process {} away", peer.pid));
            return;
        }
        let pid = peer.pid.as_raw_pid().cast_unsigned();
        let Ok(process) = self.registry.watch(pid) else {
            return;
        };
        process.connections += 1;
        let number = self.registry.next_number();
        let data = Token::Connection(number).data();
        if epoll::add(&self.registry.epoll, &socket, data, EventFlags::IN).is_ok() {
            self.registry.counts.connections += 1;
            self.connections.insert(
                number,
                Connection {
                    socket,
                    pid,
                    user: peer.uid.as_raw(),
                    introduced: false,
                },
            );
        } else if let Some(process) = self.registry.processes.get_mut(&pid) {
            process.connections -= 1;
        }
    }

    fn close(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else {
            return;
        };
        let _ = epoll::delete(&self.registry.epoll, &connection.socket);
        if let Some(process) = self.registry.processes.get_mut(&connection.pid) {
            process.connections = process.connections.saturating_sub(1);
        }
        self.registry.on_connection_end(connection.pid);
        self.registry.forget_if_unused(connection.pid);
    }

    /// Takes what a connection has to say.
    fn serve(&mut self, number: u64) -> Then {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        for _ in 0..MESSAGES_MAX {
            let Some(connection) = self.connections.get_mut(&number) else {
                return Then::Close;
            };
            let received = transport::receive(connection.socket.as_fd(), &mut buffer);
            let then = match received {
                Ok(received) => self.on_message(number, &buffer, received),
                Err(ReceiveError::Errno(Errno::AGAIN)) => return Then::GoOn,
                Err(ReceiveError::FdsLost) => {
                    reply(connection, &Reply::Refused(Fault::Exhausted), &[])
                }
                Err(ReceiveError::Truncated) => self.on_garbage(number),
                Err(ReceiveError::Closed | ReceiveError::Errno(_)) => Then::Close,
            };
            if then == Then::Close || self.stopping {
                return then;
            }
        }
        Then::GoOn
    }

    fn on_message(&mut self, number: u64, buffer: &[u8], received: transport::Received) -> Then {
        let bytes = buffer.get(..received.bytes).unwrap_or(&[]);
        let Ok(request) = message::decode::<Request<'_>>(bytes) else {
            return self.on_garbage(number);
        };
        let Some(connection) = self.connections.get_mut(&number) else {
            return Then::Close;
        };
        let asker = Asker {
            pid: connection.pid,
            user: connection.user,
            is_trusted: Registry::is_trusted(connection.user),
            introduced: connection.introduced,
        };
        let answer = self.registry.on_request(asker, &request, received.fds);
        if matches!(answer, Err(Fault::Malformed)) {
            return self.on_garbage(number);
        }
        if let Err(fault) = &answer {
            self.registry.counts.refused += 1;
            self.registry
                .log
                .line(format_args!("refused process {}: {fault}", asker.pid));
        }
        if matches!(answer, Ok(Answer::Stop)) {
            self.stopping = true;
            self.dir.forget_links();
        }
        connection.introduced |= matches!(answer, Ok(Answer::Welcome(_)));
        respond(connection, answer, self.generation)
    }

    /// The sender does not speak our protocol: it is told so, and left.
    fn on_garbage(&mut self, number: u64) -> Then {
        self.registry.counts.malformed += 1;
        if let Some(connection) = self.connections.get_mut(&number) {
            let pid = connection.pid;
            self.registry
                .log
                .line(format_args!("process {pid} sent what is no message"));
            reply(connection, &Reply::Refused(Fault::Malformed), &[]);
        }
        Then::Close
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The lock is still held: this is our socket and nobody else's.
        let _ = std::fs::remove_file(self.dir.socket());
    }
}

fn respond(connection: &Connection, answer: Result<Answer, Fault>, generation: u64) -> Then {
    let send = |message: &Reply<'_>, fds: &[BorrowedFd<'_>]| reply(connection, message, fds);
    match answer {
        Ok(Answer::Done | Answer::Stop) => send(&Reply::Done, &[]),
        Ok(Answer::Welcome(directory)) => send(
            &Reply::Welcome {
                pid: std::process::id(),
                generation,
            },
            &[directory.as_fd()],
        ),
        Ok(Answer::Stack(fds)) => {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            send(&Reply::Done, &fds)
        }
        Ok(Answer::Wire(index)) => send(&Reply::Wire { index }, &[]),
        Ok(Answer::Mapped(mapping)) => {
            let geometry = mapping.geometry.as_bytes();
            let reply = Reply::Mapped {
                peer: mapping.peer,
                role: mapping.role as u8,
                stranger: mapping.stranger,
                geometry,
            };
            send(&reply, &[mapping.region.as_fd(), mapping.doorbell.as_fd()])
        }
        Ok(Answer::MappedQueue(queue)) => {
            let reply = Reply::MappedQueue {
                geometry: &queue.geometry,
            };
            let more = [&queue.buffers, &queue.cutter];
            let more = more.into_iter().flatten().map(AsFd::as_fd);
            let fds: Vec<_> = core::iter::once(queue.socket.as_fd()).chain(more).collect();
            send(&reply, &fds)
        }
        Ok(Answer::Way(way)) => {
            let reply = Reply::Way {
                wire: way.wire,
                hop: way.hop,
                source: way.source.0,
                mtu: way.mtu,
            };
            send(&reply, &[])
        }
        Ok(Answer::Spread(bytes)) => send(&Reply::Spread { bytes: &bytes }, &[]),
        Ok(Answer::Report { json, bytes }) => send(&Reply::Report { bytes }, &[json.as_fd()]),
        Err(fault) => send(&Reply::Refused(fault), &[]),
    }
}

/// Sends a reply. Whoever does not take it, although it asks one thing at a time, is left.
fn reply(connection: &Connection, message: &Reply<'_>, fds: &[BorrowedFd<'_>]) -> Then {
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let Ok(bytes) = message::encode(message, &mut buffer) else {
        return Then::Close;
    };
    match transport::send(connection.socket.as_fd(), bytes, fds) {
        Ok(()) => Then::GoOn,
        Err(_) => Then::Close,
    }
}

/// For the agent after this one, and for programs that look which agent is theirs.
fn write_down(dir: &RuntimeDir, options: &Options) -> anyhow::Result<()> {
    dir.forget_links();
    if options.links.is_empty() {
        return Ok(());
    }
    dir.set_users(options.users.iter().copied())
        .context("writing down who is served")?;
    // Whoever has one in the foreground starts it again himself.
    if !options.foreground {
        let said = options.links.iter().map(|link| link.said.as_str());
        dir.remember_links(said)
            .context("writing down what is served")?;
    }
    Ok(())
}

/// The socket, listening before anybody can find it.
fn bind(dir: &RuntimeDir, for_all: bool) -> anyhow::Result<OwnedFd> {
    let new = dir.path().join("agent.sock.new");
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .context("a socket")?;
    // What a killed agent left behind.
    let _ = std::fs::remove_file(&new);
    let address = SocketAddrUnix::new(&new)
        .with_context(|| format!("{} is too long for a socket", new.display()))?;
    rustix::net::bind(&socket, &address).with_context(|| format!("binding {}", new.display()))?;
    rustix::net::listen(&socket, BACKLOG).context("listening")?;
    if for_all {
        // Who is served is decided when he connects.
        rustix::fs::chmod(&new, Mode::from_raw_mode(0o666))
            .context("opening the socket to users")?;
    }
    std::fs::rename(&new, dir.socket()).context("naming the socket")?;
    Ok(socket)
}
