//! Who is there: processes, the stacks they have mapped, and the slots they hold in them.

use crate::children::Children;
use crate::log::Log;
use crate::networks::Networks;
use crate::networks::carriers::QueueChange;
use crate::orphans::Orphan;
use crate::signals::signal_urgent;
use crate::takeover::Takeover;
use crate::wires::Wire;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags};
use rustix::time::Timespec;
use sidestep_control::directory::DirectoryWriter;
use sidestep_control::{Fault, StackId};
use sidestep_shm::{Clock, EventFd, Guard, Nanos, Owner};
use sidestep_stack::{AGENT_SLOT, SharedStack, Stack};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How often a stack's lock is tried before its holder is called busy, and the pause between two attempts once
/// spinning did not help.
const LOCK_SPINS: u32 = 2_000;
const LOCK_PAUSES: u32 = 200;
const LOCK_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000,
};

/// What an event is about: the kind in the top byte, its number below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// Somebody connects.
    Listener,
    /// A connection, by number.
    Connection(u64),
    /// A process ended.
    Process(u32),
    /// The doorbell of a stack without processes, by the stack's number.
    Doorbell(u64),
    /// The kernel tells of its configuration.
    Netlink,
    /// A child that was awaited has attached itself, or is dead, by its number.
    Child(u64),
}

impl Token {
    const NUMBER: u64 = (1 << 56) - 1;

    /// For the kernel to give back.
    pub(crate) const fn data(self) -> EventData {
        EventData::new_u64(match self {
            Self::Listener => 0,
            Self::Connection(n) => (1 << 56) | (n & Self::NUMBER),
            Self::Process(pid) => (2 << 56) | pid as u64,
            Self::Doorbell(n) => (3 << 56) | (n & Self::NUMBER),
            Self::Netlink => 4 << 56,
            Self::Child(n) => (5 << 56) | (n & Self::NUMBER),
        })
    }

    /// What the kernel gave back.
    pub(crate) fn of(data: EventData) -> Self {
        let (kind, number) = (data.u64() >> 56, data.u64() & Self::NUMBER);
        match kind {
            1 => Self::Connection(number),
            2 => Self::Process(u32::try_from(number).unwrap_or(0)),
            3 => Self::Doorbell(number),
            4 => Self::Netlink,
            5 => Self::Child(number),
            _ => Self::Listener,
        }
    }
}

/// A process that uses, or used, the agent.
pub(crate) struct Process {
    /// Readable when it has ended.
    pub(crate) pidfd: OwnedFd,
    /// Its name, as it said.
    pub(crate) name: String,
    /// Connections that it has open.
    pub(crate) connections: u32,
}

/// A stack that some process made known.
pub(crate) struct StackEntry {
    /// Its memory, as the agent has it mapped.
    pub(crate) shared: SharedStack,
    /// The wires that the agent itself is attached to, by index, with the generation of the entry.
    pub(crate) attached: BTreeMap<u32, u32>,
    /// The namespace of its sockets.
    pub(crate) netns: u64,
    /// The user whose process made it known: other users' programs get nothing of it.
    pub(crate) user: u32,
    /// Number of this entry, for events.
    pub(crate) number: u64,
    /// Wakes whoever sleeps on its wires.
    pub(crate) doorbell: Arc<EventFd>,
    /// Wakes single threads.
    pub(crate) waiters: Vec<EventFd>,
    /// Slots in use, with their processes.
    pub(crate) slots: BTreeMap<u32, u32>,
    /// When it became known to this agent.
    pub(crate) since: Nanos,
    /// Set when its last process is gone.
    pub(crate) orphan: Option<Orphan>,
    /// When it had last been polled as the caretaker last looked.
    pub(crate) seen_polled: Nanos,
    /// Whether its doorbell wakes us.
    pub(crate) watched: bool,
    /// Whether we stand guard for its program, as far as we know: it may have polled since.
    pub(crate) guarded: bool,
    /// When its next timer may be due, while we stand guard.
    pub(crate) timer_at: Nanos,
    /// Whether it had wires when it was last worked on.
    pub(crate) has_wires: bool,
    /// Given up: its tables are not to be looked at.
    pub(crate) retired: bool,
}

