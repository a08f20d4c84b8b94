//! Epoll descriptors that are members of others, or are polled: readable while one of their members is ready.
//!
//! The kernel has the nesting too, and tells of its side of it. What is kept here is what it takes to tell of accelerated
//! members, at any depth.

use crate::epoll::{EpollChange, Event, UNRECORDED};
use crate::fdtable::Entry;
use crate::process::{Process, with_fd};
use crate::signals::Quiet;
use rustix::event::epoll::{self, EventData, EventFlags};
use sidestep_stack::{Ready, SetRef, Stack};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Deepest nesting that is looked into; the kernel refuses more than five.
const DEPTH_MAX: usize = 8;

/// One epoll descriptor in another, both by the index of their record.
#[derive(Clone, Copy, Debug)]
struct Nested {
    outer: u32,
    inner: u32,
    /// The number by which it was added.
    fd: i32,
    events: u32,
    data: u64,
    /// Reported, and not to be reported again before it is changed (EPOLLONESHOT).
    spent: bool,
    /// What had happened inside when it was last reported (EPOLLET).
    reported: Option<u32>,
}

/// All of this process.
pub(crate) struct Nesting(Mutex<Vec<Nested>>);

/// The list, while nobody else has it and no signal handler can ask for it.
pub(crate) struct NestingGuard<'a> {
    list: MutexGuard<'a, Vec<Nested>>,
    /// Ends after the guard before it.
    _quiet: Quiet,
}

impl Nesting {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Held only for as long as the list is looked at; the stack's lock may be held before, never after.
    pub(crate) fn lock(&self) -> NestingGuard<'_> {
        let quiet = Quiet::begin();
        NestingGuard {
            list: self.0.lock().unwrap_or_else(PoisonError::into_inner),
            _quiet: quiet,
        }
    }
}

impl NestingGuard<'_> {
    /// Calls `f` with the record of an epoll descriptor and those of all that are inside it.
    fn each_inside(&self, index: u32, depth: usize, f: &mut dyn FnMut(u32)) {
        f(index);
        if depth < DEPTH_MAX {
            for n in self.list.iter().filter(|n| n.outer == index) {
                self.each_inside(n.inner, depth + 1, f);
            }
        }
    }

    /// Calls `f` with the records of all that an epoll descriptor is inside of.
    fn each_outside(&self, index: u32, depth: usize, f: &mut dyn FnMut(u32)) {
        if depth < DEPTH_MAX {
            for n in self.list.iter().filter(|n| n.inner == index) {
                f(n.outer);
                self.each_outside(n.outer, depth + 1, f);
            }
        }
    }
}

impl Process {
    /// epoll_ctl(2) of an epoll descriptor in another one has succeeded in the kernel.
    pub fn epoll_nested(&self, epfd: i32, fd: i32, change: EpollChange) {
        let (Entry::Epoll(outer), Entry::Epoll(inner)) = (self.fds.entry(epfd), self.fds.entry(fd))
        else {
            return;
        };
        if outer == UNRECORDED || inner == UNRECORDED {
            return;
        }
        let mut nesting = self.epolls.nesting.lock();
        nesting.list.retain(|n| n.outer != outer || n.fd != fd);
        if let EpollChange::Add(e) | EpollChange::Modify(e) = change {
            nesting.list.push(Nested {
                outer,
                inner,
                fd,
                events: e.events,
                data: e.data,
                spent: false,
                reported: None,
            });
        }
        self.count_nested(&nesting, outer);
        drop(nesting);
        self.nesting_changed(outer);
    }

    /// An epoll descriptor is no more.
    pub(crate) fn epoll_unnested(&self, index: u32) {
        let mut nesting = self.epolls.nesting.lock();
        let mut outside = Vec::new();
        nesting.list.retain(|n| {
            if n.inner == index {
                outside.push(n.outer);
            }
            n.inner != index && n.outer != index
        });
        outside.push(index);
        for outer in outside {
            self.count_nested(&nesting, outer);
        }
    }

    fn count_nested(&self, nesting: &NestingGuard<'_>, outer: u32) {
        let inside = nesting.list.iter().filter(|n| n.outer == outer).count();
        self.epolls.set_nested(outer, inside);
    }

    /// Whoever waits on an epoll descriptor, or on one that it is inside of, must look at what it waits for anew.
    pub(crate) fn nesting_changed(&self, index: u32) {
        let mut waited = vec![index];
        let nesting = self.epolls.nesting.lock();
        nesting.each_outside(index, 0, &mut |outer| waited.push(outer));
        drop(nesting);
        for index in waited {
            self.call_back_from_kernel(index);
        }
        if let Some(shared) = self.attached() {
            let _ = self.with_stack(shared, Stack::wake_everybody);
        }
    }

    /// Calls `f` with the sets of an epoll descriptor and of all that are inside it.
    pub(crate) fn each_set(&self, index: u32, f: &mut dyn FnMut(SetRef)) {
        let nesting = self.epolls.nesting.lock();
        nesting.each_inside(index, 0, &mut |inside| {
            if let Some(set) = self.epolls.set(inside) {
                f(set);
            }
        });
    }

    /// Whether an epoll descriptor is readable for its accelerated members' sake, and how often something happened to them.
    pub(crate) fn looks_readable(&self, stack: &mut Stack<'static>, index: u32) -> (bool, u32) {
        let (mut readable, mut happened) = (false, 0u32);
        self.each_set(index, &mut |set| {
            if let Ok((ready, times)) = stack.set_looks_ready(set) {
                readable |= ready;
                happened = happened.wrapping_add(times);
            }
        });
        (readable, happened)
    }

    /// Appends the events of those epoll descriptors inside `epfd` that are readable for their accelerated members' sake.
    pub(crate) fn collect_nested(
        &self,
        stack: &mut Stack<'static>,
        (epfd, outer): (i32, u32),
        out: &mut [Event],
        count: &mut usize,
    ) {
        let members: Vec<Nested> = {
            let nesting = self.epolls.nesting.lock();
            let inside = nesting.list.iter().filter(|n| n.outer == outer);
            inside.copied().collect()
        };
        for n in members {
            let asked = Ready::from_bits_retain(n.events);
            let ready = (Ready::IN | Ready::RDNORM) & asked;
            if *count == out.len() || n.spent || ready.is_empty() {
                continue;
            }
            let (readable, happened) = self.looks_readable(stack, n.inner);
            let edge = asked.contains(Ready::EDGE);
            if !readable || (edge && n.reported == Some(happened)) {
                continue;
            }
            out[*count] = Event {
                events: ready.bits(),
                data: n.data,
            };
            *count += 1;
            let once = asked.contains(Ready::ONESHOT);
            if once {
                // The kernel has not reported it and would.
                with_fd(epfd, |epfd| {
                    with_fd(n.fd, |fd| {
                        let data = EventData::new_u64(n.data);
                        let _ = epoll::modify(epfd, fd, data, EventFlags::ONESHOT);
                    });
                });
            }
            if once || edge {
                let mut nesting = self.epolls.nesting.lock();
                let same = |m: &&mut Nested| m.outer == outer && m.fd == n.fd;
                if let Some(m) = nesting.list.iter_mut().find(same) {
                    m.spent |= once;
                    m.reported = Some(happened);
                }
            }
        }
    }
}
