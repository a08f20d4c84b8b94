//! Signals: which of them end a wait, and when their handlers must not run yet.
//!
//! Handlers that the program installs are entered by way of the preload library, which notes here that one ran. So a
//! call that spins notices, and a call that slept knows whether the handler asked for it to be restarted.
//!
//! A handler may make socket calls itself. So none may run in a thread that holds a lock of ours, which it would wait
//! for in vain: a signal that arrives while the thread is [`quiet`](Quiet) is put off until it no longer is.

use core::marker::PhantomData;
use sidestep_shm::atomic::{AtomicBool, AtomicU32, Ordering, compiler_fence};
use std::sync::OnceLock;

/// Shared by a thread and the handlers that interrupt it, never by two threads: plain loads and stores are enough.
struct Signals {
    /// How many reasons there are to put handlers off.
    quiet: AtomicU32,
    /// A signal was put off.
    put_off: AtomicBool,
    /// Handlers that ran in this thread: all, and those that interrupt calls (without SA_RESTART).
    all: AtomicU32,
    interrupting: AtomicU32,
}

thread_local! {
    static SIGNALS: Signals = const {
        Signals {
            quiet: AtomicU32::new(0),
            put_off: AtomicBool::new(false),
            all: AtomicU32::new(0),
            interrupting: AtomicU32::new(0),
        }
    };
}

/// Delivers what this thread has put off.
static DELIVER: OnceLock<fn()> = OnceLock::new();

/// Counts of handlers that ran in this thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handled {
    all: u32,
    interrupting: u32,
}

impl Handled {
    /// As of now.
    pub(crate) fn now() -> Self {
        SIGNALS.with(|s| Self {
            all: s.all.load(Ordering::Relaxed),
            interrupting: s.interrupting.load(Ordering::Relaxed),
        })
    }

    /// Whether a call that began then must end with EINTR. `restarts`: it is one of those that SA_RESTART restarts.
    pub(crate) fn interrupts(self, restarts: bool) -> bool {
        let now = Self::now();
        if restarts {
            now.interrupting != self.interrupting
        } else {
            now.all != self.all
        }
    }

    /// Whether a system call that was interrupted since then may be made again.
    pub(crate) fn may_restart(self, restarts: bool) -> bool {
        let now = Self::now();
        restarts && now.all != self.all && now.interrupting == self.interrupting
    }
}

/// While one of these lives, no handler runs in this thread.
pub(crate) struct Quiet {
    /// It counts in the thread that made it.
    _here: PhantomData<*const ()>,
}

impl Quiet {
    #[inline]
    pub(crate) fn begin() -> Self {
        SIGNALS.with(Signals::hush);
        Self { _here: PhantomData }
    }
}

impl Drop for Quiet {
    #[inline]
    fn drop(&mut self) {
        if SIGNALS.with(Signals::speak) {
            deliver();
        }
    }
}

/// Runs `f`, and no handler meanwhile. Signals that arrive are delivered before this returns.
#[inline]
pub fn quietly<R>(f: impl FnOnce() -> R) -> R {
    SIGNALS.with(|signals| {
        signals.hush();
        let result = f();
        if signals.speak() {
            deliver();
        }
        result
    })
}

impl Signals {
    #[inline]
    fn hush(&self) {
        let count = self.quiet.load(Ordering::Relaxed);
        self.quiet.store(count + 1, Ordering::Relaxed);
        // What follows must not be done before handlers are put off.
        compiler_fence(Ordering::SeqCst);
    }

    /// Whether there is something to deliver now.
    #[inline]
    fn speak(&self) -> bool {
        compiler_fence(Ordering::SeqCst);
        let count = self.quiet.load(Ordering::Relaxed);
        self.quiet.store(count - 1, Ordering::Relaxed);
        // A signal before this point was put off and is seen here; one after it is not put off.
        compiler_fence(Ordering::SeqCst);
        count == 1 && self.put_off.load(Ordering::Relaxed)
    }
}

#[cold]
fn deliver() {
    SIGNALS.with(|s| s.put_off.store(false, Ordering::Relaxed));
    if let Some(deliver) = DELIVER.get() {
        deliver();
    }
}

/// Lends what delivers a signal that was put off. From now on signals can be.
pub fn set_signal_delivery(deliver: fn()) {
    let _ = DELIVER.set(deliver);
}

/// Whether the handler of the signal that just arrived in this thread must not run yet. If so, the caller keeps the
/// signal, and is asked to deliver it soon.
pub fn puts_signal_off() -> bool {
    SIGNALS.with(|signals| {
        let off = signals.quiet.load(Ordering::Relaxed) > 0 && DELIVER.get().is_some();
        if off {
            signals.put_off.store(true, Ordering::Relaxed);
        }
        off
    })
}

/// A handler of the program's is about to run in this thread.
pub fn note_signal(restarts: bool) {
    let count =
        |n: &AtomicU32| n.store(n.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    SIGNALS.with(|signals| {
        count(&signals.all);
        if !restarts {
            count(&signals.interrupting);
        }
    });
}
