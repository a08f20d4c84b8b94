//! This process: its descriptors, its stack, its connection to the agent. One of each, for the life of the process.
#![expect(unsafe_code, reason = "borrows the program's descriptors by number")]

use crate::config::Config;
use crate::errno::from_stack;
use crate::explain::Decision;
use crate::fdtable::{Entry, FdTable};
use crate::glance::Glances;
use crate::loss::LostMember;
use crate::rehearsal::Rehearsal;
use crate::session::Session;
use crate::signals::{Quiet, quietly};
use crate::{Endpoint, Errno};
use core::ops::{Deref, DerefMut};
use sidestep_shm::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use sidestep_shm::{Ahead, CHUNK_BYTES, Clock, EventFd, Guard, Nanos, Owner, Retired};
use sidestep_stack::{
    self as stack, Asked, Handover, SharedStack, SocketFlags, SocketRef, Stack, WAITERS,
};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// How often to see whether the agent lives.
pub(crate) const AGENT_SEEN: Nanos = Nanos::from_millis(500);

/// The stack of this process, and what wakes those who sleep on it.
pub(crate) struct Shared {
    pub(crate) stack: SharedStack,
    /// Rung by the other ends of our wires.
    pub(crate) doorbell: EventFd,
    /// One for each waiter of the stack.
    pub(crate) waiters: Vec<EventFd>,
    /// What the stack's next poll will read first.
    pub(crate) ahead: Arc<Ahead>,
    pub(crate) id: u64,
    pub(crate) netns: u64,
}

/// Everything of this process.
pub struct Process {
    pub(crate) fds: FdTable,
    pub(crate) clock: Clock,
    config: OnceLock<Config>,
    /// The stack, which is never freed; null while there is none, and once it is lost.
    shared: AtomicPtr<Shared>,
    /// Whether a stack was made, or could not be: a process has one in its life. Held while it is made.
    settled: Mutex<bool>,
    /// The stack is lost, or about to be.
    pub(crate) losing: AtomicBool,
    /// Members of epoll sets that were lost with it.
    pub(crate) lost_members: OnceLock<Vec<LostMember>>,
    pub(crate) session: Mutex<Session>,
    /// Our client slot in the stack.
    slot: AtomicU32,
    pid: AtomicU32,
    /// The number by which those with whom we share the stack may see whether we live.
    known_pid: AtomicU32,
    /// The namespace of such numbers in which the stack was made.
    pid_namespace: AtomicU64,
    /// When somebody last saw that the agent lives, in nanoseconds.
    agent_seen: AtomicU64,
    /// Forks between the first process and this one.
    forks: AtomicU32,
    pub(crate) ports: crate::ports::Ports,
    pub(crate) wakes: crate::networks::Wakes,
    pub(crate) epolls: crate::epoll::Epolls,
    /// Who plays the network and moves the time, where that is not the world.
    pub(crate) rehearsal: OnceLock<Rehearsal>,
    pub(crate) glances: Glances,
    /// How many descriptors of this process stand for each socket of the stack.
    pub(crate) references: References,
}

/// The session, while no other thread has it and no signal handler can ask for it.
pub(crate) struct SessionGuard<'a> {
    session: MutexGuard<'a, Session>,
    /// Ends after the guard before it.
    _quiet: Quiet,
}

/// Whether there was a stack, while no other thread can make one and no signal handler can ask for it.
pub(crate) struct SettledGuard<'a> {
    settled: MutexGuard<'a, bool>,
    /// Ends after the guard before it.
    _quiet: Quiet,
}

impl Deref for SettledGuard<'_> {
    type Target = bool;
    fn deref(&self) -> &bool {
        &self.settled
    }
}

impl DerefMut for SettledGuard<'_> {
    fn deref_mut(&mut self) -> &mut bool {
        &mut self.settled
    }
}

impl Deref for SessionGuard<'_> {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for SessionGuard<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

/// Counts of descriptors, by socket index.
pub(crate) struct References(OnceLock<Box<[AtomicU32]>>);

impl References {
    pub(crate) fn of(&self, index: u32) -> Option<&AtomicU32> {
        self.0.get()?.get(index as usize)
    }
}

