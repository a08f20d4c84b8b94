//! Readiness: what sockets are ready for, who watches them, and whom to wake.
//!
//! A *watch* joins a socket to an epoll set or to a sleeping thread (a *waiter*). When something happens to a socket,
//! its watches in sets go onto their set's ready list, and a thread that sleeps on the set is woken.
//!
//! ```text
//! Socket ──watches──▶ Watch ⇄ Watch ⇄ …        (all watches of a socket)
//! EpollSet ─members─▶ Watch ⇄ Watch ⇄ …        (all watches of a set)
//!          ─ready───▶ Watch ⇄ Watch ⇄ …        (those that may have something to tell)
//! ```

use crate::last_words::LastMember;
use crate::memory::{Core, Stack, WAITERS};
use crate::socket::{Kind, SocketFlags, SocketRef};
use crate::{Error, Result};
use bitflags::bitflags;
use sidestep_shm::NONE;
use sidestep_tcp::State;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

bitflags! {
    /// What a socket is ready for, in the bits of poll(2) and epoll(7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Ready: u32 {
        /// Something to read or accept, or end of file.
        const IN = 0x1;
        /// Urgent data to read.
        const PRI = 0x2;
        /// Room to write, or connected.
        const OUT = 0x4;
        /// An error is pending.
        const ERR = 0x8;
        /// Both directions are closed.
        const HUP = 0x10;
        /// Normal data to read.
        const RDNORM = 0x40;
        /// Room for normal data.
        const WRNORM = 0x100;
        /// The peer closed its sending side.
        const RDHUP = 0x2000;
        /// epoll: only one of several sets needs to be told.
        const EXCLUSIVE = 1 << 28;
        /// epoll: report once, until re-armed.
        const ONESHOT = 1 << 30;
        /// epoll: report changes only.
        const EDGE = 1 << 31;
    }
}

impl Ready {
    /// Reported whether asked for or not.
    pub const ALWAYS: Self = Self::ERR.union(Self::HUP);
}

/// What a blocked call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// A socket, until it is ready for one of these.
    Socket(SocketRef, Ready),
    /// Any member of an epoll set.
    Set(SetRef),
}

/// Names an epoll set: its index, and which life of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetRef {
    /// Index in the table.
    pub index: u32,
    /// The entry's life.
    pub generation: u32,
}

mod once;

const OF_SET: u8 = 1;
const OF_WAITER: u8 = 2;

const QUEUED: u8 = 1;
const DISABLED: u8 = 2;

/// Interest in a socket. Written by the lock's holder only, as all tables here.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Watch {
    socket: u32,
    sock_prev: u32,
    sock_next: u32,
    /// Index of the set or of the waiter.
    owner: u32,
    member_prev: u32,
    member_next: u32,
    ready_prev: u32,
    ready_next: u32,
    data: u64,
    events: u32,
    fd: i32,
    kind: u8,
    state: u8,
    _reserved: [u8; 6],
}

impl Watch {
    /// What it says of a member of a set; none where it is a thread's, or free.
    pub(crate) fn member(&self) -> Option<LastMember> {
        (self.kind == OF_SET).then(|| LastMember {
            socket: self.socket,
            set: self.owner,
            fd: self.fd,
            events: Ready::from_bits_retain(self.events),
            data: self.data,
        })
    }
}

/// An epoll set's accelerated members.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct EpollSet {
    /// Slots whose processes have the set open; 0 for a free entry.
    pub(crate) holders: u64,
    /// Waiters that sleep on the set: one is woken for what happens.
    sleepers: u64,
    /// Waiters that sleep on the set among other things (poll, select, another set): all are woken.
    pollers: u64,
    generation: u32,
    members: u32,
    ready_head: u32,
    ready_tail: u32,
    ready_count: u32,
    member_count: u32,
    /// How often something happened to members.
    happened: u32,
    _reserved: u32,
}

/// A thread that may sleep. Its eventfd has the same index.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Waiter {
    /// Slot + 1 of its process; 0 for a free entry.
    slot: u32,
    /// Set while the thread sleeps (or is about to) and needs its eventfd rung.
    asleep: u32,
    /// Its watch, or NONE.
    watch: u32,
    /// Set + 1 that it sleeps on; 0 for none, [`SEVERAL`] where it is among the pollers of some.
    set: u32,
}

/// A waiter sleeps on several sets.
const SEVERAL: u32 = u32::MAX;

