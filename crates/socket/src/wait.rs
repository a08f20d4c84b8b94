//! How a blocked call waits: it spins for as long as that is likely to pay, then sleeps on everything that could end
//! the wait: frames (the stack's doorbell), work that another thread does for us (our waiter), the kernel's side,
//! timers and the deadline.

use crate::Errno;
use crate::process::{AGENT_SEEN, Process, Shared, with_fd};
use crate::signals::{Handled, quietly};
use crate::sys::ppoll;
use crate::thread::{DOORBELL, Kind, SPIN_LEAST, WAITER, with_thread};
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use sidestep_shm::{EventFd, Nanos, barrier};
use sidestep_stack::{Ready, SetRef, SocketRef, Stack, WaitFor};
use smallvec::SmallVec;
use std::os::fd::{AsFd, AsRawFd};

/// How often a spinning thread offers its processor to others.
const YIELD: Nanos = Nanos::from_micros(3);
/// How long a thread sleeps at most that may not be told of everything: one without a waiter of its own is told of frames
/// only, and one for which the kernel raised no barrier may have missed one. Most waits of programs that do some work
/// between are shorter, so it is only for what comes after that the barrier is raised.
const NAP: Nanos = Nanos::from_millis(1);

/// Signals that are blocked while a call sleeps, as its caller asked (ppoll, pselect, epoll_pwait).
pub type SleepMask<'a> = Option<&'a libc::sigset_t>;

/// Descriptors that a call can have without memory being allocated for them.
pub(crate) const FEW: usize = 64;

/// What ends a wait on the accelerated side.
pub(crate) enum Target<'a> {
    One(WaitFor),
    /// Several sockets, and the epoll sets that the function names when it is asked.
    Many(&'a [(SocketRef, Ready)], &'a EachSet<'a>),
}

impl Target<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::One(WaitFor::Socket(_, events)) if events.intersects(Ready::OUT) => Kind::Output,
            Self::One(WaitFor::Socket(..)) => Kind::Input,
            Self::One(WaitFor::Set(_)) | Self::Many(..) => Kind::Many,
        }
    }
}

/// Calls a function with each set.
pub(crate) type EachSet<'a> = dyn Fn(&mut dyn FnMut(SetRef)) + 'a;

/// What ends a wait on the kernel's side.
pub(crate) enum KernelSide<'a> {
    None,
    /// This descriptor becomes readable.
    Readable(i32),
    /// Any of these becomes what it is asked for.
    Polled(&'a [libc::pollfd]),
}

/// A wait.
pub(crate) struct Waiting<'a> {
    pub(crate) target: Target<'a>,
    pub(crate) kernel: KernelSide<'a>,
    /// When to give up.
    pub(crate) deadline: Nanos,
    pub(crate) mask: SleepMask<'a>,
    /// Whether SA_RESTART restarts the call: those on one socket without a timeout.
    pub(crate) restarts: bool,
}

/// How a wait ended.
pub(crate) enum Woken<R> {
    /// The attempt succeeded.
    Got(R),
    /// The kernel's side has something.
    Kernel,
    TimedOut,
    /// A signal was handled.
    Interrupted,
    /// The stack was given up.
    Retired,
}