/// Why a stack could not be worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// Somebody holds its lock.
    Busy,
    /// It was given up.
    Retired,
}

impl From<Unavailable> for Fault {
    fn from(why: Unavailable) -> Self {
        match why {
            Unavailable::Busy => Self::Busy,
            Unavailable::Retired => Self::Retired,
        }
    }
}

impl StackEntry {
    /// Works on the stack under its lock, for which it waits only briefly. Wakes whom the work woke. A panic, which
    /// broken tables can cause, retires the stack.
    pub(crate) fn with<R>(
        &mut self,
        work: impl FnOnce(&mut Stack<'static>) -> R,
    ) -> Result<R, Unavailable> {
        self.with_in(LOCK_SPINS + LOCK_PAUSES, work)
    }

    /// As [`with`](Self::with), if the lock is free now.
    pub(crate) fn try_with<R>(
        &mut self,
        work: impl FnOnce(&mut Stack<'static>) -> R,
    ) -> Result<R, Unavailable> {
        self.with_in(1, work)
    }

    fn with_in<R>(
        &mut self,
        attempts: u32,
        work: impl FnOnce(&mut Stack<'static>) -> R,
    ) -> Result<R, Unavailable> {
        if self.retired {
            return Err(Unavailable::Retired);
        }
        let mut guard = lock_briefly(&self.shared, attempts)?;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let result = work(&mut guard);
            (result, guard.open_wires().next().is_some())
        }));
        let wakes = guard.take_wakes();
        let owners = if Stack::has_signals(wakes) {
            guard.take_owners()
        } else {
            Vec::new()
        };
        if let Ok((_, has_wires)) = &result {
            self.has_wires = *has_wires;
        } else {
            // Before the lock is given back, so that nobody else sees the tables as they are.
            self.shared.word().retire();
        }
        drop(guard);
        wake(&self.waiters, wakes);
        for owner in owners {
            signal_urgent(owner, self.slots.values().copied(), self.user);
        }
        let result = result.map(|(result, _)| result);
        result.map_err(|_| Unavailable::Retired)
    }

    /// Wakes everybody who sleeps in the stack, to look at what changed.
    pub(crate) fn wake_all(&self) {
        self.doorbell.ring();
        wake(&self.waiters, u64::MAX);
    }
}

fn lock_briefly(
    shared: &SharedStack,
    attempts: u32,
) -> Result<Guard<'_, Stack<'static>>, Unavailable> {
    let owner = Owner {
        slot: AGENT_SLOT,
        pid: std::process::id(),
    };
    for attempt in 0..attempts {
        match shared.try_lock(owner) {
            Ok(Some(guard)) => return Ok(guard),
            Ok(None) if attempt < LOCK_SPINS => core::hint::spin_loop(),
            Ok(None) => {
                let _ = rustix::thread::nanosleep(&LOCK_PAUSE);
            }
            Err(_) => return Err(Unavailable::Retired),
        }
    }
    Err(Unavailable::Busy)
}

fn wake(waiters: &[EventFd], wakes: u64) {
    for (i, waiter) in waiters.iter().enumerate().take(64) {
        if wakes & (1 << i) != 0 {
            waiter.ring();
        }
    }
}

/// Something to be done to a stack whose lock was taken when it was to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// The process in this slot is gone.
    SlotDead {
        /// The stack.
        stack: StackId,
        /// The slot.
        slot: u32,
        /// The process.
        pid: u32,
    },
    /// The child that this slot is kept for is dead, if it has not begun.
    ChildDead {
        /// The stack.
        stack: StackId,
        /// The slot.
        slot: u32,
        /// How often the slot had been taken for it.
        times: u32,
    },
    /// The other end of this wire is gone.
    CloseWire {
        /// The stack that still has its end.
        stack: StackId,
        /// Identity of the wire.
        wire: u64,
    },
    /// Something about a queue of a network has changed.
    Queue {
        /// The stack that has it.
        stack: StackId,
        /// Index of its wire.
        wire: u32,
        /// What is different.
        change: QueueChange,
    },
    /// What leads where on networks has changed.
    ForgetWays {
        /// A stack that uses them.
        stack: StackId,
    },
}