impl Stack<'_> {
    /// What the socket is ready for now.
    pub fn ready(&mut self, r: SocketRef) -> Result<Ready> {
        self.core.socket(r)?;
        Ok(self.core.ready(r.index))
    }

    /// Takes a waiter for a thread of `slot`. None when all are taken.
    pub fn take_waiter(&mut self, slot: u32) -> Option<u32> {
        let free = self.core.waiters.iter().position(|w| w.slot == 0)?;
        self.core.waiters[free] = Waiter {
            slot: slot + 1,
            asleep: 0,
            watch: NONE,
            set: 0,
        };
        u32::try_from(free).ok()
    }

    /// Gives a waiter back.
    pub fn give_waiter(&mut self, waiter: u32) {
        self.core.awake(waiter);
        self.core.waiters[waiter as usize].slot = 0;
    }

    /// Announces that the thread of `waiter` is about to sleep: from now on its eventfd is rung when what it waits
    /// for happens. Look once more before sleeping.
    pub fn fall_asleep(&mut self, waiter: u32, target: WaitFor) -> Result<()> {
        let core = &mut self.core;
        match target {
            WaitFor::Socket(r, events) => {
                core.socket(r)?;
                let watch = core.new_watch(r.index, OF_WAITER, waiter, events)?;
                core.waiters[waiter as usize].watch = watch;
            }
            WaitFor::Set(set) => {
                core.set(set)?.sleepers |= 1 << waiter;
                core.waiters[waiter as usize].set = set.index + 1;
            }
        }
        core.waiters[waiter as usize].asleep = 1;
        Ok(())
    }

    /// Announces sleep on one more socket (a poll or select over several): watches are all dropped by `wake_up`.
    pub fn fall_asleep_also(&mut self, waiter: u32, r: SocketRef, events: Ready) -> Result<()> {
        self.core.socket(r)?;
        let first = self.core.waiters[waiter as usize].watch;
        let watch = self.core.new_watch(r.index, OF_WAITER, waiter, events)?;
        self.core.watches[watch as usize].member_next = first;
        self.core.waiters[waiter as usize].watch = watch;
        self.core.waiters[waiter as usize].asleep = 1;
        Ok(())
    }

    /// Announces sleep on one more set, as [`fall_asleep_also`](Self::fall_asleep_also).
    pub fn fall_asleep_on_set_also(&mut self, waiter: u32, set: SetRef) -> Result<()> {
        self.core.set(set)?.pollers |= 1 << waiter;
        self.core.waiters[waiter as usize].set = SEVERAL;
        self.core.waiters[waiter as usize].asleep = 1;
        Ok(())
    }

    /// Wakes all who sleep, to look anew at what they wait for.
    pub const fn wake_everybody(&mut self) {
        self.core.wake = u64::MAX;
    }

    /// Takes the announcement back.
    pub fn wake_up(&mut self, waiter: u32) {
        self.core.awake(waiter);
    }

    /// A new, empty epoll set held by `slot`.
    pub fn new_set(&mut self, slot: u32) -> Result<SetRef> {
        let free = self
            .core
            .sets
            .iter()
            .position(|s| s.holders == 0)
            .ok_or(Error::TableFull)?;
        let set = &mut self.core.sets[free];
        let generation = set.generation.wrapping_add(1);
        *set = EpollSet {
            holders: 0,
            sleepers: 0,
            pollers: 0,
            generation,
            members: NONE,
            ready_head: NONE,
            ready_tail: NONE,
            ready_count: 0,
            member_count: 0,
            happened: 0,
            _reserved: 0,
        };
        self.core.hold_set(free, slot);
        Ok(SetRef {
            index: u32::try_from(free).map_err(|_| Error::TableFull)?,
            generation,
        })
    }

    /// Slot lets go of a set; the last one ends it.
    pub fn close_set(&mut self, set: SetRef, slot: u32) {
        if self.core.set(set).is_ok() {
            self.core.let_go_of_set(set.index as usize, slot);
        }
    }

    /// How many accelerated members a set has.
    pub fn set_members(&mut self, set: SetRef) -> u32 {
        self.core.set(set).map_or(0, |s| s.member_count)
    }

    /// Adds descriptor `fd` of a socket to a set. `None` where it is there already.
    pub fn set_add(
        &mut self,
        set: SetRef,
        r: SocketRef,
        fd: i32,
        events: Ready,
        data: u64,
    ) -> Result<Option<()>> {
        let core = &mut self.core;
        core.set(set)?;
        core.socket(r)?;
        if core.member(set.index, r.index, fd).is_some() {
            return Ok(None);
        }
        let watch = core.new_watch(r.index, OF_SET, set.index, events | Ready::ALWAYS)?;
        let head = core.sets[set.index as usize].members;
        if head != NONE {
            core.watches[head as usize].member_prev = watch;
        }
        let w = &mut core.watches[watch as usize];
        (w.data, w.fd, w.member_next) = (data, fd, head);
        core.sets[set.index as usize].members = watch;
        core.sets[set.index as usize].member_count += 1;
        core.look_at(watch);
        Ok(Some(()))
    }

    /// Changes what a member is watched for. `None` where it is no member.
    pub fn set_modify(
        &mut self,
        set: SetRef,
        r: SocketRef,
        fd: i32,
        events: Ready,
        data: u64,
    ) -> Result<Option<()>> {
        self.core.set(set)?;
        self.core.socket(r)?;
        let Some(watch) = self.core.member(set.index, r.index, fd) else {
            return Ok(None);
        };
        let w = &mut self.core.watches[watch as usize];
        w.events = (events | Ready::ALWAYS).bits();
        w.data = data;
        w.state &= !DISABLED;
        self.core.look_at(watch);
        Ok(Some(()))
    }

    /// Removes a member. `None` where it is none.
    pub fn set_remove(&mut self, set: SetRef, r: SocketRef, fd: i32) -> Result<Option<()>> {
        self.core.set(set)?;
        let Some(watch) = self.core.member(set.index, r.index, fd) else {
            return Ok(None);
        };
        self.core.drop_watch(watch);
        Ok(Some(()))
    }

    /// Removes a socket from all sets; returns what it was watched for in each, to hand it over to the kernel:
    /// (set, fd, events, data).
    pub fn leave_sets(&mut self, r: SocketRef) -> Vec<(SetRef, i32, Ready, u64)> {
        let left = self.memberships(r);
        for (set, fd, ..) in &left {
            if let Some(watch) = self.core.member(set.index, r.index, *fd) {
                self.core.drop_watch(watch);
            }
        }
        left
    }

    /// The sets that watch a socket: (set, fd, events, data).
    pub fn memberships(&mut self, r: SocketRef) -> Vec<(SetRef, i32, Ready, u64)> {
        let mut found = Vec::new();
        let mut at = self.core.socket(r).map_or(NONE, |s| s.watches);
        let mut steps = self.core.watch_steps();
        while at != NONE {
            steps.step();
            let w = &self.core.watches[at as usize];
            if w.kind == OF_SET {
                let set = SetRef {
                    index: w.owner,
                    generation: self.core.sets[w.owner as usize].generation,
                };
                found.push((set, w.fd, Ready::from_bits_retain(w.events), w.data));
            }
            at = w.sock_next;
        }
        found
    }

    /// Whether a set may have something to report, as cheaply as can be told.
    #[inline]
    pub fn set_pending(&mut self, set: SetRef) -> bool {
        self.core.set(set).is_ok_and(|s| s.ready_count > 0)
    }

    /// Whether a set has something to report, which stays there to be collected, and how often something happened to its
    /// members so far.
    pub fn set_looks_ready(&mut self, set: SetRef) -> Result<(bool, u32)> {
        let core = &mut self.core;
        let happened = core.set(set)?.happened;
        let mut steps = core.watch_steps();
        loop {
            let head = core.set(set)?.ready_head;
            if head == NONE {
                return Ok((false, happened));
            }
            let w = &core.watches[head as usize];
            let events = Ready::from_bits_retain(w.events);
            if w.state & DISABLED == 0 && core.ready(w.socket).intersects(events) {
                return Ok((true, happened));
            }
            steps.step();
            core.unqueue(head);
        }
    }

    /// Reports up to `max` ready members through `report(events, data)`; returns how many.
    pub fn set_collect(
        &mut self,
        set: SetRef,
        max: usize,
        report: impl FnMut(Ready, u64),
    ) -> Result<usize> {
        self.set_collect_all(set, max, report, |_, _| ())
    }

    /// As [`set_collect`](Self::set_collect), and calls `spent(fd, data)` for each that is not reported again, and must not
    /// be by the kernel, before it is armed anew.
    pub fn set_collect_all(
        &mut self,
        set: SetRef,
        max: usize,
        mut report: impl FnMut(Ready, u64),
        mut spent: impl FnMut(i32, u64),
    ) -> Result<usize> {
        let core = &mut self.core;
        let turns = core.set(set)?.ready_count as usize;
        let turns = turns.min(core.watches.len());
        let mut told = 0;
        for _ in 0..turns {
            if told == max {
                break;
            }
            let Some(watch) = core.pop_ready(set.index) else {
                break;
            };
            let (socket, events) = {
                let w = &core.watches[watch as usize];
                (w.socket, Ready::from_bits_retain(w.events))
            };
            let ready = core.ready(socket) & events;
            if ready.is_empty() || core.watches[watch as usize].state & DISABLED != 0 {
                continue;
            }
            report(ready, core.watches[watch as usize].data);
            told += 1;
            if events.contains(Ready::ONESHOT) {
                let w = &mut core.watches[watch as usize];
                w.state |= DISABLED;
                if core.sockets[socket as usize].kind() != Kind::Stream {
                    spent(w.fd, w.data);
                }
            } else if !events.contains(Ready::EDGE) {
                // Level-triggered: it stays on the list until it is found not ready.
                core.push_ready(watch);
            }
        }
        Ok(told)
    }
}

