//! epoll(7): sets whose members are accelerated sockets and descriptors of the kernel, side by side.
//!
//! The program's epoll descriptor is a real one and holds what is the kernel's. Accelerated members are in a set in the
//! stack. Sockets with two sides (listeners, UDP) are in both.

use crate::errno::from_stack;
use crate::fdtable::Entry;
use crate::nesting::Nesting;
use crate::process::{Process, Shared, with_fd};
use crate::signals::quietly;
use crate::wait::{KernelSide, SleepMask, Target, Waiting, Woken};
use crate::{Errno, Nanos};
use rustix::event::epoll::{self, EventData, EventFlags};
use sidestep_shm::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use sidestep_shm::{EventFd, Retired};
use sidestep_stack::{Handover, Ready, SetRef, SocketRef, Stack, WaitFor};
use std::sync::OnceLock;

/// Epoll descriptors of a process that can have accelerated members.
const EPOLLS_MAX: usize = 1024;
/// In place of a record: there was none left.
pub(crate) const UNRECORDED: u32 = u32::MAX;
/// Data of the descriptor that ends waits in the kernel when a set gets its first accelerated member.
const KICK: u64 = 0x5ed5_7e95_ed57_e95e;

/// An event, as epoll_wait(2) reports it.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What happened.
    pub events: u32,
    /// The program's word for the descriptor.
    pub data: u64,
}

/// What epoll_ctl(2) is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpollChange {
    /// Add a descriptor, to be watched for `events`.
    Add(Event),
    /// Change what it is watched for.
    Modify(Event),
    /// Remove it.
    Remove,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.events == other.events && self.data == other.data
    }
}

impl Eq for Event {}

/// This process's record of an epoll descriptor.
struct Record {
    /// Descriptors that stand for it; 0: free.
    references: AtomicU32,
    /// The set in the stack, once it has one: index + 1 and generation.
    set: AtomicU64,
    /// Threads that wait in the kernel, for there was no set when they began.
    in_kernel: AtomicU32,
    /// Members that are epoll descriptors themselves.
    nested: AtomicU32,
    /// Some member that the kernel serves, too, was to be reported once.
    once: AtomicBool,
    /// What calls threads back from the kernel is in the kernel's set.
    kicked: AtomicBool,
}

/// All records.
pub(crate) struct Epolls {
    records: [Record; EPOLLS_MAX],
    pub(crate) nesting: Nesting,
    kick: OnceLock<Option<EventFd>>,
}

impl Epolls {
    pub(crate) const fn new() -> Self {
        Self {
            records: [const {
                Record {
                    references: AtomicU32::new(0),
                    set: AtomicU64::new(0),
                    in_kernel: AtomicU32::new(0),
                    nested: AtomicU32::new(0),
                    once: AtomicBool::new(false),
                    kicked: AtomicBool::new(false),
                }
            }; EPOLLS_MAX],
            nesting: Nesting::new(),
            kick: OnceLock::new(),
        }
    }

    fn kick(&self) -> Option<&EventFd> {
        let made = quietly(|| {
            self.kick.get_or_init(|| {
                let kick = EventFd::new().ok()?;
                kick.ring();
                Some(kick)
            })
        });
        made.as_ref()
    }

    /// The set of a record, if it has one.
    pub(crate) fn set(&self, index: u32) -> Option<SetRef> {
        self.records.get(index as usize)?.set()
    }

    pub(crate) fn set_nested(&self, index: u32, count: usize) {
        if let Some(record) = self.records.get(index as usize) {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            record.nested.store(count, Ordering::Release);
        }
    }
}

impl Record {
    /// Whether waiting on it concerns the stack.
    #[inline]
    fn concerns_us(&self) -> bool {
        self.set.load(Ordering::Acquire) != 0 || self.nests()
    }

    #[inline]
    fn nests(&self) -> bool {
        self.nested.load(Ordering::Acquire) != 0
    }

    /// A change of a member that has two sides.
    fn note_once(&self, change: EpollChange) {
        if let EpollChange::Add(e) | EpollChange::Modify(e) = change
            && e.events & Ready::ONESHOT.bits() != 0
        {
            self.once.store(true, Ordering::Release);
        }
    }

    fn set(&self) -> Option<SetRef> {
        Self::decode(self.set.load(Ordering::Acquire))
    }

    /// Its set, which it has no more.
    fn take_set(&self) -> Option<SetRef> {
        Self::decode(self.set.swap(0, Ordering::AcqRel))
    }

