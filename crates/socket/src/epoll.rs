//! epoll(7): sets whose members are accelerated sockets and descriptors of the kernel, side by side.
//!
//! The program's epoll descriptor is a real one and holds what is the kernel's. Accelerated members are in a set in the
//! stack. Sockets with two sides (listeners, UDP) are in both.

use crate::errno::from_stack;
use crate::fdtable::Entry;
use crate::process::{Process, Shared, with_fd};
use crate::signals::quietly;
use crate::wait::{KernelSide, SleepMask, Target, Waiting, Woken};
use crate::{Errno, Nanos};
use rustix::event::epoll::{self, EventData, EventFlags};
use sidestep_shm::EventFd;
use sidestep_shm::atomic::{AtomicU32, AtomicU64, Ordering};
use sidestep_stack::{Ready, SetRef, WaitFor};
use std::sync::OnceLock;

/// Epoll descriptors of a process that can have accelerated members.
const EPOLLS_MAX: usize = 1024;
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
}

/// All records.
pub(crate) struct Epolls {
    records: [Record; EPOLLS_MAX],
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
                }
            }; EPOLLS_MAX],
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
}

impl Record {
    fn set(&self) -> Option<SetRef> {
        let word = self.set.load(Ordering::Acquire);
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
        if self.config().off {
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
                if self.fds.replace(epfd, Entry::Epoll(index)).is_none() {
                    record.references.store(0, Ordering::Release);
                }
                return;
            }
        }
    }

    pub(crate) fn epoll_duplicated(&self, index: u32, new: i32) {
        let Some(record) = self.epolls.records.get(index as usize) else {
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
        record.references.store(0, Ordering::Release);
    }

    fn record(&self, epfd: i32) -> Option<&Record> {
        match self.fds.entry(epfd) {
            Entry::Epoll(index) => self.epolls.records.get(index as usize),
            _ => None,
        }
    }

    /// epoll_ctl(2). None: the kernel's business. Where a socket has two sides, the kernel's is seen to here.
    pub fn epoll_ctl(&self, epfd: i32, fd: i32, change: EpollChange) -> Option<Result<(), Errno>> {
        let (shared, r) = self.socket_of(fd)?;
        let record = self.record(epfd)?;
        if matches!(change, EpollChange::Modify(e) if e.events & Ready::EXCLUSIVE.bits() != 0) {
            return Some(Err(Errno::INVAL));
        }
        let set = match self.set_of(shared, record, epfd) {
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
            kernel_side(epfd, fd, change);
        }
        Some(match (done, change) {
            (Some(()), _) => Ok(()),
            (None, EpollChange::Add(_)) => Err(Errno::EXIST),
            (None, _) => Err(Errno::NOENT),
        })
    }

    /// The set of an epoll descriptor, made now if it has none.
    fn set_of(&self, shared: &Shared, record: &Record, epfd: i32) -> Result<SetRef, Errno> {
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
        // Threads that wait in the kernel must come back and wait on both sides.
        if record.in_kernel.load(Ordering::Acquire) > 0
            && let Some(kick) = self.epolls.kick()
        {
            with_fd(epfd, |epfd| {
                let _ = epoll::add(epfd, kick, EventData::new_u64(KICK), EventFlags::IN);
            });
        }
        Ok(set)
    }

    /// A thread is about to wait in the kernel alone; false where the set has accelerated members meanwhile.
    pub fn epoll_enter_kernel(&self, epfd: i32) -> bool {
        let Some(record) = self.record(epfd) else {
            return true;
        };
        record.in_kernel.fetch_add(1, Ordering::AcqRel);
        if record.set().is_some() {
            record.in_kernel.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        true
    }

    /// It came back with these events; drops the one that only called it back. Returns how many are left, and whether to
    /// wait again on both sides.
    pub fn epoll_leave_kernel(&self, epfd: i32, events: &mut [Event]) -> (usize, bool) {
        let Some(record) = self.record(epfd) else {
            return (events.len(), false);
        };
        let others = record.in_kernel.fetch_sub(1, Ordering::AcqRel) - 1;
        let Some(at) = events.iter().position(|e| e.data == KICK) else {
            return (events.len(), false);
        };
        if others == 0
            && let Some(kick) = self.epolls.kick()
        {
            let _ = with_fd(epfd, |epfd| epoll::delete(epfd, kick));
        }
        let last = events.len() - 1;
        events.copy_within(at + 1.., at);
        (last, last == 0)
    }

    /// Whether waiting on `epfd` concerns the stack.
    #[inline]
    pub fn epoll_is_ours(&self, epfd: i32) -> bool {
        self.is_active() && self.record(epfd).is_some_and(|r| r.set().is_some())
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
        let set = self.record(epfd)?.set()?;
        let started = self.now();
        let max = out.len();
        let mut count = 0;
        let first = self.with_stack(shared, |stack| {
            stack.poll(started);
            collect(stack, set, out, &mut count)
        });
        match first {
            Err(_) => return None,
            Ok(Err(errno)) => return Some(Err(errno)),
            Ok(Ok(())) => {}
        }
        let zero = timeout == Some(Nanos::ZERO);
        self.keep_agent(shared, started);
        if count < max && (zero || count > 0) && self.glance_due(epfd, started) {
            count = self.add_kernel_events(epfd, out, count);
        }
        if count > 0 || zero {
            return Some(Ok(count));
        }
        let waiting = Waiting {
            target: Target::One(WaitFor::Set(set)),
            kernel: KernelSide::Readable(epfd),
            deadline: timeout.map_or(Nanos::NEVER, |t| started + t),
            mask,
            restarts: false,
        };
        loop {
            let woken = self.wait(shared, &waiting, |stack, _| {
                match collect(stack, set, out, &mut count) {
                    Err(errno) => Some(Err(errno)),
                    Ok(()) => (count > 0).then_some(Ok(())),
                }
            });
            match woken {
                Woken::Got(Ok(())) => {
                    if count < max && self.glance_due(epfd, self.now()) {
                        count = self.add_kernel_events(epfd, out, count);
                    }
                    return Some(Ok(count));
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
        for event in &events[..filled.unwrap_or(0)] {
            let (flags, data) = ({ event.flags }.bits(), { event.data }.u64());
            if data == KICK {
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
        let at = self
            .epolls
            .records
            .iter()
            .position(|r| r.set() == Some(set));
        let epfd = self.fds.iter().find_map(|(epfd, entry)| match entry {
            Entry::Epoll(index) if Some(index as usize) == at => Some(epfd),
            _ => None,
        });
        if let Some(epfd) = epfd {
            kernel_side(
                epfd,
                fd,
                EpollChange::Add(Event {
                    events: events.bits(),
                    data,
                }),
            );
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

fn collect(
    stack: &mut sidestep_stack::Stack<'static>,
    set: SetRef,
    out: &mut [Event],
    count: &mut usize,
) -> Result<(), Errno> {
    let room = out.len() - *count;
    stack
        .set_collect(set, room, |ready, data| {
            out[*count] = Event {
                events: ready.bits(),
                data,
            };
            *count += 1;
        })
        .map(|_| ())
        .map_err(from_stack)
}

/// Changes the kernel's set likewise. The kernel's side of our sockets only receives.
fn kernel_side(epfd: i32, fd: i32, change: EpollChange) {
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
