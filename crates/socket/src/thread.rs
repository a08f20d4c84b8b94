//! What each thread keeps: how it sleeps, and how long it spins.

use crate::process::{Process, Shared};
use crate::signals::quietly;
use core::cell::RefCell;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use sidestep_shm::{Fd, Nanos};
use std::os::fd::{AsFd, BorrowedFd};

/// What a thread waits for. Experience with one says little about the others: a connection is made within microseconds
/// by a peer that then takes its time to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What a peer says.
    Input,
    /// A connection, or room.
    Output,
    /// Anything of several sockets.
    Many,
}

impl Kind {
    const COUNT: usize = 3;
}

/// The shortest spin: some work comes at once, whatever experience says. It is too short to yield.
pub(crate) const SPIN_LEAST: Nanos = Nanos::from_micros(4);
/// Who yields the processor and does not have it back by then has given it to somebody who computes.
const LONG_YIELD: Nanos = Nanos::from_micros(300);
/// How long after that a thread does not spin: the scheduler gives a processor back to who was woken, not to who yielded.
const CROWDED: Nanos = Nanos::from_millis(50);
/// Calls in a row without sleep after which a thread no longer has itself woken by networks.
const AWAKE_CALLS: u8 = 32;

/// Marks of the descriptors that a sleeping thread waits for.
pub(crate) const DOORBELL: u64 = 1;
pub(crate) const WAITER: u64 = 2;
pub(crate) const KERNEL: u64 = 3;
const NETWORK: u64 = 4;
/// A frame wakes one of the sleeping threads, which wakes others as their sockets become ready.
const EXCLUSIVE: EventFlags = EventFlags::IN.union(EventFlags::EXCLUSIVE);

/// A thread's own state.
pub(crate) struct ThreadState {
    /// The fork that this state belongs to; another one's is thrown away.
    fork: u32,
    /// Waiter in the stack, once taken.
    waiter: Option<u32>,
    /// epoll descriptor over doorbell, waiter, and one more.
    sleep: Option<Fd>,
    /// The state of the list of networks' sockets when it was made.
    networks: u32,
    /// Whether those are in it now.
    watches: bool,
    /// Calls without sleep since the last sleep, as far as they count.
    awake: u8,
    /// The one more: a descriptor of the kernel's side.
    kernel_fd: i32,
    /// How long the next spin may take, for each kind of wait.
    spin: [Nanos; Kind::COUNT],
    /// Until when others are taken to want the processor.
    crowded_until: Nanos,
    /// A wait spins, or did when a signal handler took the thread out of it (by siglongjmp, say).
    spins: bool,
    /// The wait that has announced sleep to the stack, by number; 0 for none. It may have been left likewise.
    announced: u32,
    waits: u32,
}

thread_local! {
    static STATE: RefCell<ThreadState> = const { RefCell::new(ThreadState::NEW) };
}

impl ThreadState {
    const NEW: Self = Self {
        fork: 0,
        waiter: None,
        sleep: None,
        networks: 0,
        watches: false,
        awake: 0,
        kernel_fd: -1,
        spin: [Nanos::NEVER; Kind::COUNT],
        crowded_until: Nanos::ZERO,
        spins: false,
        announced: 0,
        waits: 0,
    };

    /// A wait begins: its number, the time that it may spin, and whether there is an earlier one of this thread, which a
    /// signal handler left or has interrupted.
    pub(crate) fn begin_wait(
        &mut self,
        process: &Process,
        kind: Kind,
        now: Nanos,
    ) -> (u32, Nanos, bool) {
        let unfinished = self.spins || self.announced != 0;
        self.announced = 0;
        let learnt = if now < self.crowded_until {
            SPIN_LEAST
        } else {
            self.spin[kind as usize]
        };
        let budget = learnt.min(process.config().spin);
        self.spins = budget > Nanos::ZERO;
        self.waits = self.waits.wrapping_add(1).max(1);
        (self.waits, budget, unfinished)
    }

    /// Wait number `wait` is about to announce sleep.
    pub(crate) const fn announce(&mut self, wait: u32) {
        self.announced = wait;
    }

    /// Wait number `wait` is back. Whether its announcement stands, and is to be taken back.
    pub(crate) fn take_announcement(&mut self, wait: u32) -> bool {
        let mine = self.announced == wait;
        if mine {
            self.announced = 0;
        }
        mine
    }

    /// The processor was yielded for so long, and it is `now`. Whether that was too long for more spinning.
    pub(crate) fn was_away(&mut self, process: &Process, away: Nanos, now: Nanos) -> bool {
        let crowded = away >= LONG_YIELD && !process.config().spin_fixed;
        if crowded {
            self.crowded_until = now + CROWDED;
        }
        crowded
    }

    /// Learns from a wait: one that was short, or was ended soon after falling asleep, is worth spinning for next time.
    pub(crate) fn end_wait(&mut self, process: &Process, kind: Kind, waited: Nanos) {
        self.spins = false;
        let config = process.config();
        self.spin[kind as usize] = if config.spin_fixed || waited <= config.spin + config.spin {
            config.spin
        } else {
            SPIN_LEAST
        };
    }