    fn decode(word: u64) -> Option<SetRef> {
        #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
        let (index, generation) = ((word >> 32) as u32, word as u32);
        index
            .checked_sub(1)
            .map(|index| SetRef { index, generation })
    }
}

impl Process {
    /// A new epoll descriptor.
    pub fn epoll_opened(&self, epfd: i32) {
        if self.config().off && !self.is_active() {
            return;
        }
        for (index, record) in (0..).zip(&self.epolls.records) {
            if record
                .references
                .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                record.set.store(0, Ordering::Release);
                record.in_kernel.store(0, Ordering::Relaxed);
                record.nested.store(0, Ordering::Relaxed);
                record.once.store(false, Ordering::Relaxed);
                record.kicked.store(false, Ordering::Relaxed);
                if self.fds.replace(epfd, Entry::Epoll(index)).is_none() {
                    record.references.store(0, Ordering::Release);
                }
                return;
            }
        }
        self.fds.replace(epfd, Entry::Epoll(UNRECORDED));
    }

    pub(crate) fn epoll_duplicated(&self, index: u32, new: i32) {
        let Some(record) = self.epolls.records.get(index as usize) else {
            self.fds.replace(new, Entry::Epoll(index));
            return;
        };
        record.references.fetch_add(1, Ordering::AcqRel);
        if self.fds.replace(new, Entry::Epoll(index)).is_none() {
            record.references.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn epoll_closing(&self, epfd: i32) {
        let Some(Entry::Epoll(index)) = self.fds.replace(epfd, Entry::Kernel) else {
            return;
        };
        let Some(record) = self.epolls.records.get(index as usize) else {
            return;
        };
        if record.references.load(Ordering::Acquire) > 1 {
            record.references.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        if let (Some(set), Some(shared)) = (record.set(), self.attached()) {
            let slot = self.slot();
            let _ = self.with_stack(shared, |stack| stack.close_set(set, slot));
        }
        record.set.store(0, Ordering::Release);
        self.epoll_unnested(index);
        record.references.store(0, Ordering::Release);
    }

    fn record(&self, epfd: i32) -> Option<&Record> {
        self.indexed_record(epfd).map(|(_, record)| record)
    }

    fn indexed_record(&self, epfd: i32) -> Option<(u32, &Record)> {
        match self.fds.entry(epfd) {
            Entry::Epoll(index) => Some((index, self.epolls.records.get(index as usize)?)),
            _ => None,
        }
    }

    /// The record of an epoll descriptor that has accelerated members, or may have them inside its members.
    pub(crate) fn accelerated_epoll(&self, epfd: i32) -> Option<u32> {
        let (index, record) = self.indexed_record(epfd)?;
        record.concerns_us().then_some(index)
    }

    /// Whether `fd` is an epoll descriptor that can have accelerated members.
    #[inline]
    pub fn is_epoll(&self, fd: i32) -> bool {
        matches!(self.fds.entry(fd), Entry::Epoll(_))
    }

    /// epoll_ctl(2). None: the kernel's business. Where a socket has two sides, the kernel's is seen to here.
    pub fn epoll_ctl(&self, epfd: i32, fd: i32, change: EpollChange) -> Option<Result<(), Errno>> {
        let (shared, r) = self.socket_of(fd)?;
        if self.fds.entry(epfd) == Entry::Epoll(UNRECORDED) {
            return self.epoll_ctl_unrecorded(shared, fd, r);
        }
        let (index, record) = self.indexed_record(epfd)?;
        if matches!(change, EpollChange::Modify(e) if e.events & Ready::EXCLUSIVE.bits() != 0) {
            return Some(Err(Errno::INVAL));
        }
        let set = match self.set_of(shared, record, index) {
            Ok(set) => set,
            Err(errno) => return Some(Err(errno)),
        };
        let changed = self.with_stack(shared, |stack| {
            let two_sided = stack.served(r).is_some();
            let done = match change {
                EpollChange::Add(e) => {
                    stack.set_add(set, r, fd, Ready::from_bits_retain(e.events), e.data)
                }
                EpollChange::Modify(e) => {
                    stack.set_modify(set, r, fd, Ready::from_bits_retain(e.events), e.data)
                }
                EpollChange::Remove => stack.set_remove(set, r, fd),
            }?;
            Ok((done, two_sided))
        });
        let (done, two_sided) = match changed {
            Ok(Ok(changed)) => changed,
            Ok(Err(error)) => return Some(Err(from_stack(error))),
            Err(_) => return None,
        };
        if two_sided || matches!(change, EpollChange::Remove) {
            record.note_once(change);
            kernel_side(epfd, fd, change);
        }
        Some(match (done, change) {
            (Some(()), _) => Ok(()),
            (None, EpollChange::Add(_)) => Err(Errno::EXIST),
            (None, _) => Err(Errno::NOENT),
        })
    }

    /// A change of a set that cannot have accelerated members: a socket that is not connected yet becomes the kernel's, any
    /// other is refused as where the kernel's own limit is reached.
    #[cold]
    fn epoll_ctl_unrecorded(
        &self,
        shared: &Shared,
        fd: i32,
        r: SocketRef,
    ) -> Option<Result<(), Errno>> {
        let fresh = self.with_stack(shared, |stack| {
            stack.is_stream(r) && stack.served(r).is_none() && !stack.is_connected_stream(r)
        });
        if fresh != Ok(true) {
            return Some(Err(Errno::NOSPC));
        }
        self.hand_over(shared, fd, r, "epoll", None, Handover::Full);
        None
    }

    /// The set of an epoll descriptor, made now if it has none.
    fn set_of(&self, shared: &Shared, record: &Record, index: u32) -> Result<SetRef, Errno> {
        if let Some(set) = record.set() {
            return Ok(set);
        }
        let slot = self.slot();
        let made = self
            .with_stack(shared, |stack| stack.new_set(slot))
            .map_err(|_| Errno::NOMEM)?;
        let set = made.map_err(|_| Errno::NOSPC)?;
        let word = u64::from(set.index + 1) << 32 | u64::from(set.generation);
        if record
            .set
            .compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            let _ = self.with_stack(shared, |stack| stack.close_set(set, slot));
            return record.set().ok_or(Errno::BADF);
        }
        self.nesting_changed(index);
        Ok(set)
    }

    /// Threads that wait in the kernel must come back and wait on both sides.
    pub(crate) fn call_back_from_kernel(&self, index: u32) {
        let waited = self.epolls.records.get(index as usize);
        if let Some(record) = waited.filter(|r| r.in_kernel.load(Ordering::Acquire) > 0)
            && let Some(kick) = self.epolls.kick()
            && let Some(epfd) = self.epfd_of(index)
        {
            record.kicked.store(true, Ordering::Release);
            with_fd(epfd, |epfd| {
                let _ = epoll::add(epfd, kick, EventData::new_u64(KICK), EventFlags::IN);
                if record.in_kernel.load(Ordering::Acquire) == 0 {
                    // The last one came back meanwhile, before there was anything to take away.
                    let _ = epoll::delete(epfd, kick);
                }
            });
        }
    }

    /// A descriptor that stands for a record.
    fn epfd_of(&self, index: u32) -> Option<i32> {
        let mut all = self.fds.iter();
        all.find_map(|(epfd, entry)| (entry == Entry::Epoll(index)).then_some(epfd))
    }

    /// A thread is about to wait in the kernel alone; false where the set has accelerated members meanwhile.
    pub fn epoll_enter_kernel(&self, epfd: i32) -> bool {
        let Some(record) = self.record(epfd) else {
            return true;
        };
        if self.lost_members.get().is_some()
            && let Some(set) = record.take_set()
        {
            self.adopt_lost_members(epfd, set.index);
        }
        record.in_kernel.fetch_add(1, Ordering::AcqRel);
        if self.is_active() && record.concerns_us() {
            self.one_less_in_kernel(epfd, record);
            return false;
        }
        true
    }

    /// The last one back takes away what calls back, if it was put there: nobody else would.
    fn one_less_in_kernel(&self, epfd: i32, record: &Record) {
        if record.in_kernel.fetch_sub(1, Ordering::AcqRel) == 1
            && record.kicked.swap(false, Ordering::AcqRel)
            && let Some(kick) = self.epolls.kick()
        {
            let _ = with_fd(epfd, |epfd| epoll::delete(epfd, kick));
        }
    }

    /// It came back with these events; drops the one that only called it back. Returns how many are left, and whether to
    /// wait again on both sides.
    pub fn epoll_leave_kernel(&self, epfd: i32, events: &mut [Event]) -> (usize, bool) {
        let Some(record) = self.record(epfd) else {
            return (events.len(), false);
        };
        self.one_less_in_kernel(epfd, record);
        let Some(at) = events.iter().position(|e| e.data == KICK) else {
            return (events.len(), false);
        };
        let last = events.len() - 1;
        events.copy_within(at + 1.., at);
        (last, last == 0)
    }

    /// Whether waiting on `epfd` concerns the stack.
    #[inline]
    pub fn epoll_is_ours(&self, epfd: i32) -> bool {
        self.is_active() && self.record(epfd).is_some_and(Record::concerns_us)
    }

    /// epoll_wait(2) and its kin over both sides. Returns how many events were written.
    pub fn epoll_wait(
        &self,
        epfd: i32,
        out: &mut [Event],
        timeout: Option<Nanos>,
        mask: SleepMask<'_>,
    ) -> Option<Result<usize, Errno>> {
        let shared = self.attached()?;
        let waited = Waited::begin(self, epfd)?;
        let started = self.now();
        let zero = timeout == Some(Nanos::ZERO);
        let mut count = match self.look_at_both(shared, &waited, out, started) {
            Err(Retired) => return None,
            Ok(Err(Errno::AGAIN)) => return self.epoll_wait(epfd, out, timeout, mask),
            Ok(Err(errno)) => return Some(Err(errno)),
            Ok(Ok(count)) => count,
        };
        if count > 0 || zero {
            self.stayed_awake();
            return Some(Ok(count));
        }
        let sets = |f: &mut dyn FnMut(SetRef)| self.each_set(waited.index, f);
        let waiting = Waiting {
            target: match waited.set {
                Some(set) if !waited.nests => Target::One(WaitFor::Set(set)),
                _ => Target::Many(&[], &sets),
            },
            kernel: KernelSide::Readable(epfd),
            deadline: timeout.map_or(Nanos::NEVER, |t| started + t),
            mask,
            restarts: false,
        };
        loop {
            let woken = self.wait(shared, &waiting, |stack, _| {
                match waited.gather(stack, out, &mut count) {
                    Err(errno) => Some(Err(errno)),
                    Ok(()) => (count > 0).then_some(Ok(())),
                }
            });
            match woken {
                Woken::Got(Ok(())) => {
                    if count < out.len() && self.glance_due(epfd, self.now()) {
                        count = self.add_kernel_events(epfd, out, count);
                    }
                    return Some(Ok(count));
                }
                Woken::Got(Err(Errno::AGAIN)) => {
                    let left = timeout.map(|t| t - (self.now() - started));
                    return self.epoll_wait(epfd, out, left, mask);
                }
                Woken::Got(Err(errno)) => return Some(Err(errno)),
                Woken::Kernel => {
                    count = self.add_kernel_events(epfd, out, count);
                    if count > 0 {
                        return Some(Ok(count));
                    }
                }
                Woken::TimedOut => return Some(Ok(0)),
                Woken::Interrupted => return Some(Err(Errno::INTR)),
                Woken::Retired => return None,
            }
        }
    }

    /// What there is to report on either side without waiting. EAGAIN: there is something else to look at by now.
    fn look_at_both(
        &self,
        shared: &Shared,
        waited: &Waited<'_>,
        out: &mut [Event],
        started: Nanos,
    ) -> Result<Result<usize, Errno>, Retired> {
        let (epfd, max, mut count) = (waited.epfd, out.len(), 0);
        // When the kernel is due a look one place is kept for it; where there is but one, every other time.
        let due = self.glance_due(epfd, started);
        let kept = due && (max > 1 || self.glances.takes_turn(epfd));
        let room = max - usize::from(kept);
        let first = self.with_stack(shared, |stack| {
            stack.poll(started);
            waited.gather(stack, &mut out[..room], &mut count)
        })?;
        if let Err(errno) = first {
            return Ok(Err(errno));
        }
        self.keep_agent(shared, started);
        if due && count < max {
            count = self.add_kernel_events(epfd, out, count);
        }
        if kept && count == room {
            // The kernel had nothing for it.
            let mut one = [Event { events: 0, data: 0 }];
            let mut more = 0;
            let gathered =
                self.with_stack(shared, |stack| waited.gather(stack, &mut one, &mut more))?;
            // One that was reported above may be what comes next.
            let told = out[..count].iter_mut().find(|e| e.data == one[0].data);
            match (more, told) {
                (0, _) if count == 0 => return Ok(gathered.map(|()| 0)),
                (0, _) => {}
                (_, Some(same)) => same.events |= one[0].events,
                (_, None) => {
                    out[count] = one[0];
                    count += 1;
                }
            }
        }
        Ok(Ok(count))
    }

    /// Appends what the kernel's side has; a descriptor that both sides report is reported once.
    fn add_kernel_events(&self, epfd: i32, out: &mut [Event], count: usize) -> usize {
        let none = epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [none; 64];
        let room = (out.len() - count).min(events.len());
        let zero = crate::wait::timespec(Nanos::ZERO);
        let filled = with_fd(epfd, |epfd| {
            epoll::wait(epfd, &mut events[..room], Some(&zero))
        });
        let mut count = count;
        let once = self.record(epfd).filter(|r| r.once.load(Ordering::Acquire));
        let once = once.and_then(Record::set).zip(self.attached());
        for event in &events[..filled.unwrap_or(0)] {
            let (flags, data) = ({ event.flags }.bits(), { event.data }.u64());
            if data == KICK {
                continue;
            }
            if let Some((set, shared)) = once
                && self.with_stack(shared, |stack| stack.set_spend(set, data)) == Ok(false)
            {
                continue;
            }
            match out[..count].iter_mut().find(|e| e.data == data) {
                Some(same) => same.events |= flags,
                None => {
                    out[count] = Event {
                        events: flags,
                        data,
                    };
                    count += 1;
                }
            }
        }
        if filled.is_ok_and(|n| n > 0) {
            self.kernel_side_ready();
        }
        count
    }

    /// A member that was handed to the kernel goes on there.
    pub(crate) fn epoll_to_kernel(&self, set: SetRef, fd: i32, events: Ready, data: u64) {
        let change = EpollChange::Add(Event {
            events: events.bits(),
            data,
        });
        let is_it = |r: &Record| r.set() == Some(set);
        let at = self.epolls.records.iter().position(is_it);
        if let Some(at) = at {
            self.epolls.records[at].note_once(change);
        }
        let epfd = at
            .and_then(|at| u32::try_from(at).ok())
            .and_then(|index| self.epfd_of(index));
        if let Some(epfd) = epfd {
            kernel_side(epfd, fd, change);
        }
    }

    /// A socket that begins to listen has a second side: its sets must watch that too.
    pub fn watch_second_side(&self, fd: i32) {
        let Some((shared, r)) = self.socket_of(fd) else {
            return;
        };
        let members: Vec<(SetRef, i32, Ready, u64)> = self
            .with_stack(shared, |stack| stack.memberships(r))
            .unwrap_or_default();
        for (set, member, events, data) in members {
            self.epoll_to_kernel(set, member, events, data);
        }
    }
}

/// What a wait on an epoll descriptor looks at.
struct Waited<'p> {
    process: &'p Process,
    record: &'p Record,
    epfd: i32,
    index: u32,
    /// Its own accelerated members.
    set: Option<SetRef>,
    /// Whether epoll descriptors are among its members.
    nests: bool,
}