impl Process {
    /// Waits until `attempt`, made under the stack's lock after each poll, yields something, or the wait ends otherwise.
    pub(crate) fn wait<R>(
        &self,
        shared: &Shared,
        waiting: &Waiting<'_>,
        mut attempt: impl FnMut(&mut Stack<'static>, Nanos) -> Option<R>,
    ) -> Woken<R> {
        if let Some(rehearsal) = self.rehearsal.get() {
            return rehearsal.wait(self, shared, waiting, &mut attempt);
        }
        let started = self.now();
        let handled = Handled::now();
        self.keep_agent(shared, started);
        let kind = waiting.target.kind();
        let begun = with_thread(self, |t| t.begin_wait(self, kind, started));
        let (number, budget, unfinished) = begun.unwrap_or((0, Nanos::ZERO, false));
        if unfinished {
            self.end_unfinished(shared);
        }
        let begun = (started, budget, handled);
        let woken = match self.spin(shared, waiting, begun, &mut attempt) {
            Some(woken) => {
                self.stayed_awake();
                woken
            }
            None => self.sleep(shared, waiting, (number, handled), &mut attempt),
        };
        let waited = self.now() - started;
        with_thread(self, |t| t.end_wait(self, kind, waited));
        woken
    }

    /// Takes back what an earlier wait of this thread has announced: a signal handler left it, or interrupted it and now
    /// waits itself. In case of the latter it is woken, to announce itself anew.
    #[cold]
    fn end_unfinished(&self, shared: &Shared) {
        let waiter = with_thread(self, |t| t.my_waiter()).flatten();
        let _ = self.with_stack(shared, |stack| {
            stack.release_spin(self.slot());
            stack.disarm(self.slot());
            if let Some(waiter) = waiter {
                stack.wake_up(waiter);
                stack.leave_time(waiter);
            }
        });
        if let Some(event) = waiter.and_then(|w| shared.waiters.get(w as usize)) {
            event.ring();
        }
    }

    fn spin<R>(
        &self,
        shared: &Shared,
        waiting: &Waiting<'_>,
        begun: (Nanos, Nanos, Handled),
        attempt: &mut impl FnMut(&mut Stack<'static>, Nanos) -> Option<R>,
    ) -> Option<Woken<R>> {
        let (started, budget, handled) = begun;
        let slot = self.slot();
        // One spinner a stack: a second one would only take turns with the first.
        if budget == Nanos::ZERO
            || !self
                .with_stack(shared, |stack| stack.claim_spin(slot))
                .ok()?
        {
            return None;
        }
        let mut yielded = started;
        let woken = loop {
            shared.ahead.prefetch();
            let now = self.now();
            let got = self.with_stack(shared, |stack| {
                stack.poll(now);
                attempt(stack, now)
            });
            match got {
                Err(_) => break Some(Woken::Retired),
                Ok(Some(r)) => break Some(Woken::Got(r)),
                Ok(None) => {}
            }
            if now >= waiting.deadline {
                break Some(Woken::TimedOut);
            }
            if handled.interrupts(waiting.restarts) {
                break Some(Woken::Interrupted);
            }
            if self.kernel_has(waiting, now, false) {
                break Some(Woken::Kernel);
            }
            if now - started >= budget {
                break None;
            }
            if now - yielded >= YIELD && budget > SPIN_LEAST {
                rustix::thread::sched_yield();
                yielded = self.now();
                let away = yielded - now;
                if away >= YIELD
                    && with_thread(self, |t| t.was_away(self, away, yielded)) == Some(true)
                {
                    break None;
                }
            } else {
                core::hint::spin_loop();
            }
        };
        let _ = self.with_stack(shared, |stack| stack.release_spin(slot));
        woken
    }

    fn sleep<R>(
        &self,
        shared: &Shared,
        waiting: &Waiting<'_>,
        begun: (u32, Handled),
        attempt: &mut impl FnMut(&mut Stack<'static>, Nanos) -> Option<R>,
    ) -> Woken<R> {
        let (number, handled) = begun;
        let mut napped = false;
        loop {
            let waiter = with_thread(self, |t| {
                t.waiter(|| {
                    self.lock_only(shared, |stack| stack.take_waiter(self.slot()))
                        .ok()
                        .flatten()
                })
            })
            .flatten();
            let before = Handled::now();
            let lay_down = self.now();
            let prepared = quietly(|| {
                with_thread(self, |t| t.announce(number));
                self.with_stack(shared, |stack| {
                    let now = self.now();
                    stack.poll(now);
                    if let Some(got) = attempt(stack, now) {
                        with_thread(self, |t| t.take_announcement(number));
                        return Err(got);
                    }
                    Ok(prepare(stack, waiting, (self.slot(), waiter, napped), now))
                })
            });
            let (until, stay_awake) = match prepared {
                Err(_) => return Woken::Retired,
                Ok(Err(got)) => return Woken::Got(got),
                Ok(Ok(prepared)) => prepared,
            };
            // A handler that ran since then may have ended the wait, or taken its announcement back.
            let slept = if stay_awake || before != Handled::now() {
                Ok(())
            } else {
                self.sleep_once(shared, waiting, until)
            };
            let back = quietly(|| {
                let stands = with_thread(self, |t| t.take_announcement(number)).unwrap_or(true);
                self.with_stack(shared, |stack| {
                    if stands {
                        stack.disarm(self.slot());
                        if let Some(waiter) = waiter {
                            stack.wake_up(waiter);
                            stack.leave_time(waiter);
                        }
                    }
                    let now = self.now();
                    stack.poll(now);
                    (now, attempt(stack, now))
                })
            });
            match (back, slept) {
                (Err(_), _) => return Woken::Retired,
                (Ok((_, Some(got))), _) => return Woken::Got(got),
                (_, Err(Errno::INTR)) if handled.may_restart(waiting.restarts) => {}
                (_, Err(Errno::INTR)) => return Woken::Interrupted,
                (Ok((now, None)), _) => {
                    napped = now - lay_down >= NAP;
                    if self.kernel_has(waiting, now, true) {
                        return Woken::Kernel;
                    }
                    if now >= waiting.deadline {
                        return Woken::TimedOut;
                    }
                    if handled.interrupts(waiting.restarts) {
                        return Woken::Interrupted;
                    }
                }
            }
        }
    }

    /// Sleeps until something may have happened, or `until`. Signal handlers may run meanwhile.
    fn sleep_once(
        &self,
        shared: &Shared,
        waiting: &Waiting<'_>,
        until: Nanos,
    ) -> Result<(), Errno> {
        let now = self.now();
        let limit = now + AGENT_SEEN;
        let span = until.min(limit) - now;
        let kernel_fd = if let KernelSide::Readable(fd) = waiting.kernel {
            fd
        } else {
            -1
        };
        let bed = with_thread(self, |t| {
            let sleep = t.sleep_fd(self, shared, kernel_fd)?.as_raw_fd();
            Ok((sleep, t.my_waiter()))
        });
        let slept = match bed {
            Some(Ok((sleep, waiter))) => sleep_on(shared, waiting, span, (sleep, waiter)),
            Some(Err(errno)) => Err(errno),
            // Late in the life of the thread.
            None => poll_beside(
                shared.doorbell.as_fd().as_raw_fd(),
                &[],
                NAP.min(span),
                None,
            ),
        };
        self.keep_agent(shared, self.now());
        slept
    }

    /// Whether the kernel's side has something; looked at only now and then unless `surely`.
    pub(crate) fn kernel_has(&self, waiting: &Waiting<'_>, now: Nanos, surely: bool) -> bool {
        match waiting.kernel {
            KernelSide::None => false,
            KernelSide::Readable(fd) => (surely || self.glance_due(fd, now)) && is_readable(fd),
            KernelSide::Polled([]) => false,
            KernelSide::Polled(fds) => {
                (surely || self.glance_due(fds[0].fd, now)) && any_ready(fds)
            }
        }
    }
}

/// Announces sleep: `surely` if it may be a long one, so that nothing must be missed. Returns until when, and whether
/// there is a reason not to sleep.
fn prepare(
    stack: &mut Stack<'static>,
    waiting: &Waiting<'_>,
    (slot, waiter, surely): (u32, Option<u32>, bool),
    now: Nanos,
) -> (Nanos, bool) {
    let mut until = waiting.deadline;
    let mut told = waiter.is_some();
    if let Some(waiter) = waiter {
        told &= match &waiting.target {
            Target::One(target) => stack.fall_asleep(waiter, *target).is_ok(),
            Target::Many(all, sets) => {
                let mut told = all.iter().fold(true, |ok, (r, events)| {
                    stack.fall_asleep_also(waiter, *r, *events).is_ok() && ok
                });
                sets(&mut |set| told &= stack.fall_asleep_on_set_also(waiter, set).is_ok());
                told
            }
        };
        if stack.keep_time(waiter) {
            until = until.min(stack.next_timer());
        }
    }
    let mut raised = false;
    let pending = stack.arm(slot, || {
        if surely {
            raised = barrier::raise();
        } else {
            barrier::settle();
        }
    });
    if !told || !raised {
        until = until.min(now + NAP);
    }
    (until, pending)
}

/// Sleeps on the thread's epoll descriptor, of which `waiter` is part.
fn sleep_on(
    shared: &Shared,
    waiting: &Waiting<'_>,
    span: Nanos,
    (sleep, waiter): (i32, Option<u32>),
) -> Result<(), Errno> {
    let mut span = span;
    match (&waiting.kernel, waiting.mask) {
        (KernelSide::Polled(fds), mask) => {
            poll_beside(sleep, fds, span, mask)?;
            span = Nanos::ZERO;
        }
        (_, Some(mask)) => {
            poll_beside(sleep, &[], span, Some(mask))?;
            span = Nanos::ZERO;
        }
        (_, None) => {}
    }
    // What was signalled is taken back, by whoever was woken for it.
    let none = Event {
        flags: EventFlags::empty(),
        data: EventData::new_u64(0),
    };
    let mut events = [none; 4];
    let filled = with_fd(sleep, |sleep| {
        epoll::wait(sleep, &mut events[..], Some(&timespec(span)))
    })?;
    for event in &events[..filled] {
        match event.data.u64() {
            DOORBELL => shared.doorbell.drain(),
            WAITER => waiter
                .and_then(|w| shared.waiters.get(w as usize))
                .is_some_and(EventFd::drain),
            _ => false,
        };
    }
    Ok(())
}

/// poll(2) over `sleep` and descriptors of the kernel's side.
fn poll_beside(
    sleep: i32,
    fds: &[libc::pollfd],
    span: Nanos,
    mask: SleepMask<'_>,
) -> Result<(), Errno> {
    let mut all: SmallVec<[libc::pollfd; FEW + 1]> = SmallVec::with_capacity(fds.len() + 1);
    all.push(libc::pollfd {
        fd: sleep,
        events: libc::POLLIN,
        revents: 0,
    });
    all.extend_from_slice(fds);
    ppoll(&mut all, at_most_a_year(span), mask).map(|_| ())
}

/// poll(2) without waiting; fills in what is ready.
pub(crate) fn poll_now(fds: &mut [libc::pollfd]) -> Result<usize, Errno> {
    ppoll(fds, Nanos::ZERO, None)
}

pub(crate) fn is_readable(fd: i32) -> bool {
    let readable = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    any_ready(&[readable])
}

/// Whether the kernel has a datagram for a socket that was shut down for reading, and so is readable in any case.
pub(crate) fn has_datagram(fd: i32) -> bool {
    with_fd(fd, |fd| rustix::io::ioctl_fionread(fd)).is_ok_and(|bytes| bytes > 0)
}

fn any_ready(fds: &[libc::pollfd]) -> bool {
    let mut fds: SmallVec<[libc::pollfd; FEW]> = SmallVec::from_slice(fds);
    poll_now(&mut fds).is_ok_and(|n| n > 0)
}

/// "Never" is a year.
fn at_most_a_year(span: Nanos) -> Nanos {
    span.min(Nanos::from_secs(31_536_000))
}

/// A span as the kernel wants it.
pub(crate) fn timespec(span: Nanos) -> Timespec {
    let span = at_most_a_year(span);
    Timespec {
        tv_sec: (span.0 / 1_000_000_000).cast_signed(),
        tv_nsec: (span.0 % 1_000_000_000).cast_signed(),
    }
}