impl Core<'_> {
    pub(crate) fn set(&mut self, r: SetRef) -> Result<&mut EpollSet> {
        match self.sets.get_mut(r.index as usize) {
            Some(s) if s.generation == r.generation && s.holders != 0 => Ok(s),
            _ => Err(Error::Stale),
        }
    }

    /// What a socket is ready for.
    pub(crate) fn ready(&self, index: u32) -> Ready {
        let s = &self.sockets[index as usize];
        let mut ready = if s.error != 0 || s.has(SocketFlags::NOTICES) {
            Ready::ERR
        } else {
            Ready::empty()
        };
        match s.kind() {
            Kind::Free => return Ready::HUP | Ready::ERR,
            Kind::Listener => {
                if s.ready_children > 0 {
                    ready |= Ready::IN | Ready::RDNORM;
                }
                return ready;
            }
            Kind::Datagram => {
                ready |= Ready::OUT | Ready::WRNORM;
                if !s.udp.is_empty() {
                    ready |= Ready::IN | Ready::RDNORM;
                }
                if s.has(SocketFlags::SHUT_READ) {
                    ready |= Ready::IN | Ready::RDNORM | Ready::RDHUP;
                    if s.has(SocketFlags::SHUT_WRITE) {
                        ready |= Ready::HUP;
                    }
                }
                return ready;
            }
            Kind::Stream => {}
        }
        let state = s.tcb.state();
        if matches!(state, State::SynSent | State::SynReceived) {
            if s.tcb.is_held() {
                // Its first bytes are to open it.
                ready |= Ready::OUT | Ready::WRNORM;
            }
            return ready;
        }
        let read_closed = s.has(SocketFlags::SHUT_READ) || s.tcb.at_eof() || s.tcb.peer_closed();
        let closed = state == State::Closed;
        if closed || read_closed || s.tcb.recv_len() >= s.rcv_low.max(1) as usize {
            ready |= Ready::IN | Ready::RDNORM;
        }
        if s.tcb.has_urgent() {
            ready |= Ready::PRI;
        }
        if read_closed || closed {
            ready |= Ready::RDHUP;
        }
        if closed || (read_closed && s.has(SocketFlags::SHUT_WRITE)) {
            ready |= Ready::HUP;
        }
        if closed || s.has(SocketFlags::SHUT_WRITE) || s.tcb.writable() {
            ready |= Ready::OUT | Ready::WRNORM;
        }
        if closed && !s.has(SocketFlags::WAS_CONNECTED) && s.error == 0 {
            // A socket that never was connected: as the kernel reports it.
            ready = Ready::OUT | Ready::WRNORM | Ready::HUP;
        }
        ready
    }

    /// Something happened to a socket: tells its watches.
    #[inline]
    pub(crate) fn notify(&mut self, index: u32, events: Ready) {
        let first = self.sockets[index as usize].watches;
        if first != NONE {
            self.notify_watches(first, events | Ready::ALWAYS);
        }
    }

    #[inline(never)]
    fn notify_watches(&mut self, first: u32, events: Ready) {
        let mut exclusive_told = false;
        let mut at = first;
        let mut steps = self.watch_steps();
        while at != NONE {
            steps.step();
            let w = &self.watches[at as usize];
            let (next, kind, owner) = (w.sock_next, w.kind, w.owner);
            let interested = Ready::from_bits_retain(w.events);
            if kind == OF_WAITER {
                self.ring(owner);
            } else if w.state & DISABLED == 0 && interested.intersects(events) {
                self.push_ready(at);
                self.happened(owner);
                let exclusive = interested.contains(Ready::EXCLUSIVE);
                if !(exclusive && exclusive_told) {
                    let told = self.wake_set(owner);
                    exclusive_told |= exclusive && told;
                }
            }
            at = next;
        }
    }

    const fn happened(&mut self, set: u32) {
        let happened = &mut self.sets[set as usize].happened;
        *happened = happened.wrapping_add(1);
    }

    /// Wakes one thread that sleeps on a set, and all that sleep on it among others; false where none does.
    fn wake_set(&mut self, set: u32) -> bool {
        let mut pollers = core::mem::take(&mut self.sets[set as usize].pollers);
        let told = pollers != 0;
        while pollers != 0 {
            self.ring(pollers.trailing_zeros());
            pollers &= pollers - 1;
        }
        let sleepers = self.sets[set as usize].sleepers;
        if sleepers == 0 {
            return told;
        }
        let waiter = sleepers.trailing_zeros();
        self.sets[set as usize].sleepers &= !(1 << waiter);
        self.ring(waiter);
        true
    }

    fn ring(&mut self, waiter: u32) {
        if let Some(w) = self.waiters.get_mut(waiter as usize)
            && core::mem::take(&mut w.asleep) != 0
        {
            self.wake |= 1 << waiter;
        }
    }

    fn awake(&mut self, waiter: u32) {
        let Some(w) = self.waiters.get(waiter as usize).copied() else {
            return;
        };
        let mut at = w.watch;
        let mut steps = self.watch_steps();
        while at != NONE {
            steps.step();
            let next = self.watches[at as usize].member_next;
            self.drop_watch(at);
            at = next;
        }
        if w.set == SEVERAL {
            for set in &mut *self.sets {
                set.pollers &= !(1 << waiter);
            }
        } else if let Some(set) = w.set.checked_sub(1) {
            self.sets[set as usize].sleepers &= !(1 << waiter);
        }
        self.waiters[waiter as usize] = Waiter {
            slot: w.slot,
            asleep: 0,
            watch: NONE,
            set: 0,
        };
    }

    /// Frees the waiters of a process that is gone.
    pub(crate) fn forget_waits_of(&mut self, slot: u32) {
        for waiter in 0..WAITERS {
            if self.waiters[waiter].slot == slot + 1 {
                let index = u32::try_from(waiter).unwrap_or(NONE);
                self.awake(index);
                self.waiters[waiter].slot = 0;
                if self.header.timekeeper == index + 1 {
                    self.header.timekeeper = 0;
                }
            }
        }
    }

    fn new_watch(&mut self, socket: u32, kind: u8, owner: u32, events: Ready) -> Result<u32> {
        let watches = &*self.watches;
        let index = self
            .header
            .watches
            .take(watches.len(), |i| watches[i as usize].sock_next)
            .ok_or(Error::TableFull)?;
        let head = self.at(socket).watches;
        if head != NONE {
            self.watches[head as usize].sock_prev = index;
        }
        let w = &mut self.watches[index as usize];
        w.zero();
        w.socket = socket;
        w.sock_prev = NONE;
        w.sock_next = head;
        w.owner = owner;
        w.member_prev = NONE;
        w.member_next = NONE;
        w.ready_next = NONE;
        w.events = events.bits();
        w.kind = kind;
        self.at(socket).watches = index;
        Ok(index)
    }

    fn drop_watch(&mut self, index: u32) {
        let w = &self.watches[index as usize];
        let (socket, kind, owner) = (w.socket, w.kind, w.owner);
        let (prev, next, member_prev, member_next) =
            (w.sock_prev, w.sock_next, w.member_prev, w.member_next);
        if prev == NONE {
            self.at(socket).watches = next;
        } else {
            self.watches[prev as usize].sock_next = next;
        }
        if next != NONE {
            self.watches[next as usize].sock_prev = prev;
        }
        if kind == OF_SET {
            if self.watches[index as usize].state & QUEUED != 0 {
                self.unqueue(index);
            }
            if member_prev == NONE {
                self.sets[owner as usize].members = member_next;
            } else {
                self.watches[member_prev as usize].member_next = member_next;
            }
            if member_next != NONE {
                self.watches[member_next as usize].member_prev = member_prev;
            }
            self.sets[owner as usize].member_count -= 1;
        }
        self.watches[index as usize].kind = 0;
        self.watches[index as usize].sock_next = self.header.watches.give(index);
    }

    /// Drops all watches of a socket that ends; sleeping threads are woken to find it gone.
    pub(crate) fn drop_watches(&mut self, socket: u32) {
        let mut steps = self.watch_steps();
        loop {
            let at = self.at(socket).watches;
            if at == NONE {
                return;
            }
            steps.step();
            let (kind, owner) = (
                self.watches[at as usize].kind,
                self.watches[at as usize].owner,
            );
            if kind == OF_WAITER {
                self.ring(owner);
                self.unlink_from_waiter(owner, at);
            }
            self.drop_watch(at);
        }
    }

    fn unlink_from_waiter(&mut self, waiter: u32, watch: u32) {
        let next = self.watches[watch as usize].member_next;
        let mut at = self.waiters[waiter as usize].watch;
        if at == watch {
            self.waiters[waiter as usize].watch = next;
            return;
        }
        let mut steps = self.watch_steps();
        while at != NONE {
            steps.step();
            let following = self.watches[at as usize].member_next;
            if following == watch {
                self.watches[at as usize].member_next = next;
                return;
            }
            at = following;
        }
    }

    pub(crate) fn let_go_of_set(&mut self, index: usize, slot: u32) {
        let (held, others) = self.unhold_set(index, slot);
        let mut steps = self.watch_steps();
        while held && !others && self.sets[index].members != NONE {
            steps.step();
            self.drop_watch(self.sets[index].members);
        }
    }

    /// The watch of a set on descriptor `fd` of a socket. Walks the socket's watches, which are few.
    fn member(&self, set: u32, socket: u32, fd: i32) -> Option<u32> {
        let mut at = self.sockets[socket as usize].watches;
        let mut steps = self.watch_steps();
        while at != NONE {
            steps.step();
            let w = &self.watches[at as usize];
            if w.kind == OF_SET && w.owner == set && w.fd == fd {
                return Some(at);
            }
            at = w.sock_next;
        }
        None
    }

    /// A new or changed watch of a set is ready at once if its socket is.
    fn look_at(&mut self, watch: u32) {
        let (socket, set) = (
            self.watches[watch as usize].socket,
            self.watches[watch as usize].owner,
        );
        let events = Ready::from_bits_retain(self.watches[watch as usize].events);
        if self.ready(socket).intersects(events) {
            self.push_ready(watch);
            self.happened(set);
            self.wake_set(set);
        }
    }

    fn push_ready(&mut self, watch: u32) {
        let w = &mut self.watches[watch as usize];
        if w.state & QUEUED != 0 {
            return;
        }
        w.state |= QUEUED;
        let set = &mut self.sets[w.owner as usize];
        set.ready_count += 1;
        let tail = core::mem::replace(&mut set.ready_tail, watch);
        (w.ready_prev, w.ready_next) = (tail, NONE);
        if tail == NONE {
            set.ready_head = watch;
        } else {
            self.watches[tail as usize].ready_next = watch;
        }
    }

    fn pop_ready(&mut self, set: u32) -> Option<u32> {
        let head = self.sets[set as usize].ready_head;
        (head != NONE).then(|| {
            self.unqueue(head);
            head
        })
    }

    /// Takes a watch off its set's ready list.
    fn unqueue(&mut self, watch: u32) {
        let w = &mut self.watches[watch as usize];
        w.state &= !QUEUED;
        let (prev, next, owner) = (w.ready_prev, w.ready_next, w.owner as usize);
        if prev == NONE {
            self.sets[owner].ready_head = next;
        } else {
            self.watches[prev as usize].ready_next = next;
        }
        if next == NONE {
            self.sets[owner].ready_tail = prev;
        } else {
            self.watches[next as usize].ready_prev = prev;
        }
        self.sets[owner].ready_count -= 1;
    }
}