static PROCESS: Process = Process {
    fds: FdTable::new(),
    clock: Clock::new(),
    config: OnceLock::new(),
    shared: AtomicPtr::new(core::ptr::null_mut()),
    settled: Mutex::new(false),
    losing: AtomicBool::new(false),
    lost_members: OnceLock::new(),
    session: Mutex::new(Session::new()),
    slot: AtomicU32::new(0),
    pid: AtomicU32::new(0),
    known_pid: AtomicU32::new(0),
    pid_namespace: AtomicU64::new(0),
    agent_seen: AtomicU64::new(0),
    forks: AtomicU32::new(0),
    ports: crate::ports::Ports::new(),
    wakes: crate::networks::Wakes::new(),
    epolls: crate::epoll::Epolls::new(),
    rehearsal: OnceLock::new(),
    glances: Glances::new(),
    references: References(OnceLock::new()),
};

/// This process.
pub fn process() -> &'static Process {
    &PROCESS
}

/// Runs `f` with a descriptor of the program's.
pub(crate) fn with_fd<R>(fd: i32, f: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
    // SAFETY: used for system calls only, which check the number themselves; a number that the program has closed
    // meanwhile yields EBADF or meets another file of the program's own, as in any program that races with itself.
    f(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Writes bytes to a socket as far as it takes them; whether anybody reads does not matter.
pub(crate) fn write_raw(fd: i32, bytes: &[u8]) {
    use rustix::net::SendFlags;
    let _ = with_fd(fd, |fd| {
        rustix::net::send(fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    });
}

impl Process {
    pub(crate) fn config(&self) -> &Config {
        match self.config.get() {
            Some(config) => config,
            None => quietly(|| self.config.get_or_init(Config::from_env)),
        }
    }

    /// The stack, made now if need be. None where everything stays with the kernel.
    pub(crate) fn shared(&self) -> Option<&Shared> {
        match self.attached() {
            None if !self.config().off => self.make_shared(),
            attached => attached,
        }
    }

    #[cold]
    fn make_shared(&self) -> Option<&Shared> {
        let mut settled = self.lock_settled();
        if !*settled {
            *settled = true;
            if let Ok(shared) = self.create_shared() {
                self.attach(shared);
            }
        }
        self.attached()
    }

    /// The stack of this process is this one; false where it has one already.
    pub(crate) fn attach(&self, shared: Shared) -> bool {
        let free = self.attached().is_none();
        if free {
            let shared = Box::into_raw(Box::new(shared));
            self.shared.store(shared, Ordering::Release);
        }
        free
    }

    /// This process has no stack from now on. Calls under way may still use it.
    pub(crate) fn forget_stack(&self) {
        self.shared.store(core::ptr::null_mut(), Ordering::Release);
    }

    /// The stack, if there is one already.
    #[inline]
    pub(crate) fn attached(&self) -> Option<&Shared> {
        // SAFETY: null, or a value that is never freed or changed (see `attach`).
        unsafe { self.shared.load(Ordering::Acquire).as_ref() }
    }

    fn create_shared(&self) -> io::Result<Shared> {
        let config = self.config();
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let (id, secret) = random.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().fold(0, |acc, b| acc << 8 | u64::from(*b));
        let (id, netns) = (word(id), sidestep_control::namespace::network()?);
        let stack = stack::create(&stack::Config {
            name: config.name.clone(),
            id,
            netns,
            sockets_max: config.sockets_max,
            chunks_max: config.buffer_bytes / CHUNK_BYTES,
            secret: word(secret),
            snd_buf_bytes: config.snd_buf_bytes,
            rcv_buf_bytes: config.rcv_buf_bytes,
            checksums: config.checksums,
            fast_open: crate::fast_open::rules().bits,
            syn_cookies: crate::sysctl::number("net/ipv4/tcp_syncookies") != Some(0),
            faults: config.faults.clone(),
        })?;
        let shared = self.share(stack, id, netns)?;
        let slot = self.slot();
        let registered = self.lock_session().register(self, &shared, slot);
        registered.map_err(|_| io::Error::other("no agent"))?;
        Ok(shared)
    }

    /// Takes a place in a new stack, and makes what wakes those who sleep on it.
    pub(crate) fn share(&self, stack: SharedStack, id: u64, netns: u64) -> io::Result<Shared> {
        let pid = current_pid();
        self.pid.store(pid, Ordering::Relaxed);
        self.known_pid.store(pid, Ordering::Relaxed);
        let namespace = sidestep_control::namespace::pids().unwrap_or(0);
        self.pid_namespace.store(namespace, Ordering::Relaxed);
        let owner = Owner { slot: 0, pid };
        let (slot, ahead) = {
            let mut stack = stack.lock(owner).map_err(io::Error::other)?;
            stack.set_offers(crate::offers::of_kernel());
            (stack.take_slot(pid).unwrap_or(0), stack.ahead())
        };
        self.slot.store(slot, Ordering::Relaxed);
        let waiters = (0..WAITERS)
            .map(|_| EventFd::new())
            .collect::<io::Result<Vec<_>>>()?;
        let sockets_max = self.config().sockets_max;
        let references = (0..sockets_max).map(|_| AtomicU32::new(0)).collect();
        let _ = self.references.0.set(references);
        Ok(Shared {
            stack,
            doorbell: EventFd::new()?,
            waiters,
            ahead,
            id,
            netns,
        })
    }

    pub(crate) fn lock_session(&self) -> SessionGuard<'_> {
        let quiet = Quiet::begin();
        let session = self
            .session
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        SessionGuard {
            session,
            _quiet: quiet,
        }
    }

    /// Whether there was a stack; nobody makes one meanwhile.
    pub(crate) fn lock_settled(&self) -> SettledGuard<'_> {
        let quiet = Quiet::begin();
        SettledGuard {
            settled: self
                .settled
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
            _quiet: quiet,
        }
    }

    /// The session, unless another thread is at it, or this one.
    fn try_lock_session(&self) -> Option<SessionGuard<'_>> {
        let quiet = Quiet::begin();
        let session = self.session.try_lock().ok()?;
        Some(SessionGuard {
            session,
            _quiet: quiet,
        })
    }

    /// Our slot and process, as owner of the lock.
    #[inline]
    pub(crate) fn owner(&self) -> Owner {
        Owner {
            slot: self.slot(),
            pid: self.known_pid.load(Ordering::Relaxed),
        }
    }

    #[inline]
    pub(crate) fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn fork_count(&self) -> u32 {
        self.forks.load(Ordering::Relaxed)
    }

    /// We are a child now, in `slot`.
    pub(crate) fn become_child(&self, slot: u32, has_stack: bool) {
        let pid = current_pid();
        self.slot.store(slot, Ordering::Relaxed);
        self.pid.store(pid, Ordering::Relaxed);
        self.known_pid.store(pid, Ordering::Relaxed);
        if has_stack {
            sidestep_shm::barrier::take_part();
            let here = sidestep_control::namespace::pids().unwrap_or(0);
            if here != self.pid_namespace.load(Ordering::Relaxed) {
                sidestep_shm::among_strangers();
                // Our number is another's there. Number 1 is somebody's who never ends.
                self.known_pid.store(1, Ordering::Relaxed);
            }
        }
        self.forks.fetch_add(1, Ordering::Relaxed);
        self.wakes.forget_watchers();
    }

    /// The time.
    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.clock.now()
    }

    /// Works on the stack under its lock, then wakes whom that made ready.
    #[inline]
    pub(crate) fn with_stack<R>(
        &self,
        shared: &Shared,
        f: impl FnOnce(&mut Stack<'static>) -> R,
    ) -> Result<R, Retired> {
        quietly(|| {
            let mut guard = self.enter(shared)?;
            let result = f(&mut guard);
            self.give_back(shared, guard);
            Ok(result)
        })
    }

    /// Like [`with_stack`](Self::with_stack), but leaves new wires to others.
    pub(crate) fn lock_only<R>(
        &self,
        shared: &Shared,
        f: impl FnOnce(&mut Stack<'static>) -> R,
    ) -> Result<R, Retired> {
        quietly(|| {
            let mut guard = self.enter(shared)?;
            let result = f(&mut guard);
            let wakes = guard.take_wakes();
            give_back_and_ring(shared, guard, wakes);
            Ok(result)
        })
    }

    #[inline]
    fn enter<'a>(&self, shared: &'a Shared) -> Result<Guard<'a, Stack<'static>>, Retired> {
        let entered = shared.stack.lock(self.owner());
        if entered.is_err() {
            self.on_retired(shared);
        }
        entered
    }

    #[cold]
    fn on_retired(&self, shared: &Shared) {
        // Whoever sleeps is to know it, too.
        ring(shared, u64::MAX);
        shared.doorbell.ring();
        self.lose_stack(shared, Handover::Retired);
    }

    /// Gives the lock back, then wakes whom the work done under it made ready, and attaches new wires.
    #[inline]
    pub(crate) fn give_back(&self, shared: &Shared, mut guard: Guard<'_, Stack<'static>>) {
        let wakes = guard.take_wakes();
        let wires_changed = guard.wires_changed();
        if wakes == 0 {
            drop(guard);
        } else {
            give_back_and_ring(shared, guard, wakes);
        }
        if wires_changed {
            self.attach_wires(shared);
        }
    }

    /// Attaches wires that somebody has added to our stack.
    #[cold]
    pub(crate) fn attach_wires(&self, shared: &Shared) {
        // Another thread is at it, or we are inside already: the wires are attached, or asked for again at the next call.
        let Some(mut session) = self.try_lock_session() else {
            return;
        };
        session.attach_wires(self, shared);
    }

    pub(crate) fn give_waiter(&self, waiter: u32, fork: u32) {
        if fork == self.fork_count()
            && let Some(shared) = self.attached()
        {
            let _ = self.with_stack(shared, |stack| stack.give_waiter(waiter));
        }
    }

    /// A new socket of the program: TCP or UDP over IPv4 or IPv6. Accelerated later, if its peer turns out to be.
    pub fn socket_opened(&self, fd: i32, is_tcp: bool, is_v6: bool, nonblocking: bool) {
        let Some(shared) = self.shared() else { return };
        let mut flags = SocketFlags::empty();
        flags.set(SocketFlags::INET6, is_v6);
        flags.set(SocketFlags::NONBLOCK, nonblocking);
        let slot = self.slot();
        let made = self.with_stack(shared, |stack| {
            if self.rehearsal.get().is_some() {
                // There the parameters change from scene to scene.
                stack.set_offers(crate::offers::of_kernel());
            }
            if is_tcp {
                stack.new_stream(flags, slot)
            } else {
                stack.new_datagram(flags, slot)
            }
        });
        match made {
            Ok(Ok(r)) => self.install(fd, r, is_tcp),
            Ok(Err(_)) => self.count_handover(shared, Handover::Full),
            Err(Retired) => {}
        }
    }

    /// From now on `fd` is socket `r`, which this process holds already.
    pub(crate) fn install(&self, fd: i32, r: SocketRef, is_tcp: bool) {
        if let Some(count) = self.references.of(r.index) {
            count.store(1, Ordering::Relaxed);
        }
        match self.fds.replace(fd, Entry::Socket(r, is_tcp)) {
            None => self.release(r),
            // A number closed behind our back.
            Some(Entry::Socket(stale, _)) => self.release(stale),
            Some(_) => {}
        }
    }

    /// One descriptor less stands for `r`; the last one closes it.
    pub(crate) fn release(&self, r: SocketRef) {
        let last = self
            .references
            .of(r.index)
            .is_none_or(|count| count.fetch_sub(1, Ordering::AcqRel) == 1);
        let Some(shared) = self.attached().filter(|_| last) else {
            return;
        };
        let (slot, now) = (self.slot(), self.now());
        let closed = self.with_stack(shared, |stack| {
            let served = stack.served(r);
            stack.close(now, r, slot);
            for (holder, pid) in stack.holders(r) {
                // A process that has ended closed its descriptors, whether the agent has seen to that or not.
                if is_dead(pid) {
                    stack.on_slot_dead(now, holder);
                }
            }
            served.filter(|_| stack.ready(r).is_err())
        });
        if let Ok(Some(served)) = closed {
            self.lock_session().withdraw(self, shared, &served);
        }
    }

    /// The program closes a descriptor: to be called before the kernel does.
    pub fn closing(&self, fd: i32) {
        match self.fds.entry(fd) {
            Entry::Kernel => {}
            _ if self.is_borrowed() => {}
            Entry::Socket(r, _) => {
                self.linger(r);
                if let Some(Entry::Socket(r, _)) = self.fds.replace(fd, Entry::Kernel) {
                    self.release(r);
                }
            }
            Entry::Epoll(_) => self.epoll_closing(fd),
            Entry::Listener(_) => {
                self.fds.replace(fd, Entry::Kernel);
            }
        }
    }

    /// Whether this memory is another process's: the child of a vfork(2) runs in its parent's until it execs, and what
    /// it does to its own descriptors is nothing to the parent.
    pub(crate) fn is_borrowed(&self) -> bool {
        let pid = self.pid.load(Ordering::Relaxed);
        pid != 0 && pid != current_pid()
    }

    /// `new` was made a duplicate of `old`.
    pub fn duplicated(&self, old: i32, new: i32) {
        let entry = self.fds.entry(old);
        match entry {
            Entry::Kernel => {}
            _ if self.is_borrowed() => {}
            Entry::Socket(r, _) => {
                if let Some(count) = self.references.of(r.index) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                if self.fds.replace(new, entry).is_none() {
                    self.release(r);
                }
            }
            Entry::Epoll(index) => self.epoll_duplicated(index, new),
            Entry::Listener(_) => {
                self.fds.replace(new, entry);
            }
        }
    }

    /// The socket that `fd` is, and the stack it is in.
    #[inline]
    pub(crate) fn socket_of(&self, fd: i32) -> Option<(&Shared, SocketRef)> {
        match self.fds.entry(fd) {
            Entry::Socket(r, _) => self.attached().map(|shared| (shared, r)),
            _ => None,
        }
    }

    /// As [`socket_of`](Self::socket_of), and whether it is a TCP socket.
    #[inline]
    pub(crate) fn typed_socket_of(&self, fd: i32) -> Option<(&Shared, SocketRef, bool)> {
        match self.fds.entry(fd) {
            Entry::Socket(r, is_tcp) => self.attached().map(|shared| (shared, r, is_tcp)),
            _ => None,
        }
    }

    /// Whether `fd` is a socket of ours, for now at least.
    #[inline]
    pub fn is_socket(&self, fd: i32) -> bool {
        matches!(self.fds.entry(fd), Entry::Socket(..))
    }

    /// Whether any descriptor may be ours: false until the first socket was made.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.attached().is_some()
    }

    /// The socket behind `fd` becomes the kernel's alone: its peer is not accelerated.
    pub(crate) fn hand_over(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
        event: &'static str,
        remote: Option<Endpoint>,
        why: Handover,
    ) {
        let left = self.with_stack(shared, |stack| {
            stack.count_handover(why);
            (stack.leave_sets(r), stack.is_stream(r))
        });
        let (left, is_tcp) = left.unwrap_or_default();
        self.explain(&Decision {
            fd,
            is_tcp,
            event,
            local: None,
            remote,
            handover: Some(why),
        });
        for (set, member, events, data) in left {
            self.epoll_to_kernel(set, member, events, data);
        }
        // All duplicates of the descriptor are the kernel's too.
        for (other, entry) in self.fds.iter() {
            if matches!(entry, Entry::Socket(other, _) if other == r)
                && self.fds.replace(other, Entry::Kernel) == Some(entry)
            {
                self.release(r);
            }
        }
    }

    pub(crate) fn count_handover(&self, shared: &Shared, why: Handover) {
        let _ = self.with_stack(shared, |stack| stack.count_handover(why));
    }

    /// Runs `f` on the socket; the kernel serves what is not ours, a lost stack resets.
    #[inline]
    pub(crate) fn on_socket<R>(
        &self,
        fd: i32,
        f: impl FnOnce(&mut Stack<'static>, SocketRef) -> stack::Result<R>,
    ) -> Option<Result<R, Errno>> {
        let (shared, r) = self.socket_of(fd)?;
        Some(match self.with_stack(shared, |stack| f(stack, r)) {
            Ok(result) => result.map_err(from_stack),
            Err(Retired) => Err(Errno::CONNRESET),
        })
    }

    /// Whether calls on the socket return rather than block.
    pub fn nonblocking(&self, fd: i32) -> Option<bool> {
        let flags = self.on_socket(fd, |stack, r| stack.flags(r));
        match (flags, self.fds.entry(fd)) {
            (Some(flags), _) => Some(flags.is_ok_and(|f| f.contains(SocketFlags::NONBLOCK))),
            (None, Entry::Listener(blocks)) => Some(!blocks),
            (None, _) => None,
        }
    }

    /// The program changed O_NONBLOCK.
    pub fn set_nonblocking(&self, fd: i32, on: bool) {
        let _ = self.on_socket(fd, |stack, r| stack.set_flags(r, SocketFlags::NONBLOCK, on));
        if let Entry::Listener(_) = self.fds.entry(fd) {
            self.fds.replace(fd, Entry::Listener(!on));
        }
    }

    /// accept(2) took a connection from the kernel's side of a listening socket of ours.
    pub fn accepted_by_kernel(&self, fd: i32) {
        let Some((shared, _)) = self.socket_of(fd) else {
            return;
        };
        self.kernel_side_ready();
        self.count_handover(shared, Handover::KernelPeer);
        let handover = Some(Handover::KernelPeer);
        let local = crate::stream::kernel_name(fd);
        self.explain(&Decision {
            fd,
            is_tcp: true,
            event: "accept",
            local,
            remote: None,
            handover,
        });
    }

    /// Whether the socket is an IPv6 one.
    pub fn is_v6(&self, fd: i32) -> bool {
        matches!(self.on_socket(fd, |stack, r| stack.flags(r)), Some(Ok(flags)) if flags.contains(SocketFlags::INET6))
    }

    /// What the program wants to be told with each datagram.
    pub fn asked(&self, fd: i32) -> Asked {
        let asked = self.on_socket(fd, |stack, r| stack.asked(r));
        asked.and_then(Result::ok).unwrap_or(Asked::empty())
    }

    /// Whether the socket is a TCP connection that the stack serves.
    pub fn is_accelerated_stream(&self, fd: i32) -> bool {
        matches!(
            self.on_socket(fd, |stack, r| Ok(stack.is_connected_stream(r))),
            Some(Ok(true))
        )
    }

    /// Whether connections come to this socket from the kernel too.
    pub fn has_two_accepting_sides(&self, fd: i32) -> bool {
        matches!(
            self.on_socket(fd, |stack, r| Ok(stack.served(r))),
            Some(Ok(Some(served))) if served.is_tcp
        )
    }

    /// Whether `fd` is a listening socket that the kernel serves alone by now, and that blocks for the program only.
    pub fn is_left_to_kernel(&self, fd: i32) -> bool {
        matches!(self.fds.entry(fd), Entry::Listener(_))
    }

    /// Whether listen(2) is refused: the socket is connected, which the kernel does not know.
    pub fn must_not_listen(&self, fd: i32) -> bool {
        self.is_accelerated_stream(fd)
    }

    /// The time that waits are measured in.
    pub fn time(&self) -> Nanos {
        self.now()
    }

    /// The program closes all descriptors from `first` to `last`.
    pub fn closing_range(&self, first: u32, last: u32) {
        for (fd, _) in self.fds.iter() {
            if (first..=last).contains(&fd.unsigned_abs()) {
                self.closing(fd);
            }
        }
    }

    /// Descriptors that the program must not close, in ascending order.
    pub fn internal_fds(&self) -> impl Iterator<Item = i32> {
        sidestep_shm::internal_fds()
    }

    /// Now and then, from calls that wait or look whether there is anything: sees to it that an agent knows us.
    #[inline]
    pub(crate) fn keep_agent(&self, shared: &Shared, now: Nanos) {
        if now - Nanos(self.agent_seen.load(Ordering::Relaxed)) >= AGENT_SEEN {
            self.agent_seen.store(now.0, Ordering::Relaxed);
            if let Some(mut session) = self.try_lock_session() {
                session.check(self, shared);
            }
        }
    }

    /// The kernel's side of `key` deserves a look: not more often than every few microseconds in a busy loop.
    #[inline]
    pub(crate) fn glance_due(&self, key: i32, now: Nanos) -> bool {
        self.glances.due(key, now)
    }

    /// Whether a call that could be served at once by our side goes to the kernel's, which has something, too.
    #[cold]
    pub(crate) fn kernel_goes_first(&self, fd: i32) -> bool {
        self.glance_due(fd, self.now())
            && self.glances.takes_turn(fd)
            && crate::wait::is_readable(fd)
    }
}