    /// The waiter that this thread has taken.
    pub(crate) const fn my_waiter(&self) -> Option<u32> {
        self.waiter
    }

    /// The waiter of this thread. None when all are taken.
    pub(crate) fn waiter(&mut self, take: impl FnOnce() -> Option<u32>) -> Option<u32> {
        if self.waiter.is_none() {
            self.waiter = take();
        }
        self.waiter
    }

    /// Puts the networks' sockets into what this thread sleeps on.
    fn watch_networks(&mut self, process: &Process) {
        let Some(sleep) = &self.sleep else { return };
        let mut any = false;
        process.wakes.each(|socket| {
            // One that is refused is looked at whenever something else wakes us.
            let _ = epoll::add(sleep, socket, EventData::new_u64(NETWORK), EXCLUSIVE);
            any = true;
        });
        self.set_watching(process, any);
    }

    fn set_watching(&mut self, process: &Process, watches: bool) {
        if self.watches != watches {
            self.watches = watches;
            process.wakes.watch(watches);
        }
    }

    /// The thread has come back from a call without having slept. One that makes a habit of it is no longer woken by
    /// networks: to be told what it sees anyway would cost whoever brings a frame a tenth of a microsecond and more.
    fn stayed_awake(&mut self, process: &Process) {
        self.awake = self.awake.saturating_add(1);
        if !self.watches || self.awake < AWAKE_CALLS {
            return;
        }
        if let Some(sleep) = &self.sleep {
            process.wakes.each(|socket| {
                let _ = epoll::delete(sleep, socket);
            });
        }
        self.set_watching(process, false);
    }

    /// The descriptor to sleep on: doorbell, networks, waiter, and `kernel_fd` if it is not negative.
    pub(crate) fn sleep_fd(
        &mut self,
        process: &Process,
        shared: &Shared,
        kernel_fd: i32,
    ) -> rustix::io::Result<BorrowedFd<'_>> {
        let networks = process.wakes.changes();
        if self.networks != networks {
            self.sleep = None;
            self.networks = networks;
            self.set_watching(process, false);
        }
        self.awake = 0;
        if self.sleep.is_none() {
            let fd = epoll::create(CreateFlags::CLOEXEC)?;
            epoll::add(
                &fd,
                &shared.doorbell,
                EventData::new_u64(DOORBELL),
                EXCLUSIVE,
            )?;
            if let Some(event) = self.waiter.and_then(|w| shared.waiters.get(w as usize)) {
                epoll::add(&fd, event, EventData::new_u64(WAITER), EventFlags::IN)?;
            }
            self.sleep = Some(Fd::adopt(fd).map_err(|_| rustix::io::Errno::MFILE)?);
            self.kernel_fd = -1;
        }
        if !self.watches {
            self.watch_networks(process);
        }
        let Some(sleep) = &self.sleep else {
            return Err(rustix::io::Errno::BADF);
        };
        if self.kernel_fd >= 0 {
            // Always anew: the number may be another file's by now.
            let _ = crate::process::with_fd(self.kernel_fd, |old| epoll::delete(sleep, old));
            self.kernel_fd = -1;
        }
        if kernel_fd >= 0 {
            crate::process::with_fd(kernel_fd, |new| {
                epoll::add(sleep, new, EventData::new_u64(KERNEL), EventFlags::IN)
            })?;
            self.kernel_fd = kernel_fd;
        }
        Ok(sleep.as_fd())
    }
}

impl Drop for ThreadState {
    fn drop(&mut self) {
        let process = crate::process::process();
        if self.fork == process.fork_count() {
            self.set_watching(process, false);
        }
        if let Some(waiter) = self.waiter.take() {
            process.give_waiter(waiter, self.fork);
        }
    }
}

impl Process {
    /// The calling thread comes back from a call that could have slept, and has not.
    #[inline]
    pub(crate) fn stayed_awake(&self) {
        if self.wakes.are_watched() {
            with_thread(self, |t| t.stayed_awake(self));
        }
    }
}

/// Works on the calling thread's state; no signal handler runs meanwhile. None where the state has ended already, as
/// late in a thread's life.
pub(crate) fn with_thread<R>(
    process: &Process,
    f: impl FnOnce(&mut ThreadState) -> R,
) -> Option<R> {
    let work = |state: &RefCell<ThreadState>| {
        let mut state = state.try_borrow_mut().ok()?;
        let fork = process.fork_count();
        if state.fork != fork {
            // A forked child: the parent's waiter is not ours to give back, nor its epoll to change.
            state.waiter = None;
            *state = ThreadState::NEW;
            state.fork = fork;
        }
        Some(f(&mut state))
    };
    quietly(|| STATE.try_with(work).ok().flatten())
}

#[cfg(test)]
mod tests;
