//! TCP sockets: bind, listen, connect, accept, send, receive, shutdown.

use crate::errno::{from_stack, to_stack};
use crate::explain::Decision;
use crate::networks::Wanted;
use crate::process::{Process, Shared, with_fd};
use crate::room::{send_if_worth_while, send_some, skip_parts};
use crate::verdict::{Received, RecvFlags, SendFlags, Verdict};
use crate::wait::{KernelSide, Target, Waiting, Woken};
use crate::{Address, Endpoint, Errno, Foreign, ForeignMut};
use rustix::net::SocketAddrAny;
use sidestep_shm::{Nanos, Retired};
use sidestep_stack::{
    Beside, ConnectState, Error, Fast, Handover, Ready, Served, SocketFlags, SocketRef, WaitFor,
};
use smallvec::SmallVec;

/// Ports tried before the kernel is asked to choose.
const PORT_ATTEMPTS: u32 = 128;

/// What became of [`Process::listening`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// Not a socket of ours.
    NotOurs,
    /// It has no port yet.
    Unbound,
    /// It listened before.
    Already,
    /// It listens from now on.
    Begun,
}

impl Process {
    /// The kernel has bound `fd`: the stack takes over the address.
    pub fn bound(&self, fd: i32) {
        let Some((shared, r)) = self.socket_of(fd) else {
            return;
        };
        let Some(local) = kernel_name(fd) else { return };
        let Ok(Some(served)) = self.with_stack(shared, |stack| {
            stack.bind(r, local).ok()?;
            stack.served(r)
        }) else {
            return;
        };
        if !served.is_tcp && !local.addr.is_multicast() {
            self.publish(shared, fd, "bind", &served);
        }
    }

    /// The program listens on `fd`: so does the stack, and other programs and networks are told.
    ///
    /// To be called before the kernel listens: what networks send is steered to the stack from then on, so a connection
    /// that the kernel accepted before would never hear of its peer again. A socket without a port gets one from the
    /// kernel as that begins to listen: then it is to be called once more.
    pub fn listening(&self, fd: i32, backlog: i32) -> Listening {
        let Some((shared, r)) = self.socket_of(fd) else {
            return Listening::NotOurs;
        };
        let Some(local) = kernel_name(fd).filter(|local| local.port != 0) else {
            return Listening::Unbound;
        };
        let somaxconn = 4096;
        let backlog = u32::try_from(backlog).unwrap_or(somaxconn).min(somaxconn);
        let listening = self.with_stack(shared, |stack| {
            let again = stack.served(r).is_some();
            stack.bind(r, local)?;
            stack.listen(r, backlog)?;
            sidestep_stack::Result::Ok((again, stack.served(r)))
        });
        match listening {
            Ok(Ok((true, _))) => Listening::Already,
            Ok(Ok((false, Some(served)))) => {
                // Two sides to accept from: the kernel's must never block.
                let _ = with_fd(fd, |fd| rustix::io::ioctl_fionbio(fd, true));
                self.publish(shared, fd, "listen", &served);
                Listening::Begun
            }
            _ => Listening::NotOurs,
        }
    }

    /// The kernel refused to listen on `fd` after [`listening`](Self::listening) had begun to.
    pub fn not_listening(&self, fd: i32) {
        let Some((shared, r)) = self.socket_of(fd) else {
            return;
        };
        let served = self.with_stack(shared, |stack| {
            let served = stack.served(r);
            let _ = stack.unlisten(r);
            served
        });
        if let Ok(Some(served)) = served {
            self.lock_session().withdraw(self, shared, &served);
        }
    }

    pub(crate) fn publish(&self, shared: &Shared, fd: i32, event: &'static str, served: &Served) {
        let published = self.lock_session().publish(self, shared, fd, served);
        let handover = published.err();
        self.explain(&Decision {
            fd,
            is_tcp: served.is_tcp,
            event,
            local: Some(served.local),
            remote: None,
            handover,
        });
        if let Some(why) = handover {
            self.count_handover(shared, why);
        }
    }