fn current_pid() -> u32 {
    rustix::process::getpid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs()
}

/// Whether there is no such process any more; not for a slot whose process has yet to begin.
fn is_dead(pid: u32) -> bool {
    pid != 0 && sidestep_shm::has_ended(pid)
}

/// Gives the lock back, then wakes waiters, and signals owners where there are any to be told.
#[cold]
fn give_back_and_ring(shared: &Shared, mut guard: Guard<'_, Stack<'static>>, wakes: u64) {
    let owners = if Stack::has_signals(wakes) {
        guard.take_owners()
    } else {
        Vec::new()
    };
    drop(guard);
    ring(shared, wakes);
    for owner in owners {
        signal_urgent(owner);
    }
}

/// Sends SIGURG to a process, or to a group, if negative.
fn signal_urgent(owner: i32) {
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};
    if let Some(pid) = Pid::from_raw(owner.saturating_abs()) {
        let _ = if owner > 0 {
            kill_process(pid, Signal::URG)
        } else {
            kill_process_group(pid, Signal::URG)
        };
    }
}

/// Wakes the waiters of a bit set.
fn ring(shared: &Shared, mut wakes: u64) {
    while wakes != 0 {
        let waiter = wakes.trailing_zeros();
        wakes &= wakes - 1;
        if let Some(event) = shared.waiters.get(waiter as usize) {
            event.ring();
        }
    }
}