impl Job {
    /// The stack that it is about.
    pub(crate) const fn stack(self) -> StackId {
        match self {
            Self::SlotDead { stack, .. }
            | Self::ChildDead { stack, .. }
            | Self::CloseWire { stack, .. }
            | Self::Queue { stack, .. }
            | Self::ForgetWays { stack } => stack,
        }
    }
}

/// Everything the agent knows.
pub(crate) struct Registry {
    pub(crate) processes: BTreeMap<u32, Process>,
    pub(crate) stacks: BTreeMap<StackId, StackEntry>,
    /// Children that are being forked.
    pub(crate) children: Children,
    /// By the wire's identity.
    pub(crate) wires: BTreeMap<u64, Wire>,
    pub(crate) directory: DirectoryWriter,
    /// None where no interface is served.
    pub(crate) networks: Option<Networks>,
    pub(crate) jobs: VecDeque<Job>,
    pub(crate) takeover: Takeover,
    pub(crate) epoll: OwnedFd,
    pub(crate) clock: Clock,
    pub(crate) log: Log,
    pub(crate) numbers: u64,
    /// Wires and stacks, for the report: how many there ever were.
    pub(crate) counts: Counts,
}

/// What the agent counts.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Counts {
    /// Connections accepted.
    pub(crate) connections: u64,
    /// Messages that were none, or came without their descriptors.
    pub(crate) malformed: u64,
    /// Requests that were refused.
    pub(crate) refused: u64,
    /// Stacks that were made known.
    pub(crate) stacks: u64,
    /// Wires made.
    pub(crate) wires: u64,
    /// Processes that died holding slots.
    pub(crate) deaths: u64,
    /// Stacks given up.
    pub(crate) retired: u64,
    /// Times that the caretaker polled a stack.
    pub(crate) cared: u64,
}

impl Registry {
    /// The time now.
    pub(crate) fn now(&self) -> Nanos {
        self.clock.now()
    }

    /// A number that was not given out before.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The stack, if it is known.
    pub(crate) fn stack(&mut self, id: StackId) -> Result<&mut StackEntry, Fault> {
        self.stacks.get_mut(&id).ok_or(Fault::UnknownStack)
    }

    /// The stack, if process `pid` holds a slot in it.
    pub(crate) fn stack_of(&mut self, id: StackId, pid: u32) -> Result<&mut StackEntry, Fault> {
        let entry = self.stack(id)?;
        let holds = entry.slots.values().any(|holder| *holder == pid);
        if holds {
            Ok(entry)
        } else {
            Err(Fault::NotYours)
        }
    }

    /// The stack with this number.
    pub(crate) fn stack_numbered(&self, number: u64) -> Option<StackId> {
        self.stacks
            .iter()
            .find(|(_, entry)| entry.number == number)
            .map(|(id, _)| *id)
    }