    /// Connects to `remote` if an accelerated program serves it; hands the socket to the kernel if none does.
    pub fn connect(&self, fd: i32, remote: Endpoint) -> Verdict<()> {
        let Some((shared, r)) = self.socket_of(fd) else {
            return Verdict::Kernel;
        };
        let found = self.with_stack(shared, |stack| {
            let listens = stack.served(r).is_some_and(|served| served.is_tcp);
            stack
                .flags(r)
                .map(|flags| (stack.is_stream(r), flags, listens))
        });
        let is_tcp = match found {
            // The kernel knows what is wrong with these.
            Ok(Ok((_, _, true)) | Err(_)) => return Verdict::Kernel,
            Ok(Ok((_, flags, _))) if flags.contains(SocketFlags::V6ONLY) && remote.addr.is_v4() => {
                return Verdict::Kernel;
            }
            Ok(Ok((is_tcp, ..))) => is_tcp,
            Err(Retired) => return Verdict::fail(Errno::CONNRESET),
        };
        if !is_tcp {
            return self.connect_datagram(shared, fd, r, remote);
        }
        let found = self.with_stack(shared, |stack| {
            let defers = stack.tcb(r).is_ok_and(|tcb| tcb.fast_connect());
            (stack.connect_state(r), defers, stack.is_held(r))
        });
        let Ok((state, defers, held)) = found else {
            return Verdict::fail(Errno::CONNRESET);
        };
        match state {
            Ok(ConnectState::Idle) => {}
            Ok(ConnectState::Connecting) if held => return Verdict::fail(Errno::ISCONN),
            Ok(ConnectState::Connecting) => return self.await_connection(shared, fd, r, true),
            Ok(ConnectState::Connected) => return self.connected_once(fd),
            Err(error) => return Verdict::fail(from_stack(error)),
        }
        let fast = defers.then(|| self.defer(shared));
        match self.begin_connection(shared, fd, r, remote, fast) {
            Ok(_) if defers && self.is_held(shared, r) => Verdict::Done(Ok(())),
            Ok(_) => self.await_connection(shared, fd, r, false),
            Err(Begin::Handover(why)) => {
                self.hand_over(shared, fd, r, "connect", Some(remote), why);
                Verdict::Kernel
            }
            Err(Begin::Failed(errno)) => Verdict::fail(errno),
        }
    }

    /// connect(2) on a connected socket: the first call after a non-blocking one reports success, others EISCONN.
    fn connected_once(&self, fd: i32) -> Verdict<()> {
        if self.learns_of_connection(fd) {
            Verdict::Done(Ok(()))
        } else {
            Verdict::fail(Errno::ISCONN)
        }
    }

    /// Whether the program is told now that its connect(2) has succeeded; once.
    pub(crate) fn learns_of_connection(&self, fd: i32) -> bool {
        let told = self.on_socket(fd, |stack, r| stack.tell_connected(r));
        matches!(told, Some(Ok(true)))
    }

    fn is_held(&self, shared: &Shared, r: SocketRef) -> bool {
        self.with_stack(shared, |stack| stack.is_held(r))
            .unwrap_or(false)
    }

    pub(crate) fn begin_connection(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        remote: Endpoint,
        fast: Option<Fast<'_, '_>>,
    ) -> Result<usize, Begin> {
        let remote = reachable(remote);
        let (bound, flags, device) = self
            .with_stack(shared, |stack| {
                Ok((stack.local(r)?, stack.flags(r)?, stack.device(r)?))
            })
            .map_err(|_| Begin::Handover(Handover::Retired))?
            .map_err(|e: Error| Begin::Failed(from_stack(e)))?;
        let hash = u32::from(bound.map_or(0, |l| l.port))
            ^ u32::try_from(fd).unwrap_or(0).wrapping_mul(0x9e37_79b9);
        let to = Wanted {
            bound,
            remote,
            device,
        };
        let reached = self
            .lock_session()
            .route(self, shared, true, &to, hash)
            .map_err(Begin::Handover)?;
        let source = reached.source;
        let local = match bound {
            Some(local) if !local.addr.is_unspecified() => local,
            Some(local) => Endpoint::new(source, local.port),
            None if reached.by_network => self
                .lock_session()
                .network_port(self, shared, source, (remote, reached.way.wire))
                .map_err(Begin::Failed)?,
            None => self
                .reserve_port(shared, fd, remote, flags.contains(SocketFlags::INET6))
                .map_err(Begin::Failed)?,
        };
        if bound.is_some() && reached.by_network {
            let mut session = self.lock_session();
            session
                .claim_own_port(self, shared, fd)
                .map_err(Begin::Failed)?;
        }
        let now = self.now();
        let queued = self
            .with_stack(shared, |stack| match fast {
                Some(fast) => stack.connect_fast(now, r, (local, remote), reached.way, fast),
                None => stack
                    .connect(now, r, (local, remote), reached.way)
                    .map(|()| 0),
            })
            .map_err(|Retired| Begin::Failed(Errno::CONNRESET))?
            .map_err(|e| match e {
                Error::Unreachable => Begin::Handover(Handover::NoWire),
                Error::AddressInUse => Begin::Failed(Errno::ADDRNOTAVAIL),
                other => Begin::Failed(from_stack(other)),
            })?;
        self.explain(&Decision {
            fd,
            is_tcp: true,
            event: "connect",
            local: Some(local),
            remote: Some(remote),
            handover: None,
        });
        Ok(queued)
    }