impl<'p> Waited<'p> {
    fn begin(process: &'p Process, epfd: i32) -> Option<Self> {
        let (index, record) = process.indexed_record(epfd)?;
        Some(Self {
            process,
            record,
            epfd,
            index,
            set: record.set(),
            nests: record.nests(),
        })
    }

    /// Appends what there is to report. EAGAIN where another thread has changed what there is to look at.
    fn gather(
        &self,
        stack: &mut Stack<'static>,
        out: &mut [Event],
        count: &mut usize,
    ) -> Result<(), Errno> {
        if self.record.set() != self.set || self.record.nests() != self.nests {
            return Err(Errno::AGAIN);
        }
        if let Some(set) = self.set {
            collect(stack, (self.epfd, set), out, count)?;
        }
        if self.nests {
            let this = (self.epfd, self.index);
            self.process.collect_nested(stack, this, out, count);
        }
        Ok(())
    }
}

fn collect(
    stack: &mut Stack<'static>,
    (epfd, set): (i32, SetRef),
    out: &mut [Event],
    count: &mut usize,
) -> Result<(), Errno> {
    let room = out.len() - *count;
    let report = |ready: Ready, data| {
        out[*count] = Event {
            events: ready.bits(),
            data,
        };
        *count += 1;
    };
    let once = |fd, data| {
        let events = Ready::ONESHOT.bits();
        kernel_side(epfd, fd, EpollChange::Modify(Event { events, data }));
    };
    stack
        .set_collect_all(set, room, report, once)
        .map(|_| ())
        .map_err(from_stack)
}

/// Changes the kernel's set likewise. The kernel's side of our sockets only receives.
pub(crate) fn kernel_side(epfd: i32, fd: i32, change: EpollChange) {
    with_fd(epfd, |epfd| {
        with_fd(fd, |fd| {
            let _ = match change {
                EpollChange::Add(e) => epoll::add(epfd, fd, EventData::new_u64(e.data), flags(e)),
                EpollChange::Modify(e) => {
                    epoll::modify(epfd, fd, EventData::new_u64(e.data), flags(e))
                }
                EpollChange::Remove => epoll::delete(epfd, fd),
            };
        });
    });
}

fn flags(event: Event) -> EventFlags {
    EventFlags::from_bits_retain(event.events)
}