    /// Watches over a process. Fails where there is none.
    pub(crate) fn watch(&mut self, pid: u32) -> io::Result<&mut Process> {
        if !self.processes.contains_key(&pid) {
            let no_process = || io::Error::from(rustix::io::Errno::SRCH);
            let raw = Pid::from_raw(pid.cast_signed()).ok_or_else(no_process)?;
            let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty())?;
            epoll::add(
                &self.epoll,
                &pidfd,
                Token::Process(pid).data(),
                EventFlags::IN,
            )?;
            let process = Process {
                pidfd,
                name: String::new(),
                connections: 0,
            };
            self.processes.insert(pid, process);
        }
        self.processes
            .get_mut(&pid)
            .ok_or_else(|| io::Error::from(rustix::io::Errno::SRCH))
    }

    /// Forgets a process that neither is connected nor holds anything.
    pub(crate) fn forget_if_unused(&mut self, pid: u32) {
        let holds = self
            .stacks
            .values()
            .any(|entry| entry.slots.values().any(|p| *p == pid));
        let connected = self.processes.get(&pid).is_some_and(|p| p.connections > 0);
        if !holds && !connected && !self.takeover.awaits_process(pid) {
            self.forget(pid);
        }
    }

    /// Forgets a process.
    pub(crate) fn forget(&mut self, pid: u32) {
        if let Some(process) = self.processes.remove(&pid) {
            let _ = epoll::delete(&self.epoll, &process.pidfd);
        }
    }

    /// Whether a process that is watched has ended, seen or not yet seen by the event loop.
    pub(crate) fn has_ended(&self, pid: u32) -> bool {
        let Some(process) = self.processes.get(&pid) else {
            return true;
        };
        let mut poll = [PollFd::new(&process.pidfd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut poll, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Learns from the stack's own table which processes hold slots in it: children that have not called yet, and
    /// those that called an earlier agent.
    pub(crate) fn learn_slots(&mut self, id: StackId) -> Result<(), Fault> {
        let entry = self.stack(id)?;
        let table: Vec<(u32, u32)> = entry.with(|stack| stack.slots().collect())?;
        for (slot, pid) in table {
            // A slot without a process is kept for a child that is being forked.
            if pid == 0 || self.stack(id)?.slots.get(&slot) == Some(&pid) {
                continue;
            }
            let alive = self.watch(pid).is_ok();
            let entry = self.stack(id)?;
            entry.slots.insert(slot, pid);
            entry.orphan = None;
            self.children.forget(&self.epoll, id, slot);
            if !alive {
                self.jobs.push_back(Job::SlotDead {
                    stack: id,
                    slot,
                    pid,
                });
            }
        }
        self.save();
        Ok(())
    }

    /// Writes down who is there, for the agent after this one.
    pub(crate) fn save(&mut self) {
        let holders: BTreeSet<(StackId, u32)> = self
            .stacks
            .iter()
            .flat_map(|(id, entry)| entry.slots.values().map(|pid| (*id, *pid)))
            .collect();
        self.takeover.save(holders);
    }

    /// Watches the doorbell of a stack, or no longer: of one that has no process any more, or whose program does not look
    /// after it for now. Otherwise the doorbell is for the program's threads.
    pub(crate) fn watch_doorbell(&mut self, id: StackId, wanted: bool) {
        let Some(entry) = self.stacks.get_mut(&id) else {
            return;
        };
        if entry.watched == wanted {
            return;
        }
        entry.watched = wanted;
        let token = Token::Doorbell(entry.number).data();
        let Some(entry) = self.stacks.get(&id) else {
            return;
        };
        for fd in self.queue_sockets(id).chain([entry.doorbell.as_fd()]) {
            let _ = if wanted {
                epoll::add(&self.epoll, fd, token, EventFlags::IN | EventFlags::ET)
            } else {
                epoll::delete(&self.epoll, fd)
            };
        }
    }

    /// Gives a stack up: nobody will look into its tables again, and its peers' connections are reset.
    pub(crate) fn retire(&mut self, id: StackId, why: &str) {
        let Some(entry) = self.stacks.get_mut(&id) else {
            return;
        };
        if entry.retired {
            return;
        }
        entry.retired = true;
        entry.shared.word().retire();
        entry.wake_all();
        self.counts.retired += 1;
        self.log
            .line(format_args!("gave stack {id:016x} up: {why}"));
        self.directory.withdraw_stack(id);
        self.unplug(id);
        let connections = self.connections_over_networks(id);
        self.leave_networks(id);
        self.reset_by_kernel(&connections);
    }
}

/// A span as the kernel wants it.
pub(crate) fn timespec(span: Nanos) -> Timespec {
    Timespec::try_from(Duration::from_nanos(span.0)).unwrap_or(Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    })
}