    /// Reserves a port for a connection to `remote`, in the kernel and from what the stack still has of earlier ones.
    fn reserve_port(
        &self,
        shared: &Shared,
        fd: i32,
        remote: Endpoint,
        is_v6: bool,
    ) -> Result<Endpoint, Errno> {
        let source = source_for(remote.addr);
        for _ in 0..PORT_ATTEMPTS {
            let local = Endpoint::new(source, self.ports.next());
            let free = self.with_stack(shared, |stack| !stack.has_flow(&local, &remote));
            if !free.map_err(|Retired| Errno::CONNRESET)? {
                continue;
            }
            match with_fd(fd, |fd| rustix::net::bind(fd, &socket_addr(local, is_v6))) {
                Ok(()) => return Ok(local),
                Err(Errno::ADDRINUSE | Errno::ACCESS) => {}
                Err(errno) => return Err(errno),
            }
        }
        // Most ports are taken: the kernel knows which are not.
        reserve(fd, source, is_v6)
    }

    pub(crate) fn await_connection(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        again: bool,
    ) -> Verdict<()> {
        if self.nonblocking(fd).unwrap_or(true) {
            return Verdict::fail(if again {
                Errno::ALREADY
            } else {
                Errno::INPROGRESS
            });
        }
        let (_, timeout) = self.timeouts(fd);
        let waiting = Waiting {
            target: Target::One(WaitFor::Socket(r, Ready::OUT | Ready::IN)),
            kernel: KernelSide::None,
            deadline: self.deadline(timeout),
            mask: None,
            restarts: timeout == Nanos::ZERO,
        };
        let woken = self.wait(shared, &waiting, |stack, _| match stack.connect_state(r) {
            Ok(ConnectState::Connecting) => None,
            Ok(_) => {
                let _ = stack.tell_connected(r);
                Some(Ok(()))
            }
            Err(error) => Some(Err(from_stack(error))),
        });
        Verdict::Done(match woken {
            Woken::Got(result) => result,
            Woken::TimedOut => Err(Errno::INPROGRESS),
            Woken::Interrupted => Err(Errno::INTR),
            Woken::Kernel | Woken::Retired => Err(Errno::CONNRESET),
        })
    }

    /// Sends on a connected stream.
    pub(crate) fn send_stream(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        parts: &[Foreign<'_>],
        flags: SendFlags,
    ) -> Verdict<usize> {
        let particular = SendFlags::MORE | SendFlags::URGENT | SendFlags::RECORD;
        let now = self.now();
        let first = self.with_stack(shared, |stack| {
            // What has arrived may forbid to send (a reset), as in the kernel, where it is worked in on arrival.
            if stack.rx_pending() {
                stack.poll(now);
            }
            if let [message] = parts
                && !flags.intersects(particular)
                && let Some(sent) = stack.send_at_once(now, r, *message)
            {
                return Ok(sent);
            }
            match send_some(stack, now, r, parts, flags) {
                Err(Error::WouldBlock) => {
                    stack.poll(now);
                    send_some(stack, now, r, parts, flags)
                }
                other => other,
            }
        });
        let total: usize = parts.iter().map(Foreign::len).sum();
        let mut sent = match first {
            Err(Retired) => return Verdict::fail(Errno::CONNRESET),
            Ok(Ok(sent)) if sent == total => return Verdict::Done(Ok(sent)),
            Ok(Ok(sent)) => sent,
            Ok(Err(Error::WouldBlock)) => 0,
            Ok(Err(Error::Unopened)) => return self.send_first(shared, fd, r, parts, flags),
            // Unconnected: the kernel knows the right error.
            Ok(Err(Error::NotConnected)) => return Verdict::Kernel,
            Ok(Err(error)) => return Verdict::fail(from_stack(error)),
        };
        if flags.contains(SendFlags::DONTWAIT) || self.nonblocking(fd).unwrap_or(true) {
            return Verdict::Done(if sent > 0 {
                Ok(sent)
            } else {
                Err(Errno::AGAIN)
            });
        }
        let (_, timeout) = self.timeouts(fd);
        let waiting = Waiting {
            target: Target::One(WaitFor::Socket(r, Ready::OUT)),
            kernel: KernelSide::None,
            deadline: self.deadline(timeout),
            mask: None,
            restarts: timeout == Nanos::ZERO,
        };
        while sent < total {
            let rest = skip_parts(parts, sent);
            let woken = self.wait(shared, &waiting, |stack, now| {
                send_if_worth_while(stack, now, r, &rest, flags)
            });
            let failed = match woken {
                Woken::Got(Ok(n)) => {
                    sent += n;
                    continue;
                }
                Woken::Got(Err(error)) => {
                    self.put_back(shared, r, error, sent);
                    from_stack(error)
                }
                Woken::TimedOut => Errno::AGAIN,
                Woken::Interrupted => Errno::INTR,
                Woken::Kernel | Woken::Retired => Errno::CONNRESET,
            };
            return Verdict::Done(if sent > 0 { Ok(sent) } else { Err(failed) });
        }
        Verdict::Done(Ok(sent))
    }

    /// Receives from a connected stream.
    pub(crate) fn recv_stream(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        parts: &mut [ForeignMut<'_>],
        flags: RecvFlags,
    ) -> Verdict<Received> {
        let total: usize = parts.iter().map(|p| p.len()).sum();
        if flags.contains(RecvFlags::TRUNC) {
            return self.discard(shared, fd, r, total, flags);
        }
        let peek = flags.contains(RecvFlags::PEEK);
        let now = self.now();
        let first = self.with_stack(shared, |stack| {
            let got = stack.recv_new(now, r, parts, peek);
            let more_wanted = got.is_err() || flags.contains(RecvFlags::WAITALL);
            let tells = got.is_ok() && flags.contains(RecvFlags::BESIDE);
            let beside = if tells {
                stack.beside(r)
            } else {
                Beside::default()
            };
            (got, more_wanted && stack.blocks(r), beside)
        });
        let all = flags.contains(RecvFlags::WAITALL);
        let (got, blocks) = match first {
            Err(Retired) => return Verdict::fail(Errno::CONNRESET),
            Ok((Ok(n), _, beside)) if n == 0 || n == total || !all => {
                return Verdict::Done(Ok(Received {
                    beside,
                    ..stream_bytes(n)
                }));
            }
            Ok((Ok(n), blocks, _)) => (n, blocks),
            Ok((Err(Error::WouldBlock), ..)) if total == 0 => {
                return Verdict::Done(Ok(stream_bytes(0)));
            }
            Ok((Err(Error::WouldBlock), blocks, _)) => (0, blocks),
            Ok((Err(Error::NotConnected), ..)) => return Verdict::Kernel,
            Ok((Err(error), ..)) => return Verdict::fail(from_stack(error)),
        };
        if flags.contains(RecvFlags::DONTWAIT) || !blocks {
            self.stayed_awake();
            return Verdict::Done(if got > 0 {
                Ok(stream_bytes(got))
            } else {
                Err(Errno::AGAIN)
            });
        }
        let mut waited = self.await_bytes(shared, fd, r, parts, (peek, all), got);
        if let Verdict::Done(Ok(received)) = &mut waited
            && flags.contains(RecvFlags::BESIDE)
        {
            let beside = self.with_stack(shared, |stack| stack.beside(r));
            received.beside = beside.unwrap_or_default();
        }
        waited
    }

    /// Waits for bytes: some, or all that there is room for. `got` of them are there already.
    fn await_bytes(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        parts: &mut [ForeignMut<'_>],
        how: (bool, bool),
        mut got: usize,
    ) -> Verdict<Received> {
        let (peek, all) = how;
        let total: usize = parts.iter().map(|p| p.len()).sum();
        let (timeout, _) = self.timeouts(fd);
        let waiting = Waiting {
            target: Target::One(WaitFor::Socket(r, Ready::IN)),
            kernel: KernelSide::None,
            deadline: self.deadline(timeout),
            mask: None,
            restarts: timeout == Nanos::ZERO,
        };
        loop {
            let woken = self.wait(shared, &waiting, |stack, now| {
                if peek && all {
                    // Looked at as a whole: from the start, once there is enough or no more will come.
                    let enough = stack.recv_len(r).is_ok_and(|n| n >= total) || stack.at_end(r);
                    return enough.then(|| stack.recv(now, r, parts, true));
                }
                match recv_rest(parts, got, |rest| stack.recv(now, r, rest, peek)) {
                    Err(Error::WouldBlock) => None,
                    other => Some(other),
                }
            });
            let failed = match woken {
                Woken::Got(Ok(n)) => {
                    got = if peek && all { n } else { got + n };
                    if n == 0 || got == total || !all || peek {
                        return Verdict::Done(Ok(stream_bytes(got)));
                    }
                    continue;
                }
                Woken::Got(Err(error)) => {
                    self.put_back(shared, r, error, got);
                    from_stack(error)
                }
                Woken::TimedOut => Errno::AGAIN,
                Woken::Interrupted => Errno::INTR,
                Woken::Kernel | Woken::Retired => Errno::CONNRESET,
            };
            return Verdict::Done(if got > 0 {
                Ok(stream_bytes(got))
            } else {
                Err(failed)
            });
        }
    }

    /// A call that returns what it has done before an error leaves that to the next.
    #[cold]
    pub(crate) fn put_back(&self, shared: &Shared, r: SocketRef, error: Error, done: usize) {
        if done > 0 {
            let _ = self.with_stack(shared, |stack| stack.put_back(r, error));
        }
    }

    /// An error that a call of the kernel's, or one of ours, has taken from the socket and will not tell of.
    pub fn put_error_back(&self, fd: i32, errno: Errno) {
        if let (Some((shared, r)), Some(error)) = (self.socket_of(fd), to_stack(errno)) {
            self.put_back(shared, r, error, 1);
        }
    }

    /// The error that is kept for the next call, which need not tell it any more.
    pub fn pending_error(&self, fd: i32) -> Option<Errno> {
        let error = self.on_socket(fd, |stack, r| stack.take_error(r));
        error.and_then(Result::ok).flatten().map(from_stack)
    }

    /// Ends one direction or both.
    pub fn shutdown(&self, fd: i32, read: bool, write: bool) -> Verdict<()> {
        let Some((shared, r)) = self.socket_of(fd) else {
            return Verdict::Kernel;
        };
        let now = self.now();
        let two_sided = self.with_stack(shared, |stack| stack.served(r));
        let done = self.with_stack(shared, |stack| stack.shutdown(now, r, read, write));
        if let Ok(Some(served)) = two_sided {
            if served.is_tcp {
                self.lock_session().withdraw(self, shared, &served);
            }
            // Both sides are shut, and the kernel says how that went.
            return Verdict::Kernel;
        }
        match done {
            Ok(Ok(())) => Verdict::Done(Ok(())),
            // Unconnected: the kernel's socket is in the same state and knows the error.
            Ok(Err(_)) => Verdict::Kernel,
            Err(Retired) => Verdict::fail(Errno::NOTCONN),
        }
    }

    /// A closing socket that lingers (SO_LINGER with a time) waits here until its data is acknowledged.
    pub(crate) fn linger(&self, r: SocketRef) {
        let Some(shared) = self.attached() else {
            return;
        };
        if self
            .references
            .of(r.index)
            .is_some_and(|c| c.load(sidestep_shm::atomic::Ordering::Relaxed) > 1)
        {
            return;
        }
        let slot = self.slot();
        let seconds = self.with_stack(shared, |stack| {
            // Where another process has it, too, nothing ends yet.
            let seconds = stack.linger(r).unwrap_or(0);
            let last = seconds < 2 || !stack.is_shared(r, slot).unwrap_or(false);
            if last { seconds } else { 0 }
        });
        let Ok(seconds @ 2..) = seconds else { return };
        let now = self.now();
        let _ = self.with_stack(shared, |stack| stack.shutdown(now, r, false, true));
        let waiting = Waiting {
            target: Target::One(WaitFor::Socket(r, Ready::all())),
            kernel: KernelSide::None,
            deadline: now + Nanos::from_secs(u64::from(seconds) - 1),
            mask: None,
            restarts: true,
        };
        let _ = self.wait(shared, &waiting, |stack, _| {
            stack.is_drained(r).then_some(())
        });
    }

    /// SO_RCVTIMEO and SO_SNDTIMEO.
    pub(crate) fn timeouts(&self, fd: i32) -> (Nanos, Nanos) {
        match self.on_socket(fd, |stack, r| stack.timeouts(r)) {
            Some(Ok(timeouts)) => timeouts,
            _ => (Nanos::ZERO, Nanos::ZERO),
        }
    }

    /// When a timeout of a socket ends; zero is none.
    pub(crate) fn deadline(&self, timeout: Nanos) -> Nanos {
        if timeout == Nanos::ZERO {
            Nanos::NEVER
        } else {
            self.now() + timeout
        }
    }
}

pub(crate) enum Begin {
    Handover(Handover),
    Failed(Errno),
}

pub(crate) const fn stream_bytes(n: usize) -> Received {
    Received {
        copied: n,
        len: n,
        source: None,
        arrival: None,
        beside: Beside {
            left: None,
            at: None,
        },
    }
}

/// Calls `f` with what lies behind the first `skip` bytes.
fn recv_rest<R>(
    parts: &mut [ForeignMut<'_>],
    mut skip: usize,
    f: impl FnOnce(&mut [ForeignMut<'_>]) -> R,
) -> R {
    if skip == 0 {
        return f(parts);
    }
    let mut rest: SmallVec<[ForeignMut<'_>; 16]> = SmallVec::with_capacity(parts.len());
    for part in parts {
        let len = part.len();
        if skip < len {
            rest.push(part.skip(skip));
        }
        skip = skip.saturating_sub(len);
    }
    f(&mut rest)
}

/// An unspecified destination means this host.
pub(crate) fn reachable(remote: Endpoint) -> Endpoint {
    if !remote.addr.is_unspecified() {
        return remote;
    }
    let addr = if remote.addr.is_v4() {
        Address::LOOPBACK_V4
    } else {
        Address::LOOPBACK_V6
    };
    Endpoint::new(addr, remote.port)
}

/// The source address for a destination on this host: the kernel takes the same address for both.
pub(crate) fn source_for(destination: Address) -> Address {
    if destination.is_loopback() && destination.is_v4() {
        Address::LOOPBACK_V4
    } else {
        destination
    }
}

/// Lets the kernel reserve a port of its own choice.
pub(crate) fn reserve(fd: i32, source: Address, is_v6: bool) -> Result<Endpoint, Errno> {
    let addr = socket_addr(Endpoint::new(source, 0), is_v6);
    with_fd(fd, |fd| rustix::net::bind(fd, &addr))?;
    let local = kernel_name(fd).ok_or(Errno::ADDRNOTAVAIL)?;
    Ok(Endpoint::new(source, local.port))
}

/// An endpoint as a socket of the family names it.
pub(crate) fn socket_addr(endpoint: Endpoint, is_v6: bool) -> std::net::SocketAddr {
    let ip = match (endpoint.addr.v4(), is_v6) {
        (Some(v4), true) => v4.to_ipv6_mapped().into(),
        _ => endpoint.addr.ip(),
    };
    std::net::SocketAddr::new(ip, endpoint.port)
}

/// What the kernel says a socket's local address is.
pub(crate) fn kernel_name(fd: i32) -> Option<Endpoint> {
    let name: SocketAddrAny = with_fd(fd, |fd| rustix::net::getsockname(fd)).ok()?;
    let name = std::net::SocketAddr::try_from(name).ok()?;
    Some(Endpoint::new(Address::from(name.ip()), name.port()))
}
